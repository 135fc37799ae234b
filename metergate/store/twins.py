"""Calls with an idempotency key, remembered for as long as a twin may come."""

from collections import OrderedDict

from metergate.core.idempotency import Twin
from metergate.ports import TWIN_DONE, TWIN_OTHER, TWIN_RUNNING, Held

ANSWERS_MAX = 64 * 1024 * 1024
"""Bytes of kept answers. Beyond them the oldest are let go: a twin then hears that the call was done."""


class Twins:
    def __init__(self, answers_max: int = ANSWERS_MAX) -> None:
        self._running: dict[str, Twin] = {}
        self._done: dict[str, Twin] = {}
        self._answers: OrderedDict[str, bytes] = OrderedDict()
        """What was kept of the answers, the oldest first."""
        self._answers_max = answers_max
        self._answers_bytes = 0

    def verdict(self, twin: Twin, now_us: int) -> Held | None:
        """What a call hears whose twin is known; None when it is the first."""
        running = self._running.get(twin.id)
        if running is not None:
            return Held(TWIN_RUNNING if running.fingerprint == twin.fingerprint else TWIN_OTHER)
        done = self._done.get(twin.id)
        if done is None or done.until_us <= now_us:
            return None
        if done.fingerprint != twin.fingerprint:
            return Held(TWIN_OTHER)
        return Held(TWIN_DONE, answer=self._answers.get(twin.id))

    def began(self, twin: Twin) -> None:
        self._running[twin.id] = twin

    def ended(self, twin: Twin, answer: bytes | None) -> None:
        self._running.pop(twin.id, None)
        self._keep(twin, answer)

    def dropped(self, twin: Twin) -> None:
        """The call was released: nothing was charged, so the next one is the first again."""
        self._running.pop(twin.id, None)

    def put(self, twin: Twin, answer: bytes | None) -> None:
        if twin.id not in self._running and twin.id not in self._done:
            self._keep(twin, answer)

    def purge(self, now_us: int) -> None:
        for id in [id for id, twin in self._done.items() if twin.until_us <= now_us]:
            del self._done[id]
            self._forget_answer(id)

    def _keep(self, twin: Twin, answer: bytes | None) -> None:
        self._forget_answer(twin.id)
        self._done[twin.id] = twin
        if answer is None:
            return
        self._answers[twin.id] = answer
        self._answers_bytes += len(answer)
        while self._answers_bytes > self._answers_max:
            self._forget_answer(next(iter(self._answers)))

    def _forget_answer(self, id: str) -> None:
        self._answers_bytes -= len(self._answers.pop(id, b""))
