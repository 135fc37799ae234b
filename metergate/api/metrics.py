"""The numbers of a process as text, in the format that Prometheus and its kin read.

They are plain integers that are counted where things happen; nothing here names a customer.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from metergate.alarms import ALARMS

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
COUNTERS: Final = {
    "admitted": ("metergate_admitted_total", "Calls and reports of usage that were admitted."),
    "passed": ("metergate_passed_total", "Requests that went on without a hold: public, free, preflight."),
    "posted": ("metergate_events_posted_total", "Usage events that went into the ledger from here."),
    "set_aside": (
        "metergate_events_set_aside_total",
        "Usage that cannot be posted; the audit table keeps it.",
    ),
    "ledger_errors": ("metergate_ledger_errors_total", "How often the ledger was out of reach."),
    "orphans_ended": (
        "metergate_journals_taken_over_total",
        "Journals of processes that died, whose calls were ended here.",
    ),
    "clock_jumps": ("metergate_clock_jumps_total", "How often the clock of this machine jumped."),
}
BY_REASON: Final = {
    "refused": ("metergate_refused_total", "Requests that were refused."),
    "shadowed": ("metergate_shadow_refused_total", "Requests that shadow mode alone let through."),
}
GAUGES: Final = {
    "open_holds": ("metergate_holds_open", "Holds that have not ended."),
    "backlog": ("metergate_backlog_events", "Usage events that wait for the ledger."),
    "differences": ("metergate_verify_differences", "What the last verify of this process found."),
    "orphans": (
        "metergate_journals_orphaned",
        "Journals of processes that died, and that wait here for their end.",
    ),
    "stuck": ("metergate_worker_stuck", "1 while the worker cannot do its work."),
    "filling": ("metergate_store_filling", "1 while the shared store is away or filled from the ledger."),
}
BY_LABELS: Final = {
    "provider_calls": (
        "metergate_provider_calls_total",
        "counter",
        "What payment providers were asked about payments, by what became of it: ok, or a reason.",
        ("provider", "outcome"),
    ),
    "payments_moved": (
        "metergate_payments_total",
        "counter",
        "Payments that came to a state here: succeeded, failed, canceled, mismatched.",
        ("provider", "state"),
    ),
    "news_forged": (
        "metergate_webhooks_forged_total",
        "counter",
        "News that was not signed as it should be.",
        ("provider",),
    ),
    "payments_open": (
        "metergate_payments_open",
        "gauge",
        "Payments that nobody has finished, by their age.",
        ("provider", "age"),
    ),
    "payments_mismatched": (
        "metergate_payments_mismatched",
        "gauge",
        "Payments of which the provider says what does not match the order.",
        ("provider",),
    ),
    "news_waiting": (
        "metergate_webhooks_waiting",
        "gauge",
        "News of providers that waits to be handled.",
        ("provider",),
    ),
    "news_lag_s": (
        "metergate_webhook_lag_seconds",
        "gauge",
        "How long the oldest news has waited.",
        ("provider",),
    ),
    "push_backlog": ("metergate_push_backlog", "gauge", "Totals of usage that wait for providers.", ()),
    "push_parked": ("metergate_push_parked", "gauge", "Totals that providers do not take as they are.", ()),
    "push_oldest_s": ("metergate_push_oldest_seconds", "gauge", "How long the oldest total has waited.", ()),
    "push_outcomes": (
        "metergate_push_total",
        "counter",
        "Totals that were told to providers, by what became of it.",
        ("outcome",),
    ),
    "drift": ("metergate_push_drift", "gauge", "Differences that the last reconcile found.", ()),
    "topups_moved": (
        "metergate_topups_total",
        "counter",
        "Top-ups by themselves, by what became of them here: begun, succeeded, failed.",
        ("outcome",),
    ),
    "notices_told": (
        "metergate_notices_total",
        "counter",
        "Attempts to tell an endpoint something: delivered, failed.",
        ("outcome",),
    ),
    "notices_waiting": ("metergate_notices_waiting", "gauge", "Deliveries that wait for endpoints.", ()),
    "endpoints_failing": (
        "metergate_endpoints_failing",
        "gauge",
        "Endpoints that were switched off because they failed.",
        (),
    ),
    "news_dead": ("metergate_webhooks_dead", "gauge", "News that was tried too often.", ("provider",)),
}
"""Money in: the labels of each number, which its rows begin with."""
LAG: Final = "metergate_flush_lag_seconds"
CHAIN_LAG: Final = "metergate_chain_lag_seconds"
WAIT: Final = "metergate_admission_seconds"
PAGES: Final = {alarm.metric: alarm.page for alarm in reversed(ALARMS)}
"""What to do, for those that an operator is woken for."""
FIRST, LAST = 5, 23
"""The histogram's buckets: 2 ** 5 to 2 ** 23 microseconds, which is 32 us to 8.4 s."""
US: Final = 10**6


def text(numbers: Mapping[str, Any]) -> str:
    return "\n".join(_lines(numbers)) + "\n"


def _lines(numbers: Mapping[str, Any]) -> Iterator[str]:
    for key, (name, help) in COUNTERS.items():
        yield from _family(name, "counter", help, [("", numbers.get(key, 0))])
    for key, (name, help) in BY_REASON.items():
        reasons = numbers.get(key, {}).items()
        yield from _family(name, "counter", help, [(f'{{reason="{reason}"}}', n) for reason, n in reasons])
    for key, (name, kind, help, labels) in BY_LABELS.items():
        rows = numbers.get(key, ())
        yield from _family(name, kind, help, [(_labels(labels, row), row[-1]) for row in rows])
    for key, (name, help) in GAUGES.items():
        yield from _family(name, "gauge", help, [("", numbers.get(key, 0))])
    if "chain_lag_us" in numbers:
        help = "How long rows of the ledger have waited for the chain, beyond the usual seconds."
        yield from _family(CHAIN_LAG, "gauge", help, [("", numbers["chain_lag_us"] / US)])
    if "lag_us" in numbers:
        help = "How long ago everything that waited was last in the ledger; 0 while nothing waits."
        yield from _family(LAG, "gauge", help, [("", numbers["lag_us"] / US)])
    if "waits" in numbers:
        help = "How long a call waited for its verdict; every eighth turn of the event loop is timed."
        yield from _family(WAIT, "histogram", help, _histogram(**numbers["waits"]))
    yield from _family("metergate_info", "gauge", "The policy.", [(f'{{policy="{numbers["policy"]}"}}', 1)])


def _labels(names: Sequence[str], values: Sequence[object]) -> str:
    told = (f'{name}="{_escaped(str(value))}"' for name, value in zip(names, values, strict=False))
    return "{" + ",".join(told) + "}" if names else ""


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _family(name: str, kind: str, help: str, samples: Iterable[tuple[str, float]]) -> Iterator[str]:
    if name in PAGES:
        help += f" See docs/runbook.md#{PAGES[name]}."
    yield f"# HELP {name} {help}"
    yield f"# TYPE {name} {kind}"
    for rest, value in samples:
        yield f"{name}{rest} {value}"


def _histogram(below: list[int], total_us: int) -> Iterator[tuple[str, float]]:
    for bits in range(FIRST, LAST + 1):
        yield f'_bucket{{le="{2**bits / US}"}}', sum(below[: bits + 1])
    yield '_bucket{le="+Inf"}', sum(below)
    yield "_sum", total_us / US
    yield "_count", sum(below)
