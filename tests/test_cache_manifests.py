from __future__ import annotations

import attrs
from twisted.internet.defer import CancelledError

from nodecache.cache.descriptors import named
from nodecache.cache.entries import Entries
from nodecache.cache.hot import WRITE_BACK, Known
from nodecache.events import Coalesced, DiskFailed, Source
from nodecache.failures import (
    NameDenied,
    StoreFailure,
    UnknownNamespace,
    UpstreamFailure,
    UpstreamKind,
)
from nodecache.freshness import TagEntry
from nodecache.reference import Digest, Tag
from nodecache.rules import NameRules
from tests.fakes_cache import (
    ALPINE,
    BROKEN,
    BUSYBOX,
    EPOCH,
    FULL,
    LATEST,
    QUAY,
    CacheTestCase,
    image,
    upstream_failures,
)

IT = image("it")
SHORT = IT.digest.hex[:6]


class ByDigestTests(CacheTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.hub.has(ALPINE, LATEST, IT)

    def test_a_cold_one_costs_one_get(self) -> None:
        result = self.now(self.manifest(IT.digest))
        self.assertEqual(
            (result.digest, result.media_type, result.body, result.source),
            (IT.digest, IT.media_type, IT.body, Source.FILL),
        )
        self.assertEqual(self.asked(), [f"GET alpine@{SHORT}"])

    def test_a_digest_never_expires(self) -> None:
        self.now(self.manifest(IT.digest))
        self.asked()
        self.clock.advance(1e8)
        for cache in (self.cache, self.make_cache()):
            self.cache = cache
            result = self.now(self.manifest(IT.digest))
            self.assertEqual((result.body, result.source), (IT.body, Source.DISK))
        self.assertEqual(self.asked(), [])

    def test_a_head_of_a_cold_one_costs_a_head(self) -> None:
        result = self.now(self.manifest(IT.digest, head=True))
        self.assertEqual(
            (result.digest, result.media_type, result.size, result.body),
            (IT.digest, IT.media_type, len(IT.body), None),
        )
        self.assertEqual(self.asked(), [f"HEAD alpine@{SHORT}"])

    def test_a_head_that_tells_too_little_is_followed_by_a_get(self) -> None:
        self.hub.says_size = False
        for _ in range(2):
            result = self.now(self.manifest(IT.digest, head=True))
            self.assertEqual(result.size, len(IT.body))
        self.assertEqual(self.asked(), [f"HEAD alpine@{SHORT}", f"GET alpine@{SHORT}"])

    def test_a_head_of_a_cached_one_asks_nobody(self) -> None:
        self.store.fill_with(IT)
        result = self.now(self.manifest(IT.digest, head=True))
        self.assertEqual((result.size, result.source), (len(IT.body), Source.DISK))
        self.assertEqual(self.asked(), [])

    def test_it_is_the_same_under_every_name_and_namespace(self) -> None:
        self.now(self.manifest(IT.digest))
        for repository in (BUSYBOX, QUAY):
            result = self.now(self.manifest(IT.digest, repository=repository))
            self.assertEqual((result.body, result.source), (IT.body, Source.DISK))
        self.assertEqual(self.quay.asked, [])

    def test_every_failure_is_passed_on(self) -> None:
        for name, failure in upstream_failures():
            for head in (True, False):
                with self.subTest(name, head=head):
                    self.cache = self.make_cache()
                    self.hub.failures = {"HEAD": failure, "GET": failure}
                    found = self.refused(self.manifest(IT.digest, head=head), UpstreamFailure)
                    self.assertEqual((found.kind, found.message), (failure.kind, failure.message))

    def test_an_absence_is_remembered_for_head_and_get(self) -> None:
        absent = image("absent").digest
        for head in (False, True, False):
            self.refused(self.manifest(absent, head=head), UpstreamFailure)
        self.assertEqual(self.asked(), [f"GET alpine@{absent.hex[:6]}"])

    def test_another_manifest_than_the_one_asked_for_is_refused(self) -> None:
        other = image("other")
        self.hub.manifests["library/alpine", IT.digest] = other
        failure = self.refused(self.manifest(IT.digest), UpstreamFailure)
        self.assertIs(failure.kind, UpstreamKind.WRONG)
        self.assertNotIn(IT.digest, self.store.manifests)

    def test_a_head_that_names_another_digest_is_not_believed(self) -> None:
        self.hub.manifests["library/alpine", IT.digest] = image("other")
        failure = self.refused(self.manifest(IT.digest, head=True), UpstreamFailure)
        self.assertIs(failure.kind, UpstreamKind.WRONG)

    def test_an_upstream_that_hangs_is_given_up_in_time(self) -> None:
        self.hub.held["GET"].holding = True
        client = self.start(self.manifest(IT.digest))
        self.clock.advance(self.timeouts.answer)
        failure = self.failureResultOf(client, UpstreamFailure).value
        self.assertIs(failure.kind, UpstreamKind.TIMEOUT)


class SharedFetchTests(CacheTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.hub.has(ALPINE, LATEST, IT)
        self.hub.held["GET"].holding = True

    def test_many_clients_cost_one_get(self) -> None:
        clients = [self.start(self.manifest(IT.digest)) for _ in range(4)]
        self.hub.held["GET"].release()
        sources = [self.successResultOf(client).source for client in clients]
        self.assertEqual(sources, [Source.FILL] + [Source.FLIGHT] * 3)
        self.assertEqual(self.asked(), [f"GET alpine@{SHORT}"])
        self.assertEqual(self.told(Coalesced), [Coalesced(kind="manifest")] * 3)

    def test_other_names_share_the_get(self) -> None:
        clients = [
            self.start(self.manifest(IT.digest, repository=repository))
            for repository in (ALPINE, QUAY)
        ]
        self.hub.held["GET"].release()
        for client in clients:
            self.assertEqual(self.successResultOf(client).body, IT.body)
        self.assertEqual(self.quay.asked, [])

    def test_one_names_failure_does_not_fail_another_name(self) -> None:
        lacking = self.start(self.manifest(IT.digest, repository=BUSYBOX))
        having = [self.start(self.manifest(IT.digest)) for _ in range(2)]
        self.hub.held["GET"].release()
        self.failureResultOf(lacking, UpstreamFailure)
        for client in having:
            self.assertEqual(self.successResultOf(client).body, IT.body)
        self.assertEqual(self.asked(), [f"GET busybox@{SHORT}", f"GET alpine@{SHORT}"])

    def test_all_names_failing_fail_each_with_its_own(self) -> None:
        clients = [
            self.start(self.manifest(IT.digest, repository=repository))
            for repository in (BUSYBOX, QUAY, BUSYBOX)
        ]
        self.hub.held["GET"].release()
        for client in clients:
            failure = self.failureResultOf(client, UpstreamFailure).value
            self.assertIs(failure.kind, UpstreamKind.NOT_FOUND)
        self.assertEqual(self.asked(), [f"GET busybox@{SHORT}"])
        self.assertEqual(self.quay.asked, [f"GET alpine@{SHORT}"])

    def test_the_get_goes_on_without_its_client(self) -> None:
        client = self.start(self.manifest(IT.digest))
        client.cancel()
        self.failureResultOf(client, CancelledError)
        self.hub.held["GET"].release()
        self.assertEqual(self.store.manifests, {IT.digest: IT.stored})

    def test_stopping_ends_the_wait(self) -> None:
        client = self.start(self.manifest(IT.digest))
        self.cache.stop()
        failure = self.failureResultOf(client, UpstreamFailure).value
        self.assertIs(failure.kind, UpstreamKind.DOWN)


class DiskTests(CacheTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.hub.has(ALPINE, LATEST, IT)
        self.store.fill_with(IT)

    def test_a_damaged_one_is_fetched_again(self) -> None:
        self.store.damaged.add(IT.digest)
        result = self.now(self.manifest(IT.digest))
        self.assertEqual((result.body, result.source), (IT.body, Source.FILL))
        self.assertEqual(self.asked(), [f"GET alpine@{SHORT}"])
        self.assertEqual(self.store.manifests, {IT.digest: IT.stored})

    def test_one_that_can_not_be_read_is_fetched_again(self) -> None:
        self.store.broken["read_manifest"] = BROKEN
        self.assertEqual(self.now(self.manifest(IT.digest)).body, IT.body)
        told = DiskFailed(operation="read a manifest", reason=str(BROKEN))
        self.assertEqual(self.told(DiskFailed), [told])

    def test_a_disk_that_hangs_is_given_up_in_time(self) -> None:
        self.store.held["read_manifest"].holding = True
        client = self.start(self.manifest(IT.digest))
        self.clock.advance(self.timeouts.answer)
        self.failureResultOf(client, StoreFailure)

    def test_a_hot_one_is_not_read_from_disk(self) -> None:
        self.now(self.manifest(IT.digest))
        self.now(self.manifest(IT.digest))
        self.assertEqual(self.store.calls.count("read_manifest"), 1)

    def test_the_disk_is_told_that_a_hot_one_is_in_use(self) -> None:
        self.now(self.manifest(IT.digest))
        self.assertEqual(self.store.touched, [])
        self.now(self.manifest(IT.digest))
        self.assertEqual(self.store.touched, [IT.digest])

    def test_a_hot_one_that_was_evicted_from_disk_goes_back_there(self) -> None:
        self.now(self.manifest(IT.digest))
        self.store.manifests.clear()
        self.now(self.manifest(IT.digest))
        self.assertEqual(self.store.manifests, {})
        self.clock.advance(WRITE_BACK)
        self.assertEqual(self.now(self.manifest(IT.digest)).body, IT.body)
        self.assertEqual(self.store.manifests, {IT.digest: IT.stored})
        self.assertEqual(self.asked(), [])

    def test_memory_holds_no_more_than_its_room(self) -> None:
        room = Known(IT.stored, named(IT.body)).memory + 10
        self.limits = attrs.evolve(self.limits, hot_manifest_bytes=room)
        self.cache = self.make_cache()
        other = image("ot")
        self.store.fill_with(other)
        for manifest in (IT, other, IT):
            self.now(self.manifest(manifest.digest))
        self.assertEqual(self.store.calls.count("read_manifest"), 3)

    def test_one_too_big_for_memory_and_disk_is_still_served(self) -> None:
        self.limits = attrs.evolve(self.limits, hot_manifest_bytes=0)
        self.cache = self.make_cache()
        self.store.manifests.clear()
        self.store.broken["write_manifest"] = FULL
        self.hub.says_digest = False
        self.assertEqual(self.now(self.manifest()).body, IT.body)
        self.assertEqual(self.now(self.manifest(IT.digest)).body, IT.body)


class EntriesTests(CacheTestCase):
    """The order of checks, where two come at once or the disk is slow."""

    def setUp(self) -> None:
        super().setUp()
        self.store.fill_with(IT, image("two"))
        self.entries = Entries(self.store, self.wall, self.events.append, most=2)
        self.key = (ALPINE, LATEST)

    def check(self, name: str, checked_at: float) -> TagEntry:
        manifest = image(name)
        return TagEntry(str(manifest.digest), manifest.media_type, len(manifest.body), checked_at)

    def test_the_newest_check_comes_last_on_a_slow_disk(self) -> None:
        first, second = self.check("it", EPOCH), self.check("two", EPOCH + 1)
        self.store.held["write_tag"].holding = True
        writing = [self.start(self.entries.propose(self.key, each)) for each in (first, second)]
        self.clock.advance(2)
        # One write at a time: no disk can put them in the wrong order.
        self.assertEqual(len(self.store.held["write_tag"]), 1)
        self.store.held["write_tag"].release()
        for each in writing:
            self.successResultOf(each)
        self.assertEqual(self.entry(), second)
        self.assertEqual(len(self.entries), 0)

    def test_an_older_check_that_comes_late_changes_nothing(self) -> None:
        self.clock.advance(2)
        newest = self.check("it", EPOCH + 1)
        self.now(self.entries.propose(self.key, newest))
        self.now(self.entries.propose(self.key, self.check("two", EPOCH)))
        self.assertEqual(self.entry(), newest)
        self.assertEqual(len(self.entries), 0)

    def test_of_two_that_wait_the_newer_stays(self) -> None:
        self.clock.advance(2)
        newest = self.check("three", EPOCH + 1)
        self.now(self.entries.propose(self.key, newest))
        self.now(self.entries.propose(self.key, self.check("four", EPOCH)))
        self.assertEqual(self.now(self.entries.view(self.key)), (newest,))

    def test_few_wait_in_memory(self) -> None:
        for number in range(5):
            key = (ALPINE, Tag(f"t{number}"))
            self.now(self.entries.propose(key, self.check("three", EPOCH)))
        self.assertEqual(len(self.entries), 2)


class PermissionTests(CacheTestCase):
    def deny(self, *patterns: str) -> None:
        rules = {"docker.io": NameRules(deny=patterns), "quay.io": NameRules()}
        self.cache.policy = attrs.evolve(self.cache.policy, rules=rules)

    def test_names_without_a_namespace_are_docker_hubs(self) -> None:
        self.assertEqual(self.cache.repository("alpine", None), ALPINE)
        self.assertEqual(self.cache.repository("library/alpine", "index.docker.io"), ALPINE)
        self.assertEqual(self.cache.repository("library/alpine", "quay.io"), QUAY)

    def test_the_list_of_namespaces_is_closed(self) -> None:
        with self.assertRaises(UnknownNamespace):
            self.cache.repository("alpine", "evil.example")

    def test_a_namespace_that_a_reload_took_away_is_refused(self) -> None:
        repository = self.cache.repository("library/alpine", "quay.io")
        rules = {"docker.io": NameRules()}
        self.cache.policy = attrs.evolve(self.cache.policy, rules=rules)
        self.refused(self.manifest(repository=repository), UnknownNamespace)

    def test_a_denied_name_is_refused(self) -> None:
        self.deny("library/al*")
        with self.assertRaises(NameDenied):
            self.cache.repository("alpine", None)
        self.assertEqual(self.cache.repository("busybox", None), BUSYBOX)
        self.assertEqual(self.cache.repository("library/alpine", "quay.io"), QUAY)

    def test_a_denied_name_is_refused_whatever_is_on_disk(self) -> None:
        self.hub.has(ALPINE, LATEST, IT)
        self.now(self.manifest())
        blob = Digest("sha256", "b" * 64)
        self.store.blobs[blob] = b"blob"
        self.asked()
        self.deny("library/alpine")
        for work in (
            self.manifest(),
            self.manifest(head=True),
            self.manifest(IT.digest),
            self.cache.blob(ALPINE, blob, whole=True),
            self.cache.blob_head(ALPINE, blob),
            self.cache.tags(ALPINE, None, None),
            self.cache.referrers(ALPINE, IT.digest, None),
        ):
            self.refused(work, NameDenied)
        self.assertEqual(self.asked(), [])

    def test_only_allowed_names_are_served_where_some_are_named(self) -> None:
        rules = {"docker.io": NameRules(allow=("library/alpine",))}
        self.cache.policy = attrs.evolve(self.cache.policy, rules=rules)
        self.assertEqual(self.cache.repository("alpine", None), ALPINE)
        with self.assertRaises(NameDenied):
            self.cache.repository("busybox", None)
