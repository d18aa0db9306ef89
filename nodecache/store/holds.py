"""Pinned tags: what they name, and what that names, is never evicted.

A pin lives in its tag's file. Here is what follows from it: the set of
manifests and blobs that each pinned tag keeps, as far as their manifests are
on disk.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from nodecache.failures import BadRequest
from nodecache.freshness import TagEntry
from nodecache.reference import Digest
from nodecache.store.accounts import Accounts
from nodecache.store.keys import Key, Kind, key_of
from nodecache.store.manifests import Manifests, StoredManifest

#: Where manifests of all known kinds name other content, by key of the document.
_PLACES = ("config", "layers", "manifests", "blobs", "fsLayers", "subject")


def named_digests(body: bytes) -> list[Digest]:
    """The digests that a manifest or index names; none where it can not be understood."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return []
    return list(_digests(document)) if isinstance(document, dict) else []


def _digests(document: dict[str, object]) -> Iterator[Digest]:
    for place in _PLACES:
        found = document.get(place)
        for each in found if isinstance(found, list) else [found]:
            text = each.get("digest", each.get("blobSum")) if isinstance(each, dict) else None
            if isinstance(text, str):
                try:
                    yield Digest.parse(text)
                except BadRequest:
                    continue


class Holds:
    """Pinned tags by their key, each with the keys that it keeps."""

    def __init__(self, accounts: Accounts, manifests: Manifests) -> None:
        self._accounts = accounts
        self._manifests = manifests
        self._kept: dict[Key, set[Key]] = {}

    def __len__(self) -> int:
        """How many tags are pinned."""
        return len(self._kept)

    async def load(self, pinned: Sequence[tuple[Key, str]]) -> None:
        """The pinned tags that a scan found, with their digests."""
        for tag, digest in pinned:
            await self.pin(tag, Digest.parse(digest))

    async def written(self, tag: Key, entry: TagEntry) -> None:
        """A tag was written, pinned or not."""
        if entry.pinned:
            await self.pin(tag, Digest.parse(entry.digest))
        else:
            self.unpin(tag)

    async def pin(self, tag: Key, digest: Digest) -> None:
        """``tag`` is pinned and means ``digest``; replaces what it meant before."""
        kept = {tag}
        await self._gather(digest, kept)
        self.unpin(tag)
        self._kept[tag] = kept
        for key in kept:
            self._accounts.ledger.hold_forever(key)

    def unpin(self, tag: Key) -> None:
        """``tag`` is not pinned any more, or gone."""
        kept = self._kept.pop(tag, set())
        for key in kept.difference(*self._kept.values()):
            self._accounts.ledger.release(key)

    async def arrived(self, manifest: StoredManifest) -> None:
        """What a manifest names is known from now on, and kept if it is."""
        key = key_of(Kind.MANIFEST, manifest.digest)
        for kept in [each for each in self._kept.values() if key in each]:
            await self._gather(manifest.digest, kept)
            for each in kept:
                self._accounts.ledger.hold_forever(each)

    async def _gather(self, digest: Digest, kept: set[Key]) -> None:
        todo = [digest]
        seen = set()
        while todo:
            digest = todo.pop()
            if digest in seen:
                continue
            seen.add(digest)
            # A manifest does not always say which of the two it names.
            kept.update((key_of(Kind.MANIFEST, digest), key_of(Kind.BLOB, digest)))
            found = await self._manifests.read(digest)
            if found is not None:
                todo.extend(named_digests(found.body))
