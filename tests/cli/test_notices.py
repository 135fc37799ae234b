"""Webhooks out, alerts and top-ups, as an operator types them."""

from tests.cli.conftest import Shell


def test_an_operator_does_it_on_the_command_line(shell: Shell) -> None:
    shell.ok("accounts create acct")
    made = shell.json("endpoints create https://example.com/hook --type credits.* --type key.revoked")
    assert made["secret"].startswith("whsec_")
    assert shell.json("endpoints list")["data"][0]["types"] == ["credits.*", "key.revoked"]
    shell.ok("credits grant acct 5.00 --id g-1")
    (waiting,) = shell.json("deliveries list --state waiting")["data"]
    body = shell.json(f"deliveries show {waiting['id']}")["body"]
    assert (body["type"], body["data"]["grant"]) == ("credits.granted", "g-1")
    assert shell.json("notices list --account acct")["data"][0]["id"] == waiting["notice"]
    assert "no type" in shell.no("endpoints create https://example.com/ --type nonsense")
    shell.ok(f"endpoints disable {made['id']}")
    assert shell.json(f"endpoints enable {made['id']}")["state"] == "on"
    assert shell.json(f"endpoints rotate {made['id']} --grace 0")["secret"] != made["secret"]
    shown = shell.json("alerts set acct --balance 2.00 --spend 50.00/month")
    assert (shown["balance"][0]["amount"], shown["spend"][0]["every"]) == ("2.00", "month")
    assert shell.json("topups list")["data"] == []
    assert shell.json(f"deliveries replay {waiting['id']}") == {"replayed": 1}
    shell.ok(f"endpoints delete {made['id']}")
    assert shell.json("deliveries list")["data"] == []
