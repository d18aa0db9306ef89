"""The bridge, and the cables to it: shaped both ways, pulled out, filtered, counted."""

from __future__ import annotations

import contextlib
import ipaddress
import json
from collections.abc import Sequence
from typing import Any

import attrs

from tests.system.cluster.netns import Namespace, Run
from tests.system.parts.processes import CommandFailed

#: Ours alone: the bridge leads nowhere else.
IPV4 = ipaddress.IPv4Network("10.77.0.0/16")
IPV6 = ipaddress.IPv6Network("fd77::/64")
#: Where nodes live; the Hub and DNS have addresses below.
NODES = (ipaddress.IPv4Network("10.77.16.0/20"), ipaddress.IPv6Network("fd77::1:0/112"))

MBIT = 1_000_000
CONTROL = "cubic"
#: A queue before a link holds this much, as switches and clouds have it.
QUEUE = "50ms"
#: Ethernet, IPv4 and TCP with timestamps before each payload.
_HEADERS = 66

#: For every namespace: the same everywhere, whatever the machine prefers.
_SYSCTLS = (
    "net.ipv6.conf.all.accept_ra=0",
    "net.ipv6.conf.all.accept_dad=0",
    "net.ipv6.conf.default.accept_dad=0",
)


def _tbf(rate: int) -> str:
    """Options of the shaper for ``rate`` bits a second."""
    burst = max(64 * 1024, rate // 8 // 100)
    return f"tbf rate {rate}bit burst {burst} latency {QUEUE}"


@attrs.frozen
class Carried:
    """What a station sent since its cable was plugged in."""

    bytes: int  # on the wire
    packets: int

    def __sub__(self, other: Carried) -> Carried:
        return Carried(self.bytes - other.bytes, self.packets - other.packets)

    @property
    def payload(self) -> int:
        """Without the headers of Ethernet, IP and TCP."""
        return self.bytes - _HEADERS * self.packets


@attrs.define
class Station:
    """A namespace with one cable; ``port`` is the cable's end at the bridge."""

    namespace: Namespace
    switch: Namespace
    port: str
    addresses: tuple[str, ...] = ()
    _deaf: bool = False

    @property
    def address(self) -> str:
        """Its first one."""
        return self.addresses[0]

    def take(self, addresses: Sequence[str]) -> None:
        """These addresses, and no others."""
        self.namespace.ip("addr flush dev eth0 scope global")
        for address in addresses:
            bits = (IPV6 if ":" in address else IPV4).prefixlen
            nodad = " nodad" if ":" in address else ""
            self.namespace.ip(f"addr add {address}/{bits} dev eth0{nodad}")
        self._steer(addresses[0])
        self.addresses = tuple(addresses)

    def _steer(self, source: str) -> None:
        """Congestion control as machines have it by default, where the kernel has that.

        By route: the machine may prefer another, and lets no namespace choose.
        """
        with contextlib.suppress(CommandFailed):
            self.namespace.ip(f"route change {IPV4} dev eth0 src {source} congctl {CONTROL}")
            self.namespace.ip(f"-6 route replace {IPV6} dev eth0 metric 1 congctl {CONTROL}")

    def shape(self, rate: int) -> None:
        """Bits a second, for each direction on its own; 0 is as fast as it can."""
        for namespace, device in ((self.namespace, "eth0"), (self.switch, self.port)):
            if rate:
                namespace.tc(f"qdisc replace dev {device} root {_tbf(rate)}")
            else:
                with contextlib.suppress(CommandFailed):  # there was none
                    namespace.tc(f"qdisc del dev {device} root")

    def unplug(self) -> None:
        """The cable is out: what is sent is lost, and nobody is told."""
        self.switch.ip(f"link set {self.port} down")

    def plug(self) -> None:
        self.switch.ip(f"link set {self.port} up")

    def sent(self) -> Carried:
        """To the network, as the shaper counted it."""
        return _carried(self.namespace, "eth0")

    def received(self) -> Carried:
        return _carried(self.switch, self.port)

    def deaf(self) -> None:
        """Drop what other nodes send, and answer nothing."""
        self._filter("-A")
        self._deaf = True

    def hearing(self) -> None:
        """Take that back. Idempotent."""
        if self._deaf:
            self._filter("-D")
            self._deaf = False

    def _filter(self, change: str) -> None:
        for tool, nodes in zip(("iptables", "ip6tables"), NODES, strict=True):
            self.namespace.run(f"{tool} {change} INPUT -i eth0 -s {nodes} -j DROP")


def _carried(namespace: Namespace, device: str) -> Carried:
    text = namespace.tc(f"-s -j qdisc show dev {device}")
    counts: dict[str, Any] = next(one for one in json.loads(text) if one.get("root"))
    return Carried(counts["bytes"], counts["packets"])


@attrs.define
class Network:
    """One bridge. ``attach`` makes stations."""

    run: Run
    switch: Namespace

    @classmethod
    def make(cls, run: Run) -> Network:
        switch = run.namespace("switch")
        switch.ip("link add bridge type bridge mcast_snooping 0")
        switch.ip("link set bridge up")
        return cls(run, switch)

    def attach(
        self, name: str, addresses: Sequence[str], rate: int = 0, resolver: str = ""
    ) -> Station:
        """A new station; ``rate`` is that of its cable, bits a second each way."""
        namespace = self.run.namespace(name, resolver)
        for setting in _SYSCTLS:
            namespace.run(f"sysctl -q -w {setting}")
        self.switch.ip(f"link add {name} type veth peer name eth0 netns {namespace.name}")
        self.switch.ip(f"link set {name} master bridge up")
        station = Station(namespace, self.switch, name)
        namespace.ip("link set eth0 up")
        station.take(addresses)
        if rate:
            station.shape(rate)
        return station


def node_addresses(number: int) -> tuple[str, str]:
    """A v4 and a v6 address for the ``number``-th node that ever was (from 1)."""
    four, six = NODES
    return str(four[number]), str(six[number])
