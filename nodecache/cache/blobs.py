"""Blobs: from disk, from a flight, or straight through where there is no room."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from nodecache.cache.gate import Gate, Subject
from nodecache.cache.hints import SizeHints
from nodecache.cache.lenient import if_possible
from nodecache.cache.ports import BlobShelf, Flight
from nodecache.cache.tools import Tools
from nodecache.deadline import Deadline
from nodecache.events import Coalesced, DiskFailed, Source
from nodecache.failures import (
    FlightFailed,
    NoRoom,
    StoreFailure,
    UpstreamFailure,
    UpstreamKind,
)
from nodecache.reference import Digest, Repository
from nodecache.results import BlobHead, BlobResult, PassThroughResult
from nodecache.seams import Readable
from nodecache.singleflight import SingleFlight, within


class Blobs:
    """``is_manifest`` says whether a digest is that of a manifest held here."""

    def __init__(
        self,
        tools: Tools,
        gate: Gate,
        hints: SizeHints,
        is_manifest: Callable[[Digest], bool],
    ) -> None:
        self._shelf: BlobShelf = tools.shelves
        self._fills = tools.fills
        self._gate = gate
        self._hints = hints
        self._is_manifest = is_manifest
        self._clock = tools.clock
        self._observe = observe = tools.observe

        def joined() -> None:
            observe(Coalesced(kind="blob"))

        self._starts: SingleFlight[tuple[Repository, Digest], Flight] = SingleFlight(joined)
        self._heads: SingleFlight[tuple[Repository, Digest], int] = SingleFlight(joined)

    async def get(
        self, repository: Repository, digest: Digest, *, whole: bool, deadline: Deadline
    ) -> BlobResult | PassThroughResult:
        """Raises UpstreamFailure, OfflineMiss, NoRoom."""
        self._refuse_manifest(repository, digest)
        stored = await self._stored(digest)
        if stored is not None:
            return BlobResult(stored, Source.DISK)
        try:
            return await self._from_flight(repository, digest, deadline)
        except StoreFailure as failure:
            # Another may have stored it meanwhile.
            stored = await self._stored(digest)
            if stored is not None:
                return BlobResult(stored, Source.DISK)
            reason = str(failure)
            if not isinstance(failure, NoRoom):
                self._observe(DiskFailed(operation="begin a blob", reason=reason))
        if not whole:
            raise NoRoom(f"{repository}@{digest} is not kept here, so no part of it: {reason}")
        return await self._pass_through(repository, digest, reason, deadline)

    def _refuse_manifest(self, repository: Repository, digest: Digest) -> None:
        # Some registries do hand a manifest out as a blob; a runtime's store is
        # then poisoned with one of the wrong media type.
        if self._is_manifest(digest):
            message = f"{repository}@{digest} is a manifest, not a blob"
            raise UpstreamFailure(UpstreamKind.NOT_FOUND, message)

    async def _stored(self, digest: Digest) -> Readable | None:
        # Also of what the index does not have: it may be a partial that was whole when
        # the node died, which is looked at just now.
        opening = self._shelf.open_blob(digest)
        return await if_possible(self._observe, "open a blob", opening)

    async def _from_flight(
        self, repository: Repository, digest: Digest, deadline: Deadline
    ) -> BlobResult:
        """Begin a flight or join one, and wait for its headers.

        Raises UpstreamFailure, OfflineMiss, StoreFailure.
        """
        subject = Subject.blob(repository, digest)
        joined = self._fills.get(digest) is not None or (repository, digest) in self._starts
        if not joined:
            # Before room is made for it: a gate that is shut evicts nothing.
            self._gate.check(subject)
        try:
            reader = await self._reader(repository, digest, deadline)
        except UpstreamFailure as failure:
            raise self._gate.remember(subject, failure) from failure
        return BlobResult(reader, Source.FLIGHT if joined else Source.FILL)

    async def _reader(self, repository: Repository, digest: Digest, deadline: Deadline) -> Readable:
        hint = self._hints.get(digest)
        start = self._starts.run(
            (repository, digest), lambda: self._fills.start(repository, digest, hint)
        )
        flight = await within(start, self._clock, deadline)
        # In this very turn: a small blob may be whole, and its flight over, in the next.
        reader = flight.reader()
        try:
            await within(Deferred.fromCoroutine(_opened(flight)), self._clock, deadline)
        except BaseException:
            reader.close()
            raise
        return reader

    async def _pass_through(
        self, repository: Repository, digest: Digest, reason: str, deadline: Deadline
    ) -> PassThroughResult:
        """A body of this client's own. Raises UpstreamFailure, OfflineMiss."""
        source = self._gate.check(Subject.blob(repository, digest)).blob_source(
            repository.name, digest
        )
        try:
            body = await source.fetch(None, deadline)
        except UpstreamFailure as failure:
            raise self._gate.remember(Subject.blob(repository, digest), failure) from failure
        total = body.total if body.total is not None else self._hints.get(digest)
        return PassThroughResult(body, total, repository, digest, reason)

    async def head(self, repository: Repository, digest: Digest, deadline: Deadline) -> BlobHead:
        """The size alone: no byte of a blob that is not here is fetched for it.

        Raises UpstreamFailure, OfflineMiss.
        """
        self._refuse_manifest(repository, digest)
        size = self._shelf.blob_size(digest)
        if size is not None:
            return BlobHead(size, Source.DISK)
        flight = self._fills.get(digest)
        if flight is not None and flight.total is not None:
            return BlobHead(flight.total, Source.FLIGHT)
        waiter = self._heads.run((repository, digest), lambda: self._ask_size(repository, digest))
        return BlobHead(await within(waiter, self._clock, deadline), Source.FILL)

    async def _ask_size(self, repository: Repository, digest: Digest) -> int:
        subject = Subject.blob(repository, digest)
        upstream = self._gate.check(subject)
        try:
            size = await upstream.head_blob(repository.name, digest)
        except UpstreamFailure as failure:
            # An upstream that tells no size may well give the bytes.
            if failure.is_absence:
                self._gate.remember(subject, failure)
            named = self._hints.get(digest)
            if failure.kind is not UpstreamKind.WRONG or named is None:
                raise self._gate.told(subject, failure) from failure
            return named
        self._hints.learn(digest, size)
        return size

    def stop(self) -> None:
        self._starts.stop()
        self._heads.stop()


async def _opened(flight: Flight) -> None:
    try:
        await flight.opened()
    except FlightFailed as failed:
        raise failed.cause from None
