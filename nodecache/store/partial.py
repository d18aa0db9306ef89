"""A blob that is not whole yet: a sparse file and the journal of what is in it.

``Partial`` belongs to whoever has it open, until ``keep`` or ``discard``. All
methods block and are called from disk jobs, one job of a partial at a time.
They raise NoRoom when the disk is full and StoreFailure for anything else
that the disk can not do; ``keep`` and ``discard`` raise nothing.

The descriptor outlives the file: after ``Store.commit`` it reads the
committed blob, and it goes on reading when that is removed. It is closed by
``keep`` and ``discard`` only, which after a commit do nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum

from nodecache.byteranges import Span
from nodecache.crc import crc32
from nodecache.eviction import whole_blocks
from nodecache.failures import StoreFailure
from nodecache.limits import KIB, MIB
from nodecache.reference import Digest
from nodecache.segments import block_spans, segment_span
from nodecache.store.disk import FULL, Disk, allocated, as_failure, translated, write_all
from nodecache.store.journal import Known, read_journal, segment_line, total_line
from nodecache.store.records import ensure_folder
from nodecache.store.sizes import partial_bytes

DATA = "data"
JOURNAL = "journal"
#: A journal of 50 bytes a segment and more belongs to no blob that exists.
JOURNAL_BYTES = 64 * MIB


#: Bytes taken ahead of the first of them, so that a fill whose disk others fill up has at least
#: this much to go on through, given back behind its readers and taken again before them.
AHEAD = 256 * KIB


class State(Enum):
    OPEN = "open"
    COMMITTED = "committed"  # its file is the store's; the descriptor still reads it
    KEPT = "kept"
    DISCARDED = "discarded"
    RELEASED = "released"  # closed after a commit


class Partial:
    """``fd`` is for pread and sendfile. ``total`` is in bytes, None while unknown.

    ``whole`` are the indexes of segments that were on disk when this was
    opened and whose checksums matched then.
    """

    def __init__(self, disk: Disk, digest: Digest, folder: str) -> None:
        """Blocks: opens or makes the files. ``folder`` is its own, and need not be there."""
        self.digest = digest
        self.folder = folder
        self.state = State.OPEN
        self.whole: tuple[int, ...] = ()
        #: Bytes on disk when it was opened or kept, and those written since.
        self.allocated = 0
        self.written = 0
        self._disk = disk
        self._torn = False
        #: Bytes that a commit could not remove: a partial without data.
        self.leftover = 0
        #: An fsync failed: pages that never reached the disk may look written.
        self.poisoned = False
        #: What the disk said to the last write that failed; the store takes note of it.
        self.trouble: StoreFailure | None = None
        #: It was committed, and the job that closes it is on its way.
        self.closing = False
        #: When it was last used, where it was opened for no more than a look at it.
        self.used_at: float | None = None
        #: A commit failed that has given it the blob's name already.
        self.stranded = False
        opened: list[int] = []
        with translated("open a partial blob"):
            disk.mkdir(folder)
            try:
                for name, flags in ((DATA, 0), (JOURNAL, os.O_APPEND)):
                    opened.append(disk.open(self._path(name), os.O_RDWR | os.O_CREAT | flags))
                self.fd, self._journal = opened
                self.known = self._read_journal()
                self.allocated = self._measure()
            except BaseException:
                for fd in opened:
                    disk.close(fd)
                raise
        self.total = self.known.total

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def _read_journal(self) -> Known:
        size = min(self._disk.stat(self._journal).st_size, JOURNAL_BYTES)
        return read_journal(self._disk.pread(self._journal, size, 0))

    def _measure(self) -> int:
        """Bytes that data and journal take on disk."""
        return partial_bytes(self._disk.stat(each) for each in (self.fd, self._journal))

    @property
    def path(self) -> str:
        """Where the data lies; of interest until it is committed."""
        return self._path(DATA)

    def check(self, index: int, read: Callable[[bytes], object] | None = None) -> bool:
        """Read a segment of the journal again; True, and in ``whole``, if its checksums match.

        ``read`` is given its blocks in order, up to the first whose checksum does not.
        """
        assert self.total is not None
        spans = block_spans(segment_span(index, self.total))
        sums = self.known.segments[index]
        try:
            good = all(self._matches(*each, read) for each in zip(spans, sums, strict=True))
        except OSError:
            good = False
        if good:
            self.whole = (*self.whole, index)
        return good

    def _matches(self, span: Span, crc: int, read: Callable[[bytes], object] | None) -> bool:
        block = self._disk.pread(self.fd, span.size, span.start)
        good = crc32(block) == crc
        if good and read is not None:
            read(block)
        return good

    def write(self, offset: int, chunks: Sequence[bytes]) -> None:
        """Write ``chunks``, one behind the other, at ``offset``."""
        try:
            with translated("write a blob"):
                self.written += write_all(self._disk, self.fd, chunks, offset)
        except StoreFailure as failure:
            self.trouble = failure
            raise

    def set_total(self, total: int) -> None:
        """The size is known now, and outlasts a restart. A new one forgets the segments."""
        self.total = total
        if total:
            with suppress(OSError):  # a disk that can not is no worse off
                self._disk.allocate(self.fd, min(total, AHEAD))
        self._record(total_line(total))

    def record_segment(self, index: int, crcs: Sequence[int]) -> None:
        """A segment was written: ``crcs`` is the CRC-32 of each of its 1 MiB blocks.

        A disk that does not take it is no failure here: the segment is merely not resumed.
        """
        self._record(segment_line(index, crcs))

    def _record(self, line: bytes) -> None:
        # A line that was cut short must not swallow the one behind it.
        line = b"\n" + line if self._torn else line
        self._torn = True
        try:
            self._torn = self._disk.append(self._journal, line) != len(line)
        except OSError as error:
            if error.errno not in FULL:
                self.trouble = as_failure("write a journal", error)

    def punch(self, start: int, stop: int) -> None:
        """Give the blocks within ``[start, stop)`` back to the disk; they read as zeros."""
        with translated("punch a hole"):
            self._disk.punch(self.fd, start, stop)

    def begin_writing(self, start: int, stop: int) -> None:
        """Let the disk begin with these bytes; may run beside any other job but a closing one."""
        with suppress(OSError):  # of a file system that can not, the commit waits longer
            self._disk.begin_writing(self.fd, start, stop - start)

    @property
    def on_disk(self) -> int:
        """Bytes it takes there, by its own count; 0 once it is closed or committed."""
        if self.state is not State.OPEN:
            return 0
        known = self.allocated + self.written
        return known if self.total is None else min(known, whole_blocks(self.total))

    def commit(self, path: str, size: int, at: float) -> None:
        """For the store alone: make it the blob at ``path``, durably, last used at ``at``."""
        disk = self._disk
        with translated("commit a blob"):
            present = disk.stat(self.fd).st_size
            if present < size:
                raise StoreFailure(f"the blob has {present} bytes on disk, not {size}")
            if present > size:
                disk.truncate(self.fd, size)
            # Once a sync has failed, nobody can say what reached the disk.
            self.poisoned = True
            disk.used_at(self.fd, at)
            disk.fsync(self.fd)
            self.poisoned = False
            ensure_folder(disk, os.path.dirname(path))
            disk.rename(self.path, path)
            self._sync_name(path)
        self.state = State.COMMITTED
        with suppress(OSError):
            self.leftover = whole_blocks(allocated(disk.stat(self._journal)))
        disk.close(self._journal)
        with suppress(StoreFailure):
            remove_partial(disk, self.folder)
            self.leftover = 0

    def _sync_name(self, path: str) -> None:
        try:
            self._disk.sync_folder(os.path.dirname(path))
        except OSError:
            self.poisoned = True
            self.stranded = True
            raise

    def keep(self) -> None:
        """Close it and leave it on disk, to be resumed; idempotent."""
        if self.poisoned:
            self.discard()
        elif self.state is State.OPEN:
            self.allocated = self._measured_or_guessed()
            self._close(State.KEPT)
        elif self.state is State.COMMITTED:
            self._close(State.RELEASED)

    def discard(self) -> None:
        """Close it and remove it from disk; idempotent. Of a committed one nothing is removed.

        One that can not be removed is kept, to be evicted or resumed like any other.
        """
        if self.state is State.OPEN:
            try:
                remove_partial(self._disk, self.folder)
            except StoreFailure:
                self.allocated = self._measured_or_guessed()
                self._close(State.KEPT)
            else:
                self._close(State.DISCARDED)
        elif self.state is State.COMMITTED:
            self._close(State.RELEASED)

    def _measured_or_guessed(self) -> int:
        try:
            return self._measure()
        except OSError:
            return self.allocated + whole_blocks(self.written)

    def _close(self, state: State) -> None:
        committed = self.state is State.COMMITTED
        for fd in (self.fd,) if committed else (self.fd, self._journal):
            self._disk.close(fd)
        # Last: from here on the folder may be another's.
        self.state = state


def peek_partial(disk: Disk, folder: str) -> Known | None:
    """What the journal in ``folder`` says; None when there is none that can be read. Blocks."""
    try:
        fd = disk.open(os.path.join(folder, JOURNAL), os.O_RDONLY)
    except OSError:
        return None
    try:
        size = min(disk.stat(fd).st_size, JOURNAL_BYTES)
        return read_journal(disk.pread(fd, size, 0))
    except OSError:
        return None
    finally:
        disk.close(fd)


def remove_partial(disk: Disk, folder: str) -> None:
    """Remove a partial blob from disk. Raises StoreFailure; what is gone already is no failure."""
    with translated("remove a partial blob"):
        try:
            for name in os.listdir(folder):
                disk.unlink(os.path.join(folder, name))
            disk.rmdir(folder)
        except FileNotFoundError:
            return
