"""What this node does for its peers, by the rules of its own.

A name that this node's rules deny is denied to peers as well, whatever is on
disk. Who may fetch for a peer asks upstream itself: nothing here ever asks
another peer, so that no question can go in a circle. What is fetched is kept
as if a client had asked, within the share of the disk that peers have.

Upstream's refusal of a name is passed on as upstream's; every other failure
is this node's own trouble, and says nothing to the asker about its upstream.
A question that takes longer than a peer waits is answered "I am fetching it",
and goes on: whoever asks again joins it, and is told that it was fetched for
them, though it may lie on the disk by then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from nodecache.cache.checks import Checks
from nodecache.cache.entries import Entries
from nodecache.cache.gate import Gate
from nodecache.cache.hot import Known
from nodecache.cache.lending import Lender, Lending
from nodecache.cache.manifests import Manifests
from nodecache.cache.ports import Others, Upstreams
from nodecache.cache.refusals import refusal_of
from nodecache.cache.tools import Tools
from nodecache.deadline import Deadline
from nodecache.events import PeerSuspected
from nodecache.failures import Failure, UpstreamFailure, UpstreamKind
from nodecache.freshness import TagEntry, Verdict, judge
from nodecache.peerwire.answers import (
    Absent,
    Denied,
    Elsewhere,
    Fetching,
    Manifest,
    ManifestAnswer,
    Refusal,
)
from nodecache.peerwire.questions import BlobQuestion, ManifestQuestion, Mode
from nodecache.reference import Digest, Reference, Repository, Tag
from nodecache.results import Loan, PeerRegistry
from nodecache.sharing.duties import Asking, Duties
from nodecache.sharing.manifest_walk import Recent
from nodecache.singleflight import SingleFlight, within

#: Of the time in which a peer is to give a sign of life, the part that an answer may take.
_SOON: Final = 0.8

_Key = tuple[Repository, Reference, bool]


@attrs.frozen
class Sharing:
    """What a cache needs to share with its peers.

    ``direct`` are the upstreams without peers that would fetch, ``others`` what the peers have,
    ``lender`` the fills. ``repairs_alone``: whether every byte of a blob's fill comes from
    upstream, since wrong ones came before.
    """

    direct: Upstreams
    others: Others
    lender: Lender
    duties: Duties
    asking: Asking
    repairs_alone: Callable[[Digest], bool]


class Owner(PeerRegistry):
    """``gate`` is the one before the upstreams without peers. ``stop`` is owed."""

    def __init__(
        self, tools: Tools, entries: Entries, manifests: Manifests, gate: Gate, sharing: Sharing
    ) -> None:
        self._entries = entries
        self._manifests = manifests
        self._checks = Checks(entries, manifests, tools.wall, direct=True)
        self._patience = tools.timeouts.peer_alive * _SOON
        self._lending = Lending(
            tools,
            sharing.lender,
            gate,
            sharing.duties,
            sharing.asking,
            self._patience,
            sharing.repairs_alone,
        )
        self._policy = tools.policy
        self._clock = tools.clock
        self._wall = tools.wall
        self._observe = tools.observe
        self._questions: SingleFlight[_Key, ManifestAnswer] = SingleFlight()
        # Who was told to ask again, for as long as that may take.
        self._put_off: Recent[tuple[str, _Key], None] = Recent()
        self._longest = tools.timeouts.absent

    # Manifests and tags.

    async def peer_manifest(
        self,
        question: ManifestQuestion,
        asker: str,
    ) -> ManifestAnswer:
        denied = self._denied(question.repository)
        if denied is not None:
            return denied
        if question.mode is Mode.ONLY_IF_HAVE:
            return await self._held(question) or Absent()
        key = question.repository, question.reference, question.head
        waiter = self._questions.run(key, lambda: self._fetched(question))
        patience = min(self._patience, question.seconds * _SOON)
        try:
            answer = await within(waiter, self._clock, Deadline(self._clock.seconds() + patience))
        except UpstreamFailure as failure:
            if failure.kind is UpstreamKind.DOWN:
                return Elsewhere(self._patience, leaving=True)
            self._put_off.put((asker, key), None, self._clock.seconds() + self._longest)
            return Fetching(patience)
        waited = self._put_off.take((asker, key), self._clock.seconds()) is not None
        if waited and isinstance(answer, Manifest):
            return attrs.evolve(answer, fetched=True)
        return answer

    def _denied(self, repository: Repository) -> Denied | None:
        rules = self._policy().rules.get(repository.namespace)
        if rules is None:
            return Denied(f"namespace {repository.namespace!r} is not served here")
        if not rules.permits(repository.name):
            return Denied(f"repository {repository.name!r} is denied by this node's rules")
        return None

    async def _held(self, question: ManifestQuestion) -> Manifest | None:
        """What is here, however old it is; an import too."""
        if isinstance(question.reference, Digest):
            known = await self._manifests.local(question.reference)
            return None if known is None else _answer(known, question, None)
        if question.youth is not None:
            return await self._told(question, question.reference, question.youth)
        for entry in await self._entries.view((question.repository, question.reference)):
            known = await self._manifests.local(Digest.parse(entry.digest))
            if known is not None:
                return _answer(known, question, entry.age(self._wall()))
        return None

    async def _told(self, question: ManifestQuestion, tag: Tag, youth: float) -> Manifest | None:
        """Upstream's word that still holds, here and where it is asked for."""
        entry = await self._entries.told((question.repository, tag))
        if entry is None or not self._is_fresh(entry) or entry.age(self._wall()) >= youth:
            return None
        digest, age = Digest.parse(entry.digest), entry.age(self._wall())
        if question.head:
            return Manifest(digest, entry.media_type, entry.size, age, None)
        known = await self._manifests.local(digest)
        return None if known is None else _answer(known, question, age)

    async def _fetched(self, question: ManifestQuestion) -> ManifestAnswer:
        try:
            if isinstance(question.reference, Digest):
                return await self._by_digest(question, question.reference)
            return await self._by_tag(question, question.reference)
        except Failure as failure:
            return refusal_of(failure)

    async def _by_digest(self, question: ManifestQuestion, digest: Digest) -> ManifestAnswer:
        fetched = not self._manifests.is_here(digest)
        known, _ = await self._manifests.get(question.repository, digest, direct=True)
        return _answer(known, question, None, fetched=fetched)

    async def _by_tag(self, question: ManifestQuestion, tag: Tag) -> ManifestAnswer:
        key = question.repository, tag
        entry, known, fetched = await self._entries.told(key), None, False
        if entry is None or not self._is_fresh(entry):
            resolved = await self._checks.make(key)
            entry, known, fetched = resolved.entry, resolved.known, True
        digest, age = Digest.parse(entry.digest), entry.age(self._wall())
        if question.head:
            return Manifest(digest, entry.media_type, entry.size, age, None, fetched)
        if known is None:
            known, _ = await self._manifests.get(question.repository, digest, direct=True)
        return _answer(known, question, age, fetched=fetched)

    def _is_fresh(self, entry: TagEntry) -> bool:
        ttl = self._policy().tag_ttl
        verdict = judge(entry, self._wall(), ttl, offline=False, upstream_down=False)
        return verdict is Verdict.FRESH

    # Blobs.

    async def peer_blob(self, question: BlobQuestion, asker: str) -> Loan | Refusal:
        denied = self._denied(question.repository)
        if denied is not None:
            return denied
        if self._manifests.is_here(question.digest):
            return Absent()
        return await self._lending.lend(question, asker)

    async def peer_has_blob(self, question: BlobQuestion) -> int | None:
        if self._denied(question.repository) or self._manifests.is_here(question.digest):
            return None
        return await self._lending.size(question)

    async def peer_suspect(
        self,
        digest: Digest,
        sums: dict[int, tuple[int, ...]],
        by: str,
    ) -> None:
        segments = ", ".join(str(segment) for segment in sorted(sums))
        self._observe(PeerSuspected(peer=by, whose="ours", digest=str(digest), segments=segments))
        await self._lending.distrust(digest, sums)

    def stop(self) -> None:
        self._questions.stop()
        self._lending.stop()


def _answer(
    known: Known, question: ManifestQuestion, age: float | None, *, fetched: bool = False
) -> Manifest:
    manifest = known.manifest
    return Manifest(
        digest=manifest.digest,
        media_type=manifest.media_type,
        size=len(manifest.body),
        age=age,
        body=None if question.head else manifest.body,
        fetched=fetched,
    )
