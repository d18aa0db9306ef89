"""A scripted cluster: peers that have what the test gave them and answer as they are told.

A ``FakePeer`` answers like a well-behaved node: what it has; for may-fetch what it can
fetch; else that it is absent. ``twists`` change single answers, ``patient`` holds them
back until the test lets them go. Bodies are ``FakeBody``: they send when they are told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from nodecache.byteranges import Span
from nodecache.failures import PeerFailure, PeerKind
from nodecache.membership import Address, Peer
from nodecache.peerwire.answers import Absent, Bytes, Manifest, ManifestAnswer, Refusal
from nodecache.peerwire.questions import BlobQuestion, ManifestQuestion, Mode
from nodecache.reference import Digest
from nodecache.sharing.ports import Cluster, PeerBody, View
from tests.fakes_source import FakeBody

Question: TypeAlias = BlobQuestion | ManifestQuestion
Answer: TypeAlias = "FakePeerBody | Bytes | Manifest | Refusal | PeerFailure"

#: Makes an answer of its own; None: the usual one.
Twist: TypeAlias = "Callable[[Question], Answer | None]"

ME = "me"


class FakePeerBody(FakeBody, PeerBody):
    """Bytes of ``data`` (the whole blob) for ``span``, from a peer; so many of them at once."""

    def __init__(
        self,
        data: bytes,
        span: Span,
        sender: str,
        *,
        ranged: bool = True,
        fetched: bool = False,
        eager: int = 0,
    ) -> None:
        self._eager = eager
        stop = min(span.stop, len(data))
        super().__init__(
            data[span.start : stop],
            start=span.start,
            stop_at=stop,
            total=len(data),
            ranged=True,
            asked=span,
            sender=sender,
        )
        self._answer = Bytes(len(data), ranged, fetched)

    @property
    def answer(self) -> Bytes:
        return self._answer

    def deliver(self, sink: Callable[[bytes], None]) -> Deferred[None]:
        done = super().deliver(sink)
        self.send(self._eager)
        return done

    def fail(self, kind: PeerKind = PeerKind.CUT) -> None:
        """It breaks off in the middle."""
        assert self.sender is not None
        assert self._done is not None
        assert self.delivering
        self.over = True
        self._done.errback(PeerFailure(self.sender, kind, "it broke off"))


@attrs.define(eq=False)
class Asked:
    """One question put to a peer. ``what`` is blob, has_blob or manifest.

    ``answer`` is set once it was answered; ``cancelled`` once the asker gave it up.
    """

    peer: str
    what: str
    question: Question
    at: float
    waiting: Deferred[Answer]
    answer: Answer | None = None
    cancelled: bool = False

    @property
    def open(self) -> bool:
        return self.answer is None and not self.cancelled

    @property
    def mode(self) -> Mode:
        return self.question.mode


@attrs.define(eq=False)
class FakePeer:
    """``has``: blobs whole here. ``fetches``: what upstream gives it when it is asked to fetch.

    ``manifests`` by reference (as text). ``refusal`` is its answer to everything else.
    ``failing``: every question fails so. Its bodies send ``eager`` bytes as soon as they may.
    """

    id: str
    zone: str = ""
    has: dict[Digest, bytes] = attrs.Factory(dict)
    fetches: dict[Digest, bytes] = attrs.Factory(dict)
    manifests: dict[str, Manifest] = attrs.Factory(dict)
    refusal: Refusal = attrs.Factory(Absent)
    failing: PeerKind | None = None
    ranges: bool = True
    patient: bool = False
    eager: int = 0
    twists: list[Twist] = attrs.Factory(list)

    @property
    def peer(self) -> Peer:
        return Peer(self.id, (Address("10.0.0.1", 5001),), self.zone)

    def usual(self, what: str, question: Question) -> Answer:
        if self.failing is not None:
            return PeerFailure(self.id, self.failing, "it fails")
        if isinstance(question, ManifestQuestion):
            return self.manifests.get(str(question.reference), self.refusal)
        digest, fetched = question.digest, False
        data = self.has.get(digest)
        if data is None and question.mode is Mode.MAY_FETCH and what == "blob":
            data, fetched = self.fetches.get(digest), True
        if data is None or (question.span.start >= len(data) and question.span.start):
            return self.refusal
        if what == "has_blob":
            return Bytes(len(data), self.ranges)
        return FakePeerBody(
            data,
            question.span,
            self.id,
            ranged=self.ranges,
            fetched=fetched,
            eager=self.eager,
        )


@attrs.frozen
class FakeView(View):
    """Ranks as the cluster's ``ranks`` say: a list of ids by key, "*" for all other keys.

    ``behind`` have slow links; ``formers`` would be among the first of any key without it.
    """

    me: Peer
    peers: tuple[Peer, ...]
    ranks: Mapping[str, Sequence[str]]
    behind: frozenset[str] = frozenset()
    formers: tuple[str, ...] = ()

    def former(self, key: str, most: int) -> tuple[str, ...]:
        return self.formers

    def rank(self, key: str, most: int) -> tuple[Peer, ...]:
        order = self.ranks.get(key, self.ranks.get("*", [each.id for each in self.peers]))
        known = [peer for id_ in order if (peer := self._known(id_)) is not None]
        rest = [each for each in (*self.peers, self.me) if each not in known]
        return tuple((known + rest)[:most])

    def get(self, peer_id: str, /) -> Peer | None:
        return next((each for each in self.peers if each.id == peer_id), None)

    def _known(self, id_: str) -> Peer | None:
        return self.me if id_ == self.me.id else self.get(id_)


class FakeCluster(Cluster):
    """``peers`` by id; ``asked`` is every question in order; ``told`` every suspicion.

    ``off`` are peers that are not in the view. ``starting``, once set, is what ``ready`` waits for.
    ``ranks``, ``behind``, ``formers``: see FakeView; without ``ranks`` peers rank in their order,
    and ``me`` last. With a ``clock``, a peer that is silent for as long as the asker says has
    failed, and for ``silence`` where it does not say (None: is waited for).
    """

    def __init__(self, *peers: FakePeer, clock: IReactorTime | None = None) -> None:
        self.me = Peer(ME, (Address("10.0.0.99", 5001),))
        self.peers = {each.id: each for each in peers}
        self.off: set[str] = set()
        self.ranks: dict[str, Sequence[str]] = {}
        self.asked: list[Asked] = []
        self.bodies: list[FakePeerBody] = []
        self.told: list[tuple[str, Digest, dict[int, tuple[int, ...]]]] = []
        self.starting: Deferred[None] | None = None
        self.clock = clock
        self.silence: float | None = None
        self.behind: frozenset[str] = frozenset()
        self.formers: tuple[str, ...] = ()

    def __getitem__(self, id_: str) -> FakePeer:
        return self.peers[id_]

    def view(self) -> FakeView:
        live = [each.peer for each in self.peers.values() if each.id not in self.off]
        return FakeView(self.me, tuple(live), dict(self.ranks), self.behind, self.formers)

    async def ready(self) -> None:
        await (self.starting or succeed(None))

    async def blob(
        self, peer: Peer, question: BlobQuestion, silence: float | None = None
    ) -> PeerBody | Refusal:
        answer = await self._ask("blob", peer, question, silence)
        assert not isinstance(answer, Bytes | Manifest)
        return answer

    async def has_blob(self, peer: Peer, question: BlobQuestion) -> Bytes | Refusal:
        answer = await self._ask("has_blob", peer, question)
        assert not isinstance(answer, FakePeerBody | Manifest)
        return answer

    async def manifest(
        self, peer: Peer, question: ManifestQuestion, silence: float | None = None
    ) -> ManifestAnswer:
        answer = await self._ask("manifest", peer, question, silence)
        assert not isinstance(answer, FakePeerBody | Bytes)
        return answer

    async def suspect(
        self, peer: Peer, digest: Digest, sums: Mapping[int, tuple[int, ...]]
    ) -> None:
        self.told.append((peer.id, digest, dict(sums)))
        if self.peers[peer.id].failing is PeerKind.REFUSED:
            raise PeerFailure(peer.id, PeerKind.REFUSED, "it is not there")

    async def _ask(
        self, what: str, peer: Peer, question: Question, silence: float | None = None
    ) -> FakePeerBody | Bytes | Manifest | Refusal:
        waiting: Deferred[Answer] = Deferred()
        asked = Asked(peer.id, what, question, self.clock.seconds() if self.clock else 0.0, waiting)
        self.asked.append(asked)
        if not self.peers[peer.id].patient:
            self.answer(asked)
        silence = self.silence if silence is None else silence
        if self.clock is not None and silence is not None:
            waiting.addTimeout(silence, self.clock, lambda *_: self._silent(asked))
        try:
            answer = await waiting
        finally:
            asked.cancelled = asked.answer is None
        if isinstance(answer, PeerFailure):
            raise answer
        return answer

    def _silent(self, asked: Asked) -> PeerFailure:
        asked.answer = PeerFailure(asked.peer, PeerKind.TIMEOUT, "it said nothing")
        return asked.answer

    # What the test makes it do.

    def answer(self, asked: Asked, answer: Answer | None = None) -> None:
        """Answer a question that waits, as ``answer`` or as its peer does."""
        peer = self.peers[asked.peer]
        if answer is None and peer.twists:
            answer = peer.twists.pop(0)(asked.question)
        if answer is None:
            answer = peer.usual(asked.what, asked.question)
        if isinstance(answer, FakePeerBody):
            self.bodies.append(answer)
        asked.answer = answer
        asked.waiting.callback(answer)

    @property
    def open(self) -> list[Asked]:
        """Questions that wait for their answer."""
        return [each for each in self.asked if each.open]

    @property
    def open_bodies(self) -> list[FakePeerBody]:
        return [body for body in self.bodies if not (body.closed or body.over)]

    @property
    def log(self) -> list[tuple[str, str, str]]:
        """Who was asked what, and in which mode."""
        return [(each.peer, each.what, each.mode.value) for each in self.asked]
