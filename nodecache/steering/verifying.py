"""``verify``: everything is read again and compared with its digest; what is rotten goes."""

from __future__ import annotations

from typing import Any

import attrs

from nodecache.reference import Digest
from nodecache.steering.inventory import Inventory, Listed
from nodecache.steering.verbs import Document, Tell, Verb
from nodecache.store import Census


@attrs.define
class _Count:
    """``total`` bytes are to be read, ``done`` of them were."""

    total: int
    done: int = 0
    blobs: int = 0


class Verifying:
    def __init__(self, census: Census, inventory: Inventory) -> None:
        self._census = census
        self._inventory = inventory

    @property
    def verb(self) -> Verb:
        """``images`` is a list of patterns; without any, all that is here is read."""
        return Verb("verify", self.run)

    async def run(self, document: dict[str, Any], tell: Tell) -> dict[str, Any]:
        """Raises Refused, StoreFailure."""
        patterns = Document(document).texts("images")
        there = set(self._census.manifests())
        # Whoever reads a rotten manifest drops it; some are read for this already.
        images = await self._inventory.images()
        gone = there - set(self._census.manifests())
        blobs, manifests = set(self._census.blobs()), there - gone
        if patterns:
            meant = await self._inventory.meant(patterns)
            blobs = {digest for image in meant for digest in image.reach.blobs}
            manifests = {digest for image in meant for digest in image.reach.manifests}
        for digest in sorted(manifests):
            if await self._census.manifest(digest) is None:
                gone.add(digest)
        rotten = [self._tell_rotten("manifest", each, images, tell) for each in sorted(gone)]
        missing = {digest for digest in blobs if self._census.blob_size(digest) is None}
        count = _Count(sum(self._census.blob_size(digest) or 0 for digest in blobs))
        rotten += [
            self._tell_rotten("blob", digest, images, tell)
            for digest in sorted(blobs - missing)
            if not await self._is_good(digest, count, tell)
        ]
        return {
            "blobs": count.blobs,
            "manifests": len(manifests | gone),
            "bytes": count.done,
            "rotten": rotten,
            "missing": len(missing),
        }

    async def _is_good(self, digest: Digest, count: _Count, tell: Tell) -> bool:
        def read(size: int) -> None:
            count.done += size
            tell(
                {
                    "event": "progress",
                    "digest": str(digest),
                    "done": count.done,
                    "total": count.total,
                }
            )

        count.blobs += 1
        return await self._census.is_good(digest, read)

    def _tell_rotten(
        self, kind: str, digest: Digest, images: list[Listed], tell: Tell
    ) -> dict[str, Any]:
        names = [
            image.name
            for image in images
            if digest in image.reach.blobs | image.reach.manifests | {image.digest}
        ]
        found = {"kind": kind, "digest": str(digest), "images": names}
        tell({"event": "rotten", **found})
        return found
