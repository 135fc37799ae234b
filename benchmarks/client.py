"""A load client for where wrk is not: `python -m benchmarks.client port key connections seconds think_ms`."""

import asyncio
import json
import random
import statistics
import sys
import time

START = b"HTTP/1.1 200 "
LENGTH = b"content-length: "


class Caller(asyncio.Protocol):
    """One connection, one call at a time."""

    def __init__(self, request: bytes, until: float, think_ms: int) -> None:
        self.request = request
        self.until = until
        self.think_ms = think_ms
        self.took: list[float] = []
        self.refused = 0
        self.done = asyncio.get_running_loop().create_future()
        self.buffer = b""
        self.sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.call()

    def call(self) -> None:
        if time.perf_counter() >= self.until:
            self.transport.close()
            return
        self.sent = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not _whole(self.buffer):
            return
        self.took.append(time.perf_counter() - self.sent)
        self.refused += not self.buffer.startswith(START)
        self.buffer = b""
        if self.think_ms:
            pause = random.uniform(1, self.think_ms) / 1000
            asyncio.get_running_loop().call_later(pause, self.call)
        else:
            self.call()

    def connection_lost(self, error: Exception | None) -> None:
        self.refused += bool(self.buffer or error)
        self.done.set_result(None)


def _whole(data: bytes) -> bool:
    head, end, body = data.partition(b"\r\n\r\n")
    at = head.lower().find(LENGTH)
    if not end or at < 0:
        return False
    return len(body) >= int(head[at + len(LENGTH) :].split(b"\r\n", 1)[0])


async def run(port: int, key: str, connections: int, seconds: float, think_ms: int) -> dict[str, float]:
    loop = asyncio.get_running_loop()
    bearer = f"Authorization: Bearer {key}\r\n" if key else ""
    request = f"GET /hello HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{bearer}\r\n".encode()
    began = time.perf_counter()
    callers = [Caller(request, began + seconds, think_ms) for _ in range(connections)]
    waiting = iter(callers)
    for _ in callers:
        await loop.create_connection(lambda: next(waiting), "127.0.0.1", port)
    await asyncio.gather(*[caller.done for caller in callers])
    took = [each for caller in callers for each in caller.took]
    return {
        "answered": len(took),
        "refused": sum(caller.refused for caller in callers),
        "seconds": time.perf_counter() - began,
        "p50_us": statistics.median(took) * 10**6,
    }


if __name__ == "__main__":
    port, key, connections, seconds, think_ms = sys.argv[1:]
    print(json.dumps(asyncio.run(run(int(port), key, int(connections), float(seconds), int(think_ms)))))
