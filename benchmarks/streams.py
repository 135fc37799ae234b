"""Opens streams and reads them: `python -m benchmarks.streams port key count linger_s`.

With `linger_s` the answers are not read to their end: all are held open so long, for their memory to be seen.
"""

import asyncio
import json
import statistics
import sys
import time

from benchmarks.upstream import END


class Reader(asyncio.Protocol):
    def __init__(self, request: bytes) -> None:
        self.request = request
        self.first_s = 0.0
        self.reads = 0
        self.bytes = 0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.sent = time.perf_counter()
        transport.write(self.request)  # type: ignore[attr-defined]  # any transport of a stream can

    def data_received(self, data: bytes) -> None:
        if not self.bytes:
            assert data.startswith(b"HTTP/1.1 200"), data
        if not self.first_s and b"data:" in data:
            self.first_s = time.perf_counter() - self.sent
        self.bytes += len(data)
        if data.endswith(END):
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.done.set_result(None)


async def run(port: int, key: str, count: int, linger_s: float) -> dict[str, float]:
    loop = asyncio.get_running_loop()
    bearer = f"Authorization: Bearer {key}\r\n" if key else ""
    request = f"GET /stream HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{bearer}\r\n".encode()
    began = time.perf_counter()
    readers = [Reader(request) for _ in range(count)]
    waiting = iter(readers)
    for _ in readers:
        await loop.create_connection(lambda: next(waiting), "127.0.0.1", port)
    if linger_s:
        await asyncio.sleep(linger_s)
        for reader in readers:
            reader.transport.close()
    await asyncio.gather(*[reader.done for reader in readers])
    first = [reader.first_s for reader in readers if reader.first_s]
    return {
        "bytes": sum(reader.bytes for reader in readers),
        "seconds": time.perf_counter() - began,
        "first_us": statistics.median(first) * 10**6 if first else 0.0,
    }


if __name__ == "__main__":
    port, key, count, linger_s = sys.argv[1:]
    print(json.dumps(asyncio.run(run(int(port), key, int(count), float(linger_s)))))
