"""Named pipes to the node: an archive goes through one where the node can not read it itself.

The node may run as another user or see other files; the data folder both see.
"""

from __future__ import annotations

import os
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, Final

from nodecache.cli.commands import EXIT_UNREACHABLE
from nodecache.cli.problems import CommandError
from nodecache.cli.target import SOCKET, Target

#: Where a node puts what does not outlast its next start.
_SCRATCH: Final = os.path.join("v1", "tmp")
_PIECE: Final = 1 << 20


@contextmanager
def pipe_to(target: Target) -> Iterator[str]:
    """The path of a new pipe, which the node can open; it is removed at the end.

    Raises CommandError.
    """
    data_dir = os.path.abspath(target.data_dir)
    path = os.path.join(data_dir, _SCRATCH, f"pipe-{secrets.token_hex(8)}")
    try:
        os.mkfifo(path, 0o600)
        if os.geteuid() == 0:
            owner = os.stat(os.path.join(data_dir, SOCKET))
            os.chown(path, owner.st_uid, owner.st_gid)
    except OSError as error:
        with suppress(OSError):
            os.unlink(path)
        raise _no_pipe(data_dir, error) from None
    try:
        yield path
    finally:
        with suppress(OSError):
            os.unlink(path)


def _no_pipe(data_dir: str, error: OSError) -> CommandError:
    if isinstance(error, FileNotFoundError):
        return CommandError(
            f"no node keeps its data in {data_dir}",
            "Start it with 'nodecache serve', or name its data folder with --data-dir DIR or "
            "NODECACHE_DATA_DIR.",
            EXIT_UNREACHABLE,
        )
    return CommandError(
        f"no pipe can be made in {data_dir} ({error.strerror})",
        "Run this as the user that runs the node, and name its data folder with --data-dir.",
        EXIT_UNREACHABLE,
    )


class Feeding:
    """Writes into a pipe what ``give`` writes. Made before the node opens it; ``close`` is owed."""

    def __init__(self, path: str, give: Callable[[BinaryIO], None]) -> None:
        self._path = path
        self._give = give
        # As long as somebody holds the other side, the node sees no end of it.
        self._holder = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._thread: threading.Thread | None = None
        self.problem: OSError | None = None

    def begin(self) -> None:
        """The node has opened the pipe."""
        self._thread = threading.Thread(target=self._feed, daemon=True)
        self._thread.start()

    def _feed(self) -> None:
        try:
            with open(self._path, "wb", buffering=0) as pipe:
                self._let_go()
                self._give(pipe)
        except BrokenPipeError:
            pass  # The node takes no more, and says why.
        except OSError as error:
            self.problem = error

    def _let_go(self) -> None:
        holder, self._holder = self._holder, -1
        if holder >= 0:
            os.close(holder)

    def close(self) -> None:
        """What gives may be a person that types: that is not waited for."""
        self._let_go()
        if self._thread is not None:
            self._thread.join(0.5)


class Draining:
    """Copies what comes out of a pipe to ``out``. Made before the node opens it."""

    def __init__(self, path: str, out: BinaryIO, moved: Callable[[int], None]) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._out = out
        self._moved = moved
        self._thread: threading.Thread | None = None
        self._given_up = False
        self.count = 0
        self.problem: OSError | None = None

    def begin(self) -> None:
        """The node has opened the pipe: from now on its end is the end."""
        os.set_blocking(self._fd, True)
        self._thread = threading.Thread(target=self._drain, daemon=True)
        self._thread.start()

    def _drain(self) -> None:
        try:
            while data := os.read(self._fd, _PIECE):
                left = memoryview(data)
                while left:
                    if self._given_up:
                        return
                    left = left[self._out.write(left) :]
                self.count += len(data)
                self._moved(self.count)
            self._out.flush()
        except OSError as error:
            self.problem = error
            self._close()

    def give_up(self) -> None:
        """What failed has said so. A node that stands still is not waited for: its end of the
        pipe may stay open.
        """
        self._given_up = True
        if self._thread is not None:
            self._thread.join(0.5)
        if self._thread is None or not self._thread.is_alive():
            self._close()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def finish(self) -> int:
        """All has come: how many bytes. Raises CommandError where they could not be written."""
        if self._thread is not None:
            self._thread.join()
        self._close()
        if unwritten := self.unwritten():
            raise unwritten
        return self.count

    def unwritten(self) -> CommandError | None:
        """That what came could not be written, and why."""
        if self.problem is None:
            return None
        return CommandError(
            f"the archive can not be written ({self.problem.strerror})",
            "Name a place with room for it with -o.",
        )


def copy(source: BinaryIO) -> Callable[[BinaryIO], None]:
    """For ``Feeding``: all of a file."""
    return lambda pipe: shutil.copyfileobj(source, pipe, _PIECE)
