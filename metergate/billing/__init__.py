"""Money in: payments, what providers say of them, and the credits that follow. No call waits for it."""

from metergate.billing.alerts import Alerts
from metergate.billing.cashier import Cashier
from metergate.billing.gathering import Counted
from metergate.billing.inbox import Inbox
from metergate.billing.orders import Wanted
from metergate.billing.providers import Opened, Providers, Rule
from metergate.billing.pushing import Pusher
from metergate.billing.rounds import Rounds
from metergate.billing.till import Addresses, Till
from metergate.billing.topups import TopUps

__all__ = [
    "Addresses",
    "Alerts",
    "Cashier",
    "Counted",
    "Inbox",
    "Opened",
    "Providers",
    "Pusher",
    "Rounds",
    "Rule",
    "Till",
    "TopUps",
    "Wanted",
]
