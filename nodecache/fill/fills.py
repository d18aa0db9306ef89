"""The blobs in flight of a node, by digest."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure as Raised

from nodecache.events import Coalesced, Unexpected
from nodecache.failures import NoRoom, StoreFailure, UpstreamFailure
from nodecache.fill.connections import Line
from nodecache.fill.fill import Fill, Outcome
from nodecache.fill.tools import BlobStore, Tools
from nodecache.freshness import Absences
from nodecache.inflight import Flight
from nodecache.limits import Limits, Timeouts
from nodecache.reference import Digest, Repository
from nodecache.seams import BlobSourceFactory, DiskPool, Observe


class Fills:
    """``stop`` is owed."""

    def __init__(
        self,
        store: BlobStore,
        pool: DiskPool,
        source_factory: BlobSourceFactory,
        clock: IReactorTime,
        observe: Observe,
        limits: Limits,
        timeouts: Timeouts,
    ) -> None:
        self._tools = Tools(
            store=store,
            pool=pool,
            factory=source_factory,
            clock=clock,
            observe=observe,
            limits=limits,
            timeouts=timeouts,
            connections=Line(limits.connections_per_node, clock),
            line=Line(limits.fills, clock),
        )
        self._flights: dict[Digest, Flight] = {}
        self._fills: dict[Digest, Fill] = {}
        # Digests whose bytes were wrong: clients that try again at once do not fetch them again.
        self._wrong = Absences()
        self._stopping = False

    def get(self, digest: Digest) -> Flight | None:
        """The flight that a new reader may join."""
        flight = self._flights.get(digest)
        return flight if flight is not None and flight.joinable else None

    def active(self) -> list[Flight]:
        """All that are under way, the oldest first."""
        return list(self._flights.values())

    async def start(self, repository: Repository, digest: Digest, size_hint: int | None) -> Flight:
        """Begin a flight or join it; returns when readers can be had of it.

        ``size_hint`` is the size in bytes that a manifest names. Raises NoRoom
        (where the size is not known yet, ``Flight.opened`` does), StoreFailure,
        UpstreamFailure(WRONG) shortly after the bytes of ``digest`` were
        wrong, and UpstreamFailure(TIMEOUT) when its turn did not come.
        Cancelling leaves the flight alone.
        """
        flight = await self._joinable(digest)
        if flight is not None:
            flight.add_repository(repository)
            self._tools.observe(Coalesced(kind="blob"))
        else:
            wrong = self._wrong.recall(digest, self._tools.clock.seconds())
            if wrong is not None:
                raise wrong
            flight = self._begin(repository, digest, size_hint)
        await flight.prepared()
        return flight

    async def _joinable(self, digest: Digest) -> Flight | None:
        """The flight to join; None when there is none. Waits for one that is being closed."""
        while not self._stopping:
            flight = self._flights.get(digest)
            if flight is None or flight.joinable:
                return flight
            if flight.narrowed:
                raise NoRoom(f"{digest} is being sent without being kept")
            await flight.over()
        raise StoreFailure("this node is stopping")

    def _begin(self, repository: Repository, digest: Digest, size_hint: int | None) -> Flight:
        flight = Flight(digest, repository, self._tools.clock, self._tools.limits.tail)
        fill = Fill(flight, size_hint, self._tools)
        self._flights[digest] = flight
        self._fills[digest] = fill
        fill.start().addBoth(self._ended, digest, fill)
        return flight

    def _ended(self, result: object, digest: Digest, fill: Fill) -> None:
        # In the turn in which the store has taken the blob: it is always in one of the two.
        flight = self._flights.pop(digest)
        del self._fills[digest]
        cause = flight.progress.cause
        if fill.outcome is Outcome.MISMATCH and isinstance(cause, UpstreamFailure):
            until = self._tools.clock.seconds() + self._tools.timeouts.absent
            self._wrong.remember(digest, until, cause)
        if isinstance(result, Raised):
            trace = result.getTraceback()
            self._tools.observe(Unexpected(where="fill", error=repr(result.value), trace=trace))

    async def stop(self) -> None:
        """Stop all fills, keeping what can be resumed, and break their readers off."""
        self._stopping = True
        for fill in list(self._fills.values()):
            fill.stop()
        while self._flights:
            await next(iter(self._flights.values())).over()
