"""The running marker: after an unclean stop it tells since when nothing is to be trusted.

The file is there while the process runs and is removed by a clean stop. It
holds one number, the wall clock when it was last written, and is rewritten in
place, which needs no room on a full disk. What was written later than that,
less a margin, may be damaged although it was synced: disks lie.

An old marker makes more suspects, never fewer, so its rewriting is not synced.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress

from nodecache.store.disk import Disk

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


class Marker:
    """The marker of a running store; ``written_at`` is what it says now. All methods block."""

    def __init__(self, disk: Disk, path: str, now: float) -> None:
        self.written_at = now
        self._disk = disk
        self._path = path
        self._fd = disk.open(path, os.O_WRONLY | os.O_CREAT)
        self.write(now)
        disk.fsync(self._fd)
        disk.sync_folder(os.path.dirname(path))

    def write(self, now: float) -> None:
        """Raises OSError."""
        self._disk.pwritev(self._fd, [b"%019.3f\n" % now], 0)
        self.written_at = now

    def remove(self) -> None:
        """The stop was clean."""
        with suppress(OSError):
            self._disk.unlink(self._path)
            self._disk.sync_folder(os.path.dirname(self._path))

    def close(self) -> None:
        with suppress(OSError):
            self._disk.close(self._fd)
