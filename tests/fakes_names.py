"""A name resolver for tests: names lead where the test says, and nowhere else."""

from __future__ import annotations

from typing import Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IHostnameResolver, IHostResolution
from zope.interface import implementer


def is_address(host: str) -> bool:
    return bool(isIPAddress(host) or isIPv6Address(host))


@implementer(IHostResolution)
class _Resolution:
    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None: ...


@implementer(IHostnameResolver)
class FakeNames:
    """``places`` maps a name to addresses. A name in ``silent`` is never answered for."""

    def __init__(self, places: dict[str, list[str]]) -> None:
        self.places = places
        self.silent: set[str] = set()
        self.asked: list[str] = []

    def resolveHostName(
        self,
        resolutionReceiver: Any,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        self.asked.append(hostName)
        resolution = _Resolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)
        if hostName in self.silent:
            return resolution
        for address in self.places.get(hostName, [hostName] if is_address(hostName) else []):
            kind = IPv6Address if ":" in address else IPv4Address
            resolutionReceiver.addressResolved(kind("TCP", address, portNumber))
        resolutionReceiver.resolutionComplete()
        return resolution
