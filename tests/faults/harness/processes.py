"""Processes under a supervisor: each can be killed, frozen and started again as what it was."""

import os
import signal
import subprocess
from collections.abc import Sequence

import httpx2

from tests.ports import free_port
from tests.servers.serving import kill
from tests.shared.house import Place


class Child:
    def __init__(self, place: Place, words: Sequence[str], **environ: str) -> None:
        self._place = place
        self._words = words
        self._environ = environ
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = self._place.start(*self._words, **self._environ)

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        if self.process is not None:
            kill(self.process)

    def restart(self) -> None:
        self.kill()
        self.start()

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self.process is not None and self.runs:
            os.kill(self.process.pid, number)


class Gate(Child):
    """A process that customers call."""

    def __init__(self, place: Place, port: int, words: Sequence[str], **environ: str) -> None:
        super().__init__(place, words, **environ)
        self.url = f"http://127.0.0.1:{port}"

    async def answers(self, client: httpx2.AsyncClient) -> bool:
        try:
            return (await client.get(f"{self.url}/public/up")).status_code == 200
        except httpx2.TransportError:
            return False


def app_gate(place: Place, app: str = "app", **environ: str) -> Gate:
    """uvicorn with an app that notes what reaches it, behind the middleware."""
    port = free_port()
    words = ("uvicorn", f"tests.faults.harness.app:{app}", "--port", str(port), "--log-level", "warning")
    return Gate(place, port, words, METERGATE_POLICY=str(place.folder / "policy.json"), **environ)


def proxy_gate(place: Place, **environ: str) -> Gate:
    """`metergate serve`, in front of an upstream of its own."""
    port = free_port()
    words = ("metergate", "serve", "proxy.json", "--port", str(port), "--admin-port", "0")
    return Gate(place, port, words, **environ)


def worker(place: Place, **environ: str) -> Child:
    return Child(place, ("metergate", "worker", "policy.json"), **environ)
