"""One segment on its way to one node, from one sender after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.simulation.events import Link, Share
from nodecache.admission import Ticket

if TYPE_CHECKING:
    from bench.simulation.node import Node
    from nodecache.sourcing import Ask, Search


class Incoming:
    """``source`` sends it, the node itself standing for upstream; None while it is looked for.

    ``left`` bytes are missing. ``body`` counts the bodies: what was meant for
    an earlier one comes to nothing. ``started``: bytes flow; ``block``: the
    first of them are checked, so that others may have them. Who receives it
    from this node starts then (``followers``) and ends after it (``enders``);
    ``waiting`` asked for it before.
    """

    __slots__ = (
        "block",
        "body",
        "enders",
        "followers",
        "left",
        "lent",
        "node",
        "parts",
        "search",
        "segment",
        "shares",
        "source",
        "started",
        "ticket",
        "waiting",
    )

    def __init__(
        self, node: Node, segment: int, size: float, search: Search, *, lent: bool
    ) -> None:
        self.node = node
        self.segment = segment
        self.left = size
        self.search = search
        self.lent = lent
        self.source: Node | None = None
        self.ticket: Ticket | None = None
        self.body = 0
        self.started = False
        self.block = False
        self.parts = 0
        self.shares: list[tuple[Link, Share]] = []
        self.followers: list[tuple[Incoming, int]] = []
        self.enders: list[tuple[Incoming, int]] = []
        self.waiting: dict[Incoming, Ask] = {}

    @property
    def from_upstream(self) -> bool:
        """Whether it is fetched there, or waits for its turn."""
        return self.source is self.node

    def is_fed_by(self, node: Node) -> bool:
        """Whether its bytes come from ``node``, however many are between."""
        there: Incoming | None = self
        while there is not None and there.source is not None and there.source is not there.node:
            if there.source is node:
                return True
            there = there.source.incoming.get(self.segment)
        return False

    def break_off(self) -> None:
        """The body ends; what came of it is kept."""
        self.body += 1
        self.source = None
        self.started = False
        for link, share in self.shares:
            if share.live:
                self.left = max(1.0, link.drop(share))
        self.shares.clear()
