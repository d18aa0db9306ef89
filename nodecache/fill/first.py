"""The first question of a fill: is the blob to be had, and how big is it?"""

from __future__ import annotations

import attrs

from nodecache.byteranges import Span
from nodecache.deadline import Deadline
from nodecache.failures import UpstreamFailure
from nodecache.fill.answers import Answer, Contradiction, judge
from nodecache.fill.names import Sources
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
    body = await sources.fetch(span, deadline)
    try:
        return First(body, span, judge(body, span, known))
    except Contradiction:
        body.stop()
        raise
    except UpstreamFailure:
        body.stop()
    whole = Span(0, SEGMENT)
    body = await sources.fetch(None, deadline)
    try:
        return First(body, whole, judge(body, whole, known))
    except UpstreamFailure:
        body.stop()
        raise
