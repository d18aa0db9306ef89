"""How many segments of a blob are asked of peers at a time. Pure."""

from __future__ import annotations

from nodecache.limits import Limits


def segments_at_a_time(nodes: int, limits: Limits) -> int:
    """For a fill of one blob in a view of ``nodes``, oneself included.

    The more a node wants at a time, the more often it asks for what nobody has yet, and the
    more nodes there are, the more of them ask the same few (docs/simulation.md). A small cluster
    can afford it: eight nodes have a layer of 256 MiB a second sooner (docs/profiling.md).
    """
    if nodes <= limits.peer_small_cluster:
        return limits.peer_connections_shared
    return limits.peer_connections_per_blob
