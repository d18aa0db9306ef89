"""Small files, written as a whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import count

from nodecache.limits import KIB
from nodecache.store.disk import Disk, translated, write_all

#: The longest file of a tag that is believed.
TAG_BYTES = 16 * KIB

_NUMBERS = count()


def ensure_folder(disk: Disk, path: str) -> None:
    """Blocks. Make a folder and its parents, durably. Raises OSError."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    ensure_folder(disk, parent)
    disk.mkdir(path)
    disk.sync_folder(parent)


def write_file(
    disk: Disk, scratch: str, path: str, data: bytes, at: float, *, named: bool = True
) -> None:
    """Blocks. Put ``data`` at ``path``, durably, last used at ``at``.

    After a crash there is the old content or the new, never less. With
    ``named`` False the name is not durable before another file of the same
    folder is written. Raises NoRoom, StoreFailure.
    """
    with translated(f"write {os.path.basename(path)}"):
        draft = os.path.join(scratch, str(next(_NUMBERS)))
        try:
            fd = disk.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            try:
                write_all(disk, fd, [data], 0)
                disk.used_at(fd, at)
                disk.fsync(fd)
            finally:
                disk.close(fd)
            ensure_folder(disk, os.path.dirname(path))
            disk.rename(draft, path)
            if named:
                disk.sync_folder(os.path.dirname(path))
        except BaseException:
            with suppress(OSError):
                disk.unlink(draft)
            raise


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
