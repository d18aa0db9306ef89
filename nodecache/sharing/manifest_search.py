"""Asking the peers that rank for a manifest or a tag, before upstream is asked.

A tag's meaning is upstream's word: it is asked of the owner, who may ask
upstream for us, and never of those who only might have heard it once. In a
cluster so big that few come to the owner, those who did may tell it on, as long
as it holds. The bytes of a digest are anybody's to give.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.task import deferLater

from nodecache.failures import PeerFailure, PeerKind
from nodecache.membership import Peer
from nodecache.peerwire.answers import Absent, Manifest, Refusal
from nodecache.peerwire.questions import ManifestQuestion, Mode, manifest_key
from nodecache.reference import Digest, Reference, Repository, Tag
from nodecache.sharing.deputy import deputy_in
from nodecache.sharing.manifest_answers import PeerManifest, ToldByPeer, judge
from nodecache.sharing.manifest_walk import Recent
from nodecache.sharing.ports import View
from nodecache.sharing.tools import Tools
from nodecache.sourcing import Ask, Pause, Refused, Search, SearchBudget, Upstream
from nodecache.sourcing.candidates import RANKED


@attrs.frozen
class Wanted:
    """A manifest, or what a tag means. ``head``: its bytes are not wanted."""

    repository: Repository
    reference: Reference
    head: bool

    @property
    def key(self) -> str:
        """By what the peers rank."""
        return manifest_key(self.repository, self.reference)

    def question(
        self,
        mode: Mode,
        seconds: float,
        *,
        youth: float | None = None,
        as_owner: bool = False,
    ) -> ManifestQuestion:
        return ManifestQuestion(
            self.repository, self.reference, mode, seconds, self.head, youth, as_owner
        )


class PeerManifests:
    """``put_aside`` is told the node id of a peer that sent other bytes than its digest's."""

    def __init__(self, tools: Tools, put_aside: Callable[[str], None]) -> None:
        self._cluster = tools.cluster
        self._clock = tools.clock
        self._put_aside = put_aside
        self._life = tools.timeouts.absent
        self._told: Recent[Digest, str] = Recent()
        self._reached: Recent[str, None] = Recent()
        # Asking upstream must fit into the time of an answer after it.
        budget = SearchBudget.of(tools.timeouts, tools.limits)
        self._budget = attrs.evolve(budget, longest=budget.seconds)
        self._tag_ttl = tools.tag_ttl

    def reach(self, namespace: str) -> bool:
        """Whether a peer had an answer of that upstream a short while ago."""
        return self._reached.get(namespace, self._clock.seconds()) is not None

    async def find(self, wanted: Wanted, *, as_owner: bool = False) -> PeerManifest | None:
        """What a peer gives; None where upstream is to be asked.

        ``as_owner``: a peer asked this node to fetch it, so nobody is made to.
        Who told what a tag means is asked first for the manifest. Raises
        ToldByPeer when a peer asked upstream for us, and that has it not.
        """
        view = self._cluster.view()
        if not view.peers:
            return None
        ranked = [peer.id for peer in view.rank(wanted.key, RANKED)]
        search = Search(
            ranked,
            view.me.id,
            as_owner=as_owner,
            holders=self._holders(wanted),
            # What others think that a tag means is no answer to an owner.
            asked_stand_ins=isinstance(wanted.reference, Tag),
            started=self._clock.seconds(),
            budget=self._budget,
        )
        deputy = deputy_in(view, wanted.key)
        if deputy is not None:
            search.offer(deputy.peer, deputy.patience)
        return await self._go_through(search, wanted, view)

    async def _go_through(self, search: Search, wanted: Wanted, view: View) -> PeerManifest | None:
        while True:
            match search.next(self._clock.seconds()):
                case Ask() as ask:
                    found = await self._ask(search, ask, wanted, view)
                    if found is not None:
                        return found
                case Pause(seconds):
                    await deferLater(self._clock, seconds, lambda: None)
                case Refused(answer):
                    self._reaches(wanted.repository.namespace)
                    raise ToldByPeer.of(answer)
                case Upstream():
                    return None

    async def _ask(
        self, search: Search, ask: Ask, wanted: Wanted, view: View
    ) -> PeerManifest | None:
        try:
            answer = await self._answer(search, ask, wanted, view)
        except PeerFailure as failure:
            search.failed(ask.peer, failure, self._clock.seconds())
            return None
        if isinstance(answer, PeerManifest):
            return answer
        search.answered(ask.peer, answer, self._clock.seconds())
        return None

    async def _answer(
        self, search: Search, ask: Ask, wanted: Wanted, view: View
    ) -> PeerManifest | Refusal:
        peer = view.get(ask.peer)
        if peer is None and ask.address is not None:
            peer = Peer(ask.peer, (ask.address,))
        youth = None
        if ask.mode is Mode.ONLY_IF_HAVE and isinstance(wanted.reference, Tag):
            # Whom the owner told it: as long as that holds, it is upstream's word.
            youth = self._tag_ttl() if search.is_told_of(ask.peer) else 0.0
        if peer is None or youth == 0.0:
            return Absent()
        longest, as_owner = self._budget.longest, search.as_owner
        question = wanted.question(ask.mode, longest, youth=youth, as_owner=as_owner)
        answer = await self.one(peer, question, ask.silence)
        too_old = youth is not None and isinstance(answer, PeerManifest) and answer.age >= youth
        return Absent() if too_old else answer

    async def one(
        self, peer: Peer, question: ManifestQuestion, silence: float | None = None
    ) -> PeerManifest | Refusal:
        """Ask ``peer``, which may be silent for so many seconds. Raises PeerFailure."""
        answer = await self._cluster.manifest(peer, question, silence)
        if not isinstance(answer, Manifest):
            return answer
        try:
            found = judge(answer, question, peer.id)
        except PeerFailure as failure:
            if failure.problem is PeerKind.CORRUPT:
                self._put_aside(peer.id)
            raise
        self._learn(found, question)
        return found

    def _learn(self, found: PeerManifest, question: ManifestQuestion) -> None:
        if isinstance(question.reference, Tag):
            self._told.put(found.digest, found.peer, self._clock.seconds() + self._life)
        if found.fetched:
            self._reaches(question.repository.namespace)

    def _reaches(self, namespace: str) -> None:
        self._reached.put(namespace, None, self._clock.seconds() + self._life)

    def teller(self, digest: Digest) -> str | None:
        """Node id of who told that a tag means ``digest``: likely to have it."""
        recent = self._told.get(digest, self._clock.seconds())
        return None if recent is None else recent[0]

    def _holders(self, wanted: Wanted) -> tuple[str, ...]:
        if not isinstance(wanted.reference, Digest):
            return ()
        teller = self.teller(wanted.reference)
        return () if teller is None else (teller,)
