"""The system calls of the store, in one place where a test can make any of them fail."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import attrs

from nodecache.failures import NoRoom, StoreFailure

#: Buffers that one pwritev takes (Linux: UIO_MAXIOV).
IOV_MAX = 1024
#: Errors that mean "full", by the disk or by a quota.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

_PUNCH_HOLE = 0x02  # FALLOC_FL_PUNCH_HOLE, linux/falloc.h
_WRITE = 0x02  # SYNC_FILE_RANGE_WRITE, linux/fs.h
_KEEP_SIZE = 0x01  # FALLOC_FL_KEEP_SIZE; the kernel demands it with the former


def _fallocate() -> ctypes._NamedFuncPointer:
    # os.posix_fallocate knows no modes. fallocate64 has 64-bit offsets on every
    # machine; musl has it under the plain name only.
    libc = ctypes.CDLL(None, use_errno=True)
    call = libc.fallocate64 if hasattr(libc, "fallocate64") else libc.fallocate
    call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    call.restype = ctypes.c_int
    return call


def _sync_file_range() -> ctypes._NamedFuncPointer:
    call = ctypes.CDLL(None, use_errno=True).sync_file_range
    call.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    call.restype = ctypes.c_int
    return call


@attrs.frozen
class Space:
    """What the file system has left for us, and in all; no inodes where it does not count them."""

    free: int
    total: int
    inodes_free: int | None
    inodes: int | None


@contextmanager
def translated(operation: str) -> Iterator[None]:
    """Turn OSError into NoRoom (full disk, full quota) or StoreFailure."""
    try:
        yield
    except OSError as error:
        raise as_failure(operation, error) from error


def as_failure(operation: str, error: OSError) -> StoreFailure:
    """NoRoom for a full disk or quota, else StoreFailure."""
    kind = NoRoom if error.errno in FULL else StoreFailure
    return kind(f"{operation}: {error.strerror or error}")


def let_go(fd: int) -> None:
    """Close a descriptor. Raises nothing: it is gone whatever ``close`` says.

    What that has to say about earlier writes, fsync has said or checksums will.
    """
    with suppress(OSError):
        os.close(fd)


class Disk:
    """Blocking calls; each raises OSError, but for ``close``. Paths are absolute."""

    def open(self, path: str, flags: int) -> int:
        """A descriptor of a regular file; a symbolic link is refused."""
        return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def close(self, fd: int) -> None:
        let_go(fd)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        return os.pread(fd, size, offset)

    def forget(self, fd: int, start: int, size: int) -> None:
        """Drop a part of a file from the page cache."""
        os.posix_fadvise(fd, start, size, os.POSIX_FADV_DONTNEED)

    def pwritev(self, fd: int, chunks: Sequence[bytes | memoryview], offset: int) -> int:
        return os.pwritev(fd, chunks, offset)

    def append(self, fd: int, data: bytes) -> int:
        """One write to a descriptor opened with O_APPEND."""
        return os.write(fd, data)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def punch(self, fd: int, start: int, stop: int) -> None:
        """Give the blocks wholly within ``[start, stop)`` back to the file system."""
        if _fallocate()(fd, _PUNCH_HOLE | _KEEP_SIZE, start, stop - start):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    def allocate(self, fd: int, size: int) -> None:
        """Take the blocks of the first ``size`` bytes of a file, which does not grow by it."""
        if _fallocate()(fd, _KEEP_SIZE, 0, size):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    def begin_writing(self, fd: int, start: int, size: int) -> None:
        """Have the kernel write these bytes to the disk from now on; does not wait for that.

        It takes no note of errors of earlier writes, which are left for fsync.
        """
        if _sync_file_range()(fd, start, size, _WRITE):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    def fsync(self, fd: int) -> None:
        os.fsync(fd)

    def open_folder(self, path: str) -> int:
        """A descriptor of a folder; a symbolic link is refused."""
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)

    def sync_folder(self, path: str) -> None:
        """Make the names in a folder durable."""
        fd = self.open_folder(path)
        try:
            self.fsync(fd)
        finally:
            self.close(fd)

    def rename(self, source: str, target: str) -> None:
        os.rename(source, target)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def mkdir(self, path: str) -> None:
        """Make a folder and its parents, for this user only; one that exists is left alone."""
        try:
            os.makedirs(path, mode=0o700, exist_ok=True)
        except FileExistsError:
            # It takes what it can not look at for a file: what the disk said comes from here.
            if not stat.S_ISDIR(os.stat(path).st_mode):
                raise

    def rmdir(self, path: str) -> None:
        os.rmdir(path)

    def stat(self, target: str | int) -> os.stat_result:
        if isinstance(target, int):
            return os.fstat(target)
        return os.stat(target, follow_symlinks=False)

    def used_at(self, target: str | int, when: float) -> None:
        """Set the time of the last use (mtime), seconds since the epoch."""
        nanoseconds = int(when * 1e9)
        os.utime(target, ns=(nanoseconds, nanoseconds))

    def space(self, path: str) -> Space:
        found = os.statvfs(path)
        return Space(
            free=found.f_bavail * found.f_frsize,
            total=found.f_blocks * found.f_frsize,
            inodes_free=found.f_favail if found.f_files else None,
            inodes=found.f_files or None,
        )


def allocated(found: os.stat_result) -> int:
    """Bytes that a file, sparse perhaps, takes on disk."""
    return found.st_blocks * 512


def write_all(disk: Disk, fd: int, chunks: Sequence[bytes], offset: int) -> int:
    """Write ``chunks`` one behind the other from ``offset``; returns the bytes written."""
    start = offset
    todo: list[bytes | memoryview] = [chunk for chunk in chunks if chunk]
    while todo:
        written = disk.pwritev(fd, todo[:IOV_MAX], offset)
        offset += written
        while todo and written >= len(todo[0]):
            written -= len(todo.pop(0))
        if written:
            todo[0] = memoryview(todo[0])[written:]
    return offset - start
