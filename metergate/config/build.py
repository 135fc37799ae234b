"""The model of a policy file -> the policy that decisions are made with, in integers."""

import hashlib
import json
from collections.abc import Mapping, Sequence

from metergate.config import model_plans as plans
from metergate.config import price_tables
from metergate.config.interpolate import Hidden
from metergate.config.model import Hold, Meter, PolicyFile, Route
from metergate.config.model_proxy import Serve, Upstream
from metergate.config.plugins import provider_name
from metergate.config.problems import Where
from metergate.config.source import Source
from metergate.core import match
from metergate.core import policy as core

CONNECTIONS = frozenset(
    {
        "upstream",
        "upstreams",
        "serve",
        "store",
        "ledger",
        "provider",
        "providers",
        "return_origins",
        "web3",
        "company",
        "invoices",
        "top_up_url",
        "top_ups",
        "alerts",
        "notices",
        "brakes",
    }
)
"""Sections that decide about no call: what comes from the environment there is no part of the version."""


def policy(file: PolicyFile, source: Source) -> core.Policy:
    return core.Policy(
        version=version(source, _tables(file)),
        meters={name: _meter(name, meter) for name, meter in file.meters.items()},
        routes=tuple([_route(index, route) for index, route in enumerate(file.routes)]),
        prices=_prices(file.prices),
        plans={name: _plan(name, plan) for name, plan in file.plans.items()},
        packs={name: core.Pack(name, pack.credits, pack.price) for name, pack in file.packs.items()},
        currency=file.currency,
        service=file.service or "",
        environment=file.environment,
        zone=file.zone,
        default=file.default,
        default_plan=file.default_plan or "",
        shadow=file.shadow,
        limits=_limits(file.limits),
        caps=_caps(file.caps),
        concurrency=_concurrency(file.concurrency),
        key_headers=tuple([header.lower() for header in file.key_headers]),
        show=core.Show(file.show.cost, file.show.balance, file.show.limits),
        billing="" if file.billing == "off" else file.billing,
        top_up_url=str(file.top_up_url),
        upstreams=_upstreams(file),
        serve=_serve(file.serve),
        store=Hidden(file.store),
        ledger=Hidden(file.ledger),
        provider=provider_name(file.provider or ""),
        providers=_providers(file),
        compat=file.compat,
        return_origins=tuple([str(origin).rstrip("/") for origin in file.return_origins]),
        enabled=None if file.enabled is None else tuple(file.enabled),
        backlog=file.backlog,
        late_reports_us=file.late_reports,
        fsync="always" if file.profile == "strict" else file.fsync,
        profile=file.profile,
        top_ups=file.top_ups.built(),
        alerts=file.alerts.built(),
        brakes=file.brakes.built(),
        private_networks=tuple([str(each) for each in file.notices.private]),
    )


def _providers(file: PolicyFile) -> tuple[core.ProviderChoice, ...]:
    options = {"web3": file.web3.model_dump()} if file.web3 else {}
    single = provider_name(file.provider or "")
    alone = [core.ProviderChoice(single, single, options=options.get(single, {}))] if single else []
    several = [
        core.ProviderChoice(
            name=provider_name(one.use) if name == "default" else name,
            use=provider_name(one.use),
            when=dict(one.when),
            chosen=bool(one.when) or name == "default",
            settings={setting: Hidden(value) for setting, value in one.settings.items()},
            options=options.get(one.use, {}),
        )
        for name, one in file.providers.items()
    ]
    return tuple(several + alone)


def _upstreams(file: PolicyFile) -> Mapping[str, core.Upstream]:
    named = {name: _upstream(one) for name, one in file.upstreams.items()}
    return {"": _upstream(file.upstream), **named} if file.upstream else named


def _upstream(one: Upstream) -> core.Upstream:
    return core.Upstream(
        url=one.url,
        headers=tuple(one.headers.items()),
        ca=str(one.ca),
        cookies=one.cookies,
        forwarded=one.forwarded,
        connect_us=one.connect,
        first_byte_us=one.first_byte or one.timeout,
        silence_us=one.timeout,
        total_us=one.total or 0,
        connections=one.connections,
        waiting=one.waiting,
    )


def _serve(one: Serve) -> core.Serve:
    return core.Serve(
        trusted_proxies=tuple(one.trusted_proxies),
        hosts=frozenset(one.hosts),
        url_bytes=one.url_bytes,
        header_bytes=one.header_bytes,
        header_count=one.header_count,
        body_bytes=one.body_bytes,
        head_within_us=one.head_within,
        body_silence_us=one.body_silence,
        read_silence_us=one.read_silence,
        keep_alive_us=one.keep_alive,
        connections=one.connections,
        connections_per_address=one.connections_per_address,
        grace_us=one.grace,
    )


def _tables(file: PolicyFile) -> list[str]:
    """The tables of prices that the file relies on, with their versions."""
    lists = [*file.prices.values()]
    for plan in file.plans.values():
        lists += [*plan.prices.values(), *plan.overage.values()]
    named = {price.table for listed in lists for price in listed if price.table}
    return [price_tables.table(name).name for name in sorted(named)]


def version(source: Source, tables: Sequence[str] = ()) -> str:
    """The digest of what the file and its tables of prices say, whatever its comments and layout."""
    said = [_content(source, source.value, ()), *tables] if tables else _content(source, source.value, ())
    content = json.dumps(said, separators=(",", ":"), default=str)
    return "sha256:" + hashlib.sha256(content.encode()).hexdigest()[:16]


def _content(source: Source, value: object, where: Where) -> object:
    if isinstance(value, dict):
        return {key: _content(source, child, (*where, key)) for key, child in value.items()}
    if isinstance(value, list):
        return [_content(source, child, (*where, index)) for index, child in enumerate(value)]
    if where in source.holes and where[0] in CONNECTIONS:
        return source.holes[where]
    return value


def _meter(name: str, meter: Meter) -> core.Meter:
    return core.Meter(
        name=name,
        count=meter.count,
        path=str(meter.path),
        header=meter.header or "",
        pattern=str(meter.pattern),
        of=meter.of,
        otherwise=meter.otherwise,
        dimensions=tuple([(dimension, str(path)) for dimension, path in meter.dimensions.items()]),
        max_units=meter.max_units or meter.max_cost or 0,
        ask_usage=meter.ask_usage,
        push=meter.push,
    )


def _prices(prices: Mapping[str, list[plans.Price]]) -> core.Prices:
    return {meter: tuple([price.rule() for price in listed]) for meter, listed in prices.items()}


def _limits(limits: list[plans.Limit]) -> tuple[core.Limit, ...]:
    return tuple([core.Limit(one.rate, one.per, one.burst or one.rate, one.scope) for one in limits])


def _caps(caps: list[plans.Cap]) -> tuple[core.Cap, ...]:
    return tuple(
        [
            core.Cap(cap.every, cap.spend or 0, cap.units or 0, cap.meter or "", cap.scope, cap.soft)
            for cap in caps
        ]
    )


def _concurrency(slots: list[plans.Concurrency]) -> tuple[core.Concurrency, ...]:
    return tuple([core.Concurrency(one.calls or 0, one.scope, one.held or 0) for one in slots])


def _plan(name: str, plan: plans.Plan) -> core.Plan:
    return core.Plan(
        id=name,
        name=str(plan.name) or name,
        features=frozenset(plan.features),
        included={meter: core.Included(one.units, one.every) for meter, one in plan.included.items()},
        limits=_limits(plan.limits),
        caps=_caps(plan.caps),
        concurrency=_concurrency(plan.concurrency),
        on_exceed=plan.on_exceed,
        overage=_prices(plan.overage),
        prices=_prices(plan.prices),
        price=core.PlanPrice(plan.price.amount, plan.price.every) if plan.price else None,
        contact=str(plan.contact),
        credit_limit=plan.credit_limit,
        anchored=plan.anchor == "subscription",
        trial=core.Trial(plan.trial.credits, plan.trial.lasts) if plan.trial else None,
    )


def _route(index: int, route: Route) -> core.Route:
    method, pattern = match.split(route.match)
    return core.Route(
        index=index,
        match=str(route.match),
        method=method,
        pattern=pattern,
        meter=route.meter or "",
        feature=route.feature or "",
        scope=route.scope or "",
        free=route.free,
        public=route.public,
        hold_units=1 if route.hold is None or route.hold.units is None else route.hold.units,
        hold_nanos=(route.hold.amount or 0) if route.hold else 0,
        hold_tokens=_tokens(route.hold) if route.hold else core.TOKENS,
        hold_for_us=route.hold_for,
        multiplier=route.multiplier,
        dimensions=tuple([(name, str(value)) for name, value in route.dimensions.items()]),
        shadow=route.shadow,
        upstream=route.upstream or "",
        websocket=route.websocket,
        body_bytes=route.body_bytes or 0,
        drain_us=route.drain or 0,
        on_upstream_error=route.on_upstream_error,
        on_client_error=route.on_client_error,
        on_disconnect=route.on_disconnect,
        on_missing_usage=route.on_missing_usage,
        on_unknown_outcome=route.on_unknown_outcome,
        on_dry=route.on_dry,
    )


def _tokens(hold: Hold) -> core.TokenHold:
    return core.TokenHold(hold.output_tokens, hold.input_cap, hold.output_cap, hold.grow)
