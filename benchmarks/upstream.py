"""The upstream that the proxies under test stand in front of: `python -m benchmarks.upstream port`.

`/stream` sends chunks at a pace, any other path answers at once; it does no more than it must.
"""

import asyncio
import json
import sys

import httptools
import uvloop

from benchmarks import cores

ANSWER = json.dumps({
    "id": "chatcmpl-bench", "object": "chat.completion", "created": 1, "model": "bench",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "x" * 700}}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30},
}).encode()  # fmt: skip
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
    len(ANSWER),
    ANSWER,
)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = b"data: " + json.dumps({"delta": "y" * 160}).encode() + b"\n\n"
CHUNK = b"%x\r\n%s\r\n" % (len(EVENT), EVENT)
END = b"0\r\n\r\n"
CHUNKS = 200
PAUSE_S = 0.005


class Upstream(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport) or hasattr(transport, "write")
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)
        self.left = 0

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.url = url

    def on_message_complete(self) -> None:
        if self.url.startswith(b"/stream"):
            self.left = CHUNKS
            self.write(HEAD)
            self.tick()
        else:
            self.write(WHOLE)

    def tick(self) -> None:
        if not self.left:
            self.write(END)
            return
        self.left -= 1
        self.write(CHUNK)
        asyncio.get_running_loop().call_later(PAUSE_S, self.tick)

    def write(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    cores.pin(cores.CLIENT)
    uvloop.run(serve(int(sys.argv[1])))
