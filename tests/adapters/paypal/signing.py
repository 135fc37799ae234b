"""How PayPal signs its news, with a certificate that a CA of the tests vouches for."""

import base64
import zlib
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from metergate.ports import Clock

NAME = "messageverificationcerts.sandbox.paypal.com"


class Signer:
    """A certificate of this name, of a CA of its own, and what is signed with it."""

    def __init__(self, clock: Clock, webhook: str, name: str = NAME, days: int = 365, ca: str = "") -> None:
        self._clock = clock
        self._webhook = webhook
        since = datetime.fromtimestamp(clock() // 10**6, UTC) - timedelta(days=1)
        ca_key, self._key = _key(f"ca of {ca or name}"), _key(name)
        ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "A CA of tests")])
        root = _builder(ca_name, ca_name, ca_key.public_key(), ca_key.public_key(), since, 3650)
        root = root.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        root = root.add_extension(_usage(signs_certificates=True), critical=True)
        self._ca = root.sign(ca_key, SHA256())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        leaf = _builder(subject, ca_name, self._key.public_key(), ca_key.public_key(), since, days)
        leaf = leaf.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        leaf = leaf.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        leaf = leaf.add_extension(_usage(signs_certificates=False), critical=True)
        issued = leaf.sign(ca_key, SHA256())
        self.chain = issued.public_bytes(Encoding.PEM) + self._ca.public_bytes(Encoding.PEM)

    def roots(self, folder: Path) -> str:
        """A file with whom to trust."""
        path = folder / "roots.pem"
        path.write_bytes(self._ca.public_bytes(Encoding.PEM))
        return str(path)

    def headers(self, body: bytes, base: str, *, webhook: str = "", at_us: int = 0) -> dict[str, str]:
        """Signed anew, now."""
        at = datetime.fromtimestamp((at_us or self._clock()) // 10**6, UTC)
        time = at.strftime("%Y-%m-%dT%H:%M:%SZ")
        signed = f"t-1|{time}|{webhook or self._webhook}|{zlib.crc32(body)}".encode()
        return {
            "content-type": "application/json",
            "paypal-transmission-id": "t-1",
            "paypal-transmission-time": time,
            "paypal-transmission-sig": base64.b64encode(
                self._key.sign(signed, PKCS1v15(), SHA256())
            ).decode(),
            "paypal-cert-url": f"{base}/v1/notifications/certs/CERT-1",
            "paypal-auth-algo": "SHA256withRSA",
        }


@cache
def _key(name: str) -> rsa.RSAPrivateKey:
    """Making one takes a while, and each test makes some."""
    return rsa.generate_private_key(65537, 2048)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: rsa.RSAPublicKey,
    issuer_key: rsa.RSAPublicKey,
    since: datetime,
    days: int,
) -> x509.CertificateBuilder:
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    made = made.serial_number(x509.random_serial_number())
    made = made.not_valid_before(since).not_valid_after(since + timedelta(days=days))
    whose = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key)
    made = made.add_extension(whose, critical=False)
    return made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
