"""Many entries of a ledger at once, as a start finds them."""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Iterable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Columns(Generic[K]):
    """Key, size in bytes, time of last use in seconds since the epoch: a column for each.

    No tuple, int and float for each of a million.
    """

    def __init__(self, entries: Iterable[tuple[K, int, float]] = ()) -> None:
        self.keys: list[K] = []
        self.sizes = array("q")
        self.times = array("d")
        for entry in entries:
            self.append(entry)

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[tuple[K, int, float]]:
        return zip(self.keys, self.sizes, self.times, strict=True)

    def append(self, entry: tuple[K, int, float]) -> None:
        """One more."""
        key, size, used_at = entry
        self.keys.append(key)
        self.sizes.append(size)
        self.times.append(used_at)

    def extend(self, others: Columns[K]) -> None:
        """All of ``others``, in their order."""
        self.keys += others.keys
        self.sizes += others.sizes
        self.times += others.times
