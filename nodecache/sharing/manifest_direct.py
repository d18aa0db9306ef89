"""The upstreams themselves, asked once at a time for the same manifest, whoever wants it.

This node's own questions and those of its peers share what is under way. Each
question bounds its own time, and goes on when who asked it has left.

A peer's question and this node's own may differ in what comes before upstream
(who else may have it), so that the one gets there when the other is just
through. What was got a moment ago is therefore not got again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IReactorTime

from nodecache.failures import UpstreamFailure
from nodecache.reference import Digest, Reference
from nodecache.seams import BlobSource
from nodecache.sharing.manifest_ports import (
    FetchedListing,
    FetchedManifest,
    FoundManifest,
    Upstream,
    Upstreams,
)
from nodecache.sharing.manifest_walk import Recent
from nodecache.singleflight import SingleFlight

#: Manifests that are remembered, of an upstream, and the seconds for which they are.
_REMEMBERED: Final = 8
_A_MOMENT: Final = 5.0


class Direct:
    """One upstream, and no peer."""

    def __init__(self, upstream: Upstream, joined: Callable[[], None], clock: IReactorTime) -> None:
        self._upstream = upstream
        self._clock = clock
        self._just_got: Recent[tuple[str, Reference], FetchedManifest] = Recent(_REMEMBERED)
        self._heads: SingleFlight[tuple[str, Reference], FoundManifest] = SingleFlight(joined)
        self._gets: SingleFlight[tuple[str, Reference], FetchedManifest] = SingleFlight(joined)

    def down(self) -> UpstreamFailure | None:
        return self._upstream.down()

    async def head_manifest(self, name: str, reference: Reference) -> FoundManifest:
        key = (name, reference)
        return await self._heads.run(key, lambda: self._head(name, reference))

    async def get_manifest(self, name: str, reference: Reference) -> FetchedManifest:
        key = (name, reference)
        recent = self._just_got.get(key, self._clock.seconds())
        if recent is not None:
            return recent[0]
        return await self._gets.run(key, lambda: self._get(name, reference))

    async def _head(self, name: str, reference: Reference) -> FoundManifest:
        return await self._upstream.head_manifest(name, reference)

    async def _get(self, name: str, reference: Reference) -> FetchedManifest:
        fetched = await self._upstream.get_manifest(name, reference)
        if isinstance(reference, Digest) and fetched.digest == reference:
            until = self._clock.seconds() + _A_MOMENT
            self._just_got.put((name, reference), fetched, until)
        return fetched

    async def head_blob(self, name: str, digest: Digest) -> int:
        return await self._upstream.head_blob(name, digest)

    def blob_source(self, name: str, digest: Digest) -> BlobSource:
        return self._upstream.blob_source(name, digest)

    async def tags(self, name: str, n: int | None, last: str | None) -> FetchedListing:
        return await self._upstream.tags(name, n, last)

    async def referrers(
        self, name: str, digest: Digest, artifact_type: str | None
    ) -> FetchedListing:
        return await self._upstream.referrers(name, digest, artifact_type)

    def stop(self) -> None:
        self._heads.stop()
        self._gets.stop()


class DirectUpstreams:
    """``joined`` is called for each question that met one under way. ``stop`` is owed."""

    def __init__(
        self,
        upstreams: Upstreams,
        clock: IReactorTime,
        joined: Callable[[], None] = lambda: None,
    ) -> None:
        self._upstreams = upstreams
        self._clock = clock
        self._joined = joined
        self._all: dict[str, Direct] = {}

    def get(self, namespace: str) -> Direct:
        """Raises UnknownNamespace."""
        known = self._all.get(namespace)
        if known is None:
            known = Direct(self._upstreams.get(namespace), self._joined, self._clock)
            self._all[namespace] = known
        return known

    def stop(self) -> None:
        for each in self._all.values():
            each.stop()
