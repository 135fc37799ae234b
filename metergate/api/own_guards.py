"""What customers may see and say of their own top-ups and alerts."""

from starlette.requests import Request
from starlette.responses import Response

from metergate.admin import Office
from metergate.api import models_guards as models
from metergate.api import reading
from metergate.api.endpoints import answered
from metergate.core.facts import KeyFacts


class OwnGuards:
    def __init__(self, office: Office) -> None:
        self._office = office

    async def top_up(self, request: Request, key: KeyFacts) -> Response:
        return await self._do(request, key, "topups.show")

    async def set_top_up(self, request: Request, key: KeyFacts) -> Response:
        reading.query(request, ())
        wanted = reading.fitted(models.TopUpSettings, await reading.optional_json_body(request))
        return answered(await self._office.do("topups.set", {**wanted, "account": key.account}))

    async def stop_top_up(self, request: Request, key: KeyFacts) -> Response:
        return await self._do(request, key, "topups.off")

    async def alerts(self, request: Request, key: KeyFacts) -> Response:
        return await self._do(request, key, "alerts.show")

    async def set_alerts(self, request: Request, key: KeyFacts) -> Response:
        reading.query(request, ())
        wanted = reading.fitted(models.AlertSettings, await reading.json_body(request))
        return answered(await self._office.do("alerts.set", {**wanted, "account": key.account}))

    async def reset_alerts(self, request: Request, key: KeyFacts) -> Response:
        return await self._do(request, key, "alerts.reset")

    async def _do(self, request: Request, key: KeyFacts, verb: str) -> Response:
        reading.query(request, ())
        return answered(await self._office.do(verb, {"account": key.account}))
