"""The peers that are known or likely to hold bytes of one blob."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Final

#: So many are remembered for a blob.
_MOST: Final = 32
#: So many of them a search is offered at first.
OFFERED: Final = 4


class Holders:
    """Whom a fill may ask before it asks an owner; the best last used stands first.

    A peer that gave bytes is a better guess than one that somebody named. One
    that had not what was asked is guessed at later; one that failed is
    forgotten. Remembers the last 32.
    """

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._known)

    def gave(self, peer: str) -> None:
        """It sent bytes of the blob."""
        self._put(peer, min(self._known.pop(peer, 0), 0) - 1)

    def told(self, peers: Iterable[str]) -> None:
        """Somebody says that these have it or are getting it."""
        for peer in peers:
            if peer not in self._known:
                self._put(peer, 0)

    def lacked(self, peer: str) -> None:
        """It had not the segment, or no place for us; it may have the next."""
        if peer in self._known:
            self._put(peer, max(self._known.pop(peer), 0) + 1)

    def failed(self, peer: str) -> None:
        self._known.pop(peer, None)

    def best(self, most: int, without: Collection[str] = ()) -> tuple[str, ...]:
        """At most ``most`` of them; among equals those come first that were longest unused."""
        known = (peer for peer in self._known if peer not in without)
        return tuple(sorted(known, key=self._known.__getitem__)[:most])

    def offered(self, behind: Collection[str]) -> tuple[str, ...]:
        """Whom a search asks first that has an owner to ask: none of those on a slow link."""
        return self.best(OFFERED, without=behind)

    def offered_owner(self, former: Callable[[], Iterable[str]] | None) -> tuple[str, ...]:
        """Whom an owner asks first, who would go upstream else: also whoever is slow.

        ``former`` gives those that owned the lane before; None if they were asked already.
        """
        known = self.best(OFFERED)
        return known if former is None else tuple(dict.fromkeys((*known, *former())))

    def _put(self, peer: str, score: int) -> None:
        """Behind all others of its score; of too many the worst goes, the oldest of these first."""
        self._known[peer] = max(score, -1)
        if len(self._known) > _MOST:
            self._known.pop(max(self._known, key=self._known.__getitem__))
