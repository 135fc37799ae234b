"""HTTP for payment adapters: few calls, none of them in the request path, and each told apart by its outcome.

The standard library's client in a thread. What matters here is to know whether a request was sent: before
that nothing was done, after it nobody knows.
"""

import asyncio
import http.client
import ssl
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from metergate.core.outgoing import LOOPBACK
from metergate.provider_port.context import Answer
from metergate.provider_port.errors import Misconfigured, TryAgain, UnknownOutcome

BODY_MAX: Final = 10**7


async def ask(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    timeout_s: float = 20,
) -> Answer:
    """`provider_port.Http`: one request, one answer, no redirects and no second try."""
    return await asyncio.to_thread(ask_blocking, method, url, headers or {}, body, timeout_s)


def ask_blocking(
    method: str, url: str, headers: Mapping[str, str], body: bytes, timeout_s: float = 20
) -> Answer:
    """The same for an SDK that blocks, in a thread of its own."""
    parts = urlsplit(url)
    connection = _connection(parts.scheme, parts.hostname or "", parts.port, timeout_s)
    try:
        _connect(connection, parts.netloc.rpartition("@")[2])
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        try:
            connection.request(method, target, body, dict(headers))
            response = connection.getresponse()
            told = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, told, _read(response))
        except (OSError, http.client.HTTPException) as error:
            raise UnknownOutcome(f"{parts.hostname} did not answer to the end: {error!r}") from error
    finally:
        connection.close()


def _connection(scheme: str, host: str, port: int | None, timeout_s: float) -> http.client.HTTPConnection:
    if scheme == "https":
        return http.client.HTTPSConnection(
            host, port, timeout=timeout_s, context=ssl.create_default_context()
        )
    if scheme != "http" or host not in LOOPBACK:
        raise Misconfigured(f"Use https to reach {host or 'a provider'}; http is for loopback only.")
    return http.client.HTTPConnection(host, port, timeout=timeout_s)


def _connect(connection: http.client.HTTPConnection, where: str) -> None:
    try:
        connection.connect()
    except OSError as error:
        raise TryAgain(f"{where} cannot be reached: {error}") from error


def _read(response: http.client.HTTPResponse) -> bytes:
    body = response.read(BODY_MAX + 1)
    if len(body) > BODY_MAX:
        raise http.client.HTTPException("the answer is too long")
    if response.length:  # a bounded read says nothing of an answer that was cut
        raise http.client.IncompleteRead(body, response.length)
    return body
