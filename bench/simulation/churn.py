"""Nodes that die on the way."""

from __future__ import annotations

from bench.simulation.node import Node
from bench.simulation.world import World
from nodecache.failures import PeerKind


def die(world: World, node: Node, how: str) -> None:
    """Its connections end at once (``killed``), or fall silent with all that it was sending."""
    node.dead = how
    timeouts = world.setting.timeouts
    wait = timeouts.peer_silence if how == "silent" else world.setting.hop
    problem = PeerKind.TIMEOUT if how == "silent" else PeerKind.CUT
    for other in node.peers.values():
        for incoming in other.incoming.values():
            if incoming.source is node and other is not node:
                world.events.after(wait, other.lost, incoming, incoming.body, problem)
    for incoming in node.giving.line.values():
        world.events.after(wait, incoming.node.failed, incoming, node.id, problem)
    for incoming in node.incoming.values():
        source, ticket = incoming.source, incoming.ticket
        incoming.break_off()
        if source is not None and source is not node and ticket is not None:
            source.giving.finished(ticket, 0.0, complete=False)
