"""After a start: partials that turn out to be whole, and blobs under suspicion.

A process that is killed between the last byte of a blob and its rename leaves
a whole blob by another name. It is hashed and committed without asking
upstream; whoever asks for it meanwhile waits. Its bytes are read once, for the
checksums of its segments and for its digest.

A look is no use: one that is kept, since only some of its segments are right,
goes in its turn, before those that a client has waited for since.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from nodecache.events import CorruptionFound, DiskFailed
from nodecache.failures import StoreFailure
from nodecache.reference import Digest
from nodecache.segments import segment_count
from nodecache.store.ground import Ground
from nodecache.store.incoming import Incoming
from nodecache.store.partial import Partial
from nodecache.store.room import Room
from nodecache.store.waiting import Waiters


class Recovery:
    """``pending`` are the digests whose partials are to be looked at."""

    def __init__(
        self, ground: Ground, room: Room, incoming: Incoming, pending: Iterable[Digest]
    ) -> None:
        self._ground = ground
        self._room = room
        self._incoming = incoming
        self._pending = {each: Waiters() for each in pending}

    async def run(self) -> None:
        """Look at them one after the other."""
        for digest in tuple(self._pending):
            try:
                await self._recover(digest)
            except StoreFailure as failure:
                self._ground.observe(DiskFailed(operation="recover", reason=str(failure)))
            finally:
                self._pending.pop(digest).fire()

    async def settled(self, digest: Digest) -> None:
        """Returns once ``digest`` was looked at. Raises StoreFailure when that takes too long."""
        if digest in self._pending:
            what = f"{digest} is still being checked after an unclean stop"
            patience = self._ground.timeouts.answer / 2
            await self._pending[digest].wait_for(what, patience, self._ground.clock)

    async def _recover(self, digest: Digest) -> None:
        found = hashlib.sha256()
        partial = await self._incoming.open(digest, found.update)
        try:
            total, whole = partial.total, len(partial.whole)
            if total is not None and whole == segment_count(total):
                await self._finish(partial, total, found.hexdigest())
            elif not whole:  # nobody can go on with it
                await self._ground.pool.run(partial.discard)
        finally:
            await self._ground.pool.run(partial.keep)
            self._incoming.reap()

    async def _finish(self, partial: Partial, total: int, found: str) -> None:
        """``found`` is what its bytes are the SHA-256 of."""
        if found == partial.digest.hex:
            reservation = await self._room.reserve(total)
            await self._incoming.commit(partial, reservation, total)
            return
        digest = str(partial.digest)
        self._ground.observe(CorruptionFound(kind="segment", digest=digest, found_by="resume"))
        await self._ground.pool.run(partial.discard)
