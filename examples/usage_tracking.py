"""Usage tracking without HTTP: a job asks before it works, and records what it used, once."""

import asyncio
import os
import tempfile

from metergate import Gate, InvalidInput

POLICY = {
    "metergate": 1,
    "meters": {"tokens": {"count": "app"}},
    "plans": {
        "free": {"features": ["chat"], "included": {"tokens": {"units": 1000, "every": "month"}}},
        "growth": {
            "features": ["chat", "batch"],
            "included": {"tokens": {"units": 10_000, "every": "month"}},
            "on_exceed": "overage",
            "overage": {"tokens": {"price": "2.00", "per": 1000}},
        },
    },
    "default_plan": "free",
}


async def main() -> None:
    async with Gate.open(POLICY) as gate:
        for wanted in ("chat", "batch", "tokens"):
            verdict = await gate.check("acct_1", wanted)
            print(f"may use {wanted}: {verdict.allowed} {verdict.reason}".rstrip())

        await gate.record("acct_1", "tokens", 1000, idempotency_key="job-7")
        again = await gate.record("acct_1", "tokens", 1000, idempotency_key="job-7")
        print("job-7 was recorded before:", again["replayed"])
        verdict = await gate.check("acct_1", "tokens")
        print(f"one token more on free: {verdict.allowed} {verdict.reason}")

        await gate.subscribe("acct_1", "growth")
        await gate.office.credits.grant("acct_1", "5.00")
        beyond = await gate.record("acct_1", "tokens", 10_000)
        print("10,000 tokens on growth cost", beyond["cost"]["amount"], "USD beyond the allowance")
        known = await gate.record("acct_1", "search", 1, cost="0.01", service="crawler")
        print("a search, whose cost the crawler knows:", known["cost"]["amount"], "USD")
        print("left:", await gate.balance("acct_1"), "nanos")

        try:
            await gate.record("acct_1", "tokens", -1)
        except InvalidInput as error:
            print(error)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["METERGATE_DATA"] = folder
        asyncio.run(main())
