"""A second descriptor of a client's socket, on which ``sendfile`` is called.

Twisted has no sendfile. Its transport owns the socket and what it has buffered
for it; once that buffer is empty, nothing hinders another descriptor of the
same socket from sending. The kernel then moves pages of the file to the socket
without a copy through this process.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable

from twisted.python.failure import Failure as Reason

from nodecache.body.lane import Lane


class SocketDuplicate:
    """``writable`` is called when the socket takes bytes, ``lost`` when it broke.

    The owner closes it: before the transport is told to reset the connection,
    because no reset leaves the machine while a duplicate is open. Raises
    OSError where no descriptor is to be had.
    """

    def __init__(
        self,
        lane: Lane,
        original: socket.socket,
        writable: Callable[[], None],
        lost: Callable[[], None],
    ) -> None:
        self._lane = lane
        self._writable = writable
        self._lost = lost
        self._fd = os.dup(original.fileno())
        self._waiting = False

    def fileno(self) -> int:
        return self._fd

    def send(self, fd: int, offset: int, count: int) -> int | None:
        """Bytes sent; 0 at the end of the file; None when the socket takes none now.

        Raises OSError: EPIPE or ECONNRESET of the socket, EIO of the file.
        """
        try:
            return os.sendfile(self._fd, fd, offset, count)
        except (BlockingIOError, InterruptedError):
            return None

    def wait(self) -> None:
        """Ask to be called when the socket takes bytes again."""
        if not self._waiting and self._fd >= 0:
            self._waiting = True
            self._lane.add(self)

    def rest(self) -> None:
        """Ask not to be called: there is nothing to send now."""
        if self._waiting:
            self._waiting = False
            self._lane.remove(self)

    def doWrite(self) -> None:
        self._writable()

    def connectionLost(self, reason: Reason) -> None:  # noqa: ARG002 -- the lane's call
        """About half of all disconnects are told here first (EPOLLHUP, EPOLLERR)."""
        self._waiting = False
        self.close()
        self._lost()

    def close(self) -> None:
        """Idempotent."""
        if self._fd < 0:
            return
        self.rest()
        fd, self._fd = self._fd, -1
        with contextlib.suppress(OSError):
            os.close(fd)
