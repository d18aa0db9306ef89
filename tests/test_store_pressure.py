"""A cap that nearly all is spoken for: what makes room, what is waited for, and what is refused."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred

from nodecache.eviction import whole_blocks
from nodecache.failures import NoRoom
from nodecache.fill.demand import Demand
from nodecache.fill.landing import Landing
from nodecache.fill.share import Share
from nodecache.limits import KIB, MIB
from nodecache.reference import Digest
from nodecache.store import Partial, Reservation
from nodecache.store.blobs import StoredBlob
from tests.store_case import StoreCase, digest_of, fill_partial, some_bytes


class _Cases(StoreCase):
    cap = 1 * MIB

    def range_of(self, digest: Digest) -> None:
        """Answered and over: its client may come back."""
        blob = self.read_on(digest)
        blob.close()

    def read_on(self, digest: Digest) -> StoredBlob:
        blob = self.run_now(self.store.open_blob(digest))
        assert blob is not None
        blob.available(100, held_back=False)
        return blob

    def here(self, digests: list[Digest]) -> list[bool]:
        return [self.store.blob_size(digest) is not None for digest in digests]


class GraceTests(_Cases):
    def test_what_nobody_reads_any_more_goes_before_a_request_is_refused(self) -> None:
        digests = self.put_blobs(4, 256 * KIB)
        for digest in digests:
            self.range_of(digest)
            self.clock.advance(1)
        self.run_now(self.store.reserve(300 * KIB)).release()
        self.assertEqual(self.here(digests), [False, False, True, True])
        self.assert_accounts_are_right()

    def test_it_stays_as_long_as_anything_else_can_go(self) -> None:
        digests = self.put_blobs(4, 256 * KIB)
        self.range_of(digests[0])
        self.run_now(self.store.reserve(700 * KIB)).release()
        self.assertEqual(self.here(digests), [True, False, False, False])

    def test_what_is_read_does_not_go(self) -> None:
        digests = self.put_blobs(4, 256 * KIB)
        readers = [self.read_on(digest) for digest in digests]
        self.range_of(digests[0])
        self.fails(self.store.reserve(4 * KIB), NoRoom)
        for reader in readers:
            reader.close()
        self.clock.advance(self.timeouts.grace_pin)
        self.run_now(self.store.reserve(1 * MIB)).release()

    def test_a_grace_that_was_ended_does_not_end_twice(self) -> None:
        [digest] = self.put_blobs(1, 1 * MIB)
        self.range_of(digest)
        reader = self.read_on(digest)
        self.fails(self.store.reserve(4 * KIB), NoRoom)
        self.clock.advance(self.timeouts.grace_pin)
        self.fails(self.store.reserve(4 * KIB), NoRoom)
        reader.close()


class AboutToGoTests(_Cases):
    """Over a pool whose jobs run when the test says so."""

    def setUp(self) -> None:
        super().setUp()
        self.run_now(self.store.close())
        self.pool = self.open_held()
        self.pool.flush()

    def now(self, work: Deferred[None]) -> None:
        self.pool.flush()
        self.successResultOf(work)

    def filled(self, size: int, seed: int = 0) -> tuple[Partial, Reservation]:
        data = some_bytes(size, seed)
        opening = self.begin(self.store.open_partial(digest_of(data)))
        reserving = self.begin(self.store.reserve(size))
        self.pool.flush()
        partial = self.successResultOf(opening)
        fill_partial(partial, data)
        return partial, self.successResultOf(reserving)

    def asked(self, size: int) -> Deferred[Reservation]:
        """It has looked at the disk once, and nothing else that was held has run."""
        asked = self.begin(self.store.reserve(size))
        self.look()
        return asked

    def look(self) -> None:
        self.pool.held.insert(0, self.pool.held.pop())
        self.pool.step()

    def test_a_commit_that_is_under_way_is_waited_for(self) -> None:
        partial, reservation = self.filled(1 * MIB)
        commit = self.begin(self.store.commit(partial, reservation, 1 * MIB))
        asked = self.asked(4 * KIB)
        self.assertNoResult(asked)
        self.now(commit)
        partial.keep()
        self.clock.advance(self.timeouts.room_look)
        self.pool.flush()
        self.successResultOf(asked).release()
        self.assertEqual(self.store.usage().bytes, 0)
        self.assertLess(self.clock.seconds(), self.timeouts.room)

    def test_one_that_somebody_reads_is_not(self) -> None:
        partial, reservation = self.filled(1 * MIB)
        commit = self.begin(self.store.commit(partial, reservation, 1 * MIB))
        asked = self.asked(4 * KIB)
        self.now(commit)
        self.clock.advance(self.timeouts.room_look)
        self.pool.flush()
        self.failureResultOf(asked, NoRoom)
        partial.keep()

    def test_one_whose_readers_have_gone_is_waited_for_until_it_is_closed(self) -> None:
        partial, reservation = self.filled(1 * MIB)
        self.now(self.begin(self.store.commit(partial, reservation, 1 * MIB)))
        partial.closing = True
        asked = self.asked(4 * KIB)
        self.assertNoResult(asked)
        partial.keep()
        self.clock.advance(self.timeouts.room_look)
        self.pool.flush()
        self.successResultOf(asked).release()

    def test_a_fill_tells_when_its_last_reader_has_gone(self) -> None:
        data = some_bytes(1 * MIB)
        tools: Any = SimpleNamespace(store=self.store, pool=self.pool, observe=self.events.append)
        tools.share = Share(lambda: 0)
        landing = Landing(digest_of(data), Demand(local=True), tools)
        opening = self.begin(landing.open())
        self.pool.flush()
        partial = self.successResultOf(opening)
        fill_partial(partial, data)
        file = landing.share()
        self.now(self.begin(landing.reserve_whole(len(data))))
        self.now(self.begin(landing.commit(len(data))))
        self.failureResultOf(self.asked(4 * KIB), NoRoom)
        file.release()
        asked = self.asked(4 * KIB)
        self.assertNoResult(asked)
        self.pool.flush()
        self.clock.advance(self.timeouts.room_look)
        self.pool.flush()
        self.successResultOf(asked).release()
        self.now(self.begin(landing.close(keep=True)))

    def test_nothing_is_waited_for_that_would_not_be_enough(self) -> None:
        partial, reservation = self.filled(512 * KIB)
        other, kept = self.filled(512 * KIB, 1)
        commit = self.begin(self.store.commit(partial, reservation, 512 * KIB))
        self.failureResultOf(self.asked(768 * KIB), NoRoom)
        self.now(commit)
        for each in (partial, other):
            each.keep()
        kept.release()

    def test_it_is_not_waited_for_without_end(self) -> None:
        partial, reservation = self.filled(1 * MIB)
        commit = self.begin(self.store.commit(partial, reservation, 1 * MIB))
        asked = self.asked(4 * KIB)
        while self.clock.seconds() < self.timeouts.room:
            self.assertNoResult(asked)
            self.clock.advance(self.timeouts.room_look)
            self.look()
        self.failureResultOf(asked, NoRoom)
        self.now(commit)
        partial.keep()

    def test_who_gives_up_leaves_nothing_behind(self) -> None:
        partial, reservation = self.filled(1 * MIB)
        commit = self.begin(self.store.commit(partial, reservation, 1 * MIB))
        asked = self.asked(4 * KIB)
        asked.addErrback(lambda _: None)
        asked.cancel()
        self.now(commit)
        partial.keep()
        self.clock.advance(self.timeouts.room_look)
        self.assertEqual(self.store.usage().reserved, 0)


class PressureTests(_Cases):
    """Many small fills and ranges: refused is only what readers and fills leave no room for."""

    cap = 256 * KIB

    def setUp(self) -> None:
        super().setUp()
        self.rolled = random.Random(27)
        self.fills: list[tuple[Partial, Reservation, int]] = []
        self.readers: list[tuple[Digest, StoredBlob]] = []
        self.stored: list[Digest] = []
        self.refused = self.given = 0

    def test_every_refusal_is_right(self) -> None:
        acts = (self.fill, self.fill, self.store_one, self.ranged, self.ranged, self.hold, self.let)
        for _ in range(600):
            self.rolled.choice(acts)()
            self.clock.advance(self.rolled.random())
        self.assertGreater(self.refused, 10)
        self.assertGreater(self.given, 60)
        while self.fills:
            self.store_one()
        for _, reader in self.readers:
            reader.close()
        self.assert_accounts_are_right()

    def fill(self) -> None:
        size = self.rolled.randrange(1, 80 * KIB)
        data = some_bytes(size, self.rolled.randrange(1 << 30))
        needed = whole_blocks(size) + self.spoken_for()
        if needed > self.cap:
            self.refused += 1
            self.fails(self.store.reserve(size), NoRoom)
            return
        self.given += 1
        reservation = self.run_now(self.store.reserve(size))
        partial = self.run_now(self.store.open_partial(digest_of(data)))
        fill_partial(partial, data)
        self.fills.append((partial, reservation, size))

    def spoken_for(self) -> int:
        """Of fills under way, and of blobs that are read."""
        read = {digest: blob.total or 0 for digest, blob in self.readers}
        return self.store.usage().reserved + sum(map(whole_blocks, read.values()))

    def store_one(self) -> None:
        if self.fills:
            partial, reservation, size = self.fills.pop(0)
            self.run_now(self.store.commit(partial, reservation, size))
            partial.keep()
            self.stored.append(partial.digest)

    def one_stored(self) -> Digest | None:
        self.stored = [each for each in self.stored if self.store.blob_size(each) is not None]
        return self.rolled.choice(self.stored) if self.stored else None

    def ranged(self) -> None:
        if (digest := self.one_stored()) is not None:
            self.range_of(digest)

    def hold(self) -> None:
        if len(self.readers) < 2 and (digest := self.one_stored()) is not None:
            self.readers.append((digest, self.read_on(digest)))

    def let(self) -> None:
        if self.readers:
            self.readers.pop(0)[1].close()
