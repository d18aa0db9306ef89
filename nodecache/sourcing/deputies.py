"""Whom a node of a big cluster asks before the owner of a lane; pure.

An owner hears of every node of its cluster, and a question costs it about half
a millisecond: of thousands that begin at the same moment most would wait longer
than they wait for anybody, take it for dead, and go upstream. So where a view
has more nodes than ``ALONE``, those who rank behind the stand-ins are the
lane's deputies, one for each ``CIRCLE`` nodes. Each of the others has one of
them, by its own id, and asks it first. A deputy that has not what it is asked
for sends a few on to the owner, and the others to these (``Admission.introduce``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from nodecache.rendezvous import hash64
from nodecache.sourcing.candidates import RANKED

#: An owner hears of so many nodes itself: 512 questions at once cost it 0.3 s.
ALONE: Final = 512
#: Nodes for which there is one deputy.
CIRCLE: Final = 128
#: Seconds for which a node follows its deputy before it asks the owner, at least and at most:
#: scattered, so that not all come to the owner at once where upstream is slow.
_LEAST: Final = 1.5
_MOST: Final = 4.5


@attrs.frozen
class Deputy:
    """``peer`` is asked before the owner, and followed for ``patience`` seconds."""

    peer: str
    patience: float


def has_deputies(nodes: int) -> bool:
    """Whether a view of ``nodes``, oneself included, is so big."""
    return nodes > ALONE


def ranks_of(nodes: int) -> int:
    """So many first ranks of a lane matter in a view of ``nodes``, oneself included."""
    return RANKED + (nodes // CIRCLE if has_deputies(nodes) else 0)


def deputy_of(ranked: Sequence[str], me: str, key: str) -> Deputy | None:
    """That of ``me`` for ``key``; None where it asks the owner itself.

    ``ranked`` are the first ``ranks_of(nodes)`` ids for ``key``.
    """
    among = ranked[RANKED:]
    if me in ranked or not among:
        return None
    drawn = hash64(f"{me}/{key}")
    part = drawn // len(among) % 1024 / 1024
    return Deputy(among[drawn % len(among)], _LEAST + part * (_MOST - _LEAST))
