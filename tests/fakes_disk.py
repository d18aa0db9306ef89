"""Doubles for the disk: a pool without threads, and a disk on which calls can be made to fail."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TypeVar

from twisted.internet.defer import Deferred, execute

from nodecache.seams import DiskPool
from nodecache.store.disk import Disk, Space

T = TypeVar("T")


class InlinePool(DiskPool):
    """Runs each job at once, in the caller's thread."""

    def run(self, job: Callable[[], T]) -> Deferred[T]:
        done: Deferred[T] = execute(job)
        return done


class HeldPool(DiskPool):
    """Runs jobs when told to, in order: for what happens between two turns."""

    def __init__(self) -> None:
        self.held: list[tuple[Callable[[], object], Deferred[object]]] = []

    def run(self, job: Callable[[], T]) -> Deferred[T]:
        done: Deferred[T] = Deferred()
        self.held.append((job, done))  # type: ignore[arg-type]  # each pair has one T of its own
        return done

    def step(self) -> bool:
        """Run the job that came first; False when there is none."""
        if not self.held:
            return False
        job, done = self.held.pop(0)
        execute(job).addBoth(_pass_on, done)
        return True

    def flush(self) -> None:
        """Run jobs until there are no more."""
        while self.step():
            pass


class FaultyDisk(Disk):
    """The real disk, but ``fail`` makes calls of one name raise.

    ``calls`` lists the names of the calls made; ``room`` replaces what the
    file system says about its free space. ``short_writes`` and ``short_appends``
    are the most bytes that one call takes, where not 0.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.room: Space | None = None
        self.short_writes = 0
        self.short_appends = 0
        self._faults: dict[str, tuple[int, int, int, str]] = {}

    def fail(
        self, call: str, code: int, *, times: int = 1 << 30, after: int = 0, where: str = ""
    ) -> None:
        """``call`` raises ``code`` on paths with ``where`` in them: ``times``, ``after`` some."""
        self._faults[call] = (code, times, after, where)

    def mend(self) -> None:
        self._faults.clear()

    def _check(self, call: str, target: object = "") -> None:
        self.calls.append(call)
        code, times, after, where = self._faults.get(call, (0, 0, 0, ""))
        if not times or where not in _path(target):
            return
        if after:
            self._faults[call] = (code, times, after - 1, where)
            return
        self._faults[call] = (code, times - 1, 0, where)
        raise OSError(code, os.strerror(code), str(target))

    def open(self, path: str, flags: int) -> int:
        self._check("open", path)
        return super().open(path, flags)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        self._check("pread", fd)
        return super().pread(fd, size, offset)

    def pwritev(self, fd: int, chunks: Sequence[bytes | memoryview], offset: int) -> int:
        self._check("pwritev", fd)
        if self.short_writes:
            chunks = [chunks[0][: self.short_writes]]
        return super().pwritev(fd, chunks, offset)

    def forget(self, fd: int, start: int, size: int) -> None:
        self._check("forget", fd)
        super().forget(fd, start, size)

    def append(self, fd: int, data: bytes) -> int:
        self._check("append", fd)
        if self.short_appends:
            data = data[: self.short_appends]
        return super().append(fd, data)

    def truncate(self, fd: int, size: int) -> None:
        self._check("truncate", fd)
        super().truncate(fd, size)

    def punch(self, fd: int, start: int, stop: int) -> None:
        self._check("punch", fd)
        super().punch(fd, start, stop)

    def begin_writing(self, fd: int, start: int, size: int) -> None:
        self._check("begin_writing", fd)
        super().begin_writing(fd, start, size)

    def fsync(self, fd: int) -> None:
        self._check("fsync", fd)
        super().fsync(fd)

    def open_folder(self, path: str) -> int:
        self._check("open_folder", path)
        return super().open_folder(path)

    def rename(self, source: str, target: str) -> None:
        self._check("rename", target)
        super().rename(source, target)

    def unlink(self, path: str) -> None:
        self._check("unlink", path)
        super().unlink(path)

    def mkdir(self, path: str) -> None:
        self._check("mkdir", path)
        super().mkdir(path)

    def used_at(self, target: str | int, when: float) -> None:
        self._check("used_at", target)
        super().used_at(target, when)

    def space(self, path: str) -> Space:
        self._check("space", path)
        return self.room or super().space(path)


def _pass_on(result: object, done: Deferred[object]) -> None:
    if not done.called:
        done.callback(result)


def _path(target: object) -> str:
    return os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else str(target)
