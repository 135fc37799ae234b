"""The whole of the fake: every part of Stripe that the adapter uses."""

from metergate.ports import Clock
from tests.adapters.stripe.fake.invoicing import invoicing
from tests.adapters.stripe.fake.metering import metering
from tests.adapters.stripe.fake.pages import pages
from tests.adapters.stripe.fake.paying import paying
from tests.adapters.stripe.fake.people import people
from tests.adapters.stripe.fake.selling import selling
from tests.adapters.stripe.fake.server import FakeStripe
from tests.adapters.stripe.fake.subscribing import subscribing

KEY, SECRET = "sk_test_fake", "whsec_new"

APIS = (people, paying, pages, selling, subscribing, invoicing, metering)


async def a_fake(clock: Clock) -> FakeStripe:
    fake = FakeStripe(clock, KEY, SECRET, APIS)
    await fake.start()
    return fake
