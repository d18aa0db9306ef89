"""One run, from the setting to the figures."""

from __future__ import annotations

import gc
from collections.abc import Iterable

import attrs

from bench.simulation.churn import die
from bench.simulation.node import Node
from bench.simulation.world import Setting, World


@attrs.frozen
class Figures:
    """What came out.

    ``whole`` of the ``living`` nodes got all. ``requests``: questions to peers
    for each segment that a node got. ``copies`` of the blob came from upstream.
    ``busiest``: what the busiest node sent, by the mean. ``last``: when the
    last node was done, in seconds from the first one's beginning; ``over`` is
    this by the bound. ``fast``: of the nodes whose link is not slow, the
    longest time from its own beginning, by their bound. ``asked``: questions
    that one node was asked, at most.
    """

    nodes: int
    whole: int
    living: int
    requests: float
    copies: float
    busiest: float
    last: float
    over: float
    fast: float
    asked: int
    outcomes: dict[str, int]


def bound(setting: Setting, link: float) -> float:
    """Seconds before which nobody with such a ``link`` has the blob, while all want it (fluid)."""
    mean = setting.link * (1 - 0.75 * setting.slow)
    among = (setting.nodes - 1) / setting.nodes * setting.blob / mean
    upstream = 0.0 if setting.warm else setting.blob / setting.upstream
    return max(upstream, setting.blob / link, among)


def build(world: World) -> list[Node]:
    setting, draw = world.setting, world.random
    nodes = []
    for index in range(setting.nodes):
        link = setting.link * (0.25 if draw.random() < setting.slow else 1.0)
        zone = f"zone-{draw.randrange(setting.zones)}" if setting.zones > 1 else ""
        nodes.append(Node(world, index, link, zone))
    if setting.told:
        world.rank({node.id for node in nodes if node.link < setting.link})
        for node in nodes:
            node.giving.admission.behind = world.behind
    peers = {node.id: node for node in nodes}
    for node in nodes:
        node.peers = peers
        # Of the first ones the most matters: each is drawn for itself.
        near = {peer for ranked in world.ranked for peer in ranked}
        node.blind = {peer for peer in sorted(near) if draw.random() < setting.blind} - {node.id}
    if setting.warm:
        for segment in range(world.segments):
            peers[world.ranked[world.lane[segment]][0]].hold(segment)
    return nodes


def schedule(world: World, nodes: Iterable[Node]) -> None:
    """When each begins, and which die when."""
    setting, draw = world.setting, world.random
    least = bound(setting, setting.link)
    for node in nodes:
        within = setting.late if draw.random() < setting.joining else setting.begin
        world.events.after(draw.random() * within, node.begin)
        if draw.random() < setting.dying:
            how = draw.choice(["killed", "silent"])
            world.events.after(draw.random() * least * 1.5, die, world, node, how)


def run(setting: Setting, *, until: float = 3600.0) -> Figures:
    """Simulate at most ``until`` seconds."""
    collected = gc.isenabled()
    gc.disable()  # Everything lives to the end; looking for garbage took a fifth of the time.
    try:
        world = World(setting)
        nodes = build(world)
        schedule(world, nodes)
        world.events.run(until)
        return figures(world, nodes)
    finally:
        if collected:
            gc.enable()


def figures(world: World, nodes: list[Node]) -> Figures:
    setting = world.setting
    living = [node for node in nodes if not node.dead]
    done = [
        (each.finished, each.finished - (each.begun or 0.0), each.link)
        for each in living
        if each.finished is not None
    ]
    last = max((at for at, _, _ in done), default=0.0)
    fast = max((took for _, took, link in done if link == setting.link), default=0.0)
    sent = [node.giving.sent for node in nodes]
    return Figures(
        nodes=setting.nodes,
        whole=len(done),
        living=len(living),
        requests=world.tally.requests / max(1, sum(sum(node.whole) for node in nodes)),
        copies=world.tally.upstream / setting.blob,
        busiest=max(sent) * len(sent) / max(1.0, sum(sent)),
        last=last,
        over=last / bound(setting, min(node.link for node in nodes)),
        fast=fast / bound(setting, setting.link),
        asked=max(node.giving.heard for node in nodes),
        outcomes=dict(sorted(world.tally.outcomes.items())),
    )
