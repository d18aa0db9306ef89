"""One process owns a data folder."""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress

from nodecache.failures import DataFolderError
from nodecache.store.disk import FULL, Disk, let_go
from nodecache.store.marker import same_file


class FolderLock:
    """Held from the moment it is made until ``release``, or the end of the process.

    ``path`` is that of its file; where the disk has no room for one, the folder
    itself is locked. Raises DataFolderError, naming the process that holds it,
    and OSError.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = _taken(path)

    def renew(self, disk: Disk) -> bool:
        """Blocks. Take it again, if its file was removed since: True. Raises as making it does."""
        if same_file(disk, self._fd, self._path):
            return False
        taken = _taken(self._path)
        let_go(self._fd)
        self._fd = taken
        return True

    def release(self) -> None:
        """The file stays: removing it would let two processes lock two files of one name."""
        let_go(self._fd)


def _taken(path: str) -> int:
    fd = _opened(path)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = _holder(fd)
        let_go(fd)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise DataFolderError(f"in use by {holder}") from error
        raise
    # It is told who holds it as far as the disk takes that: one that is full may not.
    with suppress(OSError):
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
    return fd


def _opened(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        if error.errno not in FULL:
            raise
        return os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _holder(fd: int) -> str:
    """In words."""
    try:
        holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
    except OSError:
        holder = ""
    return f"process {holder}" if holder.isdigit() else "another process"
