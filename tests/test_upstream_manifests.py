"""Manifests and listings of an upstream, over real sockets."""

from __future__ import annotations

import json

from nodecache.events import RateLimitSeen, UpstreamAnswered, UpstreamBytes, UpstreamFailed
from nodecache.failures import UpstreamKind
from nodecache.limits import Limits
from nodecache.reference import Digest, Tag
from tests.fakes_http import (
    answer,
    corrupt,
    cut,
    gzipped,
    html,
    no_digest,
    no_length,
    raw,
    truncated,
    with_headers,
    without_header,
)
from tests.fakes_hub import DOCKER_LIST, DOCKER_MANIFEST, INDEX, MANIFEST
from tests.upstream_kit import APP, LATEST, UpstreamCase


class ManifestTests(UpstreamCase):
    limits = Limits(manifest_bytes=10_000)

    async def test_a_tag_and_its_digest_give_the_bytes_as_they_are(self) -> None:
        upstream = self.upstream()
        by_tag = await upstream.get_manifest(APP, LATEST)
        by_digest = await upstream.get_manifest(APP, self.digest)
        self.assertEqual(by_tag, by_digest)
        self.assertEqual(by_tag.body, self.image.manifest.body)
        self.assertEqual((by_tag.digest, by_tag.media_type), (self.digest, MANIFEST))

    async def test_every_media_type_comes_through(self) -> None:
        upstream = self.upstream()
        for kind in (MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_LIST):
            made = self.hub.add_manifest(APP, "typed", json.dumps({"a": kind}).encode(), kind)
            got = await upstream.get_manifest(APP, Tag("typed"))
            self.assertEqual((got.media_type, str(got.digest)), (kind, made.digest))

    async def test_a_head_tells_digest_type_and_size_and_is_not_counted(self) -> None:
        self.hub.pull_limit = 100
        head = await self.upstream().head_manifest(APP, LATEST)
        self.assertEqual((head.digest, head.media_type), (self.digest, MANIFEST))
        self.assertEqual(head.size, len(self.image.manifest.body))
        self.assertEqual(self.hub.registry.count(method="GET", kind="manifest"), 0)
        self.assertEqual(self.hub.pulls, 0)

    async def test_the_full_accept_list_and_identity_are_always_asked_for(self) -> None:
        upstream = self.upstream()
        await upstream.head_manifest(APP, LATEST)
        await upstream.get_manifest(APP, self.digest)
        for seen in self.hub.registry.requests:
            accept = seen.header("accept") or ""
            for kind in (MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_LIST):
                self.assertIn(kind, accept)
            self.assertEqual(seen.header("accept-encoding"), "identity")

    async def test_a_head_without_a_digest_says_so(self) -> None:
        self.hub.registry.fault(no_digest, kind="manifest")
        head = await self.upstream().head_manifest(APP, LATEST)
        self.assertIsNone(head.digest)
        got = await self.upstream().get_manifest(APP, LATEST)
        self.assertEqual(got.digest, self.digest)

    async def test_an_upstream_that_takes_no_head_says_nothing(self) -> None:
        for status in (405, 501):
            self.hub.registry.fault(answer(status), method="HEAD", times=2)
            head = await self.upstream().head_manifest(APP, LATEST)
            self.assertEqual((head.digest, head.size), (None, None))

    async def test_a_manifest_without_a_length_is_read_to_its_end(self) -> None:
        self.hub.registry.fault(no_length, kind="manifest")
        got = await self.upstream().get_manifest(APP, LATEST)
        self.assertEqual(got.body, self.image.manifest.body)

    async def test_a_manifest_that_came_zipped_against_our_wish_is_unzipped(self) -> None:
        self.hub.registry.fault(gzipped, kind="manifest")
        got = await self.upstream().get_manifest(APP, LATEST)
        self.assertEqual((got.body, got.digest), (self.image.manifest.body, self.digest))

    async def test_a_manifest_in_an_unknown_encoding_is_refused(self) -> None:
        self.hub.registry.fault(with_headers(Content_Encoding="br"), kind="manifest")
        await self.refused(self.upstream().get_manifest(APP, LATEST), UpstreamKind.WRONG)

    async def test_wrong_bytes_for_a_digest_are_refused(self) -> None:
        self.hub.registry.fault(corrupt, kind="manifest")
        failure = await self.refused(
            self.upstream().get_manifest(APP, self.digest), UpstreamKind.WRONG
        )
        self.assertIn("do not match the digest", failure.message)
        self.assertEqual([event.kind for event in self.told(UpstreamFailed)], ["wrong"])

    async def test_bytes_that_differ_from_the_digest_header_are_refused_for_a_tag(self) -> None:
        self.hub.registry.fault(truncated(50), kind="manifest")
        await self.refused(self.upstream().get_manifest(APP, LATEST), UpstreamKind.WRONG)

    async def test_a_web_page_is_no_manifest(self) -> None:
        self.hub.registry.fault(html(200), kind="manifest")
        upstream = self.upstream()
        await self.refused(upstream.get_manifest(APP, LATEST), UpstreamKind.WRONG)
        await self.refused(upstream.get_manifest(APP, self.digest), UpstreamKind.WRONG)
        await self.refused(upstream.head_manifest(APP, LATEST), UpstreamKind.WRONG)

    async def test_a_challenge_page_with_403_is_denied_and_not_down(self) -> None:
        self.hub.registry.fault(html(403), kind="manifest")
        upstream = self.upstream()
        failure = await self.refused(upstream.get_manifest(APP, LATEST), UpstreamKind.DENIED)
        self.assertEqual(failure.status, 403)
        self.assertIsNone(upstream.down())

    async def test_what_is_not_there_is_not_found(self) -> None:
        upstream = self.upstream()
        for asking in (
            upstream.get_manifest(APP, Tag("nothing")),
            upstream.head_manifest(APP, Tag("nothing")),
            upstream.head_manifest("library/nothing", LATEST),
        ):
            failure = await self.refused(asking, UpstreamKind.NOT_FOUND)
            self.assertEqual(failure.status, 404)
            self.assertTrue(failure.is_absence)

    async def test_a_manifest_that_is_too_big_is_refused(self) -> None:
        body = json.dumps({"big": "x" * 10_000}).encode()
        self.hub.add_manifest(APP, "big", body)
        self.hub.registry.fault(no_length, times=3)
        for _ in range(2):
            await self.refused(self.upstream().get_manifest(APP, Tag("big")), UpstreamKind.WRONG)

    async def test_a_manifest_that_is_cut_is_no_manifest(self) -> None:
        self.hub.registry.fault(cut(20), kind="manifest")
        await self.refused(self.upstream().get_manifest(APP, LATEST), UpstreamKind.CUT)

    async def test_a_vague_content_type_gives_way_to_what_the_manifest_says(self) -> None:
        self.hub.registry.fault(with_headers(Content_Type="text/plain; charset=utf-8"))
        got = await self.upstream().get_manifest(APP, LATEST)
        self.assertEqual(got.media_type, MANIFEST)

    async def test_no_http_at_all_is_an_error(self) -> None:
        self.hub.registry.fault(raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"))
        await self.refused(self.upstream().get_manifest(APP, LATEST), UpstreamKind.ERROR)

    async def test_events_tell_of_each_request(self) -> None:
        await self.upstream().get_manifest(APP, LATEST)
        legs = [(event.leg, event.method, event.status) for event in self.told(UpstreamAnswered)]
        self.assertEqual(
            legs, [("manifest", "GET", 401), ("token", "GET", 200), ("manifest", "GET", 200)]
        )
        counted = {event.leg: event.bytes for event in self.told(UpstreamBytes)}
        self.assertEqual(counted["manifest"], len(self.image.manifest.body))


class RateLimitTests(UpstreamCase):
    async def test_rate_limit_headers_are_told_even_below_zero(self) -> None:
        self.hub.pull_limit = 1
        upstream = self.upstream()
        await upstream.get_manifest(APP, LATEST)
        await self.refused(upstream.get_manifest(APP, LATEST), UpstreamKind.LIMITED)
        seen = self.told(RateLimitSeen)
        self.assertEqual([(one.limit, one.remaining) for one in seen], [(1, 0), (1, -1)])
        self.assertEqual((seen[0].window_seconds, seen[0].source), (21600, "127.0.0.1"))

    async def test_a_429_stops_manifest_gets_and_nothing_else(self) -> None:
        self.hub.registry.fault(answer(429, b"slow down"), method="GET", kind="manifest")
        upstream = self.upstream()
        first = await self.refused(upstream.get_manifest(APP, LATEST), UpstreamKind.LIMITED)
        asked = self.hub.registry.count(kind="manifest")
        second = await self.refused(upstream.get_manifest(APP, self.digest), UpstreamKind.LIMITED)
        self.assertEqual(self.hub.registry.count(kind="manifest"), asked)
        self.assertEqual(first.status, 429)
        self.near(first.retry_after, 60.0)
        self.near(second.retry_after, 60.0)
        self.assertEqual((await upstream.head_manifest(APP, LATEST)).digest, self.digest)
        self.assertEqual(await upstream.head_blob(APP, self.layer), 100)
        self.assertIsNone(upstream.down())

    async def test_retry_after_says_how_long_a_429_holds(self) -> None:
        self.hub.registry.fault(answer(429, Retry_After="7"), method="GET", kind="manifest")
        upstream = self.upstream()
        failure = await self.refused(upstream.get_manifest(APP, LATEST), UpstreamKind.LIMITED)
        self.near(failure.retry_after, 7.0)

    async def test_a_reset_says_how_long_a_429_holds(self) -> None:
        limited = answer(429, RateLimit_Limit="5", RateLimit_Remaining="0", RateLimit_Reset="90")
        self.hub.registry.fault(limited, method="GET", kind="manifest")
        upstream = self.upstream()
        failure = await self.refused(upstream.get_manifest(APP, LATEST), UpstreamKind.LIMITED)
        self.near(failure.retry_after, 90.0)


class ListingTests(UpstreamCase):
    limits = Limits(listing_bytes=5_000)

    async def test_tags_come_in_pages_with_the_link_as_it_is(self) -> None:
        self.hub.add_image(APP, "2", [])
        upstream = self.upstream()
        page = await upstream.tags(APP, 1, None)
        self.assertEqual(json.loads(page.body)["tags"], ["1"])
        self.assertEqual(page.link, '</v2/library/app/tags/list?last=1&n=1>; rel="next"')
        page = await upstream.tags(APP, 1, "1")
        self.assertEqual((json.loads(page.body)["tags"], page.link), (["2"], None))
        whole = await upstream.tags(APP, None, None)
        self.assertEqual(json.loads(whole.body)["tags"], ["1", "2"])
        self.assertEqual(whole.media_type, "application/json")

    async def test_referrers_come_with_the_filters_that_were_applied(self) -> None:
        index = json.dumps({"manifests": []}).encode()
        self.hub.add_referrers(APP, str(self.digest), index)
        self.hub.registry.fault(with_headers(OCI_Filters_Applied="artifactType"))
        got = await self.upstream().referrers(APP, self.digest, "a/b+c")
        self.assertEqual((got.body, got.media_type, got.filters), (index, INDEX, "artifactType"))
        asked = self.hub.registry.requests[-1]
        self.assertEqual(asked.query, {"artifactType": ["a/b+c"]})

    async def test_a_registry_without_referrers_is_not_found(self) -> None:
        absent = Digest("sha256", "0" * 64)
        await self.refused(self.upstream().referrers(APP, absent, None), UpstreamKind.NOT_FOUND)

    async def test_a_listing_that_is_none_is_refused(self) -> None:
        upstream = self.upstream()
        for change in (html(200), answer(200, b"[]", "application/json")):
            fault = self.hub.registry.fault(change, kind="tags")
            await self.refused(upstream.tags(APP, None, None), UpstreamKind.WRONG)
            fault.lift()
            await upstream.tags(APP, None, None)

    async def test_a_listing_that_is_too_big_is_refused(self) -> None:
        body = json.dumps({"tags": ["x" * 100] * 100}).encode()
        self.hub.registry.fault(answer(200, body), kind="tags")
        await self.refused(self.upstream().tags(APP, None, None), UpstreamKind.WRONG)

    async def test_no_header_is_made_up(self) -> None:
        self.hub.registry.fault(without_header("Link"))
        page = await self.upstream().tags(APP, 1, None)
        self.assertEqual((page.link, page.filters), (None, None))
