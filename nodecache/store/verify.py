"""Reading a file again to see whether it is what its name says."""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import stat
from collections.abc import Awaitable, Callable

from nodecache.limits import MIB
from nodecache.seams import DiskPool
from nodecache.store.disk import Disk, as_failure

#: Bytes that one disk job reads and hashes, and that are in memory at a time.
SLICE = 4 * MIB
CHUNK = 1 * MIB

#: Errors that say something about this process or machine, not about the file.
_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR})


class Damaged(Exception):
    """The file is gone, short, unreadable, or not what its name says."""


def open_whole(disk: Disk, path: str, size: int) -> int:
    """Blocks. A descriptor of the regular file of exactly ``size`` bytes at ``path``.

    Raises Damaged; StoreFailure when this process can not open files now.
    """
    try:
        fd = disk.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in _OURS:
            raise as_failure("open a file", error) from error
        raise Damaged(f"{path}: {error.strerror}") from error
    try:
        found = disk.stat(fd)
    except OSError as error:
        disk.close(fd)
        raise Damaged(f"{path}: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode) or found.st_size != size:
        disk.close(fd)
        raise Damaged(f"{path}: has {found.st_size} bytes, not {size}")
    return fd


async def hash_file(
    pool: DiskPool,
    disk: Disk,
    path: str,
    size: int,
    pause: Callable[[int], Awaitable[None]] | None = None,
    *,
    from_disk: bool = False,
) -> str:
    """The SHA-256 of the file, in hex; ``pause`` is awaited with the bytes of each slice.

    With ``from_disk`` the page cache is passed by, as well as it goes. The
    file is opened anew for each slice, so that there is no descriptor to be
    lost when this is cancelled. Raises Damaged, StoreFailure.
    """
    hasher = hashlib.sha256()

    def hash_slice(start: int) -> int:
        fd = open_whole(disk, path, size)
        stop = min(size, start + SLICE)
        try:
            if from_disk:
                disk.forget(fd, start, stop - start)
            _hash_slice(disk, fd, start, stop, hasher.update)
            if from_disk:
                disk.forget(fd, start, stop - start)
        except OSError as error:
            raise Damaged(f"{path}: {error.strerror}") from error
        finally:
            disk.close(fd)
        return stop - start

    done = 0
    while done < size:
        got = await pool.run(functools.partial(hash_slice, done))
        done += got
        if pause is not None:
            await pause(got)
    return hasher.hexdigest()


def _hash_slice(
    disk: Disk, fd: int, start: int, stop: int, update: Callable[[bytes], None]
) -> None:
    offset = start
    while offset < stop:
        data = disk.pread(fd, min(CHUNK, stop - offset), offset)
        if not data:
            raise Damaged("the file has become shorter")
        update(data)
        offset += len(data)
