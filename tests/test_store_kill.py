"""A process that fills a store is killed, and what it had committed is there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from nodecache.limits import MIB
from nodecache.reference import Digest
from tests.store_case import StoreCase

FILL = """
import hashlib, sys, time
from twisted.internet import task
from twisted.internet.defer import Deferred
from nodecache.diskpool import ThreadDiskPool
from nodecache.reference import Digest
from nodecache.store import Store

async def fill(reactor):
    pool = ThreadDiskPool(reactor, 4)
    pool.start()
    store = await Store.open(
        sys.argv[1], pool, reactor, time.time, lambda event: None, cap=1 << 40, floor=0
    )
    for number in range(1_000_000):
        data = b"%d" % number * 100_000
        digest = Digest("sha256", hashlib.sha256(data).hexdigest())
        reservation = await store.reserve(len(data))
        partial = await store.open_partial(digest)
        await pool.run(lambda: partial.set_total(len(data)))
        await pool.run(lambda: partial.write(0, [data]))
        await store.commit(partial, reservation, len(data))
        await pool.run(partial.keep)
        print(digest, flush=True)

task.react(lambda reactor: Deferred.fromCoroutine(fill(reactor)))
"""


class KillTests(StoreCase):
    cap = 1 << 40

    def wall(self) -> float:
        """The other process sets its times by the real clock."""
        return super().wall() + 10**9

    def test_what_was_committed_outlasts_kill_9(self) -> None:
        self.run_now(self.store.close())
        with subprocess.Popen(
            [sys.executable, "-c", FILL, self.folder], stdout=subprocess.PIPE, text=True
        ) as filling:
            assert filling.stdout is not None
            digests = [Digest.parse(filling.stdout.readline().strip()) for _ in range(20)]
            os.kill(filling.pid, signal.SIGKILL)
            filling.wait()
        self.store = self.opened()
        self.assertTrue(self.store.unclean)
        self.assertEqual(self.told("corrupt"), [])
        for number, digest in enumerate(digests):
            self.assertEqual(self.read_blob(digest), b"%d" % number * 100_000)
        self.assertLess(self.store.usage().bytes, 1000 * MIB)
        self.assert_accounts_are_right()
