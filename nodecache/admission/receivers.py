"""To whom a sender gave one thing, and who is getting it."""

from __future__ import annotations

import enum
from collections.abc import Collection
from heapq import nsmallest
from typing import Final

import attrs

#: So many are named to one asker.
NAMED: Final = 4

#: So many are remembered for one key.
_MOST: Final = 64


class State(enum.IntEnum):
    """How sure it is that a receiver has it; the surest is the least."""

    WHOLE = 0
    GETTING = 1
    REFERRED = 2


@attrs.define(slots=True, eq=False)
class _Receiver:
    peer: str
    zone: str
    state: State
    order: int
    children: int = 0


class Receivers:
    """At most 64 receivers of one key, each with the number of askers to whom it was named."""

    def __init__(self) -> None:
        self._all: dict[str, _Receiver] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._all)

    def put(self, peer: str, zone: str, state: State) -> None:
        """A new one, or a change; of too many one that was only referred, or the oldest, goes."""
        known = self._all.get(peer)
        if known is not None:
            known.state = state
            return
        if len(self._all) >= _MOST:
            if state is State.REFERRED:
                return
            del self._all[max(self._all.values(), key=lambda one: (one.state, one.children)).peer]
        self._count += 1
        self._all[peer] = _Receiver(peer, zone, state, self._count)

    def drop(self, peer: str) -> None:
        """It has it not after all."""
        self._all.pop(peer, None)

    def was_referred(self, asker: str) -> bool:
        known = self._all.get(asker)
        return known is not None and known.state is State.REFERRED

    def has_another(self, asker: str, behind: Collection[str] = ()) -> bool:
        """Whether somebody else has it or is being sent it, so that there is a tree to grow.

        Nothing grows from those ``behind``, whose links are slow.
        """
        return any(
            one.state is not State.REFERRED and one.peer != asker and one.peer not in behind
            for one in self._all.values()
        )

    def name(self, asker: str, zone: str, behind: Collection[str] = ()) -> tuple[str, ...]:
        """Whom to name to ``asker``: its zone first, then the fewest children, then the surest.

        None of those ``behind``.
        """
        best = nsmallest(
            NAMED,
            (one for one in self._all.values() if one.peer != asker and one.peer not in behind),
            key=lambda one: (bool(zone) and one.zone != zone, one.children, one.state, one.order),
        )
        if best:
            best[0].children += 1
        return tuple(one.peer for one in best)
