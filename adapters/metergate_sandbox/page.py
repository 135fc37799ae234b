"""The page on which a payer pays: a form, a question, or what became of it."""

from html import escape
from typing import Final

from metergate.core.money import EXPONENTS
from metergate.provider_port import CANCELED, PENDING, SUCCEEDED, PaymentFacts
from metergate_sandbox.state import Sale

Page = tuple[int, str, bytes]
_HEAD: Final = (
    "Content-Type: text/html; charset=utf-8\r\nCache-Control: no-store\r\nReferrer-Policy: no-referrer\r\n"
    "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
)
_STYLE: Final = (
    "body{font:16px/1.5 system-ui;max-width:26rem;margin:3rem auto;padding:0 1rem}button{font:inherit}"
)


def shown(payment: PaymentFacts, sale: Sale) -> Page:
    """Where the payment stands, or back to the shop."""
    back = sale.order.success_url if payment.state == SUCCEEDED or payment.capturable else ""
    if payment.state == CANCELED:
        back = sale.order.cancel_url
    if back:
        return 303, f"{_HEAD}\r\nLocation: {_location(back)}", b""
    if payment.state == SUCCEEDED or payment.capturable:
        return html(200, "<p>Paid. Thank you; you can close this page.</p>")
    if payment.state == CANCELED:
        return html(200, "<p>This checkout has closed.</p>")
    if payment.state == PENDING and sale.asked:
        return html(200, _question())
    return html(200, form(payment, payment.reason))


def form(payment: PaymentFacts, complaint: str = "") -> str:
    return (
        f"<h1>{escape(_amount(payment))}</h1><p role=alert>{escape(complaint)}</p>"
        "<form method=post><label>Card <input name=card value='4242424242424242' inputmode=numeric></label>"
        " <button>Pay</button></form><p>4242424242424242 pays, 4000000000000002 is declined,"
        " 4000002500003155 asks you to confirm. No money moves: this is a sandbox.</p>"
    )


def nothing() -> str:
    return "<p>There is nothing to pay here.</p>"


def html(status: int, body: str) -> Page:
    head = "<!doctype html><meta name=viewport content='width=device-width'><title>Sandbox</title>"
    return status, _HEAD, f"{head}<style>{_STYLE}</style>{body}".encode()


def _question() -> str:
    return (
        "<p>Your bank asks whether this is you.</p><form method=post><button name=confirm value=yes>Confirm"
        "</button> <button name=confirm value=no>Refuse</button></form>"
    )


def _amount(payment: PaymentFacts) -> str:
    minor, currency = payment.amount
    places = EXPONENTS.get(currency, 2)
    digits = f"{minor:0{places + 1}d}"
    return f"{digits[:-places]}.{digits[-places:]} {currency}" if places else f"{digits} {currency}"


def _location(url: str) -> str:
    return "".join(each for each in url if each.isascii() and each.isprintable() and each != " ")
