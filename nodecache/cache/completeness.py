"""Can all that a cached manifest names be had without upstream?

A client that commits to the source of its manifest (CRI-O, podman) fails on
the first blob that is missing there, instead of trying elsewhere. So while
upstream fails, a manifest is handed out only with all of its blobs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from nodecache.cache.descriptors import Child, Named
from nodecache.cache.gate import Gate, Subject
from nodecache.cache.hot import Known
from nodecache.cache.manifests import Manifests
from nodecache.cache.policy import Platform, Policy
from nodecache.cache.ports import BlobShelf, Fills
from nodecache.failures import BlobsMissing, StoreFailure
from nodecache.reference import Digest

#: An index of indexes is legal, deeper than this it is a riddle.
_DEPTH: Final = 4

HasBlob = Callable[[Digest], Awaitable[bool]]
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
    has_blob: HasBlob,
    find_manifest: FindManifest,
    depth: int = _DEPTH,
) -> bool:
    """Whether a client of ``platform`` finds here all that ``manifest`` names.

    ``has_blob`` says whether a blob is on disk or in flight; ``find_manifest``
    what a manifest names, None for one that is not here.
    """
    if manifest.unservable:
        return False
    for blob in manifest.blobs:
        if not await has_blob(blob.digest):
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
            has_blob=has_blob,
            find_manifest=find_manifest,
            depth=depth - 1,
        ):
            return True
    return False


async def _any(_digest: Digest) -> bool:
    return True


class Completeness:
    """Refuses cached manifests whose blobs can not be had, while upstream fails."""

    def __init__(
        self,
        shelf: BlobShelf,
        fills: Fills,
        manifests: Manifests,
        gate: Gate,
        policy: Callable[[], Policy],
    ) -> None:
        self._shelf = shelf
        self._fills = fills
        self._manifests = manifests
        self._gate = gate
        self._policy = policy

    async def require(self, subject: Subject, known: Known) -> None:
        """Raises BlobsMissing for what can not be pulled whole now."""
        if self._gate.is_failing(subject.repository) and not await self.holds(known):
            raise BlobsMissing(str(subject))

    async def holds(self, known: Known, *, blobs: bool = True) -> bool:
        """Whether all is here; without ``blobs``, whether the manifests are."""
        return await is_complete(
            known.named,
            self._policy().platform,
            has_blob=self._has_blob if blobs else _any,
            find_manifest=self._find,
        )

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

    async def _find(self, digest: Digest) -> Named | None:
        known = await self._manifests.local(digest)
        return None if known is None else known.named
