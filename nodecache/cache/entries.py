"""What tags mean: their entries on disk, and the newer ones that wait in memory.

An entry goes to disk once its manifest is there, so that a crash or a failed
GET leaves the tag as it was. Until then it waits here: a client's HEAD has
told what the tag means, and the GET that usually follows brings the manifest
(by tag or by digest) and settles the entry. An entry that the disk does not
take stays in memory as well, and upstream is not asked more often for that.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias, TypeVar

import attrs
from twisted.internet.defer import CancelledError

from nodecache.cache.lenient import if_possible
from nodecache.cache.ports import Shelves
from nodecache.freshness import TagEntry, newer
from nodecache.reference import Digest, Repository, Tag
from nodecache.seams import Observe, WallClock
from nodecache.singleflight import SingleFlight

TagKey: TypeAlias = tuple[Repository, Tag]
T = TypeVar("T")


class Entries:
    """At most ``most`` entries wait in memory; the one proposed longest ago goes first."""

    def __init__(
        self, shelves: Shelves, wall: WallClock, observe: Observe, most: int = 4096
    ) -> None:
        self._shelves = shelves
        self._observe = observe
        self._wall = wall
        self._most = most
        self._waiting: OrderedDict[TagKey, TagEntry] = OrderedDict()
        # One writer for a tag at a time: it takes the newest entry, in the order of the checks.
        self._writers: SingleFlight[TagKey, None] = SingleFlight()

    def __len__(self) -> int:
        return len(self._waiting)

    async def view(self, key: TagKey) -> tuple[TagEntry, ...]:
        """What is known of a tag, the newest first; at most two, of different digests."""
        stored = await self._stored(key)
        waiting = self._waiting.get(key)
        if stored is None or waiting is None or stored.imported:
            return tuple(entry for entry in (stored or waiting,) if entry)
        first = newer(stored, waiting, self._wall())
        if stored.digest == waiting.digest:
            return (first,)
        return (waiting, stored) if first is waiting else (stored, waiting)

    def known(self, key: TagKey) -> TagEntry | None:
        """The newest of ``view``, where that is known without asking the disk."""
        return None if key in self._waiting else self._shelves.known_tag(*key)

    async def told(self, key: TagKey) -> TagEntry | None:
        """Upstream's last word on a tag, whatever was imported under its name."""
        stored, waiting = await self._stored(key), self._waiting.get(key)
        if stored is None or stored.imported or waiting is None:
            return waiting if stored is None or stored.imported else stored
        return newer(stored, waiting, self._wall())

    async def _stored(self, key: TagKey) -> TagEntry | None:
        return await if_possible(self._observe, "read a tag", self._shelves.read_tag(*key))

    async def propose(self, key: TagKey, entry: TagEntry) -> None:
        """Upstream said at ``entry.checked_at`` that the tag means this."""
        self._waiting[key] = newer(self._waiting.get(key), entry, self._wall())
        self._waiting.move_to_end(key)
        while len(self._waiting) > self._most:
            self._waiting.popitem(last=False)
        await self._settle(key)

    async def alone(self, key: TagKey, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do ``work`` on the file of a tag while nobody else writes it; what waits is written then.

        Raises what ``work`` does. Cancelling does not stop it.
        """
        found: list[T] = []

        async def both() -> None:
            found.append(await work())
            await self._write(key)

        while key in self._writers:
            try:
                await self._writers.run(key, both)
            except CancelledError:
                raise
            except Exception:  # noqa: S112 -- another's, who is told of it
                continue
        await self._writers.run(key, both)
        return found[0]

    def forget(self, key: TagKey) -> None:
        """What waits of a tag is not wanted any more."""
        self._waiting.pop(key, None)

    async def settle(self, digest: Digest) -> None:
        """The manifest ``digest`` is on disk now: so may be the entries that wait for it."""
        text = str(digest)
        for key in [key for key, entry in self._waiting.items() if entry.digest == text]:
            await self._settle(key)

    async def _settle(self, key: TagKey) -> None:
        if self._may_write(key) is not None:
            await self._writers.run(key, lambda: self._write(key))

    def _may_write(self, key: TagKey) -> TagEntry | None:
        entry = self._waiting.get(key)
        if entry is None or not self._shelves.has_manifest(Digest.parse(entry.digest)):
            return None
        return entry

    async def _write(self, key: TagKey) -> None:
        """Write until nothing newer waits, so that no older check ever comes last."""
        while (entry := self._may_write(key)) is not None:
            attempt = self._replace(key, entry)
            if not await if_possible(self._observe, "write a tag", attempt):
                return
            if self._waiting.get(key) is entry:
                del self._waiting[key]

    async def _replace(self, key: TagKey, entry: TagEntry) -> bool:
        """True once the disk has the newer of the two. Raises StoreFailure."""
        stored = await self._shelves.read_tag(*key)
        if stored is not None and stored.imported:
            # Upstream's word is for peers then, and stays in memory.
            return False
        if newer(stored, entry, self._wall()) is entry:
            kept = attrs.evolve(entry, pinned=stored is not None and stored.pinned)
            await self._shelves.write_tag(*key, kept)
        return True

    def stop(self) -> None:
        self._writers.stop()
