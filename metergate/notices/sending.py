"""One attempt to deliver: resolved once, connected to what was resolved, no redirects, within a bound.

The name is looked up here and the connection goes to an address that was judged, so a name that changes
meanwhile leads nowhere else. The certificate is still that of the name.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

from metergate.core.outgoing import may_go_to, url_problem

TIMEOUT_S: Final = 15.0
HEAD_MAX: Final = 32 * 1024


class Outcome(NamedTuple):
    status: int
    """0 where nobody answered."""
    detail: str
    retry_after_s: int = 0

    @property
    def taken(self) -> bool:
        return 200 <= self.status < 300


class Refused(Exception):
    """Nothing is sent to this address."""


async def send(
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    allowed: Sequence[str],
    trusted: ssl.SSLContext,
    timeout_s: float = TIMEOUT_S,
) -> Outcome:
    """Post it; whatever goes wrong is an outcome with a sentence."""
    problem = url_problem(url)
    if problem:
        return Outcome(0, problem)
    try:
        async with asyncio.timeout(timeout_s):
            return await _send(urlsplit(url), headers, body, allowed, trusted)
    except TimeoutError:
        return Outcome(0, f"No answer came within {timeout_s:g} seconds.")
    except Refused as error:
        return Outcome(0, str(error))
    except ssl.SSLError as error:
        return Outcome(0, f"The connection is not safe: {error.reason or error}.")
    except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        return Outcome(0, f"It cannot be reached: {str(error) or type(error).__name__:.200}.")


async def _send(
    url: SplitResult,
    headers: Mapping[str, str],
    body: bytes,
    allowed: Sequence[str],
    trusted: ssl.SSLContext,
) -> Outcome:
    reader, writer = await _connected(url, allowed, trusted)
    try:
        writer.write(_request(url, headers, body))
        await writer.drain()
        return await _answer(reader)
    finally:
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError, TimeoutError):
            writer.transport.abort()


async def _connected(
    url: SplitResult, allowed: Sequence[str], trusted: ssl.SSLContext
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """To the first address that lets us in: behind localhost stand two, and many listen at one of them."""
    host, secure = url.hostname or "", url.scheme == "https"
    port = url.port or (443 if secure else 80)
    tls: dict[str, Any] = {"ssl": trusted, "server_hostname": host} if secure else {}
    *others, last = await _resolved(host, port, allowed)
    for address in others:
        with contextlib.suppress(OSError):
            return await asyncio.open_connection(address, port, limit=HEAD_MAX, **tls)
    return await asyncio.open_connection(last, port, limit=HEAD_MAX, **tls)


async def _resolved(host: str, port: int, allowed: Sequence[str]) -> list[str]:
    """The addresses of the name. When one of them is not allowed, none is used."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(each[4][0]) for each in found]
    for address in addresses:
        if not may_go_to(host, address, allowed):
            raise Refused(
                f"{host} leads to {address}, which is not public: list its network in the policy, at "
                "notices: private, if that is meant."
            )
    return addresses


def _request(url: SplitResult, headers: Mapping[str, str], body: bytes) -> bytes:
    target = f"{url.path or '/'}?{url.query}" if url.query else url.path or "/"
    told = {
        "host": url.netloc,
        **headers,
        "content-type": "application/json",
        "content-length": str(len(body)),
        "user-agent": "metergate",
        "connection": "close",
    }
    lines = "".join([f"{name}: {value}\r\n" for name, value in told.items()])
    return f"POST {target} HTTP/1.1\r\n{lines}\r\n".encode() + body


async def _answer(reader: asyncio.StreamReader) -> Outcome:
    """The status and when to come back; the rest of an answer is not read."""
    status, head = 100, b""
    while status < 200:
        head = await reader.readuntil(b"\r\n\r\n")
        version, _, rest = head.partition(b"\r\n")[0].partition(b" ")
        if not version.startswith(b"HTTP/1.") or not rest[:3].isdigit():
            return Outcome(0, "What answered does not speak HTTP.")
        status = int(rest[:3])
    if 300 <= status < 400:
        return Outcome(status, "It redirects, which is not followed: give the address that it leads to.")
    detail = "" if status < 300 else f"It answered {status}."
    return Outcome(status, detail, _retry_after_s(head))


def _retry_after_s(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"retry-after" and value.strip().isdigit():
            return min(int(value.strip()[:9]), 3600)
    return 0
