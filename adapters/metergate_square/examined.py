"""What an operator may have set up wrongly at Square: where its news goes, and which, and with which key."""

from collections.abc import Sequence
from typing import Final

from metergate_square.calls import ONCE, Calls, Refused
from metergate_square.feed import TYPES

KEY: Final = "SQUARE_WEBHOOK_SIGNATURE_KEY"


async def examined(calls: Calls, url: str, keys: Sequence[str]) -> list[str]:
    """Square shows webhook subscriptions to the application's own token alone; to another it says nothing."""
    try:
        listed = await calls.listed(calls.square.webhooks.subscriptions.list(request_options=ONCE))
    except Refused as refused:
        if refused.status in (401, 403):
            return []
        raise
    ours = [each for each in listed if each.notification_url == url and each.enabled]
    if not ours:
        return [f"Add a webhook subscription {url} at Square that hears {', '.join(TYPES)}."]
    wrong = []
    heard = {name for each in ours for name in each.event_types or ()}
    if missing := [name for name in TYPES if name not in heard]:
        wrong.append(f"Let the webhook subscription {url} of Square hear {', '.join(missing)}, too.")
    shown = {each.signature_key for each in ours if each.signature_key}
    if shown and shown.isdisjoint(keys):
        wrong.append(f"Set {KEY} to the signature key of the webhook subscription {url}.")
    return wrong
