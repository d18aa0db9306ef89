from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError

from nodecache.events import Coalesced, DiskFailed, Source
from nodecache.failures import (
    FlightFailed,
    NoRoom,
    OfflineMiss,
    StoreFailure,
    UpstreamFailure,
    UpstreamKind,
)
from nodecache.reference import Repository
from tests.fakes_cache import (
    ALPINE,
    BROKEN,
    BUSYBOX,
    FULL,
    LATEST,
    QUAY,
    CacheTestCase,
    FakeReadable,
    digest_of,
    image,
    upstream_failures,
)

BLOB = b"a layer of an image"
DIGEST = digest_of(BLOB)
SHORT = DIGEST.hex[:6]
DOWN = UpstreamFailure(UpstreamKind.DOWN, "failed a moment ago")


class BlobTestCase(CacheTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.hub.blobs[DIGEST] = len(BLOB)

    def blob(self, *, whole: bool = True, repository: Repository = ALPINE) -> Any:
        return self.cache.blob(repository, DIGEST, whole=whole)

    def head(self) -> Any:
        return self.cache.blob_head(ALPINE, DIGEST)

    def readers(self) -> list[FakeReadable]:
        return self.fills.flights[DIGEST].readers


class BlobOnDiskTests(BlobTestCase):
    def test_it_is_served_from_there_under_every_name_and_namespace(self) -> None:
        self.store.blobs[DIGEST] = BLOB
        for repository in (ALPINE, BUSYBOX, QUAY):
            for whole in (True, False):
                result = self.now(self.blob(whole=whole, repository=repository))
                self.assertEqual((result.readable.total, result.source), (19, Source.DISK))
        self.assertEqual((self.fills.starts, self.asked(), self.quay.asked), ([], [], []))

    def test_it_is_served_while_upstream_is_down_or_not_to_be_asked(self) -> None:
        self.store.blobs[DIGEST] = BLOB
        self.hub.remembered = DOWN
        self.assertEqual(self.now(self.blob()).source, Source.DISK)
        self.go_offline()
        self.assertEqual(self.now(self.blob()).source, Source.DISK)

    def test_its_head_costs_nothing(self) -> None:
        self.store.blobs[DIGEST] = BLOB
        result = self.now(self.head())
        self.assertEqual((result.size, result.source), (19, Source.DISK))
        self.assertEqual((self.store.calls, self.asked()), ([], []))

    def test_one_gone_behind_the_index_is_fetched_again(self) -> None:
        self.store.blobs[DIGEST] = BLOB
        self.store.damaged.add(DIGEST)
        self.assertEqual(self.now(self.blob()).source, Source.FILL)
        self.assertEqual(self.fills.starts, [(ALPINE, DIGEST, None)])

    def test_one_that_is_just_found_to_be_whole_after_a_crash_is_waited_for(self) -> None:
        """The index has it when that is over."""
        self.store.held["open_blob"].holding = True
        getting = self.start(self.blob())
        self.assertNoResult(getting)
        self.store.blobs[DIGEST] = BLOB
        self.store.held["open_blob"].release()
        self.assertEqual(self.successResultOf(getting).source, Source.DISK)
        self.assertEqual(self.fills.starts, [])

    def test_one_that_can_not_be_opened_is_fetched_again(self) -> None:
        self.store.blobs[DIGEST] = BLOB
        self.store.broken["open_blob"] = BROKEN
        self.assertEqual(self.now(self.blob()).source, Source.FILL)
        self.assertEqual(
            self.told(DiskFailed), [DiskFailed(operation="open a blob", reason=str(BROKEN))]
        )

    def test_a_disk_that_hangs_is_given_up_in_time(self) -> None:
        self.store.blobs[DIGEST] = BLOB
        self.store.held["open_blob"].holding = True
        client = self.start(self.blob())
        self.clock.advance(self.timeouts.answer)
        self.failureResultOf(client, StoreFailure)


class ColdBlobTests(BlobTestCase):
    def test_it_begins_a_flight_and_reads_from_it(self) -> None:
        for whole in (True, False):
            with self.subTest(whole=whole):
                self.fills.flights.clear()
                result = self.now(self.blob(whole=whole))
                self.assertEqual(result.source, Source.FILL)
                self.assertEqual(self.readers(), [result.readable])
                self.assertEqual(result.readable.closes, 0)

    def test_the_answer_waits_for_the_headers_of_the_source(self) -> None:
        self.fills.opening.holding = True
        client = self.start(self.blob())
        self.assertNoResult(client)
        self.fills.opening.release()
        self.assertEqual(self.successResultOf(client).source, Source.FILL)

    def test_the_size_that_a_manifest_named_is_handed_on(self) -> None:
        self.hub.has(ALPINE, LATEST, image("config", BLOB))
        self.now(self.manifest())
        self.now(self.blob())
        self.assertEqual(self.fills.starts, [(ALPINE, DIGEST, len(BLOB))])

    def test_a_manifest_on_disk_names_sizes_as_well(self) -> None:
        self.store.fill_with(image("config", BLOB))
        self.now(self.manifest(image("config", BLOB).digest))
        self.now(self.blob())
        self.assertEqual(self.fills.starts, [(ALPINE, DIGEST, len(BLOB))])

    def test_who_comes_while_it_is_in_flight_joins(self) -> None:
        first = self.now(self.blob())
        second = self.now(self.blob(repository=QUAY))
        self.assertEqual((first.source, second.source), (Source.FILL, Source.FLIGHT))
        self.assertIsNot(first.readable, second.readable)
        # The fill is told of the other name, which may have what the first has not.
        self.assertEqual(self.fills.starts[1], (QUAY, DIGEST, None))

    def test_those_who_ask_at_once_begin_one_flight(self) -> None:
        self.fills.starting.holding = True
        clients = [self.start(self.blob()) for _ in range(3)]
        self.fills.starting.release()
        sources = [self.successResultOf(client).source for client in clients]
        self.assertEqual(sources, [Source.FILL, Source.FLIGHT, Source.FLIGHT])
        self.assertEqual(len(self.fills.starts), 1)
        self.assertEqual(self.told(Coalesced), [Coalesced(kind="blob")] * 2)
        self.assertEqual(len(self.readers()), 3)

    def test_a_flight_is_joined_whatever_upstream_does(self) -> None:
        self.now(self.blob())
        self.hub.remembered = DOWN
        self.assertEqual(self.now(self.blob()).source, Source.FLIGHT)
        self.go_offline()
        self.assertEqual(self.now(self.blob()).source, Source.FLIGHT)

    def test_a_client_who_leaves_closes_his_reader_and_not_the_flight(self) -> None:
        self.fills.opening.holding = True
        leaving, staying = self.start(self.blob()), self.start(self.blob())
        leaving.cancel()
        self.failureResultOf(leaving, CancelledError)
        self.assertEqual([reader.closes for reader in self.readers()], [1, 0])
        self.fills.opening.release()
        self.assertEqual(self.successResultOf(staying).readable.closes, 0)

    def test_a_client_who_leaves_early_does_not_keep_the_flight_from_beginning(self) -> None:
        self.fills.starting.holding = True
        client = self.start(self.blob())
        client.cancel()
        self.failureResultOf(client, CancelledError)
        self.fills.starting.release()
        self.assertIn(DIGEST, self.fills.flights)

    def test_a_flight_that_does_not_get_going_is_given_up_in_time(self) -> None:
        self.fills.opening.holding = True
        client = self.start(self.blob())
        self.clock.advance(self.timeouts.answer)
        failure = self.failureResultOf(client, UpstreamFailure).value
        self.assertIs(failure.kind, UpstreamKind.TIMEOUT)
        self.assertEqual([reader.closes for reader in self.readers()], [1])
        self.assertIn(DIGEST, self.fills.flights)

    def test_every_failure_of_upstream_is_passed_on(self) -> None:
        for name, failure in upstream_failures():
            with self.subTest(name):
                self.cache = self.make_cache()
                self.fills.failure = failure
                found = self.refused(self.blob(), UpstreamFailure)
                self.assertEqual((found.kind, found.message), (failure.kind, failure.message))

    def test_the_cause_of_a_failed_flight_is_what_counts(self) -> None:
        cause = UpstreamFailure(UpstreamKind.WRONG, "a page of HTML")
        self.fills.failure = FlightFailed(cause)
        self.assertIs(self.refused(self.blob(), UpstreamFailure), cause)

    def test_a_reader_of_a_failed_flight_is_closed(self) -> None:
        self.fills.opening.holding = True
        self.fills.failure = UpstreamFailure(UpstreamKind.NOT_FOUND, "no", status=404)
        client = self.start(self.blob())
        readers = self.readers()
        self.fills.opening.release()
        self.failureResultOf(client, UpstreamFailure)
        self.assertEqual([reader.closes for reader in readers], [1])

    def test_an_absence_is_remembered_for_seconds_by_name(self) -> None:
        self.fills.failure = UpstreamFailure(UpstreamKind.NOT_FOUND, "no", status=404)
        for _ in range(3):
            self.refused(self.blob(), UpstreamFailure)
            self.refused(self.head(), UpstreamFailure)
        self.refused(self.blob(repository=BUSYBOX), UpstreamFailure)
        self.assertEqual([name for name, _, _ in self.fills.starts], [ALPINE, BUSYBOX])
        self.fills.failure = None
        self.clock.advance(self.timeouts.absent / 2)
        # Asking again does not make it last longer.
        self.refused(self.blob(), UpstreamFailure)
        self.clock.advance(self.timeouts.absent / 2)
        self.assertEqual(self.now(self.blob()).source, Source.FILL)

    def test_an_upstream_that_is_down_makes_no_room_for_nothing(self) -> None:
        self.hub.remembered = DOWN
        self.assertIs(self.refused(self.blob(), UpstreamFailure), DOWN)
        self.assertEqual(self.fills.starts, [])

    def test_offline_asks_nobody(self) -> None:
        self.go_offline()
        self.refused(self.blob(), OfflineMiss)
        self.refused(self.head(), OfflineMiss)
        self.assertEqual((self.fills.starts, self.asked()), ([], []))


class ManifestAskedAsBlobTests(BlobTestCase):
    """A runtime's store is poisoned by a manifest that it got as a blob."""

    def assert_absent(self) -> None:
        for work in (self.blob(), self.blob(whole=False), self.head()):
            failure = self.refused(work, UpstreamFailure)
            self.assertIs(failure.kind, UpstreamKind.NOT_FOUND)
        self.assertEqual(self.fills.starts, [])

    def test_one_on_disk_is_absent(self) -> None:
        self.store.fill_with(image("it"))
        self.store.manifests[DIGEST] = image("it").stored
        self.assert_absent()

    def test_one_that_is_also_among_the_blobs_is_absent(self) -> None:
        self.store.blobs[DIGEST] = BLOB
        self.store.manifests[DIGEST] = image("it").stored
        self.assert_absent()

    def test_one_that_the_disk_had_no_room_for_is_absent(self) -> None:
        it = image("it")
        self.hub.has(ALPINE, LATEST, it)
        self.store.broken["write_manifest"] = FULL
        self.now(self.manifest())
        for work in (
            self.cache.blob(ALPINE, it.digest, whole=True),
            self.cache.blob_head(ALPINE, it.digest),
        ):
            self.refused(work, UpstreamFailure)
        self.assertEqual(self.fills.starts, [])


class NoRoomTests(BlobTestCase):
    def assert_passed_through(self, result: Any, reason: str) -> None:
        self.assertEqual(result.body, self.hub.bodies[-1])
        self.assertEqual(
            (result.total, result.repository, result.digest, result.reason),
            (len(BLOB), ALPINE, DIGEST, reason),
        )

    def test_a_whole_body_is_passed_through(self) -> None:
        self.fills.refusal = FULL
        self.assert_passed_through(self.now(self.blob()), "the disk is full")
        self.assertEqual(self.asked(), [f"BLOB alpine@{SHORT}"])

    def test_a_blob_that_proves_too_big_is_passed_through(self) -> None:
        self.fills.failure = NoRoom("bigger than the cache")
        self.assert_passed_through(self.now(self.blob()), "bigger than the cache")
        self.fills.failure = FlightFailed(NoRoom("bigger than the cache"))
        self.assert_passed_through(self.now(self.blob()), "bigger than the cache")

    def test_a_disk_that_fails_is_told_of_and_passed_by(self) -> None:
        self.fills.refusal = BROKEN
        self.assert_passed_through(self.now(self.blob()), str(BROKEN))
        self.assertEqual(
            self.told(DiskFailed), [DiskFailed(operation="begin a blob", reason=str(BROKEN))]
        )

    def test_a_range_of_what_is_not_kept_is_refused(self) -> None:
        self.fills.refusal = FULL
        self.refused(self.blob(whole=False), NoRoom)
        self.assertEqual(self.asked(), [])

    def test_a_length_that_upstream_does_not_send_is_taken_from_the_manifest(self) -> None:
        self.hub.has(ALPINE, LATEST, image("config", BLOB))
        self.now(self.manifest())
        self.fills.refusal = FULL
        self.hub.blobs[DIGEST] = None
        self.assertEqual(self.now(self.blob()).total, len(BLOB))

    def test_a_length_that_nobody_tells_is_unknown(self) -> None:
        self.fills.refusal = FULL
        self.hub.blobs[DIGEST] = None
        self.assertIsNone(self.now(self.blob()).total)

    def test_what_another_stored_meanwhile_is_served_from_disk(self) -> None:
        self.fills.refusal = StoreFailure("the flight is over")
        self.fills.starting.holding = True
        client = self.start(self.blob(whole=False))
        self.store.blobs[DIGEST] = BLOB
        self.fills.starting.release()
        self.assertEqual(self.successResultOf(client).source, Source.DISK)
        self.assertEqual(self.told(DiskFailed), [])

    def test_every_failure_of_upstream_is_passed_on_and_absences_are_remembered(self) -> None:
        self.fills.refusal = FULL
        for name, failure in upstream_failures():
            with self.subTest(name):
                self.cache = self.make_cache()
                self.hub.failures["BLOB"] = failure
                found = self.refused(self.blob(), UpstreamFailure)
                self.assertIs(found, failure)
                self.asked()
                self.refused(self.blob(), UpstreamFailure)
                self.assertEqual(
                    self.asked() == [], name in {"404", "401", "403", "429", "cut", "HTML"}
                )

    def test_a_client_who_leaves_ends_his_own_body_request(self) -> None:
        self.fills.refusal = FULL
        self.hub.held["BLOB"].holding = True
        client = self.start(self.blob())
        self.assertEqual(len(self.hub.held["BLOB"]), 1)
        client.cancel()
        self.failureResultOf(client, CancelledError)
        self.assertEqual(len(self.hub.held["BLOB"]), 0)


class ColdHeadTests(BlobTestCase):
    def test_it_costs_a_head_and_no_download(self) -> None:
        result = self.now(self.head())
        self.assertEqual((result.size, result.source), (len(BLOB), Source.FILL))
        self.assertEqual((self.asked(), self.fills.starts), ([f"SIZE alpine@{SHORT}"], []))

    def test_in_flight_it_costs_nothing(self) -> None:
        self.now(self.blob())
        self.fills.flights[DIGEST].total = len(BLOB)
        result = self.now(self.head())
        self.assertEqual((result.size, result.source), (len(BLOB), Source.FLIGHT))
        self.assertEqual(self.asked(), [])

    def test_a_flight_that_knows_no_size_yet_does_not_delay_it(self) -> None:
        self.now(self.blob())
        self.assertEqual(self.now(self.head()).size, len(BLOB))
        self.assertEqual(self.asked(), [f"SIZE alpine@{SHORT}"])

    def test_those_who_ask_at_once_cost_one(self) -> None:
        self.hub.held["SIZE"].holding = True
        clients = [self.start(self.head()) for _ in range(3)]
        self.hub.held["SIZE"].release()
        for client in clients:
            self.assertEqual(self.successResultOf(client).size, len(BLOB))
        self.assertEqual(self.asked(), [f"SIZE alpine@{SHORT}"])

    def test_the_size_it_told_is_handed_to_the_fill(self) -> None:
        self.now(self.head())
        self.now(self.blob())
        self.assertEqual(self.fills.starts, [(ALPINE, DIGEST, len(BLOB))])

    def test_an_absence_it_found_is_remembered_for_the_get(self) -> None:
        self.hub.blobs.clear()
        self.refused(self.head(), UpstreamFailure)
        self.refused(self.blob(), UpstreamFailure)
        self.assertEqual((len(self.asked()), self.fills.starts), (1, []))
