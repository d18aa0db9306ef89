"""Whom this node asks before the owner, where there are too many nodes for one owner."""

from __future__ import annotations

from nodecache.sharing.ports import View
from nodecache.sourcing import Deputy, deputy_of, has_deputies, ranks_of


def deputy_in(view: View, key: str) -> Deputy | None:
    """That for ``key``; None where the owner is asked at once."""
    nodes = len(view.peers) + 1
    if not has_deputies(nodes):
        return None
    return deputy_of([peer.id for peer in view.rank(key, ranks_of(nodes))], view.me.id, key)
