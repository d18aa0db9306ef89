"""Fetches images whole, by the cache's ordinary way.

So rules, limits, sharing among peers and single flight hold as for any pull.
No byte is copied here: a reader moves along with what is present, and the blob
is whole once it is in the store. Whoever asked may leave at any time: what was
begun goes on, and nothing more is begun.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import attrs
from twisted.internet.defer import Deferred, DeferredSemaphore, FirstError, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from nodecache.archives import Document, read_document
from nodecache.failures import (
    Failure,
    FlightFailed,
    NoRoom,
    UpstreamFailure,
    UpstreamKind,
)
from nodecache.limits import Limits, Timeouts
from nodecache.reference import Digest, Reference, Repository
from nodecache.results import BlobResult, ManifestResult, PassThroughResult
from nodecache.warming.plan import Plan, pick

#: An index of indexes is legal, deeper than this it is a riddle.
_DEPTH: Final = 4
#: Failures after which the same question may well be answered.
_PASSING: Final = frozenset(
    {
        UpstreamKind.TIMEOUT,
        UpstreamKind.UNREACHABLE,
        UpstreamKind.CUT,
        UpstreamKind.ERROR,
        UpstreamKind.DOWN,
    }
)
#: Times that a blob is asked for, and the seconds before the second time; they double.
_ATTEMPTS: Final = 4
_PAUSE: Final = 1.0

#: ``progress(digest, present, total)``, in bytes.
Progress = Callable[[Digest, int, int], None]


class Registry(Protocol):
    """The cache, as far as it is asked here."""

    async def manifest(
        self, repository: Repository, reference: Reference, *, head: bool
    ) -> ManifestResult: ...

    async def blob(
        self, repository: Repository, digest: Digest, *, whole: bool
    ) -> BlobResult | PassThroughResult: ...


class Underway(Protocol):
    async def over(self) -> None: ...


class Flights(Protocol):
    def get(self, digest: Digest) -> Underway | None: ...


class Shelf(Protocol):
    def blob_size(self, digest: Digest) -> int | None: ...


@attrs.frozen
class Ports:
    """What warming goes through."""

    cache: Registry
    flights: Flights
    shelf: Shelf
    clock: IReactorTime


@attrs.frozen
class Asked:
    """An image, and of which platforms: ``platforms``, or ``every`` one of them."""

    repository: Repository
    reference: Reference
    platforms: tuple[str, ...]
    every: bool = False


class _Effort:
    """The blobs of one image; ``over`` once one of them failed, or nobody waits any more."""

    over = False


class Warming:
    """All that is warmed on this node shares ``Limits.warm_blobs`` blobs at a time."""

    def __init__(self, ports: Ports, limits: Limits, timeouts: Timeouts) -> None:
        self._ports = ports
        self._turns = DeferredSemaphore(limits.warm_blobs)
        self._pause = min(_PAUSE, timeouts.answer)

    async def plan(self, asked: Asked) -> Plan:
        """What the image is; its manifests are fetched, and kept. Raises Failure."""
        found: dict[Digest, Document] = {}
        await self._gather(asked, asked.reference, found, _DEPTH)
        blobs = {
            piece.digest: piece.size
            for document in found.values()
            for piece in document.blobs
            if not piece.foreign
        }
        return Plan(asked.repository, asked.reference, tuple(found.values()), blobs)

    async def _gather(
        self, asked: Asked, reference: Reference, found: dict[Digest, Document], depth: int
    ) -> None:
        result = await self._ports.cache.manifest(asked.repository, reference, head=False)
        assert result.body is not None
        document = read_document(result.body, result.digest, result.media_type)
        if document.children and not depth:
            raise UpstreamFailure(UpstreamKind.WRONG, "its indexes lead to indexes, too deep")
        wanted = document.children and pick(document.children, asked.platforms, every=asked.every)
        for child in wanted:
            if child.piece.digest not in found:
                await self._gather(asked, child.piece.digest, found, depth - 1)
        found[document.digest] = document

    def missing(self, plan: Plan) -> dict[Digest, int]:
        """The blobs that are not here whole, with their sizes in bytes."""
        here = self._ports.shelf.blob_size
        return {digest: size for digest, size in plan.blobs.items() if here(digest) is None}

    async def fetch(self, plan: Plan, progress: Progress) -> int:
        """Returns when all blobs of the image are here: the bytes that were not before.

        Raises the first Failure; what was begun by then goes on.
        """
        missing, effort = self.missing(plan), _Effort()
        work = [
            Deferred.fromCoroutine(self._in_turn(effort, plan.repository, digest, size, progress))
            for digest, size in missing.items()
        ]
        gathered = gatherResults(work, consumeErrors=True)
        try:
            await gathered
        except FirstError as first:
            for each in work:
                each.cancel()
            first.subFailure.raiseException()
        return sum(missing.values())

    async def _in_turn(
        self,
        effort: _Effort,
        repository: Repository,
        digest: Digest,
        size: int,
        progress: Progress,
    ) -> None:
        await self._turns.acquire()
        try:
            if not effort.over:
                await self._persistently(repository, digest, size, progress)
        except BaseException:
            # Before the turn goes to another of the same image.
            effort.over = True
            raise
        finally:
            self._turns.release()

    async def _persistently(
        self, repository: Repository, digest: Digest, size: int, progress: Progress
    ) -> None:
        pause = self._pause
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                await self._blob(repository, digest, size, progress)
            except Failure as failure:
                if attempt == _ATTEMPTS or not _is_passing(failure):
                    raise
            else:
                return
            await deferLater(self._ports.clock, pause)
            pause *= 2

    async def _blob(
        self, repository: Repository, digest: Digest, size: int, progress: Progress
    ) -> None:
        # Not as a client that takes the body whole: it could be passed through, unkept.
        result = await self._ports.cache.blob(repository, digest, whole=False)
        assert isinstance(result, BlobResult)
        reader, offset = result.readable, 0
        try:
            while reader.total is None or offset < reader.total:
                present = reader.available(offset, held_back=True)
                if present:
                    offset += present
                    progress(digest, offset, size if reader.total is None else reader.total)
                if not present or not self._is_kept(digest):
                    await reader.wait(offset, held_back=True)
                    self._refuse_unkept(digest)
        except FlightFailed as failed:
            raise failed.cause from None
        finally:
            reader.close()
        await self._stored(digest)

    def _is_kept(self, digest: Digest) -> bool:
        """Whether it is here, or will be when its flight is over."""
        here = self._ports.shelf.blob_size(digest) is not None
        return here or self._ports.flights.get(digest) is not None

    def _refuse_unkept(self, digest: Digest) -> None:
        if not self._is_kept(digest):
            raise NoRoom(f"{digest} can not be kept: there is no room, or the disk failed")

    async def _stored(self, digest: Digest) -> None:
        flight = self._ports.flights.get(digest)
        if flight is not None:
            await flight.over()
        self._refuse_unkept(digest)


def _is_passing(failure: Failure) -> bool:
    return isinstance(failure, UpstreamFailure) and failure.kind in _PASSING
