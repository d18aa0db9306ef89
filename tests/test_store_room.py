"""Room: reservations, cap and floor, who goes and what if it will not."""

from __future__ import annotations

import errno
import os

import attrs
from twisted.internet.defer import Deferred

from nodecache.failures import NoRoom, StoreFailure
from nodecache.limits import GIB, KIB, MIB
from nodecache.reference import Digest
from nodecache.store import Reservation, Store
from nodecache.store.disk import Space
from tests.fakes_disk import HeldPool
from tests.store_case import StoreCase, digest_of, fill_partial, manifest_of, some_bytes

PLENTY = Space(free=100 * GIB, total=100 * GIB, inodes_free=1_000_000, inodes=1_000_000)


class CapTests(StoreCase):
    cap = 1 * MIB

    def here(self, digests: list[Digest]) -> list[bool]:
        return [self.store.blob_size(digest) is not None for digest in digests]

    def test_the_longest_unused_goes_first(self) -> None:
        digests = self.put_blobs(4, 256 * KIB)
        self.clock.advance(60)
        self.read_blob(digests[0])
        self.put_blob(some_bytes(256 * KIB, 9))
        self.assertEqual(self.here(digests), [True, False, True, True])
        self.assert_accounts_are_right()

    def test_eviction_is_told_with_the_time_unused(self) -> None:
        (digest, *_) = self.put_blobs(4, 256 * KIB)
        self.clock.advance(120)
        self.put_blob(some_bytes(4 * KIB, 9))
        (event,) = self.told("evict")
        self.assertEqual(
            (event.kind, event.digest, event.bytes, event.idle_seconds),
            ("blob", str(digest), 256 * KIB, 300.0),
        )

    def test_ten_blobs_under_a_cap_of_four_take_the_room_of_four(self) -> None:
        self.put_blobs(10, 256 * KIB)
        self.assertEqual(self.store.usage().bytes, 1 * MIB)
        self.assertEqual(self.on_disk(), 1 * MIB)

    def test_a_blob_bigger_than_the_cap_has_no_room_and_costs_nobody(self) -> None:
        digests = self.put_blobs(4, 256 * KIB)
        self.fails(self.store.reserve(1 * MIB + 1), NoRoom)
        self.assertEqual(self.here(digests), [True] * 4)

    def test_what_is_reserved_is_not_given_twice(self) -> None:
        first = self.run_now(self.store.reserve(768 * KIB))
        self.fails(self.store.reserve(512 * KIB), NoRoom)
        first.release()
        first.release()
        self.run_now(self.store.reserve(1 * MIB)).release()
        self.assertEqual(self.store.usage().reserved, 0)

    def test_a_reservation_grows_by_evicting(self) -> None:
        digests = self.put_blobs(3, 256 * KIB)
        reservation = self.run_now(self.store.reserve(1000))
        self.run_now(reservation.grow(500 * KIB))
        self.assertEqual(reservation.size, 1000 + 500 * KIB)
        self.assertEqual(self.here(digests), [False, True, True])
        self.fails(reservation.grow(600 * KIB), NoRoom)
        self.assertEqual(reservation.size, 1000 + 500 * KIB)
        reservation.release()
        self.assertEqual(self.store.usage().reserved, 0)

    def test_a_reservation_that_is_over_does_not_grow(self) -> None:
        reservation = self.run_now(self.store.reserve(1000))
        reservation.release()
        self.fails(reservation.grow(1000), StoreFailure)
        self.assertEqual(self.store.usage().reserved, 0)

    def test_partials_go_before_blobs(self) -> None:
        digests = self.put_blobs(3, 256 * KIB)
        partial = self.run_now(self.store.open_partial(digest_of(b"p")))
        partial.write(0, [some_bytes(200 * KIB)])
        partial.keep()
        self.put_blob(some_bytes(256 * KIB, 9))
        self.assertEqual(self.here(digests), [True] * 3)
        self.assertEqual([e.kind for e in self.told("evict")], ["partial"])
        self.assert_accounts_are_right()

    def test_a_partial_that_is_open_is_not_evicted(self) -> None:
        partial = self.run_now(self.store.open_partial(digest_of(b"p")))
        partial.write(0, [some_bytes(64 * KIB)])
        self.put_blobs(8, 256 * KIB)
        self.assertTrue(os.path.exists(partial.path))
        partial.discard()

    def test_a_resumed_partial_needs_no_room_twice(self) -> None:
        data = some_bytes(900 * KIB)
        partial = self.run_now(self.store.open_partial(digest_of(data)))
        fill_partial(partial, data)
        partial.keep()
        self.assertEqual(self.store.usage().bytes, 904 * KIB)
        partial = self.run_now(self.store.open_partial(digest_of(data)))
        reservation = self.run_now(self.store.reserve(len(data)))
        self.run_now(self.store.commit(partial, reservation, len(data)))
        partial.keep()
        self.assert_accounts_are_right()

    def test_a_smaller_cap_takes_effect_at_once(self) -> None:
        digests = self.put_blobs(4, 256 * KIB)
        self.store.set_limits(512 * KIB, 0)
        self.assertEqual(self.here(digests), [False, False, True, True])
        self.assertEqual(self.store.usage().cap, 512 * KIB)

    def test_a_store_found_above_its_cap_is_trimmed_at_the_start(self) -> None:
        self.put_blobs(4, 256 * KIB)
        self.cap = 512 * KIB
        self.reopened()
        self.assertEqual(self.store.usage().bytes, 512 * KIB)
        self.assert_accounts_are_right()

    def test_manifests_and_tags_count_too(self) -> None:
        self.put_blobs(4, 256 * KIB)
        self.put_manifest(b"{}")
        self.assertEqual(self.store.usage().bytes, 768 * KIB + 8 * KIB)


class FloorTests(StoreCase):
    floor = 10 * GIB

    def setUp(self) -> None:
        super().setUp()
        self.disk.room = PLENTY
        self.digests = self.put_blobs(4, 256 * KIB)

    def free(self, amount: int) -> None:
        self.disk.room = attrs.evolve(PLENTY, free=amount)

    def test_no_room_is_given_below_the_floor(self) -> None:
        self.free(10 * GIB + 4 * MIB)
        self.fails(self.store.reserve(6 * MIB), NoRoom)
        self.assertEqual(self.store.usage().blobs, 4)

    def test_what_is_reserved_and_not_yet_written_counts_as_gone(self) -> None:
        self.free(10 * GIB + 4 * MIB)
        first = self.run_now(self.store.reserve(3 * MIB))
        self.fails(self.store.reserve(3 * MIB), NoRoom)
        first.release()

    def test_what_is_written_of_a_reservation_is_not_counted_twice(self) -> None:
        self.free(10 * GIB + 4 * MIB)
        first = self.run_now(self.store.reserve(3 * MIB))
        partial = self.run_now(self.store.open_partial(digest_of(b"p")))
        partial.write(0, [some_bytes(3 * MIB)])
        self.free(10 * GIB + 1 * MIB)
        self.run_now(self.store.reserve(1 * MIB)).release()
        first.release()
        partial.discard()

    def test_others_filling_the_disk_shrink_the_cache(self) -> None:
        self.free(10 * GIB - 300 * KIB)
        self.clock.advance(self.timeouts.marker)
        self.assertEqual(self.store.usage().blobs, 2)

    def test_all_of_it_goes_if_that_is_what_it_takes(self) -> None:
        self.free(0)
        self.clock.advance(self.timeouts.marker)
        self.assertEqual(self.store.usage().blobs, 0)
        self.assertEqual(self.on_disk(), 0)

    def test_few_inodes_are_a_floor_too(self) -> None:
        self.disk.room = attrs.evolve(PLENTY, inodes_free=99_999)
        reservation = self.run_now(self.store.reserve(100))
        self.assertEqual(self.store.usage().blobs, 0)
        reservation.release()
        self.fails(self.store.reserve(100), NoRoom)

    def test_a_file_system_that_does_not_count_inodes_is_fine(self) -> None:
        self.disk.room = attrs.evolve(PLENTY, inodes_free=None, inodes=None)
        self.run_now(self.store.reserve(100)).release()

    def test_a_disk_that_can_not_be_looked_at_is_a_failure(self) -> None:
        self.disk.fail("space", errno.EIO)
        error = self.fails(self.store.reserve(100), StoreFailure)
        self.assertNotIsInstance(error, NoRoom)
        self.clock.advance(self.timeouts.marker)
        self.assertIsNotNone(self.store.problem)
        self.disk.mend()
        self.clock.advance(self.timeouts.marker)
        self.assertIsNone(self.store.problem)


class ImmovableTests(StoreCase):
    """Victims that can not be unlinked."""

    cap = 1 * MIB

    def test_another_goes_in_its_place(self) -> None:
        first, second, *_ = self.put_blobs(4, 256 * KIB)
        self.disk.fail("unlink", errno.EPERM, where=first.hex)
        self.put_blob(some_bytes(256 * KIB, 9))
        self.assertIsNotNone(self.read_blob(first))
        self.assertIsNone(self.store.blob_size(second))
        self.assert_accounts_are_right()

    def test_if_none_goes_there_is_no_room(self) -> None:
        self.put_blobs(4, 256 * KIB)
        self.disk.fail("unlink", errno.EROFS)
        self.fails(self.store.reserve(256 * KIB), NoRoom)
        self.assertEqual(self.store.usage().blobs, 4)
        self.assertEqual(self.store.usage().reserved, 0)
        self.assert_accounts_are_right()


class ReadOnlyTests(StoreCase):
    """As ext4 becomes by itself after an error."""

    cap = 1 * MIB

    def test_it_goes_on_serving_and_says_what_is_wrong(self) -> None:
        digests = self.put_blobs(4, 256 * KIB)
        for call in ("pwritev", "append", "unlink", "rename", "mkdir", "used_at", "fsync"):
            self.disk.fail(call, errno.EROFS)
        self.clock.pump([10.0] * 400)
        self.assertIn("Read-only file system", str(self.store.problem))
        self.assertEqual(len(self.told("disk_failed")), 1)
        for number, digest in enumerate(digests):
            self.assertEqual(self.read_blob(digest), some_bytes(256 * KIB, number))
        self.fails(self.store.write_manifest(manifest_of(b"{}")), StoreFailure)
        self.fails(self.store.reserve(256 * KIB), NoRoom)
        self.disk.mend()
        self.clock.advance(10)
        self.assertIsNone(self.store.problem)
        self.put_blob(some_bytes(256 * KIB, 9))
        self.assert_accounts_are_right()


class ConcurrencyTests(StoreCase):
    """Jobs run when the test says so."""

    cap = 1 * MIB

    def setUp(self) -> None:
        super().setUp()
        self.digests = self.put_blobs(4, 256 * KIB)
        self.run_now(self.store.close())
        self.pool = HeldPool()
        opening = self.opening(self.pool)
        self.pool.flush()
        self.store = self.successResultOf(opening)
        self.addCleanup(self.close_held, self.store)

    def close_held(self, store: Store) -> None:
        closing = self.begin(store.close())
        self.pool.flush()
        self.successResultOf(closing)

    def reserve(self, size: int) -> Deferred[Reservation]:
        return self.begin(self.store.reserve(size))

    def test_two_at_once_do_not_evict_for_each_other_s_room(self) -> None:
        first, second = self.reserve(256 * KIB), self.reserve(256 * KIB)
        self.pool.flush()
        self.assertEqual(self.store.usage().blobs, 2)
        self.successResultOf(first).release()
        self.successResultOf(second).release()

    def test_two_at_once_are_not_given_the_same_room(self) -> None:
        first, second = self.reserve(768 * KIB), self.reserve(512 * KIB)
        self.pool.flush()
        self.failureResultOf(second, NoRoom)
        self.successResultOf(first).release()

    def test_one_that_is_cancelled_gives_back_what_came_of_it(self) -> None:
        reserving = self.reserve(256 * KIB)
        self.pool.step()
        reserving.cancel()
        self.failureResultOf(reserving)
        self.pool.flush()
        self.assertEqual(self.store.usage().reserved, 0)
        after = self.reserve(1 * MIB)
        self.pool.flush()
        self.successResultOf(after).release()

    def test_a_blob_is_gone_from_the_index_before_it_is_from_the_disk(self) -> None:
        reserving = self.reserve(256 * KIB)
        self.pool.step()
        self.assertTrue(os.path.exists(self.blob_path(self.digests[0])))
        self.assertIsNone(self.store.blob_size(self.digests[0]))
        asked = self.begin(self.store.open_blob(self.digests[0]))
        self.assertIsNone(self.successResultOf(asked))
        self.pool.flush()
        self.successResultOf(reserving).release()

    def test_a_blob_fetched_again_while_it_is_evicted_stays(self) -> None:
        """The unlink must not hit the file that is renamed into its place."""
        digest, data = self.digests[1], some_bytes(256 * KIB, 1)
        reserving, opening = self.reserve(256 * KIB), self.begin(self.store.open_partial(digest))
        self.pool.flush()
        partial, reservation = self.successResultOf(opening), self.successResultOf(reserving)
        fill_partial(partial, data)
        other = self.reserve(256 * KIB)
        self.pool.step()
        self.assertIsNone(self.store.blob_size(digest))
        self.assertTrue(os.path.exists(self.blob_path(digest)))
        committing = self.begin(self.store.commit(partial, reservation, len(data)))
        # Only the unlink is in line; the commit waits for it.
        self.assertEqual(len(self.pool.held), 1)
        self.pool.flush()
        self.successResultOf(committing)
        self.assertTrue(os.path.exists(self.blob_path(digest)))
        partial.keep()
        self.successResultOf(other).release()
        self.assert_accounts_are_right()

    def test_a_blob_fetched_while_it_is_here_is_not_evicted_in_between(self) -> None:
        digest, data = self.digests[1], some_bytes(256 * KIB, 1)
        reserving, opening = self.reserve(256 * KIB), self.begin(self.store.open_partial(digest))
        self.pool.flush()
        partial, reservation = self.successResultOf(opening), self.successResultOf(reserving)
        fill_partial(partial, data)
        committing = self.begin(self.store.commit(partial, reservation, len(data)))
        other = self.reserve(256 * KIB)
        self.pool.flush()
        self.successResultOf(committing)
        self.assertEqual(self.store.blob_size(digest), len(data))
        self.assertTrue(os.path.exists(self.blob_path(digest)))
        partial.keep()
        self.successResultOf(other).release()
        self.assert_accounts_are_right()
