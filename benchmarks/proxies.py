"""Proxies to compare with, as processes: `python -m benchmarks.proxies httpx port upstream`.

What somebody would write in an afternoon around a client library; they do not meter, and keep few rules.
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from shutil import which

import uvicorn

from metergate.asgi.types import ASGIApp, Receive, Scope, Send

NGINX = """\
daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  upstream up {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port}; keepalive_requests 100000000;
    location / {{
      proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }}
  }}
}}
"""


def nginx(upstream: int) -> Callable[[int], Sequence[str]]:
    def command(port: int) -> Sequence[str]:
        folder = Path(tempfile.mkdtemp(prefix="metergate-bench-nginx-"))
        file = folder / "nginx.conf"
        file.write_text(NGINX.format(folder=folder, upstream=upstream, port=port))
        return ["nginx", "-c", str(file), "-p", str(folder)]

    return command


def library(name: str, upstream: int) -> Callable[[int], Sequence[str]]:
    return lambda port: [sys.executable, "-m", __name__, name, str(port), str(upstream)]


def present(upstream: int) -> dict[str, Callable[[int], Sequence[str]]]:
    """How each peer that is installed here is started."""
    found = {"nginx": nginx(upstream)} if which("nginx") else {}
    for name in ("aiohttp", "httpx2"):
        if find_spec(name):
            found[name] = library(name, upstream)
    return found


def of_httpx2(upstream: int) -> ASGIApp:
    import httpx2

    client = httpx2.AsyncClient(base_url=f"http://127.0.0.1:{upstream}", timeout=60)

    async def proxy(scope: Scope, _: Receive, send: Send) -> None:
        asked = client.build_request(scope["method"], scope["path"], headers=scope["headers"])
        answer = await client.send(asked, stream=True)
        await send(
            {"type": "http.response.start", "status": answer.status_code, "headers": answer.headers.raw}
        )
        async for chunk in answer.aiter_raw():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return proxy


def of_aiohttp(upstream: int) -> ASGIApp:
    import aiohttp

    sessions: list[aiohttp.ClientSession] = []

    async def proxy(scope: Scope, _: Receive, send: Send) -> None:
        if not sessions:
            connector = aiohttp.TCPConnector(limit=0)
            sessions.append(aiohttp.ClientSession(connector=connector, auto_decompress=False))
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        url = f"http://127.0.0.1:{upstream}{scope['path']}"
        async with sessions[0].request(scope["method"], url, headers=headers) as answer:
            await send(
                {"type": "http.response.start", "status": answer.status, "headers": list(answer.raw_headers)}
            )
            async for chunk in answer.content.iter_any():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

    return proxy


APPS: dict[str, Callable[[int], ASGIApp]] = {"httpx2": of_httpx2, "aiohttp": of_aiohttp}


if __name__ == "__main__":
    name, port, upstream = sys.argv[1:]
    app = APPS[name](int(upstream))
    uvicorn.run(app, port=int(port), access_log=False, log_level="warning", lifespan="off")
