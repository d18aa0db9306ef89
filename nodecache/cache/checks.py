"""One look upstream for what a tag means, which belongs to no client and no peer."""

from __future__ import annotations

import attrs

from nodecache.cache.descriptors import clean_media_type
from nodecache.cache.entries import Entries, TagKey
from nodecache.cache.hot import Known
from nodecache.cache.manifests import Manifests, is_telling
from nodecache.events import Source
from nodecache.freshness import TagEntry
from nodecache.seams import WallClock
from nodecache.sharing.manifest_ports import age_of


@attrs.frozen
class Resolved:
    """Upstream's word on a tag; ``known`` where the manifest had to be fetched for that."""

    entry: TagEntry
    known: Known | None = None
    joined: bool = False


class Checks:
    """``direct``: upstream itself is asked, and no peer."""

    def __init__(
        self, entries: Entries, manifests: Manifests, wall: WallClock, *, direct: bool = False
    ) -> None:
        self._entries = entries
        self._manifests = manifests
        self._wall = wall
        self._direct = direct

    async def make(self, key: TagKey) -> Resolved:
        """Ask, and keep what the tag means. Raises OfflineMiss, UpstreamFailure."""
        began = self._wall()
        repository, tag = key
        found = await self._manifests.look(repository, tag, direct=self._direct)
        checked_at = began - age_of(found)
        source = Source.FILL
        if found is None or found.digest is None:
            known, age = await self._manifests.fetch(repository, tag, direct=self._direct)
            checked_at = began - age
        elif is_telling(found):
            assert found.size is not None
            media_type = clean_media_type(found.media_type)
            entry = TagEntry(str(found.digest), media_type, found.size, checked_at)
            await self._entries.propose(key, entry)
            return Resolved(entry)
        else:
            known, source = await self._manifests.get(repository, found.digest, direct=self._direct)
        manifest = known.manifest
        entry = TagEntry(str(manifest.digest), manifest.media_type, len(manifest.body), checked_at)
        await self._entries.propose(key, entry)
        return Resolved(entry, None if source is Source.DISK else known)
