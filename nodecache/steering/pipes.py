"""Named pipes: how a command hands an archive to the node, and takes one from it.

The command may run as another user, or see other files than the node does; a
pipe in the data folder both can open. It is read and written without holding
a thread while the other side is slow.
"""

from __future__ import annotations

import os
import stat
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor, IWriteDescriptor
from twisted.python.failure import Failure as Reason
from zope.interface import implementer

from nodecache.failures import Failure

#: Bytes that are read or written at a time.
PIECE: Final = 256 * 1024


class BrokenPipe(Failure):
    """The other side of a pipe is gone, or there is no pipe."""


@implementer(IReadDescriptor, IWriteDescriptor)
class _Turn:
    """Waits for one descriptor, once."""

    def __init__(self, reactor: Any, fd: int, *, writing: bool) -> None:
        self._reactor = reactor
        self._fd = fd
        self._writing = writing
        self.came: Deferred[None] = Deferred(lambda _: self._leave())
        (reactor.addWriter if writing else reactor.addReader)(self)

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return "pipe"

    def doRead(self) -> None:
        self._come()

    def doWrite(self) -> None:
        self._come()

    def connectionLost(self, reason: Reason) -> None:  # noqa: ARG002 -- the reactor's call
        # What is wrong with it, the next read or write says.
        self._come()

    def _come(self) -> None:
        self._leave()
        if not self.came.called:
            self.came.callback(None)

    def _leave(self) -> None:
        (self._reactor.removeWriter if self._writing else self._reactor.removeReader)(self)


def readable(reactor: Any, fd: int) -> Deferred[None]:
    """Fires when ``fd`` has something to read, or is at its end."""
    return _Turn(reactor, fd, writing=False).came


def writable(reactor: Any, fd: int) -> Deferred[None]:
    """Fires when ``fd`` takes something, or never will."""
    return _Turn(reactor, fd, writing=True).came


def open_pipe(path: str, *, writing: bool) -> int:
    """A descriptor that never blocks. Raises BrokenPipe."""
    flags = (os.O_WRONLY if writing else os.O_RDONLY) | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(path, flags | os.O_NOFOLLOW)
    except OSError as error:
        raise BrokenPipe(f"{path} can not be opened: {error.strerror}") from None
    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
        os.close(fd)
        raise BrokenPipe(f"{path} is no pipe")
    return fd


def take(fd: int) -> bytes | None:
    """What there is to read; None for nothing yet, and empty at the end. Raises BrokenPipe."""
    try:
        return os.read(fd, PIECE)
    except BlockingIOError:
        return None
    except OSError as error:
        raise BrokenPipe(f"the pipe can not be read: {error.strerror}") from None


def put(fd: int, data: memoryview) -> int:
    """How many bytes the pipe took. Raises BrokenPipe."""
    try:
        return os.write(fd, data[:PIECE])
    except BlockingIOError:
        return 0
    except OSError as error:
        raise BrokenPipe(f"whoever reads the archive is gone: {error.strerror}") from None
