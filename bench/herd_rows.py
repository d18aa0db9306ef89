"""A herd as a row of figures: what the links allow, what came about, and what was to be reached."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from tests.system.cluster.network import MBIT

#: One node alone is held up by more than its cable when it takes so many times as long.
ROOM = 1.15
COLD_TARGET, WARM_TARGET, UPSTREAM_TARGET = 1.3, 1.5, 1.05


@attrs.frozen(kw_only=True)
class Links:
    """Bits a second; ``cap`` is of each connection for a body, 0 for none; layers of an image."""

    node: int
    hub: int
    cap: int
    layers: int

    def __str__(self) -> str:
        capped = f", {self.cap // MBIT} Mbit/s for each connection" if self.cap else ""
        rates = f"nodes {self.node // MBIT} Mbit/s, Hub {self.hub // MBIT} Mbit/s{capped}"
        return f"{rates}, {self.layers} layer{'s' * (self.layers > 1)}"

    def direct(self, size: int, nodes: int) -> float:
        """Seconds at least, everyone from the Hub."""
        layer = size * 8 / self.layers / self.cap if self.cap else 0.0
        return max(size * 8 / self.node, nodes * size * 8 / self.hub, layer)

    def cold(self, size: int, nodes: int) -> float:
        """Seconds at least for anybody's plan."""
        bits = size * 8
        return max(bits / self.hub, bits / self.node, nodes * bits / (self.hub + nodes * self.node))

    def one_copy(self, size: int, nodes: int) -> float:
        """Seconds at least where each byte crosses the Hub's cable once."""
        bits = size * 8
        return max(bits / self.hub, bits / self.node, (nodes - 1) / nodes * bits / self.node)

    def warm(self, size: int, nodes: int) -> float:
        """Seconds at least where one has it, and each owner its share of the lanes."""
        return (nodes - 1) / nodes * size * 8 / self.node


@attrs.frozen(kw_only=True)
class Row:
    """One herd. Seconds, and bytes upstream as multiples of the image."""

    links: Links
    kind: str
    nodes: int
    last: float
    mean: float
    bound: float
    one_copy: float
    one_cable: float  # the image through a node's cable
    by_log: float
    by_cable: float
    tokens: int
    manifests: int
    fallbacks: int
    busiest: float  # most that a node sent, by the mean of all that pulled or sent
    busy: float  # share of the machine's cores, other programs included
    nodes_busy: float  # share of the cores that the nodes' own processes had

    @property
    def ratio(self) -> float:
        return self.last / self.bound

    def told(self) -> dict[str, Any]:
        return {**attrs.asdict(self), "links": str(self.links), "ratio": self.ratio}


HEAD = (
    "| herd | N | last node | mean | bound | ratio | ratio, one copy | against direct |"
    " upstream by log | by cable | tokens | manifest GETs | fall-backs | busiest sender |"
    " cores busy | by nodes |"
)


def line(row: Row, direct: Row) -> str:
    cells = [
        row.kind,
        str(row.nodes),
        f"{row.last:.1f} s",
        f"{row.mean:.1f} s",
        f"{row.bound:.1f} s",
        f"{row.ratio:.2f}",
        f"{row.last / row.one_copy:.2f}",
        f"{row.last / direct.last:.2f}",
        f"{row.by_log:.2f}",
        f"{row.by_cable:.2f}",
        str(row.tokens),
        str(row.manifests),
        str(row.fallbacks),
        f"{row.busiest:.1f} x mean" if row.kind != "direct" else "",
        f"{row.busy:.0%}",
        f"{row.nodes_busy:.0%}",
    ]
    return f"| {' | '.join(cells)} |"


def verdicts(rows: Sequence[Row]) -> Iterator[tuple[str, bool]]:
    """What was to be reached, and whether it was."""
    for links in dict.fromkeys(row.links for row in rows):
        for row in (row for row in rows if row.links == links and row.kind != "direct"):
            herd = f"{row.kind} herd of {row.nodes} ({links})"
            target = COLD_TARGET if row.kind == "cold" else WARM_TARGET
            yield f"{herd}: {row.ratio:.2f} of the bound, at most {target}", row.ratio <= target
            copies = max(row.by_log, row.by_cable)
            most = UPSTREAM_TARGET
            yield f"{herd}: {copies:.3f} images over upstream, at most {most}", copies <= most
        yield from _capped([row for row in rows if row.links == links])


def _capped(rows: Sequence[Row]) -> Iterator[tuple[str, bool]]:
    """Where one connection is slower than a cable, many nodes are to beat one alone.

    Not where one alone fills its cable all the same: nobody can be faster than that.
    """
    alone = next((row for row in rows if (row.kind, row.nodes) == ("direct", 1)), None)
    if alone is None or not alone.links.cap or alone.last < ROOM * alone.one_cable:
        return
    for row in (row for row in rows if row.kind == "cold" and row.nodes > 1):
        words = f"cold herd of {row.nodes}: {row.last:.1f} s, one node alone: {alone.last:.1f} s"
        yield f"{words} ({row.links})", row.last < alone.last
