"""Usage as meter events: one of each total, under its identifier; and what Stripe finds out about them later.

Meters are of sums, so a correction is one more event with the difference. Stripe counts in its own time: what
it answers says that it has an event, and an error report comes later where it could not count it.
"""

import asyncio
import secrets
from collections.abc import Sequence
from typing import Final

import stripe
from stripe.events import V1BillingMeterErrorReportTriggeredEvent as ErrorReport

from metergate.errors import ProviderError
from metergate.provider_port import (
    ACCEPTED,
    LATER,
    REJECTED,
    UNKNOWN,
    Complaint,
    Pushed,
    TryAgain,
    UnknownOutcome,
    UsageTotal,
)
from metergate_stripe.base import ALL
from metergate_stripe.catalogue import Catalogue
from metergate_stripe.outcomes import ask, every, outcome_of

SECOND_US: Final = 10**6
DAY_US: Final = 86_400 * SECOND_US
MINUTE_S: Final = 60
AT_ONCE: Final = 8
"""Far below what an account may send in a second; one customer and meter never comes twice."""
DIGITS: Final = 15
REFUSED_S: Final = 60.0
"""How long Stripe is left alone that does not know our key: an operator has to act."""


class Usage(Catalogue):
    forgets_us = DAY_US
    oldest_us = 35 * DAY_US
    lags_us = 900 * SECOND_US
    """Summaries are said to be behind, and not by how much."""

    async def counted_meters(self, meters: Sequence[str]) -> Sequence[str]:
        """Those that `metergate providers sync` made, or somebody under the same names."""
        known = await self.meters()
        return [each for each in meters if self.event_of(each) in known]

    async def push_usage(self, totals: Sequence[UsageTotal]) -> Sequence[Pushed]:
        gate = asyncio.Semaphore(AT_ONCE)

        async def push(total: UsageTotal) -> Pushed:
            async with gate:
                return await self._push(total)

        return await asyncio.gather(*map(push, totals))

    async def usage_summary(self, customer: str, meter: str, start_us: int, end_us: int) -> int:
        known = (await self.meters()).get(self.event_of(meter))
        if known is None:
            return 0  # nobody can have sent events of it
        listed = await ask(
            self.api.billing.meters.event_summaries.list_async(
                known.id,
                {
                    "customer": customer,
                    "start_time": start_us // SECOND_US // MINUTE_S * MINUTE_S,
                    "end_time": -(-end_us // SECOND_US // MINUTE_S) * MINUTE_S,
                    "limit": ALL,
                },
            )
        )
        return sum([round(each.aggregated_value) async for each in every(listed)])

    async def usage_complaints(self, event: str) -> Sequence[Complaint]:
        """The samples of an error report. There may be more of them: `metergate reconcile` finds out."""
        report = await ask(self.client.v2.core.events.retrieve_async(event))
        if not isinstance(report, ErrorReport):
            return []
        return [
            Complaint(sample.request.identifier.partition(".")[0], f"{kind.code}: {sample.error_message}")
            for kind in report.data.reason.error_types
            for sample in kind.sample_errors
        ]

    async def _push(self, total: UsageTotal) -> Pushed:
        if len(str(abs(total.units))) > DIGITS:
            return Pushed(REJECTED, f"Stripe takes at most {DIGITS} digits: choose a larger unit.")
        sent = self.api.billing.meter_events.create_async(
            {
                "event_name": self.event_of(total.meter),
                "identifier": total.identifier,
                "timestamp": total.at_us // SECOND_US,
                "payload": {"stripe_customer_id": total.customer, "value": str(total.units)},
            },
            # A key of the attempt: under the same one Stripe would repeat its own failure for a day. It
            # begins with the identifier, because error reports name events by the key of their request.
            {"idempotency_key": f"{total.identifier}.{secrets.token_hex(4)}"},
        )
        try:
            await sent
        except stripe.StripeError as error:
            return _refused(error)
        except UnknownOutcome as error:
            return Pushed(UNKNOWN, str(error))
        except TryAgain as error:
            return Pushed(LATER, str(error), error.after_s)
        return Pushed(ACCEPTED)


def _refused(error: stripe.StripeError) -> Pushed:
    said = outcome_of(error)
    if isinstance(said, TryAgain):
        return Pushed(LATER, str(said), said.after_s)
    if isinstance(error, stripe.AuthenticationError | stripe.PermissionError):
        return Pushed(LATER, str(said), REFUSED_S)
    if isinstance(said, UnknownOutcome) or not isinstance(said, ProviderError):
        return Pushed(UNKNOWN, str(said))
    if "already exists" in str(error) and "identifier" in str(error):
        return Pushed(ACCEPTED)
    return Pushed(REJECTED, str(said))
