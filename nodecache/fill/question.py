"""The first question of a fill: for which bytes, and what becomes of what was here before."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from nodecache.byteranges import Span
from nodecache.deadline import Deadline
from nodecache.failures import UpstreamFailure, UpstreamKind
from nodecache.fill.answers import Contradiction
from nodecache.fill.course import Course
from nodecache.fill.first import First, ask
from nodecache.fill.names import Sources


class FirstQuestion:
    """For what is wanted first of a fill. ``soon`` makes the deadline of one question."""

    def __init__(self, sources: Sources, course: Course, soon: Callable[[], Deadline]) -> None:
        self._sources = sources
        self._course = course
        self._crew = course.crew
        self._soon = soon

    @property
    def is_due(self) -> bool:
        """Whether anything is wanted that is not here."""
        return not self._crew.whole and self._crew.first_span() is not None

    async def ask(self, hint: Callable[[], int | None]) -> First:
        """Raises UpstreamFailure. ``hint`` tells the size where the sources do not."""
        first = await self._ask()
        size = hint()
        if first.answer.total is None and size is not None:
            return attrs.evolve(first, answer=attrs.evolve(first.answer, total=size, stop=size))
        return first

    async def _ask(self) -> First:
        known = self._crew.total
        try:
            return await self._ask_for(self._span(), known)
        except Contradiction:
            if known is None:
                raise
        # What an earlier fill left is part of a blob of another size.
        self._course.forget()
        return await self._ask_for(self._span(), None)

    def _span(self) -> Span:
        span = self._crew.first_span()
        assert span is not None, "there is nothing to ask for"
        return span

    async def _ask_for(self, span: Span, known: int | None) -> First:
        if known is not None or span.start == 0:
            return await ask(self._sources, span, known, self._soon())
        # Nobody here knows the size: a peer believes that the blob has such bytes.
        try:
            first = await ask(self._sources, span, None, self._soon())
        except Contradiction:
            pass
        else:
            if first.answer.stream or first.answer.total != span.start:
                return first
            first.body.stop()
        if not self._crew.everything:
            raise UpstreamFailure(UpstreamKind.WRONG, f"the blob ends before byte {span.start}")
        return await ask(self._sources, self._span(), None, self._soon())
