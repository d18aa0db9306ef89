"""From a peer's question for bytes to leave to send them.

What our own rules say, and whether the bytes are here, costs nothing and comes
first. Then comes leave to send, which few have at a time, and only then a fetch
is begun. A peer bounds silence: the steps together take less than that.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

import attrs
from twisted.internet.interfaces import IReactorTime

from nodecache.admission import Admission, Referred, is_urgent
from nodecache.byteranges import Span
from nodecache.limits import Timeouts
from nodecache.peerwire.answers import Absent, Bytes, Elsewhere, Fetching, Refusal
from nodecache.peerwire.questions import BlobQuestion, Mode
from nodecache.results import Loan, PeerRegistry
from nodecache.seams import Observe
from nodecache.segments import lane_of, segment_of
from nodecache.web.peer_deputies import introduces
from nodecache.web.peer_line import Line, Pass
from nodecache.web.peer_ports import Lent, Members
from nodecache.web.peer_searches import Searches

#: Seconds. When to ask again for what is being fetched, or looked for on our disk.
SOON: Final = 0.05
#: What was found for a peer is kept for so many of its silences.
KEPT: Final = 2
#: An asker is kept waiting for so much of a peer's silence, and so many are at a time.
LONGEST: Final = 0.4
MOST_KEPT: Final = 128
#: Searches for peers at a time. Upstream answers within seconds, and few are begun in one.
MOST_SEARCHES: Final = 512


def segment_key(question: BlobQuestion) -> str:
    """What admission is asked by."""
    return f"{question.digest}/{segment_of(question.span.start)}"


class Lending:
    """``leaving`` is set when the node stops: everybody is referred then."""

    def __init__(
        self,
        registry: PeerRegistry,
        admission: Admission,
        members: Members,
        clock: IReactorTime,
        observe: Observe,
        timeouts: Timeouts,
    ) -> None:
        self._registry = registry
        self._members = members
        self._clock = clock
        self._timeouts = timeouts
        self._line = Line(admission, clock)
        kept = KEPT * timeouts.peer_silence
        self._searches = Searches[Loan | Refusal](clock, observe, kept, _drop)
        self.leaving = False

    @property
    def waiting(self) -> int:
        """Peers that stand in line."""
        return len(self._line)

    @property
    def searching(self) -> int:
        """Searches that go on, or whose finds nobody has come for yet."""
        return len(self._searches)

    async def has(self, question: BlobQuestion) -> Bytes | Absent:
        """Begins nothing."""
        size = await self._registry.peer_has_blob(question)
        return Absent() if size is None else Bytes(size, ranged=True)

    async def lend(self, question: BlobQuestion, asker: str) -> Lent | Refusal:
        """Within Timeouts.peer_patience. Cancelling gives back whatever was got by then."""
        question = self._bounded(question)
        patience = max(self._timeouts.peer_patience, question.wait + SOON)
        until = self._clock.seconds() + min(patience, question.seconds)
        if self.leaving:
            return self.elsewhere(self._line.refer(segment_key(question), asker), leaving=True)
        only_if_have = question.mode is Mode.ONLY_IF_HAVE
        if only_if_have or _name(question, asker) not in self._searches:
            first_look = attrs.evolve(question, mode=Mode.ONLY_IF_HAVE)
            found = await self._find(first_look, asker, until)
            if only_if_have and isinstance(found, Absent):
                return self._introduced(question, asker)
            if only_if_have or not isinstance(found, Absent | Fetching):
                return await self._send(found, question, asker, until)
        return await self._fetch(question, asker, until)

    def _bounded(self, question: BlobQuestion) -> BlobQuestion:
        """Few are kept waiting at a time, and none so long that it would be taken for silence."""
        patient = question.mode is Mode.ONLY_IF_HAVE and len(self._searches) < MOST_KEPT
        most = self._timeouts.peer_silence * LONGEST if patient else 0.0
        return attrs.evolve(question, wait=min(question.wait, most))

    def _introduced(self, question: BlobQuestion, asker: str) -> Absent | Elsewhere:
        """It is not here: in a big cluster a lane's deputy brings together who wants it."""
        if question.verified or question.as_owner:
            return Absent()
        return self.introduced(segment_key(question), _lane_key(question), asker)

    def introduced(self, key: str, ranked_by: str, asker: str) -> Absent | Elsewhere:
        """``key`` is not here; who wants it is brought together by deputies for ``ranked_by``."""
        if not introduces(self._members.view(self._clock.seconds()), ranked_by, asker):
            return Absent()
        referred = self._line.introduce(key, asker)
        return Absent() if referred is None else self.elsewhere(referred)

    async def _send(
        self, found: Loan | Refusal, question: BlobQuestion, asker: str, until: float
    ) -> Lent | Refusal:
        """It is here: what it takes is leave."""
        if isinstance(found, Refusal):
            return found
        leave: Pass | Referred | None = None
        try:
            leave = await self._enter(question, asker, until)
        finally:
            if not isinstance(leave, Pass):
                found.close()
        if isinstance(leave, Referred):
            return self.elsewhere(leave)
        return _lent(found, leave, question)

    async def _fetch(self, question: BlobQuestion, asker: str, until: float) -> Lent | Refusal:
        leave = await self._enter(question, asker, until)
        if isinstance(leave, Referred):
            return self.elsewhere(leave)
        found: Loan | Refusal | None = None
        try:
            found = await self._find(question, asker, until)
        finally:
            if found is None or isinstance(found, Refusal):
                leave.finish(complete=False)
        return found if isinstance(found, Refusal) else _lent(found, leave, question)

    async def _enter(self, question: BlobQuestion, asker: str, until: float) -> Pass | Referred:
        patience = min(self._timeouts.peer_silence / 2, until - self._clock.seconds())
        return await self._line.enter(
            segment_key(question),
            asker,
            self._zone(asker),
            patience,
            urgent=is_urgent(question.span),
        )

    async def _find(self, question: BlobQuestion, asker: str, until: float) -> Loan | Refusal:
        name = _name(question, asker)
        if len(self._searches) >= MOST_SEARCHES and name not in self._searches:
            return Elsewhere(self._timeouts.peer_patience)
        found = await self._searches.find(
            name, lambda: self._registry.peer_blob(question, asker), until - self._clock.seconds()
        )
        if found is None and question.mode is Mode.MAY_FETCH:
            return Fetching(SOON)
        return Elsewhere(SOON) if found is None else found

    def _zone(self, asker: str) -> str:
        peer = self._members.view(self._clock.seconds()).get(asker)
        return "" if peer is None else peer.zone

    def elsewhere(self, referred: Referred, *, leaving: bool = False) -> Elsewhere:
        view = self._members.view(self._clock.seconds())
        known = [(name, view.get(name)) for name in referred.peers]
        peers = tuple((name, peer.addresses[0]) for name, peer in known if peer and peer.addresses)
        return Elsewhere(referred.retry, peers, leaving)

    def stop(self) -> None:
        """Nobody is answered any more."""
        self._searches.stop()


def _lane_key(question: BlobQuestion) -> str:
    """What the nodes rank by for it."""
    segment, size = segment_of(question.span.start), question.size
    return f"{question.digest}/{0 if size is None else lane_of(segment, size)}"


def _name(question: BlobQuestion, asker: str) -> Hashable:
    return asker, attrs.evolve(question, seconds=0.0)


def _drop(found: Loan | Refusal) -> None:
    if not isinstance(found, Refusal):
        found.close()


def _lent(loan: Loan, leave: Pass, question: BlobQuestion) -> Lent:
    """What is asked for may end behind the blob; then what there is of it is sent."""
    span = Span(min(question.span.start, loan.total), min(question.span.stop, loan.total))
    return Lent(Bytes(loan.total, loan.ranged, loan.fetched), loan, leave, span)
