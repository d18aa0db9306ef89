"""A certificate authority for tests: TLS listeners that are right, expired, or for another host."""

from __future__ import annotations

import datetime as dt
import ipaddress
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet.ssl import KeyPair, PrivateCertificate

DAY = dt.timedelta(days=1)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _place(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


class FakeAuthority:
    """``pem`` is its certificate, as a CA file holds it."""

    def __init__(self, name: str = "nodecache test authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        self.certificate = self._sign(
            self._builder(self._name, self._key, 30 * DAY).add_extension(
                x509.BasicConstraints(ca=True, path_length=None), critical=True
            )
        )
        self.pem = self.certificate.public_bytes(serialization.Encoding.PEM)

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, life: dt.timedelta
    ) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 10 * DAY)
            .not_valid_after(now + life)
        )

    def _sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        return builder.sign(self._key, hashes.SHA256())

    def listener(self, *hosts: str, life: dt.timedelta = DAY) -> Any:
        """A context factory for a server at ``hosts``; a negative ``life`` is over already."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(
            self._builder(_name(hosts[0]), key, life).add_extension(
                x509.SubjectAlternativeName([_place(host) for host in hosts]), critical=False
            )
        )
        der = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        pair = KeyPair.load(der, 1)
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        return PrivateCertificate.fromCertificateAndKeyPair(
            PrivateCertificate.loadPEM(pem + der), pair
        ).options()
