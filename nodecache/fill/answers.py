"""Is what a source answered what was asked for? Pure: headers only, no byte is read.

A wrong answer here would become wrong bytes at the right offsets, of which the
digest would tell only at the very end.
"""

from __future__ import annotations

import attrs

from nodecache.byteranges import Span
from nodecache.failures import PeerFailure, PeerKind, UpstreamFailure, UpstreamKind
from nodecache.seams import BlobBody


class Contradiction(UpstreamFailure):
    """What sources say of one blob can not all be true: nothing of it is kept.

    ``peer`` is the one whose answer did not go with those before, if it was a peer's.
    """

    def __init__(self, message: str) -> None:
        super().__init__(UpstreamKind.WRONG, message)
        self.peer: str | None = None


@attrs.frozen
class Answer:
    """``total`` is the size of the blob, None where nobody knows it.

    The body brings bytes up to ``stop``; None: until it ends. A ``stream`` is
    the whole blob from its start, whatever was asked for.
    """

    total: int | None
    stop: int | None
    stream: bool


def outward(failure: UpstreamFailure) -> UpstreamFailure:
    """``failure`` as a fill's end: what became of peers is nothing to a client."""
    if isinstance(failure, PeerFailure):
        return UpstreamFailure(failure.kind, f"peer {failure.peer}: {failure.message}")
    return failure


def judged(body: BlobBody, asked: Span, known: int | None) -> Answer:
    """As ``judge``; a body that is not fit is stopped, and that of a peer is a PeerFailure."""
    try:
        return judge(body, asked, known)
    except Contradiction as contradiction:
        body.stop()
        contradiction.peer = body.peer
        raise
    except UpstreamFailure as failure:
        body.stop()
        if body.peer is None:
            raise
        raise PeerFailure(body.peer, PeerKind.WRONG, failure.message) from failure


def judge(body: BlobBody, asked: Span, known: int | None) -> Answer:
    """``known`` is the total as known before.

    Raises UpstreamFailure(WRONG), and of it Contradiction.
    """
    if body.total is not None and known is not None and body.total != known:
        raise Contradiction(f"the blob has {known} bytes, and {body.total} by another answer")
    total = known if body.total is None else body.total
    if body.stop_at is not None and body.stop_at <= body.start:
        return _without_bytes(body, asked, total)
    if body.ranged:
        return _part(body, asked, total)
    if body.start != 0:
        raise _wrong(f"a whole body that begins at {body.start}")
    return _whole(body, total, known)


def _whole(body: BlobBody, total: int | None, known: int | None) -> Answer:
    if total is None:
        total = body.stop_at
    elif known is not None and body.stop_at not in {None, known}:
        raise Contradiction(f"the blob has {known} bytes, and the answer {body.stop_at}")
    return Answer(total, total, stream=True)


def _part(body: BlobBody, asked: Span, total: int | None) -> Answer:
    if body.start != asked.start:
        raise _wrong(f"bytes from {asked.start} were asked for, and those from {body.start} came")
    if total is None:
        raise _wrong("a part of a blob of unknown size")
    stop = min(asked.stop, total)
    if body.stop_at is not None:
        stop = min(stop, body.stop_at)
    return Answer(total, stop, stream=False)


def _without_bytes(body: BlobBody, asked: Span, total: int | None) -> Answer:
    """A 416, or a whole body of length 0."""
    if total is None and body.ranged:
        raise _wrong("a refused range without a size")
    total = total or 0
    if total == 0 and asked.start == 0:
        return Answer(0, 0, stream=True)
    if total == asked.start:
        # The size was unknown, and we asked behind the end.
        return Answer(total, total, stream=False)
    if total < asked.start:
        raise Contradiction(f"the blob has {total} bytes, and we hold {asked.start}")
    raise _wrong(f"bytes from {asked.start} of {total} were refused")


def _wrong(message: str) -> UpstreamFailure:
    return UpstreamFailure(UpstreamKind.WRONG, message)
