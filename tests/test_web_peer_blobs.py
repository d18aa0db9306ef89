"""Bytes of blobs for peers: whole, growing, failing, slow, and cut off at every stage."""

from __future__ import annotations

import itertools
from typing import Any

from twisted.internet.defer import Deferred

from nodecache.body import PEER_STALL
from nodecache.body.uplink import PIECE
from nodecache.byteranges import Span
from nodecache.events import DiskFailed, PeerAnswered, PeerBytes, Unexpected
from nodecache.failures import StoreFailure, UpstreamFailure, UpstreamKind
from nodecache.limits import CHECKSUM_BLOCK, KIB, MIB, SEGMENT, Limits
from nodecache.peerwire.answers import Bytes
from nodecache.peerwire.codec import decode_blob_answer, fields_of
from nodecache.peerwire.frames import Alive, Checked, Decoder
from nodecache.peerwire.questions import Mode
from tests.fakes_registry import FakeBlob, some_bytes
from tests.loopback import Client, turns, until
from tests.peer_case import PeerCase, broken, payload, question

BIG = some_bytes(2 * SEGMENT + 3 * MIB + 12345)
SMALL = some_bytes(100_000)
FIRST = Span(0, len(SMALL))


class BytesTests(PeerCase):
    async def test_spans_come_as_they_are_with_their_sums(self) -> None:
        digest = self.peers.add_blob(self.whole(BIG), BIG)
        spans = [
            Span(0, SEGMENT),
            Span(SEGMENT, 2 * SEGMENT),
            Span(2 * SEGMENT, len(BIG)),
            Span(1, 2),
            Span(MIB - 1, MIB + 1),
            Span(300_001, 5 * MIB + 7),
            Span(len(BIG) - 1, len(BIG)),
        ]
        for span in spans:
            answer, data = await self.bytes_of(self.asking(question(digest, span)), span)
            self.assertEqual(answer, Bytes(len(BIG), ranged=True))
            self.assert_same(data, BIG[span.start : span.stop])
        told = await self.answered(len(spans))
        self.assertEqual({(t.peer, t.what, t.mode, t.outcome, t.status) for t in told}, {HIT})
        out = [(e.peer, e.direction, e.role, e.bytes) for e in self.told(PeerBytes)]
        self.assertEqual(out, [("node-2", "out", "holder", span.size) for span in spans])

    async def test_blocks_are_cut_where_the_blob_has_them(self) -> None:
        """No sum is over bytes of two blocks, though there may be several in one."""
        digest = self.peers.add_blob(self.whole(BIG), BIG)
        span = Span(MIB + 5, 3 * MIB + 9)
        client = await self.begin_asking(self.asking(question(digest, span)))
        await until(lambda: client.received.endswith(b"\r\n0\r\n\r\n"))
        pieces = [e.pieces for e in self.frames(client, span) if isinstance(e, Checked)]
        ends = list(itertools.accumulate((sum(map(len, each)) for each in pieces), initial=0))
        cuts = {2 * CHECKSUM_BLOCK, 3 * CHECKSUM_BLOCK, span.stop}
        self.assertLessEqual(cuts, {span.start + end for end in ends})
        self.assertEqual(b"".join(itertools.chain(*pieces)), BIG[span.start : span.stop])

    async def test_a_span_ends_where_the_blob_does(self) -> None:
        digest = self.peers.add_blob(self.whole(SMALL), SMALL)
        span = Span(0, SEGMENT)
        answer, data = await self.bytes_of(self.asking(question(digest, span)), span)
        self.assertEqual(answer.total, len(SMALL))
        self.assert_same(data, SMALL)

    async def test_a_span_behind_the_end_has_no_bytes(self) -> None:
        digest = self.peers.add_blob(self.whole(SMALL), SMALL)
        span = Span(SEGMENT, 2 * SEGMENT)
        answer, data = await self.bytes_of(self.asking(question(digest, span)), span)
        self.assertEqual((answer.total, data), (len(SMALL), b""))

    async def test_the_empty_blob_is_one(self) -> None:
        digest = self.peers.add_blob(self.whole(b""), b"")
        answer, data = await self.bytes_of(self.asking(question(digest, FIRST)), FIRST)
        self.assertEqual((answer.total, data), (0, b""))

    async def test_a_connection_serves_one_question_after_another(self) -> None:
        digest = self.peers.add_blob(self.whole(SMALL), SMALL)
        client = await self.connect()
        for number in range(1, 4):
            client.send(self.asking(question(digest, FIRST)).raw)
            await self.answered(number)
        await until(lambda: [reply.whole for reply in client.replies()] == [True] * 3)
        for reply in client.replies():
            self.assert_same(payload(Decoder(FIRST).feed(reply.body)), SMALL)

    async def test_two_questions_at_once_are_answered_in_turn(self) -> None:
        digest = self.peers.add_blob(self.whole(SMALL), SMALL)
        client = await self.connect()
        both = (self.asking(question(digest, span)) for span in (FIRST, Span(5, 9)))
        client.send(*(sent.raw for sent in both))
        await until(lambda: len(client.replies()) == 2 and client.replies()[1].whole)
        (one, two) = client.replies()
        self.assert_same(payload(Decoder(FIRST).feed(one.body)), SMALL)
        self.assertEqual(payload(Decoder(Span(5, 9)).feed(two.body)), SMALL[5:9])

    async def test_whoever_fetches_for_a_peer_is_an_owner(self) -> None:
        digest = self.peers.add_blob(self.whole(SMALL), SMALL, here=False)
        sent = self.asking(question(digest, FIRST, Mode.MAY_FETCH))
        answer, data = await self.bytes_of(sent, FIRST)
        self.assertTrue(answer.fetched)
        self.assert_same(data, SMALL)
        (told,) = await self.answered()
        self.assertEqual((told.outcome, told.mode), ("fetched", "may-fetch"))
        self.assertEqual([event.role for event in self.told(PeerBytes)], ["owner"])

    async def test_bytes_that_are_not_in_the_page_cache_are_read_in_a_thread(self) -> None:
        self.site._uplink.read_cached = lambda *_args: None
        digest = self.peers.add_blob(self.whole(BIG), BIG)
        span = Span(7, 2 * MIB)
        _, data = await self.bytes_of(self.asking(question(digest, span)), span)
        self.assert_same(data, BIG[7 : 2 * MIB])


HIT = ("node-2", "blob", "only-if-have", "hit", 206)


class HeadTests(PeerCase):
    async def test_head_says_what_is_here_and_begins_nothing(self) -> None:
        digest = self.peers.add_blob(self.whole(SMALL), SMALL)
        sent = self.asking(question(digest, FIRST, Mode.MAY_FETCH), "HEAD")
        reply = await self.answer(sent, head=True)
        answer = decode_blob_answer(reply.status, fields_of(reply.headers))
        self.assertEqual(answer, Bytes(len(SMALL), ranged=True))
        self.assertEqual((self.peers.asked, self.peers.loans), ([], []))

    async def test_head_of_what_is_not_here_is_absent_whatever_the_mode(self) -> None:
        digest = self.peers.add_blob(self.whole(SMALL), SMALL, here=False)
        for mode in Mode:
            sent = self.asking(question(digest, FIRST, mode), "HEAD")
            reply = await self.answer(sent, head=True)
            self.assertEqual((reply.status, reply.header("Nodecache-Answer")), (404, "absent"))
        self.assertEqual(self.peers.asked, [])


class GrowingTests(PeerCase):
    """A blob that is in flight here, and lent as it comes."""

    def growing(self, data: bytes = SMALL[:1000], total: int = len(SMALL)) -> FakeBlob:
        self.growth = self.blob(data, total=total)
        self.digest = self.peers.add_blob(self.growth, SMALL)
        return self.growth

    async def begin_growing(self) -> Client:
        client = await self.begin_asking(self.asking(question(self.digest, FIRST)))
        await until(client.replies)
        return client

    async def reaches(self, client: Client, stop: int) -> None:
        """Until the bytes as far as ``stop`` are there, with their sums."""
        await until(lambda: len(payload(self.frames(client, FIRST))) >= stop)
        self.assert_same(payload(self.frames(client, FIRST)), SMALL[:stop])

    def alive(self, client: Client) -> int:
        return sum(isinstance(event, Alive) for event in self.frames(client, FIRST))

    async def test_bytes_go_on_as_they_come_each_part_with_its_sum(self) -> None:
        blob = self.growing()
        client = await self.begin_growing()
        for stop in (1000, 1001, 70_000, len(SMALL)):
            if stop > blob.present:
                blob.append(SMALL[blob.present : stop])
            await self.reaches(client, stop)
        await client.whole()

    async def test_while_nothing_comes_the_peer_is_told_that_we_live(self) -> None:
        blob = self.growing()
        client = await self.begin_growing()
        await until(lambda: payload(self.frames(client, FIRST)))
        for _ in range(4):
            before = len(client.received)
            self.clock.advance(self.timeouts.peer_alive)
            await self.received(client, before + 1)
        # Several in one go are one event.
        self.assertTrue(self.alive(client))
        blob.append(SMALL[1000:])
        await client.whole()
        self.assert_same(payload(self.frames(client, FIRST)), SMALL)
        # Others may go meanwhile, and it says nothing of how fast the link is.
        (began, rests), (ended, still) = self.admission.resting
        self.assertEqual((rests, still), (True, False))
        self.assertEqual(ended - began, 4 * self.timeouts.peer_alive)

    async def test_a_peer_hears_of_us_so_often_however_bytes_trickle(self) -> None:
        """Never longer than ``peer_alive`` after the last byte."""
        blob = self.growing()
        client = await self.begin_growing()
        await until(lambda: payload(self.frames(client, FIRST)))
        self.clock.advance(self.timeouts.peer_alive * 0.9)
        blob.append(SMALL[1000:1010])
        await until(lambda: len(payload(self.frames(client, FIRST))) == 1010)
        before = len(client.received)
        self.clock.advance(self.timeouts.peer_alive * 0.9)
        await turns()
        self.assertEqual(len(client.received), before)
        self.clock.advance(self.timeouts.peer_alive * 0.1)
        await until(lambda: len(client.received) > before)

    async def test_a_loan_that_nothing_is_fetched_for_is_silent(self) -> None:
        """Then the peer finds out by itself, and asks elsewhere."""
        self.growing()
        client = await self.begin_growing()
        await until(lambda: payload(self.frames(client, FIRST)))
        self.peers.loans[0].lives = False
        before = len(client.received)
        for _ in range(10):
            self.clock.advance(self.timeouts.peer_alive)
            await turns(3)
        self.assertEqual(len(client.received), before)
        client.leave()
        (told,) = await self.answered()
        self.assertEqual(told.outcome, "cut")

    async def test_a_fetch_that_fails_is_told_in_a_frame_and_the_connection_stays(self) -> None:
        blob = self.growing()
        client = await self.begin_growing()
        await until(lambda: payload(self.frames(client, FIRST)))
        blob.fail(UpstreamFailure(UpstreamKind.LIMITED, "upstream says 429"))
        reply = await client.whole()
        found = broken(Decoder(FIRST).feed(reply.body))
        self.assertEqual((found.kind, found.message), (UpstreamKind.LIMITED, "upstream says 429"))
        (told,) = await self.answered()
        self.assertEqual((told.outcome, told.reason), ("error", "upstream says 429"))
        self.assertFalse(client.closed)
        client.send(self.signed("/peer/v1/status").raw)
        await until(lambda: len(client.replies()) == 2)
        self.assertEqual(self.admission.completed, [])

    async def test_a_failure_of_ours_is_told_as_an_error(self) -> None:
        blob = self.growing()
        client = await self.begin_growing()
        blob.fail(StoreFailure("the disk is gone"))
        found = broken(Decoder(FIRST).feed((await client.whole()).body))
        self.assertEqual((found.kind, found.message), (UpstreamKind.ERROR, "the disk is gone"))

    async def test_a_blob_that_turns_out_to_be_shorter_is_told_as_wrong(self) -> None:
        blob = self.growing()
        client = await self.begin_growing()
        blob.append(SMALL[1000:2000])
        blob.finish()
        found = broken(Decoder(FIRST).feed((await client.whole()).body))
        self.assertEqual(found.kind, UpstreamKind.WRONG)

    async def test_a_defect_in_the_middle_resets_the_connection(self) -> None:
        self.growing()
        client = await self.begin_growing()
        await until(lambda: payload(self.frames(client, FIRST)))
        self.site._uplink.read_cached = _divides_by_zero
        self.growth.append(SMALL[1000:])
        await client.hung_up()
        self.assertFalse(client.reply.whole)
        self.assertEqual(len(self.told(Unexpected)), 1)
        (told,) = await self.answered()
        self.assertEqual(told.outcome, "error")

    async def test_a_peer_that_leaves_leaves_no_waiter(self) -> None:
        self.growing()
        client = await self.begin_growing()
        await until(lambda: payload(self.frames(client, FIRST)))
        self.assertEqual(len(self.peers.loans[0].reader.waits), 1)
        client.leave()
        (told,) = await self.answered()
        self.assertEqual((told.outcome, self.peers.loans[0].reader.waits), ("cut", []))
        self.assertEqual([event.bytes for event in self.told(PeerBytes)], [1000])


def _divides_by_zero(*_args: object, **_named: object) -> int:
    raise ZeroDivisionError("a defect")


class DiskTests(PeerCase):
    async def test_a_file_shorter_than_its_index_is_told_to_peer_and_log(self) -> None:
        blob = self.whole(SMALL)
        digest = self.peers.add_blob(blob, SMALL)
        blob.truncate(5000)
        client = await self.begin_asking(self.asking(question(digest, FIRST)))
        found = broken(Decoder(FIRST).feed((await client.whole()).body))
        self.assertEqual(found.kind, UpstreamKind.ERROR)
        (event,) = self.told(DiskFailed)
        self.assertIn("ends before byte 5001", event.reason)

    async def test_a_read_that_fails_is_told_too(self) -> None:
        self.site._uplink.read_cached = lambda *_args: None
        blob = self.whole(SMALL)
        digest = self.peers.add_blob(blob, SMALL)
        self.pool.run = lambda _job: _failed(OSError(5, "Input/output error"))
        client = await self.begin_asking(self.asking(question(digest, FIRST)))
        found = broken(Decoder(FIRST).feed((await client.whole()).body))
        self.assertIn("Input/output error", found.message)
        self.assertEqual(len(self.told(DiskFailed)), 1)

    async def test_a_loan_is_held_until_the_thread_that_reads_it_is_done(self) -> None:
        self.site._uplink.read_cached = lambda *_args: None
        reads: list[Deferred[Any]] = []

        def run(_job: object) -> Deferred[Any]:
            reads.append(Deferred())
            return reads[-1]

        self.pool.run = run
        digest = self.peers.add_blob(self.whole(SMALL), SMALL)
        for outcome in (SMALL[:10], OSError("too late")):
            client = await self.begin_asking(self.asking(question(digest, FIRST)))
            await until(lambda: reads)
            client.leave()
            await until(lambda: not self.site.active)
            self.assertEqual(self.peers.loans[-1].closed, 0)
            read = reads.pop()
            if isinstance(outcome, bytes):
                read.callback(outcome)
            else:
                read.errback(outcome)
            self.assertEqual(self.peers.loans[-1].closed, 1)


def _failed(error: Exception) -> Deferred[Any]:
    failed: Deferred[Any] = Deferred()
    failed.errback(error)
    return failed


class SlowPeerTests(PeerCase):
    async def begin_big(self) -> Client:
        digest = self.peers.add_blob(self.whole(BIG), BIG)
        client = await self.connect()
        client.stop_reading()
        client.send(self.asking(question(digest, Span(0, SEGMENT))).raw)
        await until(lambda: self.peers.loans)
        await turns(200)  # until the buffers are full
        return client

    async def test_a_peer_that_takes_nothing_is_dropped_and_its_place_given_on(self) -> None:
        client = await self.begin_big()
        for _ in range(20):
            self.clock.advance(PEER_STALL / 15)
        (told,) = await self.answered()
        self.assertEqual(told.outcome, "timeout")
        self.assertEqual(self.admission.taken, [])
        client.go_on_reading()
        await client.hung_up()
        self.assertFalse(client.reply.whole)

    async def test_a_slow_peer_that_takes_some_is_waited_for(self) -> None:
        client = await self.begin_big()
        for _ in range(3):
            for _ in range(10):
                self.clock.advance(PEER_STALL / 15)
            await client.sip()
            await turns(20)
        self.assertEqual(self.told(PeerAnswered), [])
        client.go_on_reading()
        await until(lambda: client.received.endswith(b"\r\n0\r\n\r\n"))

    async def test_no_alive_is_written_on_top_of_what_the_peer_has_yet_to_take(self) -> None:
        client = await self.begin_big()
        (sender,) = self.site.active_bodies
        position = sender.position
        for _ in range(10):
            self.clock.advance(self.timeouts.peer_alive)
        self.assertEqual(sender.position, position)
        client.go_on_reading()
        await until(lambda: client.received.endswith(b"\r\n0\r\n\r\n"))
        events = self.frames(client, Span(0, SEGMENT))
        self.assertFalse([event for event in events if isinstance(event, Alive)])


class RateTests(PeerCase):
    limits = Limits(peer_rate=1 * MIB)

    async def test_bodies_together_keep_to_the_rate_and_say_that_they_live(self) -> None:
        digest = self.peers.add_blob(self.whole(BIG), BIG)
        span = Span(0, 3 * MIB)
        client = await self.begin_asking(self.asking(question(digest, span)))
        await until(lambda: len(client.received) > MIB)
        await turns()
        # What may be saved up goes at once; the rest at the rate.
        self.assertLess(len(client.received), MIB + PIECE)
        while not client.received.endswith(b"\r\n0\r\n\r\n"):
            self.clock.advance(0.05)
            await turns(3)
        self.assertGreaterEqual(self.clock.seconds(), 1.75)
        self.assertLess(self.clock.seconds(), 2.75)
        self.assert_same(payload(self.frames(client, span)), BIG[: 3 * MIB])

    async def test_a_rate_that_makes_a_peer_wait_tells_it_that_we_live(self) -> None:
        self.site._uplink.pace._rate = 64 * KIB  # four seconds for a piece
        digest = self.peers.add_blob(self.whole(BIG), BIG)
        client = await self.begin_asking(self.asking(question(digest, Span(0, 3 * MIB))))
        await until(lambda: len(client.received) > MIB)
        await turns()
        before = len(client.received)
        self.clock.advance(self.timeouts.peer_alive)
        await until(lambda: len(client.received) > before)
        self.assertLess(len(client.received), before + 100)


class CutTests(PeerCase):
    """The connection is cut after any number of bytes; all that was held is given back."""

    async def test_cut_after_any_number_of_bytes(self) -> None:
        digest = self.peers.add_blob(self.whole(BIG), BIG)
        cuts = [1, 100, 500, 100_000, 1_000_000, 5_000_000]
        for number, size in enumerate(cuts, 1):
            client = await self.begin_asking(self.asking(question(digest, Span(0, SEGMENT))))
            await self.received(client, size)
            client.leave()
            await self.answered(number)
            self.assertEqual(self.peers.open_loans, 0)
            self.assertEqual(self.admission.taken, [])
        self.assertEqual({each.outcome for each in self.told(PeerAnswered)}, {"cut"})

    async def test_the_node_stops_in_the_middle(self) -> None:
        digest = self.peers.add_blob(self.blob(SMALL[:1000], total=len(SMALL)), SMALL)
        client = await self.begin_asking(self.asking(question(digest, FIRST)))
        await until(client.replies)
        self.assertEqual(self.site.abort_all(), 1)
        await client.hung_up()
        self.assertFalse(client.reply.whole)
        (told,) = await self.answered()
        self.assertEqual((told.outcome, told.reason), ("error", "the node is stopping"))

    async def test_a_sender_that_can_not_be_made_gives_all_back(self) -> None:
        digest = self.peers.add_blob(self.whole(SMALL), SMALL)
        self.site.sender = _divides_by_zero
        reply = await self.answer(self.asking(question(digest, FIRST)))
        self.assertEqual((reply.status, reply.header("Nodecache-Answer")), (500, "defect"))
        self.assertEqual(len(self.told(Unexpected)), 1)
