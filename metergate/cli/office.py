"""The commands that are verbs of the office, as a table: what is typed, the verb, how its answer is shown."""

from collections.abc import Mapping
from types import MappingProxyType

import click

from metergate.cli import asking, show
from metergate.cli.lines import ACCOUNT, PAGE, JsonObject, Line, arg, opt, switch
from metergate.cli.office_guards import GUARDS
from metergate.cli.office_notices import NOTICES
from metergate.cli.office_payments import PAYMENTS

PERIOD = (
    opt("since", "From this time on, such as 2026-01-31T00:00:00Z.", metavar="TIME"),
    opt("until", "Before this time.", metavar="TIME"),
)
EXPIRES = opt("expires", "When it ends: 30d, or a time.", "expires_at", "30d|TIME")
FREE = opt("metadata", "Free data as a JSON object.", metavar="JSON", type=JsonObject())
NAMED = (opt("name", "A name for people."), opt("email", "Where the account is reached."), FREE)

LINES: Mapping[str, Line] = MappingProxyType(
    {
        "accounts create": Line(
            "accounts.create",
            "Open account A, on a plan or on the policy's default one.",
            (
                arg("a", "id"),
                opt("plan", "The plan to begin on.", metavar="P"),
                *NAMED,
                opt("currency", "Its currency."),
            ),
        ),
        "accounts list": Line(
            "accounts.list",
            "List accounts.",
            PAGE,
            show.rows("id", "plan", "name", "suspended", "created_at"),
        ),
        "accounts show": Line("accounts.show", "Show account A.", (arg("a", "id"),)),
        "accounts update": Line(
            "accounts.update", "Change what is given of account A.", (arg("a", "id"), *NAMED)
        ),
        "accounts suspend": Line(
            "accounts.suspend", "Stop account A: its next call is refused.", (arg("a", "id"),)
        ),
        "accounts resume": Line("accounts.resume", "Let account A call again.", (arg("a", "id"),)),
        "keys create": Line(
            "keys.create",
            "Make a key. It is shown this once.",
            (
                opt("account", "Whose key it is.", metavar="A", required=True),
                EXPIRES,
                opt("scope", "What it may do; may be given again.", "scopes", "S", multiple=True),
                opt("environment", "live or test; else the policy's.", metavar="ENV"),
                opt("cap", "The most it may spend in a period.", metavar="AMOUNT"),
                opt("cap-every", "The period: day, week, month, year.", metavar="PERIOD"),
                opt("network", "Where it may come from; may be given again.", "networks", "N", multiple=True),
            ),
        ),
        "keys list": Line(
            "keys.list",
            "List keys, without their secrets.",
            (ACCOUNT, *PAGE),
            show.rows(
                "kid", "account", "environment", "last4", "scopes", "state", "last_used_at", "expires_at"
            ),
        ),
        "keys show": Line("keys.show", "Show the key KID, without its secret.", (arg("kid"),)),
        "keys rotate": Line(
            "keys.rotate",
            "Make a key in the place of KID, which goes on working for a grace.",
            (
                arg("kid"),
                opt("grace", "How long both work: 24h unless told, at most 7d, 0 ends it.", metavar="24h"),
            ),
            show.rotated,
        ),
        "keys revoke": Line("keys.revoke", "End the key KID: its next call is refused.", (arg("kid"),)),
        "credits grant": Line(
            "credits.grant",
            "Give account A credits, once per id.",
            (
                arg("a", "account"),
                arg("amount"),
                EXPIRES,
                switch("promotional", "A present, and not bought."),
                opt("id", "A name of yours; the same id again gives nothing more.", metavar="ID"),
                opt("memo", "What it is for."),
                opt("promotion", "A present that one person gets once, by this name.", metavar="NAME"),
            ),
        ),
        "credits adjust": Line(
            "credits.adjust",
            "Correct what account A can spend by AMOUNT, below zero to take away; once per id.",
            (
                arg("a", "account"),
                arg("amount"),
                opt("reason", "Why; it stays in the books.", required=True),
                opt("id", "A name of yours; the same id again changes nothing more.", metavar="ID"),
            ),
            signed=True,
        ),
        "credits show": Line(
            "credits.show", "What account A can spend, what is held, and its grants.", (arg("a", "account"),)
        ),
        "credits list": Line(
            "grants.list",
            "List what was granted, the newest first.",
            (ACCOUNT, *PAGE),
            show.rows("id", "account", "amount", "remaining", "state", "promotional", "expires_at", "memo"),
        ),
        **PAYMENTS,
        **NOTICES,
        **GUARDS,
        "plans list": Line(
            "plans.list",
            "List the plans of the policy.",
            (),
            show.rows("id", "name", "price", "features", "included", "on_exceed", "limits"),
        ),
        "plans show": Line("plans.show", "Show the plan PLAN.", (arg("plan", "id"),)),
        "subscriptions list": Line(
            "subscriptions.list", "Who is on which plan.", PAGE, show.rows("account", "plan", "since")
        ),
        "subscriptions show": Line(
            "subscriptions.show", "Which plan account A is on.", (arg("a", "account"),)
        ),
        "subscriptions assign": Line(
            "subscriptions.assign", "Put account A on the plan PLAN.", (arg("a", "account"), arg("plan"))
        ),
        "subscriptions check": Line(
            "subscriptions.check",
            "Whether account A is on the plan PLAN; exits with 1 when it is not.",
            (arg("a", "account"), arg("plan")),
            no="subscribed",
        ),
        "usage list": Line(
            "usage.list",
            "List usage rows, the newest first.",
            (ACCOUNT, *PERIOD, *PAGE),
            show.rows("at", "account", "meter", "units", "cost", "service", "route", "request_id"),
        ),
        "usage show": Line(
            "usage.totals",
            "What account A, or everybody, used of each meter.",
            (arg("a", "account", required=False), *PERIOD),
            show.rows("meter", "calls", "units", "cost"),
        ),
        "usage request": Line(
            "usage.show", "What one request was charged for.", (arg("request", "id"), ACCOUNT)
        ),
        "usage retry": Line(
            "usage.retry", "Post what was set aside and can be posted by now; each event once."
        ),
        "usage record": Line(
            "usage.record",
            "Count usage of account A that happened elsewhere.",
            (
                arg("a", "account"),
                arg("meter"),
                arg("units"),
                opt("service", "Who reports it."),
                opt("cost", "What it cost, where the policy does not know.", metavar="AMOUNT"),
                opt("at", "When it happened; now unless told.", metavar="TIME"),
                opt("dimensions", "Its dimensions as a JSON object.", metavar="JSON", type=JsonObject()),
                opt("id", "Count it once per this key.", "idempotency_key", "KEY"),
            ),
        ),
        "ledger list": Line(
            "ledger.list", "Transactions with their entries, the newest first.", (ACCOUNT, *PAGE), show.ledger
        ),
        "ledger head": Line(
            "ledger.head", "The newest link of the chain over the ledger; keep it elsewhere to verify with."
        ),
        "ledger derive": Line(
            "ledger.derive", "Make balances, rests of grants and windows anew from the entries and the usage."
        ),
        "audit": Line(
            "audit.list",
            "Who did what, the newest first.",
            (opt("subject", "Only about this account, key or policy.", metavar="ID"), *PAGE),
            show.rows("at", "actor", "action", "subject", "details"),
        ),
        "explain": Line(
            "policy.explain",
            "Why a request would be admitted or refused, rule by rule.",
            (
                arg("method"),
                arg("path"),
                opt("account", "Who calls.", metavar="A"),
                opt("body", "What the request says, where its price hangs on that.", metavar="JSON"),
            ),
            show.steps,
        ),
        "health": Line(
            "health",
            "State of store, ledger and worker; exits with 1 unless all are well.",
            (),
            show.health,
            "state",
        ),
        "metrics": Line("metrics", "Counts since the service started, and what waits now."),
        "policy show": Line("policy.show", "What the running policy says."),
        "policy reload": Line("policy.reload", "Read the policy anew; a bad file changes nothing."),
    }
)


def commands() -> Mapping[str, click.Command]:
    """Every line as a command, under the words that are typed."""
    return {
        words: asking.command(
            words.rsplit(maxsplit=1)[-1], line.verb, line.params, line.show, line.help, line.no, line.signed
        )
        for words, line in LINES.items()
    }
