"""An AI API without an AI behind it: for tests, and for the demo.

It speaks the APIs of OpenAI, Anthropic and Gemini, streams too, and counts a token for every word. What it
reports is always the same for the same request. Ask for `40 words` and it says forty. A request's header
`x-fake` makes it fail: see `metergate.testing.fake_ai.faults`.

    app = MeterGate(FakeAI(), policy="policies/openai.yaml")    # in a test
    uvicorn metergate.testing.fake_ai:app --port 9000           # as a server of its own
"""

from metergate.testing.fake_ai.fake import FakeAI

__all__ = ["FakeAI", "app"]

app = FakeAI()
