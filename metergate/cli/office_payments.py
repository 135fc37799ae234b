"""The commands of money in, as a table."""

from collections.abc import Mapping
from types import MappingProxyType

from metergate.cli import show
from metergate.cli.lines import ACCOUNT, PAGE, Line, arg, opt, switch

PROVIDER = opt("provider", "Only of this provider.", metavar="NAME")
PART = opt("amount", "A part of it; all unless told.", metavar="AMOUNT")

PAYMENTS: Mapping[str, Line] = MappingProxyType(
    {
        "payments create": Line(
            "payments.create",
            "Have account A pay, with a kept method or on a page whose address is shown.",
            (
                arg("a", "account"),
                opt("amount", "Credits for as much money.", metavar="AMOUNT"),
                opt("pack", "A pack of the policy.", metavar="PACK"),
                opt("plan", "A plan of the policy.", metavar="P"),
                opt("method", "A payment method that the provider keeps.", metavar="ID"),
                opt("provider", "Another provider than the policy would choose.", metavar="NAME"),
                opt("description", "What the payer reads."),
                opt("id", "Once per this id.", metavar="ID"),
            ),
        ),
        "payments list": Line(
            "payments.list",
            "List payments, the newest first.",
            (ACCOUNT, *PAGE),
            show.rows("id", "account", "provider", "state", "amount", "refunded", "reason", "mismatch"),
        ),
        "payments show": Line("payments.show", "Show the payment ID as we know it.", (arg("id"),)),
        "payments verify": Line(
            "payments.verify", "Ask the provider what has become of the payment ID.", (arg("id"),)
        ),
        "payments capture": Line(
            "payments.capture", "Take the money of the authorised payment ID.", (arg("id"), PART)
        ),
        "payments cancel": Line(
            "payments.cancel", "Give up the payment ID that nobody has paid.", (arg("id"),)
        ),
        "payments refund": Line(
            "refunds.create",
            "Give the payment ID back; its credits go with it.",
            (arg("id", "payment"), PART, opt("id", "Once per this id.", "id", "REFUND")),
        ),
        "payments refunds": Line(
            "refunds.list",
            "What of the payment ID went back.",
            (arg("id", "payment"),),
            show.rows("id", "state", "amount", "credits", "created_at"),
        ),
        "customers import": Line(
            "customers.import",
            "Take CUSTOMER of a provider as account A; the one before stays in the history.",
            (arg("a", "account"), arg("provider"), arg("customer")),
        ),
        "customers portal": Line(
            "customers.portal",
            "Show the address of a page on which account A looks after its methods and invoices.",
            (arg("a", "account"), opt("return-url", "Where the page leads back to.", metavar="URL")),
        ),
        "providers list": Line(
            "providers.list",
            "List the payment providers and what they can do.",
            (),
            show.rows("name", "adapter", "mode", "state", "capabilities", "detail"),
        ),
        "providers health": Line(
            "providers.health",
            "Ask every payment provider how it is; exits with 1 unless all are well.",
            (),
            show.rows("name", "mode", "state", "latency_us", "detail"),
            "ok",
        ),
        "providers sync": Line(
            "providers.sync",
            "List the policy's meters, plans and packs at the providers; again it changes nothing.",
            (PROVIDER,),
            show.rows("provider", "kind", "name", "id", "change"),
        ),
        "pushes list": Line(
            "pushes.list",
            "Usage totals that payment providers are told of, the newest first.",
            (
                PROVIDER,
                ACCOUNT,
                opt("state", "pending, sent, accepted, parked, dropped or late.", metavar="STATE"),
                *PAGE,
            ),
            show.rows(
                "provider", "account", "meter", "since", "until", "revision", "units", "state", "detail"
            ),
        ),
        "reconcile": Line(
            "reconcile",
            "Compare what was used, intended and counted by providers; exits with 1 on a difference.",
            (
                PROVIDER,
                ACCOUNT,
                switch("repair", "Put right what differs; nothing is billed twice."),
            ),
            show.reconciled,
            "ok",
        ),
        "webhooks list": Line(
            "webhooks.list",
            "What payment providers told us, the newest first.",
            (
                PROVIDER,
                opt("state", "waiting, done, ignored, refused or dead.", metavar="STATE"),
                *PAGE,
            ),
            show.rows("received_at", "provider", "id", "type", "state", "deliveries", "tries", "detail"),
        ),
        "webhooks replay": Line(
            "webhooks.replay",
            "Handle the event ID once more, or all of a state.",
            (
                arg("id", required=False),
                PROVIDER,
                opt("state", "All that are dead, refused or ignored.", metavar="STATE"),
            ),
        ),
        "webhooks health": Line("webhooks.health", "How much news waits, and since when."),
    }
)
