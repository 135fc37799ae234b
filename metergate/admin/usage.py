"""Usage: read from the ledger, reported through the gate."""

from collections.abc import Mapping, Sequence

from metergate.admin import inputs, shapes
from metergate.admin.credits import found
from metergate.admin.desk import Desk, Json, page
from metergate.admin.errors import NotFound
from metergate.core.money import as_json, shown
from metergate.core.report import Receipt, Report
from metergate.errors import InvalidInput, MetergateError
from metergate.ledger import accounts, apart, usage
from metergate.ledger.database import Tx
from metergate.ledger.usage import Total, UsageRow
from metergate.ports import Change, PutAccount

BATCH_MAX = 1000
AHEAD_US = 5 * 60 * 10**6
"""Clocks differ a little; usage of the future is a mistake."""
FIELDS = frozenset({"account", "meter", "units", "service", "cost", "at", "dimensions", "idempotency_key"})
REQUIRED = ("account", "meter", "units")


class Usage:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def page(
        self,
        account: object = None,
        since: object = None,
        until: object = None,
        limit: object = inputs.LIMIT,
        after: object = "",
    ) -> Json:
        """Usage rows, the newest first."""
        id = None if account is None else inputs.account_id(account)
        since_us, until_us = _period(since, until)
        most, last = inputs.limit(limit), inputs.seq(after)

        def work(tx: Tx) -> list[UsageRow]:
            if id is not None:
                found(tx, id)
            return usage.rows(tx, id, limit=most + 1, after=last, since_us=since_us, until_us=until_us)

        rows = await self._desk.fresh(work)
        return page(map(shapes.usage, rows), most, [row.seq for row in rows])

    async def retry(self) -> Json:
        """Post what was set aside and can be posted by now, each event once."""

        def work(tx: Tx) -> tuple[Json, list[Change]]:
            posted = apart.post_again(tx, self._desk.clock())
            told = {"posted": posted.new, "left": posted.apart}
            if posted.new:
                self._desk.note(tx, "usage.retry", "usage", told)
            moved = sorted({upgrade.account for upgrade in posted.upgrades})
            return told, [PutAccount(accounts.known(tx, name).facts) for name in moved]

        return await self._desk.change(work)

    async def show(self, id: object, account: object = None) -> Json:
        """Everything that one request was charged for: its first row, and the others under `also`."""
        wanted = inputs.ident(id, "a request id")
        owner = None if account is None else inputs.account_id(account)

        def work(tx: Tx) -> Sequence[UsageRow]:
            one = usage.get(tx, wanted)
            rows = usage.of_request(tx, wanted) or ([one] if one else [])
            return [row for row in rows if owner in (None, row.account)]

        rows = await self._desk.fresh(work)
        if not rows:
            raise NotFound(f"There is no usage of a request {wanted}.")
        first, *others = map(shapes.usage, rows)
        return {**first, "also": others}

    async def totals(self, account: object = None, since: object = None, until: object = None) -> Json:
        """What was used of each meter in a period."""
        id = None if account is None else inputs.account_id(account)
        since_us, until_us = _period(since, until)

        def work(tx: Tx) -> list[Total]:
            if id is not None:
                found(tx, id)
            return usage.totals(tx, id, since_us, until_us)

        return {"account": id, "data": [_total(total) for total in await self._desk.fresh(work)]}

    async def record(
        self,
        account: object,
        meter: object,
        units: object,
        service: object = "",
        cost: object = None,
        at: object = None,
        dimensions: object = None,
        idempotency_key: object = None,
    ) -> Json:
        """Count usage that happened elsewhere. With an idempotency key, once."""
        given = {
            "account": account,
            "meter": meter,
            "units": units,
            "service": service,
            "cost": cost,
            "at": at,
            "dimensions": dimensions,
            "idempotency_key": idempotency_key,
        }
        checked = self.checked(given)
        await self._owners([checked])
        return self.shown(checked, await self._desk.hooks.record(checked))

    async def track(self, account: str, kid: str, given: Mapping[str, object]) -> Json:
        """Count what a customer reports with a key. It costs what the policy says, and has to fit."""
        if "cost" in given or "service" in given:
            raise InvalidInput("Leave cost and service out: what usage costs is what the policy says.")
        checked = self.checked({**given, "account": account})
        if checked.at_us and checked.at_us < self._desk.clock() - self._desk.policy().late_reports_us:
            raise InvalidInput("Report usage sooner: this is too long ago to be counted now.")
        return self.shown(checked, await self._desk.hooks.record(checked._replace(kid=kid, strict=True)))

    async def record_batch(self, data: object, idempotency_key: object = None) -> Json:
        """Count many. All are checked before the first is counted; each answer says what became of it."""
        rows = self._batch(data, idempotency_key)
        await self._owners(rows)
        answers: list[Json] = []
        first_error: MetergateError | None = None
        for row in rows:
            try:
                answers.append(self.shown(row, await self._desk.hooks.record(row)))
            except MetergateError as error:
                first_error = first_error or error
                problem = {"reason": error.reason, "detail": str(error)}
                answers.append({"account": row.account, "meter": row.meter, "error": problem})
        recorded = sum("error" not in answer for answer in answers)
        if first_error is not None and not recorded:
            raise first_error
        return {"recorded": recorded, "failed": len(answers) - recorded, "data": answers}

    def _batch(self, data: object, idempotency_key: object) -> list[Report]:
        if not isinstance(data, list) or not 1 <= len(data) <= BATCH_MAX:
            raise InvalidInput(f"Give data as a list of 1 to {BATCH_MAX} usage rows, not {shown(data)}.")
        key = None if idempotency_key is None else inputs.idempotency_key(idempotency_key)
        rows = []
        for number, each in enumerate(data):
            try:
                row = self.checked(each)
                if key is not None and not row.idempotency_key:
                    row = row._replace(idempotency_key=inputs.idempotency_key(f"{key}:{number}"))
            except InvalidInput as error:
                raise type(error)(f"Row {number} of data: {error}", reason=error.reason) from None
            rows.append(row)
        return rows

    def checked(self, given: object) -> Report:
        """One reported row, checked; what is None was left out."""
        if not isinstance(given, Mapping) or not set(given) <= FIELDS:
            raise InvalidInput(f"Give usage as an object with {', '.join(sorted(FIELDS))} only.")
        said = {field: value for field, value in given.items() if value is not None}
        missing = [field for field in REQUIRED if field not in said]
        if missing:
            raise InvalidInput(f"Give usage with {', '.join(missing)}.")
        cost = inputs.cost(said["cost"]) if "cost" in said else None
        key = said.get("idempotency_key")
        return Report(
            account=inputs.account_id(said["account"]),
            meter=self._meter(said["meter"], cost),
            units=inputs.units(said["units"]),
            cost=cost,
            at_us=self._at(said["at"]) if "at" in said else 0,
            service=inputs.text(said.get("service", ""), "a service", 64),
            dimensions=inputs.dimensions(said.get("dimensions", {})),
            idempotency_key="" if key is None else inputs.idempotency_key(key),
        )

    def _meter(self, value: object, cost: int | None) -> str:
        """A meter of the policy; with a cost that is known, any name."""
        meter = inputs.name(value, "a meter")
        known = self._desk.policy().meters
        if cost is None and meter not in known:
            raise InvalidInput(
                f"There is no meter {shown(meter)} in the policy; "
                f"its meters are {', '.join(sorted(known)):.400}."
            )
        return meter

    def _at(self, value: object) -> int:
        at_us = inputs.time(value)
        if at_us > self._desk.clock() + AHEAD_US:
            raise InvalidInput(f"Give at as a time that is over, not {shown(value)}.")
        return at_us

    async def _owners(self, rows: Sequence[Report]) -> None:
        names = {row.account for row in rows}
        await self._desk.read(lambda tx: [found(tx, name) for name in sorted(names)])

    def shown(self, row: Report, recorded: Receipt) -> Json:
        currency = self._desk.policy().currency
        balance = recorded.balance
        return {
            "request_id": recorded.request_id,
            "account": row.account,
            "meter": row.meter,
            "units": row.units,
            "cost": as_json(recorded.cost, currency),
            "balance": None if balance is None else as_json(balance, currency),
            "replayed": recorded.replayed,
        }


def _period(since: object, until: object) -> tuple[int | None, int | None]:
    since_us = None if since is None else inputs.time(since)
    until_us = None if until is None else inputs.time(until)
    if since_us is not None and until_us is not None and since_us >= until_us:
        raise InvalidInput("Let since be earlier than until.")
    return since_us, until_us


def _total(total: Total) -> Json:
    return {
        "meter": total.meter,
        "calls": total.calls,
        "units": total.units,
        "cost": as_json(total.cost, total.currency),
    }
