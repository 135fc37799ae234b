"""What the address of a store may say."""

import ssl

import pytest

from metergate.errors import ConfigurationError
from metergate_redis import open_store
from metergate_redis.address import Address, parse


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://localhost:6379/0", Address(hosts=(("localhost", 6379),))),
        ("redis://", Address(hosts=(("localhost", 6379),))),
        ("valkey://:p%40ss@[::1]:7000/3", Address(hosts=(("::1", 7000),), password="p@ss", database=3)),
        (
            "redis://me:secret@host?db=2",
            Address(hosts=(("host", 6379),), username="me", password="secret", database=2),
        ),
        ("redis+unix:///run/redis%20a.sock?db=1", Address("unix", path="/run/redis a.sock", database=1)),
        (
            "redis+sentinel://:p@a,b:1/money/4?sentinel_password=s",
            Address(
                "sentinel",
                (("a", 26379), ("b", 1)),
                service="money",
                password="p",
                sentinel_password="s",
                database=4,
            ),
        ),
        ("valkey+cluster://a:1,b", Address("cluster", (("a", 1), ("b", 6379)), shards=16)),
        (
            "redis://h?shards=4&prefix=eu&timeout=250ms&takeover=1.5s",
            Address(hosts=(("h", 6379),), shards=4, prefix="eu", deadline_s=0.25, takeover_s=1.5),
        ),
    ],
)  # fmt: skip
def test_an_address_is_read(url: str, said: Address) -> None:
    assert parse(url) == said


@pytest.mark.parametrize("scheme", ["rediss", "valkeys", "rediss+cluster", "valkeys+sentinel"])
def test_an_s_means_tls_with_a_certificate_that_is_checked(scheme: str) -> None:
    tls = parse(f"{scheme}://host/service" if "sentinel" in scheme else f"{scheme}://host").tls
    assert tls is not None
    assert (tls.verify_mode, tls.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_tls_without_a_check_has_to_be_asked_for() -> None:
    tls = parse("rediss://host?ssl_cert_reqs=none").tls
    assert tls is not None
    assert tls.verify_mode == ssl.CERT_NONE


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://host", "Write the store as"),
        ("redis+tcp://host", "Write the store as"),
        ("redis://host:70x", "Write the store as"),
        ("redis://host/1/2", "Write the store as"),
        ("redis://host/one", "Give db in"),
        ("redis://a,b", "redis:// has only one"),
        ("redis+unix://", "Name the socket"),
        ("redis+sentinel://a,b", "Name the service"),
        ("redis+cluster://a/1", "Leave the database out"),
        ("redis://h?shards=0", "shards .* from 1 to 1024"),
        ("redis://h?timeout=1", "timeout .* such as 500ms or 2s"),
        ("redis://h?timeout=0s", "timeout .* such as 500ms or 2s"),
        ("redis://h?prefix=a*", "Give another prefix"),
        ("redis://h?max_connections=5", "not known: max_connections"),
        ("rediss://h?ssl_ca_certs=/no/such/file", "cannot be read"),
    ],
)
def test_a_mistake_is_one_sentence(url: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        parse(url)


def test_a_mistake_shows_no_password() -> None:
    with pytest.raises(ConfigurationError) as told:
        parse("redis://user:secret@a,b")
    assert "secret" not in str(told.value)


async def test_a_store_is_made_without_a_server() -> None:
    store = open_store("redis://127.0.0.1:1", space="x", backlog=1)
    assert store.health().shared
    assert not store.health().ok
    assert store.epoch == ""
