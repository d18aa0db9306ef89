"""What one node tells another of the cluster."""

from __future__ import annotations

from collections.abc import Iterable

from nodecache.limits import WIRE_VERSION
from nodecache.membership.directory import Node, Trust
from nodecache.membership.hello import Known


def ranked(node: Node) -> bool:
    """It speaks our wire version, as far as we know, and is not stopping."""
    return not node.leaving and node.wire in {None, WIRE_VERSION}


def known_of(nodes: Iterable[Node], forget: float, now: float) -> tuple[Known, ...]:
    """All pairs of id and address that were met within ``forget`` seconds, the last first."""
    met = [
        (place.met, node, place)
        for node in nodes
        if node.named and ranked(node)
        for place in node.places.values()
        if place.met > now - forget and place.trust is not Trust.FAILED
    ]
    met.sort(key=lambda each: (-each[0], each[1].id, each[2].address))
    return tuple(Known(node.id, place.address, node.zone, now - at) for at, node, place in met)
