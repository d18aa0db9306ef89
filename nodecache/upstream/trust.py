"""TLS to upstreams: the system's roots, and an administrator's file on top of them."""

from __future__ import annotations

import re
from typing import Any

from OpenSSL import crypto
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import Certificate, OpenSSLDefaultPaths, optionsForClientTLS

from nodecache.failures import ConfigError

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)

#: Hosts whose TLS settings are kept: making them anew reads all roots again.
MOST_HOSTS = 64


def read_certificates(path: str, key: str) -> tuple[Certificate, ...]:
    """All certificates of a PEM file. Raises ConfigError naming ``key``."""
    try:
        with open(path, "rb") as file:
            found = _PEM.findall(file.read())
        certificates = tuple(Certificate.loadPEM(pem) for pem in found)
    except OSError as error:
        raise ConfigError(f"{key}: {path} cannot be read: {error.strerror}") from error
    except (crypto.Error, ValueError) as error:
        raise ConfigError(f"{key}: {path} holds a certificate that is broken") from error
    if not certificates:
        raise ConfigError(f"{key}: {path} holds no certificate (PEM)")
    return certificates


class _WithMore(OpenSSLDefaultPaths):
    """The system's roots and some more; Twisted's own kinds are the one or the other."""

    def __init__(self, more: tuple[Certificate, ...]) -> None:
        self._more = more

    def _addCACertsToContext(self, context: Any) -> None:
        super()._addCACertsToContext(context)  # type: ignore[no-untyped-call]  # Twisted's own
        store = context.get_cert_store()
        for certificate in self._more:
            store.add_cert(certificate.original)


class Trust:
    """Makes TLS settings for hosts: certificate chain and host name are always checked."""

    def __init__(self, ca_file: str | None = None, key: str = "ca_file") -> None:
        """Raises ConfigError naming ``key`` when ``ca_file`` cannot be used."""
        self._roots = _WithMore(read_certificates(ca_file, key) if ca_file else ())
        self._known: dict[str, IOpenSSLClientConnectionCreator] = {}

    def for_host(self, host: str) -> IOpenSSLClientConnectionCreator:
        """``host`` is a name or an address without brackets."""
        known = self._known.pop(host, None)
        if known is None:
            known = optionsForClientTLS(host, trustRoot=self._roots)
        self._known[host] = known
        while len(self._known) > MOST_HOSTS:
            del self._known[next(iter(self._known))]
        return known
