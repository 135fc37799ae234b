"""A key is recognised by its form alone, survives no change, and is never shown whole."""

import hashlib
import hmac
import re
import zlib
from collections.abc import Callable
from random import Random
from secrets import token_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metergate.core.keys import ALPHABET, PATTERN, Environment, Key, digest, mint, parse, same

KEY = mint("live", Random(1).randbytes)
positions = st.integers(0, len(KEY) - 1)


@pytest.mark.parametrize("environment", ["live", "test"])
def test_a_minted_key_is_read_back(environment: Environment) -> None:
    text = mint(environment, token_bytes)
    assert re.fullmatch(rf"mg_{environment}_[0-9A-Za-z]{{10}}_[0-9A-Za-z]{{38}}", text)
    assert parse(text) == Key(environment, text[8:18], text)


def test_the_checksum_is_the_crc32_of_everything_before_it() -> None:
    number = 0
    for letter in KEY[-6:]:
        number = number * 62 + ALPHABET.index(letter)
    assert number == zlib.crc32(KEY[:-6].encode())


@given(positions, st.sampled_from(ALPHABET + "_-. é٣"))
def test_a_key_with_any_character_changed_is_refused(position: int, letter: str) -> None:
    changed = KEY[:position] + letter + KEY[position + 1 :]
    assert (parse(changed) is None) == (changed != KEY)


@given(positions, positions)
def test_a_key_with_two_characters_swapped_is_refused(a: int, b: int) -> None:
    letters = list(KEY)
    letters[a], letters[b] = letters[b], letters[a]
    swapped = "".join(letters)
    assert (parse(swapped) is None) == (swapped != KEY)


MALFORMED = {
    "empty": "",
    "prefix only": "mg_live_",
    "cut off": KEY[:-1],
    "too long": KEY + "0",
    "line end": KEY + "\n",
    "space": " " + KEY,
    "capitals": KEY.upper(),
    "other environment": KEY.replace("live", "test"),
    "other brand": KEY.replace("mg_", "sk_"),
    "huge": KEY * 100_000,
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
def test_malformed_texts_are_no_keys(text: str) -> None:
    assert parse(text) is None


@given(st.text())
def test_any_text_is_answered(text: str) -> None:
    assert parse(text) is None


def test_scanners_find_a_key_inside_other_text() -> None:
    found = re.search(PATTERN, f'export API_KEY="{KEY}"')
    assert found and found[0] == KEY


def test_every_letter_is_equally_likely() -> None:
    random = Random(7)
    letters = "".join(
        text[8:18] + text[19:51] for text in (mint("test", random.randbytes) for _ in range(2000))
    )
    expected = len(letters) / len(ALPHABET)
    chi_squared = sum((letters.count(letter) - expected) ** 2 / expected for letter in ALPHABET)
    assert chi_squared < 120  # 61 degrees of freedom; taking bytes modulo 62 gives about 300


def test_bytes_that_would_favour_some_letters_are_thrown_away() -> None:
    answers = iter([bytes([255, 248]) * 42, bytes(range(84))])
    assert mint("live", lambda _: next(answers))[8:18] == ALPHABET[:10]


@pytest.mark.parametrize("source", [lambda n: b"\xff" * n, lambda n: b""])
def test_a_broken_source_of_randomness_makes_no_key(source: Callable[[int], bytes]) -> None:
    with pytest.raises(ValueError, match="randomness"):
        mint("live", source)


def test_there_are_two_environments() -> None:
    with pytest.raises(ValueError, match="live or test"):
        mint("prod", token_bytes)  # type: ignore[arg-type]


def test_what_is_stored_is_an_hmac_under_the_pepper() -> None:
    assert digest(KEY, b"pepper") == hmac.new(b"pepper", KEY.encode(), hashlib.sha256).hexdigest()
    assert digest(KEY, b"pepper") != digest(KEY, b"salt")
    with pytest.raises(ValueError, match="pepper"):
        digest(KEY, b"")


@given(st.text(), st.text())
def test_digests_are_the_same_only_when_equal(a: str, b: str) -> None:
    assert same(a, b) == (a == b)
    assert same(a, a)


def test_a_key_hides_its_secret_where_it_is_printed() -> None:
    assert KEY[19:51] not in repr(parse(KEY))
