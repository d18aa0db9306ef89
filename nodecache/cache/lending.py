"""Bytes of blobs for peers: of what is here or on its way, or, where they may, fetched for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from typing import Final, Protocol

from nodecache.byteranges import Span
from nodecache.cache.gate import Gate, Subject
from nodecache.cache.ports import BlobShelf
from nodecache.cache.refusals import refusal_of
from nodecache.cache.tools import Tools
from nodecache.deadline import Deadline
from nodecache.failures import (
    Failure,
    FlightFailed,
    UpstreamFailure,
    UpstreamKind,
    root_of,
)
from nodecache.peerwire.answers import Absent, Denied, Elsewhere, Fetching, Refusal
from nodecache.peerwire.questions import BlobQuestion, Mode
from nodecache.reference import Digest, Repository
from nodecache.results import Loan
from nodecache.seams import Readable
from nodecache.segments import segment_of
from nodecache.sharing.duties import Asking, Duties
from nodecache.sharing.manifest_answers import ToldByPeer
from nodecache.singleflight import SingleFlight, within

#: Seconds. When to come again for what upstream brings, and for what is on its way otherwise.
_SOON: Final = 0.1
_NOT_YET: Final = 0.2
#: So many fills whose bytes may be wrong are made, or waited for, before a repair is given up.
_TRIES: Final = 2


class Lender(Protocol):
    """The fills, as peers use them. ``asker`` is a node id: it gets nothing that it sends us."""

    async def lend(
        self,
        repository: Repository,
        digest: Digest,
        span: Span,
        size: int | None,
        *,
        fetch: bool,
        asker: str,
        wait: float = 0.0,
    ) -> Loan | None:
        """Bytes of ``span``; None where there are none, or none may be fetched.

        ``wait``: seconds for which the first are waited for where they are on their way.
        Raises UpstreamFailure, StoreFailure (NoRoom among them), FlightFailed.
        """
        ...

    async def holds(self, digest: Digest, span: Span, asker: str) -> int | None:
        """Size of the blob, if bytes of ``span`` are here or on their way. Raises StoreFailure."""
        ...

    def is_getting(self, digest: Digest, span: Span, asker: str) -> bool:
        """Whether a fill looks for the segment or has it sent, and not by ``asker``."""
        ...

    async def is_new(self, digest: Digest) -> bool:
        """Whether not a byte of it is here, nor on its way. Raises StoreFailure."""
        ...

    async def distrust(self, digest: Digest, sums: Mapping[int, tuple[int, ...]]) -> None:
        """Drop what differs from ``sums``, unless its digest was found right here."""
        ...


class Lending:
    """``gate`` is the one before the upstreams without peers. ``stop`` is owed.

    ``patience``: seconds after which a peer hears that what it asked for is being fetched.
    ``repairs_alone``: whether all bytes of a fill of that blob come from upstream by now.
    """

    def __init__(
        self,
        tools: Tools,
        lender: Lender,
        gate: Gate,
        duties: Duties,
        asking: Asking,
        patience: float,
        repairs_alone: Callable[[Digest], bool],
    ) -> None:
        self._shelf: BlobShelf = tools.shelves
        self._fills = tools.fills
        self._lender = lender
        self._gate = gate
        self._duties = duties
        self._asking = asking
        self._clock = tools.clock
        self._patience = patience
        self._repairs_alone = repairs_alone
        self._repairs: SingleFlight[Digest, None] = SingleFlight()
        #: Repairs whose every byte comes from upstream.
        self._pure: set[Digest] = set()

    async def lend(self, question: BlobQuestion, asker: str) -> Loan | Refusal:
        """The loan is the caller's to close."""
        digest, segment = question.digest, segment_of(question.span.start)
        whole = self._shelf.blob_size(digest) is not None
        if not whole and self._asking.waits_for(asker, digest, segment):
            return Denied("this node waits for you, for the same segment")
        try:
            if question.verified and not whole:
                return await self._repair(question, asker)
            loan = await self._lend(question, asker, fetch=False)
            if loan is not None:
                return loan
            if question.mode is Mode.ONLY_IF_HAVE:
                return self._not_yet(question, asker, segment)
            return await self._fetch(question, asker, segment)
        except Failure as failure:
            return refusal_of(failure)

    async def _lend(self, question: BlobQuestion, asker: str, *, fetch: bool) -> Loan | None:
        return await self._lender.lend(
            question.repository,
            question.digest,
            question.span,
            question.size,
            fetch=fetch,
            asker=asker,
            wait=question.wait,
        )

    def _not_yet(self, question: BlobQuestion, asker: str, segment: int) -> Refusal:
        """Not a byte of it is here. Who may come again for it need not ask everybody else."""
        if self._duties.brings(question.digest, segment, asker):
            return Fetching(_SOON)
        if question.wait and self._lender.is_getting(question.digest, question.span, asker):
            return Elsewhere(_NOT_YET)
        return Absent()

    async def _fetch(self, question: BlobQuestion, asker: str, segment: int) -> Loan | Refusal:
        """Have the duty for as long as the loan lives."""
        subject = Subject.blob(question.repository, question.digest)
        self._gate.check(subject)
        with ExitStack() as stack:
            stack.enter_context(self._duties.on(question.digest, segment))
            try:
                loan = await self._lend(question, asker, fetch=True)
            except UpstreamFailure as failure:
                if failure.is_absence and not isinstance(failure, ToldByPeer):
                    self._gate.remember(subject, failure)
                raise
            if loan is None:
                return Absent()
            return _DutifulLoan(loan, stack.pop_all())

    async def _repair(self, question: BlobQuestion, asker: str) -> Loan | Refusal:
        """A copy whose digest was found right, or one that comes from upstream alone.

        It is fetched whole. Whoever asked checks the digest as well, so that a
        pure one is lent while it arrives: a big blob takes longer than anybody waits.
        """
        if question.mode is Mode.ONLY_IF_HAVE:
            return Absent()
        if question.digest in self._pure:
            return await self._lend_pure(question, asker)
        self._gate.check(Subject.blob(question.repository, question.digest))
        waiter = self._repairs.run(question.digest, lambda: self._make_whole(question))
        try:
            await within(waiter, self._clock, Deadline(self._clock.seconds() + self._patience))
        except UpstreamFailure:
            if question.digest in self._pure:
                return await self._lend_pure(question, asker)
            if question.digest in self._repairs:
                return Fetching(self._patience)
            raise
        return await self._lend(question, asker, fetch=False) or Fetching(self._patience)

    async def _lend_pure(self, question: BlobQuestion, asker: str) -> Loan | Refusal:
        return await self._lend(question, asker, fetch=True) or Fetching(self._patience)

    async def _make_whole(self, question: BlobQuestion) -> None:
        """Returns once the digest was found right. Raises UpstreamFailure, StoreFailure.

        A fill that is under way may have the wrong bytes, too: when it ends so, another one
        takes none from peers.
        """
        digest = question.digest
        with self._duties.on(digest, segment_of(question.span.start), repair=True):
            for tries_left in reversed(range(_TRIES)):
                if await self._is_pure(digest):
                    break
                try:
                    return await self._fill(question, pure=False)
                except FlightFailed as failure:
                    # The one that ranks first for it may be who sent the wrong bytes: then this
                    # node does not take itself for the one that repairs, and is asked to.
                    last = not tries_left or not _was_wrong(failure)
                    if last and not await self._is_pure(digest):
                        raise
            return await self._fill(question, pure=True)

    async def _is_pure(self, digest: Digest) -> bool:
        return self._repairs_alone(digest) or await self._lender.is_new(digest)

    async def _fill(self, question: BlobQuestion, *, pure: bool) -> None:
        digest = question.digest
        flight = await self._fills.start(question.repository, digest, question.size)
        reader = flight.reader()
        try:
            await flight.opened()
            if pure:
                self._pure.add(digest)
            await _read_through(reader)
        finally:
            self._pure.discard(digest)
            reader.close()

    async def size(self, question: BlobQuestion) -> int | None:
        """That of the blob, where bytes of the span are here or on their way."""
        size = self._shelf.blob_size(question.digest)
        if size is not None or question.verified:
            return size
        try:
            return await self._lender.holds(question.digest, question.span, "")
        except Failure:
            return None

    async def distrust(self, digest: Digest, sums: Mapping[int, tuple[int, ...]]) -> None:
        # A disk that fails now: what is wrong on it is found out when the blob is whole.
        with suppress(Failure):
            await self._lender.distrust(digest, sums)

    def stop(self) -> None:
        self._repairs.stop()


def _was_wrong(failure: FlightFailed) -> bool:
    """Whether all of it came, and other bytes than those of its digest."""
    root = root_of(failure)
    return isinstance(root, UpstreamFailure) and root.kind is UpstreamKind.WRONG


async def _read_through(reader: Readable) -> None:
    """Wait for the last byte, which is held back until the digest was found right."""
    at = 0
    while reader.total is None or at < reader.total:
        ready = reader.available(at, held_back=True)
        if ready == 0:
            await reader.wait(at, held_back=True)
        at += ready
        reader.punched(at)


class _DutifulLoan(Loan):
    def __init__(self, loan: Loan, duty: ExitStack) -> None:
        self._loan = loan
        self._duty = duty

    @property
    def readable(self) -> Readable:
        return self._loan.readable

    @property
    def total(self) -> int:
        return self._loan.total

    @property
    def ranged(self) -> bool:
        return self._loan.ranged

    @property
    def fetched(self) -> bool:
        return self._loan.fetched

    def alive(self) -> bool:
        return self._loan.alive()

    def close(self) -> None:
        self._loan.close()
        self._duty.close()
