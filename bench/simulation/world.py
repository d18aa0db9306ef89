"""What is simulated: the links, what all nodes share, and what is counted."""

from __future__ import annotations

import random
from collections.abc import Collection
from typing import Final

import attrs

from bench.simulation.events import Events, Link
from nodecache.limits import MIB, SEGMENT, Limits, Timeouts
from nodecache.membership import Address, Peer, View
from nodecache.segments import lane_of, lanes, segment_count
from nodecache.sourcing.candidates import RANKED

DIGEST: Final = "sha256:" + "5e" * 32
#: Of each ranking, so much is computed; no view lacks all of it.
_DEPTH: Final = 200


@attrs.frozen
class Setting:
    """Seconds, bytes, bytes a second, and parts of one."""

    nodes: int
    seed: int = 1
    blob: int = 512 * MIB
    # A node's link each way: 1 Gbit/s. So many nodes have one of a quarter.
    link: float = 125e6
    slow: float = 0.1
    # All know who is slow, since greetings tell (nodecache/membership/link.py).
    told: bool = False
    # The upstream link of all together, one connection of it, and its time to the first byte.
    upstream: float = 125e6
    connection: float = 50e6
    connections: int = 2
    upstream_wait: float = 0.05
    # A message one way; processor time of a peer for one question (bench/questions.py).
    hop: float = 0.0005
    request: float = 0.0006
    # Within which the nodes begin, 0.0 for all at once; so many begin within ``late`` seconds.
    begin: float = 0.0
    joining: float = 0.05
    late: float = 4.0
    # So many peers each view lacks; so many nodes die on the way, half of them silently.
    blind: float = 0.02
    dying: float = 0.01
    # Owners have the blob already.
    warm: bool = False
    zones: int = 1
    limits: Limits = attrs.field(factory=Limits)
    timeouts: Timeouts = attrs.field(factory=Timeouts)


@attrs.define
class Tally:
    """What happened: questions among peers, bytes from upstream, and answers by kind."""

    requests: int = 0
    upstream: float = 0.0
    outcomes: dict[str, int] = attrs.field(factory=dict)

    def note(self, outcome: str) -> None:
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1


class World:
    """Time, the upstream link, how the blob is cut, and how the nodes rank for its lanes.

    A node that does not know some ids ranks the others in the same order, so
    one ranking serves all views.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.random = random.Random(setting.seed)
        self.events = Events()
        self.upstream = Link(self.events, setting.upstream, setting.connection)
        self.tally = Tally()
        self.total = setting.blob
        self.segments = segment_count(self.total)
        self.lanes = lanes(self.total)
        self.lane = [lane_of(index, self.total) for index in range(self.segments)]
        self.keys = [f"{DIGEST}/{index}" for index in range(self.segments)]
        self.sizes = [min(SEGMENT, self.total - index * SEGMENT) for index in range(self.segments)]
        self.rank()
        self.address = Address("10.0.0.1", 5001)

    def rank(self, last: Collection[str] = ()) -> None:
        """Rank all nodes for each lane, ``last`` behind the others."""
        me, *others = (Peer(f"node-{index:04}", ()) for index in range(self.setting.nodes))
        view = View(me, others, last)
        keys = [f"{DIGEST}/{lane}" for lane in range(self.lanes)]
        self.ranked = [tuple(peer.id for peer in view.rank(key, _DEPTH)) for key in keys]
        self.former = [view.former(key, RANKED) for key in keys]
        self.behind = frozenset(last)
