"""The words of the office: one table from verb to method, for HTTP, the command line and the socket alike."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from metergate.admin.accounts import Accounts
from metergate.admin.books import Books
from metergate.admin.credits import Credits
from metergate.admin.decisions import Decisions
from metergate.admin.desk import Json
from metergate.admin.endpoints import Endpoints
from metergate.admin.guards import Alerts, TopUps
from metergate.admin.keys import Keys
from metergate.admin.payments import Payments
from metergate.admin.plans import Plans
from metergate.admin.pushes import Pushes
from metergate.admin.usage import Usage
from metergate.admin.webhooks import Webhooks
from metergate.core.money import shown
from metergate.errors import InvalidInput

if TYPE_CHECKING:
    from metergate.admin.office import Office


class Verb(NamedTuple):
    subject: str
    """Which subject of the office."""
    method: str
    required: tuple[str, ...]
    optional: tuple[str, ...]
    help: str


def _verb(subject: str, method: Callable[..., Awaitable[Json]]) -> Verb:
    """A verb from a method; its parameters are those of the signature."""
    parameters = list(inspect.signature(method).parameters.values())[1:]
    required = tuple([each.name for each in parameters if each.default is each.empty])
    optional = tuple([each.name for each in parameters if each.default is not each.empty])
    return Verb(subject, method.__name__, required, optional, inspect.getdoc(method) or "")


VERBS: Mapping[str, Verb] = MappingProxyType(
    {
        "accounts.create": _verb("accounts", Accounts.create),
        "accounts.list": _verb("accounts", Accounts.page),
        "accounts.show": _verb("accounts", Accounts.show),
        "accounts.update": _verb("accounts", Accounts.update),
        "accounts.suspend": _verb("accounts", Accounts.suspend),
        "accounts.resume": _verb("accounts", Accounts.resume),
        "subscriptions.assign": _verb("accounts", Accounts.subscribe),
        "subscriptions.show": _verb("accounts", Accounts.subscription),
        "subscriptions.list": _verb("accounts", Accounts.subscriptions),
        "subscriptions.check": _verb("accounts", Accounts.is_subscribed),
        "keys.create": _verb("keys", Keys.create),
        "keys.list": _verb("keys", Keys.page),
        "keys.show": _verb("keys", Keys.show),
        "keys.rotate": _verb("keys", Keys.rotate),
        "keys.revoke": _verb("keys", Keys.revoke),
        "credits.grant": _verb("credits", Credits.grant),
        "credits.adjust": _verb("credits", Credits.adjust),
        "credits.show": _verb("credits", Credits.show),
        "grants.list": _verb("credits", Credits.page),
        "payments.create": _verb("payments", Payments.create),
        "payments.list": _verb("payments", Payments.page),
        "payments.show": _verb("payments", Payments.show),
        "payments.verify": _verb("payments", Payments.verify),
        "payments.capture": _verb("payments", Payments.capture),
        "payments.cancel": _verb("payments", Payments.cancel),
        "payments.claim": _verb("payments", Payments.claim),
        "refunds.create": _verb("payments", Payments.refund),
        "refunds.list": _verb("payments", Payments.refunds),
        "methods.list": _verb("payments", Payments.methods),
        "methods.attach": _verb("payments", Payments.attach),
        "methods.detach": _verb("payments", Payments.detach),
        "customers.portal": _verb("payments", Payments.portal),
        "customers.import": _verb("payments", Payments.import_customer),
        "providers.list": _verb("payments", Payments.providers),
        "providers.health": _verb("payments", Payments.health),
        "providers.sync": _verb("payments", Payments.sync),
        "webhooks.list": _verb("webhooks", Webhooks.page),
        "webhooks.replay": _verb("webhooks", Webhooks.replay),
        "webhooks.health": _verb("webhooks", Webhooks.health),
        "endpoints.create": _verb("endpoints", Endpoints.create),
        "endpoints.list": _verb("endpoints", Endpoints.page),
        "endpoints.show": _verb("endpoints", Endpoints.show),
        "endpoints.update": _verb("endpoints", Endpoints.update),
        "endpoints.enable": _verb("endpoints", Endpoints.enable),
        "endpoints.disable": _verb("endpoints", Endpoints.disable),
        "endpoints.delete": _verb("endpoints", Endpoints.delete),
        "endpoints.rotate": _verb("endpoints", Endpoints.rotate),
        "endpoints.test": _verb("endpoints", Endpoints.test),
        "endpoints.types": _verb("endpoints", Endpoints.types),
        "deliveries.list": _verb("endpoints", Endpoints.deliveries),
        "deliveries.show": _verb("endpoints", Endpoints.delivery),
        "deliveries.replay": _verb("endpoints", Endpoints.replay),
        "notices.list": _verb("endpoints", Endpoints.told),
        "pushes.list": _verb("pushes", Pushes.page),
        "reconcile": _verb("pushes", Pushes.reconcile),
        "topups.set": _verb("top_ups", TopUps.set),
        "topups.show": _verb("top_ups", TopUps.show),
        "topups.off": _verb("top_ups", TopUps.off),
        "topups.list": _verb("top_ups", TopUps.page),
        "alerts.set": _verb("alerts", Alerts.set),
        "alerts.show": _verb("alerts", Alerts.show),
        "alerts.reset": _verb("alerts", Alerts.reset),
        "plans.list": _verb("plans", Plans.page),
        "plans.show": _verb("plans", Plans.show),
        "policy.show": _verb("plans", Plans.policy),
        "policy.reload": _verb("plans", Plans.reload),
        "policy.explain": _verb("plans", Plans.explain),
        "usage.list": _verb("usage", Usage.page),
        "usage.show": _verb("usage", Usage.show),
        "usage.totals": _verb("usage", Usage.totals),
        "usage.retry": _verb("usage", Usage.retry),
        "usage.record": _verb("usage", Usage.record),
        "usage.record_batch": _verb("usage", Usage.record_batch),
        "ledger.list": _verb("books", Books.ledger),
        "audit.list": _verb("books", Books.audit),
        "authz.ask": _verb("decisions", Decisions.ask),
        "ledger.head": _verb("books", Books.head),
        "ledger.derive": _verb("books", Books.derive),
        "verify": _verb("books", Books.verify),
        "verify.steps": _verb("books", Books.steps),
        "health": _verb("books", Books.health),
        "metrics": _verb("books", Books.metrics),
    }
)


def bound(office: "Office", verb: str, params: Mapping[str, object]) -> Callable[[], Awaitable[Json]]:
    """The call that a verb and its parameters mean."""
    known = VERBS.get(verb)
    if known is None:
        raise InvalidInput(f"There is no {shown(verb)} to do; the office knows {', '.join(VERBS)}.")
    strangers = sorted(set(params) - {*known.required, *known.optional})
    if strangers:
        allowed = ", ".join((*known.required, *known.optional)) or "no parameters"
        raise InvalidInput(f"{verb} takes {allowed}, not {', '.join(map(shown, strangers)):.200}.")
    missing = [name for name in known.required if name not in params]
    if missing:
        raise InvalidInput(f"{verb} also wants {', '.join(missing)}.")
    method: Any = getattr(getattr(office, known.subject), known.method)
    return partial(method, **params)
