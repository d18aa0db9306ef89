"""What is on disk, when it was last used, and who reads it: the ledger and what goes with it.

Nothing here touches the disk. All of it happens in the reactor.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import attrs

from nodecache.events import CacheSize
from nodecache.eviction import Ledger, whole_blocks
from nodecache.seams import Observe, WallClock
from nodecache.store.keys import Entries, Entry, Key, Kind, kind_of

#: Seconds between two writes of a time of last use to the file itself.
TOUCH = 3600.0
#: The ledger keeps whole seconds; what it says may be earlier by this.
SECOND = 0.999
#: Seconds by which the time that was set and the one that is found may differ.
GRAIN = 0.001


@attrs.frozen
class Gone:
    """An entry that has left the ledger and is about to leave the disk."""

    key: Key
    size: int
    used_at: float


class Accounts:
    """The index of the store, in memory.

    ``hidden`` could be neither used nor removed: accounted for, not served.
    ``suspects`` are to be hashed before they are served.
    """

    def __init__(self, cap: int, wall: WallClock, observe: Observe) -> None:
        self.ledger: Ledger[Key] = Ledger(cap)
        self.hidden: set[Key] = set()
        self.suspects: set[Key] = set()
        self.counts: Counter[Kind] = Counter()
        self._wall = wall
        self._observe = observe
        self._touched: dict[Key, float] = {}
        self._readers: Counter[Key] = Counter()
        self._ghosts: dict[Key, int] = {}

    def has(self, key: Key) -> bool:
        return key in self.ledger and key not in self.hidden

    def size(self, key: Key) -> int | None:
        """Exact, in bytes; None for what is not served."""
        return None if key in self.hidden else self.ledger.size(key)

    def load(self, blobs: Entries, others: Sequence[Entry], partials: Sequence[Entry]) -> None:
        """What is on disk and not in the ledger yet. ``others`` end up among ``blobs``."""
        self.counts.update({Kind.BLOB: len(blobs), Kind.PARTIAL: len(partials)})
        blobs.extend(Entries(others))
        self.ledger.load(blobs)
        self.ledger.load(partials, partial=True)
        self.counts.update(kind_of(key) for key, _, _ in others)

    def add(self, key: Key, size: int, *, reserved: int = 0) -> None:
        """An entry is on disk; ``reserved`` is what a reservation's ``take`` gave for it."""
        if key not in self.ledger:
            self.counts[kind_of(key)] += 1
        self._forget_about(key)
        self.ledger.unreserve(reserved)
        self.ledger.add(key, size, self._wall(), partial=kind_of(key) is Kind.PARTIAL)
        self.tell()

    def put_back(self, key: Key, size: int, used_at: float) -> None:
        """A partial is on disk, and nobody has used it since ``used_at``: its turn is as it was."""
        self.add(key, size)
        self.ledger.load([(key, size, used_at)], partial=True)

    def forget(self, keys: Iterable[Key]) -> list[Gone]:
        """Take entries out, ahead of their files."""
        gone = []
        for key in keys:
            size, used_at = self.ledger.size(key), self.ledger.used_at(key)
            if size is not None and used_at is not None:
                self.ledger.remove(key)
                self._forget_about(key)
                self.counts[kind_of(key)] -= 1
                gone.append(Gone(key, size, used_at))
        return gone

    def _forget_about(self, key: Key) -> None:
        self.hidden.discard(key)
        self.suspects.discard(key)
        self._touched.pop(key, None)

    def used(self, key: Key) -> float | None:
        """Record a use; returns the time to write to its file when that is due."""
        if key not in self.ledger:
            return None
        now = self._wall()
        last = self._touched.setdefault(key, (self.ledger.used_at(key) or 0) + SECOND)
        self.ledger.touch(key, now)
        if abs(now - last) < TOUCH:
            return None
        self._touched[key] = now
        return now

    def wrote(self, key: Key, when: float) -> None:
        """The file has this time of last use."""
        self._touched[key] = when

    def newest(self, key: Key) -> float:
        """A file whose time is later than this was changed by somebody else."""
        return self._touched.get(key, (self.ledger.used_at(key) or 0) + SECOND) + GRAIN

    def reserve(self, size: int) -> int:
        """Speak for room that a plan found; returns bytes in whole blocks."""
        blocks = self.ledger.reserve(size)
        self.tell()
        return blocks

    def give_back(self, blocks: int) -> None:
        if blocks:
            self.ledger.unreserve(blocks)
            self.tell()

    def pin(self, key: Key) -> None:
        """A reader has come; its entry does not go."""
        self._readers[key] += 1
        self.ledger.pin(key)

    def unpin(self, key: Key) -> None:
        self._readers[key] -= 1
        self.ledger.unpin(key)
        if not self._readers[key]:
            del self._readers[key]
            self.give_back(self._ghosts.pop(key, 0))

    def haunt(self, gone: Gone) -> None:
        """It is unlinked while it is read: its bytes come back with its last reader."""
        if gone.key in self._readers:
            size = min(whole_blocks(gone.size), max(0, self.ledger.free))
            self._ghosts[gone.key] = self._ghosts.get(gone.key, 0) + self.ledger.reserve(size)

    def tell(self) -> None:
        ledger, counts = self.ledger, self.counts
        self._observe(
            CacheSize(
                bytes=ledger.used,
                reserved=ledger.reserved,
                blobs=counts[Kind.BLOB],
                manifests=counts[Kind.MANIFEST],
            )
        )
