"""Refusals on the wire: one body that people, the OpenAI SDK and the Anthropic SDK read."""

import msgspec

from metergate.asgi.types import Headers, Send
from metergate.core.policy import Policy
from metergate.core.refusal import Refusal, body, headers


def answer(
    refusal: Refusal, policy: Policy, request_id: str, *, anthropic: bool
) -> tuple[int, Headers, bytes]:
    """Status, headers and body of a refusal."""
    url = top_up_url(policy)
    members = body(refusal, request_id, currency=policy.currency, top_up_url=url, anthropic=anthropic)
    payload = msgspec.json.encode(members)
    found: Headers = [
        *headers(refusal, top_up_url=url),
        (b"content-length", b"%d" % len(payload)),
        (b"metergate-request-id", request_id.encode()),
    ]
    return refusal.status, found, payload


def top_up_url(policy: Policy) -> str:
    return policy.top_up_url or (f"{policy.billing}/v1/plans" if policy.billing else "")


async def send_refusal(
    send: Send, refusal: Refusal, policy: Policy, request_id: str, *, anthropic: bool, prefix: str = "http"
) -> None:
    status, found, payload = answer(refusal, policy, request_id, anthropic=anthropic)
    await send({"type": f"{prefix}.response.start", "status": status, "headers": found})
    await send({"type": f"{prefix}.response.body", "body": payload})
