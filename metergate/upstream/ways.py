"""The ways to the upstreams of a policy: their pools, and what becomes of heads on the way there and back."""

from collections.abc import Mapping
from typing import NamedTuple

from metergate.core.addresses import Proxies
from metergate.core.policy import Policy
from metergate.errors import ConfigurationError
from metergate.upstream.pool import Pool
from metergate.upstream.pulse import Pulse
from metergate.upstream.request_head import HeadWriter
from metergate.upstream.response_head import AnswerReader


class Way(NamedTuple):
    pool: Pool
    heads: HeadWriter
    answers: AnswerReader


class Ways:
    """Every upstream of one policy, by name."""

    def __init__(self, policy: Policy, pulse: Pulse) -> None:
        problem = lacking(policy)
        if problem:
            raise ConfigurationError(problem)
        self.policy = policy
        self.by_name: Mapping[str, Way] = {name: _way(policy, name, pulse) for name in policy.upstreams}

    def close(self) -> None:
        for way in self.by_name.values():
            way.pool.close()


def lacking(policy: Policy) -> str | None:
    """Why the policy leaves a request without an upstream, as one sentence."""
    if not policy.upstreams:
        return "Add upstream: {url: …} to the policy, or serve it with --decide-only, which forwards nothing."
    if "" in policy.upstreams:
        return None
    for route in policy.routes:
        if not route.upstream:
            return f"Name an upstream in the route {route.match!r}, or add upstream: {{url: …}} for all."
    if policy.default == "free":
        return "With default: free, add upstream: {url: …} for what no route names."
    return None


def _way(policy: Policy, name: str, pulse: Pulse) -> Way:
    upstream = policy.upstreams[name]
    pool = Pool(upstream, pulse)
    proxies = Proxies(policy.serve.trusted_proxies)
    heads = HeadWriter(pool.origin, upstream, policy.key_headers, proxies)
    return Way(pool, heads, AnswerReader(pool.origin, cookies=upstream.cookies))
