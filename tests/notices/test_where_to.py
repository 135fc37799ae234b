"""Where notices may go: https to public addresses, loopback as written, private networks as listed."""

import asyncio
import contextlib
import socket
import ssl

import pytest
import trustme

from metergate.core import outgoing
from metergate.errors import InvalidInput
from metergate.notices.sending import send
from tests.notices.conftest import Post
from tests.notices.receiver import Receiver


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://example.com/",
        "http://example.com/hook",
        "https:///hook",
        "https://user:pass@example.com/",
        "https://example.com/a b",
        "https://example.com/\r\nx-evil: 1",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://exämple.com/",
        "https://example.com/#part",
        "https://[::1",
        "https://example.com/" + "a" * 3000,
        "javascript:alert(1)",
    ],
)
async def test_addresses_that_are_refused_when_they_are_written(post: Post, url: str) -> None:
    with pytest.raises(InvalidInput):
        await post.office.endpoints.create(url)


@pytest.mark.parametrize(
    ("host", "address", "allowed", "goes"),
    [
        ("example.com", "93.184.215.14", (), True),
        ("example.com", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", (), True),
        ("localhost", "127.0.0.1", (), True),
        ("localhost", "::1", (), True),
        ("localhost", "10.0.0.1", (), False),
        ("evil.example", "127.0.0.1", (), False),
        ("evil.example", "127.8.8.8", (), False),
        ("evil.example", "::1", (), False),
        ("evil.example", "0.0.0.0", (), False),
        ("evil.example", "10.1.2.3", (), False),
        ("evil.example", "172.16.0.1", (), False),
        ("evil.example", "192.168.1.1", (), False),
        ("evil.example", "169.254.169.254", (), False),
        ("evil.example", "100.64.0.1", (), False),
        ("evil.example", "224.0.0.1", (), False),
        ("evil.example", "255.255.255.255", (), False),
        ("evil.example", "fe80::1%eth0", (), False),
        ("evil.example", "fd00::1", (), False),
        ("evil.example", "ff02::1", (), False),
        ("evil.example", "::ffff:127.0.0.1", (), False),
        ("evil.example", "::ffff:10.0.0.1", (), False),
        ("evil.example", "64:ff9b::7f00:1", (), False),
        ("evil.example", "2002:7f00:1::", (), False),
        ("intern.example", "10.1.2.3", ("10.0.0.0/8",), True),
        ("intern.example", "::ffff:10.1.2.3", ("10.0.0.0/8",), True),
        ("intern.example", "10.1.2.3", ("192.168.0.0/16",), False),
        ("intern.example", "127.0.0.1", ("127.0.0.0/8",), True),
    ],
)
def test_where_a_name_may_lead(host: str, address: str, allowed: tuple[str, ...], goes: bool) -> None:
    assert outgoing.may_go_to(host, address, allowed) is goes


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """A resolver of our own in the place of the system's: names that lead where somebody wants them to."""
    known: dict[str, list[str]] = {}
    system = socket.getaddrinfo

    def look_up(host: str, port: int, *more: object, **options: object) -> object:
        if host in known:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in known[host]]
        return system(host, port, *more, **options)  # type: ignore[arg-type]  # whatever it was asked with

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


async def test_a_name_that_leads_inside_is_not_followed(post: Post, names: dict[str, list[str]]) -> None:
    trusted = ssl.create_default_context()
    for found in (["127.0.0.1"], ["93.184.215.14", "10.0.0.1"]):
        names["rebound.example"] = found
        outcome = await send("https://rebound.example/", {}, b"{}", (), trusted)
        assert (outcome.taken, outcome.status) == (False, 0)
        assert f"rebound.example leads to {found[-1]}, which is not public" in outcome.detail
    assert post.receiver.asked == 0


async def test_a_name_with_several_addresses_is_reached_where_somebody_listens(
    post: Post, names: dict[str, list[str]]
) -> None:
    """As localhost is on most machines, whose first address is ::1."""
    names["localhost"] = ["127.0.0.2", "127.0.0.1"]
    await post.listen()
    await post.grant("g-1")
    await post.deliver()
    assert [each["state"] for each in await post.deliveries()] == ["delivered"]


async def test_over_tls_the_certificate_has_to_be_the_names(post: Post, names: dict[str, list[str]]) -> None:
    authority = trustme.CA()
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("hooks.example").configure_cert(serving)
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    receiver = Receiver(post.clock, serving)
    await receiver.start()
    names |= {"hooks.example": ["127.0.0.1"], "other.example": ["127.0.0.1"]}
    post.private = ("127.0.0.0/8",)
    try:
        good = receiver.url.replace("localhost", "hooks.example")
        for url, context in (
            (good, trusted),
            (good.replace("hooks", "other"), trusted),
            (good, ssl.create_default_context()),
        ):
            made = await post.office.endpoints.create(url, ["endpoint.test"])
            receiver.secrets.append(made["secret"])
            await post.office.endpoints.test(made["id"])
            await post.another(context).run_once()
    finally:
        await receiver.stop()
    untrusted, other, taken = await post.deliveries()
    assert (taken["state"], len(receiver.got)) == ("delivered", 1)
    assert "not safe" in other["detail"]
    assert "not safe" in untrusted["detail"]


async def test_no_redirect_is_followed(post: Post) -> None:
    await post.listen()
    post.receiver.answer, post.receiver.headers = 302, f"location: {post.receiver.url}\r\n"
    await post.grant("g-1")
    await post.deliver()
    assert post.receiver.asked == 1
    assert "redirects" in (await post.deliveries())[0]["detail"]


async def answers(reply: bytes) -> str:
    """What becomes of a delivery to somebody who answers in this way."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        outcome = await send(f"http://127.0.0.1:{port}/", {}, b"{}", (), ssl.create_default_context(), 5)
    return "taken" if outcome.taken else outcome.detail


@pytest.mark.parametrize(
    ("reply", "becomes"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", "taken"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "taken"),
        (b"HTTP/1.0 200 OK\r\n\r\n", "taken"),
        (b"HTTP/1.1 500 Oh\r\n\r\n", "It answered 500."),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", "What answered does not speak HTTP."),
        (b"HTTP/1.1 abc\r\n\r\n", "What answered does not speak HTTP."),
        (b"", "cannot be reached"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"a" * 100_000 + b"\r\n\r\n", "cannot be reached"),
    ],
)
async def test_whatever_answers_is_an_outcome(reply: bytes, becomes: str) -> None:
    assert becomes in await answers(reply)


async def test_who_drips_is_cut_off() -> None:
    """The bound is for the whole attempt and not for the next byte."""
    over = asyncio.Event()

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"H")
                await writer.drain()
                await asyncio.sleep(0.05)
        writer.close()
        over.set()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        outcome = await send(f"http://localhost:{port}/", {}, b"{}", (), ssl.create_default_context(), 0.3)
        await asyncio.wait_for(over.wait(), 10)
    assert outcome.detail == "No answer came within 0.3 seconds."
