"""The ledger of the store's room: who is on disk, who goes next, what is spoken for.

Theory of operation. The ledger touches no file. The store asks it before
each write (``plan``, then ``remove`` of the victims, then ``reserve``) and
tells it what became of the reservation (``convert`` or ``unreserve``). As
long as it does so, ``used + reserved`` never exceeds the cap.

Sizes are counted as whole blocks of 4 KiB, as the disk does, so that a
million small files are not a surprise. ``size`` still gives the exact size,
which lets the ledger be the store's only index in memory.

The order of use is the order of calls: ``add``, ``touch`` and the last
``unpin`` put an entry at the young end, whatever the clock said; ``used_at``
is kept for ``load``, which sorts by it, and for telling how long a victim was
idle. Entries that may not go now (pinned by a reader, or held by a user) are
kept out of the order altogether, so that a plan looks at its victims only.
Partials, blobs that are not whole, have an order of their own and go first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Generic

import attrs

from nodecache.eviction.columns import Columns, K
from nodecache.eviction.shelf import Shelf, blocks, pack, size_of, used_at_of, whole_blocks

#: Partials that nobody is filling may take this much of the cap together. The
#: youngest is spared even when it is bigger: its client is likely to return.
PARTIAL_SHARE = 0.1


@attrs.frozen
class Plan(Generic[K]):
    """Who would have to go, oldest first, and whether that would be enough.

    ``victims`` is empty when it would not be: nobody goes in vain.
    """

    victims: tuple[K, ...]
    fits: bool


class Ledger(Generic[K]):
    """Accounts of one store. Keys are the store's own; ``cap`` is in bytes and may be set."""

    def __init__(self, cap: int) -> None:
        self.cap = cap
        self._partial: Shelf[K] = Shelf()
        self._whole: Shelf[K] = Shelf()
        self._shelves = (self._partial, self._whole)
        self._pins: dict[K, int] = {}
        self._held: set[K] = set()
        self._reserved = 0

    @property
    def used(self) -> int:
        """Bytes of all entries, in whole blocks."""
        return self.evictable + sum(shelf.kept_bytes for shelf in self._shelves)

    @property
    def reserved(self) -> int:
        """Bytes spoken for by ``reserve``."""
        return self._reserved

    @property
    def free(self) -> int:
        """Bytes that can be reserved without evicting; negative above the cap."""
        return self.cap - self.used - self._reserved

    @property
    def evictable(self) -> int:
        """Bytes of the entries that may go now."""
        return sum(shelf.free_bytes for shelf in self._shelves)

    def __len__(self) -> int:
        return sum(len(shelf.free) + len(shelf.kept) for shelf in self._shelves)

    def __contains__(self, key: K) -> bool:
        return self._find(key) is not None

    def __iter__(self) -> Iterator[K]:
        """All keys, in no order that means anything."""
        return chain.from_iterable(chain(shelf.free, shelf.kept) for shelf in self._shelves)

    def _find(self, key: K) -> int | None:
        found = self._whole.find(key)
        return self._partial.find(key) if found is None else found

    def size(self, key: K) -> int | None:
        """Exact size in bytes; None when ``key`` is unknown."""
        packed = self._find(key)
        return None if packed is None else size_of(packed)

    def used_at(self, key: K) -> int | None:
        """Last use in whole seconds since the epoch; None when ``key`` is unknown."""
        packed = self._find(key)
        return None if packed is None else used_at_of(packed)

    def pinned(self, key: K) -> bool:
        """True while a reader or a user keeps ``key`` from going."""
        return key in self._pins or key in self._held

    def load(self, entries: Iterable[tuple[K, int, float]], *, partial: bool = False) -> None:
        """Add many (key, size, used_at) at once, ordered by last use; each key once."""
        columns = entries if isinstance(entries, Columns) else Columns(entries)
        if len(self):
            for key in columns.keys:
                self.remove(key)
        (self._partial if partial else self._whole).load(columns)
        for key in [*self._pins, *self._held]:
            self._settle(key)

    def add(self, key: K, size: int, used_at: float, *, partial: bool = False) -> None:
        """Record an entry that is on disk, as the last one used; replaces its older self."""
        packed = pack(size, used_at)
        self.remove(key)
        shelf = self._partial if partial else self._whole
        shelf.put(key, packed, kept=self.pinned(key))

    def remove(self, key: K) -> bool:
        """Forget an entry that is no longer on disk; False if it was unknown.

        Pins outlast it: who reads a file that is gone still owes its ``unpin``.
        """
        return any(shelf.pop(key) is not None for shelf in self._shelves)

    def touch(self, key: K, used_at: float) -> None:
        """Record a use; unknown keys are ignored (the file may just have gone)."""
        for shelf in self._shelves:
            packed = shelf.pop(key)
            if packed is not None:
                packed = pack(size_of(packed), used_at)
                shelf.put(key, packed, kept=self.pinned(key))

    def pin(self, key: K) -> None:
        """Keep ``key`` from going until ``unpin``; counted. It need not be there yet."""
        self._pins[key] = self._pins.get(key, 0) + 1
        self._settle(key)

    def unpin(self, key: K) -> None:
        """Undo one ``pin``. Raises ValueError if there was none."""
        count = self._pins.pop(key, 0)
        if count == 0:
            raise ValueError(f"{key!r} is not pinned")
        if count > 1:
            self._pins[key] = count - 1
        self._settle(key)

    def hold_forever(self, key: K) -> None:
        """A user wants to keep ``key``; not counted, undone by ``release``."""
        self._held.add(key)
        self._settle(key)

    def release(self, key: K) -> None:
        self._held.discard(key)
        self._settle(key)

    def _settle(self, key: K) -> None:
        """Move the entry to where its pins say it belongs; it stays put if it is there."""
        kept = self.pinned(key)
        for shelf in self._shelves:
            if key in (shelf.free if kept else shelf.kept):
                packed = shelf.pop(key)
                assert packed is not None
                shelf.put(key, packed, kept=kept)

    def reserve(self, size: int) -> int:
        """Speak for ``size`` bytes, rounded up to blocks; returns how many.

        Raises ValueError when they do not fit below the cap: ``plan`` first.
        """
        amount = whole_blocks(size)
        if size < 0 or amount > max(0, self.free):
            raise ValueError(f"{size} bytes do not fit, {self.free} are free")
        self._reserved += amount
        return amount

    def unreserve(self, size: int) -> None:
        """Give back ``size`` bytes of what ``reserve`` gave, rounded up to blocks.

        Raises ValueError when that is more than is reserved.
        """
        amount = whole_blocks(size)
        if size < 0 or amount > self._reserved:
            raise ValueError(f"{size} bytes given back of {self._reserved}")
        self._reserved -= amount

    def convert(
        self, reserved: int, key: K, size: int, used_at: float, *, partial: bool = False
    ) -> None:
        """Turn a reservation of ``reserved`` bytes into the entry it was made for.

        Raises ValueError when the entry is bigger than its reservation.
        """
        if whole_blocks(size) > whole_blocks(reserved):
            raise ValueError(f"entry of {size} bytes, reservation of {reserved}")
        self.unreserve(reserved)
        self.add(key, size, used_at, partial=partial)

    def plan(
        self, need: int, disk_free: int, floor: int, *, unwritten: int | None = None, files: int = 0
    ) -> Plan[K]:
        """Who goes so that ``need`` more bytes fit below the cap and above the floor.

        ``disk_free`` and ``floor`` are bytes of the file system. Of what is
        reserved, ``unwritten`` bytes are not on disk yet (all, unless told).
        ``files`` entries go in any case (the file system is short of inodes).
        """
        over = self._over(need, disk_free, floor, unwritten)
        if over > self.evictable or files > sum(len(shelf.free) for shelf in self._shelves):
            return Plan((), fits=False)
        return Plan(tuple(self._victims(over, files)), fits=True)

    def _over(self, need: int, disk_free: int, floor: int, unwritten: int | None) -> int:
        amount = whole_blocks(need)
        pending = self._reserved if unwritten is None else unwritten
        return max(amount - self.free, floor + amount + pending - disk_free)

    def short(self, need: int, disk_free: int, floor: int, *, unwritten: int | None = None) -> int:
        """Bytes that ``need`` lacks though all went that may; 0 or less is enough. As ``plan``."""
        return self._over(need, disk_free, floor, unwritten) - self.evictable

    def trim(
        self, disk_free: int, floor: int, *, unwritten: int | None = None, files: int = 0
    ) -> tuple[K, ...]:
        """Who goes because the store is above its cap, its partials above
        their share, or the disk below the floor; arguments as for ``plan``.

        As many as it takes, and all there are if that is not enough: the
        floor is for the other users of the disk.
        """
        pending = self._reserved if unwritten is None else unwritten
        over = max(-self.free, floor + pending - disk_free)
        both = chain(self._victims(over, files), self._excess_partials())
        return tuple(dict.fromkeys(both))

    def expired(self, before: float) -> tuple[K, ...]:
        """Partials that may go and were last used earlier than ``before``."""
        partials = self._partial.free.items()
        return tuple(key for key, packed in partials if used_at_of(packed) < before)

    def _victims(self, over: int, files: int) -> Iterator[K]:
        for key, packed in chain(self._partial.free.items(), self._whole.free.items()):
            if over <= 0 and files <= 0:
                return
            over -= blocks(packed)
            files -= 1
            yield key

    def _excess_partials(self) -> Iterator[K]:
        over = self._partial.free_bytes - int(self.cap * PARTIAL_SHARE)
        for key in list(self._partial.free)[:-1]:
            if over <= 0:
                return
            over -= blocks(self._partial.free[key])
            yield key
