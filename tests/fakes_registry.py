"""A registry for the web rooms' tests: blobs in temporary files, answers as told.

``FakeRegistry`` stands where the cache does. What it hands out is counted:
each ``FakeReadable`` tells how often it was closed, and every one must be
closed exactly once.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, succeed

from nodecache.events import Source
from nodecache.failures import (
    Failure,
    FlightFailed,
    NoRoom,
    UpstreamFailure,
    UpstreamKind,
)
from nodecache.reference import Digest, Reference, Repository, repository
from nodecache.results import (
    BlobHead,
    BlobResult,
    ListingResult,
    ManifestResult,
    PassThroughResult,
    Registry,
)
from nodecache.seams import BlobBody, Readable

IMAGE = "application/vnd.oci.image.manifest.v1+json"
NOT_FOUND = UpstreamFailure(UpstreamKind.NOT_FOUND, "no such thing upstream", status=404)


def digest_of(data: bytes) -> Digest:
    return Digest("sha256", hashlib.sha256(data).hexdigest())


def some_bytes(size: int) -> bytes:
    """Bytes that differ from place to place, so that none can be taken for another."""
    words = bytearray()
    for number in range(size // 8 + 1):
        words += (number * 2654435761 % 2**64).to_bytes(8, "big")
    return bytes(words[:size])


class FakeBlob:
    """A blob in a file, whole or growing. Bytes before ``size - tail`` go to held-back readers."""

    def __init__(self, data: bytes = b"", total: int | None = None, tail: int = 0) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # closed by close()
        self.present = 0
        self.total = total
        self.verified = False
        self.tail = tail
        self.failure: Failure | None = None
        self.readers: list[FakeReadable] = []
        if data:
            self.append(data)

    @classmethod
    def whole(cls, data: bytes) -> FakeBlob:
        blob = cls(data, len(data))
        blob.finish()
        return blob

    @property
    def fd(self) -> int:
        return self._file.fileno()

    def append(self, data: bytes) -> None:
        os.pwrite(self.fd, data, self.present)
        self.present += len(data)
        self._wake()

    def learn(self, total: int) -> None:
        self.total = total
        self._wake()

    def finish(self) -> None:
        """The digest is right."""
        self.total, self.verified = self.present, True
        self._wake()

    def fail(self, cause: Failure) -> None:
        self.failure = FlightFailed(cause)
        self._wake()

    def truncate(self, size: int) -> None:
        """The file is shorter than all believe."""
        os.ftruncate(self.fd, size)

    def reader(self) -> FakeReadable:
        reader = FakeReadable(self)
        self.readers.append(reader)
        return reader

    @property
    def open_readers(self) -> int:
        return sum(1 for reader in self.readers if not reader.closed)

    def _wake(self) -> None:
        for reader in self.readers:
            reader.wake()

    def close(self) -> None:
        self._file.close()


class FakeReadable(Readable):
    def __init__(self, blob: FakeBlob) -> None:
        self._blob = blob
        self.closed = 0
        self.given_up = 0
        self.waits: list[tuple[int, bool, Deferred[None]]] = []

    @property
    def fd(self) -> int:
        assert not self.closed
        return self._blob.fd

    @property
    def total(self) -> int | None:
        return self._blob.total

    def available(self, offset: int, *, held_back: bool) -> int:
        blob = self._blob
        end = blob.present
        if held_back and not blob.verified:
            end = min(end, (end if blob.total is None else blob.total) - max(1, blob.tail))
        return max(0, end - offset)

    def wait(self, offset: int, *, held_back: bool) -> Deferred[None]:
        assert not self.closed
        if self._ready(offset, held_back=held_back):
            return succeed(None)
        if self._blob.failure is not None:
            return fail(self._blob.failure)
        wait: Deferred[None] = Deferred(self._forget)
        self.waits.append((offset, held_back, wait))
        return wait

    def _ready(self, offset: int, *, held_back: bool) -> bool:
        if self.available(offset, held_back=held_back):
            return True
        total = self._blob.total
        at_end = total is not None and offset >= total
        return at_end and (self._blob.verified or not held_back)

    def _forget(self, wait: Deferred[None]) -> None:
        self.waits = [each for each in self.waits if each[2] is not wait]

    def wake(self) -> None:
        waits, self.waits = self.waits, []
        for offset, held_back, wait in waits:
            if self._ready(offset, held_back=held_back):
                wait.callback(None)
            elif self._blob.failure is not None:
                wait.errback(self._blob.failure)
            else:
                self.waits.append((offset, held_back, wait))

    def punched(self, offset: int) -> None:
        assert offset >= self.given_up
        self.given_up = offset

    def close(self) -> None:
        self.closed += 1


class FakeBody(BlobBody):
    """A body from upstream that is fed by the test."""

    def __init__(self, total: int | None = None) -> None:
        self._total = total
        self.sink: Callable[[bytes], None] | None = None
        self.done: Deferred[None] = Deferred()
        self.paused = False
        self.pauses = 0
        self.stopped = False

    @property
    def start(self) -> int:
        return 0

    @property
    def stop_at(self) -> int | None:
        return self._total

    @property
    def total(self) -> int | None:
        return self._total

    @property
    def peer(self) -> None:
        return None

    @property
    def ranged(self) -> bool:
        return False

    def deliver(self, sink: Callable[[bytes], None]) -> Deferred[None]:
        assert self.sink is None
        self.sink = sink
        return self.done

    def feed(self, data: bytes) -> None:
        assert self.sink is not None
        self.sink(data)

    def end(self) -> None:
        self.done.callback(None)

    def cut(self) -> None:
        self.done.errback(UpstreamFailure(UpstreamKind.CUT, "upstream's body ended early"))

    def pause(self) -> None:
        self.paused = True
        self.pauses += 1

    def resume(self) -> None:
        self.paused = False

    def stop(self) -> None:
        self.stopped = True


@attrs.define
class Asked:
    """One call of the registry."""

    method: str
    repository: Repository
    reference: Any
    option: Any = None


class FakeRegistry(Registry):
    """Answers from dictionaries; a Failure in one of them (or any exception) is raised.

    ``hold`` keeps every answer back until it fires.
    """

    def __init__(self) -> None:
        self.manifests: dict[str, ManifestResult | BaseException] = {}
        self.blobs: dict[Digest, FakeBlob | FakeBody | BaseException] = {}
        self.listings: dict[str, ListingResult | BaseException] = {}
        self.source = Source.DISK
        self.asked: list[Asked] = []
        self.hold: Deferred[None] | None = None
        self.cancelled = 0
        self.namespaces = ("docker.io", "quay.io")
        self.denied: dict[str, Failure] = {}
        #: Whether manifests are given at once, and those that were.
        self.at_once = False
        self.gave: list[tuple[Repository, Reference, ManifestResult]] = []

    def add_manifest(self, body: bytes, *references: str, **fields: Any) -> Digest:
        digest = digest_of(body)
        result = ManifestResult(
            digest=digest,
            media_type=fields.pop("media_type", IMAGE),
            size=len(body),
            body=body,
            source=fields.pop("source", Source.DISK),
            **fields,
        )
        for reference in (str(digest), *references):
            self.manifests[reference] = result
        return digest

    def add_blob(self, blob: FakeBlob | FakeBody | BaseException, data: bytes) -> Digest:
        digest = digest_of(data)
        self.blobs[digest] = blob
        return digest

    def repository(self, name: str, namespace: str | None) -> Repository:
        found = repository(name, namespace, self.namespaces)
        if name in self.denied:
            raise self.denied[name]
        return found

    async def _turn(self, *call: Any) -> None:
        self.asked.append(Asked(*call))
        if self.hold is not None:
            waiter: Deferred[None] = Deferred(self._count_cancel)
            self.hold.chainDeferred(waiter)
            await waiter

    def _count_cancel(self, _: object) -> None:
        self.cancelled += 1

    def ready_manifest(self, repository: Repository, reference: Reference) -> ManifestResult | None:
        found = self.manifests.get(str(reference)) if self.at_once else None
        return found if isinstance(found, ManifestResult) else None

    def gave_manifest(
        self, repository: Repository, reference: Reference, result: ManifestResult
    ) -> None:
        self.gave.append((repository, reference, result))

    async def manifest(
        self, repository: Repository, reference: Reference, *, head: bool
    ) -> ManifestResult:
        await self._turn("manifest", repository, reference, head)
        found: ManifestResult = _or_raise(self.manifests.get(str(reference), NOT_FOUND))
        return attrs.evolve(found, body=None) if head else found

    async def blob(
        self, repository: Repository, digest: Digest, *, whole: bool
    ) -> BlobResult | PassThroughResult:
        await self._turn("blob", repository, digest, whole)
        found: FakeBlob | FakeBody = _or_raise(self.blobs.get(digest, NOT_FOUND))
        if isinstance(found, FakeBlob):
            return BlobResult(found.reader(), self.source)
        if not whole:
            raise NoRoom("the disk is full")
        return PassThroughResult(found, found.total, repository, digest, "the disk is full")

    async def blob_head(self, repository: Repository, digest: Digest) -> BlobHead:
        await self._turn("blob_head", repository, digest)
        found: FakeBlob | FakeBody = _or_raise(self.blobs.get(digest, NOT_FOUND))
        assert found.total is not None
        return BlobHead(found.total, self.source)

    async def tags(self, repository: Repository, n: int | None, last: str | None) -> ListingResult:
        await self._turn("tags", repository, None, (n, last))
        found: ListingResult = _or_raise(self.listings.get("tags", NOT_FOUND))
        return found

    async def referrers(
        self, repository: Repository, digest: Digest, artifact_type: str | None
    ) -> ListingResult:
        await self._turn("referrers", repository, digest, artifact_type)
        found: ListingResult = _or_raise(self.listings.get("referrers", NOT_FOUND))
        return found


def _or_raise(found: Any) -> Any:
    if isinstance(found, BaseException):
        raise found
    return found


__all__ = [
    "Asked",
    "FakeBlob",
    "FakeBody",
    "FakeReadable",
    "FakeRegistry",
    "digest_of",
    "some_bytes",
]
