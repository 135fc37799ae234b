"""A FastAPI app with a lifespan of its own, behind MeterGate."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import PlainTextResponse, StreamingResponse

from metergate import MeterGate
from tests.servers.shared import POLICY, beside_itself, chunks, reached, signals

ready: list[str] = []


@asynccontextmanager
async def life(app: FastAPI) -> AsyncIterator[None]:
    ready.append(app.title)
    yield
    ready.clear()


def make(title: str) -> FastAPI:
    app = FastAPI(title=title, lifespan=life)

    @app.get("/public/seen")
    async def seen() -> dict[str, int]:
        assert ready, "The lifespan has not begun."
        return dict(reached)

    @app.post("/free/go/{name}")
    async def go(name: str) -> None:
        signals[name].set()

    @app.get("/stream/{name}")
    async def stream(name: str) -> StreamingResponse:
        return StreamingResponse(chunks(name), media_type="text/plain")

    @app.post("/echo")
    async def echo(request: Request) -> PlainTextResponse:
        told = repr((request.method, request.url.path, request.url.query, await request.body()))
        answer = PlainTextResponse(told, 218)
        for name, value in (("a", "1"), ("b", "2")):
            answer.set_cookie(name, value)
            answer.headers.append("x-twice", value)
        return answer

    @app.get("/{name}")
    def plain(name: str) -> str:
        return name

    @app.websocket("/ws")
    async def messages(socket: WebSocket) -> None:
        await socket.accept()
        try:
            while True:
                await socket.send_text(await socket.receive_text())
        except WebSocketDisconnect:
            return

    return app


metered = make("metered")
metered.add_middleware(MeterGate, policy=POLICY)
app = beside_itself(metered, make("bare"))
