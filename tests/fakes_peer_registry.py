"""What a node does for its peers, as told: loans of temporary files, and refusals.

``FakePeerRegistry`` stands where the cache does. Every loan that it hands out
counts how often it was closed, and each must be closed exactly once.
"""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred

from nodecache.peerwire.answers import Absent, Manifest, ManifestAnswer, Refusal
from nodecache.peerwire.questions import BlobQuestion, ManifestQuestion, Mode
from nodecache.reference import Digest
from nodecache.results import Loan, PeerRegistry
from nodecache.seams import Readable
from tests.fakes_registry import IMAGE, FakeBlob, FakeReadable, digest_of


class FakeLoan(Loan):
    """Bytes of a ``FakeBlob``; ``lives`` is what ``alive`` says."""

    def __init__(self, blob: FakeBlob, *, ranged: bool = True, fetched: bool = False) -> None:
        self.reader: FakeReadable = blob.reader()
        self.closed = 0
        self.lives = True
        self._blob = blob
        self._ranged = ranged
        self._fetched = fetched

    @property
    def readable(self) -> Readable:
        return self.reader

    @property
    def total(self) -> int:
        assert self._blob.total is not None
        return self._blob.total

    @property
    def ranged(self) -> bool:
        return self._ranged

    @property
    def fetched(self) -> bool:
        return self._fetched

    def alive(self) -> bool:
        return self.lives

    def close(self) -> None:
        self.closed += 1
        self.reader.close()


@attrs.frozen
class Suspected:
    digest: Digest
    sums: dict[int, tuple[int, ...]]
    by: str


class FakePeerRegistry(PeerRegistry):
    """Answers from dictionaries; an exception in one of them is raised.

    ``has`` are the blobs of which bytes are here; the others of ``blobs`` are
    fetched, which lasts until ``fetched`` fires where it is set.
    """

    def __init__(self) -> None:
        self.blobs: dict[Digest, FakeBlob | Refusal | BaseException] = {}
        self.has: set[Digest] = set()
        #: What is said of blobs that are not here, to who asks only that.
        self.first_looks: dict[Digest, Refusal] = {}
        self.manifests: dict[str, ManifestAnswer | BaseException] = {}
        self.fetched: Deferred[None] | None = None
        self.asked: list[tuple[BlobQuestion | ManifestQuestion, str]] = []
        self.suspected: list[Suspected] = []
        self.loans: list[FakeLoan] = []
        self.cancelled = 0

    def add_blob(self, blob: FakeBlob, data: bytes, *, here: bool = True) -> Digest:
        """``blob`` is the blob of ``data``; ``here``: it need not be fetched."""
        digest = digest_of(data)
        self.blobs[digest] = blob
        if here:
            self.has.add(digest)
        return digest

    def add_manifest(self, body: bytes, *references: str, age: float | None = None) -> Digest:
        digest = digest_of(body)
        answer = Manifest(digest, IMAGE, len(body), age, body)
        for reference in (str(digest), *references):
            self.manifests[reference] = answer
        return digest

    async def peer_blob(self, question: BlobQuestion, asker: str) -> Loan | Refusal:
        self.asked.append((question, asker))
        here = question.digest in self.has
        found: Any = self.blobs.get(question.digest, Absent())
        if isinstance(found, FakeBlob) and not here:
            if question.mode is Mode.ONLY_IF_HAVE:
                return self.first_looks.get(question.digest, Absent())
            await self._fetch()
            found = self.blobs[question.digest]
        if isinstance(found, BaseException):
            raise found
        if not isinstance(found, FakeBlob):
            answer: Refusal = found
            return answer
        loan = FakeLoan(found, fetched=not here)
        self.loans.append(loan)
        return loan

    async def _fetch(self) -> None:
        if self.fetched is not None:
            waiter: Deferred[None] = Deferred(self._count_cancel)
            self.fetched.chainDeferred(waiter)
            await waiter

    def _count_cancel(self, _: object) -> None:
        self.cancelled += 1

    async def peer_has_blob(self, question: BlobQuestion) -> int | None:
        found = self.blobs.get(question.digest)
        if isinstance(found, BaseException):
            raise found
        if isinstance(found, FakeBlob) and question.digest in self.has:
            return found.total
        return None

    async def peer_manifest(self, question: ManifestQuestion, asker: str) -> ManifestAnswer:
        self.asked.append((question, asker))
        if question.mode is Mode.MAY_FETCH:
            await self._fetch()
        found = self.manifests.get(str(question.reference), Absent())
        if isinstance(found, BaseException):
            raise found
        if question.head and isinstance(found, Manifest):
            return attrs.evolve(found, body=None)
        return found

    async def peer_suspect(self, digest: Digest, sums: dict[int, tuple[int, ...]], by: str) -> None:
        self.suspected.append(Suspected(digest, sums, by))

    @property
    def open_loans(self) -> int:
        return sum(1 for loan in self.loans if not loan.closed)
