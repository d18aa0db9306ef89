"""Whether this node brings together who wants a thing that it has not (``sourcing.deputies``)."""

from __future__ import annotations

from nodecache.sourcing import RANKED, has_deputies, ranks_of
from nodecache.web.peer_ports import Viewed


def introduces(view: Viewed, key: str, asker: str) -> bool:
    """Whether it is a deputy for ``key``, and ``asker`` none, nor the owner or a stand-in.

    Those ask the owner, or are it: whoever waits for them shall not be named to them.
    """
    nodes = len(view.peers) + 1
    if not has_deputies(nodes):
        return False
    ranked = [peer.id for peer in view.rank(key, ranks_of(nodes))]
    return view.me.id in ranked[RANKED:] and asker not in ranked
