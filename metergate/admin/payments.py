"""Payments, as operators and customers ask for them: paid, looked at, captured, given back."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from metergate.admin import inputs, money_shapes
from metergate.admin.credits import found
from metergate.admin.desk import Desk, Json, page
from metergate.admin.errors import NotFound
from metergate.admin.pushes import Reconciled
from metergate.errors import InvalidInput
from metergate.ledger import payments, reversals
from metergate.ledger.database import Tx
from metergate.ledger.payments import Payment
from metergate.ledger.reversals import Refund


class Till(Protocol):
    """Who takes payments: see `billing.till`."""

    async def buy(
        self,
        account: str,
        *,
        pack: str = "",
        plan: str = "",
        nanos: int = 0,
        currency: str = "",
        id: str = "",
        actor: str = "",
        **how: Any,
    ) -> Payment: ...

    async def verify(self, id: str) -> Payment: ...

    async def capture(self, id: str, nanos: int | None, actor: str) -> Payment: ...

    async def cancel(self, id: str, actor: str) -> Payment: ...

    async def claim(self, id: str, transaction: str, signature: str, actor: str) -> Payment: ...

    async def refund(self, payment: str, nanos: int | None, id: str, actor: str) -> Refund: ...

    async def methods(self, account: str) -> Sequence[Mapping[str, str]]: ...

    async def attach(self, account: str, token: str, source: str) -> Mapping[str, str]: ...

    async def detach(self, account: str, method: str) -> None: ...

    async def portal(self, account: str, return_url: str) -> str: ...

    async def import_customer(
        self, account: str, provider: str, external_id: str, actor: str
    ) -> Mapping[str, str]: ...

    async def known(self) -> Sequence[Json]: ...

    async def sync(self, provider: str) -> Sequence[Json]: ...

    async def reconcile(self, provider: str, account: str | None, *, repair: bool) -> Reconciled: ...

    def pushing(self) -> Mapping[str, int]: ...

    def heard(self) -> Mapping[str, Mapping[str, int]]: ...

    def look_again(self) -> None: ...


_HOW = ("method", "provider", "success_url", "cancel_url", "description", "source")


class Payments:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def create(
        self,
        account: object,
        amount: object = None,
        pack: object = None,
        plan: object = None,
        currency: object = None,
        id: object = None,
        description: object = "",
        method: object = "",
        provider: object = "",
        success_url: object = "",
        cancel_url: object = "",
        capture: object = True,
        token: object = "",
        wallet: object = "",
        source: object = "",
    ) -> Json:
        """Have an account pay: with a method that its provider keeps, or on a page. Once per id.

        `source` is the address from which it was asked for, where that is known.
        """
        if [amount, pack, plan].count(None) != 2:
            raise InvalidInput("Give one of amount, pack and plan.")
        told = zip(_HOW, (method, provider, success_url, cancel_url, description, source), strict=True)
        options = {"token": token, "wallet": wallet}
        how = {name: inputs.text(value, f"the {name}", 2000) for name, value in told}
        if how["method"]:
            inputs.payment_token(how["method"], "the method")
        made = await self._desk.till.buy(
            inputs.account_id(account),
            pack="" if pack is None else inputs.name(pack, "a pack"),
            plan="" if plan is None else inputs.name(plan, "a plan"),
            nanos=0 if amount is None else inputs.amount(amount, "an amount"),
            currency="" if currency is None else inputs.text(currency, "a currency", 3),
            id="" if id is None else inputs.ident(id, "a payment id"),
            actor=self._desk.actor,
            capture=inputs.flag(capture, "capture"),
            options={name: inputs.name(value, f"a {name}") for name, value in options.items() if value},
            **how,
        )
        return await self._shown(made)

    async def page(self, account: object = None, limit: object = inputs.LIMIT, after: object = "") -> Json:
        """Payments, the newest first."""
        id = None if account is None else inputs.account_id(account)
        most, last = inputs.limit(limit), inputs.seq(after)

        def work(tx: Tx) -> list[tuple[int, Json]]:
            rows = payments.page(tx, id, most + 1, last)
            return [(row.seq, _shape(tx, row)) for row in rows]

        rows = await self._desk.read(work)
        return page([shown for _, shown in rows], most, [seq for seq, _ in rows])

    async def show(self, id: object, account: object = None) -> Json:
        """One payment, as we know it."""
        return await self._shown(await self._one(id, account))

    async def verify(self, id: object, account: object = None) -> Json:
        """One payment, after asking its provider what has become of it."""
        known = await self._one(id, account)
        return await self._shown(await self._desk.till.verify(known.id))

    async def capture(self, id: object, amount: object = None, account: object = None) -> Json:
        """Take the money of an authorised payment, or a part of it."""
        known = await self._one(id, account)
        part = None if amount is None else inputs.amount(amount, "an amount")
        return await self._shown(await self._desk.till.capture(known.id, part, self._desk.actor))

    async def cancel(self, id: object, account: object = None) -> Json:
        """Give up a payment that nobody has paid."""
        known = await self._one(id, account)
        return await self._shown(await self._desk.till.cancel(known.id, self._desk.actor))

    async def claim(
        self, id: object, transaction: object, signature: object = "", account: object = None
    ) -> Json:
        """Say which transaction on a chain pays a payment."""
        known = await self._one(id, account)
        named = inputs.ident(transaction, "a transaction")
        signed = inputs.text(signature, "a signature", 1000)
        return await self._shown(await self._desk.till.claim(known.id, named, signed, self._desk.actor))

    async def refund(self, payment: object, amount: object = None, id: object = None) -> Json:
        """Give a payment back, all of it or a part, once per id."""
        known = await self._one(payment, None)
        part = None if amount is None else inputs.amount(amount, "an amount")
        named = f"ref_{secrets.token_hex(12)}" if id is None else inputs.ident(id, "a refund id")
        row = await self._desk.till.refund(known.id, part, named, self._desk.actor)
        return money_shapes.refund(row)

    async def refunds(self, payment: object) -> Json:
        """What of a payment went back."""
        known = await self._one(payment, None)
        rows = await self._desk.read(lambda tx: reversals.refunds_of(tx, known.id))
        return {"data": [money_shapes.refund(row) for row in rows]}

    async def methods(self, account: object) -> Json:
        """What an account pays with; its provider keeps them."""
        return {"data": list(await self._desk.till.methods(inputs.account_id(account)))}

    async def attach(self, account: object, token: object, source: object = "") -> Json:
        """Keep a payment method; the token comes from the provider's own page or script."""
        owner, given = inputs.account_id(account), inputs.payment_token(token, "the token")
        return dict(await self._desk.till.attach(owner, given, inputs.text(source, "the source", 100)))

    async def detach(self, account: object, id: object) -> Json:
        """Forget a payment method."""
        named = inputs.payment_token(id, "the payment method")
        await self._desk.till.detach(inputs.account_id(account), named)
        return {"id": named, "deleted": True}

    async def portal(self, account: object, return_url: object = "") -> Json:
        """A page of the provider on which an account looks after its methods and invoices."""
        back = inputs.text(return_url, "the return_url", 2000)
        return {"url": await self._desk.till.portal(inputs.account_id(account), back)}

    async def import_customer(self, account: object, provider: object, customer: object) -> Json:
        """Take a customer that a provider has already, as an account."""
        owner = inputs.account_id(account)
        await self._desk.read(lambda tx: found(tx, owner))
        name, external = inputs.name(provider, "a provider"), inputs.ident(customer, "a customer id")
        return dict(await self._desk.till.import_customer(owner, name, external, self._desk.actor))

    async def providers(self) -> Json:
        """The payment providers, how they are, and what they can do."""
        till = self._desk.hooks.till
        return {"data": list(await till.known()) if till else []}

    async def health(self) -> Json:
        """Whether every payment provider is well."""
        known = (await self.providers())["data"]
        return {"ok": all(each["state"] == "ok" for each in known), "data": known}

    async def sync(self, provider: object = "") -> Json:
        """List the policy's meters, plans and packs at the providers that have a catalogue."""
        return {"data": list(await self._desk.till.sync(inputs.text(provider, "a provider", 64)))}

    async def _one(self, id: object, account: object) -> Payment:
        named = inputs.ident(id, "a payment id")
        row = await self._desk.read(lambda tx: payments.get(tx, named))
        if row is None or account not in (None, row.account):
            raise NotFound(f"There is no payment {named}.")
        return row

    async def _shown(self, row: Payment) -> Json:
        return await self._desk.read(lambda tx: _shape(tx, row))


def _shape(tx: Tx, row: Payment) -> Json:
    return money_shapes.payment(row, reversals.refunds_of(tx, row.id), reversals.disputes_of(tx, row.id))
