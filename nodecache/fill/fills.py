"""The blobs in flight of a node, by digest."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure as Raised

from nodecache.byteranges import Span
from nodecache.events import Coalesced, Unexpected
from nodecache.failures import NoRoom, StoreFailure, UpstreamFailure
from nodecache.fill.connections import Line
from nodecache.fill.demand import Demand
from nodecache.fill.fill import Fill
from nodecache.fill.lending import begins_in
from nodecache.fill.loans import StoredLoan
from nodecache.fill.pressure import Pressure
from nodecache.fill.share import Share
from nodecache.fill.tools import Blame, BlobStore, NoBlame, Spreading, Tools, Width
from nodecache.fill.verdict import Outcome
from nodecache.freshness import Absences
from nodecache.inflight import Flight
from nodecache.limits import Limits, Timeouts
from nodecache.reference import Digest, Repository
from nodecache.results import Loan
from nodecache.seams import BlobSourceFactory, DiskPool, Observe, Readable
from nodecache.segments import segment_of
from nodecache.store import Known


class Fills:
    """``stop`` is owed.

    ``places`` is how many connections all fills have at a time, those apart that fetch what peers
    asked for; by default as many as upstream may have. ``width`` is how many one begins with,
    ``spread`` how what it reads ahead is scattered, ``blame`` who hears if the bytes were right.
    """

    def __init__(
        self,
        store: BlobStore,
        pool: DiskPool,
        source_factory: BlobSourceFactory,
        clock: IReactorTime,
        observe: Observe,
        limits: Limits,
        timeouts: Timeouts,
        *,
        places: int | None = None,
        width: Width = lambda _digest, _total: 1,
        spread: Spreading = lambda _digest: None,
        blame: Blame | None = None,
    ) -> None:
        self._store = store
        self._tools = Tools(
            store=store,
            pool=pool,
            factory=source_factory,
            clock=clock,
            observe=observe,
            limits=limits,
            timeouts=timeouts,
            connections=Line(limits.connections_per_node if places is None else places, clock),
            line=Line(limits.fills, clock),
            peer_line=Line(limits.peer_fills, clock),
            share=Share(lambda: store.partials_share),
            pressure=Pressure(limits.disk_queue, limits.disk_queue_node),
            writeback=DeferredLock(),
            width=width,
            spread=spread,
            blame=NoBlame() if blame is None else blame,
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

        One that only peers asked for becomes one for the whole blob.
        ``size_hint`` is the size in bytes that a manifest names. Raises NoRoom
        (where the size is not known yet, ``Flight.opened`` does), StoreFailure,
        UpstreamFailure(WRONG) shortly after the bytes of ``digest`` were
        wrong, and UpstreamFailure(TIMEOUT) when its turn did not come.
        Cancelling leaves the flight alone.
        """
        flight = await self._joinable(digest)
        if flight is not None:
            flight.add_repository(repository)
            await self._fills[digest].join(size_hint)
            self._tools.observe(Coalesced(kind="blob"))
        else:
            self._refuse_wrong(digest)
            flight = self._begin(repository, digest, size_hint)
        await flight.prepared()
        return flight

    async def _joinable(self, digest: Digest) -> Flight | None:
        """The flight to join; None when there is none. Waits for one that is being closed."""
        while True:
            self._refuse_if_stopping()
            flight = self._flights.get(digest)
            if flight is None or flight.joinable:
                return flight
            if flight.narrowed:
                raise NoRoom(f"{digest} is being sent without being kept")
            await flight.over()

    def _refuse_if_stopping(self) -> None:
        if self._stopping:
            raise StoreFailure("this node is stopping")

    def _refuse_wrong(self, digest: Digest) -> None:
        wrong = self._wrong.recall(digest, self._tools.clock.seconds())
        if wrong is not None:
            raise wrong

    def _begin(self, repository: Repository, digest: Digest, size_hint: int | None) -> Flight:
        flight, fill = self._made(repository, digest, size_hint, Demand(local=True))
        self._start(digest, fill)
        return flight

    def _made(
        self, repository: Repository, digest: Digest, size_hint: int | None, demand: Demand
    ) -> tuple[Flight, Fill]:
        flight = Flight(digest, repository, self._tools.clock, self._tools.limits.tail)
        fill = Fill(flight, size_hint, demand, self._tools)
        self._flights[digest] = flight
        self._fills[digest] = fill
        return flight, fill

    def _start(self, digest: Digest, fill: Fill) -> None:
        fill.start().addBoth(self._ended, digest, fill)

    def _ended(self, result: object, digest: Digest, fill: Fill) -> None:
        # In the turn in which the store has taken the blob: it is always in one of the two.
        flight = self._flights.pop(digest)
        del self._fills[digest]
        cause = flight.progress.cause
        if fill.outcome is Outcome.MISMATCH and isinstance(cause, UpstreamFailure):
            self._was_wrong(flight, fill, cause)
        if isinstance(result, Raised):
            trace = result.getTraceback()
            self._tools.observe(Unexpected(where="fill", error=repr(result.value), trace=trace))
        for other in list(self._fills.values()):
            other.widen()

    def _was_wrong(self, flight: Flight, fill: Fill, cause: UpstreamFailure) -> None:
        if not fill.forgiven:
            until = self._tools.clock.seconds() + self._tools.timeouts.absent
            self._wrong.remember(flight.digest, until, cause)
        elif fill.worth_another and not self._stopping:
            # Clients that were broken off try again, and find it under way.
            another = self._begin(flight.names[0], flight.digest, fill.hint)
            for name in flight.names:
                another.add_repository(name)

    # For peers.

    async def lend(
        self,
        repository: Repository,
        digest: Digest,
        span: Span,
        size: int | None,
        *,
        fetch: bool,
        asker: str = "",
        wait: float = 0.0,
    ) -> Loan | None:
        """Bytes of ``span``, which lies within one segment, for the peer ``asker``.

        ``span`` may end behind the blob. Without ``fetch`` only what is on disk,
        or flows already, and not from the asker; nothing is asked of anybody.
        With it, the segment is fetched, at once and beyond what is fetched for
        this node; of a blob that no client here has asked for, that segment
        and no more. Returns when its size is known; ``size``, which the asker
        believes it to be, is not believed. ``wait``: see ``Lender``.

        None: it is not here; the blob has no such bytes; or they come from the
        asker itself. Raises UpstreamFailure; StoreFailure, and of it
        NoRoom without place or room (never a wait in line). Cancelling gives the demand up.
        """
        del size
        while True:
            if (fill := await self._lender(digest)) is not None:
                if fetch:
                    self._flights[digest].add_repository(repository)
                return await fill.lending.lend(span, fetch=fetch, asker=asker, wait=wait)
            if (blob := await self._store.open_blob(digest)) is not None:
                return _stored(blob, span)
            here = fetch or await self._is_kept(digest, span)
            if digest in self._fills:
                continue
            if not here:
                return None
            return await self._lent(repository, digest, span, fetch=fetch, asker=asker)

    async def _lender(self, digest: Digest) -> Fill | None:
        """The fill under way, if any. Waits for one that is being closed."""
        return None if await self._joinable(digest) is None else self._fills[digest]

    async def _lent(
        self, repository: Repository, digest: Digest, span: Span, *, fetch: bool, asker: str
    ) -> Loan | None:
        """Begin a flight for peers only."""
        self._refuse_if_stopping()
        if fetch:
            self._refuse_wrong(digest)
        if not self._tools.peer_line.enter_now():
            raise NoRoom("too many blobs are being fetched for peers")
        _, fill = self._made(repository, digest, None, Demand(local=False))
        # It asks first for what is demanded, so that comes first.
        lending = Deferred.fromCoroutine(
            fill.lending.lend(span, fetch=fetch, asker=asker, patient=True)
        )
        self._start(digest, fill)
        return await lending

    async def holds(self, digest: Digest, span: Span, asker: str = "") -> int | None:
        """The blob's size in bytes, if ``lend`` without ``fetch`` would lend ``span``.

        Nothing is begun. Raises StoreFailure.
        """
        fill = self._fills.get(digest)
        if fill is not None:
            return self._flights[digest].total if fill.lending.has(span, asker) else None
        size = self._store.blob_size(digest)
        if size is not None:
            return size if begins_in(span, size) else None
        known = await self._store.peek_partial(digest)
        return known.total if known is not None and _has(known, span) else None

    def is_getting(self, digest: Digest, span: Span, asker: str) -> bool:
        """Whether a fill looks for the segment or has it sent, and not by ``asker``."""
        return digest in self._fills and self._fills[digest].lending.is_getting(span, asker)

    async def is_new(self, digest: Digest) -> bool:
        """Whether not a byte of it is here, nor on its way. Raises StoreFailure."""
        if digest in self._fills or self._store.blob_size(digest) is not None:
            return False
        known = await self._store.peek_partial(digest)
        return known is None or not known.segments

    async def _is_kept(self, digest: Digest, span: Span) -> bool:
        return (known := await self._store.peek_partial(digest)) is not None and _has(known, span)

    async def distrust(self, digest: Digest, sums: Mapping[int, tuple[int, ...]]) -> None:
        """Another node found the right CRC-32 of the blocks of some segments of ``digest``.

        If ours differ, everything of it is dropped, be it in flight (its
        readers are broken off) or a partial on disk. What was verified stays.
        """
        if digest not in self._fills:
            known = await self._store.peek_partial(digest)
            if known is None or not _differ(known.segments, sums):
                return
        fill = self._fills.get(digest)
        if fill is not None:
            fill.distrust(sums)
        else:
            await self._store.drop_partial(digest)

    async def stop(self) -> None:
        """Stop all fills, keeping what can be resumed, and break their readers off."""
        self._stopping = True
        for fill in list(self._fills.values()):
            fill.stop()
        while self._flights:
            await next(iter(self._flights.values())).over()


def _stored(blob: Readable, span: Span) -> Loan | None:
    loan = StoredLoan(blob)
    if begins_in(span, loan.total):
        return loan
    loan.close()
    return None


def _has(known: Known, span: Span) -> bool:
    total = known.total
    if total is None or not begins_in(span, total):
        return False
    return total == 0 or segment_of(span.start) in known.segments


def _differ(ours: Mapping[int, tuple[int, ...]], right: Mapping[int, tuple[int, ...]]) -> bool:
    return any(ours.get(segment, sums) != sums for segment, sums in right.items())
