"""Where payment providers tell us things. Nobody shows a key: the signature of the bytes is the proof."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from metergate.admin import Office
from metergate.api import problem, reading
from metergate.api.endpoints import Answer, answered
from metergate.core.addresses import one_caller
from metergate.errors import InvalidInput, ProviderError

Receive = Callable[[str, Mapping[str, str], bytes], Awaitable[int]]
"""The name of a provider, the headers by small names and the raw body -> how many events are new."""


async def nobody(name: str, _headers: Mapping[str, str], _body: bytes) -> int:
    """Where no provider is at work."""
    raise InvalidInput(f"No payment provider {name:.40} tells us anything.", reason="not_found")


EVERY_US: Final = 50_000
BURST: Final = 400
ADDRESSES: Final = 4096


class Brake:
    """How often one caller may tell us something: twenty a second, and four hundred at once."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._next_us: dict[str, int] = {}

    def allows(self, address: str) -> bool:
        now_us = self._clock()
        next_us = max(self._next_us.pop(address, 0), now_us)
        if next_us - now_us > BURST * EVERY_US:
            self._next_us[address] = next_us
            return False
        if len(self._next_us) >= ADDRESSES:
            del self._next_us[next(iter(self._next_us))]  # who was quiet the longest
        self._next_us[address] = next_us + EVERY_US
        return True


def receiving(receive: Receive, brake: Brake, source: Callable[[Request], str], provider: str = "") -> Answer:
    """Keep news, and only then say that we have it: what goes wrong before makes the provider try again."""

    async def answer(request: Request) -> Response:
        if not brake.allows(one_caller(source(request))):
            return answered({"detail": "Send the same again in ten seconds."}, 429, {"retry-after": "10"})
        body = await reading.body(request)
        name = provider or request.path_params["provider"]
        headers = {each.lower(): value for each, value in request.headers.items()}
        try:
            new = await receive(name, headers, body)
        except InvalidInput as error:
            if error.reason == "not_found":
                raise HTTPException(404) from None
            raise
        except ProviderError as error:
            if error.reason != "webhook_forged":
                raise
            return problem.of_error(InvalidInput(str(error), reason=error.reason))
        return answered({"received": 1, "new": new})

    return answer


def health(office: Office) -> Answer:
    """Whether news comes and is handled: one word, for those who show no key."""

    async def answer(_request: Request) -> Response:
        return answered({"state": await office.webhooks.state()})

    return answer
