"""``pin`` and ``unpin``: images that eviction leaves alone, across restarts.

A pin is a word in the tag's own file. It keeps the tag, its manifests and
their blobs, also those that are fetched later.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import attrs

from nodecache.cache.keeping import Keeping
from nodecache.config import format_size
from nodecache.freshness import TagEntry
from nodecache.reference import Digest
from nodecache.steering.inventory import Inventory, Listed
from nodecache.steering.verbs import Document, Refused, Tell, Verb
from nodecache.store import Store

#: Of the cap, what pins may take: the rest is for what is pulled.
SHARE: Final = 0.9


class Pins:
    def __init__(self, store: Store, keeping: Keeping, inventory: Inventory) -> None:
        self._store = store
        self._keeping = keeping
        self._inventory = inventory

    @property
    def verbs(self) -> tuple[Verb, Verb]:
        """Both take ``images``, a list of patterns."""
        return Verb("pin", self.pin), Verb("unpin", self.unpin)

    async def pin(self, document: dict[str, Any], tell: Tell) -> dict[str, Any]:
        """Raises Refused where pins would take more than their share of the cap."""
        meant = await self._meant(document)
        self._refuse_incomplete(meant)
        pinned = [image for image in await self._inventory.images() if image.pinned]
        after = _bytes([*pinned, *meant])
        most = int(self._store.usage().cap * SHARE)
        if after > most:
            raise Refused(
                f"{_figure(after)} would be pinned, and {_figure(most)} may be "
                f"({SHARE:.0%} of the cap)",
                "Raise --max-size, or unpin something: 'nodecache list --pinned' shows what is.",
            )
        return await self._set(meant, tell, pinned=True)

    async def unpin(self, document: dict[str, Any], tell: Tell) -> dict[str, Any]:
        """An image that is not pinned stays as it is."""
        return await self._set(await self._meant(document), tell, pinned=False)

    async def _meant(self, document: dict[str, Any]) -> list[Listed]:
        patterns = Document(document).texts("images")
        if not patterns:
            raise Refused("no image is named")
        meant = await self._inventory.meant(patterns)
        unnamed = [image.name for image in meant if image.tag is None]
        if unnamed:
            raise Refused(
                f"{unnamed[0]} has no tag here, and a pin belongs to a tag",
                "Pull it by its tag, and pin that.",
            )
        return meant

    def _refuse_incomplete(self, images: Iterable[Listed]) -> None:
        for image in images:
            if not image.reach.outlines:
                raise Refused(
                    f"the manifest of {image.name} is not here",
                    f"Fetch it first: nodecache pull {image.name}",
                )

    async def _set(self, images: list[Listed], tell: Tell, *, pinned: bool) -> dict[str, Any]:
        def change(entry: TagEntry) -> TagEntry:
            return attrs.evolve(entry, pinned=pinned)

        done = []
        for image in images:
            assert image.repository is not None
            assert image.tag is not None
            if await self._keeping.change((image.repository, image.tag), change) is not None:
                done.append(image)
                tell({"event": "image", "name": image.name, "changed": image.pinned != pinned})
        names = {(image.name, image.digest) for image in done}
        everything = await self._inventory.images()
        return {
            "images": [image.name for image in done],
            "bytes": _bytes(image for image in everything if (image.name, image.digest) in names),
            "bytes_here": sum(image.bytes_here for image in done),
            "pinned_bytes": _bytes(image for image in everything if image.pinned),
            "cap": self._store.usage().cap,
        }


def _bytes(images: Iterable[Listed]) -> int:
    """Of all that some images are made of, each thing once."""
    sizes: dict[Digest, int] = {}
    for image in images:
        sizes.update((each.digest, each.size) for each in image.reach.outlines)
        sizes.update((part.digest, part.size or 0) for part in image.reach.parts)
    return sum(sizes.values())


def _figure(count: int) -> str:
    return format_size(count)
