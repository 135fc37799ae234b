"""Whether PayPal sent it: whose certificate it is, who vouches for that, and what was signed with it.

The signature is over `transmission id | time | id of our webhook | CRC-32 of the body`. A checksum keeps
nobody from making another body with the same one, and a delivery may come again for days; both are harmless,
because news is only a hint to ask.
"""

import base64
import contextlib
import re
import warnings
import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import certifi
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from metergate.errors import ConfigurationError
from metergate.provider_port import Context, Forged, TryAgain, instant_us

ALGORITHM: Final = "SHA256withRSA"
OLDEST_US: Final = 4 * 86_400 * 10**6
"""PayPal tries for three days to deliver."""
AHEAD_US: Final = 300 * 10**6
_PATH = re.compile(r"/v1/notifications/certs/[A-Za-z0-9_-]{1,128}")
_BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")
_WORDS: Final = ("id", "time", "sig")
_FETCHES: Final = 10
_KEPT: Final = 100
_MINUTE_US: Final = 60 * 10**6


class Proof:
    def __init__(self, context: Context, base: str, webhook_ids: Sequence[str], *, live: bool) -> None:
        self.live = live
        sandbox = "" if live else "sandbox."
        self._context = context
        self.webhook_ids = webhook_ids
        self._origins = {f"https://{api}.{sandbox}paypal.com" for api in ("api", "api-m")}
        if context.setting("PAYPAL_API_BASE"):
            self._origins.add(base)
        self._name = f"messageverificationcerts.{sandbox}paypal.com"
        self._roots = context.setting("PAYPAL_CERT_ROOTS") or certifi.where()
        self._store: Store | None = None
        self._known: dict[str, x509.Certificate] = {}
        self._fetched_us: list[int] = []

    async def prove(self, headers: Mapping[str, str], body: bytes) -> None:
        """Forged unless PayPal signed this body for our webhook, within the days in which it delivers."""
        id, time, told = [headers.get(f"paypal-transmission-{word}", "") for word in _WORDS]
        if headers.get("paypal-auth-algo") != ALGORITHM or not id or not time:
            raise Forged(f"A webhook of PayPal has to be signed with {ALGORITHM}.")
        self._must_be_recent(time)
        public = (await self._certificate(headers.get("paypal-cert-url", ""))).public_key()
        if not isinstance(public, RSAPublicKey):
            raise Forged("The certificate of a webhook of PayPal has to hold an RSA key.")
        crc = zlib.crc32(body)
        signed = [f"{id}|{time}|{webhook}|{crc}".encode() for webhook in self.webhook_ids]
        if not any(_fits(public, told, each) for each in signed):
            raise Forged("The signature is not PayPal's, or for another webhook.")

    def _must_be_recent(self, time: str) -> None:
        try:
            at_us = instant_us(time)
        except ValueError as error:
            raise Forged("The time of a webhook of PayPal cannot be read.") from error
        if not -AHEAD_US <= self._context.clock() - at_us <= OLDEST_US:
            raise Forged("The signature is too old, or of the future.")

    async def _certificate(self, url: str) -> x509.Certificate:
        """The certificate of an address of PayPal, vouched for by somebody whom we trust, and valid now."""
        try:
            parts = urlsplit(url if url.isascii() and url.isprintable() else "")
        except ValueError as error:
            raise Forged("The certificate of a webhook of PayPal has to be at PayPal.") from error
        known_place = f"{parts.scheme}://{parts.netloc}" in self._origins and _PATH.fullmatch(parts.path)
        if not known_place or parts.query or parts.fragment:
            raise Forged("The certificate of a webhook of PayPal has to be at PayPal.")
        now = datetime.fromtimestamp(self._context.clock() / 10**6, UTC)
        known = self._known.get(url)
        if known is None or not known.not_valid_before_utc <= now <= known.not_valid_after_utc:
            known = self._vouched(await self._fetch(url), now)
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[url] = known
        return known

    async def _fetch(self, url: str) -> bytes:
        """Not too often: anybody can make us ask, and true news names a certificate that we know."""
        now_us = self._context.clock()
        self._fetched_us = [each for each in self._fetched_us if 0 <= now_us - each < _MINUTE_US]
        if len(self._fetched_us) >= _FETCHES:
            raise TryAgain("Too many certificates of PayPal were asked for; send it again in a minute.", 60)
        self._fetched_us.append(now_us)
        answer = await self._context.http("GET", url)
        if answer.status == 200:
            return answer.body
        if answer.status in (404, 410):
            raise Forged("PayPal has no such certificate.")
        raise TryAgain(f"PayPal answered {answer.status} when it was asked for a certificate.")

    def _vouched(self, pem: bytes, now: datetime) -> x509.Certificate:
        try:
            first, *others = x509.load_pem_x509_certificates(pem)
            trusted = PolicyBuilder().store(self._trusted()).time(now)
            trusted.build_server_verifier(x509.DNSName(self._name)).verify(first, others)
        except (ValueError, VerificationError) as error:
            raise Forged(f"Nobody vouches that the certificate is {self._name}: {error}") from error
        return first

    def _trusted(self) -> Store:
        if self._store is None:
            try:
                self._store = Store(_readable(Path(self._roots).read_bytes()))
            except (OSError, ValueError) as error:
                raise ConfigurationError(f"PAYPAL_CERT_ROOTS cannot be read: {error}") from error
        return self._store


def _readable(pem: bytes) -> list[x509.Certificate]:
    """Public lists have old roots that are not as they should be: those are not trusted."""
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", CryptographyDeprecationWarning)
        for block in _BLOCK.findall(pem):
            with contextlib.suppress(ValueError, CryptographyDeprecationWarning):
                found.append(x509.load_pem_x509_certificate(block))
    return found


def _fits(public: RSAPublicKey, told: str, signed: bytes) -> bool:
    try:
        public.verify(base64.b64decode(told, validate=True), signed, PKCS1v15(), SHA256())
    except (ValueError, InvalidSignature):
        return False
    return True
