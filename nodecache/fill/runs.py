"""Bytes that wait for the disk, as runs that lie one behind the other."""

from __future__ import annotations

from collections import deque

from nodecache.fill.assembly import Piece


class _Run:
    """Chunks one behind the other; ``start`` is the offset of the first, ``size`` that of all."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.size = 0
        self._chunks: deque[bytes] = deque()

    @property
    def stop(self) -> int:
        return self.start + self.size

    def append(self, data: bytes) -> None:
        self._chunks.append(data)
        self.size += len(data)

    def take(self, most: int) -> Piece:
        """The first of it, at most ``most`` bytes; only a chunk bigger than that is cut."""
        if len(self._chunks[0]) > most:
            chunk = self._chunks.popleft()
            self._chunks.extendleft((chunk[most:], chunk[:most]))
        start, taken, size = self.start, [], 0
        while self._chunks and size + len(self._chunks[0]) <= most:
            taken.append(self._chunks.popleft())
            size += len(taken[-1])
        self.start += size
        self.size -= size
        return Piece(start, taken, size)

    def put_back(self, piece: Piece) -> None:
        self._chunks.extendleft(reversed(piece.chunks))
        self.start -= piece.size
        self.size += piece.size


class Queue:
    """One run for each connection, more or less; ``size`` is that of all, in bytes."""

    def __init__(self) -> None:
        self._runs: list[_Run] = []
        self.size = 0

    def __len__(self) -> int:
        """How many runs."""
        return len(self._runs)

    def is_one_from(self, offset: int) -> bool:
        """Whether all that waits is one run, which begins there."""
        return len(self._runs) == 1 and self._runs[0].start == offset

    def put(self, offset: int, data: bytes) -> None:
        run = next((run for run in self._runs if run.stop == offset), None)
        if run is None:
            run = _Run(offset)
            self._runs.append(run)
        run.append(data)
        self.size += len(data)

    def take(self, front: int, wanted: int, most: int) -> Piece | None:
        """A piece of at most ``most`` bytes, of a run that has ``wanted``; None if none has.

        The run at ``front`` is taken first: readers and the digest wait for it.
        Otherwise it is the oldest.
        """
        ripe = [run for run in self._runs if run.size >= wanted]
        run = next((run for run in ripe if run.start == front), ripe[0] if ripe else None)
        if run is None:
            return None
        piece = run.take(most)
        self.size -= piece.size
        if not run.size:
            self._runs.remove(run)
        return piece

    def put_back(self, piece: Piece) -> None:
        """A piece that was taken and could not be written."""
        run = next((run for run in self._runs if run.start == piece.offset + piece.size), None)
        if run is None:
            run = _Run(piece.offset + piece.size)
            self._runs.insert(0, run)
        run.put_back(piece)
        self.size += piece.size

    def drop_from(self, offset: int) -> None:
        """Forget runs that begin at ``offset`` or behind it."""
        for run in [run for run in self._runs if run.start >= offset]:
            self._runs.remove(run)
            self.size -= run.size
