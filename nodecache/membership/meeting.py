"""What a hello changes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import attrs

from nodecache.membership.breaker import Breaker
from nodecache.membership.directory import Directory, Node, Trust
from nodecache.membership.hello import Hello, Known
from nodecache.membership.own import Own
from nodecache.membership.peer import Address

#: Seconds by which what a node says of its other addresses is older than a contact there.
TOLD: Final = 1.0


class Meeting:
    """Takes in hellos. ``forget``: seconds after which a contact counts no more."""

    def __init__(self, own: Own, directory: Directory, breaker: Breaker, forget: float) -> None:
        self._own = own
        self._directory = directory
        self._breaker = breaker
        self._forget = forget

    def met(self, address: Address, hello: Hello, now: float, *, answered: bool) -> bool:
        """The node of ``hello`` is at ``address``; True if that is news to the view."""
        moved = self._directory.claim(address, hello.id, now, now)
        place = self._directory.places.get(address)
        if place is None:  # no room for more
            return False
        node = self._directory.nodes[place.owner]
        before = _seen(node)
        self._introduce(node, hello, now)
        place.spoke = now
        if answered:
            place.answered()
        if moved is not None:
            self._directory.supersede(moved, hello.addresses)
        back = self._back(node.id, now, answered=answered, moved=moved is not None)
        return back or moved is not None or before != _seen(node)

    def _introduce(self, node: Node, hello: Hello, now: float) -> None:
        node.wire, node.release, node.zone = hello.wire, hello.release, hello.zone
        node.leaving, node.busy = hello.leaving, hello.busy
        node.inbound, node.behind = hello.inbound, hello.behind
        for address in hello.addresses:
            if address not in self._own and not self._answers_elsewhere(address, node.id):
                self._directory.claim(address, node.id, now - TOLD, now)

    def _answers_elsewhere(self, address: Address, id_: str) -> bool:
        """Another node answers there; both will find out when they are greeted again."""
        place = self._directory.places.get(address)
        return place is not None and place.owner != id_ and place.trust is Trust.ANSWERED

    def _back(self, id_: str, now: float, *, answered: bool, moved: bool) -> bool:
        if not answered:
            self._breaker.heard(id_, now)
            return False
        if moved:
            return self._breaker.returned(id_, now)
        return self._breaker.greeted(id_, now)

    def learn(self, known: Iterable[Known], now: float) -> bool:
        """Take in whom another node knows; True if that is news to the view."""
        own = self._own
        others = (each for each in known if each.id != own.id and each.address not in own)
        return self._directory.learn(others, now - self._forget, now)


def _seen(node: Node) -> tuple[object, ...]:
    return attrs.evolve(node, places={}), node.peer()
