"""One blob, from whoever in the cluster has it, or from upstream."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Final

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall

from nodecache.byteranges import Span
from nodecache.deadline import Deadline
from nodecache.failures import PeerFailure, PeerKind, UpstreamFailure, UpstreamKind
from nodecache.peerwire.answers import UpstreamAbsent
from nodecache.reference import Digest, Repository
from nodecache.seams import BlobBody, BlobSource, BlobSourceFactory
from nodecache.segments import segment_of
from nodecache.sharing.beside import Beside
from nodecache.sharing.findings import Findings
from nodecache.sharing.manifest_answers import ToldByPeer
from nodecache.sharing.manifest_ports import Upstreams
from nodecache.sharing.questions import Quest, Questions
from nodecache.sharing.suspicions import Trust
from nodecache.sharing.sweep import Sweep
from nodecache.sharing.tools import Tools
from nodecache.sharing.upstream_leg import UpstreamLeg
from nodecache.sourcing import Search, SearchBudget
from nodecache.sourcing.candidates import RANKED

#: Seconds for which a segment's turn is waited for, while peers bring others.
_LONGEST: Final = 300.0
#: Questions that may be asked for one, then.
_QUESTIONS: Final = 1024

Found = BlobBody | UpstreamAbsent | None


def shared_blobs(tools: Tools, upstreams: Upstreams) -> BlobSourceFactory:
    """What makes the sources of fills; ``upstreams`` are those without peers."""

    def source(repository: Repository, digest: Digest) -> BlobSource:
        upstream = upstreams.get(repository.namespace)
        direct = upstream.blob_source(repository.name, digest)
        return SharedBlob(tools, repository, digest, direct, upstream.down)

    return source


class SharedBlob(BlobSource):
    """A ``BlobSource`` for one fill.

    ``upstream`` is the source without peers, ``down`` tells why it is known to
    give nothing now. Fetches may run at the same time.
    """

    def __init__(
        self,
        tools: Tools,
        repository: Repository,
        digest: Digest,
        upstream: BlobSource,
        down: Callable[[], UpstreamFailure | None],
    ) -> None:
        self._tools = tools
        self._digest = digest
        self._upstream = upstream
        self._down = down
        self._findings = Findings()
        self._questions = Questions(tools, repository, digest, self._findings)
        self._share = tools.places.share()

    async def fetch(self, span: Span | None, deadline: Deadline) -> BlobBody:
        """As BlobSource says. The whole (``span`` None) comes from upstream only.

        Such a body may be as slow as the client behind it, so that it has no
        place among the node's upstream connections.
        """
        if span is None:
            if self._tools.offline():
                raise _offline()
            return await self._upstream.fetch(None, deadline)
        await self._tools.cluster.ready()
        quest = self._quest(span, deadline)
        found = await self._from_peers(quest) if self._peers_may(quest) else None
        if found is None:
            return await self._from_upstream(self._at_last(quest))
        if isinstance(found, UpstreamAbsent):
            return await self._in_spite_of(found, self._at_last(quest))
        return found

    async def fetch_beside(self, peer: str, span: Span, deadline: Deadline) -> BlobBody | None:
        """As BlobSource says."""
        segment, until = segment_of(span.start), deadline.at
        if self._is_under_repair or self._findings.is_spent(segment):
            return None
        quest = Quest(span, segment, deadline, until, until, first=False, verified=False)
        return await Beside(self._tools, self._questions, self._findings).fetch(peer, quest)

    def _quest(self, span: Span, deadline: Deadline) -> Quest:
        """The first answer is waited for by clients, and upstream has to fit in.

        Behind it nobody waits for headers: a reader's body may stall for so long in all, and a
        peer that makes progress, or names others that do, is waited for on slow links.
        """
        now, timeouts = self._tools.clock.seconds(), self._tools.timeouts
        segment, first = segment_of(span.start), self._findings.total is None
        if first:
            left = deadline.remaining(now) - (timeouts.answer - timeouts.peer_search)
            until = longest = now + min(timeouts.peer_search, left)
        else:
            until = now + timeouts.stall_total - timeouts.upstream_answer
            longest = now + _LONGEST
            deadline = Deadline(longest + timeouts.upstream_answer)
        return Quest(
            span,
            segment,
            deadline,
            first=first,
            peers_until=until,
            peers_longest=longest,
            verified=self._is_under_repair,
        )

    def _at_last(self, quest: Quest) -> Quest:
        """For upstream, and for all peers beside it."""
        if quest.first:
            return quest
        now = self._tools.clock.seconds()
        return attrs.evolve(quest, deadline=Deadline(now + self._tools.timeouts.upstream_answer))

    @property
    def _is_under_repair(self) -> bool:
        trusted = self._tools.suspicions.trust(self._digest) is Trust.USUAL
        return not trusted or self._tools.duties.repairs(self._digest)

    def _peers_may(self, quest: Quest) -> bool:
        """Whether peers are asked at all before upstream."""
        tools = self._tools
        return (
            not tools.offline()
            and tools.suspicions.trust(self._digest) is not Trust.ALONE
            and not self._findings.is_spent(quest.segment)
            and bool(tools.cluster.view().peers)
            and self._time_for_peers(quest) > 0
        )

    def _time_for_peers(self, quest: Quest) -> float:
        """Seconds; what is then left of the deadline is upstream's."""
        return quest.peers_until - self._tools.clock.seconds()

    def _key(self, quest: Quest) -> str:
        """By what the peers rank."""
        if quest.verified:
            return f"{self._digest}/repair"
        return f"{self._digest}/{self._lane(quest)}"

    def _lane(self, quest: Quest) -> int:
        return self._findings.lane(quest.segment, self._questions.size)

    async def _from_peers(self, quest: Quest) -> Found:
        """None where upstream is to be asked."""
        ranked = self._ranked(quest)
        as_owner = self._questions.is_owed(quest.segment) or ranked[:1] == [self._me]
        if quest.verified and (as_owner or self._tools.duties.repairs(self._digest)):
            return None
        search = self._search(quest, ranked, as_owner=as_owner)
        duties, acts = self._tools.duties, lambda: search.as_owner
        with duties.seeking(self._digest, quest.segment, acts):
            asking = Deferred.fromCoroutine(self._questions.follow(search, quest))
            found = await self._while_bytes_come(asking, quest)
        if search.asked_stand_ins:
            self._findings.asked_lanes.add(self._lane(quest))
        return found

    async def _while_bytes_come(self, asking: Deferred[Found], quest: Quest) -> Found:
        """What comes of ``asking``, or None when it has taken too long.

        As long as peers bring other bytes of the blob, its turn is waited for.
        """
        clock = self._tools.clock
        timer: IDelayedCall

        def look() -> None:
            nonlocal timer
            heard = self._findings.brought_at + self._tools.timeouts.peer_search
            until = min(heard, quest.peers_longest)
            if until > clock.seconds():
                timer = clock.callLater(until - clock.seconds(), look)
            else:
                late.append(True)
                asking.cancel()

        late: list[bool] = []
        timer = clock.callLater(max(0.0, quest.peers_until - clock.seconds()), look)
        try:
            return await asking
        except CancelledError:
            if late:
                return None
            raise
        finally:
            if timer.active():
                timer.cancel()

    @property
    def _me(self) -> str:
        return self._tools.cluster.view().me.id

    def _ranked(self, quest: Quest) -> list[str]:
        broken = self._findings.broken(quest.segment)
        if quest.verified:
            broken |= self._tools.suspicions.failed_repairers(self._digest)
        ranked = self._tools.cluster.view().rank(self._key(quest), RANKED + len(broken))
        return [peer.id for peer in ranked if peer.id not in broken][:RANKED]

    def _search(self, quest: Quest, ranked: list[str], *, as_owner: bool) -> Search:
        now = self._tools.clock.seconds()
        longest = quest.peers_longest - now
        budget = SearchBudget.of(self._tools.timeouts, self._tools.limits)
        seconds = min(budget.seconds, longest)
        questions = budget.questions if quest.first else _QUESTIONS
        search = Search(
            ranked,
            self._me,
            as_owner=as_owner,
            holders=self._holders(quest, as_owner=as_owner),
            asked_stand_ins=self._lane(quest) in self._findings.asked_lanes,
            started=now,
            budget=attrs.evolve(budget, seconds=seconds, longest=longest, questions=questions),
        )
        for peer in self._findings.broken(quest.segment):
            search.failed(peer, PeerFailure(peer, PeerKind.CUT, "it broke off before"), now)
        return search

    def _holders(self, quest: Quest, *, as_owner: bool) -> tuple[str, ...]:
        view, holders = self._tools.cluster.view(), self._findings.holders
        if not as_owner:
            return holders.offered(view.behind)
        if self._lane(quest) in self._findings.asked_lanes:
            return holders.offered_owner(None)
        return holders.offered_owner(partial(view.former, self._key(quest), RANKED))

    async def _from_upstream(self, quest: Quest) -> BlobBody:
        """Raises UpstreamFailure."""
        if self._tools.offline():
            body = await self._sweep(quest).run()
            if body is None:
                raise _offline()
            return body
        alone = self._tools.suspicions.trust(self._digest) is Trust.ALONE
        sweep = None if alone else self._sweep(quest)
        clock, timeouts = self._tools.clock, self._tools.timeouts
        leg = UpstreamLeg(self._upstream, self._share, sweep, clock, timeouts)
        down = self._down() is not None
        with ExitStack() as going:
            if not down:
                going.enter_context(self._tools.duties.upstream(self._digest, quest.segment))
            body = await leg.run(quest.span, quest.deadline, down=down)
        if body.peer is None:
            self._findings.learn(body.total, ranged=body.ranged)
        return body

    async def _in_spite_of(self, absent: UpstreamAbsent, quest: Quest) -> BlobBody:
        """Raises ToldByPeer."""
        body = await self._sweep(quest).run()
        if body is None:
            raise ToldByPeer.of(absent)
        return body

    def _sweep(self, quest: Quest) -> Sweep:
        return Sweep(self._tools, self._questions, self._findings, quest, self._key(quest))


def _offline() -> UpstreamFailure:
    return UpstreamFailure(UpstreamKind.DOWN, "this node is offline")
