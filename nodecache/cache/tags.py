"""What a tag means, and the manifest it means.

A tag younger than its time to live is served as it is. An older one costs one
HEAD upstream, shared by all who ask meanwhile, and a GET only where the
digest is new. Whatever fails on the way, the youngest manifest that is here, or
at a peer, and can be pulled whole is served stale, with a warning.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import attrs
from twisted.internet.defer import Deferred

from nodecache.cache.checks import Checks, Resolved
from nodecache.cache.completeness import Completeness
from nodecache.cache.entries import Entries, TagKey
from nodecache.cache.gate import Gate, Subject
from nodecache.cache.hot import Known, manifest_result
from nodecache.cache.manifests import Manifests
from nodecache.cache.recall import Recall, Recalled
from nodecache.cache.tools import Tools
from nodecache.deadline import Deadline
from nodecache.events import Coalesced, ServedStale, Source, TagResolved
from nodecache.failures import (
    BlobsMissing,
    Failure,
    OfflineMiss,
    UpstreamFailure,
)
from nodecache.freshness import TagEntry, Verdict, judge
from nodecache.reference import Digest, Repository, Tag
from nodecache.results import ManifestResult
from nodecache.singleflight import SingleFlight, within

#: Of the time for an answer, the part behind a client's deadline for asking what others remember.
_RECALL_SHARE: Final = 0.04


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
    """``recall`` asks other nodes too, as long as there is time; ``alone`` does not."""

    def __init__(
        self,
        tools: Tools,
        entries: Entries,
        manifests: Manifests,
        completeness: Completeness,
        gate: Gate,
        recall: Recall,
        alone: Recall,
    ) -> None:
        self._entries = entries
        self._manifests = manifests
        self._completeness = completeness
        self._gate = gate
        self._recall = recall
        self._alone = alone
        self._policy = tools.policy
        self._clock = tools.clock
        self._wall = tools.wall
        self._observe = observe = tools.observe
        self._spare = tools.timeouts.answer * _RECALL_SHARE
        self._checks = Checks(entries, manifests, tools.wall)
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
        if newest is not None and self.is_fresh(asked.repository, newest):
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

    def is_fresh(self, repository: Repository, entry: TagEntry) -> bool:
        """Whether upstream's word, as ``entry`` holds it, still counts."""
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
        recalled = await self._recalled(asked, failure)
        if recalled.best is not None:
            entry, known = recalled.best
            return self._stale_result(asked, entry, known, str(failure))
        self._tell(asked, "", "miss", str(failure))
        if recalled.incomplete:
            raise BlobsMissing(str(asked.subject)) from failure
        raise failure

    async def _recalled(self, asked: _Asked, failure: Failure) -> Recalled:
        if self._gate.is_shared:
            recall = self._recall.best(asked.key, asked.entries, failure)
            last = Deadline(asked.deadline.at + self._spare)
            with suppress(UpstreamFailure):
                return await within(Deferred.fromCoroutine(recall), self._clock, last)
        # There is time left for the disk alone.
        return await self._alone.best(asked.key, asked.entries, failure)

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
