"""Usage without a request: recorded after the fact, or asked about before it."""

from collections.abc import Awaitable, Sequence

import msgspec

from metergate.core import decide
from metergate.core.budget import BALANCE, take
from metergate.core.decide import Offer
from metergate.core.idempotency import KEEP_US, Twin, fingerprint, twin_id
from metergate.core.refusal import Refusal
from metergate.core.report import Receipt, Report
from metergate.core.verdict import Verdict
from metergate.errors import InvalidInput, as_exception
from metergate.gate.call import Call
from metergate.gate.gate import Admitted, Replay, RequestGate
from metergate.gate.members import Member
from metergate.ports import Answers, AskBudget, T

REPORTED = "reported"


async def record(gate: RequestGate, report: Report) -> Receipt:
    """Count usage once, and say what it cost. What was answered is in the journal."""
    member = await _member(gate, report.account, report.kid)
    route = gate.routes.reported(report.meter, report.service, report.dimensions)
    request_id = gate.request_id()
    twin = _twin(gate, report) if report.idempotency_key else None
    admitted = await _answer(
        gate.record(member, route, report.units, report.cost, request_id, twin, strict=report.strict)
    )
    if isinstance(admitted, Refusal):
        raise as_exception(admitted)
    if isinstance(admitted, Replay):
        return _replayed(admitted.answer)
    return await _settled(gate, admitted, report)


async def _settled(gate: RequestGate, call: Call, report: Report) -> Receipt:
    receipt = Receipt(call.request_id, call.cost, await balance(gate, report.account))
    call.at_us = report.at_us
    call.answer = msgspec.msgpack.encode(receipt)
    call.dispatched()
    call.settle_cost(report.units, call.cost, REPORTED)
    await gate.endings.done()
    return receipt


def _replayed(answer: bytes | None) -> Receipt:
    if answer is None:
        raise as_exception(Refusal("idempotency_done"))
    return msgspec.msgpack.decode(answer, type=Receipt)._replace(replayed=True)


def _twin(gate: RequestGate, report: Report) -> Twin:
    said = msgspec.json.encode(
        [report.meter, report.units, report.cost, report.at_us, report.service, report.dimensions]
    )
    reporter = f"{REPORTED} by {report.kid or 'the operator'}"  # customers and operators choose keys apart
    id = twin_id(report.account, reporter, report.idempotency_key)
    return Twin(id, fingerprint(REPORTED, report.account, said), gate.clock() + KEEP_US)


async def balance(gate: RequestGate, account: str) -> int | None:
    """The spendable nanos of an account; None when nobody knows it."""
    told = (await _all(gate.store.state((AskBudget(f"credits:{account}"),))))[0]
    return told if isinstance(told, int) else None


async def check(gate: RequestGate, account: str, wanted: str) -> Verdict:
    """Whether an account has a feature, or could use one more unit of a meter now. Changes nothing."""
    member = await _member(gate, account, "")
    plan = gate.policy.plan(member.caller.account.plan)
    left = await balance(gate, account)
    if member.caller.account.suspended:
        refusal: Refusal | None = Refusal("account_suspended", scope="account")
    elif wanted in gate.policy.meters:
        refusal = await _would_refuse(gate, member, wanted)
    else:
        missing = f"The plan does not contain {wanted!r}; choose a plan that does."
        refusal = None if wanted in plan.features else Refusal("feature_not_in_plan", missing, scope="plan")
    return Verdict(refusal is None, account, plan.id, refusal, left)


async def _would_refuse(gate: RequestGate, member: Member, meter: str) -> Refusal | None:
    route = gate.routes.reported(meter, "", ())
    now_us = gate.clock()
    used = dict(member.used)
    offered = decide.offer(gate.policy, member.caller, route, used, now_us)
    if isinstance(offered, Refusal):
        return offered
    if offered.tally >= 0:
        name = offered.terms.draws[offered.tally].name
        used[name] = (await _values(gate, offered))[offered.tally]
        offered = decide.offer(gate.policy, member.caller, route, used, now_us)
        assert isinstance(offered, Offer)
    return _first_refusal(offered, await _values(gate, offered), now_us)


def _first_refusal(offered: Offer, values: Sequence[int], now_us: int) -> Refusal | None:
    for position, (draw, value) in enumerate(zip(offered.terms.draws, values, strict=True)):
        if take(draw, value, now_us) is None:
            return decide.refused(offered, position, value, now_us)
    return None


async def _values(gate: RequestGate, offered: Offer) -> list[int]:
    draws = offered.terms.draws
    told = await _all(gate.store.state([AskBudget(draw.name) for draw in draws]))
    values = [value if isinstance(value, int) else 0 for value in told]
    unknown = [
        draw for draw, value in zip(draws, told, strict=True) if draw.kind == BALANCE and value is None
    ]
    if unknown:
        raise as_exception(Refusal("store_unavailable"))
    return values


async def _member(gate: RequestGate, account: str, kid: str) -> Member:
    member = await gate.members.reporting(account, kid, gate.clock())
    if member is None:
        raise InvalidInput(f"There is no account {account!r}; create it first.", reason="unknown_account")
    return member


async def _answer(admitted: Admitted | Awaitable[Admitted]) -> Admitted:
    return await admitted if isinstance(admitted, Awaitable) else admitted


async def _all(answers: Answers[T]) -> Sequence[T]:
    return answers if isinstance(answers, Sequence) else await answers
