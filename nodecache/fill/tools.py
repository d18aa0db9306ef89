"""What every fill is made with."""

from __future__ import annotations

from typing import Protocol

import attrs
from twisted.internet.interfaces import IReactorTime

from nodecache.fill.connections import Line
from nodecache.limits import Limits, Timeouts
from nodecache.reference import Digest
from nodecache.seams import BlobSourceFactory, DiskPool, Observe
from nodecache.store import Partial, Reservation


class BlobStore(Protocol):
    """What a fill needs of the store; ``nodecache.store.Store`` is one."""

    async def reserve(self, size: int) -> Reservation: ...

    async def open_partial(self, digest: Digest) -> Partial: ...

    async def commit(self, partial: Partial, reservation: Reservation, size: int) -> None: ...


@attrs.frozen
class Tools:
    """``connections`` are those of the node, ``line`` is where fills wait for their turn."""

    store: BlobStore
    pool: DiskPool
    factory: BlobSourceFactory
    clock: IReactorTime
    observe: Observe
    limits: Limits
    timeouts: Timeouts
    connections: Line
    line: Line
