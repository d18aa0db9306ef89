from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import CancelledError

from nodecache.events import Coalesced, DiskFailed, ServedStale, Source, TagResolved
from nodecache.failures import OfflineMiss, UpstreamFailure, UpstreamKind
from nodecache.freshness import TagEntry
from nodecache.reference import Tag
from tests.fakes_cache import (
    ALPINE,
    BROKEN,
    DOCKER_IMAGE,
    DOCKER_LIST,
    EPOCH,
    FULL,
    INDEX,
    LATEST,
    QUAY,
    CacheTestCase,
    Manifest,
    digest_of,
    image,
    index,
    upstream_failures,
)

OLD = image("old")
NEW = image("new")
SIGNATURE = Tag("sha256-" + "0" * 64 + ".sig")


class TagTestCase(CacheTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.hub.has(ALPINE, LATEST, OLD)
        self.store.blobs[digest_of(b"old")] = b"old"

    def cache_old(self) -> None:
        """The tag was pulled a time to live ago."""
        self.now(self.manifest())
        self.clock.advance(self.tag_ttl)
        self.asked()
        self.events.clear()

    def publish_new(self) -> None:
        self.hub.has(ALPINE, LATEST, NEW)

    def outcomes(self) -> list[str]:
        return [event.outcome for event in self.told(TagResolved)]


class ColdTagTests(TagTestCase):
    def test_a_get_costs_one_head_and_one_get_and_stores_both(self) -> None:
        result = self.now(self.manifest())
        self.assertEqual((result.body, result.media_type), (OLD.body, OLD.media_type))
        self.assertEqual((result.digest, result.size), (OLD.digest, len(OLD.body)))
        self.assertEqual((result.source, result.warning), (Source.FILL, None))
        self.assertEqual(self.asked(), ["HEAD alpine:latest", f"GET alpine@{OLD.digest.hex[:6]}"])
        self.assertEqual(self.store.manifests, {OLD.digest: OLD.stored})
        entry = TagEntry(str(OLD.digest), OLD.media_type, len(OLD.body), EPOCH)
        self.assertEqual(self.entry(), entry)
        self.assertEqual(self.outcomes(), ["miss"])

    def test_a_head_costs_a_head_alone(self) -> None:
        result = self.now(self.manifest(head=True))
        self.assertEqual(
            (result.digest, result.media_type, result.size, result.body),
            (OLD.digest, OLD.media_type, len(OLD.body), None),
        )
        self.assertEqual(self.asked(), ["HEAD alpine:latest"])
        self.assertIsNone(self.entry())

    def test_head_then_get_of_the_tag_costs_one_of_each(self) -> None:
        self.now(self.manifest(head=True))
        self.now(self.manifest())
        self.assertEqual(self.asked(), ["HEAD alpine:latest", f"GET alpine@{OLD.digest.hex[:6]}"])

    def test_head_then_get_by_digest_costs_one_of_each_and_settles_the_tag(self) -> None:
        digest = self.now(self.manifest(head=True)).digest
        self.clock.advance(5)
        self.now(self.manifest(digest))
        entry = self.entry()
        assert entry is not None
        self.assertEqual((entry.digest, entry.checked_at), (str(OLD.digest), EPOCH))
        self.now(self.manifest())
        self.assertEqual(self.asked(), ["HEAD alpine:latest", f"GET alpine@{OLD.digest.hex[:6]}"])

    def test_a_tag_that_means_a_manifest_on_disk_costs_a_head_alone(self) -> None:
        self.store.fill_with(OLD)
        result = self.now(self.manifest())
        self.assertEqual((result.body, result.source), (OLD.body, Source.DISK))
        self.assertEqual(self.asked(), ["HEAD alpine:latest"])
        self.assertIsNotNone(self.entry())

    def test_every_way_to_fail_is_passed_on(self) -> None:
        for number, (name, failure) in enumerate(upstream_failures()):
            with self.subTest(name):
                self.hub.failures["HEAD"] = failure
                found = self.refused(self.manifest(Tag(f"t{number}")), UpstreamFailure)
                self.assertIs(found, failure)

    def test_a_get_that_fails_behind_a_head_is_passed_on_and_stores_nothing(self) -> None:
        for number, (name, failure) in enumerate(upstream_failures()):
            with self.subTest(name):
                tag, manifest = Tag(f"t{number}"), image(f"image {number}")
                self.hub.has(ALPINE, tag, manifest)
                self.hub.failures["GET"] = failure
                self.assertIs(self.refused(self.manifest(tag), UpstreamFailure), failure)
        self.assertEqual((self.store.tag_entries, self.store.manifests), ({}, {}))

    def test_two_namespaces_have_tags_of_their_own_and_share_the_manifest(self) -> None:
        self.quay.has(QUAY, LATEST, OLD)
        self.now(self.manifest())
        result = self.now(self.manifest(repository=QUAY))
        self.assertEqual((result.body, result.source), (OLD.body, Source.DISK))
        self.assertEqual(self.quay.asked, ["HEAD alpine:latest"])
        self.quay.has(QUAY, LATEST, NEW)
        self.clock.advance(self.tag_ttl)
        self.assertEqual(self.now(self.manifest(repository=QUAY)).body, NEW.body)
        self.assertEqual(self.now(self.manifest()).body, OLD.body)


class UnusualUpstreamTests(TagTestCase):
    """What some registries leave out of their answer to HEAD."""

    def test_a_head_without_digest_is_followed_by_a_get_of_the_tag(self) -> None:
        self.hub.says_digest = False
        for head in (True, False):
            result = self.now(self.manifest(head=head))
            self.assertEqual((result.digest, result.size), (OLD.digest, len(OLD.body)))
        self.assertEqual(self.asked(), ["HEAD alpine:latest", "GET alpine:latest"])
        self.assertIsNotNone(self.entry())

    def test_a_head_without_length_or_type_is_followed_by_a_get(self) -> None:
        for lacking in ("says_size", "says_type"):
            with self.subTest(lacking):
                self.cache = self.make_cache()
                self.store.manifests.clear()
                self.store.tag_entries.clear()
                setattr(self.hub, lacking, False)
                result = self.now(self.manifest(head=True))
                self.assertEqual((result.media_type, result.size), (OLD.media_type, len(OLD.body)))
                self.assertEqual(
                    self.asked(), ["HEAD alpine:latest", f"GET alpine@{OLD.digest.hex[:6]}"]
                )
                self.assertIsNotNone(self.entry())

    def test_without_length_a_manifest_on_disk_is_not_fetched_again(self) -> None:
        self.store.fill_with(OLD)
        self.hub.says_size = False
        result = self.now(self.manifest())
        self.assertEqual((result.body, result.source), (OLD.body, Source.DISK))
        self.assertEqual(self.asked(), ["HEAD alpine:latest"])

    def test_an_upstream_that_knows_no_head_is_asked_by_get(self) -> None:
        for status in (405, 501):
            with self.subTest(status):
                self.hub.failures["HEAD"] = UpstreamFailure(
                    UpstreamKind.ERROR, f"upstream says {status}", status=status
                )
                self.clock.advance(self.tag_ttl)
                self.assertEqual(self.now(self.manifest()).body, OLD.body)
                self.assertEqual(self.asked(), ["HEAD alpine:latest", "GET alpine:latest"])

    def test_media_types_come_through_as_they_were_stored(self) -> None:
        for media_type in (DOCKER_IMAGE, DOCKER_LIST, INDEX, "application/vnd.some.thing+json"):
            with self.subTest(media_type):
                tag = Tag(media_type.rpartition("/")[2].replace("+", "-"))
                manifest = Manifest(f'{{"its": "{media_type}"}}'.encode(), media_type)
                self.hub.has(ALPINE, tag, manifest)
                cold = self.now(self.manifest(tag))
                self.cache = self.make_cache()
                warm = self.now(self.manifest(tag))
                for result in (cold, warm):
                    self.assertEqual(result.media_type, media_type)
                    self.assertEqual(result.body, manifest.body)

    def test_a_type_with_parameters_survives_the_disk(self) -> None:
        plain = Manifest(b"{}", "application/json; charset=utf-8")
        self.hub.has(ALPINE, LATEST, plain)
        self.now(self.manifest())
        self.cache = self.make_cache()
        result = self.now(self.manifest())
        self.assertEqual(result.media_type, "application/json;charset=utf-8")
        self.assertEqual(result.source, Source.DISK)

    def test_a_manifest_without_a_type_has_the_one_it_names_itself(self) -> None:
        self.hub.has(ALPINE, LATEST, attrs.evolve(OLD, media_type=""))
        self.assertEqual(self.now(self.manifest()).media_type, OLD.media_type)

    def test_a_manifest_of_no_type_at_all_is_refused(self) -> None:
        self.hub.has(ALPINE, LATEST, Manifest(b"{}", ""))
        failure = self.refused(self.manifest(), UpstreamFailure)
        self.assertIs(failure.kind, UpstreamKind.WRONG)
        self.assertEqual(self.store.manifests, {})


class FreshTagTests(TagTestCase):
    def test_within_its_time_a_tag_asks_nobody(self) -> None:
        self.now(self.manifest())
        self.publish_new()
        self.asked()
        self.clock.advance(self.tag_ttl - 0.1)
        for head in (True, False):
            result = self.now(self.manifest(head=head))
            self.assertEqual((result.digest, result.source), (OLD.digest, Source.DISK))
        self.assertEqual(self.asked(), [])
        self.assertEqual(self.outcomes(), ["miss", "hit", "hit"])

    def test_its_time_outlives_a_restart(self) -> None:
        self.now(self.manifest())
        self.asked()
        self.cache = self.make_cache()
        self.assertEqual(self.now(self.manifest()).body, OLD.body)
        self.assertEqual(self.asked(), [])

    def test_a_check_in_the_future_is_not_believed(self) -> None:
        self.store.fill_with(OLD)
        self.store.tag_entries[ALPINE, LATEST] = TagEntry(
            str(OLD.digest), OLD.media_type, len(OLD.body), EPOCH + 1e6
        )
        self.publish_new()
        self.assertEqual(self.now(self.manifest()).body, NEW.body)
        entry = self.entry()
        assert entry is not None
        self.assertEqual((entry.digest, entry.checked_at), (str(NEW.digest), EPOCH))

    def test_a_manifest_gone_from_disk_is_fetched_without_another_head(self) -> None:
        self.now(self.manifest())
        self.asked()
        del self.store.manifests[OLD.digest]
        self.cache = self.make_cache()
        self.assertEqual(self.now(self.manifest()).source, Source.FILL)
        self.assertEqual(self.asked(), [f"GET alpine@{OLD.digest.hex[:6]}"])

    def test_a_head_of_one_gone_from_disk_asks_nobody(self) -> None:
        self.now(self.manifest())
        self.asked()
        del self.store.manifests[OLD.digest]
        self.cache = self.make_cache()
        result = self.now(self.manifest(head=True))
        self.assertEqual((result.digest, result.size), (OLD.digest, len(OLD.body)))
        self.assertEqual(self.asked(), [])

    def test_a_head_promises_no_manifest_that_can_not_be_had(self) -> None:
        self.now(self.manifest(head=True))
        self.hub.remembered = UpstreamFailure(UpstreamKind.DOWN, "down")
        failure = self.refused(self.manifest(head=True), UpstreamFailure)
        self.assertIs(failure.kind, UpstreamKind.DOWN)


class RevalidationTests(TagTestCase):
    def test_an_unchanged_tag_costs_a_head_and_is_fresh_again(self) -> None:
        self.cache_old()
        result = self.now(self.manifest())
        self.assertEqual((result.body, result.source), (OLD.body, Source.DISK))
        self.assertEqual(self.asked(), ["HEAD alpine:latest"])
        entry = self.entry()
        assert entry is not None
        self.assertEqual(entry.checked_at, EPOCH + 60)
        self.clock.advance(59)
        self.now(self.manifest())
        self.assertEqual(self.asked(), [])
        self.assertEqual(self.outcomes(), ["revalidated", "hit"])

    def test_a_changed_tag_costs_a_head_and_a_get(self) -> None:
        self.cache_old()
        self.publish_new()
        result = self.now(self.manifest())
        self.assertEqual((result.body, result.source), (NEW.body, Source.FILL))
        self.assertEqual(self.asked(), ["HEAD alpine:latest", f"GET alpine@{NEW.digest.hex[:6]}"])
        self.assertEqual(self.outcomes(), ["changed"])
        entry = self.entry()
        assert entry is not None
        self.assertEqual(entry.digest, str(NEW.digest))

    def test_one_head_serves_all_who_ask_meanwhile(self) -> None:
        self.cache_old()
        self.hub.held["HEAD"].holding = True
        clients = [self.start(self.manifest(head=number == 0)) for number in range(5)]
        self.hub.held["HEAD"].release()
        for client in clients:
            self.assertEqual(self.successResultOf(client).digest, OLD.digest)
        self.assertEqual(self.asked(), ["HEAD alpine:latest"])
        self.assertEqual(self.told(Coalesced), [Coalesced(kind="tag")] * 4)

    def test_one_get_serves_all_who_ask_meanwhile(self) -> None:
        self.cache_old()
        self.publish_new()
        self.hub.held["GET"].holding = True
        clients = [self.start(self.manifest()) for _ in range(5)]
        self.hub.held["GET"].release()
        results = [self.successResultOf(client) for client in clients]
        self.assertEqual({result.body for result in results}, {NEW.body})
        self.assertEqual([result.source for result in results], [Source.FILL] + [Source.FLIGHT] * 4)
        self.assertEqual(self.asked(), ["HEAD alpine:latest", f"GET alpine@{NEW.digest.hex[:6]}"])

    def test_a_client_who_leaves_does_not_end_the_look_upstream(self) -> None:
        self.cache_old()
        self.publish_new()
        for method in ("HEAD", "GET"):
            self.hub.held[method].holding = True
            client = self.start(self.manifest())
            client.cancel()
            self.failureResultOf(client, CancelledError)
            self.hub.held[method].release()
        self.assertEqual(self.now(self.manifest()).body, NEW.body)
        self.assertEqual(self.asked(), ["HEAD alpine:latest", f"GET alpine@{NEW.digest.hex[:6]}"])

    def test_the_tag_changes_only_once_the_new_manifest_is_stored(self) -> None:
        self.cache_old()
        self.publish_new()
        self.store.held["write_manifest"].holding = True
        client = self.start(self.manifest())
        entry = self.entry()
        assert entry is not None
        self.assertEqual(entry.digest, str(OLD.digest))
        self.store.held["write_manifest"].release()
        self.assertEqual(self.successResultOf(client).body, NEW.body)
        entry = self.entry()
        assert entry is not None
        self.assertEqual(entry.digest, str(NEW.digest))

    def test_a_head_that_finds_a_new_digest_leaves_the_tag_alone_if_that_can_not_be_had(
        self,
    ) -> None:
        self.cache_old()
        self.publish_new()
        self.hub.failures["GET"] = UpstreamFailure(UpstreamKind.LIMITED, "limit", status=429)
        for head in (True, False):
            result = self.now(self.manifest(head=head))
            self.assertEqual((result.digest, result.source), (OLD.digest, Source.STALE))
        entry = self.entry()
        assert entry is not None
        self.assertEqual(entry.digest, str(OLD.digest))

    def test_a_head_that_finds_a_new_digest_fetches_what_the_client_asks_for_next(self) -> None:
        self.cache_old()
        self.publish_new()
        result = self.now(self.manifest(head=True))
        self.assertEqual(result.digest, NEW.digest)
        self.now(self.manifest(NEW.digest))
        self.assertEqual(self.asked(), ["HEAD alpine:latest", f"GET alpine@{NEW.digest.hex[:6]}"])

    def test_the_new_manifest_is_served_once_it_can_be_had(self) -> None:
        self.cache_old()
        self.publish_new()
        self.hub.failures["GET"] = UpstreamFailure(UpstreamKind.ERROR, "no", status=500)
        self.now(self.manifest())
        del self.hub.failures["GET"]
        result = self.now(self.manifest())
        self.assertEqual((result.body, result.warning), (NEW.body, None))

    def test_a_tag_goes_back_when_upstream_does(self) -> None:
        self.cache_old()
        self.publish_new()
        self.now(self.manifest())
        self.hub.has(ALPINE, LATEST, OLD)
        self.clock.advance(self.tag_ttl)
        self.asked()
        self.assertEqual(self.now(self.manifest()).body, OLD.body)
        self.assertEqual(self.asked(), ["HEAD alpine:latest"])

    def test_an_older_check_does_not_replace_a_newer_one(self) -> None:
        self.cache_old()
        self.publish_new()
        self.hub.held["HEAD"].holding = True
        client = self.start(self.manifest())
        newest = TagEntry(str(OLD.digest), OLD.media_type, len(OLD.body), self.wall() + 5)
        self.store.tag_entries[ALPINE, LATEST] = newest
        self.clock.advance(6)
        self.hub.held["HEAD"].release()
        self.successResultOf(client)
        self.assertEqual(self.entry(), newest)

    def test_a_pin_stays_on_the_tag(self) -> None:
        self.cache_old()
        entry = self.entry()
        assert entry is not None
        self.store.tag_entries[ALPINE, LATEST] = attrs.evolve(entry, pinned=True)
        self.publish_new()
        self.now(self.manifest())
        entry = self.entry()
        assert entry is not None
        self.assertEqual((entry.digest, entry.pinned), (str(NEW.digest), True))

    def test_an_imported_tag_is_never_asked_upstream(self) -> None:
        self.store.fill_with(OLD)
        imported = TagEntry(str(OLD.digest), OLD.media_type, len(OLD.body), 0.0, imported=True)
        self.store.tag_entries[ALPINE, LATEST] = imported
        self.publish_new()
        result = self.now(self.manifest())
        self.assertEqual((result.body, result.warning), (OLD.body, None))
        self.assertEqual(self.asked(), [])

    def test_an_import_counts_more_than_what_a_head_has_told(self) -> None:
        self.publish_new()
        self.now(self.manifest(head=True))
        self.store.fill_with(OLD)
        imported = TagEntry(str(OLD.digest), OLD.media_type, len(OLD.body), 0.0, imported=True)
        self.store.tag_entries[ALPINE, LATEST] = imported
        self.assertEqual(self.now(self.manifest()).body, OLD.body)

    def test_a_look_upstream_does_not_undo_an_import(self) -> None:
        self.cache_old()
        self.publish_new()
        self.hub.held["HEAD"].holding = True
        client = self.start(self.manifest())
        imported = TagEntry(str(OLD.digest), OLD.media_type, len(OLD.body), 0.0, imported=True)
        self.store.tag_entries[ALPINE, LATEST] = imported
        self.hub.held["HEAD"].release()
        self.successResultOf(client)
        self.assertEqual(self.entry(), imported)
        self.assertEqual(self.now(self.manifest()).body, OLD.body)


class StaleTagTests(TagTestCase):
    def assert_stale(self, result: Any, reason: str) -> None:
        self.assertEqual(
            (result.body, result.media_type, result.source, result.warning),
            (OLD.body, OLD.media_type, Source.STALE, reason),
        )

    def test_whatever_fails_the_cached_image_is_served_with_a_warning(self) -> None:
        self.cache_old()
        for name, failure in upstream_failures():
            for method in ("HEAD", "GET"):
                with self.subTest(name, method=method):
                    self.cache = self.make_cache()
                    self.events.clear()
                    self.publish_new()
                    self.hub.failures = {method: failure}
                    self.assert_stale(self.now(self.manifest()), str(failure))
                    self.assertEqual(self.outcomes(), ["stale"])
                    (told,) = self.told(ServedStale)
                    self.assertEqual((told.age_seconds, told.reason), (60.0, str(failure)))
        entry = self.entry()
        assert entry is not None
        self.assertEqual(entry.digest, str(OLD.digest))

    def test_a_head_is_answered_stale_as_well(self) -> None:
        self.cache_old()
        self.hub.failures["HEAD"] = UpstreamFailure(UpstreamKind.ERROR, "no", status=500)
        self.assert_stale(self.now(self.manifest(head=True)), "no")

    def test_an_upstream_known_to_be_down_is_not_asked(self) -> None:
        self.cache_old()
        self.hub.remembered = UpstreamFailure(UpstreamKind.DOWN, "down since noon")
        self.assert_stale(self.now(self.manifest()), "down since noon")
        self.assertEqual(self.asked(), [])

    def test_an_upstream_that_hangs_costs_less_than_the_time_for_an_answer(self) -> None:
        self.cache_old()
        self.publish_new()
        self.hub.held["HEAD"].holding = True
        client = self.start(self.manifest())
        self.clock.advance(6)
        self.hub.held["GET"].holding = True
        self.hub.held["HEAD"].release()
        self.clock.advance(3)
        self.assertNoResult(client)
        self.clock.advance(0.9)
        self.assert_stale(self.successResultOf(client), "upstream did not answer in time")

    def test_what_came_too_late_for_one_client_is_there_for_the_next(self) -> None:
        self.cache_old()
        self.publish_new()
        self.hub.held["GET"].holding = True
        client = self.start(self.manifest())
        self.clock.advance(10)
        self.successResultOf(client)
        self.hub.held["GET"].release()
        self.asked()
        self.assertEqual(self.now(self.manifest()).body, NEW.body)
        self.assertEqual(self.asked(), [])

    def test_the_newer_of_two_that_can_be_served_is_chosen(self) -> None:
        self.cache_old()
        self.publish_new()
        self.store.blobs[digest_of(b"new")] = b"new"
        # No room on disk: the new manifest is in memory alone, the tag's entry waits for it.
        self.store.broken["write_manifest"] = FULL
        self.now(self.manifest())
        self.clock.advance(self.tag_ttl)
        self.hub.failures["HEAD"] = UpstreamFailure(UpstreamKind.ERROR, "no", status=500)
        result = self.now(self.manifest())
        self.assertEqual((result.body, result.source), (NEW.body, Source.STALE))

    def test_stale_is_served_for_as_long_as_we_have_it(self) -> None:
        self.cache_old()
        self.clock.advance(365 * 86400)
        self.hub.failures["HEAD"] = UpstreamFailure(UpstreamKind.NOT_FOUND, "gone", status=404)
        self.assert_stale(self.now(self.manifest()), "gone")

    def test_the_time_an_image_was_deleted_is_over_when_it_comes_back(self) -> None:
        self.cache_old()
        self.hub.failures["HEAD"] = UpstreamFailure(UpstreamKind.NOT_FOUND, "gone", status=404)
        self.now(self.manifest())
        self.publish_new()
        self.hub.failures.clear()
        self.clock.advance(self.timeouts.absent)
        self.assertEqual(self.now(self.manifest()).body, NEW.body)


class MemoryOfFailuresTests(TagTestCase):
    def fail_with(self, failure: UpstreamFailure) -> None:
        self.hub.failures["HEAD"] = failure

    def heads(self, tag: Tag = LATEST) -> int:
        """How many of two requests in a row reach upstream."""
        for _ in range(2):
            self.refused(self.manifest(tag), UpstreamFailure)
        return len(self.asked())

    def test_not_found_and_denied_are_remembered_for_seconds(self) -> None:
        for status, kind in ((404, UpstreamKind.NOT_FOUND), (403, UpstreamKind.DENIED)):
            with self.subTest(status):
                self.fail_with(UpstreamFailure(kind, "no", status=status))
                self.clock.advance(self.timeouts.absent)
                self.assertEqual(self.heads(), 1)
                self.clock.advance(self.timeouts.absent - 0.1)
                # Asking again does not make it last longer.
                self.assertEqual(self.heads(), 0)
                self.clock.advance(0.1)
                self.assertEqual(self.heads(), 1)

    def test_a_remembered_failure_says_the_same_as_the_first(self) -> None:
        self.fail_with(UpstreamFailure(UpstreamKind.DENIED, "upstream says 403", status=403))
        self.heads()
        failure = self.refused(self.manifest(), UpstreamFailure)
        self.assertEqual(
            (failure.kind, failure.message, failure.status),
            (UpstreamKind.DENIED, "upstream says 403", 403),
        )

    def test_a_tag_that_signing_tools_poll_is_remembered_more_shortly(self) -> None:
        self.assertEqual(self.heads(SIGNATURE), 1)
        self.clock.advance(self.timeouts.absent_signature)
        self.assertEqual(self.heads(SIGNATURE), 1)

    def test_what_is_remembered_of_one_tag_says_nothing_of_another(self) -> None:
        self.heads(Tag("other"))
        self.assertEqual(self.now(self.manifest()).body, OLD.body)

    def test_a_wrong_answer_is_remembered_for_a_moment(self) -> None:
        self.fail_with(UpstreamFailure(UpstreamKind.WRONG, "a page of HTML", status=200))
        self.assertEqual(self.heads(), 1)
        self.clock.advance(self.timeouts.absent_signature)
        self.assertEqual(self.heads(), 1)

    def test_failures_of_the_upstream_as_a_whole_are_left_to_its_own_memory(self) -> None:
        for name, failure in upstream_failures():
            if name in {"500", "503", "timeout", "unreachable", "down"}:
                with self.subTest(name):
                    self.fail_with(failure)
                    self.assertEqual(self.heads(), 2)

    def test_a_stale_answer_does_not_ask_more_often(self) -> None:
        self.cache_old()
        self.fail_with(UpstreamFailure(UpstreamKind.NOT_FOUND, "gone", status=404))
        for _ in range(3):
            self.assertEqual(self.now(self.manifest()).source, Source.STALE)
        self.assertEqual(self.asked(), ["HEAD alpine:latest"])


class OfflineTests(TagTestCase):
    def test_nothing_is_ever_asked(self) -> None:
        self.go_offline()
        for head in (True, False):
            self.refused(self.manifest(head=head), OfflineMiss)
            self.refused(self.manifest(OLD.digest, head=head), OfflineMiss)
        self.assertEqual(self.asked(), [])

    def test_what_is_cached_is_served_fresh_and_then_stale(self) -> None:
        self.now(self.manifest())
        self.asked()
        self.go_offline()
        self.assertEqual(self.now(self.manifest()).source, Source.DISK)
        self.clock.advance(self.tag_ttl)
        result = self.now(self.manifest())
        self.assertEqual((result.body, result.source), (OLD.body, Source.STALE))
        self.assertIn("offline", result.warning)
        self.assertEqual(self.asked(), [])


class BrokenDiskTests(TagTestCase):
    def test_a_full_disk_serves_the_client_all_the_same(self) -> None:
        self.store.broken["write_manifest"] = FULL
        self.assertEqual(self.now(self.manifest()).body, OLD.body)
        self.assertEqual(self.store.tag_entries, {})
        self.assertEqual(self.told(DiskFailed), [])

    def test_what_the_disk_does_not_take_is_remembered_for_its_time(self) -> None:
        self.store.broken["write_manifest"] = FULL
        self.now(self.manifest())
        self.asked()
        result = self.now(self.manifest())
        self.assertEqual((result.body, result.source), (OLD.body, Source.DISK))
        self.clock.advance(self.tag_ttl)
        self.assertEqual(self.now(self.manifest()).body, OLD.body)
        self.assertEqual(self.asked(), ["HEAD alpine:latest"])

    def test_a_tag_that_can_not_be_written_is_fresh_in_memory(self) -> None:
        self.store.broken["write_tag"] = BROKEN
        self.now(self.manifest())
        self.asked()
        self.assertEqual(self.now(self.manifest()).source, Source.DISK)
        self.assertEqual(self.asked(), [])
        self.assertEqual(self.told(DiskFailed)[0].operation, "write a tag")
        del self.store.broken["write_tag"]
        self.clock.advance(self.tag_ttl)
        self.now(self.manifest())
        self.assertIsNotNone(self.entry())

    def test_a_disk_that_reads_nothing_makes_a_mirror_without_memory(self) -> None:
        for method in ("read_tag", "read_manifest", "write_tag", "write_manifest"):
            self.store.broken[method] = BROKEN
        self.assertEqual(self.now(self.manifest()).body, OLD.body)
        self.assertEqual(self.now(self.manifest()).body, OLD.body)
        self.assertEqual(len(self.asked()), 2)
        self.assertTrue(self.told(DiskFailed))


class IndexTests(TagTestCase):
    def test_an_index_and_its_child_are_two_manifests(self) -> None:
        both = index((OLD, "amd64"), (NEW, "arm64"))
        self.hub.has(ALPINE, LATEST, both, OLD, NEW)
        result = self.now(self.manifest())
        self.assertEqual((result.body, result.media_type), (both.body, both.media_type))
        self.assertEqual(self.now(self.manifest(OLD.digest)).body, OLD.body)
        self.assertNotIn(NEW.digest, self.store.manifests)
