"""Can all that a cached manifest names be had without upstream?

A client that commits to the source of its manifest (CRI-O, podman) fails on
the first blob that is missing there, instead of trying elsewhere. So while
upstream fails, a manifest is handed out only with all of its blobs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from twisted.internet.defer import Deferred, FirstError, gatherResults

from nodecache.cache.descriptors import Child, Named
from nodecache.cache.gate import Gate, Subject
from nodecache.cache.hot import Known
from nodecache.cache.memories import Memories
from nodecache.cache.policy import Platform
from nodecache.cache.ports import BlobShelf, Others
from nodecache.cache.tools import Tools
from nodecache.failures import BlobsMissing, StoreFailure
from nodecache.reference import Digest, Repository

#: An index of indexes is legal, deeper than this it is a riddle.
_DEPTH: Final = 4

HasBlobs = Callable[[Sequence[Digest]], Awaitable[bool]]
FindManifest = Callable[[Digest], Awaitable[Named | None]]


def candidates(children: tuple[Child, ...], platform: Platform) -> tuple[Child, ...]:
    """The children of an index of which one must be complete.

    Those of this machine's platform (its variants are told apart by the
    client), else all: an index of artifacts, or one for other machines.
    """
    ours = tuple(
        child
        for child in children
        if (child.os, child.architecture) == (platform.os, platform.architecture)
    )
    return ours or children


async def is_complete(
    manifest: Named,
    platform: Platform,
    *,
    has_blobs: HasBlobs,
    find_manifest: FindManifest,
    depth: int = _DEPTH,
) -> bool:
    """Whether a client of ``platform`` finds here all that ``manifest`` names.

    ``has_blobs`` says whether all of some blobs can be had; ``find_manifest``
    what a manifest names, None for one that can not.
    """
    if manifest.unservable:
        return False
    if not await has_blobs([blob.digest for blob in manifest.blobs]):
        return False
    if not manifest.children:
        return True
    if depth == 0:
        return False
    for child in candidates(manifest.children, platform):
        found = await find_manifest(child.digest)
        if found is not None and await is_complete(
            found,
            platform,
            has_blobs=has_blobs,
            find_manifest=find_manifest,
            depth=depth - 1,
        ):
            return True
    return False


async def _any(_digests: Sequence[Digest]) -> bool:
    return True


class Completeness:
    """Refuses cached manifests whose blobs can not be had, while upstream fails."""

    def __init__(self, tools: Tools, memories: Memories, others: Others, gate: Gate) -> None:
        self._shelf: BlobShelf = tools.shelves
        self._fills = tools.fills
        self._memories = memories
        self._others = others
        self._gate = gate
        self._policy = tools.policy

    async def require(self, subject: Subject, known: Known) -> None:
        """Raises BlobsMissing for what can not be pulled whole now."""
        if not self._gate.is_failing(subject.repository):
            return
        if not await self.holds(subject.repository, known):
            raise BlobsMissing(str(subject))

    async def holds(self, repository: Repository, known: Known, *, blobs: bool = True) -> bool:
        """Whether all can be had; without ``blobs``, whether the manifests can."""

        async def has_blobs(digests: Sequence[Digest]) -> bool:
            return await self._has_blobs(repository, digests)

        async def find(digest: Digest) -> Named | None:
            found = await self._memories.manifest(repository, digest)
            return None if found is None else found.named

        return await is_complete(
            known.named,
            self._policy().platform,
            has_blobs=has_blobs if blobs else _any,
            find_manifest=find,
        )

    async def _has_blobs(self, repository: Repository, digests: Sequence[Digest]) -> bool:
        missing = [digest for digest in digests if not await self._has_blob(digest)]
        if not missing:
            return True
        if not self._others.live():
            return False
        # All at a time: there may be a hundred, and somebody waits.
        asking: list[Deferred[object]] = [
            Deferred.fromCoroutine(self._others.has_blob(repository, digest)) for digest in missing
        ]
        try:
            return all(await gatherResults(asking, consumeErrors=True))
        except FirstError:
            return False

    async def _has_blob(self, digest: Digest) -> bool:
        """Opened, not only looked up: a file may be deleted behind the index at any time."""
        if self._fills.get(digest) is not None:
            return True
        if self._shelf.blob_size(digest) is None:
            return False
        try:
            opened = await self._shelf.open_blob(digest)
        except StoreFailure:
            return False
        if opened is None:
            return False
        opened.close()
        return True
