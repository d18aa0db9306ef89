"""Which addresses may be dialled.

A host that an administrator configured may be anywhere. A host that only an
upstream's answer names (a redirect, a token realm) must not be on the node or
its network, unless the upstream itself is. What counts is the address that is
dialled, after the name was resolved; a name proves nothing.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from twisted.internet.interfaces import IHostnameResolver, IReactorPluggableNameResolver
from zope.interface import implementer

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class AddressRefused(Exception):
    """The host is at a private or loopback address, and may not be."""


def is_private(address: str) -> bool:
    """Whether an IP address is not one of the public Internet.

    IPv4 inside IPv6 (mapped, 6to4, NAT64) counts as what it leads to. Raises
    ValueError for anything but an address.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_private(str(inner))
    return not ip.is_global or ip.is_multicast


def names_private_place(host: str) -> bool:
    """What can be told from a host alone: a private address, or localhost."""
    try:
        return is_private(host)
    except ValueError:
        name = host.rstrip(".").lower()
        return name == "localhost" or name.endswith(".localhost")


class Guard:
    """The rule for the dials on behalf of one configured host.

    ``trusted`` says that the host dialled is the configured one itself: any
    address will do, and is remembered, for it decides what that host's
    redirects may lead to.
    """

    def __init__(self, label: str) -> None:
        self.label = label
        self.upstream_is_private = False

    def reached(self, address: str) -> None:
        """The configured host was reached at ``address``."""
        self.upstream_is_private = is_private(address)

    def permits(self, address: str) -> bool:
        """Whether a host that an answer named may be dialled at ``address``."""
        return self.upstream_is_private or not is_private(address)

    def permits_name(self, host: str) -> bool:
        """The same as far as a name tells: for a proxy, which resolves names itself."""
        return self.upstream_is_private or not names_private_place(host)


@implementer(IReactorPluggableNameResolver)
class GuardedReactor:
    """What a HostnameEndpoint needs of a reactor; each address is looked at before the dial."""

    def __init__(self, reactor: Any, guard: Guard) -> None:
        self._reactor = reactor
        self._guard = guard

    @property
    def nameResolver(self) -> IHostnameResolver:
        resolver: IHostnameResolver = self._reactor.nameResolver
        return resolver

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        previous: IHostnameResolver = self._reactor.installNameResolver(resolver)
        return previous

    def seconds(self) -> float:
        return float(self._reactor.seconds())

    def callLater(self, delay: float, call: Any, *args: Any, **named: Any) -> Any:
        return self._reactor.callLater(delay, call, *args, **named)

    def connectTCP(self, host: str, port: int, factory: Any, **options: Any) -> Any:
        """Raises AddressRefused, which the endpoint hands on as its failure."""
        if not self._guard.permits(host):
            raise AddressRefused(host)
        return self._reactor.connectTCP(host, port, factory, **options)
