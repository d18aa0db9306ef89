"""What a node receives and serves, counted by the kernel: second by second, whoever speaks."""

from __future__ import annotations

import re

import attrs

from tests.system.cluster.member import MIRROR_PORT
from tests.system.cluster.network import NODES, Station
from tests.system.cluster.upstream import ADDRESSES

_FOUR, _SIX = NODES
#: Rules without a target: they count.
_RULES = (
    ("iptables", "INPUT", f"-i eth0 -s {ADDRESSES[0]}"),
    ("iptables", "INPUT", f"-i eth0 -s {ADDRESSES[1]}"),
    ("iptables", "INPUT", f"-i eth0 -s {_FOUR}"),
    ("ip6tables", "INPUT", f"-i eth0 -s {_SIX}"),
    ("iptables", "OUTPUT", f"-o lo -p tcp --sport {MIRROR_PORT}"),
)
_COUNT = re.compile(r"^\[\d+:(\d+)\] -A (?:IN|OUT)PUT .*(?<!DROP)$", re.MULTILINE)


@attrs.frozen
class Flow:
    """Bytes, packet headers included."""

    upstream: int = 0
    peers: int = 0
    served: int = 0

    def __sub__(self, other: Flow) -> Flow:
        return Flow(
            self.upstream - other.upstream, self.peers - other.peers, self.served - other.served
        )


@attrs.frozen
class Meter:
    """Counters in the packet filter of one station."""

    station: Station

    @classmethod
    def install(cls, station: Station) -> Meter:
        for tool, chain, rule in _RULES:
            station.namespace.run(f"{tool} -A {chain} {rule}")
        return cls(station)

    def read(self) -> Flow:
        """Since it was installed."""
        counts = []
        for tool in ("iptables", "ip6tables"):
            text = self.station.namespace.run(f"{tool}-save -c -t filter")
            counts += [int(count) for count in _COUNT.findall(text)]
        front, cdn, four, served, six = counts
        return Flow(front + cdn, four + six, served)
