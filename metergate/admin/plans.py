"""The policy, as far as operators look into it: its plans, its summary, and reading it anew."""

from metergate.admin import inputs, offers
from metergate.admin.desk import Desk, Json
from metergate.core.policy import Policy


class Plans:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def page(self) -> Json:
        """Every plan and pack of the policy."""
        policy = self._desk.policy()
        return {
            "data": [offers.plan(each, policy) for each in policy.plans.values()],
            "packs": offers.packs(policy),
            "has_more": False,
            "after": None,
        }

    async def show(self, id: object) -> Json:
        policy = self._desk.policy()
        return offers.plan(inputs.plan_of_path(id, policy), policy)

    async def policy(self) -> Json:
        """What the running policy says, in short."""
        return {**_summary(self._desk.policy()), **self._desk.hooks.describe()}

    async def reload(self) -> Json:
        """Read the policy file anew. A file with a mistake is an error, and the running policy stays."""
        before = self._desk.policy().version
        await self._desk.hooks.reload()
        await self._desk.hooks.elsewhere()
        after = self._desk.policy().version
        if after != before:
            details = {"before": before, "after": after}
            await self._desk.ledger.write(lambda tx: self._desk.note(tx, "policy.reload", after, details))
        return {**await self.policy(), "changed": after != before}

    async def explain(
        self, method: object, path: object, account: object = None, body: object = None
    ) -> Json:
        """Why a request of an account would be admitted or refused, rule by rule."""
        wanted = inputs.text(method, "a method", 16)
        target = inputs.text(path, "a path", 8192)
        id = None if account is None else inputs.account_id(account)
        said = "" if body is None else inputs.text(body, "a body", 65_536)
        return {"steps": list(await self._desk.hooks.explain(wanted, target, id, said))}


def _summary(policy: Policy) -> Json:
    return {
        "version": policy.version,
        "currency": policy.currency,
        "service": policy.service,
        "environment": policy.environment,
        "zone": policy.zone,
        "shadow": policy.shadow,
        "default": policy.default,
        "default_plan": policy.default_plan or None,
        "provider": policy.provider or None,
        "meters": {name: meter.count for name, meter in policy.meters.items()},
        "prices": offers.prices(policy.prices, policy.currency),
        "plans": list(policy.plans),
        "packs": list(policy.packs),
        "routes": [
            {
                "match": route.match,
                "meter": route.meter or None,
                "feature": route.feature or None,
                "scope": route.scope or None,
                "free": route.free,
                "public": route.public,
                "shadow": route.shadow,
            }
            for route in policy.routes
        ],
    }
