"""What the other nodes have, while upstream fails: nobody is made to fetch.

All that may be asked are, those first that rank for it; some at a time, and
no longer than is good for who waits. What came of it is remembered for
seconds, so that clients which try again do not set the cluster to work again.
"""

from __future__ import annotations

from typing import Final, TypeVar

import attrs

from nodecache.byteranges import Span
from nodecache.failures import PeerFailure
from nodecache.membership import Peer
from nodecache.peerwire.answers import Bytes
from nodecache.peerwire.questions import BlobQuestion, Mode
from nodecache.reference import Digest, Repository, Tag
from nodecache.sharing.manifest_answers import PeerManifest
from nodecache.sharing.manifest_search import PeerManifests, Wanted
from nodecache.sharing.manifest_walk import Ask, Enough, Recent, walk
from nodecache.sharing.tools import Tools
from nodecache.singleflight import SingleFlight

T = TypeVar("T")

#: A question about a blob as a whole is about its first byte.
_FIRST_BYTE: Final = Span(0, 1)


@attrs.frozen
class Meaning:
    """What a tag means by a peer's word, which upstream gave it ``age`` seconds ago."""

    digest: Digest
    media_type: str
    size: int
    age: float


class Rest:
    """``stop`` is owed."""

    def __init__(self, tools: Tools, peers: PeerManifests) -> None:
        self._cluster = tools.cluster
        self._peers = peers
        self._clock = tools.clock
        self._silence = tools.timeouts.peer_silence
        self._search = tools.timeouts.peer_search
        self._life = tools.timeouts.absent
        self._width = tools.limits.peer_sweep
        self._greeted = False
        self._meanings: Recent[Wanted, tuple[Meaning, float] | None] = Recent()
        self._fruitless: Recent[tuple[Repository, Digest], None] = Recent()
        self._wholes: Recent[Digest, bool] = Recent()
        self._looking: SingleFlight[Wanted, Meaning | None] = SingleFlight()
        self._fetching: SingleFlight[Wanted, PeerManifest | None] = SingleFlight()
        self._counting: SingleFlight[Digest, bool] = SingleFlight()

    def live(self) -> bool:
        """Whether there is anybody to ask, as far as is known so shortly after a start."""
        return not self._greeted or bool(self._cluster.view().peers)

    def reach(self, namespace: str) -> bool:
        """Whether that upstream answers a peer, by what was heard a short while ago."""
        return self._peers.reach(namespace)

    async def greeted(self) -> None:
        """Waits until the peers are known, once."""
        if not self._greeted:
            await self._cluster.ready()
            self._greeted = True

    async def meaning(self, repository: Repository, tag: Tag, *, known: bool) -> Meaning | None:
        """What the tag last meant to any of them; None where nobody has its manifest.

        ``known``: this node knows of a meaning itself; then only the first
        ones are asked for a younger one.
        """
        wanted = Wanted(repository, tag, head=True)
        recent = self._meanings.get(wanted, self._clock.seconds())
        if recent is None:
            return await self._looking.run(wanted, lambda: self._look(wanted, known=known))
        if recent[0] is None:
            return None
        meaning, since = recent[0]
        return attrs.evolve(meaning, age=meaning.age + self._clock.seconds() - since)

    async def _look(self, wanted: Wanted, *, known: bool) -> Meaning | None:
        def enough(found: list[PeerManifest], answered: int) -> bool:
            return answered >= self._width and (known or bool(found))

        found = await self._walk(
            wanted.key,
            lambda peer: self._manifest(peer, wanted),
            enough,
            seconds=self._silence,
        )
        now = self._clock.seconds()
        if not found:
            self._meanings.put(wanted, None, now + self._life)
            return None
        youngest = min(found, key=lambda one: one.age)
        meaning = Meaning(youngest.digest, youngest.media_type, youngest.size, youngest.age)
        self._meanings.put(wanted, (meaning, now), now + self._life)
        return meaning

    async def manifest(
        self, repository: Repository, digest: Digest, *, head: bool = False
    ) -> PeerManifest | None:
        """The first that has it; the bytes match, where bytes were asked for."""
        if self._fruitless.get((repository, digest), self._clock.seconds()) is not None:
            return None
        wanted = Wanted(repository, digest, head)
        return await self._fetching.run(wanted, lambda: self._fetch(repository, digest, wanted))

    async def _fetch(
        self, repository: Repository, digest: Digest, wanted: Wanted
    ) -> PeerManifest | None:
        found = await self._walk(
            wanted.key,
            lambda peer: self._manifest(peer, wanted),
            lambda found, _answered: bool(found),
            seconds=self._search,
            first=self._peers.teller(digest),
        )
        if not found:
            self._fruitless.put((repository, digest), None, self._clock.seconds() + self._life)
            return None
        return found[0]

    async def _manifest(self, peer: Peer, wanted: Wanted) -> PeerManifest | None:
        question = wanted.question(Mode.ONLY_IF_HAVE, self._silence)
        try:
            answer = await self._peers.one(peer, question)
        except PeerFailure:
            return None
        return answer if isinstance(answer, PeerManifest) else None

    async def has_blob(self, repository: Repository, digest: Digest) -> bool:
        """Whether a peer has the whole of it, its digest found right."""
        recent = self._wholes.get(digest, self._clock.seconds())
        if recent is not None:
            return recent[0]
        return await self._counting.run(digest, lambda: self._count(repository, digest))

    async def _count(self, repository: Repository, digest: Digest) -> bool:
        whole = await self.blob_size(repository, digest, verified=True) is not None
        self._wholes.put(digest, whole, self._clock.seconds() + self._life)
        return whole

    async def blob_size(
        self, repository: Repository, digest: Digest, *, verified: bool, most: int | None = None
    ) -> int | None:
        """Its size in bytes, by the first who has some of it (``verified``: all of it).

        ``most``: only so many are asked, those that rank first.
        """
        question = BlobQuestion(
            repository,
            digest,
            _FIRST_BYTE,
            Mode.ONLY_IF_HAVE,
            self._silence,
            verified=verified,
        )

        async def ask(peer: Peer) -> int | None:
            try:
                answer = await self._cluster.has_blob(peer, question)
            except PeerFailure:
                return None
            return answer.total if isinstance(answer, Bytes) else None

        sizes = await self._walk(
            f"{digest}/0",
            ask,
            lambda found, _answered: bool(found),
            seconds=self._silence,
            most=most,
        )
        return sizes[0] if sizes else None

    async def holders(self, repository: Repository, digest: Digest, *, most: int) -> list[str]:
        """The ids of peers that have the whole of it, its digest found right: the first ``most``
        that say so, those before others that rank first for it.

        Nothing of it is remembered: it is for who looks.
        """
        question = BlobQuestion(
            repository, digest, _FIRST_BYTE, Mode.ONLY_IF_HAVE, self._silence, verified=True
        )

        async def ask(peer: Peer) -> str | None:
            try:
                answer = await self._cluster.has_blob(peer, question)
            except PeerFailure:
                return None
            return peer.id if isinstance(answer, Bytes) else None

        key = f"{digest}/0"
        found = await self._walk(
            key, ask, lambda found, _answered: len(found) >= most, seconds=self._silence
        )
        view = self._cluster.view()
        ranks = {peer.id: rank for rank, peer in enumerate(view.rank(key, len(view.peers) + 1))}
        return sorted(found, key=lambda peer: ranks.get(peer, len(ranks)))[:most]

    async def _walk(
        self,
        key: str,
        ask: Ask[T],
        enough: Enough[T],
        *,
        seconds: float,
        first: str | None = None,
        most: int | None = None,
    ) -> list[T]:
        await self.greeted()
        view = self._cluster.view()
        ranked = view.rank(key, len(view.peers) + 1 if most is None else most)
        others = [peer for peer in ranked if peer.id != view.me.id]
        return await walk(
            sorted(others, key=lambda peer: peer.id != first),
            ask,
            enough,
            width=self._width,
            clock=self._clock,
            seconds=seconds,
        )

    def stop(self) -> None:
        for each in (self._looking, self._fetching, self._counting):
            each.stop()
