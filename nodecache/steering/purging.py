"""``purge``: images go by name, pattern or age, and with them what no other image needs.

First the tags, then the manifests, then the blobs: whoever pulls meanwhile
finds an image that is there, or one that is not and is fetched anew. Bodies
that are being sent are sent to their end; what is being fetched is left alone.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import attrs

from nodecache.cache.keeping import Keeping
from nodecache.fill import Fills
from nodecache.reference import Digest
from nodecache.steering.inventory import Inventory, Listed
from nodecache.steering.verbs import Document, Refused, Tell, Verb
from nodecache.store import Store


@attrs.frozen
class Plan:
    """``images`` go, with ``manifests`` and ``blobs`` (of ``bytes``, as far as they are here).

    ``pinned`` were meant as well and stay, ``in_flight`` blobs are being fetched.
    """

    images: tuple[Listed, ...]
    manifests: frozenset[Digest]
    blobs: frozenset[Digest]
    bytes: int
    pinned: tuple[Listed, ...]
    in_flight: int

    def as_document(self) -> dict[str, Any]:
        """As it is told."""
        return {
            "images": [image.name for image in self.images],
            "manifests": len(self.manifests),
            "blobs": len(self.blobs),
            "bytes": self.bytes,
            "pinned": [image.name for image in self.pinned],
            "in_flight": self.in_flight,
        }


class Purging:
    def __init__(self, store: Store, fills: Fills, keeping: Keeping, inventory: Inventory) -> None:
        self._store = store
        self._fills = fills
        self._keeping = keeping
        self._inventory = inventory

    @property
    def verb(self) -> Verb:
        """``images`` (patterns), ``older_than`` (seconds), ``pinned`` and ``dry_run`` (flags)."""
        return Verb("purge", self.run)

    async def run(self, document: dict[str, Any], tell: Tell) -> dict[str, Any]:
        """Raises Refused, StoreFailure."""
        given = Document(document)
        patterns, age = given.texts("images"), given.seconds("older_than")
        if not patterns and age is None:
            raise Refused("nothing says what is to go", "Name images, or an age, or '*' for all.")
        plan = await self._plan(patterns, age, pinned=given.flag("pinned"))
        if not given.flag("dry_run"):
            await self._carry_out(plan, tell)
        return plan.as_document()

    async def _plan(self, patterns: tuple[str, ...], age: float | None, *, pinned: bool) -> Plan:
        images = await self._inventory.images()
        meant = await self._inventory.meant(patterns) if patterns else images
        if age is not None:
            meant = [image for image in meant if self._inventory.age(image.used_at) >= age]
        going = [image for image in meant if pinned or not image.pinned]
        names = {(image.name, image.digest) for image in going}
        staying = [image for image in images if (image.name, image.digest) not in names]
        manifests = _manifests(going) - _manifests(staying)
        blobs = _blobs(going) - _blobs(staying)
        busy = {digest for digest in blobs if self._fills.get(digest) is not None}
        return Plan(
            tuple(going),
            frozenset(manifests),
            frozenset(blobs - busy),
            self._bytes(going, manifests, blobs - busy),
            tuple(image for image in meant if image.pinned and not pinned),
            len(busy),
        )

    def _bytes(self, going: Iterable[Listed], manifests: set[Digest], blobs: set[Digest]) -> int:
        outlines = {each.digest: each for image in going for each in image.reach.outlines}
        small = sum(outlines[digest].size for digest in manifests if digest in outlines)
        return small + sum(self._inventory.present(digest) for digest in blobs)

    async def _carry_out(self, plan: Plan, tell: Tell) -> None:
        for image in plan.images:
            if image.repository is not None and image.tag is not None:
                key = image.repository, image.tag
                await self._keeping.remove(key, functools.partial(self._store.drop_tag, *key))
            tell({"event": "image", "name": image.name, "bytes": image.bytes_here})
        for digest in plan.manifests:
            await self._store.census.drop_manifest(digest)
            self._keeping.forget_manifest(digest)
        for count, digest in enumerate(plan.blobs, 1):
            if self._fills.get(digest) is None:
                await self._store.drop_blob(digest)
                await self._store.drop_partial(digest)
            tell({"event": "progress", "done": count, "total": len(plan.blobs)})


def _manifests(images: Iterable[Listed]) -> set[Digest]:
    return {digest for image in images for digest in image.reach.manifests}


def _blobs(images: Iterable[Listed]) -> set[Digest]:
    return {digest for image in images for digest in image.reach.blobs}
