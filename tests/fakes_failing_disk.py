"""Any system call of one folder, made to fail: counted first, then the k-th of them.

``tests/fakes_disk.py`` fails calls by name, those that go through the store's own ``Disk``. Here
the calls of the interpreter itself are caught, so that none is missed: ``os.scandir`` of a scan,
``os.dup`` of a reader, ``mkdir`` within ``makedirs``.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import os
from collections.abc import Callable, Iterator
from typing import Any, Final

import attrs

from nodecache.store import disk as disk_module

READS: Final = frozenset(
    {"pread", "preadv", "listdir", "scandir", "stat", "lstat", "fstat", "statvfs"}
)
OPENS: Final = frozenset({"open", "dup", "listdir", "scandir"})
WRITES: Final = frozenset({"pwritev", "pwrite", "write"})
NAMES: Final = frozenset({"mkdir", "rename", "unlink", "rmdir"})
CHANGES: Final = WRITES | NAMES | {"ftruncate", "fsync", "utime", "fallocate"}
EVERY: Final = sorted(READS | OPENS | CHANGES | {"close"})

#: The most that a short write takes.
SHORT: Final = -1


class How(enum.Enum):
    """Which calls fail with the first one."""

    ONCE = "once"
    ALL = "all behind it"
    ALIKE = "all of its name"


@attrs.frozen
class Call:
    """One system call: its name, what it is of, and whether it may make or change a file."""

    name: str
    path: str
    writes: bool


def plausible(call: Call, code: int) -> bool:
    """Whether a kernel answers such a call with ``code``."""
    if code == errno.EIO:
        return True
    if code in (errno.EMFILE, errno.ENFILE):
        return call.name in OPENS
    if code == SHORT:
        return call.name in WRITES
    if code in (errno.ENOSPC, errno.EDQUOT):
        return call.writes and call.name not in {"unlink", "rmdir", "ftruncate"}
    return call.writes and call.name != "close"


@attrs.define
class FailingCalls:
    """Calls on paths under ``folder`` and on descriptors of them, while ``caught`` lasts.

    ``seen`` has all of them. The one whose number is ``at`` fails with ``code``, and of those
    behind it (where that code makes sense) none, all, or those of the same name.
    """

    folder: str
    seen: list[Call] = attrs.Factory(list)
    at: int | None = None
    code: int = 0
    how: How = How.ONCE
    hits: list[Call] = attrs.Factory(list)
    _looking: bool = False

    def arm(self, at: int, code: int, how: How) -> None:
        self.seen.clear()
        self.hits.clear()
        self.at, self.code, self.how = at, code, how

    def mend(self) -> None:
        self.at = None

    @contextlib.contextmanager
    def unseen(self) -> Iterator[None]:
        """For what the test itself looks at."""
        before, self._looking = self._looking, True
        try:
            yield
        finally:
            self._looking = before

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        real = {name: getattr(os, name) for name in EVERY if hasattr(os, name)}
        fallocate = disk_module._fallocate()
        for name, call in real.items():
            setattr(os, name, self._wrapped(name, call))
        disk_module._fallocate = lambda: self._wrapped("fallocate", fallocate)  # type: ignore[assignment,return-value]
        try:
            yield
        finally:
            for name, call in real.items():
                setattr(os, name, call)
            disk_module._fallocate = lambda: fallocate

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            path = None if self._looking else self._path(args[0] if args else ".")
            if path is None:
                return real(*args, **named)
            made = Call(name, path, _writes(name, args))
            self.seen.append(made)
            if not self._strikes(made):
                return real(*args, **named)
            self.hits.append(made)
            if self.code == SHORT:
                return real(*_halved(name, args), **named)
            if name == "close":  # the descriptor is gone all the same
                real(*args, **named)
            raise OSError(self.code, os.strerror(self.code), path)

        return call

    def _strikes(self, made: Call) -> bool:
        if self.at is None or not plausible(made, self.code):
            return False
        number = len(self.seen) - 1
        if number <= self.at or self.how is How.ONCE:
            return number == self.at
        return self.how is How.ALL or made.name == self.seen[self.at].name

    def _path(self, target: Any) -> str | None:
        with self.unseen():
            try:
                path = os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else target
            except OSError:
                return None
            path = os.path.abspath(os.fsdecode(path))
        return path if path == self.folder or path.startswith(self.folder + os.sep) else None


def _writes(name: str, args: tuple[Any, ...]) -> bool:
    if name == "open":
        return bool(args[1] & (os.O_CREAT | os.O_WRONLY | os.O_RDWR))
    return name in CHANGES or name == "close"


def _halved(name: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same call, for half of the first buffer."""
    fd, data, *rest = args
    if name == "pwritev":
        first = memoryview(data[0])
        return (fd, [first[: max(1, len(first) // 2)]], *rest)
    first = memoryview(data)
    return (fd, first[: max(1, len(first) // 2)], *rest)
