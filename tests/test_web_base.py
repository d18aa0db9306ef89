"""What every answer of the mirror port keeps to: headers, methods, HEAD, errors."""

from __future__ import annotations

import json
from typing import Any

import attrs
from twisted.web.resource import Resource

from nodecache.body import Tools
from nodecache.events import SettingWarning, Unexpected
from nodecache.limits import Limits, Timeouts
from nodecache.results import ManifestResult
from nodecache.web.request import GuardedRequest
from nodecache.web.site import GuardedSite
from tests.fakes_registry import FakeReadable, digest_of
from tests.loopback import WALL, LoopbackCase, Reply, reactor, request, until

BASE_HEADERS = {
    "Content-Length": "2",
    "Content-Type": "application/json; charset=utf-8",
    "Docker-Distribution-Api-Version": "registry/2.0",
    "X-Content-Type-Options": "nosniff",
    "Date": "Fri, 15 Jan 2027 08:00:00 GMT",
}


def code_of(reply: Reply) -> str:
    (error,) = json.loads(reply.body)["errors"]
    assert error["message"]
    return str(error["code"])


class BaseTests(LoopbackCase):
    async def test_base_answers_exactly_as_documented(self) -> None:
        client = await self.connect()
        client.send(request("/v2/"))
        await until(lambda: client.received.endswith(b"{}"))
        self.assertTrue(client.received.startswith(b"HTTP/1.1 200 OK\r\n"))
        self.assertEqual(dict(client.reply.headers), BASE_HEADERS)
        self.assertEqual(len(client.reply.headers), len(BASE_HEADERS))
        self.assertEqual(client.reply.body, b"{}")

    async def test_base_by_head_has_the_same_headers_and_no_body(self) -> None:
        client = await self.connect()
        client.send(request("/v2/", "HEAD"), request("/v2/", "HEAD"))
        await until(lambda: len(client.replies(head=True)) == 2)
        for reply in client.replies(head=True):
            self.assertEqual(dict(reply.headers), BASE_HEADERS)
            self.assertEqual(len(reply.headers), len(BASE_HEADERS))

    async def test_base_says_nothing_of_the_software_behind_it(self) -> None:
        reply = await self.ask("/v2/")
        self.assertIsNone(reply.header("Server"))

    async def test_base_without_its_slash_is_the_base(self) -> None:
        self.assertEqual((await self.ask("/v2")).status, 200)

    async def test_base_never_challenges_and_never_repeats_credentials(self) -> None:
        reply = await self.ask("/v2/", Authorization="Basic c2VjcmV0OnNlY3JldA==")
        self.assertEqual(reply.status, 200)
        self.assertIsNone(reply.header("WWW-Authenticate"))
        await self.finished()
        self.assertNotIn("c2VjcmV0", repr(self.events))

    async def test_base_is_answered_to_http_1_0_and_the_connection_closed(self) -> None:
        client = await self.connect()
        client.send(request("/v2/", version="1.0"))
        await until(lambda: client.closed)
        self.assertEqual(client.reply.status, 200)
        self.assertEqual(client.reply.body, b"{}")


class MethodTests(LoopbackCase):
    async def test_all_other_methods_are_refused_and_the_allowed_ones_named(self) -> None:
        path = f"/v2/library/alpine/blobs/{digest_of(b'x')}"
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PURGE"):
            for where in ("/v2/", path, "/", "*"):
                reply = await self.ask(where, method)
                self.assertEqual((method, where, reply.status), (method, where, 405))
                self.assertEqual(reply.header("Allow"), "GET, HEAD")
                self.assertEqual(code_of(reply), "UNSUPPORTED")
        self.assertEqual(self.registry.asked, [])

    async def test_a_small_body_is_ignored(self) -> None:
        client = await self.connect()
        client.send(request("/v2/", body=b"x" * 1000, Content_Length="1000"), request("/v2/"))
        await until(lambda: len(client.replies()) == 2)
        self.assertEqual([reply.status for reply in client.replies()], [200, 200])

    async def test_an_upload_is_refused_before_its_body_is_read(self) -> None:
        client = await self.connect()
        client.send(
            request(
                "/v2/a/b/blobs/uploads/", "PUT", Content_Length="10000000000", Expect="100-continue"
            )
        )
        await until(lambda: client.closed)
        self.assertEqual(client.reply.status, 405)
        self.assertEqual(client.reply.header("Connection"), "close")
        self.assertNotIn(b"100 Continue", client.received)

    async def test_a_huge_body_of_a_get_is_refused(self) -> None:
        client = await self.connect()
        client.send(request("/v2/", Content_Length="10000000"))
        await until(lambda: client.closed)
        self.assertEqual(client.reply.status, 413)
        (event,) = await self.finished()
        self.assertEqual((event.status, event.kind, event.outcome), (413, "other", "complete"))

    async def test_a_chunked_body_is_refused_once_it_is_too_big(self) -> None:
        client = await self.connect()
        client.send(request("/v2/", "POST", Transfer_Encoding="chunked"))
        for _ in range(20):
            client.send(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
        await until(lambda: client.closed)
        await self.finished()
        (event,) = await self.finished()
        self.assertEqual((event.status, event.code), (405, "UNSUPPORTED"))


class ErrorTests(LoopbackCase):
    async def test_errors_are_json_with_their_length(self) -> None:
        reply = await self.ask("/v2/library/alpine/manifests/nope")
        self.assertEqual(reply.status, 404)
        self.assertEqual(code_of(reply), "MANIFEST_UNKNOWN")
        self.assertEqual(reply.header("Content-Type"), "application/json; charset=utf-8")
        self.assertEqual(reply.header("Content-Length"), str(len(reply.body)))
        self.assertEqual(reply.header("X-Content-Type-Options"), "nosniff")
        self.assertIsNone(reply.header("Docker-Content-Digest"))

    async def test_errors_by_head_have_the_same_length_and_no_body(self) -> None:
        got = await self.ask("/v2/library/alpine/manifests/nope")
        client = await self.connect()
        client.send(request("/v2/library/alpine/manifests/nope", "HEAD"), request("/v2/"))
        await until(lambda: client.received.endswith(b"{}"))
        head, base = client.received.split(b"\r\n\r\n", 1)
        self.assertIn(b"HTTP/1.1 404 Not Found", head)
        self.assertIn(f"Content-Length: {len(got.body)}".encode(), head)
        self.assertTrue(base.startswith(b"HTTP/1.1 200 OK"))

    async def test_paths_that_no_client_sends_reach_nothing(self) -> None:
        sha512 = "sha512:" + "a" * 128
        cases = {
            "/v2/library%2falpine/manifests/latest": 400,
            "/v2/library/../manifests/latest": 400,
            "/v2/library/%2e%2e/manifests/latest": 400,
            "/v2/library/alp%00ine/manifests/latest": 400,
            "/v2/library/alpine/manifests/%ff%fe": 400,
            "/v2//library/alpine/manifests/latest": 400,
            "/v2/library/alpine/manifests/latest/": 400,
            "/v2/Library/alpine/manifests/latest": 400,
            "/v2/library/alpine/manifests/" + "a" * 129: 400,
            "/v2/library/alpine/manifests/.hidden": 400,
            "/v2/library/alpine/blobs/sha256:abc": 400,
            "/v2/library/alpine/blobs/sha256:" + "A" * 64: 400,
            "/v2/" + "a/" * 600 + "manifests/latest": 400,
            "/v2/library/alpine/blobs/" + sha512: 404,
            "/v2/library/alpine/manifests/" + sha512: 404,
            "/v2/library/alpine/uploads/x": 404,
            "/v2/_catalog": 404,
            "/": 404,
            "/v1/search": 404,
            "/v2/library/alpine/manifests/latest?ns=a&ns=b": 400,
            "/v2/library/alpine/tags/list?n=many": 400,
            "/v2/library/alpine/manifests/latest?ns=evil.example": 404,
        }
        for path, status in cases.items():
            reply = await self.ask(path)
            self.assertEqual((path, reply.status), (path, status))
            self.assertTrue(code_of(reply))
        self.assertEqual(self.registry.asked, [])

    async def test_an_odd_host_header_changes_nothing(self) -> None:
        for host in ("", "evil.example", "[fe80::1%eth0]:5000", "a_b", ":5000"):
            reply = await self.ask("/v2/", Host=host)
            self.assertEqual((host, reply.status), (host, 200))

    async def test_what_is_no_host_is_refused(self) -> None:
        for host in ("a b", "xn--\xff", "[::1", "evil.example:port", "é" * 80):
            reply = await self.ask("/v2/", Host=host)
            self.assertEqual((host, reply.status), (host, 400))

    async def test_an_exception_in_the_cache_is_a_clean_500_and_an_event(self) -> None:
        self.registry.manifests["latest"] = ZeroDivisionError("a defect")
        client = await self.connect()
        client.send(request("/v2/library/alpine/manifests/latest"), request("/v2/"))
        await until(lambda: client.received.endswith(b"{}"))
        broken, base = client.replies()
        self.assertEqual((broken.status, base.status), (500, 200))
        self.assertEqual(code_of(broken), "UNKNOWN")
        self.assertNotIn(b"a defect", broken.body)
        (event,) = self.told(Unexpected)
        self.assertIn("a defect", event.error)
        self.assertIn("ZeroDivisionError", event.trace)

    async def test_a_manifest_without_its_bytes_is_a_defect_and_no_half_answer(self) -> None:
        digest = self.registry.add_manifest(b"{}", "latest")
        self.registry.manifests["latest"] = _without_body(self.registry.manifests["latest"])
        reply = await self.ask("/v2/library/alpine/manifests/latest")
        self.assertEqual(reply.status, 500)
        self.assertNotIn(str(digest), repr(reply.headers))
        self.assertEqual(len(self.told(Unexpected)), 1)

    async def test_an_exception_while_a_body_begins_resets_the_connection(self) -> None:
        blob = self.whole(b"x" * 1000)
        digest = self.registry.add_blob(blob, b"x" * 1000)
        blob.reader = lambda: _broken_reader(type(blob).reader(blob))  # type: ignore[method-assign]
        client = await self.connect()
        client.send(request(f"/v2/library/alpine/blobs/{digest}"))
        await until(lambda: client.closed)
        self.assertFalse(any(reply.whole for reply in client.replies()))
        self.assertEqual(len(self.told(Unexpected)), 1)
        (event,) = await self.finished()
        self.assertEqual(event.outcome, "aborted")
        self.assertEqual(blob.open_readers, 0)


class HalfRequest(GuardedRequest):
    """Fails in the middle of its answer, and is then finished by who knows no better."""

    def respond(self) -> None:
        self.setHeader("Content-Length", "1000")
        self.write(b"x" * 100)
        try:
            raise ZeroDivisionError("a defect")
        finally:
            reactor.callLater(0, self.finish)

    def over(self, *, complete: bool) -> None:
        self.site.observe(SettingWarning(message=f"complete: {complete}"))


class HalfAnswerTests(LoopbackCase):
    def make_site(self) -> Any:
        tools = Tools(clock=self.clock, observe=self.events.append, stall=90.0)
        resource = Resource()
        return GuardedSite(resource, HalfRequest, tools, lambda: WALL, Timeouts(), Limits())

    async def test_a_defect_in_the_middle_of_an_answer_is_a_reset_and_no_page(self) -> None:
        client = await self.begin("/")
        await client.hung_up()
        self.assertEqual(type(client.reason).__name__, "ConnectionLost")
        self.assertNotIn(b"500", client.received)
        self.assertFalse(any(reply.whole for reply in client.replies()))
        self.assertEqual(len(self.told(Unexpected)), 1)
        await until(lambda: self.told(SettingWarning))
        self.assertEqual([each.message for each in self.told(SettingWarning)], ["complete: False"])


def _without_body(result: object) -> ManifestResult:
    assert isinstance(result, ManifestResult)
    return attrs.evolve(result, body=None)


def _broken_reader(reader: FakeReadable) -> FakeReadable:
    def broken(offset: int, *, held_back: bool) -> int:
        raise ZeroDivisionError("a defect")

    reader.available = broken  # type: ignore[method-assign]
    return reader
