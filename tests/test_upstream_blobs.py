"""Blobs of an upstream, over real sockets: redirects, ranges, links, and bodies that break."""

from __future__ import annotations

import hashlib
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred

from nodecache.byteranges import Span
from nodecache.events import UpstreamAnswered, UpstreamBytes, UpstreamFailed
from nodecache.failures import UpstreamFailure, UpstreamKind
from nodecache.limits import Timeouts
from nodecache.reference import Digest
from tests.fakes_http import (
    Bytes,
    Gate,
    Plan,
    answer,
    cut,
    drip,
    gzipped,
    hold_at,
    html,
    no_length,
    no_range,
    raw,
    shifted,
    stall,
    with_headers,
    without_header,
)
from tests.fakes_site import ScriptedSite
from tests.upstream_kit import APP, LAYER, Sink, UpstreamCase, read, soon

EMPTY = Digest.parse("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")


class FetchTests(UpstreamCase):
    async def test_the_whole_comes_by_way_of_the_redirect(self) -> None:
        body = await self.upstream().blob_source(APP, self.layer).fetch(None, soon())
        self.assertEqual((body.start, body.stop_at, body.total, body.ranged), (0, 100, 100, False))
        self.assertEqual(await read(body), LAYER)

    async def test_a_span_comes_as_a_206(self) -> None:
        body = await self.upstream().blob_source(APP, self.layer).fetch(Span(5, 25), soon())
        self.assertEqual((body.start, body.stop_at, body.total, body.ranged), (5, 25, 100, True))
        self.assertEqual(await read(body), LAYER[5:25])

    async def test_a_span_over_the_end_is_cut_to_the_size(self) -> None:
        body = await self.upstream().blob_source(APP, self.layer).fetch(Span(90, 8000), soon())
        self.assertEqual((body.start, body.stop_at, body.total), (90, 100, 100))
        self.assertEqual(await read(body), LAYER[90:])

    async def test_a_span_behind_the_end_is_an_empty_body_with_the_size(self) -> None:
        body = await self.upstream().blob_source(APP, self.layer).fetch(Span(100, 200), soon())
        self.assertEqual((body.start, body.stop_at, body.total), (100, 100, 100))
        self.assertEqual(await read(body), b"")

    async def test_the_empty_blob_is_a_416_and_is_whole(self) -> None:
        self.hub.add_blob(APP, b"")
        body = await self.upstream().blob_source(APP, EMPTY).fetch(Span(0, 8000), soon())
        self.assertEqual((body.stop_at, body.total), (0, 0))
        self.hub.cdn.fault(without_header("Content-Range"))
        body = await self.upstream().blob_source(APP, EMPTY).fetch(Span(0, 8000), soon())
        self.assertEqual(body.total, 0)

    async def test_the_login_stays_behind_on_the_way_to_another_host(self) -> None:
        await read(await self.upstream().blob_source(APP, self.layer).fetch(None, soon()))
        self.assertIsNotNone(self.hub.registry.requests[-1].header("authorization"))
        self.assertEqual([seen.header("authorization") for seen in self.hub.cdn.requests], [None])
        self.assertEqual(self.hub.cdn.requests[0].header("accept-encoding"), "identity")

    async def test_blobs_that_the_registry_itself_serves_need_no_redirect(self) -> None:
        hub = self.start_hub(cdn_host=None)
        layer = Digest.parse(hub.add_blob(APP, LAYER))
        source = self.upstream(hub.url).blob_source(APP, layer)
        for span in (Span(0, 10), Span(10, 20)):
            body = await source.fetch(span, soon())
            self.assertEqual(await read(body), LAYER[span.start : span.stop])
        self.assertEqual(hub.registry.count(kind="blob", status=206), 2)

    async def test_an_absent_blob_is_not_found(self) -> None:
        absent = Digest("sha256", "0" * 64)
        source = self.upstream().blob_source(APP, absent)
        await self.refused(source.fetch(None, soon()), UpstreamKind.NOT_FOUND)

    async def test_no_length_leaves_the_size_unknown(self) -> None:
        self.hub.cdn.fault(no_length)
        body = await self.upstream().blob_source(APP, self.layer).fetch(None, soon())
        self.assertEqual((body.stop_at, body.total), (None, None))
        self.assertEqual(await read(body), LAYER)

    async def test_no_range_support_gives_the_whole_from_0(self) -> None:
        self.hub.cdn.fault(no_range)
        body = await self.upstream().blob_source(APP, self.layer).fetch(Span(50, 60), soon())
        self.assertEqual((body.start, body.stop_at, body.ranged), (0, 100, False))
        self.assertEqual(await read(body), LAYER)

    async def test_a_206_without_a_length_still_ends_where_it_says(self) -> None:
        self.hub.cdn.fault(no_length)
        body = await self.upstream().blob_source(APP, self.layer).fetch(Span(5, 25), soon())
        self.assertEqual((body.start, body.stop_at), (5, 25))
        self.assertEqual(await read(body), LAYER[5:25])

    async def test_a_206_that_begins_elsewhere_is_refused(self) -> None:
        self.hub.cdn.fault(shifted(1))
        source = self.upstream().blob_source(APP, self.layer)
        await self.refused(source.fetch(Span(5, 25), soon()), UpstreamKind.WRONG)

    async def test_a_206_that_does_not_say_which_bytes_is_refused(self) -> None:
        for named in ("bytes */100", "bytes 5-24/3", "lines 5-24/100", "multipart"):
            self.hub.cdn.faults.clear()
            self.hub.cdn.fault(with_headers(Content_Range=named))
            source = self.upstream().blob_source(APP, self.layer)
            await self.refused(source.fetch(Span(5, 25), soon()), UpstreamKind.WRONG)

    async def test_a_416_in_the_middle_of_the_blob_is_refused(self) -> None:
        self.hub.cdn.fault(answer(416, Content_Range="bytes */100"))
        source = self.upstream().blob_source(APP, self.layer)
        await self.refused(source.fetch(Span(5, 25), soon()), UpstreamKind.WRONG)

    async def test_a_blob_whose_size_changes_is_refused(self) -> None:
        source = self.upstream().blob_source(APP, self.layer)
        await read(await source.fetch(Span(0, 10), soon()))
        self.hub.cdn.fault(with_headers(Content_Range="bytes 10-19/5000"))
        await self.refused(source.fetch(Span(10, 20), soon()), UpstreamKind.WRONG)

    async def test_a_web_page_is_no_blob(self) -> None:
        self.hub.cdn.fault(html(200))
        source = self.upstream().blob_source(APP, self.layer)
        await self.refused(source.fetch(None, soon()), UpstreamKind.WRONG)
        self.assertEqual(
            [event.reason for event in self.told(UpstreamFailed)][-1:],
            ["a web page came for a blob"],
        )

    async def test_a_blob_that_came_zipped_against_our_wish_is_refused(self) -> None:
        self.hub.cdn.fault(gzipped)
        source = self.upstream().blob_source(APP, self.layer)
        await self.refused(source.fetch(None, soon()), UpstreamKind.WRONG)

    async def test_events_tell_the_legs_and_their_bytes(self) -> None:
        await read(await self.upstream().blob_source(APP, self.layer).fetch(None, soon()))
        legs = [event.leg for event in self.told(UpstreamAnswered)]
        self.assertEqual(legs, ["blob", "token", "blob", "cdn"])
        self.assertEqual([(e.leg, e.bytes) for e in self.told(UpstreamBytes)][-1:], [("cdn", 100)])
        for event in self.events:
            self.assertNotIn("verify=", repr(event))


class LinkTests(UpstreamCase):
    async def test_a_signed_link_serves_all_spans_of_a_fill(self) -> None:
        source = self.upstream().blob_source(APP, self.layer)
        for start in range(0, 100, 25):
            body = await source.fetch(Span(start, start + 25), soon())
            self.assertEqual(await read(body), LAYER[start : start + 25])
        self.assertEqual(self.hub.registry.count(kind="blob", status=307), 1)
        self.assertEqual(self.hub.cdn.count(status=206), 4)

    async def test_a_link_that_has_expired_is_asked_for_again(self) -> None:
        source = self.upstream().blob_source(APP, self.layer)
        await read(await source.fetch(Span(0, 50), soon()))
        self.hub.expire_links()
        body = await source.fetch(Span(50, 100), soon())
        self.assertEqual(await read(body), LAYER[50:])
        self.assertEqual(self.hub.cdn.count(status=403), 1)
        self.assertEqual(self.hub.registry.count(kind="blob", status=307), 2)

    async def test_a_link_that_is_always_refused_ends(self) -> None:
        source = self.upstream().blob_source(APP, self.layer)
        await read(await source.fetch(Span(0, 50), soon()))
        self.hub.cdn.fault(answer(403))
        await self.refused(source.fetch(Span(50, 100), soon()), UpstreamKind.DENIED)
        self.assertEqual(self.hub.cdn.count(status=403), 2)

    async def test_a_link_of_one_fill_is_not_used_in_another(self) -> None:
        upstream = self.upstream()
        for _ in range(2):
            await read(await upstream.blob_source(APP, self.layer).fetch(None, soon()))
        self.assertEqual(self.hub.registry.count(kind="blob", status=307), 2)

    async def test_a_token_that_expired_in_the_middle_is_renewed_once(self) -> None:
        source = self.upstream().blob_source(APP, self.layer)
        await read(await source.fetch(Span(0, 50), soon()))
        self.hub.expire_links()
        self.hub.expire_tokens()
        body = await source.fetch(Span(50, 100), soon())
        self.assertEqual(await read(body), LAYER[50:])
        self.assertEqual(self.hub.tokens.count(), 2)

    async def test_a_cdn_that_fails_in_a_fill_is_asked_again_by_the_registrys_word(self) -> None:
        source = self.upstream().blob_source(APP, self.layer)
        await read(await source.fetch(Span(0, 50), soon()))
        self.hub.cdn.fault(answer(503), times=1)
        body = await source.fetch(Span(50, 100), soon())
        self.assertEqual(await read(body), LAYER[50:])


class RedirectTests(UpstreamCase):
    async def fetch(self, location: str, status: int = 307) -> UpstreamFailure:
        redirect = answer(status, b"", Location=location)
        self.hub.registry.fault(
            redirect, kind="blob", when=lambda seen: seen.header("authorization") is not None
        )
        source = self.upstream().blob_source(APP, self.layer)
        return await self.refused(source.fetch(None, soon()), UpstreamKind.WRONG)

    async def test_a_loop_ends(self) -> None:
        failure = await self.fetch(f"{self.hub.url}/v2/{APP}/blobs/{self.layer}")
        self.assertIn("no end", failure.message)

    async def test_too_many_hops_end(self) -> None:
        def hop(plan: Plan) -> Plan:
            self.hops += 1
            return answer(302, b"", Location=f"{self.hub.cdn.url}/hop/{self.hops}")(plan)

        self.hops = 0
        self.hub.cdn.fault(hop)
        failure = await self.fetch(f"{self.hub.cdn.url}/hop/0")
        self.assertIn("no end", failure.message)
        self.assertEqual(self.hub.cdn.count(), self.limits.redirects)

    async def test_another_scheme_is_not_followed(self) -> None:
        for location in ("ftp://127.0.0.1/x", "file:///etc/passwd", "gopher://x/", "data:,x"):
            self.hub.registry.faults.clear()
            await self.fetch(location)

    async def test_no_place_is_not_followed(self) -> None:
        for location in (
            "http://",
            "http://user:pass@127.0.0.1/",
            "http://127.0.0.1:99999/",
            "\x7f",
        ):
            self.hub.registry.faults.clear()
            await self.fetch(location, 302)

    async def test_a_redirect_to_the_same_host_keeps_the_login_and_a_relative_one_works(
        self,
    ) -> None:
        hub = self.start_hub(cdn_host=None)
        layer = Digest.parse(hub.add_blob(APP, LAYER))
        hub.add_blob("library/other", LAYER)
        elsewhere = answer(302, b"", Location="/elsewhere")
        hub.registry.fault(elsewhere, when=lambda seen: seen.header("authorization") is not None)
        arrived = hub.registry.fault(
            lambda _plan: Plan(body=Bytes(LAYER)), when=lambda seen: seen.path == "/elsewhere"
        )
        source = self.upstream(hub.url).blob_source("library/other", layer)
        self.assertEqual(await read(await source.fetch(None, soon())), LAYER)
        self.assertEqual(arrived.used, 1)
        self.assertIsNotNone(hub.registry.requests[-1].header("authorization"))

    async def test_a_login_that_stayed_behind_does_not_come_back(self) -> None:
        back = answer(307, b"", Location=f"{self.hub.url}/v2/{APP}/blobs/{self.layer}?again=1")
        self.hub.cdn.fault(back, times=1)
        source = self.upstream().blob_source(APP, self.layer)
        await self.refused(source.fetch(None, soon()), UpstreamKind.DENIED)
        self.assertIsNone(self.hub.registry.requests[-1].header("authorization"))


class BodyTests(UpstreamCase):
    timeouts = Timeouts(silence=0.2)

    async def test_a_body_that_is_cut_says_so_and_gave_what_came(self) -> None:
        self.hub.cdn.fault(cut(37))
        body = await self.upstream().blob_source(APP, self.layer).fetch(None, soon())
        sink = Sink(body)
        await self.refused(body.deliver(sink.take), UpstreamKind.CUT)
        self.assertEqual(bytes(sink.data), LAYER[:37])

    async def test_a_chunked_body_that_is_cut_says_so(self) -> None:
        self.hub.cdn.fault(no_length, cut(37))
        body = await self.upstream().blob_source(APP, self.layer).fetch(None, soon())
        await self.refused(body.deliver(lambda _data: None), UpstreamKind.CUT)

    async def test_a_body_with_neither_length_nor_chunks_proves_nothing(self) -> None:
        self.hub.cdn.fault(raw(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + LAYER))
        body = await self.upstream().blob_source(APP, self.layer).fetch(None, soon())
        await self.refused(body.deliver(lambda _data: None), UpstreamKind.CUT)

    async def test_a_206_that_goes_on_too_long_is_cut_where_it_should_end(self) -> None:
        long = answer(206, LAYER, Content_Range="bytes 5-24/100")
        self.hub.cdn.fault(long, no_length)
        body = await self.upstream().blob_source(APP, self.layer).fetch(Span(5, 25), soon())
        sink = Sink(body)
        await self.refused(body.deliver(sink.take), UpstreamKind.WRONG)
        self.assertEqual(len(sink.data), 20)

    async def test_a_206_that_ends_cleanly_but_early_is_cut(self) -> None:
        short = answer(206, b"x" * 7, Content_Range="bytes 5-24/100")
        self.hub.cdn.fault(short, no_length)
        body = await self.upstream().blob_source(APP, self.layer).fetch(Span(5, 25), soon())
        await self.refused(body.deliver(lambda _data: None), UpstreamKind.CUT)

    async def test_a_body_that_stalls_is_broken_off(self) -> None:
        self.hub.cdn.fault(stall(37))
        body = await self.upstream().blob_source(APP, self.layer).fetch(None, soon())
        sink = Sink(body)
        failure = await self.refused(body.deliver(sink.take), UpstreamKind.TIMEOUT)
        self.assertIn("after 37 bytes", failure.message)
        await self.until(lambda: self.hub.cdn.sending == 0)

    async def test_a_body_that_drips_is_not_broken_off(self) -> None:
        self.hub.cdn.fault(drip(20, 0.1))
        body = await self.upstream().blob_source(APP, self.layer).fetch(None, soon())
        self.assertEqual(await read(body), LAYER)

    async def test_bytes_are_delivered_as_they_come(self) -> None:
        gate = Gate()
        self.hub.cdn.fault(hold_at(37, gate))
        body = await self.upstream().blob_source(APP, self.layer).fetch(None, soon())
        sink = Sink(body)
        done = body.deliver(sink.take)
        await self.until(lambda: len(sink.data) == 37)
        gate.open()
        await done
        self.assertEqual(bytes(sink.data), LAYER)

    async def test_a_body_that_is_paused_at_every_step_comes_whole(self) -> None:
        digest = Digest.parse(self.hub.add_pattern(APP, 3_000_000))
        body = await self.upstream().blob_source(APP, digest).fetch(None, soon())
        sink = Sink(body)
        clock: Any = reactor
        ahead = 0

        def take(data: bytes) -> None:
            nonlocal ahead
            ahead += 1
            self.assertEqual(ahead, 1, "delivered while paused")
            sink.take(data)
            body.pause()
            clock.callLater(0, go_on)

        def go_on() -> None:
            nonlocal ahead
            ahead -= 1
            body.resume()

        await body.deliver(take)
        self.assertEqual(hashlib.sha256(sink.data).hexdigest(), digest.hex)

    async def test_a_body_that_is_stopped_closes_its_connection(self) -> None:
        self.hub.cdn.fault(stall(37))
        body = await self.upstream().blob_source(APP, self.layer).fetch(None, soon())
        body.stop()
        body.stop()
        await self.until(lambda: self.hub.cdn.connected == 0)

    async def test_cancelling_a_delivery_closes_its_connection(self) -> None:
        self.hub.cdn.fault(stall(37))
        body = await self.upstream().blob_source(APP, self.layer).fetch(None, soon())
        sink = Sink(body)
        done = body.deliver(sink.take)
        await self.until(lambda: sink.data)
        done.cancel()
        await self.failed_with(done, CancelledError)
        await self.until(lambda: self.hub.cdn.connected == 0)

    async def test_a_body_that_ended_leaves_its_connection_for_the_next(self) -> None:
        source = self.upstream().blob_source(APP, self.layer)
        for _ in range(3):
            await read(await source.fetch(Span(0, 50), soon()))
        self.assertEqual(self.hub.cdn.accepted, 1)

    async def failed_with(self, done: Deferred[None], kind: type[Exception]) -> None:
        with self.assertRaises(kind):
            await done


class SizeTests(UpstreamCase):
    async def test_a_head_through_the_redirect_is_enough_where_the_cdn_takes_it(self) -> None:
        self.hub.cdn_takes_head = True
        self.assertEqual(await self.upstream().head_blob(APP, self.layer), 100)
        self.assertEqual(self.hub.cdn.count(method="GET"), 0)

    async def test_one_byte_is_asked_for_where_the_cdn_refuses_a_head(self) -> None:
        self.assertEqual(await self.upstream().head_blob(APP, self.layer), 100)
        asked = [(seen.method, seen.status) for seen in self.hub.cdn.requests]
        self.assertEqual(asked, [("HEAD", 403), ("GET", 206)])
        self.assertLessEqual(self.hub.cdn.sent, 1)

    async def test_a_cdn_without_ranges_tells_the_size_and_is_hung_up_on(self) -> None:
        digest = Digest.parse(self.hub.add_pattern(APP, 30_000_000))
        self.hub.cdn.fault(no_range)
        self.assertEqual(await self.upstream().head_blob(APP, digest), 30_000_000)
        await self.until(lambda: self.hub.cdn.sending == 0)
        self.assertLess(self.hub.cdn.sent, 30_000_000)

    async def test_the_empty_blob_has_size_0(self) -> None:
        self.hub.add_blob(APP, b"")
        self.assertEqual(await self.upstream().head_blob(APP, EMPTY), 0)

    async def test_an_absent_blob_is_not_found_with_one_question(self) -> None:
        absent = Digest("sha256", "0" * 64)
        await self.refused(self.upstream().head_blob(APP, absent), UpstreamKind.NOT_FOUND)
        self.assertEqual(self.hub.registry.count(kind="blob", status=404), 1)

    async def test_a_head_without_a_length_is_followed_by_a_get(self) -> None:
        site = ScriptedSite(reactor, "plain", lambda seen: Plan(body=Bytes(LAYER)))
        site.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(site.stop()))
        site.fault(without_header("Content-Length"), no_length, method="HEAD")
        self.assertEqual(await self.upstream(site.url).head_blob(APP, self.layer), 100)

    async def test_a_size_that_nobody_tells_is_wrong(self) -> None:
        self.hub.cdn.fault(no_range, no_length)
        await self.refused(self.upstream().head_blob(APP, self.layer), UpstreamKind.WRONG)
