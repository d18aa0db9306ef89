"""The youngest meaning of a tag that can be pulled whole, while upstream does not say."""

from __future__ import annotations

import attrs

from nodecache.cache.completeness import Completeness
from nodecache.cache.entries import TagKey
from nodecache.cache.hot import Known
from nodecache.cache.memories import Memories
from nodecache.failures import Failure, UpstreamFailure, UpstreamKind
from nodecache.freshness import TagEntry
from nodecache.reference import Digest


@attrs.frozen
class Recalled:
    """``incomplete``: a manifest was found, but not all that it names."""

    best: tuple[TagEntry, Known] | None
    incomplete: bool = False


class Recall:
    """From this node and others, or from this one alone: as its rooms do."""

    def __init__(self, memories: Memories, completeness: Completeness) -> None:
        self._memories = memories
        self._completeness = completeness

    async def best(self, key: TagKey, ours: tuple[TagEntry, ...], failure: Failure) -> Recalled:
        """``ours`` is what this node knows of the tag, the newest first; ``failure`` upstream's."""
        # A limit on manifests lets blobs pass.
        limited = isinstance(failure, UpstreamFailure) and failure.kind is UpstreamKind.LIMITED
        incomplete = False
        for entry in await self._memories.entries(key, ours, failure):
            known = await self._memories.manifest(key[0], Digest.parse(entry.digest))
            if known is None:
                continue
            if await self._completeness.holds(key[0], known, blobs=not limited):
                return Recalled((entry, known))
            incomplete = True
        return Recalled(None, incomplete)
