"""The cluster as it is seen at one moment."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable
from typing import Final

import attrs

from nodecache.membership.peer import Peer
from nodecache.rendezvous import Roster

#: Rankings that a view remembers: those of the lanes of the blobs in flight.
MOST_RANKINGS: Final = 512


@attrs.frozen
class Census:
    """``known`` other nodes, ``live`` ones that are asked, ``addresses`` of all of them.

    ``resolved_age`` is seconds since the last good answer of DNS, 0 without one.
    """

    known: int
    live: int
    addresses: int
    resolved_age: float


class View:
    """Who may be asked now, and in which order for a key. Does not change.

    ``peers`` are the others, sorted by id. ``last`` are the ids of nodes that
    are slow or stopping, among them perhaps this one: they rank behind all others.
    ``behind`` are those of the others whose link is slow: nobody is sent to them
    who can do without.
    """

    def __init__(
        self,
        me: Peer,
        peers: Iterable[Peer] = (),
        last: Collection[str] = (),
        behind: Collection[str] = (),
    ) -> None:
        self.me = me
        self._by_id = {peer.id: peer for peer in peers if peer.id != me.id}
        self.peers = tuple(self._by_id[id_] for id_ in sorted(self._by_id))
        self.last = frozenset(last)
        self.behind = frozenset(behind)
        ids = [me.id, *self._by_id]
        self._first = Roster(id_ for id_ in ids if id_ not in self.last)
        self._behind = Roster(id_ for id_ in ids if id_ in self.last)
        self._everyone: Roster | None = None
        self._rankings: OrderedDict[tuple[str, int], tuple[Peer, ...]] = OrderedDict()

    def rank(self, key: str, most: int) -> tuple[Peer, ...]:
        """The first ``most`` for ``key``, best first, ``me`` among them by its hash."""
        ranked = self._rankings.get((key, most))
        if ranked is None:
            ids = self._first.rank(key, most)
            if len(ids) < most and self._behind.ids:
                ids += self._behind.rank(key, most - len(ids))
            ranked = tuple(self._by_id.get(id_, self.me) for id_ in ids)
            self._rankings[key, most] = ranked
            if len(self._rankings) > MOST_RANKINGS:
                self._rankings.popitem(last=False)
        return ranked

    def former(self, key: str, most: int) -> tuple[str, ...]:
        """Of the first ``most`` for ``key``, if none was last: the peers that are so now.

        What they fetched while they ranked so is theirs alone, perhaps.
        """
        if not self.last:
            return ()
        if self._everyone is None:
            self._everyone = Roster((*self._first.ids, *self._behind.ids))
        ranked = self._everyone.rank(key, most)
        return tuple(id_ for id_ in ranked if id_ in self.last and id_ != self.me.id)

    def get(self, id: str, /) -> Peer | None:  # noqa: A002  # the peers' own word for it
        """The peer of that id, if it may be asked now; None for ``me``."""
        return self._by_id.get(id)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, View):
            return NotImplemented
        return self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    @property
    def _value(self) -> tuple[object, ...]:
        return (self.me, self.peers, self.last, self.behind)
