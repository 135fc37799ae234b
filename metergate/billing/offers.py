"""What can be bought: a pack, a plan, or an amount of credits; and where payers are sent back to."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from metergate.billing.orders import Wanted, minor_of
from metergate.core.policy import Policy
from metergate.errors import InvalidInput
from metergate.provider_port import CREDITS, PLAN


def of_pack(account: str, pack: str, policy: Policy) -> Wanted:
    found = policy.packs.get(pack)
    if found is None:
        raise InvalidInput(f"There is no pack {pack!r:.60}; see the plans for those on offer.")
    price = minor_of(found.price, policy.currency)
    return Wanted(account, price, CREDITS, found.credits, pack, f"Credits: {pack}")


def of_plan(account: str, plan: str, policy: Policy) -> Wanted:
    found = policy.plans.get(plan)
    if found is None or found.price is None or found.price.amount <= 0:
        contact = f"; write to {found.contact}" if found and found.contact else ""
        raise InvalidInput(f"The plan {plan!r:.60} cannot be bought here{contact}.")
    price = minor_of(found.price.amount, policy.currency)
    every = str(found.price.every)
    return Wanted(account, price, PLAN, 0, plan, f"Plan: {found.name or plan}", every)


def of_amount(account: str, nanos: int, currency: str) -> Wanted:
    """Credits for as much money."""
    return Wanted(account, minor_of(nanos, currency), CREDITS, nanos, "", "Credits")


def safe_return(url: str, origins: Sequence[str]) -> str:
    """An address that payers may be sent to: of an origin that the operator has listed."""
    if _origin(url) not in {_origin(each) for each in origins} - {""}:
        raise InvalidInput(
            f"Payers are not sent back to {_origin(url) or 'nowhere':.80}: give an address of this "
            "service, or add its origin to return_origins in the policy."
        )
    return url


def _origin(url: str) -> str:
    """Where an address leads; empty where browsers and we might read it in two ways, or cannot."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    plain = url.isascii() and url.isprintable() and not {" ", "\\"} & set(url)
    return f"{parts.scheme}://{parts.netloc}" if plain and parts.netloc else ""
