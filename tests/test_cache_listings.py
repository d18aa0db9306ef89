from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from nodecache.cache.links import next_link, tags_link
from nodecache.events import DiskFailed, ServedStale, Source
from nodecache.failures import OfflineMiss, UpstreamFailure, UpstreamKind
from nodecache.reference import Digest, Repository
from tests.fakes_cache import (
    ALPINE,
    BROKEN,
    FULL,
    QUAY,
    CacheTestCase,
    FetchedPage,
    upstream_failures,
)

ALL = FetchedPage(b'{"name":"library/alpine","tags":["1","2","3"]}')
FIRST = FetchedPage(
    b'{"name":"library/alpine","tags":["1","2"]}',
    link='</v2/library/alpine/tags/list?n=2&last=2>; rel="next"',
)
SECOND = FetchedPage(b'{"name":"library/alpine","tags":["3"]}')
SUBJECT = Digest("sha256", "5" * 64)
REFERRERS = FetchedPage(b'{"manifests":[]}', "application/vnd.oci.image.index.v1+json")


class ListingTestCase(CacheTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.hub.pages = {
            ("library/alpine", None, None): ALL,
            ("library/alpine", 2, None): FIRST,
            ("library/alpine", 2, "2"): SECOND,
            ("library/alpine", SUBJECT, None): REFERRERS,
        }

    def tags(
        self, n: int | None = None, last: str | None = None, repository: Repository = ALPINE
    ) -> Any:
        return self.cache.tags(repository, n, last)

    def referrers(self, artifact_type: str | None = None) -> Any:
        return self.cache.referrers(ALPINE, SUBJECT, artifact_type)


class TagsListTests(ListingTestCase):
    def test_upstreams_words_are_passed_on(self) -> None:
        result = self.now(self.tags())
        self.assertEqual(
            (result.body, result.media_type, result.link, result.source),
            (ALL.body, "application/json", None, Source.FILL),
        )

    def test_they_are_kept_for_a_short_time_and_over_a_restart(self) -> None:
        self.now(self.tags())
        self.clock.advance(self.timeouts.listing_ttl - 0.1)
        self.cache = self.make_cache()
        result = self.now(self.tags())
        self.assertEqual((result.body, result.source), (ALL.body, Source.DISK))
        self.assertEqual(len(self.asked()), 1)
        self.clock.advance(0.1)
        self.assertEqual(self.now(self.tags()).source, Source.FILL)
        self.assertEqual(len(self.asked()), 1)

    def test_a_list_from_the_future_is_not_believed(self) -> None:
        self.clock.advance(100)
        self.now(self.tags())
        self.clock.rightNow = 0.0
        self.assertEqual(self.now(self.tags()).source, Source.FILL)

    def test_each_page_is_a_list_of_its_own(self) -> None:
        for _ in range(2):
            self.assertEqual(self.now(self.tags(2)).body, FIRST.body)
            self.assertEqual(self.now(self.tags(2, "2")).body, SECOND.body)
            self.assertEqual(self.now(self.tags()).body, ALL.body)
        self.assertEqual(len(self.asked()), 3)

    def test_the_next_page_is_on_this_mirror_with_its_namespace(self) -> None:
        link = '</v2/library/alpine/tags/list?n=2&last=2&ns=docker.io>; rel="next"'
        self.assertEqual(self.now(self.tags(2)).link, link)
        self.assertEqual(self.now(self.tags(2)).link, link)

    def test_each_namespace_has_its_own(self) -> None:
        self.quay.pages[("library/alpine", None, None)] = SECOND
        self.assertEqual(self.now(self.tags()).body, ALL.body)
        self.assertEqual(self.now(self.tags(repository=QUAY)).body, SECOND.body)

    def test_those_who_ask_at_once_cost_one_request(self) -> None:
        self.hub.held["LIST"].holding = True
        clients = [self.start(self.tags()) for _ in range(3)]
        self.hub.held["LIST"].release()
        sources = [self.successResultOf(client).source for client in clients]
        self.assertEqual(sources, [Source.FILL, Source.FLIGHT, Source.FLIGHT])
        self.assertEqual(len(self.asked()), 1)

    def test_while_upstream_fails_the_old_list_is_served_with_a_warning(self) -> None:
        self.now(self.tags())
        self.clock.advance(self.timeouts.listing_ttl)
        for name, failure in upstream_failures():
            if name != "404":
                with self.subTest(name):
                    self.cache = self.make_cache()
                    self.events.clear()
                    self.hub.failures["LIST"] = failure
                    result = self.now(self.tags())
                    self.assertEqual(
                        (result.body, result.source, result.warning),
                        (ALL.body, Source.STALE, str(failure)),
                    )
                    self.assertEqual(self.told(ServedStale)[0].age_seconds, 60.0)

    def test_an_upstream_that_hangs_is_given_up_in_time(self) -> None:
        self.now(self.tags())
        self.clock.advance(self.timeouts.listing_ttl)
        self.hub.held["LIST"].holding = True
        client = self.start(self.tags())
        self.clock.advance(self.timeouts.answer)
        self.assertEqual(self.successResultOf(client).source, Source.STALE)

    def test_with_nothing_kept_every_failure_is_passed_on(self) -> None:
        for name, failure in upstream_failures():
            with self.subTest(name):
                self.cache = self.make_cache()
                self.hub.failures["LIST"] = failure
                self.assertIs(self.refused(self.tags(), UpstreamFailure), failure)

    def test_a_404_is_upstreams_word_also_where_an_old_list_is_kept(self) -> None:
        self.now(self.tags())
        self.clock.advance(self.timeouts.listing_ttl)
        self.hub.pages.clear()
        for _ in range(2):
            failure = self.refused(self.tags(), UpstreamFailure)
            self.assertIs(failure.kind, UpstreamKind.NOT_FOUND)
        self.assertEqual(len(self.asked()), 2)

    def test_offline_serves_what_is_kept_and_asks_nobody(self) -> None:
        self.go_offline()
        self.refused(self.tags(), OfflineMiss)
        self.cache = self.make_cache()
        self.now(self.tags())
        self.asked()
        self.go_offline()
        self.assertEqual(self.now(self.tags()).source, Source.DISK)
        self.clock.advance(self.timeouts.listing_ttl)
        self.assertEqual(self.now(self.tags()).source, Source.STALE)
        self.assertEqual(self.asked(), [])

    def test_a_disk_that_fails_is_no_reason_to_fail(self) -> None:
        for failure in (FULL, BROKEN):
            self.store.broken = {"read_listing": failure, "write_listing": failure}
            self.assertEqual(self.now(self.tags()).body, ALL.body)
        operations = [event.operation for event in self.told(DiskFailed)]
        self.assertEqual(operations, ["read a listing", "write a listing"])


class ReferrersTests(ListingTestCase):
    def test_upstreams_words_are_passed_on_and_kept_for_a_short_time(self) -> None:
        for source in (Source.FILL, Source.DISK):
            result = self.now(self.referrers())
            self.assertEqual(
                (result.body, result.media_type, result.source),
                (REFERRERS.body, REFERRERS.media_type, source),
            )
        self.assertEqual(len(self.asked()), 1)

    def test_a_filter_chooses_a_list_of_its_own_and_says_that_it_was_applied(self) -> None:
        filtered = FetchedPage(b'{"manifests":[1]}', filters="artifactType")
        self.hub.pages["library/alpine", SUBJECT, "some/type"] = filtered
        for _ in range(2):
            result = self.now(self.referrers("some/type"))
            self.assertEqual((result.body, result.filters), (filtered.body, "artifactType"))
            result = self.now(self.referrers())
            self.assertEqual((result.body, result.filters), (REFERRERS.body, None))

    def test_a_404_passes_so_that_clients_look_at_the_tags_instead(self) -> None:
        self.now(self.referrers())
        self.clock.advance(self.timeouts.listing_ttl)
        self.hub.pages.clear()
        failure = self.refused(self.referrers(), UpstreamFailure)
        self.assertIs(failure.kind, UpstreamKind.NOT_FOUND)

    def test_while_upstream_fails_the_old_list_is_served(self) -> None:
        self.now(self.referrers())
        self.clock.advance(self.timeouts.listing_ttl)
        self.hub.remembered = UpstreamFailure(UpstreamKind.DOWN, "down")
        result = self.now(self.referrers())
        self.assertEqual((result.body, result.source), (REFERRERS.body, Source.STALE))

    def test_a_list_in_pages_is_refused_rather_than_cut_short(self) -> None:
        self.hub.pages["library/alpine", SUBJECT, None] = FetchedPage(
            b'{"manifests":[]}', link='</v2/x?next>; rel="next"'
        )
        failure = self.refused(self.referrers(), UpstreamFailure)
        self.assertIs(failure.kind, UpstreamKind.ERROR)
        self.assertEqual(self.store.listings, {})


class LinkTests(SynchronousTestCase):
    def rewritten(self, header: str | None, n: int | None = None) -> str | None:
        return tags_link(header, ALPINE, n, FIRST.body)

    def test_the_next_page_is_found_in_every_way_to_write_it(self) -> None:
        for header in (
            '</next>; rel="next"',
            "</next>; rel=next",
            "</next>;rel=next",
            '</next>; title="x"; REL="NEXT"',
            '</first>; rel="first", </next>; rel="prev next"',
            "</first>; rel=first, </next>; rel=next, </last>; rel=last",
        ):
            with self.subTest(header):
                self.assertEqual(next_link(header), "/next")

    def test_what_is_no_next_page_is_none(self) -> None:
        for header in ("", "junk", "</x>", '</x>; rel="prev"', "</x>; rel=nextish", "<>"):
            with self.subTest(header):
                self.assertIsNone(next_link(header))
                self.assertIsNone(self.rewritten(header))
        self.assertIsNone(self.rewritten(None))

    def test_an_absolute_link_is_pointed_here(self) -> None:
        self.assertEqual(
            self.rewritten(
                '<https://hub.example/v2/library/alpine/tags/list?last=b&n=7>; rel="next"'
            ),
            '</v2/library/alpine/tags/list?n=7&last=b&ns=docker.io>; rel="next"',
        )

    def test_a_mark_of_upstreams_own_becomes_the_last_tag_of_the_page(self) -> None:
        self.assertEqual(
            self.rewritten('</v2/library/alpine/tags/list?next_page=abc>; rel="next"', 2),
            '</v2/library/alpine/tags/list?n=2&last=2&ns=docker.io>; rel="next"',
        )

    def test_without_a_page_length_none_is_made_up(self) -> None:
        self.assertEqual(
            self.rewritten('</x?last=2>; rel="next"'),
            '</v2/library/alpine/tags/list?last=2&ns=docker.io>; rel="next"',
        )

    def test_nothing_that_upstream_writes_breaks_out_of_the_link(self) -> None:
        link = self.rewritten('</x?last=%3E%0d%0aSet-Cookie:%20a&n=%3E>; rel="next"') or ""
        self.assertEqual(
            link,
            "</v2/library/alpine/tags/list?n=%3E&last=%3E%0D%0ASet-Cookie%3A+a&ns=docker.io>; "
            'rel="next"',
        )

    def test_a_next_page_that_can_not_be_named_is_none(self) -> None:
        for body in (b"", b"[]", b"{}", b'{"tags":[]}', b'{"tags":[1]}', b"[" * 100_000):
            with self.subTest(body[:20]):
                self.assertIsNone(tags_link('</x?next_page=a>; rel="next"', ALPINE, None, body))
