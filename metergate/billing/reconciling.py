"""Ledger = intents = what the provider shows: compared, told as sentences, and put right on request.

A repair sends the difference as one more intent, which is no usage: after it the provider counts what the
ledger says. It is made only where nothing is on its way and the provider's summary had time to settle: asking
for repairs twice bills nobody twice.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from metergate.billing import gathering, windows
from metergate.billing.pushing import Pusher, doubtful
from metergate.core.periods import rfc3339
from metergate.ledger import push_windows as kept
from metergate.ledger import pushes, verify
from metergate.ledger.database import Tx
from metergate.ledger.differences import Difference
from metergate.ledger.push_windows import Derived
from metergate.ledger.pushes import ACCEPTED, DROPPED, LATE, PARKED, PENDING, UNFINISHED, Day, Intent
from metergate.provider_port import UsageSink

AT_ONCE: Final = 8
"""How many summaries are asked for at the same time."""
Subject = tuple[str, str, str, str]
"""Provider, account, customer and meter."""
Span = tuple[int, int]

REPAIR: Final = "Run metergate reconcile --repair, which tells the provider the difference."
SETTLING: Final = "It was changed a moment ago, and summaries come late: ask again later, before you repair."
WAITS: Final = "It is sent when the provider takes it; metergate providers health says how that is."
RELEASE: Final = "Do what the sentence asks for, then run metergate reconcile --repair, which sends it again."
BY_HAND: Final = "Invoice it by hand, or write it off."
ELSEWHERE: Final = "Find out who else sends usage for this customer; metergate repairs only its own windows."


class Drift(NamedTuple):
    """One difference between the ledger, the intents and the provider."""

    sentence: str
    provider: str
    account: str
    customer: str
    meter: str
    start_us: int
    end_us: int
    expected: int
    found: int
    advice: str


class Reconciled(NamedTuple):
    differences: Sequence[Drift]
    compared: int
    """How many summaries were asked for."""
    repaired: int


class _Compared(NamedTuple):
    subject: Subject
    span: Span
    intents: Sequence[Intent]
    expected: int
    found: int

    @property
    def settled(self) -> bool:
        return not any(each.state in UNFINISHED for each in self.intents)


async def reconcile(
    pusher: Pusher, provider: str = "", account: str | None = None, *, repair: bool = False
) -> Reconciled:
    """Compare what was used, intended and counted, as far back as each provider takes usage."""
    await pusher.run_now()
    repaired = 0
    if repair:
        repaired = await _release(pusher, provider, account)
        await pusher.run_now()
        repaired += await _put_right(pusher, await _ask(pusher, provider, account))
        await pusher.run_now()
    asked = await _ask(pusher, provider, account)
    local = await pusher.ledger.read(lambda tx: _in_the_ledger(tx, pusher, provider, account))
    return Reconciled([*local, *_drifts(pusher, asked)], len(asked), repaired)


# -- the ledger and the intents ----------------------------------------------------------------------------


def _in_the_ledger(tx: Tx, pusher: Pusher, provider: str, account: str | None) -> list[Drift]:
    """What is wrong before any provider is asked."""
    found = [_unheard(each) for each in _missing(tx, pusher, provider, account)]
    found += [_derived(each) for each in verify.take(tx, "pushes") if account in (None, each.subject)]
    return found + [_waiting(each) for each in _unsettled(tx, pusher, provider, account)]


def _derived(wrong: Difference) -> Drift:
    expected, found = (int(text) if text.isdigit() else 0 for text in (wrong.expected, wrong.found))
    return Drift(wrong.sentence, "", wrong.subject, "", "", 0, 0, expected, found, wrong.advice)


def _missing(tx: Tx, pusher: Pusher, provider: str, account: str | None) -> list[Derived]:
    wanted = pusher.wanted
    since_us = pusher.clock() - max((sink.oldest_us for sink in wanted.sinks.values()), default=0)
    found = gathering.missing(tx, wanted, since_us)
    ours = [each for each in found if provider in ("", each.window.provider)]
    return [each for each in ours if account in (None, each.window.account)]


def _unsettled(tx: Tx, pusher: Pusher, provider: str, account: str | None) -> list[Intent]:
    found: list[Intent] = []
    for name, since_us in _since(pusher, provider).items():
        found += pushes.unsettled(tx, name, since_us, account)
    return found


def _unheard(derived: Derived) -> Drift:
    window, total = derived
    span = (window.start_us, window.end_us)
    sentence = f"{window.account} used {total} of {window.meter} {_during(span)}, and no intent says so."
    about = (window.provider, window.account, window.customer, window.meter)
    return Drift(sentence, *about, *span, total, 0, REPAIR)


def _waiting(intent: Intent) -> Drift:
    said = {PARKED: "is parked", LATE: "came too late"}.get(intent.state, "is not there yet")
    detail = f": {intent.detail}" if intent.detail else "."
    advice = {PARKED: RELEASE, LATE: BY_HAND}.get(intent.state, WAITS)
    span = (intent.start_us, intent.end_us)
    what = f"{intent.units} of {intent.meter} of {intent.account} {_during(span)}"
    sentence = f"{intent.provider}: {what} {said}{detail}"
    about = (intent.provider, intent.account, intent.customer, intent.meter)
    return Drift(sentence, *about, *span, intent.units, 0, advice)


async def _release(pusher: Pusher, provider: str, account: str | None) -> int:
    """Send again what is parked, and intend what nobody has heard of."""
    now_us = pusher.clock()

    def work(tx: Tx) -> int:
        unheard = [each.window for each in _missing(tx, pusher, provider, account)]
        wrong = [each for each in kept.not_as_derived(tx) if account in (None, each.account)]
        kept.mark(tx, [*unheard, *wrong])
        ours = _unsettled(tx, pusher, provider, account)
        for intent in ours:
            if intent.state in (PARKED, PENDING):
                _unpark(tx, pusher.wanted.sinks[intent.provider], intent, now_us)
        parked = sum(each.state == PARKED for each in ours)
        return len(unheard) + len(wrong) + parked

    return await pusher.ledger.write(work)


def _unpark(tx: Tx, sink: UsageSink, intent: Intent, now_us: int) -> None:
    """To the customer of today. What nobody can tell whether it is there is compared as if it were."""
    current = kept.current_customers(tx, [intent.account]).get((intent.provider, intent.account), "")
    if doubtful(sink, intent, now_us):
        pushes.change(tx, intent.seq, state=ACCEPTED)
    elif current in ("", intent.customer) or intent.unsure_since_us is not None:
        pushes.change(tx, intent.seq, state=PENDING, next_at_us=now_us, updated_at_us=now_us)
    else:
        pushes.change(tx, intent.seq, state=DROPPED, updated_at_us=now_us)
        pushes.insert(tx, [gathering.again(tx, intent, now_us, current)])


# -- the intents and the provider --------------------------------------------------------------------------


async def _ask(pusher: Pusher, provider: str, account: str | None) -> list[_Compared]:
    """What the provider counts, by day; by window where a day is not as it should be."""
    sinks, gate = pusher.wanted.sinks, asyncio.Semaphore(AT_ONCE)

    async def ask(day: Day, span: Span, intents: Sequence[Intent], expected: int) -> _Compared:
        subject = (day.provider, day.account, day.customer, day.meter)
        async with gate:
            found = await sinks[day.provider].usage_summary(day.customer, day.meter, *span)
        return _Compared(subject, span, intents, expected, found)

    async def compare(day: Day) -> list[_Compared]:
        span = (day.start_us, day.start_us + windows.DAY_US)
        whole = await ask(day, span, (), day.units)
        if whole.expected == whole.found:
            return [whole]
        async with pusher.at_rest:  # what was sent while we asked is no difference
            rows = await pusher.ledger.read(lambda tx: pushes.between(tx, day, *span))
            whole = await ask(day, span, (), _usage(rows))
            parts = [await ask(day, *each) for each in _parts(rows)]
        outside = whole.found - sum(each.found for each in parts)
        return [*parts, whole._replace(expected=0, found=outside)] if outside else parts

    told = await pusher.ledger.read(lambda tx: _days(tx, pusher, provider, account))
    asked = await asyncio.gather(*map(compare, told))
    return [part for parts in asked for part in parts]


def _days(tx: Tx, pusher: Pusher, provider: str, account: str | None) -> list[Day]:
    found: list[Day] = []
    for name, since_us in _since(pusher, provider).items():
        found += pushes.days(tx, name, since_us // windows.DAY_US * windows.DAY_US, account)
    return found


def _since(pusher: Pusher, provider: str) -> Mapping[str, int]:
    """How far back each provider is asked: as far as it takes usage."""
    now_us, sinks = pusher.clock(), pusher.wanted.sinks
    return {name: now_us - sink.oldest_us for name, sink in sinks.items() if provider in ("", name)}


def _parts(intents: Sequence[Intent]) -> list[tuple[Span, Sequence[Intent], int]]:
    """The windows in whole minutes, with what was told of each; those that share a minute are one."""
    spans: list[Span] = []
    for start, end in sorted({windows.whole_minutes(each.start_us, each.end_us) for each in intents}):
        if spans and start < spans[-1][1]:
            spans[-1] = spans[-1][0], max(end, spans[-1][1])
        else:
            spans.append((start, end))
    inside = [[each for each in intents if start <= each.at_us < end] for start, end in spans]
    return [(span, rows, _usage(rows)) for span, rows in zip(spans, inside, strict=True)]


def _usage(intents: Sequence[Intent]) -> int:
    """What the provider should count of these."""
    return sum(each.units for each in intents if each.state == ACCEPTED and not each.repair)


def _drifts(pusher: Pusher, asked: Sequence[_Compared]) -> list[Drift]:
    return [_drift(pusher, each) for each in asked if each.expected != each.found and each.settled]


def _drift(pusher: Pusher, compared: _Compared) -> Drift:
    subject, span, intents, expected, found = compared
    provider, account, customer, meter = subject
    advice = ELSEWHERE if not intents else REPAIR if _is_old(pusher, compared) else SETTLING
    where = f"{provider} counts {found} of {meter} of {account} ({customer}) {_during(span)}"
    told = f"{where}, and was told {expected}." if intents else f"{where}, outside of all windows."
    return Drift(told, *subject, *span, expected, found, advice)


def _is_old(pusher: Pusher, compared: _Compared) -> bool:
    """Whether the summary had the time to show all that was sent."""
    lags_us = pusher.wanted.sinks[compared.subject[0]].lags_us
    return all(pusher.clock() - each.updated_at_us >= lags_us for each in compared.intents)


async def _put_right(pusher: Pusher, asked: Sequence[_Compared]) -> int:
    """Intend the differences, each once however many ask for it at the same time."""
    wrong = [each for each in asked if each.expected != each.found and each.intents and each.settled]
    ready = [each for each in wrong if _is_old(pusher, each)]

    def work(tx: Tx) -> int:
        return sum(_intend_repair(tx, each, pusher.clock()) for each in ready)

    return await pusher.ledger.write(work)


def _intend_repair(tx: Tx, compared: _Compared, now_us: int) -> bool:
    last = max(compared.intents, key=lambda each: (each.start_us, each.revision))
    kept.get(tx, last.account, last.meter, last.start_us)  # who repairs it at the same time waits for us
    if pushes.newest_between(tx, last, *compared.span) != max(each.seq for each in compared.intents):
        return False  # something else was told meanwhile, or is about to be
    made = gathering.again(tx, last, now_us)
    pushes.insert(tx, [made._replace(units=compared.expected - compared.found, repair=True)])
    return True


def _during(span: Span) -> str:
    return f"from {rfc3339(span[0])} to {rfc3339(span[1])}"
