"""Manifests by digest: from memory, from disk, or by one GET upstream."""

from __future__ import annotations

from typing import TypeAlias

from nodecache.cache.descriptors import clean_media_type, named
from nodecache.cache.entries import Entries
from nodecache.cache.gate import Gate, Subject
from nodecache.cache.hints import SizeHints
from nodecache.cache.hot import HotManifests, Known, manifest_result
from nodecache.cache.lenient import if_possible
from nodecache.cache.ports import FetchedManifest, FoundManifest, ManifestShelf, Upstream
from nodecache.cache.tools import Tools
from nodecache.deadline import Deadline
from nodecache.events import Coalesced, Source
from nodecache.failures import UpstreamFailure, UpstreamKind
from nodecache.reference import Digest, Reference, Repository
from nodecache.results import ManifestResult
from nodecache.sharing.manifest_ports import age_of
from nodecache.singleflight import SingleFlight, within
from nodecache.store import StoredManifest

#: What is fetched, and whether upstream alone is asked for it.
_Fetch: TypeAlias = tuple[Digest, bool]


class Manifests:
    """One GET for a digest at a time, whoever asks and under whatever name."""

    def __init__(self, tools: Tools, gate: Gate, entries: Entries, hints: SizeHints) -> None:
        self._shelf: ManifestShelf = tools.shelves
        self._gate = gate
        self._entries = entries
        self._hints = hints
        self._clock = tools.clock
        self._observe = observe = tools.observe
        self._hot = HotManifests(tools.limits.hot_manifest_bytes)

        def joined() -> None:
            observe(Coalesced(kind="manifest"))

        self._fetches: SingleFlight[_Fetch, Known] = SingleFlight(joined)
        self._heads: SingleFlight[tuple[Repository, Digest], FoundManifest | None] = SingleFlight(
            joined
        )
        # Under whose name the GET under way asks.
        self._asking: dict[_Fetch, Repository] = {}

    def is_here(self, digest: Digest) -> bool:
        return digest in self._hot or self._shelf.has_manifest(digest)

    def ready(self, digest: Digest) -> ManifestResult | None:
        """The answer by ``local``, where that is known without waiting; told by ``used``."""
        return self._hot.result(digest) if self._shelf.has_manifest(digest) else None

    def used(self, digest: Digest) -> None:
        """What ``ready`` gave was given to a client."""
        self._hot.get(digest)
        self._shelf.touch_manifest(digest)

    async def local(self, digest: Digest) -> Known | None:
        """The manifest without asking upstream; None for one that is not here or is damaged."""
        known = self._hot.get(digest)
        if known is None:
            stored = await self._read(digest)
            if stored is None:
                return None
            known = self._learn(stored)
            self._hot.put(known, self._clock.seconds())
        elif self._shelf.has_manifest(digest):
            self._shelf.touch_manifest(digest)
        elif self._hot.is_due(digest, self._clock.seconds()):
            # Evicted, or there was no room for it: there may be now.
            self._hot.put(known, self._clock.seconds())
            await self._write(known.manifest)
        return known

    async def get(
        self,
        repository: Repository,
        digest: Digest,
        deadline: Deadline | None = None,
        *,
        direct: bool = False,
    ) -> tuple[Known, Source]:
        """From here or from upstream; ``direct``: from no peer that would have to fetch it.

        Raises OfflineMiss, UpstreamFailure.
        """
        while (known := await self.local(digest)) is None:
            key = digest, direct
            asked_as = self._asking.get(key)
            waiter = self._fetches.run(key, lambda: self._fetch(repository, digest, direct=direct))
            try:
                known = await within(waiter, self._clock, deadline)
            except UpstreamFailure:
                # That another name has no such manifest says nothing about ours.
                late = deadline is not None and deadline.expired(self._clock.seconds())
                if asked_as in (None, repository) or late:
                    raise
            else:
                return known, Source.FILL if asked_as is None else Source.FLIGHT
        return known, Source.DISK

    async def head(
        self, repository: Repository, digest: Digest, deadline: Deadline
    ) -> ManifestResult:
        """For a client's HEAD of a manifest that is not here: one upstream, and no GET.

        Raises OfflineMiss, UpstreamFailure.
        """
        waiter = self._heads.run((repository, digest), lambda: self.look(repository, digest))
        found = await within(waiter, self._clock, deadline)
        if found is None or found.digest not in (None, digest) or not is_telling(found):
            known, source = await self.get(repository, digest, deadline)
            return manifest_result(known, source)
        assert found.size is not None
        media_type = clean_media_type(found.media_type)
        return ManifestResult(digest, media_type, found.size, None, Source.FILL)

    async def look(
        self, repository: Repository, reference: Reference, *, direct: bool = False
    ) -> FoundManifest | None:
        """Ask upstream by HEAD; None where it does not answer that method.

        Raises OfflineMiss, UpstreamFailure.
        """

        async def question(upstream: Upstream) -> FoundManifest | None:
            try:
                return await upstream.head_manifest(repository.name, reference)
            except UpstreamFailure as failure:
                if failure.status in (405, 501):
                    return None
                raise

        return await self._by(direct=direct).ask(Subject.manifest(repository, reference), question)

    def _by(self, *, direct: bool) -> Gate:
        return self._gate.direct if direct else self._gate

    async def fetch(
        self, repository: Repository, reference: Reference, *, direct: bool = False
    ) -> tuple[Known, float]:
        """GET from upstream, and keep; the seconds since upstream said so come with it.

        Raises OfflineMiss, UpstreamFailure.
        """
        fetched = await self._by(direct=direct).ask(
            Subject.manifest(repository, reference),
            lambda upstream: upstream.get_manifest(repository.name, reference),
        )
        return await self.keep(fetched), age_of(fetched)

    async def _fetch(self, repository: Repository, digest: Digest, *, direct: bool) -> Known:
        self._asking[digest, direct] = repository
        try:
            known, _ = await self.fetch(repository, digest, direct=direct)
        finally:
            del self._asking[digest, direct]
        if known.manifest.digest != digest:
            raise UpstreamFailure(
                UpstreamKind.WRONG, f"upstream sent another manifest for {digest}"
            )
        return known

    async def keep(self, fetched: FetchedManifest) -> Known:
        """Keep it in memory and on disk; a disk that does not take it is no reason to fail.

        Raises UpstreamFailure(WRONG) for one without any type.
        """
        media_type = media_type_of(fetched)
        if not media_type:
            raise UpstreamFailure(UpstreamKind.WRONG, "upstream sent a manifest without its type")
        known = self._learn(StoredManifest(fetched.digest, media_type, fetched.body))
        self._hot.put(known, self._clock.seconds())
        await self._write(known.manifest)
        await self._entries.settle(fetched.digest)
        return known

    def forget(self, digest: Digest) -> None:
        """It goes from memory; who drops it from the disk does that first."""
        self._hot.drop(digest)

    def _learn(self, manifest: StoredManifest) -> Known:
        known = Known(manifest, named(manifest.body))
        self._hints.learn_from(known.named)
        return known

    async def _read(self, digest: Digest) -> StoredManifest | None:
        reading = self._shelf.read_manifest(digest)
        return await if_possible(self._observe, "read a manifest", reading)

    async def _write(self, manifest: StoredManifest) -> None:
        writing = self._shelf.write_manifest(manifest)
        await if_possible(self._observe, "write a manifest", writing)

    def stop(self) -> None:
        self._fetches.stop()
        self._heads.stop()


def is_telling(found: FoundManifest) -> bool:
    """Whether a HEAD told all that a client must hear: dockerd takes no empty type, no length."""
    return bool(clean_media_type(found.media_type)) and found.size is not None


def media_type_of(fetched: FetchedManifest) -> str:
    """As upstream's header says, else as the manifest does; empty where neither is one."""
    return clean_media_type(fetched.media_type) or named(fetched.body).media_type
