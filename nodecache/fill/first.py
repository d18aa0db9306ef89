"""A question that comes before all others: is the blob to be had, and how big is it?"""

from __future__ import annotations

import attrs

from nodecache.byteranges import Span
from nodecache.deadline import Deadline
from nodecache.failures import PeerFailure, UpstreamFailure, UpstreamKind
from nodecache.fill.answers import Answer, Contradiction, judged, outward
from nodecache.fill.names import Sources
from nodecache.fill.patience import PEER_FAILURES
from nodecache.limits import SEGMENT
from nodecache.seams import BlobBody


@attrs.frozen
class First:
    """An answer to the question for ``asked``; its body waits to be delivered or stopped."""

    body: BlobBody
    asked: Span
    answer: Answer


async def ask(sources: Sources, span: Span, known: int | None, deadline: Deadline) -> First:
    """Ask for ``span`` of a blob of ``known`` bytes.

    Raises UpstreamFailure; Contradiction, when the blob is of another size.
    What is wrong with an answer may be the fault of the range: then the whole
    is asked for, once.
    """
    try:
        return await _ask(sources, span, span, known, deadline)
    except UpstreamFailure as failure:
        if failure.kind is not UpstreamKind.WRONG or isinstance(failure, Contradiction):
            raise
    return await _ask(sources, None, Span(0, SEGMENT), known, deadline)


async def _ask(
    sources: Sources, span: Span | None, asked: Span, known: int | None, deadline: Deadline
) -> First:
    """A peer's failure costs nothing: the sources know whom to ask next."""
    for failures_left in range(PEER_FAILURES, -1, -1):
        try:
            body = await sources.fetch(span, deadline)
            return First(body, asked, judged(body, asked, known))
        except PeerFailure as failure:
            if not failures_left:
                raise outward(failure) from None
    raise AssertionError
