"""The cache over the real store and real fills; only upstream is a fake."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from nodecache.cache import Cache
from nodecache.events import PassedThrough, Source
from nodecache.failures import BlobsMissing, NoRoom, UpstreamFailure, UpstreamKind
from nodecache.limits import KIB, MIB
from nodecache.reference import Digest, Repository
from nodecache.seams import BlobSource
from tests.fakes_cache import FakeUpstream, Manifest, image, open_policy
from tests.fakes_source import Origin
from tests.flight_case import ALPINE, BUSYBOX, QUAY, Client, FlightCase
from tests.store_case import digest_of, some_bytes

DOWN = UpstreamFailure(UpstreamKind.DOWN, "failed a moment ago")


class Hub(FakeUpstream):
    """Its blobs come from ``origin``."""

    def __init__(self, origin: Origin) -> None:
        super().__init__()
        self.origin = origin

    def blob_source(self, name: str, digest: Digest) -> BlobSource:
        return self.origin.source(Repository("docker.io", name), digest)


class CacheCase(FlightCase):
    """``origin`` answers for blobs and ``hub`` for manifests, under every namespace."""

    def setUp(self) -> None:
        super().setUp()
        self.hub = Hub(self.origin)
        self.cache = Cache(
            self.store,
            self.fills,
            self,
            open_policy(tag_ttl=60.0),
            clock=self.clock,
            wall=self.wall,
            observe=self.events.append,
            limits=self.limits,
            timeouts=self.timeouts,
        )

    def get(self, namespace: str) -> Hub:
        """The cache's ``Upstreams``."""
        return self.hub

    def asking(
        self, digest: Digest, name: Repository = ALPINE, *, whole: bool = True
    ) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.cache.blob(name, digest, whole=whole))

    def ask(self, digest: Digest, name: Repository = ALPINE, *, whole: bool = True) -> Any:
        asking = self.asking(digest, name, whole=whole)
        self.turn()
        return self.successResultOf(asking)

    def refusal(self, digest: Digest, name: Repository = ALPINE, *, whole: bool = True) -> Any:
        asking = self.asking(digest, name, whole=whole)
        self.turn()
        return self.failureResultOf(asking).value


class BlobFlowTests(CacheCase):
    def test_cold_then_in_flight_then_on_disk(self) -> None:
        digest, data = self.blob(3 * MIB)
        results = [self.ask(digest, name) for name in (ALPINE, QUAY, BUSYBOX)]
        self.assertEqual(
            [result.source for result in results], [Source.FILL, Source.FLIGHT, Source.FLIGHT]
        )
        clients = [Client(result.readable).go() for result in results]
        self.finish()
        self.assertEqual({bytes(client.got) for client in clients}, {data})
        result = self.ask(digest)
        self.assertEqual(result.source, Source.DISK)
        self.assertEqual(bytes(Client(result.readable).go().got), data)
        self.assertEqual(self.origin.sent, len(data))
        self.nothing_is_left()

    def test_many_who_ask_in_one_turn_cost_one_fetch(self) -> None:
        digest, data = self.blob(MIB)
        asking = [self.asking(digest) for _ in range(20)]
        self.turn()
        clients = [Client(self.successResultOf(each).readable).go() for each in asking]
        self.finish()
        self.assertEqual({bytes(client.got) for client in clients}, {data})
        self.assertEqual(len(self.origin.asked), 1)
        self.nothing_is_left()

    def test_a_blob_that_is_whole_at_once_is_read_all_the_same(self) -> None:
        for size in (0, 1, 100):
            with self.subTest(size):
                digest, data = self.blob(size)
                asking = self.asking(digest)
                self.finish()
                client = Client(self.successResultOf(asking).readable).go()
                self.assertEqual((bytes(client.got), client.outcome), (data, "complete"))
                self.assertEqual(self.stored(digest), data)
        self.nothing_is_left()

    def test_the_fill_goes_on_without_its_client(self) -> None:
        digest, data = self.blob(MIB)
        self.origin.patient = True
        asking = self.asking(digest)
        asking.cancel()
        self.failureResultOf(asking, CancelledError)
        self.turn()
        self.origin.patient = False
        for each in self.origin.asked:
            self.origin.answer(each)
        self.turn()
        self.finish()
        self.assertEqual(self.stored(digest), data)
        self.nothing_is_left()

    def test_an_evicted_blob_is_fetched_again(self) -> None:
        digest, data = self.blob(MIB)
        for _ in range(2):
            result = self.ask(digest)
            self.assertEqual(result.source, Source.FILL)
            client = Client(result.readable).go()
            self.finish()
            self.assertEqual(bytes(client.got), data)
            self.run_now(self.store.drop_blob(digest))
        self.assertEqual(self.origin.sent, 2 * len(data))

    def test_its_size_is_known_in_flight_and_on_disk(self) -> None:
        digest, data = self.blob(MIB)
        result = self.ask(digest)
        head = self.run_now(self.cache.blob_head(ALPINE, digest))
        self.assertEqual((head.size, head.source), (len(data), Source.FLIGHT))
        Client(result.readable).go()
        self.finish()
        head = self.run_now(self.cache.blob_head(ALPINE, digest))
        self.assertEqual((head.size, head.source), (len(data), Source.DISK))
        self.assertEqual(self.hub.asked, [])

    def test_an_absent_blob_is_asked_for_once_in_a_while(self) -> None:
        digest = Digest("sha256", "a" * 64)
        for _ in range(3):
            self.assertIs(self.refusal(digest).kind, UpstreamKind.NOT_FOUND)
        self.assertEqual(len(self.origin.asked), 1)
        self.turn(self.timeouts.absent)
        self.refusal(digest)
        self.assertEqual(len(self.origin.asked), 2)
        self.nothing_is_left()

    def test_one_names_refusal_does_not_fail_the_reader_of_another(self) -> None:
        digest, data = self.blob(MIB)
        self.origin.refusals[ALPINE] = UpstreamFailure(UpstreamKind.DENIED, "no", status=401)
        self.origin.patient = True
        asking = [self.asking(digest, name) for name in (ALPINE, BUSYBOX)]
        self.turn()
        self.origin.patient = False
        self.origin.answer(self.origin.asked[0])
        self.turn()
        clients = [Client(self.successResultOf(each).readable).go() for each in asking]
        self.finish()
        self.assertEqual({bytes(client.got) for client in clients}, {data})
        self.nothing_is_left()

    def test_wrong_bytes_break_the_reader_and_are_not_fetched_again_at_once(self) -> None:
        digest, data = self.blob(MIB)
        self.origin.blobs[digest] = b"<html>" + data[6:]
        client = Client(self.ask(digest).readable).go()
        self.finish()
        self.assertEqual(client.outcome, "broken")
        self.assertLess(len(client.got), len(data))
        self.assertIs(self.refusal(digest).kind, UpstreamKind.WRONG)
        self.assertIsNone(self.store.blob_size(digest))
        self.nothing_is_left()


class LittleRoomTests(CacheCase):
    cap = 2 * MIB

    def test_a_blob_above_the_cap_is_passed_through(self) -> None:
        digest, data = self.blob(3 * MIB)
        result = self.ask(digest)
        self.assertEqual(
            (result.total, result.digest, result.repository), (len(data), digest, ALPINE)
        )
        got = bytearray()
        result.body.deliver(got.extend)
        self.finish()
        self.assertEqual(bytes(got), data)
        self.assertIsNone(self.store.blob_size(digest))
        self.nothing_is_left()

    def test_where_a_manifest_named_its_size_the_fill_is_not_even_tried(self) -> None:
        data = some_bytes(3 * MIB)
        manifest = image("config", data)
        self.store_manifest(manifest)
        digest, _ = self.blob(3 * MIB)
        self.run_now(self.cache.manifest(ALPINE, manifest.digest, head=False))
        self.assertEqual(self.ask(digest).total, len(data))
        self.assertEqual(len(self.origin.asked), 1)

    def store_manifest(self, manifest: Manifest) -> None:
        self.run_now(self.store.write_manifest(manifest.stored))

    def test_a_range_of_it_is_refused(self) -> None:
        digest, _ = self.blob(3 * MIB)
        self.assertIsInstance(self.refusal(digest, whole=False), NoRoom)
        self.assertEqual(self.told(PassedThrough.name), [])
        self.nothing_is_left()

    def test_what_fits_makes_room_for_itself(self) -> None:
        blobs = [self.blob(MIB, seed) for seed in range(4)]
        for digest, data in blobs:
            client = Client(self.ask(digest).readable).go()
            self.finish()
            self.assertEqual(bytes(client.got), data)
            self.turn(1.0)
        self.assertIsNotNone(self.store.blob_size(blobs[-1][0]))
        self.assertLessEqual(self.store.usage().bytes, self.cap)


class CompletenessTests(CacheCase):
    def test_a_layer_in_flight_makes_an_image_whole_and_a_dropped_one_does_not(self) -> None:
        layer, data = self.blob(256 * KIB)
        manifest = image("config", data)
        self.run_now(self.store.write_manifest(manifest.stored))
        self.pull(b"config")
        result = self.ask(layer)
        self.hub.remembered = DOWN
        got = self.run_now(self.cache.manifest(ALPINE, manifest.digest, head=False))
        self.assertEqual(got.body, manifest.body)
        Client(result.readable).go()
        self.finish()
        self.run_now(self.cache.manifest(ALPINE, manifest.digest, head=False))
        self.run_now(self.store.drop_blob(layer))
        self.fails(self.cache.manifest(ALPINE, manifest.digest, head=False), BlobsMissing)

    def pull(self, data: bytes) -> None:
        self.origin.blobs[digest_of(data)] = data
        Client(self.ask(digest_of(data)).readable).go()
        self.finish()
