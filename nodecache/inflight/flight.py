"""One blob in flight, as clients see it and as its fill moves it on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from nodecache.byteranges import Span
from nodecache.failures import Failure, NoRoom, StoreFailure
from nodecache.inflight.file import SharedFile
from nodecache.inflight.progress import Progress, Status
from nodecache.inflight.reader import FlightReader
from nodecache.inflight.waiters import Waiters
from nodecache.reference import Digest, Repository
from nodecache.seams import Readable

#: Peers that are named as senders.
MOST_SENDERS: Final = 32


class Flight:
    """Keyed by ``digest``. ``names`` are the repositories under which it was asked, in order.

    ``fetched`` counts bytes that sources have sent, ``by_peer`` those of peers
    among them by node id, ``connections`` those open now; ``began_at`` is on
    the reactor's clock, in seconds.
    """

    def __init__(
        self, digest: Digest, repository: Repository, clock: IReactorTime, tail: int
    ) -> None:
        self.digest = digest
        self.names = [repository]
        self.fetched = 0
        self.by_peer: Counter[str] = Counter()
        self.connections = 0
        self.began_at = clock.seconds()
        self._clock = clock
        self.progress = Progress(tail)
        self._waiters = Waiters(clock)
        self._clients: dict[FlightReader, None] = {}
        self._peers: dict[FlightReader, None] = {}
        self._file: SharedFile | None = None
        self._narrow = False
        self._shut = False
        self._gone = False
        self._moved: Callable[[], None] = lambda: None

    # What clients ask.

    @property
    def total(self) -> int | None:
        """Bytes of the blob; None while unknown."""
        return self.progress.total

    @property
    def status(self) -> Status:
        return self.progress.status

    @property
    def present(self) -> int:
        """Bytes on disk."""
        return self.progress.present.total()

    @property
    def senders(self) -> dict[str, int]:
        """The peers that sent most, 32 at most, each with its bytes."""
        return dict(self.by_peer.most_common(MOST_SENDERS))

    @property
    def readers(self) -> int:
        """How many read, peers among them."""
        return len(self._clients) + len(self._peers)

    @property
    def clients(self) -> int:
        """How many of this node's own clients read."""
        return len(self._clients)

    @property
    def joinable(self) -> bool:
        """Whether a new reader finds every byte, now or in time."""
        return not (self._gone or self._shut or self._narrow or self.status is Status.FAILED)

    @property
    def narrowed(self) -> bool:
        """Whether it ran out of room, and forgets its beginning."""
        return self._narrow

    def add_repository(self, repository: Repository) -> None:
        """One more name to ask for it, when those before it are refused."""
        if repository not in self.names:
            self.names.append(repository)

    async def prepared(self) -> None:
        """Returns once readers can be had. Raises NoRoom, StoreFailure, or what else failed."""
        await self._waiters.wait(self._is_prepared)

    async def opened(self) -> None:
        """Returns once the headers of a source are in: ``total`` is as known as it will be.

        Raises the fill's Failure when it could not be begun: UpstreamFailure,
        NoRoom (a client that wants it whole is passed through), StoreFailure.
        """
        await self._waiters.wait(self._is_open)

    async def sized(self) -> None:
        """Returns once ``total`` is known, with the headers or at the end. Raises as ``opened``."""
        await self._waiters.wait(self._is_sized)

    def when(self, ready: Callable[[], bool]) -> Deferred[None]:
        """Fires once ``ready``, looked at whenever bytes come; fails with the fill's Failure."""

        def is_time() -> bool:
            self._raise_cause()
            return ready()

        return self._waiters.wait(is_time)

    async def over(self) -> None:
        """Returns once the fill has let go of its files, however it ended."""
        await self._waiters.wait(lambda: self._gone)

    def _is_prepared(self) -> bool:
        self._raise_cause()
        return self._file is not None

    def _is_open(self) -> bool:
        self._raise_cause()
        return self.status is not Status.ASKING

    def _is_sized(self) -> bool:
        self._raise_cause()
        return self.total is not None

    def _raise_cause(self) -> None:
        if self.progress.cause is not None:
            # One object for many: it must not collect the tracebacks of all who raise it.
            raise self.progress.cause.with_traceback(None)

    def reader(self) -> Readable:
        """A reader for a client of this node, owed one ``close``.

        Take it in the turn in which ``Fills.start`` or ``opened`` returned:
        later the flight may be over, and the blob in the store. Raises the
        fill's Failure; NoRoom when the beginning was given up.
        """
        return self._reader(self._clients)

    def lent(self, offset: int) -> Readable:
        """As ``reader``, for a peer that wants nothing before ``offset``.

        What is fetched next does not follow it; what it asked for is fetched for it.
        """
        reader = self._reader(self._peers)
        reader.punched(offset)
        return reader

    def _reader(self, among: dict[FlightReader, None]) -> FlightReader:
        self._raise_cause()
        if self._narrow:
            raise NoRoom("its beginning was given up, for the disk is full")
        if self._file is None:
            raise StoreFailure("the flight is over")
        file = self._file.hold()
        reader = FlightReader(self.progress, self._waiters, file, self._tell_moved, self._closed)
        among[reader] = None
        return reader

    def _closed(self, reader: FlightReader) -> None:
        among = self._clients if reader in self._clients else self._peers
        del among[reader]
        self._tell_moved()

    def _tell_moved(self) -> None:
        self._moved()

    # What the fill tells and asks.

    @property
    def waiting(self) -> int:
        """Deferreds that wait for something of this flight."""
        return len(self._waiters)

    def wanted(self) -> list[int]:
        """The offset that each client is at."""
        return [reader.wanted for reader in self._clients]

    def slowest(self) -> int | None:
        """Bytes before this offset are wanted by nobody; None when there is no reader."""
        return min((reader.floor for reader in self._all()), default=None)

    def promised(self) -> Iterator[int]:
        """Offsets from which on somebody may be reading this very moment."""
        for reader in self._all():
            yield from (reader.floor, reader.wanted)

    def _all(self) -> Iterator[FlightReader]:
        return chain(self._clients, self._peers)

    def give(self, file: SharedFile) -> None:
        """The file is there; the flight holds it until ``end``."""
        self._file = file
        self._waiters.wake()

    def brought(self, count: int, peer: str | None) -> None:
        """``peer`` sent so many bytes; None: upstream did."""
        self.fetched += count
        if peer is not None:
            self.by_peer[peer] += count

    def begin(self, total: int | None) -> None:
        self.progress.begin(total)
        self._waiters.wake()

    def arrived(self, span: Span) -> None:
        """``span`` is on disk."""
        self.progress.present.add(span)
        self._waiters.wake()

    def verify(self, total: int) -> None:
        self.progress.verify(total)
        self._waiters.wake()

    def fail(self, cause: Failure, *, mute: bool) -> None:
        self.progress.fail(cause, mute=mute)
        self._waiters.wake()

    def narrow(self, moved: Callable[[], None]) -> None:
        """Take no more readers; ``moved`` is called when one rises or leaves."""
        self._narrow, self._moved = True, moved

    def punch(self, floor: int) -> None:
        """Bytes before ``floor`` are gone."""
        self.progress.floor = max(self.progress.floor, floor)

    def shut(self) -> None:
        """Take no more readers: it is about to end without being whole in the store."""
        self._shut = True

    def end(self) -> None:
        """The fill has let go: readers that are here keep the file, new ones find none."""
        self._gone = True
        self._moved = lambda: None
        self._waiters.wake()
        # Behind those that were woken just now: they may still want a reader.
        self._clock.callLater(0, self._let_go)

    def _let_go(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.release()
