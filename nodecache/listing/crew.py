"""The processes that list, as who has started them sees them."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
import time
from array import array
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Self

import attrs

from nodecache.listing import lister
from nodecache.listing.lister import CODE, HEAD, KEY, MAGIC, WIDTH

#: Processes there are at most; one for each processor below that, and none where there is one.
MOST: Final = 4
#: Blobs from which on they pay: by a thread these take a fifth of a second.
MANY: Final = 20_000
#: Folders that are counted to tell how many blobs there are: their names are random.
SAMPLE: Final = 4
#: What the loader of a process may need; nothing else of the environment is its business.
_ENVIRON: Final = ("LD_LIBRARY_PATH", "PATH")
_SHARD = re.compile("[0-9a-f]{2}")

#: Starts a process: its command, its input, its output, and a descriptor that it keeps.
Launch = Callable[[Sequence[str], int, int, int], "subprocess.Popen[bytes]"]


@attrs.frozen
class Listed:
    """What is in a shard, and when that was changed last, in ns since the epoch."""

    shard: str
    keys: tuple[bytes, ...]
    sizes: array[int]
    times: array[float]
    changed: int


@attrs.define
class _Lister:
    """``columns`` is the file that it writes to, in memory."""

    process: subprocess.Popen[bytes]
    columns: int


class Crew:
    """Processes under way. ``end`` is owed; ``with`` sees to it.

    ``begun`` is when, in ns since the epoch. ``troubles`` says in words what went wrong, once
    ``next`` has returned None; what is missing then is for the caller to list.

    Of ``count`` processes the last begins when it is to be ``complete``: until then its
    processor is the caller's, who loads its modules.
    """

    def __init__(self, blobs: str, shards: Sequence[str], count: int, launch: Launch) -> None:
        self.begun = time.time_ns()
        self.troubles: list[str] = []
        self._waited = {int(shard, 16) for shard in shards}
        self._blobs, self._launch = blobs, launch
        self._listers: list[_Lister] = []
        self._heads, output = os.pipe()
        tasks, more = os.pipe()
        self._lent: tuple[int, int] | None = (tasks, output)
        # Less than any pipe holds.
        os.write(more, bytes.fromhex("".join(shards)))
        os.close(more)
        for _ in range(count - 1):
            self._start()

    def _start(self) -> None:
        """Another process, if none has failed."""
        if self.troubles:
            return
        try:
            columns = os.memfd_create("listed", os.MFD_CLOEXEC)
            self._listers.append(_Lister(self._launched(columns), columns))
        except (OSError, AttributeError, subprocess.SubprocessError) as error:
            self.troubles.append(f"no process could be started to list blobs: {error}")

    def _launched(self, columns: int) -> subprocess.Popen[bytes]:
        assert self._lent is not None
        number = str(len(self._listers))
        command = [sys.executable, "-I", "-S", lister.__file__, self._blobs, number, str(columns)]
        try:
            return self._launch(command, *self._lent, columns)
        except BaseException:
            os.close(columns)
            raise

    def complete(self) -> None:
        """The caller has a processor to spare: one more, if the others are not done. Idempotent."""
        if self._lent is not None:
            if any(each.process.poll() != 0 for each in self._listers):
                self._start()
            self._let_go()

    def _let_go(self) -> None:
        """No more processes are to be started: what they read and write is theirs alone."""
        lent, self._lent = self._lent, None
        for each in lent or ():
            os.close(each)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def pids(self) -> list[int]:
        """Of the processes."""
        return [each.process.pid for each in self._listers]

    def next(self) -> Listed | None:
        """Blocks until another shard is listed. None: there is none, or the rest is lost.

        Once it is ``complete``: as long as another may come, nobody knows that there is no more.
        """
        if not self._listers:
            return None
        try:
            head = os.read(self._heads, HEAD.size)
            if head:
                return self._taken(head)
        except (ValueError, OSError) as error:
            self.troubles.append(f"a process that lists blobs talks nonsense: {error}")
            self.end()
            return None
        self._ended()
        return None

    def _taken(self, head: bytes) -> Listed:
        """Raises ValueError, OSError."""
        if len(head) != HEAD.size:
            raise ValueError(f"{len(head)} bytes")
        magic, number, shard, count, offset, changed = HEAD.unpack(head)
        if magic != MAGIC or number >= len(self._listers):
            raise ValueError(repr(head[:8]))
        if shard not in self._waited:
            raise ValueError(f"of the folder {shard:02x}, which it was not asked for")
        columns = self._listers[number].columns
        if offset + count * WIDTH > os.fstat(columns).st_size:
            raise ValueError(f"{count} blobs of {shard:02x}, which it did not write")
        found = parted(os.pread(columns, count * WIDTH, offset), count, shard, changed)
        self._waited.discard(shard)
        return found

    def _ended(self) -> None:
        """All have closed their output."""
        for each in self._listers:
            code = each.process.wait()
            if code:
                self.troubles.append(f"a process that lists blobs ended with {code}")
        self.end()

    def kill(self) -> None:
        """From any thread, for one that waits in ``next``: it returns. ``end`` is still owed."""
        for each in tuple(self._listers):
            each.process.kill()

    def end(self) -> None:
        """Kill those that are still there; idempotent. Not while another thread is in ``next``."""
        listers, self._listers = self._listers, []
        for each in listers:
            each.process.kill()
            os.close(each.columns)
        for each in listers:
            each.process.wait()
        self._let_go()
        heads, self._heads = self._heads, -1
        if heads >= 0:
            os.close(heads)


def parted(data: bytes, count: int, shard: int, changed: int) -> Listed:
    """The columns of a shard. Raises ValueError for what can be none."""
    if len(data) != count * WIDTH:
        raise ValueError(f"{len(data)} bytes for {count} blobs")
    keys = data[: count * KEY]
    if keys[::KEY] != CODE * count or keys[1::KEY] != bytes([shard]) * count:
        raise ValueError(f"keys that are none of the folder {shard:02x}")
    sizes, times = array("q"), array("d")
    sizes.frombytes(data[count * KEY : count * (KEY + 8)])
    times.frombytes(data[count * (KEY + 8) :])
    if count and min(sizes) <= 0:
        raise ValueError("a blob without bytes")
    # All in one step, and by a format that is not remembered: so it takes a third of slicing.
    each = struct.Struct(f"{KEY}s" * count).unpack(keys)
    return Listed(f"{shard:02x}", each, sizes, times, changed)


def launched(
    command: Sequence[str], source: int, output: int, keep: int
) -> subprocess.Popen[bytes]:
    """Start it with these descriptors alone. Raises OSError."""
    environ = {name: os.environ[name] for name in _ENVIRON if name in os.environ}
    return subprocess.Popen(  # noqa: S603 -- our own program, by our own interpreter
        [*command],
        stdin=source,
        stdout=output,
        stderr=subprocess.DEVNULL,
        pass_fds=(keep,),
        env=environ,
        cwd="/",
    )


def blobs_in(root: str) -> str:
    """Where the shards of a data folder lie; said here too, as the store takes long to load."""
    return os.path.join(os.path.abspath(root), "v1", "blobs", "sha256")


def begin(blobs: str, launch: Launch = launched, most: int = MOST) -> Crew | None:
    """Have the shards in the folder ``blobs`` (absolute) listed, if that pays; else None.

    Never fails: a folder that can not be read is for others to tell of.
    """
    count = min(most, len(os.sched_getaffinity(0)))
    with suppress(OSError, ValueError):
        shards = [name for name in os.listdir(blobs) if is_shard(name)]
        if count > 1 and are_many(blobs, shards):
            return Crew(blobs, shards, count, launch)
    return None


def is_shard(name: str) -> bool:
    """Whether a folder of that name can hold blobs."""
    return _SHARD.fullmatch(name) is not None


def are_many(blobs: str, shards: Sequence[str]) -> bool:
    """By some of them. Raises OSError."""
    some = shards[:SAMPLE]
    seen = sum(len(os.listdir(os.path.join(blobs, shard))) for shard in some)
    return seen * len(shards) >= MANY * len(some) > 0
