"""Addresses: who is one caller, and who asks behind proxies."""

import pytest

from metergate.core.addresses import Proxies, is_address, one_caller, within

TRUSTED = Proxies(["10.0.0.0/8"])


def test_an_address_stands_for_the_network_of_its_owner() -> None:
    """One of IPv4 may be written as one of IPv6: where both are listened to at once all of them are."""
    assert one_caller("203.0.113.9") == one_caller("::ffff:203.0.113.9") == "203.0.113.9"
    assert one_caller("::ffff:203.0.113.8") != one_caller("::ffff:203.0.113.9")
    assert one_caller("2001:db8:1:2::1") == one_caller("2001:db8:1:2:ffff::9%eth0") == "2001:db8:1:2::/64"
    assert one_caller("2001:db8:1:3::1") != one_caller("2001:db8:1:2::1")
    assert one_caller("testclient") == "testclient"


def test_what_is_no_address_is_nowhere() -> None:
    assert [is_address(each) for each in ("", "what", "10.0.0.1:80", "1.2.3", "1.2.3.4")] == [False] * 4 + [
        True
    ]
    assert not within("what", ["0.0.0.0/0", "::/0"])
    assert within("::ffff:192.0.2.7", ["192.0.2.0/24"])


@pytest.mark.parametrize(
    ("said", "address", "chain"),
    [
        (b"6.6.6.6, 1.2.3.4, 10.0.0.8", "10.0.0.9", ["1.2.3.4", "10.0.0.8", "10.0.0.9"]),
        (b"1.2.3.4", "::ffff:10.0.0.9", ["1.2.3.4", "::ffff:10.0.0.9"]),
        (b"1.2.3.4, what", "10.0.0.9", ["10.0.0.9"]),
        (b"", "10.0.0.9", ["10.0.0.9"]),
        (b"1.2.3.4", "203.0.113.7", ["203.0.113.7"]),
    ],
    ids=["several", "as IPv6", "nonsense", "nothing", "a stranger"],
)
def test_a_trusted_proxy_is_believed_as_far_as_trust_goes(
    said: bytes, address: str, chain: list[str]
) -> None:
    assert TRUSTED.chain(said, address) == chain
