"""Manifests, tag lists and referrers on the mirror port."""

from __future__ import annotations

from nodecache.events import Source
from nodecache.failures import NameDenied, OfflineMiss, UpstreamFailure, UpstreamKind
from nodecache.results import ListingResult
from tests.fakes_registry import IMAGE
from tests.loopback import LoopbackCase
from tests.test_web_base import code_of

BODY = b'{"schemaVersion": 2, "layers": []}\n'
LATEST = "/v2/library/alpine/manifests/latest"


class ManifestTests(LoopbackCase):
    async def test_a_manifest_comes_byte_for_byte_with_its_type_and_digest(self) -> None:
        digest = self.registry.add_manifest(BODY, "latest", media_type="application/x-odd")
        for path in (LATEST, f"/v2/library/alpine/manifests/{digest}"):
            reply = await self.ask(path)
            self.assertEqual((reply.status, reply.body), (200, BODY))
            self.assertEqual(reply.header("Content-Type"), "application/x-odd")
            self.assertEqual(reply.header("Content-Length"), str(len(BODY)))
            self.assertEqual(reply.header("Docker-Content-Digest"), str(digest))
            self.assertEqual(reply.header("ETag"), f'"{digest}"')
            self.assertEqual(reply.header("Nodecache-Source"), "disk")
            self.assertEqual(reply.header("X-Content-Type-Options"), "nosniff")
            self.assertIsNone(reply.header("Server"))
            self.assertIsNone(reply.header("Warning"))

    async def test_head_has_all_headers_and_asks_for_no_bytes(self) -> None:
        digest = self.registry.add_manifest(BODY, "latest")
        reply = await self.ask(LATEST, "HEAD")
        self.assertEqual((reply.status, reply.body), (200, b""))
        self.assertEqual(reply.header("Content-Length"), str(len(BODY)))
        self.assertEqual(reply.header("Content-Type"), IMAGE)
        self.assertEqual(reply.header("Docker-Content-Digest"), str(digest))
        (asked,) = self.registry.asked
        self.assertIs(asked.option, True)

    async def test_accept_headers_in_any_number_change_nothing(self) -> None:
        self.registry.add_manifest(BODY, "latest", media_type="application/x-odd")
        reply = await self.ask(LATEST, Accept="text/html", Accept_Encoding="gzip;q=1, zstd")
        self.assertEqual((reply.status, reply.body), (200, BODY))
        self.assertIsNone(reply.header("Content-Encoding"))

    async def test_a_name_of_one_part_is_looked_up_under_library(self) -> None:
        self.registry.add_manifest(BODY, "latest")
        self.assertEqual((await self.ask("/v2/alpine/manifests/latest")).body, BODY)
        self.assertEqual(self.registry.asked[0].repository.name, "library/alpine")

    async def test_the_namespace_is_used_and_echoed(self) -> None:
        self.registry.add_manifest(BODY, "latest")
        for sent, meant in (
            ("docker.io", "docker.io"),
            ("registry-1.docker.io", "docker.io"),
            ("quay.io", "quay.io"),
        ):
            reply = await self.ask(f"/v2/org/app/manifests/latest?ns={sent}")
            self.assertEqual(reply.header("OCI-Namespace"), sent)
            self.assertEqual(self.registry.asked[-1].repository.namespace, meant)
        self.assertIsNone((await self.ask(LATEST)).header("OCI-Namespace"))

    async def test_an_unknown_namespace_is_404_and_asks_nobody(self) -> None:
        reply = await self.ask(f"{LATEST}?ns=evil.example")
        self.assertEqual((reply.status, code_of(reply)), (404, "NAME_UNKNOWN"))
        self.assertIsNone(reply.header("OCI-Namespace"))
        self.assertEqual(self.registry.asked, [])

    async def test_a_denied_name_is_404(self) -> None:
        self.registry.denied["library/alpine"] = NameDenied("library/alpine")
        reply = await self.ask(LATEST)
        self.assertEqual((reply.status, code_of(reply)), (404, "NAME_UNKNOWN"))

    async def test_a_stale_manifest_says_so(self) -> None:
        self.registry.add_manifest(
            BODY, "latest", source=Source.STALE, warning='upstream said "429"\r\nX-Evil: 1'
        )
        reply = await self.ask(LATEST)
        self.assertEqual((reply.status, reply.body), (200, BODY))
        self.assertEqual(reply.header("Nodecache-Source"), "stale")
        self.assertEqual(reply.header("Warning"), '299 - "upstream said \\"429\\"  X-Evil: 1"')
        self.assertIsNone(reply.header("X-Evil"))
        (event,) = await self.finished()
        self.assertEqual(event.source, "stale")

    async def test_a_range_of_a_manifest_is_206(self) -> None:
        self.registry.add_manifest(BODY, "latest")
        size = len(BODY)
        for header, start, stop in (
            ("bytes=0-", 0, size),
            ("bytes=2-5", 2, 6),
            ("bytes=-4", size - 4, size),
            ("bytes=5-9999", 5, size),
        ):
            reply = await self.ask(LATEST, Range=header)
            self.assertEqual((header, reply.status), (header, 206))
            self.assertEqual(reply.body, BODY[start:stop])
            self.assertEqual(reply.header("Content-Range"), f"bytes {start}-{stop - 1}/{size}")
            self.assertEqual(reply.header("Content-Length"), str(stop - start))

    async def test_a_range_behind_the_end_of_a_manifest_is_416(self) -> None:
        self.registry.add_manifest(BODY, "latest")
        reply = await self.ask(LATEST, Range=f"bytes={len(BODY)}-")
        self.assertEqual((reply.status, code_of(reply)), (416, "RANGE_INVALID"))
        self.assertEqual(reply.header("Content-Range"), f"bytes */{len(BODY)}")
        self.assertIsNone(reply.header("Docker-Content-Digest"))

    async def test_a_range_for_another_version_of_a_tag_gets_the_whole_manifest(self) -> None:
        digest = self.registry.add_manifest(BODY, "latest")
        reply = await self.ask(LATEST, Range="bytes=2-5", If_Range=f'"{digest}"')
        self.assertEqual(reply.status, 206)
        reply = await self.ask(LATEST, Range="bytes=2-5", If_Range='"sha256:other"')
        self.assertEqual((reply.status, reply.body), (200, BODY))

    async def test_a_range_of_a_head_is_ignored(self) -> None:
        self.registry.add_manifest(BODY, "latest")
        reply = await self.ask(LATEST, "HEAD", Range="bytes=2-5")
        self.assertEqual(reply.status, 200)
        self.assertEqual(reply.header("Content-Length"), str(len(BODY)))

    async def test_a_manifest_of_four_megabytes_comes_whole(self) -> None:
        big = b"[" + b" " * (4 * 1048 * 1048 - 2) + b"]"
        self.registry.add_manifest(big, "latest")
        self.assertEqual((await self.ask(LATEST)).body, big)

    async def test_failures_of_upstream_are_503_for_manifests_and_never_a_challenge(self) -> None:
        for kind in (
            UpstreamKind.LIMITED,
            UpstreamKind.ERROR,
            UpstreamKind.TIMEOUT,
            UpstreamKind.DOWN,
        ):
            self.registry.manifests["latest"] = UpstreamFailure(kind, "it failed", retry_after=7.2)
            reply = await self.ask(LATEST)
            self.assertEqual((kind, reply.status), (kind, 503))
            self.assertEqual(reply.header("Retry-After"), "8")
            self.assertIsNone(reply.header("WWW-Authenticate"))
        for failure in (UpstreamFailure(UpstreamKind.DENIED, "401"), OfflineMiss("it")):
            self.registry.manifests["latest"] = failure
            reply = await self.ask(LATEST)
            self.assertEqual((reply.status, code_of(reply)), (404, "MANIFEST_UNKNOWN"))


class ListingTests(LoopbackCase):
    async def test_a_tag_list_passes_on_its_page_and_its_link(self) -> None:
        link = '</v2/library/alpine/tags/list?n=2&last=b>; rel="next"'
        self.registry.listings["tags"] = ListingResult(
            b'{"tags": ["a", "b"]}', "application/json", link, Source.FILL
        )
        reply = await self.ask("/v2/library/alpine/tags/list?n=2&last=a")
        self.assertEqual((reply.status, reply.body), (200, b'{"tags": ["a", "b"]}'))
        self.assertEqual(reply.header("Link"), link)
        self.assertEqual(reply.header("Content-Type"), "application/json")
        self.assertEqual(self.registry.asked[0].option, (2, "a"))

    async def test_a_stale_tag_list_says_so(self) -> None:
        self.registry.listings["tags"] = ListingResult(
            b"{}", "application/json", None, Source.STALE, warning="upstream is down"
        )
        reply = await self.ask("/v2/library/alpine/tags/list")
        self.assertEqual(reply.header("Warning"), '299 - "upstream is down"')
        self.assertIsNone(reply.header("Link"))

    async def test_referrers_pass_on_which_filter_was_applied(self) -> None:
        self.registry.listings["referrers"] = ListingResult(
            b"{}",
            "application/vnd.oci.image.index.v1+json",
            None,
            Source.DISK,
            None,
            "artifactType",
        )
        path = "/v2/library/alpine/referrers/sha256:" + "a" * 64
        reply = await self.ask(f"{path}?artifactType=application/x")
        self.assertEqual(reply.header("OCI-Filters-Applied"), "artifactType")
        self.assertEqual(reply.header("Content-Type"), "application/vnd.oci.image.index.v1+json")
        self.assertEqual(self.registry.asked[0].option, "application/x")

    async def test_lists_by_head_have_no_body(self) -> None:
        self.registry.listings["tags"] = ListingResult(b"{}", "a/b", None, Source.DISK)
        reply = await self.ask("/v2/library/alpine/tags/list", "HEAD")
        self.assertEqual((reply.status, reply.header("Content-Length")), (200, "2"))

    async def test_an_upstream_without_referrers_is_404(self) -> None:
        reply = await self.ask("/v2/library/alpine/referrers/sha256:" + "a" * 64)
        self.assertEqual((reply.status, code_of(reply)), (404, "MANIFEST_UNKNOWN"))
