"""The adapter: its parts put together. What each can do is in its own file."""

from metergate_stripe.examined import Examining
from metergate_stripe.invoices import Invoices
from metergate_stripe.keeping import Keeping
from metergate_stripe.news import News
from metergate_stripe.paying import Paying
from metergate_stripe.usage import Usage


class StripeProvider(Keeping, Paying, Invoices, Usage, News, Examining):
    """Every capability of the port but approvals and claims."""
