"""Money in from Python: Gate.pay and what follows, and `metergate.providers`."""

from pathlib import Path

import pytest

from metergate import PaymentFailed, ProviderError, providers
from metergate.bootstrap import Gate
from metergate.config.settings import Settings
from metergate.errors import ConfigurationError, InvalidInput
from metergate.provider_port import Context, ProviderHealth
from metergate.provider_port.http import ask
from tests.billing.bench import NANOS, POLICY

PAID = {**POLICY, "provider": "mock"}


async def test_pay_leads_to_a_page_and_verify_credits_what_was_paid(tmp_path: Path) -> None:
    async with Gate.open(PAID, settings=Settings(data=tmp_path)) as gate:
        payment = await gate.pay("acct_1", "10.00", "USD", description="Ten dollars")
        assert (payment.state, payment.amount, payment.currency) == ("pending", "10.00", "USD")
        await ask("POST", payment.url, body=b"card=4242424242424242")
        paid = await gate.verify_payment(payment.id)
        assert (paid.state, await gate.balance("acct_1")) == ("succeeded", 10 * NANOS)
        assert paid.method == {"type": "card", "brand": "visa", "last4": "4242"}
        back = await gate.refund_payment(payment.id, "4.00", refund="ref-1")
        assert (back.refunded, await gate.balance("acct_1")) == ("4.00", 6 * NANOS)


async def test_what_was_authorised_is_captured(tmp_path: Path) -> None:
    async with Gate.open(PAID, settings=Settings(data=tmp_path)) as gate:
        payment = await gate.pay("acct_1", "10.00", capture=False)
        await ask("POST", payment.url, body=b"card=4242424242424242")
        assert (await gate.verify_payment(payment.id)).capturable
        assert (await gate.capture_payment(payment.id)).state == "succeeded"
        assert await gate.balance("acct_1") == 10 * NANOS


async def test_a_decline_is_a_payment_failed(tmp_path: Path) -> None:
    async with Gate.open(PAID, settings=Settings(data=tmp_path)) as gate:
        await gate.pay("acct_1", "1.00")
        method = await gate.office.payments.attach("acct_1", "tok_declined")
        with pytest.raises(PaymentFailed, match="declined"):
            await gate.pay("acct_1", "10.00", method=method["id"])


async def test_without_a_provider_there_is_only_tracking(tmp_path: Path) -> None:
    async with Gate.open(POLICY, settings=Settings(data=tmp_path)) as gate:
        with pytest.raises(ProviderError, match="name one with `provider:`"):
            await gate.pay("acct_1", "10.00")
        with pytest.raises(InvalidInput, match="no payment pay_none"):
            await gate.verify_payment("pay_none")


async def test_providers_are_chosen_by_currency_region_account_or_name(tmp_path: Path) -> None:
    several = {
        **POLICY,
        "providers": {
            "euros": {"use": "sandbox", "when": {"currency": "EUR"}},
            "eu": {"use": "sandbox", "when": {"region": "eu-*"}},
            "big": {"use": "sandbox", "when": {"account": "big-*"}},
            "spare": {"use": "sandbox", "settings": {"SANDBOX_SECRET_KEY": "sk_test_spare"}},
            "default": "sandbox",
        },
    }
    async with Gate.open(several, settings=Settings(data=tmp_path)) as gate:
        await gate.office.accounts.create("berlin", metadata={"region": "eu-1"})
        made = [await gate.pay(account, "1.00") for account in ("berlin", "big-one", "boston")]
        made.append(await gate.pay("boston", "1.00", provider="spare"))
        shown = [await gate.office.payments.show(payment.id) for payment in made]
        assert [each["provider"] for each in shown] == ["eu", "big", "sandbox", "spare"]
    elsewhere = Settings(data=tmp_path / "euros")
    async with Gate.open({**several, "currency": "EUR"}, settings=elsewhere) as gate:
        payment = await gate.pay("boston", "1.00")
        assert (await gate.office.payments.show(payment.id))["provider"] == "euros"


class Own:
    """A provider without a package."""

    live = False

    def __init__(self, context: Context) -> None:
        self.key = context.secret("OWN_KEY")

    async def health(self) -> ProviderHealth:
        return ProviderHealth(ok=True)

    async def close(self) -> None: ...


async def test_a_provider_is_registered_made_and_listed() -> None:
    providers.register("own", Own)
    assert {"own", "sandbox"} <= set(providers.available())
    assert "redis" not in providers.available()
    assert (await providers.create("own", OWN_KEY="k").health()).ok
    with pytest.raises(ConfigurationError, match="Set OWN_KEY"):
        providers.create("own")
    with pytest.raises(ConfigurationError, match="Install the package that provides metergate_nobody"):
        providers.create("nobody")


async def test_the_sandbox_is_made_by_its_other_name() -> None:
    made = providers.create("mock")
    assert (await made.health()).ok
    await made.close()
