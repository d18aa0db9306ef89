"""Who may be asked in a search, why, and in which order to begin with."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Final

import attrs

from nodecache.membership import Address
from nodecache.peerwire.questions import Mode

#: An owner and its two stand-ins.
RANKED: Final = 3

#: So many holders are asked before the owner.
LIKELY: Final = 3


class Why(enum.Enum):
    """Why a peer is asked."""

    HOLDER = enum.auto()  # it is likely to have it
    RANK = enum.auto()  # it is the owner or a stand-in
    REFERRAL = enum.auto()  # another peer named it
    DEPUTY = enum.auto()  # it knows who has been sent to the owner already


@attrs.frozen
class Candidate:
    peer: str
    mode: Mode
    why: Why
    address: Address | None = None


def asked_by_an_owner(
    first: Sequence[str], me: str, holders: Sequence[str], *, asked_stand_ins: bool
) -> list[Candidate]:
    """``first`` are those that rank; those before ``me`` are asked in any case."""
    ranks = first[: _place(first, me)] if asked_stand_ins else first
    return [
        *(Candidate(peer, Mode.ONLY_IF_HAVE, Why.HOLDER) for peer in holders),
        *(
            Candidate(peer, Mode.ONLY_IF_HAVE, Why.RANK)
            for peer in ranks
            if peer != me and peer not in holders
        ),
    ]


def asked_by_others(first: Sequence[str], me: str, holders: Sequence[str]) -> list[Candidate]:
    """Who ranks before ``me`` may fetch."""
    place = _place(first, me)
    likely = [peer for peer in holders if peer not in first and peer != me][:LIKELY]
    return [
        *(Candidate(peer, Mode.ONLY_IF_HAVE, Why.HOLDER) for peer in likely),
        *(Candidate(peer, Mode.MAY_FETCH, Why.RANK) for peer in first[:place]),
        *(Candidate(peer, Mode.ONLY_IF_HAVE, Why.RANK) for peer in first[place + 1 :]),
    ]


def _place(first: Sequence[str], me: str) -> int:
    return first.index(me) if me in first else RANKED
