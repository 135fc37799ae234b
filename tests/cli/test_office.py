"""What operators do, by command: the office's verbs as they are typed."""

import re

import pytest

from metergate.admin import VERBS
from metergate.cli.office import LINES
from tests.cli.conftest import Shell

OVER_HTTP_ONLY = {
    "authz.ask",
    "usage.record_batch",
    # What customers do with their own payments.
    "payments.claim",
    "methods.list",
    "methods.attach",
    "methods.detach",
}
OF_APPS = {"currency", "success_url", "cancel_url", "capture", "token", "wallet", "source"}
OF_OTHER_COMMANDS = {"verify", "verify.steps"}
SET_BY_OTHER_COMMANDS = {
    "accounts.update": {"suspended", "plan"},
    "payments.create": OF_APPS,
    **{f"payments.{verb}": {"account"} for verb in ("show", "verify", "capture", "cancel")},
}


def test_every_verb_of_the_office_can_be_typed() -> None:
    """What the admin API can do, the command line can."""
    assert {line.verb for line in LINES.values()} == set(VERBS) - OVER_HTTP_ONLY - OF_OTHER_COMMANDS


@pytest.mark.parametrize("words", LINES)
def test_a_command_offers_all_that_its_verb_takes(words: str) -> None:
    """Nothing is missing and nothing is made up."""
    line = LINES[words]
    verb = VERBS[line.verb]
    offered = {param.name for param in line.params}
    assert offered == {*verb.required, *verb.optional} - SET_BY_OTHER_COMMANDS.get(line.verb, set())
    assert {param.name for param in line.params if param.required} == set(verb.required)


def test_an_account_from_its_opening_to_its_books(shell: Shell) -> None:
    """A day of an operator."""
    assert shell.json("accounts create acme --plan pro --name Acme")["plan"] == "pro"
    made = shell.json("keys create --account acme --expires 30d --scope read --scope write")
    assert made["key"].startswith(f"mg_live_{made['kid']}_")
    assert (made["account"], made["scopes"]) == ("acme", ["read", "write"])
    assert made["expires_at"]
    assert shell.json("credits grant acme 5.00 --promotional --id welcome")["promotional"] is True
    assert shell.json("credits grant acme 5.00 --promotional --id welcome")["id"] == "welcome"
    assert shell.json("credits show acme")["balance"]["amount"] == "5.00"
    assert shell.json("usage record acme tokens 120 --id job-7")["cost"]["amount"] == "0.12"
    assert shell.json("usage record acme tokens 120 --id job-7")["replayed"] is True
    [total] = shell.json("usage show acme")["data"]
    assert (total["meter"], total["units"]) == ("tokens", 120)
    kinds = {each["kind"] for each in shell.json("ledger --account acme")["data"]}
    assert kinds == {"grant", "usage"}
    corrected = shell.json("credits adjust acme -0.50 --reason refund --id r1")
    assert (corrected["amount"]["amount"], corrected["transaction"]) == ("-0.50", "adjust:r1")
    proved = shell.json("verify")
    assert (proved["ok"], proved["differences"]) == (True, [])
    assert shell.json(f"verify --head {shell.json('ledger head')['head']}")["ok"]
    actors = {each["actor"] for each in shell.json("audit")["data"]}
    assert actors == {"cli"}


def test_a_key_is_rotated_with_a_grace_and_revoked_at_once(shell: Shell) -> None:
    """The old key goes on for the grace; a revoked one is over."""
    shell.ok("accounts create acme")
    old = shell.json("keys create --account acme")
    new = shell.json(f"keys rotate {old['kid']} --grace 1h")
    assert new["replaces"]["kid"] == old["kid"]
    assert new["replaces"]["state"] == "active"
    shown = shell.ok(f"keys rotate {new['kid']}")
    assert re.search(rf"^replaces +{new['kid']}$", shown, re.MULTILINE)
    assert re.search(r"^both_work_until +20\d\d-", shown, re.MULTILINE)
    assert shell.json(f"keys revoke {old['kid']}")["state"] == "revoked"
    assert shell.json(f"keys revoke {new['kid']}")["state"] == "revoked"
    assert [each["state"] for each in shell.json("keys --account acme")["data"]].count("active") == 1
    assert "mg_live_" not in shell.ok("keys list")


def test_accounts_are_suspended_moved_and_asked(shell: Shell) -> None:
    """`check` answers with its exit code."""
    shell.ok("accounts create acme")
    assert shell.json("accounts suspend acme")["suspended"] is True
    assert shell.json("accounts resume acme")["suspended"] is False
    assert shell.run("subscriptions check acme pro").exit_code == 1
    shell.ok("subscriptions assign acme pro")
    assert shell.run("subscriptions check acme pro").exit_code == 0
    told = shell.json('accounts update acme --email a@example.com --metadata {"crm":7}')
    assert (told["email"], told["metadata"]) == ("a@example.com", {"crm": 7})


def test_people_read_tables_and_facts(shell: Shell) -> None:
    """Without --json: a line a thing, money with its currency."""
    shell.ok("accounts create acme")
    shell.ok("credits grant acme 5.00")
    assert shell.ok("accounts").splitlines()[1].split()[:3] == ["acme", "free", "no"]
    assert "9.00 USD a month" in shell.ok("plans")
    assert "balance  5.00 USD" in shell.ok("credits show acme")
    assert "5.00 USD  credits:acme" in shell.ok("ledger")
    assert shell.ok("verify").startswith("Every balance follows from the entries.\n")
    assert shell.ok("health").startswith("ok  policy sha256:")
    assert "routes" in shell.ok("policy show")
    assert shell.ok("policy reload").startswith("version")


@pytest.mark.parametrize(
    ("request_line", "last"),
    [
        ("GET /health", "admitted"),
        ("GET /x --account acme", "insufficient_credits"),
        ("GET /chat --account acme", "feature_not_in_plan"),
        ("GET /x", "key_missing"),
    ],
)
def test_explain_says_why_rule_by_rule(shell: Shell, request_line: str, last: str) -> None:
    """The last step is the verdict, for people and for programs."""
    shell.ok("accounts create acme")
    steps = shell.json(f"explain {request_line}")["steps"]
    assert steps[-1]["rule"] == "verdict"
    assert steps[-1].get("reason", "admitted") == last
    assert shell.ok(f"explain {request_line}").splitlines()[-1].split()[1] == "verdict"


def test_usage_is_exported_for_spreadsheets_and_programs(shell: Shell) -> None:
    """One row each, with the same facts."""
    shell.ok("accounts create acme")
    for number in range(3):
        shell.ok(f"usage record acme tokens {number + 1}")
    head, *rows = shell.ok("usage export --account acme").splitlines()
    assert head.startswith("id,request_id,account")
    assert len(rows) == 3
    assert len(shell.ok("usage export --json").splitlines()) == 3
    shell.ok("usage export --output usage.csv")
    assert (shell.folder / "usage.csv").read_text().splitlines() == [head, *rows]


def test_long_lists_come_in_pages(shell: Shell) -> None:
    """What is left out is said, with the way to it."""
    for name in ("a", "b", "c"):
        shell.ok(f"accounts create {name}")
    page = shell.json("accounts list --limit 2")
    assert (page["has_more"], page["after"]) == (True, "b")
    assert "--after b" in shell.run("accounts --limit 2").stderr
    assert [each["id"] for each in shell.json("accounts --after b")["data"]] == ["c"]


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("keys create --account nobody", 1, "create it first"),
        ("keys create", 2, "--account"),
        ("keys rotate nonsense", 1, "no key nonsense"),
        ("credits grant acme 1,50", 1, "decimal string"),
        ("credits grant acme NaN", 1, "decimal string"),
        ("credits grant acme 0", 1, "above zero"),
        ("credits grant acme", 2, "AMOUNT"),
        ("usage record acme tokens 1.5", 1, "whole number"),
        ("usage record acme tokens ٣", 1, "whole number"),
        ("usage record acme tokens 1_0", 1, "whole number"),
        ("accounts create a/b", 1, "account id"),
        ("accounts update acme --metadata {", 2, "no JSON"),
        ("accounts list --limit 0", 1, "limit"),
        ("subscriptions assign acme gold", 1, "no plan"),
        ("nonsense", 2, "No such command"),
    ],
)
def test_every_error_is_one_sentence(shell: Shell, line: str, code: int, says: str) -> None:
    """It says what to do, changes nothing, and never shows a traceback."""
    shell.ok("accounts create acme")
    assert says in shell.no(line, code)
    assert shell.json("credits show acme")["grants"] == []


def test_a_command_without_a_policy_asks_for_one(shell: Shell) -> None:
    """Exit code 2: it was not understood."""
    assert "METERGATE_POLICY" in shell.no("accounts list", 2, METERGATE_POLICY="")
