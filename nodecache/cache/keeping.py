"""What the node's administrator changes: a tag's entry, and what is remembered of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs

from nodecache.cache.checks import Checks
from nodecache.cache.entries import Entries, TagKey
from nodecache.cache.gate import Gate, Subject
from nodecache.cache.manifests import Manifests
from nodecache.cache.tools import Tools
from nodecache.freshness import TagEntry
from nodecache.reference import Digest


@attrs.frozen
class Refreshed:
    """What a tag meant before upstream was asked (None: nothing), and what it means now."""

    before: TagEntry | None
    after: TagEntry

    @property
    def changed(self) -> bool:
        return self.before is None or self.before.digest != self.after.digest


class Keeping:
    """Changes of a tag's file, one at a time with all others."""

    def __init__(self, tools: Tools, entries: Entries, manifests: Manifests, gate: Gate) -> None:
        self._shelf = tools.shelves
        self._entries = entries
        self._manifests = manifests
        self._gate = gate
        self._checks = Checks(entries, manifests, tools.wall, direct=True)

    async def refresh(self, key: TagKey) -> Refreshed:
        """Ask upstream itself, now, and fetch the manifest that the tag means.

        An imported tag gives way once upstream has given both. Raises
        OfflineMiss, UpstreamFailure.
        """
        subject = Subject.manifest(*key)
        for gate in (self._gate, self._gate.direct):
            gate.absences.forget(subject)
        view = await self._entries.view(key)
        before = view[0] if view else None
        found = await self._checks.make(key)
        await self._manifests.get(key[0], Digest.parse(found.entry.digest), direct=True)
        if before is not None and before.imported:
            await self.change(key, lambda _: attrs.evolve(found.entry, pinned=before.pinned))
            self._entries.forget(key)
        return Refreshed(before, found.entry)

    async def change(self, key: TagKey, change: Callable[[TagEntry], TagEntry]) -> TagEntry | None:
        """Write what ``change`` makes of a tag's entry on disk; None where there is none.

        Raises NoRoom, StoreFailure.
        """

        async def work() -> TagEntry | None:
            entry = await self._shelf.read_tag(*key)
            if entry is None:
                return None
            changed = change(entry)
            if changed != entry:
                await self._shelf.write_tag(*key, changed)
            return changed

        return await self._entries.alone(key, work)

    async def remove(self, key: TagKey, drop: Callable[[], Awaitable[None]]) -> None:
        """``drop`` removes a tag's file; nothing of it comes back out of memory."""

        async def work() -> None:
            self._entries.forget(key)
            await drop()

        await self._entries.alone(key, work)

    def forget_manifest(self, digest: Digest) -> None:
        """It is not on disk any more: nor is it to be in memory."""
        self._manifests.forget(digest)
