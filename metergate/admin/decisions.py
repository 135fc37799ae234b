"""Decisions that another process is asked for, and that are made here, where the gate is."""

from metergate.admin.desk import Desk, Json
from metergate.errors import InvalidInput

TEXTS = ("method", "path", "query", "body")


class Decisions:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def ask(self, method: object, path: object, query: object, headers: object, body: object) -> Json:
        """A request to the decision API, as data: what it answers."""
        asked = {"method": method, "path": path, "query": query, "headers": headers, "body": body}
        pairs = headers if isinstance(headers, list) else [None]
        if not all(isinstance(asked[name], str) for name in TEXTS) or not all(map(_is_pair, pairs)):
            raise InvalidInput("Ask with a request as `metergate admin` sends it.")
        return await self._desk.hooks.decide(asked)


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(each, str) for each in value)
