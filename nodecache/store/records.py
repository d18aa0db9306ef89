"""Small files, written as a whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import count
from threading import Lock

from nodecache.limits import KIB
from nodecache.store.disk import Disk, translated, write_all

#: The longest file of a tag that is believed.
TAG_BYTES = 16 * KIB
#: The size of a file that is written to see whether that works.
PROBE = 256 * KIB


def ensure_folder(disk: Disk, path: str) -> None:
    """Blocks. Make a folder and its parents, durably. Raises OSError."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    ensure_folder(disk, parent)
    disk.mkdir(path)
    disk.sync_folder(parent)


class Drafts:
    """Files before they have their names, in ``folder``. All methods block."""

    def __init__(self, disk: Disk, folder: str) -> None:
        self._disk = disk
        self._folder = folder
        self._numbers = count()
        #: No folder goes between its making and the first file in it.
        self._folders = Lock()
        #: Those that could not be removed.
        self._left: set[str] = set()

    def write(self, path: str, data: bytes, at: float, *, named: bool = True) -> None:
        """Put ``data`` at ``path``, durably, last used at ``at``.

        After a crash there is the old content or the new, never less. With
        ``named`` False the name is not durable before another file of the same
        folder is written. Raises NoRoom, StoreFailure; ``path`` may then have
        the new content.
        """
        disk = self._disk
        with translated(f"write {os.path.basename(path)}"):
            draft = os.path.join(self._folder, str(next(self._numbers)))
            try:
                self._fill(draft, data, at)
                self._rename(draft, path)
            except BaseException:
                self._remove(draft)
                raise
            if named:
                disk.sync_folder(os.path.dirname(path))

    def _rename(self, draft: str, path: str) -> None:
        with self._folders:
            ensure_folder(self._disk, os.path.dirname(path))
            self._disk.rename(draft, path)

    def remove_empty(self, folder: str, root: str) -> None:
        """Remove ``folder`` and those above it, up to ``root``, as far as they hold nothing."""
        with self._folders, suppress(OSError):
            while folder != root:
                self._disk.rmdir(folder)
                folder = os.path.dirname(folder)

    def _fill(self, draft: str, data: bytes, at: float) -> None:
        disk = self._disk
        fd = disk.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            write_all(disk, fd, [data], 0)
            disk.used_at(fd, at)
            disk.fsync(fd)
        finally:
            disk.close(fd)

    def _remove(self, draft: str) -> None:
        try:
            self._disk.unlink(draft)
        except FileNotFoundError:
            self._left.discard(draft)
        except OSError:
            self._left.add(draft)
        else:
            self._left.discard(draft)

    def probe(self) -> None:
        """Find out whether the disk takes a file. Raises NoRoom, StoreFailure."""
        draft = os.path.join(self._folder, str(next(self._numbers)))
        try:
            with translated("write a file to see whether that works"):
                self._fill(draft, bytes(PROBE), 0.0)
        finally:
            self._remove(draft)

    @property
    def left(self) -> int:
        """Files that ``sweep`` has to remove."""
        return len(self._left)

    def sweep(self) -> None:
        """Remove what could not be removed before, as far as that works now."""
        for draft in tuple(self._left):
            self._remove(draft)


def read_file(disk: Disk, path: str, most: int) -> bytes | None:
    """Blocks. The content of a file of at most ``most`` bytes; None if it is not to be had.

    Raises OSError only for what is not the file's fault.
    """
    try:
        fd = disk.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        size = disk.stat(fd).st_size
        return disk.pread(fd, size, 0) if size <= most else None
    except OSError:
        return None
    finally:
        disk.close(fd)


def remove_file(disk: Disk, path: str) -> None:
    """Blocks. Remove what a failed write may have left, as far as that works."""
    with suppress(OSError):
        disk.unlink(path)
