"""The customer's side: own usage, credits and plan. The API key says whose they are."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from metergate.admin import Office
from metergate.api import compatible, models, openapi, pages, problem, reading, webhooks
from metergate.api.endpoints import LIST, Answer, answered, grouped
from metergate.api.operations import OWN
from metergate.api.own_guards import OwnGuards
from metergate.api.own_payments import OwnPayments
from metergate.core.facts import Caller, KeyFacts
from metergate.core.older_paths import STRIPE
from metergate.core.refusal import Refusal
from metergate.errors import MetergateError
from metergate.gate.gate import RequestGate

ReadKeys = Callable[[Iterable[tuple[bytes, bytes]], Sequence[str]], tuple[str, ...]]
"""The keys that a request shows, out of its headers and the names of the headers where a key may stand."""

Mine = Callable[[Request, KeyFacts], Awaitable[Response]]


def billing_app(
    office: Office,
    gate: Callable[[], RequestGate],
    read_keys: ReadKeys,
    prefix: str,
    receive: webhooks.Receive = webhooks.nobody,
    *,
    compat: bool = False,
) -> ASGIApp:
    """The endpoints under `<prefix>/v1`; `gate` answers the one of the running policy.

    `receive` is told what payment providers say; `compat` also mounts the paths of older systems.
    """
    guard = _Guard(gate, read_keys)
    own, paying, guards = _Own(office), OwnPayments(office, guard.source), OwnGuards(office)
    mine: Mapping[str, Mine] = {
        "usage.list": own.usage,
        "usage.track": own.track,
        "usage.show": own.request_usage,
        "credits.show": own.credits,
        "plans.list": own.plans,
        "subscription.show": own.subscription,
        "checkout.create": paying.buy,
        "payments.list": paying.page,
        "payments.show": paying.show,
        "payments.capture": paying.capture,
        "payments.claim": paying.claim,
        "methods.list": paying.methods,
        "methods.attach": paying.attach,
        "methods.detach": paying.detach,
        "customers.portal": paying.portal,
        "topups.show": guards.top_up,
        "topups.set": guards.set_top_up,
        "topups.off": guards.stop_top_up,
        "alerts.show": guards.alerts,
        "alerts.set": guards.set_alerts,
        "alerts.reset": guards.reset_alerts,
    }
    root = f"{prefix}/v1"
    brake = webhooks.Brake(lambda: gate().clock())
    answers = [(each.method, root + each.path, guard.known(mine[each.verb])) for each in OWN]
    answers += [
        ("GET", f"{root}/webhooks/health", webhooks.health(office)),
        ("POST", f"{root}/webhooks/{{provider}}", webhooks.receiving(receive, brake, guard.source)),
    ]
    if compat:
        older = compatible.paths(root, {each[:2]: each[2] for each in answers})
        hooks = [
            ("POST", path, webhooks.receiving(receive, brake, guard.source, "stripe")) for path in STRIPE
        ]
        answers += [*older, *hooks]
    routes = grouped(answers)
    described = pages.routes(openapi.document(openapi.customers(root, OWN)), root)
    app = Starlette(routes=[*described, *routes], exception_handlers=problem.HANDLERS)
    app.router.redirect_slashes = False
    return app


class _Guard:
    """Who asks, proven as the gate proves it; whatever goes wrong reads like a refusal of the gate."""

    def __init__(self, gate: Callable[[], RequestGate], read_keys: ReadKeys) -> None:
        self._gate = gate
        self._read_keys = read_keys

    def known(self, mine: Mine) -> Answer:
        async def answer(request: Request) -> Response:
            gate = self._gate()
            request_id = gate.request_id()
            try:
                key = await self._key(gate, request)
                response = await mine(request, key)
            except MetergateError as error:
                response = problem.for_caller(error, request, gate.policy, request_id)
            except HTTPException as error:
                anthropic = problem.speaks_anthropic(request)
                response = problem.of_status(error.status_code, request_id=request_id, anthropic=anthropic)
            response.headers["metergate-request-id"] = request_id
            return response

        return answer

    def source(self, request: Request) -> str:
        """From where it is asked, as far as an address tells it."""
        return self._gate().members.sources.of(request.scope.get("client"), request.scope["headers"])

    async def _key(self, gate: RequestGate, request: Request) -> KeyFacts:
        shown = self._read_keys(request.scope["headers"], gate.policy.key_headers)
        looked = gate.members.find_key(shown, gate.clock(), self.source(request))
        member = await looked if isinstance(looked, Awaitable) else looked
        if isinstance(member, Refusal):
            raise MetergateError(member.sentence, reason=member.reason, refusal=member)
        return _shown_key(member.caller)


def _shown_key(caller: Caller) -> KeyFacts:
    assert caller.key is not None, "a key was shown, so the caller has one"
    return caller.key


class _Own:
    """What customers may see and say, each of their own account."""

    def __init__(self, office: Office) -> None:
        self._office = office

    async def usage(self, request: Request, key: KeyFacts) -> Response:
        params = reading.query(request, ("since", "until", *LIST))
        return answered(await self._office.do("usage.list", {**params, "account": key.account}))

    async def track(self, request: Request, key: KeyFacts) -> Response:
        reading.query(request, ())
        twin = reading.idempotency_key(request)
        given = reading.fitted(models.TrackedUsage, await reading.json_body(request))
        if twin is not None:
            given["idempotency_key"] = twin
        recorded = await self._office.usage.track(key.account, key.kid, given)
        if recorded["replayed"]:
            return answered(recorded, 200, {"idempotency-replayed": "true"})
        return answered(recorded, 201)

    async def request_usage(self, request: Request, key: KeyFacts) -> Response:
        reading.query(request, ())
        params = {"id": request.path_params["id"], "account": key.account}
        return answered(await self._office.do("usage.show", params))

    async def credits(self, request: Request, key: KeyFacts) -> Response:
        reading.query(request, ())
        return answered(await self._office.do("credits.show", {"account": key.account}))

    async def plans(self, request: Request, key: KeyFacts) -> Response:
        reading.query(request, ())
        return answered(await self._office.do("plans.list", {}))

    async def subscription(self, request: Request, key: KeyFacts) -> Response:
        reading.query(request, ())
        told = await self._office.do("subscriptions.show", {"account": key.account})
        plans = (await self._office.do("plans.list", {}))["data"]
        details = next((plan for plan in plans if plan["id"] == told["plan"]), None)
        return answered({**told, "details": details})
