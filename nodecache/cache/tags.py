"""What a tag means, and the manifest it means.

A tag younger than its time to live is served as it is. An older one costs one
HEAD upstream, shared by all who ask meanwhile, and a GET only where the
digest is new. Whatever fails on the way, the youngest manifest that is here, or
at a peer, and can be pulled whole is served stale, with a warning.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.interfaces import IReactorTime

from nodecache.cache.checks import Checks, Resolved
from nodecache.cache.completeness import Completeness
from nodecache.cache.entries import Entries, TagKey
from nodecache.cache.gate import Gate, Subject
from nodecache.cache.hot import Known
from nodecache.cache.manifests import Manifests, manifest_result
from nodecache.cache.memories import Memories
from nodecache.cache.policy import Policy
from nodecache.deadline import Deadline
from nodecache.events import Coalesced, ServedStale, Source, TagResolved
from nodecache.failures import (
    BlobsMissing,
    Failure,
    OfflineMiss,
    UpstreamFailure,
    UpstreamKind,
)
from nodecache.freshness import TagEntry, Verdict, judge
from nodecache.reference import Digest, Repository, Tag
from nodecache.results import ManifestResult
from nodecache.seams import Observe, WallClock
from nodecache.singleflight import SingleFlight, within


@attrs.frozen
class _Asked:
    """One client's question. ``entries`` are what the tag was known to mean, the newest first."""

    key: TagKey
    head: bool
    deadline: Deadline
    entries: tuple[TagEntry, ...]

    @property
    def repository(self) -> Repository:
        return self.key[0]

    @property
    def subject(self) -> Subject:
        return Subject.manifest(*self.key)

    @property
    def newest(self) -> TagEntry | None:
        return self.entries[0] if self.entries else None


class Tags:
    def __init__(
        self,
        entries: Entries,
        manifests: Manifests,
        completeness: Completeness,
        gate: Gate,
        memories: Memories,
        policy: Callable[[], Policy],
        clock: IReactorTime,
        wall: WallClock,
        observe: Observe,
    ) -> None:
        self._entries = entries
        self._manifests = manifests
        self._completeness = completeness
        self._gate = gate
        self._memories = memories
        self._policy = policy
        self._clock = clock
        self._wall = wall
        self._observe = observe
        self._checks = Checks(entries, manifests, wall)
        self._questions: SingleFlight[TagKey, Resolved] = SingleFlight(
            lambda: observe(Coalesced(kind="tag"))
        )

    async def manifest(
        self, repository: Repository, tag: Tag, *, head: bool, deadline: Deadline
    ) -> ManifestResult:
        """Raises UpstreamFailure, OfflineMiss, BlobsMissing."""
        key = (repository, tag)
        asked = _Asked(key, head, deadline, await self._entries.view(key))
        try:
            return await self._current(asked)
        except (UpstreamFailure, OfflineMiss, BlobsMissing) as failure:
            return await self._stale(asked, failure)

    async def _current(self, asked: _Asked) -> ManifestResult:
        """What the tag means by upstream's word, fresh or asked for now."""
        newest = asked.newest
        if newest is not None and self._is_fresh(asked.repository, newest):
            result = await self._serve(asked, Resolved(newest))
            self._tell(asked, str(result.digest), "hit")
            return result
        resolved = await self._resolve(asked)
        result = await self._serve(asked, resolved)
        if newest is None:
            self._tell(asked, str(result.digest), "miss")
        else:
            same = newest.digest == resolved.entry.digest
            self._tell(asked, str(result.digest), "revalidated" if same else "changed")
        return result

    def _is_fresh(self, repository: Repository, entry: TagEntry) -> bool:
        verdict = judge(
            entry,
            self._wall(),
            self._policy().tag_ttl,
            offline=self._gate.offline,
            upstream_down=self._gate.down(repository),
        )
        # All others ask the gate, which knows by itself that it is shut.
        return verdict is Verdict.FRESH

    async def _resolve(self, asked: _Asked) -> Resolved:
        joined = asked.key in self._questions
        waiter = self._questions.run(asked.key, lambda: self._checks.make(asked.key))
        resolved = await within(waiter, self._clock, asked.deadline)
        return attrs.evolve(resolved, joined=joined)

    async def _serve(self, asked: _Asked, resolved: Resolved) -> ManifestResult:
        entry = resolved.entry
        digest = Digest.parse(entry.digest)
        fetched = Source.FLIGHT if resolved.joined else Source.FILL
        if resolved.known is not None:
            return manifest_result(resolved.known, fetched)
        known = await self._manifests.local(digest)
        if known is not None:
            await self._completeness.require(asked.subject, known)
            return manifest_result(known, Source.DISK)
        if asked.head and not self._has_older(asked, entry):
            self._gate.check(Subject.manifest(asked.repository, digest))
            return ManifestResult(digest, entry.media_type, entry.size, None, fetched)
        # Also for a HEAD: the client's next request is for this manifest, and if
        # that fails the older one must have been the answer to this.
        known, source = await self._manifests.get(asked.repository, digest, asked.deadline)
        if self._gate.is_shared:
            # A peer may have given it, although upstream fails.
            await self._completeness.require(asked.subject, known)
        return manifest_result(known, source)

    def _has_older(self, asked: _Asked, entry: TagEntry) -> bool:
        return any(
            older.digest != entry.digest and self._manifests.is_here(Digest.parse(older.digest))
            for older in asked.entries
        )

    async def _stale(self, asked: _Asked, failure: Failure) -> ManifestResult:
        """The youngest that can be had, and whole. Raises BlobsMissing, else ``failure``."""
        # A limit on manifests lets blobs pass.
        limited = isinstance(failure, UpstreamFailure) and failure.kind is UpstreamKind.LIMITED
        incomplete = False
        for entry in await self._memories.entries(asked.key, asked.entries, failure):
            known = await self._memories.manifest(asked.repository, Digest.parse(entry.digest))
            if known is None:
                continue
            if await self._completeness.holds(asked.repository, known, blobs=not limited):
                return self._stale_result(asked, entry, known, str(failure))
            incomplete = True
        self._tell(asked, "", "miss", str(failure))
        if incomplete:
            raise BlobsMissing(str(asked.subject)) from failure
        raise failure

    def _stale_result(
        self, asked: _Asked, entry: TagEntry, known: Known, reason: str
    ) -> ManifestResult:
        result = manifest_result(known, Source.STALE, reason)
        self._observe(
            ServedStale(
                namespace=asked.repository.namespace,
                repository=asked.repository.name,
                reference=str(asked.key[1]),
                age_seconds=entry.age(self._wall()),
                reason=reason,
            )
        )
        self._tell(asked, str(result.digest), "stale", reason)
        return result

    def _tell(self, asked: _Asked, digest: str, outcome: str, reason: str = "") -> None:
        self._observe(
            TagResolved(
                namespace=asked.repository.namespace,
                repository=asked.repository.name,
                tag=str(asked.key[1]),
                digest=digest,
                outcome=outcome,
                reason=reason,
            )
        )

    def stop(self) -> None:
        self._questions.stop()
