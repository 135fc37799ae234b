"""An adapter's notes in memory."""

from collections.abc import Mapping


class NotesInMemory:
    """`provider_port.Notes` for tests of an adapter by itself."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    async def read(self, name: str) -> str | None:
        return self._texts.get(name)

    async def take(self, name: str, text: str) -> bool:
        if name in self._texts:
            return False
        self._texts[name] = text
        return True

    async def write(self, name: str, text: str) -> None:
        self._texts[name] = text

    async def forget(self, name: str) -> None:
        self._texts.pop(name, None)

    async def listed(self, prefix: str) -> Mapping[str, str]:
        return {name: text for name, text in sorted(self._texts.items()) if name.startswith(prefix)}
