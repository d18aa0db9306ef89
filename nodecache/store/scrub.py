"""Reading all blobs again, slowly, to find the rotten ones before a client does.

One pass a day at the most, at a rate that no client feels. It begins at
another place each time, so that a process that is restarted daily gets round
nevertheless.
"""

from __future__ import annotations

import functools
import os
import random
from collections.abc import Iterator

from twisted.internet.task import deferLater

from nodecache.events import DiskFailed
from nodecache.failures import StoreFailure
from nodecache.reference import Digest
from nodecache.store.accounts import Accounts
from nodecache.store.blobs import Blobs
from nodecache.store.ground import Ground
from nodecache.store.keys import Kind, key_of
from nodecache.store.scan import blob_name


class Scrub:
    """``run`` goes on until it is cancelled."""

    def __init__(self, ground: Ground, accounts: Accounts, blobs: Blobs) -> None:
        self._ground = ground
        self._accounts = accounts
        self._blobs = blobs

    async def run(self) -> None:
        """Passes and pauses. One that fails is told of, and the next begins in its time."""
        await self._sleep(self._ground.timeouts.scrub_first)
        while True:
            try:
                await self._pass()
            except StoreFailure as failure:
                self._ground.observe(DiskFailed(operation="scrub", reason=str(failure)))
            await self._sleep(self._ground.timeouts.scrub_rest)

    async def _pass(self) -> None:
        for folder in self._folders():
            for name in await self._ground.pool.run(functools.partial(_listed, folder)):
                await self._look(name)

    def _folders(self) -> Iterator[str]:
        first = random.randrange(256)
        for number in range(first, first + 256):
            yield os.path.join(self._ground.layout.blobs, f"{number % 256:02x}")

    async def _look(self, name: str) -> None:
        key = key_of(Kind.BLOB, Digest("sha256", name))
        if self._accounts.has(key) and not await self._blobs.is_good(key, self._pause):
            await self._blobs.lost(key, "scrub")

    async def _pause(self, size: int) -> None:
        await self._sleep(size / self._ground.limits.scrub_rate)

    async def _sleep(self, seconds: float) -> None:
        await deferLater(self._ground.clock, seconds)


def _listed(folder: str) -> list[str]:
    """Blocks. The names of blobs in a folder; a folder that is not there has none."""
    try:
        return [name for name in os.listdir(folder) if blob_name(name)]
    except OSError:
        return []
