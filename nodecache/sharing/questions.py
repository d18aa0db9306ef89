"""The questions of one fill to its peers, and what is kept in mind of their answers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import attrs
from twisted.internet.task import deferLater

from nodecache.byteranges import Span
from nodecache.deadline import Deadline
from nodecache.failures import PeerFailure, PeerKind, UpstreamFailure
from nodecache.membership import Address, Peer
from nodecache.peerwire.answers import (
    Absent,
    Bytes,
    Denied,
    Elsewhere,
    Refusal,
    UpstreamAbsent,
    UpstreamBroken,
)
from nodecache.peerwire.questions import BlobQuestion, Mode
from nodecache.reference import Digest, Repository
from nodecache.seams import BlobBody
from nodecache.sharing.deputy import deputy_in
from nodecache.sharing.duties import Leave
from nodecache.sharing.findings import Findings
from nodecache.sharing.ports import PeerBody
from nodecache.sharing.primed import PrimedBody
from nodecache.sharing.tools import Tools
from nodecache.sharing.watched import WatchedBody
from nodecache.sourcing import Ask, Pause, Refused, Search, SearchBudget, Upstream


@attrs.frozen
class Quest:
    """Bytes that are wanted of ``segment``, until ``deadline``.

    ``peers_until`` is when upstream is asked unless peers bring bytes of the
    blob, ``peers_longest`` when in any case, both on the same clock. ``first``:
    the blob's size is not known yet. ``verified``: from a copy
    whose digest was found right. ``lacking`` collects the peers that have
    nothing for it.
    """

    span: Span
    segment: int
    deadline: Deadline
    peers_until: float
    peers_longest: float
    first: bool
    verified: bool
    lacking: set[str] = attrs.Factory(set)


class Questions:
    def __init__(
        self, tools: Tools, repository: Repository, digest: Digest, findings: Findings
    ) -> None:
        self._tools = tools
        self._repository = repository
        self._digest = digest
        self._findings = findings

    @property
    def size(self) -> int | None:
        """Bytes of the blob as an answer told them, or else a manifest."""
        known = self._findings.total
        return self._tools.size_of(self._digest) if known is None else known

    def is_owed(self, segment: int) -> bool:
        """Whether a peer asked this node to fetch it; that peer may have left since.

        What was begun so is ended so: when it breaks off, nobody else is made to fetch it.
        """
        if self._tools.duties.has(self._digest, segment):
            self._findings.owed.add(segment)
        return segment in self._findings.owed

    async def follow(
        self, search: Search, quest: Quest, *, primed: bool = False
    ) -> BlobBody | UpstreamAbsent | None:
        """Do as ``search`` says. None where it ends without bytes.

        ``primed``: a peer's answer counts when its first bytes are here.
        """
        clock = self._tools.clock
        if not primed and not quest.verified:
            self._offer_deputy(search, quest)
        while True:
            if self.is_owed(quest.segment):
                # Whoever began to wait for this node meanwhile must not be waited for by it.
                search.take_over()
            match search.next(clock.seconds()):
                case Ask() as ask:
                    body = await self._step(search, ask, quest, primed=primed)
                    if body is not None:
                        return body
                case Pause(seconds):
                    await deferLater(clock, seconds, lambda: None)
                case Refused(answer):
                    return answer
                case Upstream():
                    return None

    def among(self, holders: Sequence[str], *, seconds: float, longest: float) -> Search:
        """A search that asks ``holders``, and whom they name, and makes nobody fetch.

        ``seconds`` and ``longest`` are those of its budget.
        """
        budget = SearchBudget.of(self._tools.timeouts, self._tools.limits)
        return Search(
            (),
            self._tools.cluster.view().me.id,
            as_owner=True,
            holders=holders,
            asked_stand_ins=True,
            started=self._tools.clock.seconds(),
            budget=attrs.evolve(budget, seconds=seconds, longest=min(longest, budget.longest)),
        )

    def _offer_deputy(self, search: Search, quest: Quest) -> None:
        """Where there are so many nodes that not all shall ask the owner of the lane."""
        key = f"{self._digest}/{self._findings.lane(quest.segment, self.size)}"
        deputy = deputy_in(self._tools.cluster.view(), key)
        if deputy is not None:
            search.offer(deputy.peer, deputy.patience)

    async def has(self, quest: Quest, peer: Peer) -> bool:
        """Whether ``peer`` has bytes of the span. One that fails has none."""
        question = self._question(quest, Mode.ONLY_IF_HAVE)
        try:
            answer = await self._tools.cluster.has_blob(peer, question)
        except PeerFailure:
            return False
        if isinstance(answer, Elsewhere):
            self._note_referrals(answer)
        return isinstance(answer, Bytes)

    async def _step(
        self, search: Search, ask: Ask, quest: Quest, *, primed: bool
    ) -> BlobBody | None:
        clock, holders = self._tools.clock, self._findings.holders
        try:
            answer = await self._ask(ask, quest)
            if primed and not isinstance(answer, Refusal):
                answer = await _prime(answer)
        except PeerFailure as failure:
            quest.lacking.add(ask.peer)
            holders.failed(ask.peer)
            search.failed(ask.peer, failure, clock.seconds())
            return None
        if not isinstance(answer, Refusal):
            return answer
        if isinstance(answer, Elsewhere):
            self._note_referrals(answer)
        if isinstance(answer, Absent | Denied | UpstreamAbsent | UpstreamBroken):
            quest.lacking.add(ask.peer)
        holders.lacked(ask.peer)
        search.answered(ask.peer, answer, clock.seconds())
        return None

    async def _ask(self, ask: Ask, quest: Quest) -> BlobBody | Refusal:
        """Raises PeerFailure."""
        peer = self._peer(ask.peer, ask.address)
        with ExitStack() as waiting:
            if ask.mode is Mode.MAY_FETCH:
                waiting.callback(self._wait_for(quest, peer))
            wait = 0.0 if quest.verified else ask.wait
            question = attrs.evolve(
                self._question(quest, ask.mode), as_owner=ask.as_owner, wait=wait
            )
            answer = await self._tools.cluster.blob(peer, question, ask.silence)
            if isinstance(answer, Refusal):
                return answer
            # Whoever is only asked for what it has is waited for from here on: it may ask
            # for the same meanwhile, of the one that is to fetch it.
            if ask.mode is Mode.ONLY_IF_HAVE:
                waiting.callback(self._wait_for(quest, peer))
            return self._take(answer, peer, quest, waiting.pop_all().close)

    def _wait_for(self, quest: Quest, peer: Peer) -> Leave:
        return self._tools.asking.enter(self._digest, quest.segment, peer.id)

    def _peer(self, peer_id: str, address: Address | None) -> Peer:
        known = self._tools.cluster.view().get(peer_id)
        if known is not None:
            return known
        address = address or self._findings.addresses.get(peer_id)
        if address is None or self._tools.suspicions.doubts(peer_id):
            raise PeerFailure(peer_id, PeerKind.REFUSED, "it is not among those that are asked")
        return Peer(peer_id, (address,))

    def _question(self, quest: Quest, mode: Mode) -> BlobQuestion:
        return BlobQuestion(
            repository=self._repository,
            digest=self._digest,
            span=quest.span,
            mode=mode,
            seconds=quest.deadline.remaining(self._tools.clock.seconds()),
            size=self.size,
            verified=quest.verified,
        )

    def _take(self, body: PeerBody, peer: Peer, quest: Quest, leave: Leave) -> BlobBody:
        """Raises PeerFailure where it can not be part of this blob."""
        size = self.size
        if size is not None and body.answer.total != size:
            body.stop()
            leave()
            words = f"the blob has {size} bytes, and {body.answer.total} as it says"
            raise PeerFailure(peer.id, PeerKind.WRONG, words)
        self._findings.learn(body.answer.total, ranged=body.answer.ranged)
        self._findings.holders.gave(peer.id)
        if quest.verified:
            self._tools.suspicions.brought(self._digest)

        def ended(failure: UpstreamFailure | None) -> None:
            leave()
            if failure is not None:
                self._findings.broke(quest.segment, peer.id)

        return WatchedBody(body, ended, self._brought)

    def _brought(self) -> None:
        self._findings.brought_at = self._tools.clock.seconds()

    def _note_referrals(self, answer: Elsewhere) -> None:
        self._findings.addresses.update(dict(answer.peers))
        self._findings.holders.told(peer for peer, _ in answer.peers)


async def _prime(body: BlobBody) -> BlobBody:
    """Raises PeerFailure."""
    primed = PrimedBody(body)
    await primed.prime()
    return primed
