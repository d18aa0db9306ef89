"""The double of Docker Hub keeps the rules that its users rely on."""

from __future__ import annotations

import json

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.trial.unittest import TestCase
from twisted.web.client import ResponseNeverReceived

from tests.fakes_client import Got, fetch, until
from tests.fakes_http import (
    Gate,
    black_hole,
    cut,
    gzipped,
    hang_up,
    hold_at,
    html,
    no_length,
    no_range,
    raw,
    shifted,
)
from tests.fakes_hub import MANIFEST, FakeHub


class FakeHubTests(TestCase):
    def setUp(self) -> None:
        self.hub = FakeHub(reactor).start()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.hub.stop()))
        self.image = self.hub.add_image("library/app", "1", [b"0123456789" * 10])
        self.layer = self.image.layers[0]
        self.manifest_url = f"{self.hub.url}/v2/library/app/manifests/1"

    async def get(self, url: str, method: str = "GET", **headers: str) -> Got:
        return await fetch(reactor, url, method, headers)

    async def token(self, name: str) -> str:
        scope = f"repository:{name}:pull"
        got = await self.get(f"{self.hub.tokens.url}/token?service=x&scope={scope}")
        return "Bearer " + str(json.loads(got.body)["token"])

    async def link(self) -> str:
        url = f"{self.hub.url}/v2/library/app/blobs/{self.layer}"
        got = await self.get(url, Authorization=await self.token("library/app"))
        self.assertEqual(got.status, 307)
        return str(got.header("location"))

    async def test_a_request_without_a_token_is_challenged(self) -> None:
        got = await self.get(self.manifest_url)
        self.assertEqual(got.status, 401)
        challenge = got.header("www-authenticate")
        self.assertIn(f'realm="{self.hub.tokens.url}/token"', challenge)
        self.assertIn('scope="repository:library/app:pull"', challenge)

    async def test_a_token_of_another_repository_is_no_good(self) -> None:
        token = await self.token("library/other")
        got = await self.get(self.manifest_url, Authorization=token, Accept=MANIFEST)
        self.assertEqual(got.status, 401)

    async def test_a_token_is_good_until_it_expires(self) -> None:
        token = await self.token("library/app")
        self.hub.expire_tokens()
        got = await self.get(self.manifest_url, Authorization=token, Accept=MANIFEST)
        self.assertEqual(got.status, 401)

    async def test_only_a_get_of_a_manifest_counts(self) -> None:
        self.hub.pull_limit = 1
        token = await self.token("library/app")
        left = []
        for method in ("HEAD", "GET", "HEAD", "GET"):
            got = await self.get(self.manifest_url, method, Authorization=token, Accept=MANIFEST)
            left.append((got.status, got.header("ratelimit-remaining")))
        self.assertEqual(
            left,
            [(200, "1;w=21600"), (200, "0;w=21600"), (200, "0;w=21600"), (429, "-1;w=21600")],
        )

    async def test_a_manifest_is_shown_to_those_who_accept_its_type(self) -> None:
        token = await self.token("library/app")
        got = await self.get(self.manifest_url, Authorization=token, Accept="text/plain")
        self.assertEqual(got.status, 404)
        got = await self.get(self.manifest_url, Authorization=token, Accept=MANIFEST)
        self.assertEqual((got.status, got.body), (200, self.image.manifest.body))

    async def test_a_blob_comes_from_the_cdn_by_a_signed_link(self) -> None:
        got = await self.get(await self.link())
        self.assertEqual((got.status, got.body), (200, b"0123456789" * 10))
        got = await self.get(await self.link(), Range="bytes=5-7")
        self.assertEqual((got.status, got.body), (206, b"567"))
        got = await self.get(await self.link(), "HEAD")
        self.assertEqual(got.status, 403)
        got = await self.get(await self.link(), Authorization="Bearer x")
        self.assertEqual(got.status, 400)
        link = await self.link()
        self.hub.expire_links()
        got = await self.get(link)
        self.assertEqual(got.status, 403)

    async def test_a_range_behind_the_end_is_416(self) -> None:
        got = await self.get(await self.link(), Range="bytes=100-")
        self.assertEqual((got.status, got.header("content-range")), (416, "bytes */100"))

    async def test_faults_change_the_answer(self) -> None:
        cdn = self.hub.cdn
        cdn.fault(no_range, no_length, times=1)
        got = await self.get(await self.link(), Range="bytes=5-7")
        self.assertEqual((got.status, len(got.body)), (200, 100))
        cdn.fault(shifted(1), times=1)
        got = await self.get(await self.link(), Range="bytes=5-7")
        self.assertEqual(got.body, b"67")
        cdn.fault(html(), times=1)
        got = await self.get(await self.link())
        self.assertEqual(got.header("content-type"), "text/html")
        cdn.fault(gzipped, times=1)
        got = await self.get(await self.link())
        self.assertEqual(got.header("content-encoding"), "gzip")
        cdn.fault(raw(b"HTTP/1.0 200 OK\r\n\r\nuntil the end"), times=1)
        got = await self.get(await self.link())
        self.assertEqual((got.body, got.broken), (b"until the end", "PotentialDataLoss"))
        got = await self.get(await self.link())
        self.assertEqual((got.status, len(got.body), got.broken), (200, 100, None))

    async def test_faults_break_the_answer(self) -> None:
        cdn = self.hub.cdn
        cdn.fault(cut(5), times=1)
        got = await self.get(await self.link())
        self.assertEqual((got.body, got.broken, cdn.sent), (b"01234", "ResponseFailed", 5))
        cdn.fault(hang_up, times=1)
        with self.assertRaises(ResponseNeverReceived):
            await self.get(await self.link())
        cdn.fault(black_hole, times=1)
        silent = Deferred.fromCoroutine(self.get(await self.link()))
        await until(reactor, lambda: len(cdn.requests) == 3)
        self.assertFalse(silent.called)
        silent.addErrback(lambda _gone: None).cancel()

    async def test_a_body_waits_at_a_gate(self) -> None:
        gate = Gate()
        self.hub.cdn.fault(hold_at(7, gate))
        waiting = Deferred.fromCoroutine(self.get(await self.link()))
        await until(reactor, lambda: gate.waiting == 1)
        self.assertEqual((self.hub.cdn.sent, self.hub.cdn.sending), (7, 1))
        gate.open()
        got = await waiting
        self.assertEqual((len(got.body), self.hub.cdn.sending), (100, 0))

    async def test_a_big_blob_flows_with_backpressure(self) -> None:
        digest = self.hub.add_pattern("library/app", 3_000_001)
        self.layer = digest
        got = await self.get(await self.link())
        self.assertEqual(self.hub.add_blob("library/app", got.body), digest)

    async def test_the_log_is_in_order_and_tells_what_was_asked(self) -> None:
        await self.get(await self.link())
        self.assertEqual(
            [(seen.site, seen.method, seen.kind, seen.name) for seen in self.hub.requests],
            [
                ("token", "GET", "token", "library/app"),
                ("registry", "GET", "blob", "library/app"),
                ("cdn", "GET", "blob", ""),
            ],
        )

    async def test_a_site_refuses_while_it_is_stopped_and_comes_back_on_its_port(self) -> None:
        url = f"{self.hub.url}/v2/"
        await self.hub.registry.stop()
        with self.assertRaises(ConnectError):
            await self.get(url)
        self.hub.registry.start()
        got = await self.get(url)
        self.assertEqual(got.status, 401)

    async def test_tags_come_in_pages(self) -> None:
        self.hub.token_auth = False
        self.hub.add_image("library/app", "2", [])
        url = f"{self.hub.url}/v2/library/app/tags/list"
        got = await self.get(url + "?n=1")
        self.assertEqual(json.loads(got.body)["tags"], ["1"])
        link = '</v2/library/app/tags/list?last=1&n=1>; rel="next"'
        self.assertEqual(got.header("link"), link)
        got = await self.get(url + "?n=1&last=1")
        self.assertEqual(json.loads(got.body)["tags"], ["2"])

    async def test_a_private_repository_is_for_its_accounts(self) -> None:
        self.hub.make_private("library/app", "me")
        token = await self.token("library/app")
        got = await self.get(self.manifest_url, Authorization=token, Accept=MANIFEST)
        self.assertEqual(got.status, 401)
