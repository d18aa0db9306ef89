"""One order of eviction, and how its entries are packed.

An entry costs a dict slot and one int (about 80 bytes, its key apart): the
size above the low STAMP_BITS, and in them the last use in whole seconds.
"""

from __future__ import annotations

from typing import Generic

from nodecache.eviction.columns import Columns, K

#: Bytes; the allocation unit of ext4 and xfs as they are commonly made.
BLOCK = 4096

_STAMP_BITS = 34  # seconds since the epoch, good for the next five centuries
_STAMP_MOST = (1 << _STAMP_BITS) - 1


def whole_blocks(size: int) -> int:
    """``size`` in bytes, rounded up to whole blocks."""
    return -(-size // BLOCK) * BLOCK


def pack(size: int, used_at: float) -> int:
    """Raises ValueError for a negative size; times outside the range are moved to its end."""
    if size < 0:
        raise ValueError(f"size is {size}")
    return size << _STAMP_BITS | min(max(0, int(used_at)), _STAMP_MOST)


def size_of(packed: int) -> int:
    """Exact size in bytes."""
    return packed >> _STAMP_BITS


def used_at_of(packed: int) -> int:
    """Last use in whole seconds since the epoch."""
    return packed & _STAMP_MOST


def blocks(packed: int) -> int:
    """What the entry is counted as: its size in whole blocks, in bytes."""
    return whole_blocks(packed >> _STAMP_BITS)


class Shelf(Generic[K]):
    """One order of eviction. ``free`` may go, oldest first; ``kept`` may not go now."""

    def __init__(self) -> None:
        self.free: dict[K, int] = {}
        self.kept: dict[K, int] = {}
        self.free_bytes = 0
        self.kept_bytes = 0

    def find(self, key: K) -> int | None:
        found = self.free.get(key)
        return self.kept.get(key) if found is None else found

    def put(self, key: K, packed: int, *, kept: bool) -> None:
        if kept:
            self.kept[key] = packed
            self.kept_bytes += blocks(packed)
        else:
            self.free[key] = packed
            self.free_bytes += blocks(packed)

    def pop(self, key: K) -> int | None:
        packed = self.free.pop(key, None)
        if packed is not None:
            self.free_bytes -= blocks(packed)
            return packed
        packed = self.kept.pop(key, None)
        if packed is not None:
            self.kept_bytes -= blocks(packed)
        return packed

    def load(self, entries: Columns[K]) -> None:
        """Merge ``entries`` into the free ones, by last use."""
        if self.free:
            here = ((k, size_of(packed), used_at_of(packed)) for k, packed in self.free.items())
            both = Columns(here)
            both.extend(entries)
            entries = both
        self.free = _packed(entries)
        # Written out: it is done a million times.
        self.free_bytes = BLOCK * sum([-(-size // BLOCK) for size in entries.sizes])


def _packed(entries: Columns[K]) -> dict[K, int]:
    """``pack`` for a million at a time, in the order of their last use.

    What is sorted in parts already takes but a merge of these. The checks of ``pack`` are made
    once, for the ends.
    """
    keys, sizes, times = entries.keys, entries.sizes, entries.times
    order = sorted(range(len(keys)), key=times.__getitem__)
    if not order:
        return {}
    if min(sizes) < 0 or not 0 <= times[order[0]] <= times[order[-1]] < _STAMP_MOST:
        return {keys[at]: pack(sizes[at], times[at]) for at in order}
    return {keys[at]: sizes[at] << _STAMP_BITS | int(times[at]) for at in order}
