"""How a fill ends, and what its readers are told of it. Pure."""

from __future__ import annotations

import enum

import attrs

from nodecache.failures import Failure, NoRoom, StoreFailure, UpstreamFailure, UpstreamKind
from nodecache.fill.answers import Contradiction


class Outcome(enum.Enum):
    """How a fill ended; the value is that of ``FillFinished.outcome``."""

    STORED = "stored"
    KEPT = "kept"  # only peers asked for it, and none does any more
    MISMATCH = "mismatch"
    FAILED = "failed"
    DISCARDED = "discarded"
    STOPPED = "stopped"


class Mismatch(UpstreamFailure):
    """All bytes came, and they are not those of the digest."""

    def __init__(self, found: str) -> None:
        super().__init__(UpstreamKind.WRONG, f"the bytes that came have the digest sha256:{found}")


class Distrusted(UpstreamFailure):
    """Another node knows some of the bytes to be wrong."""

    def __init__(self) -> None:
        super().__init__(UpstreamKind.WRONG, "some of the bytes that came are known to be wrong")


class Stopped(Exception):
    """This node is stopping."""


class Lapsed(Exception):
    """Only peers asked for it, and none does any more."""


@attrs.frozen
class Verdict:
    """What an error makes of a fill, and what its readers are told (``Flight.fail``).

    ``keep``: what can be resumed stays on disk.
    """

    outcome: Outcome
    cause: Failure
    mute: bool
    keep: bool


def verdict_on(error: Exception) -> Verdict:
    """Whatever ends a fill before its blob is stored."""
    if isinstance(error, Stopped):
        stopping = StoreFailure("this node is stopping")
        return Verdict(Outcome.STOPPED, stopping, mute=True, keep=True)
    if isinstance(error, Lapsed):
        lapsed = StoreFailure("nobody asks for it any more")
        return Verdict(Outcome.KEPT, lapsed, mute=False, keep=True)
    if isinstance(error, Mismatch | Contradiction | Distrusted):
        return Verdict(Outcome.MISMATCH, error, mute=True, keep=False)
    if isinstance(error, NoRoom):
        return Verdict(Outcome.DISCARDED, error, mute=False, keep=True)
    if isinstance(error, StoreFailure):
        return Verdict(Outcome.FAILED, error, mute=True, keep=False)
    if isinstance(error, Failure):
        return Verdict(Outcome.FAILED, error, mute=False, keep=True)
    bug = StoreFailure(f"an error of this program: {type(error).__name__}")
    return Verdict(Outcome.FAILED, bug, mute=True, keep=False)
