"""What every fill is made with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

import attrs
from twisted.internet.defer import DeferredLock
from twisted.internet.interfaces import IReactorTime

from nodecache.fill.connections import Line
from nodecache.fill.pressure import Pressure
from nodecache.fill.share import Share
from nodecache.limits import Limits, Timeouts
from nodecache.reference import Digest
from nodecache.seams import BlobSourceFactory, DiskPool, Observe, Readable
from nodecache.segments import Spread
from nodecache.store import Known, Partial, Reservation

#: How many connections a fill of a blob of so many bytes begins with.
Width: TypeAlias = Callable[[Digest, int], int]
#: How what is read ahead of a blob is scattered; None: it is not.
Spreading: TypeAlias = Callable[[Digest], Spread | None]


class BlobStore(Protocol):
    """What a fill needs of the store; ``nodecache.store.Store`` is one."""

    async def reserve(self, size: int) -> Reservation: ...

    async def open_partial(self, digest: Digest) -> Partial: ...

    async def commit(self, partial: Partial, reservation: Reservation, size: int) -> None: ...

    def blob_size(self, digest: Digest) -> int | None: ...

    async def open_blob(self, digest: Digest) -> Readable | None: ...

    async def peek_partial(self, digest: Digest) -> Known | None: ...

    async def drop_partial(self, digest: Digest) -> None: ...

    def refuse_if_broken(self) -> None: ...

    @property
    def partials_share(self) -> int: ...


class Blame(Protocol):
    """Who hears whether bytes were right. ``sums`` are the CRC-32 of the blocks, by segment."""

    def mismatched(
        self,
        digest: Digest,
        senders: Mapping[int, frozenset[str]],
        sums: Mapping[int, tuple[int, ...]],
    ) -> bool:
        """The bytes of a fill did not match, or can not all be of one blob.

        ``senders`` are the peers that sent some of them, by segment. True: the
        blob is worth another fill at once.
        """
        ...

    def verified(self, digest: Digest, sums: Mapping[int, tuple[int, ...]]) -> None:
        """A fill ended right."""
        ...


class NoBlame(Blame):
    """For a node without peers: whatever was wrong, upstream sent it."""

    def mismatched(
        self,
        digest: Digest,
        senders: Mapping[int, frozenset[str]],
        sums: Mapping[int, tuple[int, ...]],
    ) -> bool:
        del digest, senders, sums
        return False

    def verified(self, digest: Digest, sums: Mapping[int, tuple[int, ...]]) -> None:
        pass


@attrs.frozen
class Tools:
    """What all fills share.

    ``connections`` are those of the node, ``line`` is where fills wait for
    their turn; those that only peers asked for have their own, ``peer_line``,
    and ``share`` of the disk. ``pressure`` bounds what waits for the disk, ``writeback`` is held
    by who lets it begin to write.
    """

    store: BlobStore
    pool: DiskPool
    factory: BlobSourceFactory
    clock: IReactorTime
    observe: Observe
    limits: Limits
    timeouts: Timeouts
    connections: Line
    line: Line
    peer_line: Line
    share: Share
    pressure: Pressure
    writeback: DeferredLock
    width: Width
    spread: Spreading
    blame: Blame
