"""A blob in flight, as clients of a whole node see it."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import attrs
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from nodecache.config import SizeSetting, UpstreamSettings
from nodecache.events import (
    Coalesced,
    FillFinished,
    FillResumed,
    FillStarted,
    PassedThrough,
    RequestFinished,
)
from nodecache.limits import SEGMENT, Limits, Timeouts
from tests.fakes_client import until
from tests.fakes_http import Gate, answer, corrupt, cut, hold_at, no_length, no_range, stall
from tests.fakes_hub import FakeHub
from tests.node_case import NodeCase, reactor

APP = "library/app"
OTHER = "library/other"
BIG = os.urandom(300_000)
TAIL = Limits().tail
THREE_SEGMENTS = 2 * SEGMENT + 100_000


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def together(*tasks: Any) -> Deferred[Any]:
    return gatherResults([Deferred.fromCoroutine(task) for task in tasks], consumeErrors=True)


class WhileItArrives(NodeCase):
    async def held(self, at: int = 200_000) -> tuple[str, Gate]:
        """A node before a blob whose body stops in the middle until the gate opens."""
        digest, gate = self.hub.add_blob(APP, BIG), Gate()
        self.hub.cdn.fault(hold_at(at, gate))
        await self.start()
        return digest, gate

    async def test_bytes_reach_the_client_as_they_come(self) -> None:
        digest, gate = await self.held(at=200_001)
        got = await self.begin_blob(APP, digest)
        await until(reactor, lambda: got.received == 200_001)
        gate.open()
        assert (await got.whole()).body == BIG

    async def test_all_but_the_tail_comes_before_the_digest_is_known(self) -> None:
        digest, gate = await self.held(at=len(BIG) - 1)
        got = await self.begin_blob(APP, digest)
        await until(reactor, lambda: got.received == len(BIG) - TAIL)
        gate.open()
        assert (await got.whole()).body == BIG

    async def test_a_late_reader_reads_from_the_start(self) -> None:
        digest, gate = await self.held()
        first = await self.begin_blob(APP, digest)
        await until(reactor, lambda: first.received == 200_000)
        late = await self.begin_blob(APP, digest)
        await until(reactor, lambda: late.received == 200_000)
        gate.open()
        answers = [await first.whole(), await late.whole()]
        assert [got.body for got in answers] == [BIG, BIG]
        assert [got.header("Nodecache-Source") for got in answers] == ["fill", "flight"]
        assert self.hub.cdn.count(method="GET") == 1
        assert [event.kind for event in self.told(Coalesced)] == ["blob"]

    async def test_a_closed_range_ends_while_the_rest_is_still_to_come(self) -> None:
        digest, gate = await self.held()
        got = await self.blob(APP, digest, Range="bytes=1000-150000")
        assert (got.status, got.body) == (206, BIG[1000:150001])
        assert got.header("Content-Range") == f"bytes 1000-150000/{len(BIG)}"
        assert not gate.is_open
        gate.open()
        await self.stored(1)

    async def test_the_last_bytes_of_a_cold_blob_come_when_they_are_there(self) -> None:
        digest, gate = await self.held()
        got = await self.begin_blob(APP, digest, Range="bytes=-10")
        assert (got.status, got.received) == (206, 0)
        gate.open()
        assert (await got.whole()).body == BIG[-10:]

    async def test_a_range_behind_the_end_of_a_cold_blob_is_416_with_its_size(self) -> None:
        digest = self.hub.add_blob(APP, BIG)
        await self.start()
        for _ in range(2):
            got = await self.blob(APP, digest, Range=f"bytes={len(BIG)}-")
            assert got.status == 416
            assert got.header("Content-Range") == f"bytes */{len(BIG)}"
            await self.stored(1)

    async def test_a_head_tells_the_size_in_flight_and_asks_nobody(self) -> None:
        digest, gate = await self.held()
        got = await self.begin_blob(APP, digest)
        asked = self.hub.count()
        head = await self.blob(APP, digest, "HEAD")
        assert (head.status, head.header("Content-Length")) == (200, str(len(BIG)))
        assert head.header("Docker-Content-Digest") == digest
        assert head.header("Content-Type") == "application/octet-stream"
        assert self.hub.count() == asked
        gate.open()
        await got.whole()

    async def test_a_head_of_a_cold_blob_costs_no_download(self) -> None:
        digest = self.hub.add_blob(APP, BIG)
        await self.start()
        for _ in range(2):
            head = await self.blob(APP, digest, "HEAD")
            assert (head.status, head.header("Content-Length")) == (200, str(len(BIG)))
        assert self.hub.cdn.sent <= 2  # one byte each, where the CDN takes no HEAD
        assert self.told(FillStarted) == []

    async def test_a_head_where_nobody_tells_the_size_does_not_keep_the_bytes_away(self) -> None:
        image = self.hub.add_image(APP, "1", [BIG])
        [layer] = image.layers
        self.hub.cdn.fault(no_length, no_range)
        await self.start()
        assert (await self.blob(APP, layer, "HEAD")).status == 404
        assert (await self.manifest(APP, "1")).status == 200  # which names the size
        head = await self.blob(APP, layer, "HEAD")
        assert (head.status, head.header("Content-Length")) == (200, str(len(BIG)))
        got = await self.blob(APP, layer, Range="bytes=5-9")
        assert (got.status, got.body) == (206, BIG[5:10])

    async def test_who_leaves_disturbs_neither_the_others_nor_the_fill(self) -> None:
        digest, gate = await self.held()
        leaver = await self.begin_blob(APP, digest)
        other = await self.begin_blob(APP, digest)
        leaver.leave()
        await until(reactor, lambda: self.told(RequestFinished))
        assert [event.outcome for event in self.told(RequestFinished)] == ["left"]
        gate.open()
        assert (await other.whole()).body == BIG
        await self.stored(1)
        assert self.hub.cdn.count(method="GET") == 1

    async def test_a_client_that_leaves_before_the_headers_does_not_stop_the_fill(self) -> None:
        digest, gate = self.hub.add_blob(APP, BIG), Gate()
        self.hub.registry.fault(lambda plan: attrs.evolve(plan, before=gate), kind="blob")
        await self.start()
        asking = Deferred.fromCoroutine(self.begin_blob(APP, digest))
        await until(reactor, lambda: gate.waiting)
        asking.addErrback(lambda _: None)
        asking.cancel()
        await until(reactor, lambda: self.told(RequestFinished))
        gate.open()
        await self.stored(1)
        assert (await self.blob(APP, digest)).header("Nodecache-Source") == "disk"

    async def test_two_bodies_do_not_wait_for_one_another(self) -> None:
        digest, gate = await self.held()
        quick = self.hub.add_blob(APP, BIG[::-1])
        slow = await self.begin_blob(APP, digest)
        self.hub.cdn.faults.clear()
        assert (await self.blob(APP, quick)).body == BIG[::-1]
        gate.open()
        assert (await slow.whole()).body == BIG


class ClientsThatDoNotRead(NodeCase):
    async def test_they_are_dropped_after_a_time_and_hold_up_nobody(self) -> None:
        size = 24 << 20
        digest = self.hub.add_pattern(APP, size)
        await self.start(timeouts=attrs.evolve(Timeouts(), client_stall=0.5))
        stalled = await self.begin_blob(APP, digest)
        stalled.stop_reading()
        other = await self.blob(APP, digest)
        assert (len(other.body), sha256(other.body)) == (size, digest)
        await self.stored(1)
        await until(reactor, lambda: len(self.told(RequestFinished)) == 2)
        assert {e.outcome for e in self.told(RequestFinished)} == {"complete", "stalled"}
        stalled.leave()

    async def test_one_without_room_to_store_holds_up_upstream_and_is_dropped(self) -> None:
        size = 24 << 20
        digest = self.hub.add_pattern(APP, size)
        await self.start(
            max_size=SizeSetting(bytes=0), timeouts=attrs.evolve(Timeouts(), client_stall=0.5)
        )
        stalled = await self.begin_blob(APP, digest)
        stalled.stop_reading()
        await until(reactor, lambda: self.told(PassedThrough))
        assert self.hub.cdn.sent < size
        await until(reactor, lambda: self.told(RequestFinished))
        assert [event.outcome for event in self.told(RequestFinished)] == ["stalled"]
        stalled.leave()


class WrongBytes(NodeCase):
    async def test_wrong_bytes_end_one_tail_short_and_are_not_kept(self) -> None:
        digest = self.hub.add_blob(APP, BIG)
        self.hub.cdn.fault(corrupt, times=1)
        await self.start()
        got = await self.blob(APP, digest)
        assert (got.status, got.length) == (200, len(BIG))
        assert got.broken is not None
        assert len(got.body) <= len(BIG) - TAIL
        assert self.blob_files() == []
        await until(reactor, lambda: not self.filling())
        assert [event.outcome for event in self.told(FillFinished)] == ["mismatch"]

    async def test_every_reader_of_wrong_bytes_ends_short(self) -> None:
        digest, gate = self.hub.add_blob(APP, BIG), Gate()
        self.hub.cdn.fault(corrupt, hold_at(100_000, gate))
        await self.start()
        bodies = [
            await self.begin_blob(APP, digest),
            await self.begin_blob(APP, digest, Range="bytes=0-"),
            await self.begin_blob(APP, digest, Range="bytes=5-"),
        ]
        gate.open()
        for body in bodies:
            got = await body.whole()
            assert got.broken is not None
            assert len(got.body) <= len(BIG) - TAIL

    async def test_a_small_blob_of_wrong_bytes_sends_not_one_of_them(self) -> None:
        digest = self.hub.add_blob(APP, b"0123456789")
        self.hub.cdn.fault(corrupt)
        await self.start()
        got = await self.blob(APP, digest)
        assert got.body == b""
        assert got.broken is not None or got.status == 404

    async def test_the_right_bytes_are_fetched_once_upstream_has_them(self) -> None:
        digest = self.hub.add_blob(APP, BIG)
        self.hub.cdn.fault(corrupt, times=1)
        await self.start(timeouts=attrs.evolve(Timeouts(), absent=0.05, absent_signature=0.05))
        assert (await self.blob(APP, digest)).broken is not None
        refused = 0
        while (got := await self.blob(APP, digest)).status != 200:
            assert got.status == 404
            refused += 1
            assert refused < 1000
            await deferLater(reactor, 0.01)
        assert got.body == BIG
        assert self.hub.cdn.count(method="GET") == 2

    async def test_without_room_wrong_bytes_end_one_tail_short_too(self) -> None:
        digest = self.hub.add_blob(APP, BIG)
        self.hub.cdn.fault(corrupt)
        await self.start(max_size=SizeSetting(bytes=0))
        got = await self.blob(APP, digest)
        assert got.broken is not None
        assert len(got.body) <= len(BIG) - TAIL


class UpstreamBreaks(NodeCase):
    def resumed(self) -> list[str | None]:
        """The ranges that the CDN was asked for, in order."""
        return [seen.header("range") for seen in self.hub.cdn.seen(method="GET")]

    async def test_a_body_that_breaks_off_is_taken_up_where_it_was(self) -> None:
        digest = self.hub.add_blob(APP, BIG)
        self.hub.cdn.fault(cut(100_000), times=1)
        await self.start()
        got = await self.blob(APP, digest)
        assert (got.body, got.broken) == (BIG, None)
        assert (self.resumed()[1] or "").startswith("bytes=100000-")
        assert self.hub.cdn.sent == len(BIG)
        assert [event.offset for event in self.told(FillResumed)] == [100_000]

    async def test_a_body_that_stalls_is_taken_up_too(self) -> None:
        digest = self.hub.add_blob(APP, BIG)
        self.hub.cdn.fault(stall(100_000), times=1)
        await self.start(timeouts=attrs.evolve(Timeouts(), silence=0.3))
        got = await self.blob(APP, digest)
        assert (got.body, got.broken) == (BIG, None)
        assert (self.resumed()[1] or "").startswith("bytes=100000-")

    async def test_a_200_on_the_resume_is_read_from_its_start(self) -> None:
        digest = self.hub.add_blob(APP, BIG)
        self.hub.cdn.fault(cut(100_000), times=1)
        self.hub.cdn.fault(no_range, skip=1)
        await self.start()
        got = await self.blob(APP, digest)
        assert (got.body, got.broken) == (BIG, None)

    async def test_a_chunked_body_that_breaks_off_is_completed(self) -> None:
        digest = self.hub.add_blob(APP, BIG)
        self.hub.cdn.fault(cut(100_000), no_length, times=1)
        await self.start()
        got = await self.blob(APP, digest)
        assert (sha256(got.body), got.broken) == (digest, None)

    async def test_a_link_and_a_token_that_expired_in_the_middle_are_renewed(self) -> None:
        digest = self.hub.add_pattern(APP, THREE_SEGMENTS)
        gate = Gate()
        self.hub.cdn.fault(hold_at(100_000, gate), times=1)
        await self.start()
        got = await self.begin_blob(APP, digest)
        await until(reactor, lambda: gate.waiting)
        self.hub.expire_links()
        self.hub.expire_tokens()
        gate.open()
        whole = await got.whole()
        assert (sha256(whole.body), whole.broken) == (digest, None)
        assert self.hub.tokens.count(kind="token") == 2

    async def test_upstream_gone_for_good_is_a_broken_connection_and_never_a_whole_body(
        self,
    ) -> None:
        digest, gate = self.hub.add_blob(APP, BIG), Gate()
        self.hub.cdn.fault(hold_at(200_000, gate), times=1)
        await self.start(timeouts=attrs.evolve(Timeouts(), stall_total=1.0, resume_pause=0.01))
        got = await self.begin_blob(APP, digest)
        await until(reactor, lambda: got.received == 200_000)
        await self.hub.stop()
        whole = await got.whole()
        assert whole.broken is not None
        assert whole.body == BIG[:200_000]
        await until(reactor, lambda: not self.filling())
        assert self.blob_files() == []


class WhereTheReaderIs(NodeCase):
    async def test_the_segment_that_a_range_asks_for_is_fetched_before_others(self) -> None:
        digest = self.hub.add_pattern(APP, THREE_SEGMENTS)
        gate = Gate()
        self.hub.cdn.fault(hold_at(1, gate), when=lambda seen: _starts(seen) == SEGMENT)
        await self.start(limits=attrs.evolve(Limits(), connections_per_blob=1))
        got = await self.blob(APP, digest, Range=f"bytes={2 * SEGMENT + 5}-{2 * SEGMENT + 9}")
        assert (got.status, len(got.body)) == (206, 5)
        assert not gate.is_open
        gate.open()
        await self.stored(1)
        assert self.hub.cdn.sent == THREE_SEGMENTS

    async def test_a_206_is_never_followed_by_a_200(self) -> None:
        """A client that reads in parallel ranges looks at the first status only."""
        bodies = [bytes([n]) * 300_000 for n in range(4)]
        digests = [self.hub.add_blob(APP, body) for body in bodies]
        await self.start(max_size=SizeSetting(bytes=700_000))
        for digest in digests:
            assert (await self.blob(APP, digest, Range="bytes=0-")).status == 206
            await until(reactor, lambda: not self.filling())
        for body, digest in zip(bodies, digests, strict=True):
            got = await self.blob(APP, digest, Range="bytes=100-")
            assert got.status in (206, 404)
            assert got.status == 404 or got.body == body[100:]


def _starts(seen: Any) -> int:
    return int((seen.header("range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])


class NamesOfABlob(NodeCase):
    async def test_a_name_that_upstream_refuses_does_not_fail_another(self) -> None:
        digest = self.hub.add_blob(APP, BIG)
        self.hub.add_blob(OTHER, b"something else")
        await self.start()
        got = await self.blob(OTHER, digest)
        assert (got.status, b"BLOB_UNKNOWN" in got.body) == (404, True)
        assert (await self.blob(APP, digest)).body == BIG

    async def test_of_two_names_asked_at_once_one_refused_gets_the_others_bytes(self) -> None:
        digest, gate = self.hub.add_blob(APP, BIG), Gate()
        self.hub.add_blob(OTHER, b"something else")
        self.hub.registry.fault(
            lambda plan: attrs.evolve(plan, before=gate), kind="blob", name=OTHER
        )
        await self.start()
        refused = Deferred.fromCoroutine(self.blob(OTHER, digest))
        await until(reactor, lambda: gate.waiting)
        right = Deferred.fromCoroutine(self.blob(APP, digest))
        await until(reactor, lambda: self.told(Coalesced))
        gate.open()
        assert (await refused).body == (await right).body == BIG

    async def test_two_namespaces_share_the_bytes_in_flight_and_on_disk(self) -> None:
        digest, gate = self.hub.add_blob(APP, BIG), Gate()
        self.hub.cdn.fault(hold_at(100_000, gate))
        other = FakeHub(reactor).start()
        self.addCleanup(lambda: Deferred.fromCoroutine(other.stop()))
        other.add_blob("team/app", BIG)
        await self.start(
            upstreams=(
                UpstreamSettings("docker.io", self.hub.url),
                UpstreamSettings("quay.io", other.url),
            )
        )
        path = f"/v2/team/app/blobs/{digest}?ns=quay.io"
        first = await self.begin_blob(APP, digest)
        second = Deferred.fromCoroutine(self.get(path))
        await until(reactor, lambda: self.told(Coalesced))
        gate.open()
        assert (await first.whole()).body == BIG
        assert (await second).body == BIG
        await self.stored(1)
        got = await self.get(path)
        assert (got.body, got.header("Nodecache-Source")) == (BIG, "disk")
        assert got.header("OCI-Namespace") == "quay.io"
        assert other.cdn.count() == 0


class OverARestart(NodeCase):
    async def test_whole_segments_are_not_fetched_again(self) -> None:
        digest = self.hub.add_pattern(APP, THREE_SEGMENTS)
        last = self.hub.cdn.fault(hold_at(1, Gate()), when=lambda seen: _starts(seen) >= SEGMENT)
        await self.start(
            timeouts=attrs.evolve(Timeouts(), drain=0.1),
            limits=attrs.evolve(Limits(), connections_per_blob=1),
        )
        got = await self.begin_blob(APP, digest)
        await until(reactor, lambda: got.received >= SEGMENT)
        await self.node.stop("restart")
        assert (await got.whole()).broken is not None
        last.lift()
        sent = self.hub.cdn.sent
        await self.start()
        whole = await self.blob(APP, digest)
        assert (sha256(whole.body), whole.broken) == (digest, None)
        assert self.hub.cdn.sent - sent == THREE_SEGMENTS - SEGMENT
        assert self.told(FillStarted)[-1].resumed_bytes == SEGMENT

    async def test_a_fill_without_clients_is_stopped_and_taken_up_on_demand(self) -> None:
        digest = self.hub.add_pattern(APP, THREE_SEGMENTS)
        self.hub.cdn.fault(hold_at(1, Gate()), when=lambda seen: _starts(seen) >= SEGMENT, times=1)
        await self.start(limits=attrs.evolve(Limits(), connections_per_blob=1))
        got = await self.begin_blob(APP, digest)
        await until(reactor, lambda: got.received >= SEGMENT)
        got.leave()
        await self.restart()
        assert [event.outcome for event in self.told(FillFinished)] == ["stopped"]
        assert sha256((await self.blob(APP, digest)).body) == digest


class UpstreamIsSlowToAnswer(NodeCase):
    async def test_the_failure_to_begin_is_found_out_once_and_not_once_a_layer(self) -> None:
        layers = [self.hub.add_blob(APP, bytes([n]) * 1000) for n in range(6)]
        self.hub.registry.fault(lambda plan: attrs.evolve(plan, silent=True), kind="blob")
        await self.start(timeouts=attrs.evolve(Timeouts(), answer=1.0))
        for digest in layers:
            assert (await self.blob(APP, digest)).status == 404
        assert self.hub.registry.count(kind="blob") == 1

    async def test_a_silent_cdn_is_found_out_once_and_not_once_a_layer(self) -> None:
        layers = [self.hub.add_blob(APP, bytes([n]) * 1000) for n in range(6)]
        self.hub.cdn.fault(lambda plan: attrs.evolve(plan, silent=True))
        await self.start(timeouts=attrs.evolve(Timeouts(), answer=1.0))
        for digest in layers:
            assert (await self.blob(APP, digest)).status == 404
        assert self.hub.cdn.count(kind="blob") == 1

    async def test_a_manifest_that_is_not_answered_fails_the_layers_at_once(self) -> None:
        image = self.hub.add_image(APP, "1", [BIG])
        self.hub.registry.fault(lambda plan: attrs.evolve(plan, silent=True))
        await self.start(timeouts=attrs.evolve(Timeouts(), answer=1.0))
        assert (await self.manifest(APP, "1", "HEAD")).status == 503
        assert (await self.manifest(APP, "1")).status == 503
        assert (await self.manifest(OTHER, "1")).status == 503
        assert (await self.blob(APP, image.layers[0])).status == 404
        assert self.hub.registry.count() == 1

    async def test_a_blob_that_is_refused_is_not_asked_for_again_at_once(self) -> None:
        digest = self.hub.add_blob(APP, BIG)
        self.hub.registry.fault(answer(403, b"<html>no</html>", "text/html"), kind="blob")
        await self.start()
        for _ in range(5):
            assert (await self.blob(APP, digest)).status == 404
        assert self.hub.registry.count(kind="blob") <= 2
