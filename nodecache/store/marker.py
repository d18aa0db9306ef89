"""The running marker: after an unclean stop it tells since when nothing is to be trusted.

The file is there while the process runs and is removed by a clean stop. It
holds one number, the wall clock when it was last written, and is rewritten in
place, which needs no room on a full disk. What was written later than that,
less a margin, may be damaged although it was synced: disks lie.

An old marker makes more suspects, never fewer, so its rewriting is not synced.

Where there is no room for one at the start, no blob is committed until there
is. One that was removed, or whose file system was mounted anew, is made again.
"""

from __future__ import annotations

import errno
import os
import re
from contextlib import suppress

from nodecache.store.disk import FULL, Disk
from nodecache.store.records import ensure_folder

#: Seconds before the last marker that are not trusted either.
MARGIN = 30.0

_NUMBER = re.compile(rb"[0-9]{1,15}\.[0-9]{3}\n")


def read_marker(disk: Disk, path: str) -> float | None:
    """Blocks. None after a clean stop; else files last changed after this are suspects.

    0 when the marker can not be read: everything is suspect then.
    """
    try:
        fd = disk.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    except OSError:
        return 0.0
    try:
        found = disk.pread(fd, 64, 0)
    except OSError:
        return 0.0
    finally:
        disk.close(fd)
    return max(0.0, float(found) - MARGIN) if _NUMBER.fullmatch(found) else 0.0


def same_file(disk: Disk, fd: int, path: str) -> bool:
    """Blocks. Whether ``path`` leads to what ``fd`` is open on. Raises OSError."""
    try:
        there = disk.stat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(disk.stat(fd), there)


class Marker:
    """The marker of a running store. All methods block.

    ``written_at`` is what it says now, or is to say; ``stands`` whether it is on disk.
    """

    def __init__(self, disk: Disk, path: str, now: float) -> None:
        """Raises OSError, but for a full disk."""
        self.written_at = now
        self.stands = False
        self._disk = disk
        self._path = path
        self._fd: int | None = None
        try:
            self.write(now)
        except OSError as error:
            if error.errno not in FULL:
                self.close()
                raise

    def write(self, now: float) -> None:
        """Raises OSError."""
        self.written_at = now
        if self._fd is not None and not same_file(self._disk, self._fd, self._path):
            self.close()
        if self._fd is None:
            ensure_folder(self._disk, os.path.dirname(self._path))
            self._fd = self._disk.open(self._path, os.O_WRONLY | os.O_CREAT)
        line = b"%019.3f\n" % now
        if self._disk.pwritev(self._fd, [line], 0) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._path)
        if not self.stands:
            self._disk.fsync(self._fd)
            self._disk.sync_folder(os.path.dirname(self._path))
            self.stands = True

    def remove(self) -> None:
        """The stop was clean."""
        with suppress(OSError):
            self._disk.unlink(self._path)
            self._disk.sync_folder(os.path.dirname(self._path))

    def close(self) -> None:
        """Leave the file as it is."""
        fd, self._fd, self.stands = self._fd, None, False
        if fd is not None:
            self._disk.close(fd)
