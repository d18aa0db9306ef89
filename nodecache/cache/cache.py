"""The flow of every request: disk, then in flight, then upstream; and stale when that fails.

Theory of operation. Rooms, each with one question to answer::

    gate          may upstream be asked about this, now?
    entries       what do tags mean, on disk and in memory?
    keeping       what does the administrator change about that?
    manifests     where is the manifest of this digest?
    checks        one look upstream for what a tag means
    tags          is the tag's meaning fresh, and what is served if not?
    ready         which manifests can be had without waiting for anything?
    memories      what do this node and the others remember, while upstream fails?
    recall        which of that can be pulled whole?
    completeness  can what a cached manifest names be had, while upstream fails?
    blobs         disk, a flight, or straight through?
    listings      tags/list and referrers
    owning        what this node does for its peers
    singleflight  the same work is done once, whoever waits for it

With peers, ``upstreams`` ask them first and last (``nodecache.sharing``), and
nothing here notices but the gate, which lets questions through that upstream
itself could not answer; the memories; and the owner, which asks upstream alone.

No client owns work: each waits on a Deferred of its own, and what it waited
for goes on when it leaves (a body passed straight through is the exception:
it is that client's alone). No client waits for ever either: ``answer`` seconds
bound each request as a whole, and upstream gets a little less of them, so that
there is time left to answer from disk.

A disk that fails makes this a mirror without a memory, not a broken one:
what can not be read is fetched, what can not be written is served all the same.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure as Raised

from nodecache.cache.blobs import Blobs
from nodecache.cache.completeness import Completeness
from nodecache.cache.entries import Entries
from nodecache.cache.gate import Gate, Subject
from nodecache.cache.hints import SizeHints
from nodecache.cache.hot import manifest_result
from nodecache.cache.keeping import Keeping
from nodecache.cache.listings import Listings
from nodecache.cache.manifests import Manifests
from nodecache.cache.memories import Memories
from nodecache.cache.owning import Owner, Sharing
from nodecache.cache.policy import Policy
from nodecache.cache.ports import Alone, Fills, Others, Shelves, Upstreams
from nodecache.cache.ready import Ready
from nodecache.cache.recall import Recall
from nodecache.cache.tags import Tags
from nodecache.cache.tools import Tools
from nodecache.deadline import Deadline
from nodecache.events import Source
from nodecache.failures import NameDenied, StoreFailure, UnknownNamespace
from nodecache.limits import Limits, Timeouts
from nodecache.reference import Digest, Reference, Repository, Tag
from nodecache.reference import repository as repository_of
from nodecache.results import (
    BlobHead,
    BlobResult,
    ListingResult,
    ManifestResult,
    PassThroughResult,
    Registry,
)
from nodecache.seams import Observe, WallClock

T = TypeVar("T")

#: Of the time for an answer, the part that waiting for upstream may take.
_UPSTREAM_SHARE: Final = 0.95


class Cache(Registry):
    """The registry that clients of this node see. ``policy`` may be replaced at any time."""

    def __init__(
        self,
        shelves: Shelves,
        fills: Fills,
        upstreams: Upstreams,
        policy: Policy,
        *,
        clock: IReactorTime,
        wall: WallClock,
        observe: Observe,
        limits: Limits,
        timeouts: Timeouts,
        sharing: Sharing | None = None,
    ) -> None:
        """With ``sharing``, ``upstreams`` are those that ask its peers."""
        self.policy = policy
        self._clock = clock
        self._timeouts = timeouts
        tools = Tools(shelves, fills, lambda: self.policy, clock, wall, observe, limits, timeouts)
        hints = SizeHints()
        #: Bytes of a blob, as a manifest or an answer named them; None where none did.
        self.size_of = hints.get
        others: Others = sharing.others if sharing else Alone()
        direct = Gate(sharing.direct, tools) if sharing else None
        self._gate = Gate(upstreams, tools, others, direct)
        self._entries = Entries(shelves, wall, observe)
        self._manifests = Manifests(tools, self._gate, self._entries, hints)
        self._completeness, recall = self._for_failures(tools, others)
        _, alone = self._for_failures(tools, Alone())
        self._tags = Tags(
            tools, self._entries, self._manifests, self._completeness, self._gate, recall, alone
        )
        self._ready = Ready(
            self._entries, self._manifests, self._gate, self._tags.is_fresh, observe
        )
        self._blobs = Blobs(tools, self._gate, hints, self._manifests.is_here)
        self._listings = Listings(tools, self._gate)
        #: What the node's administrator does to tags and manifests.
        self.keeping = Keeping(tools, self._entries, self._manifests, self._gate)
        #: What this node does for its peers, where it has any.
        self.owner: Owner | None = None
        if sharing is not None:
            self.owner = Owner(tools, self._entries, self._manifests, self._gate.direct, sharing)

    def _for_failures(self, tools: Tools, others: Others) -> tuple[Completeness, Recall]:
        """What decides on what is cached, while upstream fails."""
        memories = Memories(self._manifests, others, tools.wall)
        completeness = Completeness(tools, memories, others, self._gate)
        return completeness, Recall(memories, completeness)

    def repository(self, name: str, namespace: str | None) -> Repository:
        """Raises UnknownNamespace, NameDenied, BadRequest(NAME)."""
        found = repository_of(name, namespace, self.policy.rules)
        self._permit(found)
        return found

    def _permit(self, repository: Repository) -> None:
        rules = self.policy.rules.get(repository.namespace)
        if rules is None:
            raise UnknownNamespace(repository.namespace)
        if not rules.permits(repository.name):
            raise NameDenied(repository.name)

    def ready_manifest(self, repository: Repository, reference: Reference) -> ManifestResult | None:
        """What ``manifest`` would answer, where that is known at once and no failure."""
        return self._ready.manifest(repository, reference)

    def gave_manifest(
        self, repository: Repository, reference: Reference, result: ManifestResult
    ) -> None:
        """A client was given what ``ready_manifest`` said."""
        self._ready.gave(repository, reference, result)

    async def manifest(
        self, repository: Repository, reference: Reference, *, head: bool
    ) -> ManifestResult:
        """Raises NameDenied, UpstreamFailure, OfflineMiss, BlobsMissing, StoreFailure."""
        self._permit(repository)
        if isinstance(reference, Tag):
            return await self._bounded(
                self._tags.manifest(repository, reference, head=head, deadline=self._deadline())
            )
        return await self._bounded(self._by_digest(repository, reference, head=head))

    async def _by_digest(
        self, repository: Repository, digest: Digest, *, head: bool
    ) -> ManifestResult:
        sure = self._gate.is_shared and self._gate.is_failing(repository)
        if head and not sure and not self._manifests.is_here(digest):
            return await self._manifests.head(repository, digest, self._deadline())
        known, source = await self._manifests.get(repository, digest, self._deadline())
        if source is Source.DISK or self._gate.is_shared:
            await self._completeness.require(Subject.manifest(repository, digest), known)
        return manifest_result(known, source)

    async def blob(
        self, repository: Repository, digest: Digest, *, whole: bool
    ) -> BlobResult | PassThroughResult:
        """Raises NameDenied, UpstreamFailure, OfflineMiss, StoreFailure."""
        self._permit(repository)
        return await self._bounded(
            self._blobs.get(repository, digest, whole=whole, deadline=self._deadline())
        )

    async def blob_head(self, repository: Repository, digest: Digest) -> BlobHead:
        """Raises NameDenied, UpstreamFailure, OfflineMiss, StoreFailure."""
        self._permit(repository)
        return await self._bounded(self._blobs.head(repository, digest, self._deadline()))

    async def tags(self, repository: Repository, n: int | None, last: str | None) -> ListingResult:
        """Raises NameDenied, UpstreamFailure, OfflineMiss, StoreFailure."""
        self._permit(repository)
        return await self._bounded(self._listings.tags(repository, n, last, self._deadline()))

    async def referrers(
        self, repository: Repository, digest: Digest, artifact_type: str | None
    ) -> ListingResult:
        """Raises NameDenied, UpstreamFailure, OfflineMiss, StoreFailure."""
        self._permit(repository)
        return await self._bounded(
            self._listings.referrers(repository, digest, artifact_type, self._deadline())
        )

    def _deadline(self) -> Deadline:
        """When waiting for upstream ends."""
        return Deadline(self._clock.seconds() + self._timeouts.answer * _UPSTREAM_SHARE)

    def _bounded(self, answer: Coroutine[Any, Any, T]) -> Deferred[T]:
        """``answer``, given up after ``answer`` seconds: then the disk hangs."""
        return Deferred.fromCoroutine(answer).addTimeout(
            self._timeouts.answer, self._clock, _disk_hangs
        )

    def stop(self) -> None:
        """End all work; whoever still waits gets an UpstreamFailure."""
        for room in (self._tags, self._manifests, self._blobs, self._listings, self._entries):
            room.stop()
        if self.owner is not None:
            self.owner.stop()


def _disk_hangs(result: T | Raised, _: float) -> T | Raised:
    if isinstance(result, Raised) and result.check(CancelledError):
        raise StoreFailure("the disk did not answer in time")
    return result
