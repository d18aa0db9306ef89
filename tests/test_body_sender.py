"""The sender of blobs, step by step: gears, waits, failures, and what is released."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any
from unittest import mock

from twisted.internet.defer import succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from nodecache.body import BlobSender, BlobTools, Outcome, Part
from nodecache.body import sender as sender_module
from nodecache.body.sender import AGAIN, SLOW
from nodecache.body.turn import LONG, PIECE, TURN
from nodecache.events import DiskFailed, Event, Unexpected
from nodecache.failures import StoreFailure, UpstreamFailure, UpstreamKind
from nodecache.limits import MIB
from tests.fakes_disk import HeldPool, InlinePool
from tests.fakes_registry import FakeBlob, FakeReadable, some_bytes

MARK = 65536


class FakeWire:
    """A transport that keeps what is written until it is ``drained``."""

    def __init__(self, connected: socket.socket | None = None) -> None:
        self.sentLength = 0
        self.gone = False
        self.written = b""
        self.buffered = 0
        self.producer: Any = None
        self.ends: list[str] = []
        self.connected = connected
        self.in_socket = 0

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        assert self.producer is None
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def write(self, data: bytes) -> None:
        self.written += data
        self.buffered += len(data)
        if self.buffered > MARK:
            self.producer.pauseProducing()

    def drain(self) -> None:
        full, self.buffered = self.buffered > MARK, 0
        if full:
            self.producer.resumeProducing()

    def finish(self) -> None:
        assert self.producer is None
        self.ends.append("finish")

    def abort(self) -> None:
        assert self.producer is None
        self.ends.append("abort")

    def break_off(self) -> None:
        assert self.producer is None
        self.ends.append("break off")

    def plain_socket(self) -> socket.socket | None:
        return self.connected

    def unsent(self) -> int:
        return self.in_socket


class FakeLane:
    """Of what waits to be written, all of it in each turn."""

    def __init__(self) -> None:
        self.writers: list[Any] = []

    def add(self, writer: Any) -> None:
        assert writer not in self.writers
        self.writers.append(writer)

    def remove(self, writer: Any) -> None:
        self.writers.remove(writer)


class SenderCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        for end in (self.ours, self.theirs):
            end.setblocking(False)
            self.addCleanup(end.close)
        self.clock = Clock()
        self.lane = FakeLane()
        self.events: list[Event] = []
        self.outcomes: list[tuple[Outcome, str]] = []
        self.pool: Any = InlinePool()
        self.wire = FakeWire(self.ours)

    def blob(self, *args: Any, **kwargs: Any) -> FakeBlob:
        blob = FakeBlob(*args, **kwargs)
        self.addCleanup(blob.close)
        return blob

    def whole(self, data: bytes) -> FakeBlob:
        blob = self.blob(data, len(data))
        blob.finish()
        return blob

    def start(self, blob: FakeBlob, part: Part | None = None) -> BlobSender:
        self.reader: FakeReadable = blob.reader()
        self.tools = tools = BlobTools(
            clock=self.clock,
            observe=self.events.append,
            stall=90.0,
            lane=self.lane,  # type: ignore[arg-type]  # what is called of it
            pool=self.pool,
        )
        part = part or Part(0, blob.total, blob.total, held_back=True)
        sender = BlobSender(
            self.wire, self.reader, part, tools, lambda *end: self.outcomes.append(end)
        )
        sender.start()
        return sender

    def arrived(self) -> bytes:
        """All that came out of the socket since it was last looked at."""
        parts = []
        try:
            while part := self.theirs.recv(1 << 20):
                parts.append(part)
        except BlockingIOError:
            pass
        return b"".join(parts)

    def turn(self) -> None:
        """One turn of the reactor in which every watched socket takes bytes."""
        for writer in list(self.lane.writers):
            writer.doWrite()

    def pump(self) -> bytes:
        """Turns until nothing is watched any more; what came out of the socket."""
        out = self.arrived()
        while self.lane.writers:
            self.turn()
            out += self.arrived()
        return out

    def assert_over(self, outcome: Outcome) -> None:
        """Ended once, so, and nothing is held."""
        self.assertEqual([each for each, _ in self.outcomes], [outcome])
        self.assertEqual(self.reader.closed, 1)
        self.assertEqual(self.reader.waits, [])
        self.assertEqual(self.lane.writers, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertIsNone(self.wire.producer)


DATA = some_bytes(2_000_000)


class GearTests(SenderCase):
    def test_a_body_of_one_piece_is_written_in_the_ordinary_way(self) -> None:
        self.start(self.whole(DATA[:PIECE]))
        self.assertEqual(self.wire.written, DATA[:PIECE])
        self.wire.drain()
        self.assertEqual(self.arrived(), b"")
        self.assert_over(Outcome.COMPLETE)
        self.assertEqual(self.wire.ends, ["finish"])

    def test_nothing_goes_to_the_socket_before_the_transport_has_sent_its_own(self) -> None:
        self.start(self.whole(DATA))
        self.turn()
        self.assertEqual(self.wire.written, DATA[:PIECE])
        self.assertEqual(self.arrived(), b"")
        self.wire.drain()
        self.assertTrue(self.wire.written + self.pump() == DATA)
        self.assertEqual(self.wire.sentLength, len(DATA) - PIECE)
        self.assert_over(Outcome.COMPLETE)

    def test_a_resume_that_answers_no_pause_of_ours_changes_no_gear(self) -> None:
        blob = self.blob(DATA[:100], total=len(DATA))
        sender = self.start(blob)
        sender.resumeProducing()
        blob.append(DATA[100:])
        self.assertEqual(self.arrived(), b"")
        self.assertEqual(self.wire.written, DATA[: 100 + PIECE])

    def test_a_trickle_is_copied_until_a_pause_comes_about(self) -> None:
        blob = self.blob(total=len(DATA), tail=10)
        self.start(blob)
        for start in range(0, 60_000, 10_000):
            blob.append(DATA[start : start + 10_000])
        self.assertEqual(len(self.wire.written), 60_000)
        blob.append(DATA[60_000:500_000])
        self.assertEqual(len(self.wire.written), 60_000 + PIECE)
        self.wire.drain()
        blob.append(DATA[500_000:])
        blob.finish()
        self.assertTrue(self.wire.written + self.pump() == DATA)
        self.assert_over(Outcome.COMPLETE)

    def sent_in_turns(self, others: int, took: float = 0.0) -> list[int]:
        """The bytes of each sendfile call, beside ``others`` that send, each ``took`` seconds."""
        sender = self.start(self.whole(DATA))
        for _ in range(others):
            self.tools.turn.enter()
        sizes = []

        def send(_to: int, _fd: int, offset: int, count: int) -> int:
            sizes.append(count)
            self.clock.advance(took)
            return count

        with mock.patch("os.sendfile", side_effect=send):
            self.wire.drain()
            for _ in range(3):
                self.turn()
        self.addCleanup(sender.abort, "the test is over")
        return sizes

    def test_one_alone_may_send_more_in_a_turn(self) -> None:
        self.assertEqual(self.sent_in_turns(0), [TURN, len(DATA) - PIECE - TURN])

    def test_many_send_a_piece_each_in_a_turn(self) -> None:
        self.assertEqual(self.sent_in_turns(7)[:3], [PIECE] * 3)

    def test_two_share_a_turn(self) -> None:
        self.assertEqual(self.sent_in_turns(1)[:3], [TURN // 2] * 3)

    def test_what_has_to_come_from_the_disk_is_sent_in_pieces(self) -> None:
        """The reactor waits for the disk in such a call."""
        self.assertEqual(self.sent_in_turns(0, took=SLOW * 2)[:3], [TURN, PIECE, PIECE])

    def sent_in_a_turn(self, others: int, took: float) -> int:
        """How many sendfile calls of 10,000 bytes the first turn has, each ``took`` seconds."""
        with (
            mock.patch("nodecache.body.turn.TURN", 10_000),
            mock.patch("nodecache.body.turn.PIECE", 10_000),
            mock.patch.object(self, "turn", lambda: None),
        ):
            return len(self.sent_in_turns(others, took))

    def test_one_alone_goes_on_until_its_turn_has_lasted_long(self) -> None:
        self.assertEqual(self.sent_in_a_turn(0, LONG / 4), 4)

    def test_one_alone_whose_call_lasts_long_has_one(self) -> None:
        self.assertEqual(self.sent_in_a_turn(0, LONG), 1)

    def test_beside_another_one_call_is_a_turn(self) -> None:
        self.assertEqual(self.sent_in_a_turn(1, LONG / 4), 1)

    def test_a_share_is_given_back_at_the_end(self) -> None:
        self.start(self.whole(DATA))
        self.wire.drain()
        self.assertEqual(self.tools.turn.share, TURN)
        self.tools.turn.enter()
        self.assertEqual(self.tools.turn.share, TURN // 2)
        self.pump()
        self.assert_over(Outcome.COMPLETE)
        self.assertEqual(self.tools.turn.share, TURN)

    @mock.patch("nodecache.body.sender.TOLD", MIB)
    def test_the_flight_is_told_now_and_then_and_before_a_wait(self) -> None:
        blob = self.blob(DATA[:1_900_000], total=len(DATA), tail=10)
        self.start(blob)
        with mock.patch(
            "os.sendfile", side_effect=lambda _to, _fd, _at, count: min(count, 100_000)
        ):
            self.wire.drain()
            told = {self.reader.given_up}
            while self.reader.waits == []:
                self.turn()
                told.add(self.reader.given_up)
        self.assertEqual(self.reader.given_up, 1_900_000)
        self.assertEqual(len(told), 3)  # before, once on the way, and at the end

    def test_over_tls_and_without_a_length_all_is_copied(self) -> None:
        for connected, part in (
            (None, None),
            (self.ours, Part(0, None, None, held_back=True)),
        ):
            self.wire, self.outcomes = FakeWire(connected), []
            self.start(self.whole(DATA), part)
            while self.wire.producer is not None:
                self.wire.drain()
            self.assertTrue(self.wire.written == DATA)
            self.assertEqual(self.arrived(), b"")
            self.assert_over(Outcome.COMPLETE)

    def test_without_a_descriptor_to_be_had_all_is_copied(self) -> None:
        with mock.patch("os.dup", side_effect=OSError(errno.EMFILE, "too many")):
            self.start(self.whole(DATA))
            while self.wire.producer is not None:
                self.wire.drain()
        self.assertTrue(self.wire.written == DATA)
        self.assert_over(Outcome.COMPLETE)

    def test_a_range_begins_and_ends_where_it_says(self) -> None:
        self.start(self.whole(DATA), Part(1_000, 1_900_000, len(DATA), held_back=False))
        self.wire.drain()
        self.assertTrue(self.wire.written + self.pump() == DATA[1_000:1_900_000])
        self.assert_over(Outcome.COMPLETE)


class WaitTests(SenderCase):
    def in_second_gear(self, present: int) -> FakeBlob:
        blob = self.blob(DATA[:present], total=len(DATA), tail=10)
        self.start(blob)
        self.wire.drain()
        self.pumped = self.pump()
        return blob

    def test_a_sender_that_waits_for_bytes_does_not_watch_the_socket(self) -> None:
        """The socket is writable all the while: watching it would spin."""
        self.in_second_gear(1_000_000)
        self.assertEqual(self.lane.writers, [])
        self.assertEqual(len(self.reader.waits), 1)

    def test_it_goes_on_when_bytes_come(self) -> None:
        blob = self.in_second_gear(1_000_000)
        blob.append(DATA[1_000_000:])
        blob.finish()
        self.assertTrue(self.wire.written + self.pumped + self.pump() == DATA)
        self.assert_over(Outcome.COMPLETE)

    def test_woken_for_nothing_it_looks_again_later_and_does_not_spin(self) -> None:
        blob = self.blob(total=100)
        self.start(blob)
        looks: list[int] = []

        def for_nothing(offset: int, *, held_back: bool) -> Any:
            looks.append(offset)
            return succeed(None)

        self.reader.wait = for_nothing  # type: ignore[method-assign]
        self.reader.waits.pop()[2].callback(None)
        self.assertEqual(looks, [])
        self.clock.advance(AGAIN)
        self.clock.advance(AGAIN)
        self.assertEqual(len(looks), 2)

    def test_bytes_that_the_client_has_not_acknowledged_may_not_be_punched_out(self) -> None:
        self.wire.in_socket = 150_000
        self.in_second_gear(1_000_000)
        self.assertEqual(self.reader.given_up, 850_000)
        self.wire.in_socket = 20_000
        self.clock.advance(AGAIN)
        self.assertEqual(self.reader.given_up, 980_000)
        self.wire.in_socket = 0
        self.clock.advance(AGAIN)
        self.assertEqual(self.reader.given_up, 1_000_000)
        self.clock.advance(10 * AGAIN)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)  # the watch for stalls

    def test_a_flight_that_fails_closes_behind_what_was_right(self) -> None:
        """Runtimes take the rest up by Range, and fail a pull that was reset."""
        blob = self.in_second_gear(1_000_000)
        blob.fail(UpstreamFailure(UpstreamKind.CUT, "upstream broke"))
        self.assert_over(Outcome.ABORTED)
        self.assertEqual(self.wire.ends, ["break off"])

    def test_a_flight_whose_bytes_were_wrong_resets_the_connection(self) -> None:
        blob = self.in_second_gear(1_000_000)
        blob.fail(UpstreamFailure(UpstreamKind.WRONG, "wrong digest"))
        self.assert_over(Outcome.ABORTED)
        self.assertEqual(self.wire.ends, ["abort"])
        self.assertIn("wrong digest", self.outcomes[0][1])
        self.assertEqual(self.events, [])

    def test_an_unforeseen_failure_is_told_as_a_defect(self) -> None:
        self.in_second_gear(1_000_000)
        self.reader.waits.pop()[2].errback(ZeroDivisionError("a defect"))
        self.assert_over(Outcome.ABORTED)
        (event,) = self.events
        self.assertIsInstance(event, Unexpected)

    def test_a_size_that_contradicts_the_headers_resets_the_connection(self) -> None:
        for size in (1_500_000, len(DATA)):
            blob = self.blob(tail=10)
            self.wire, self.outcomes = FakeWire(), []
            self.start(blob, Part(0, 1_800_000, 1_800_000, held_back=True))
            blob.append(DATA[:size])
            while self.wire.buffered > MARK:
                self.wire.drain()
            blob.finish()
            self.wire.drain()
            self.clock.advance(AGAIN)
            self.assert_over(Outcome.ABORTED)


class SlowClientTests(SenderCase):
    def test_bytes_leaving_the_kernel_are_progress_though_the_position_stands(self) -> None:
        self.wire.in_socket = 3_000_000
        self.start(self.whole(DATA))
        for _ in range(100):
            self.wire.in_socket -= 20_000
            self.clock.advance(90 / 8)
        self.assertEqual(self.outcomes, [])

    def test_bytes_that_stay_in_the_kernel_or_in_the_transport_are_a_stall(self) -> None:
        for in_socket in (3_000_000, 0):
            self.wire, self.outcomes = FakeWire(self.ours), []
            self.wire.in_socket = in_socket
            self.start(self.whole(DATA))
            self.clock.pump([90 / 8] * 12)
            self.assert_over(Outcome.STALLED)
            self.assertEqual(self.wire.ends, ["abort"])


class ReadingTests(SenderCase):
    """What is not in the page cache is read in a thread."""

    def setUp(self) -> None:
        super().setUp()
        self.pool = HeldPool()
        self.patch(sender_module, "read_cached", lambda *_: None)

    def test_a_body_is_read_piece_by_piece(self) -> None:
        self.wire.connected = None
        self.start(self.whole(DATA))
        while self.wire.producer is not None:
            self.assertTrue(self.pool.step() or self.wire.buffered)
            self.wire.drain()
        self.assertTrue(self.wire.written == DATA)
        self.assert_over(Outcome.COMPLETE)

    def test_a_blob_is_not_closed_under_a_thread_that_reads_it(self) -> None:
        sender = self.start(self.whole(DATA))
        sender.stopProducing()
        self.assertEqual(self.reader.closed, 0)
        self.pool.step()
        self.assert_over(Outcome.LEFT)
        self.assertEqual(self.wire.written, b"")

    def test_a_read_that_fails_after_the_end_closes_the_blob_too(self) -> None:
        sender = self.start(self.whole(DATA))
        sender.abort("the node stops")
        self.pool.held.pop()[1].errback(StoreFailure("the disk threads are stopped"))
        self.assert_over(Outcome.ABORTED)
        self.assertEqual(self.events, [])

    def test_a_read_that_fails_resets_the_connection(self) -> None:
        self.start(self.whole(DATA))
        self.pool.held.pop()[1].errback(OSError(errno.EIO, "Input/output error"))
        self.assert_over(Outcome.ABORTED)
        (event,) = self.events
        assert isinstance(event, DiskFailed)
        self.assertIn("Input/output error", event.reason)


class BrokenTests(SenderCase):
    def test_a_file_shorter_than_the_index_says_is_never_sent_for_ever(self) -> None:
        for kept, drained in ((0, False), (PIECE, True), (1_000_000, True)):
            blob = self.whole(DATA)
            blob.truncate(kept)
            self.wire, self.outcomes, self.events[:] = FakeWire(self.ours), [], []
            self.start(blob)
            if drained:
                self.wire.drain()
                self.pump()
            self.assert_over(Outcome.ABORTED)
            self.assertEqual(self.wire.ends, ["break off"])
            self.assertEqual([type(event) for event in self.events], [DiskFailed])

    def test_an_error_of_the_file_is_the_disks_and_one_of_the_socket_the_clients(self) -> None:
        for number, outcome, told in (
            (errno.EIO, Outcome.ABORTED, [DiskFailed]),
            (errno.EPIPE, Outcome.LEFT, []),
            (errno.ECONNRESET, Outcome.LEFT, []),
        ):
            self.wire, self.outcomes, self.events[:] = FakeWire(self.ours), [], []
            self.start(self.whole(DATA))
            with mock.patch("os.sendfile", side_effect=OSError(number, os.strerror(number))):
                self.wire.drain()
            self.assert_over(outcome)
            self.assertEqual([type(event) for event in self.events], told)

    def test_the_duplicate_is_closed_before_the_connection(self) -> None:
        """Neither a reset nor an end leaves the machine while it is open."""
        sender = self.start(self.whole(DATA))
        self.wire.drain()
        duplicate = self.lane.writers[0]
        seen: list[int] = []
        self.wire.break_off = lambda: seen.append(duplicate.fileno())  # type: ignore[method-assign]
        sender.abort("the node stops")
        self.assertEqual(seen, [-1])

    def test_a_disconnect_told_to_the_duplicate_first_ends_the_body_once(self) -> None:
        sender = self.start(self.whole(DATA))
        self.wire.drain()
        duplicate = self.lane.writers[0]
        self.lane.writers.remove(duplicate)  # as the reactor does before it tells
        duplicate.connectionLost(Failure(ConnectionLost()))
        duplicate.connectionLost(Failure(ConnectionLost()))
        sender.stopProducing()
        self.assert_over(Outcome.LEFT)
        self.assertEqual(self.wire.ends, ["abort"])

    def test_a_client_that_is_gone_before_the_body_begins_holds_nothing(self) -> None:
        self.wire.gone = True
        self.start(self.whole(DATA))
        self.assert_over(Outcome.LEFT)
        self.assertEqual((self.wire.written, self.wire.ends), (b"", []))

    def test_a_defect_in_a_step_ends_the_body(self) -> None:
        blob = self.blob(DATA[:100], total=1000, tail=10)
        self.start(blob)
        self.reader.available = mock.Mock(  # type: ignore[method-assign]
            side_effect=ZeroDivisionError("a defect")
        )
        self.reader.waits.pop()[2].callback(None)
        self.assert_over(Outcome.ABORTED)
        self.assertEqual([type(event) for event in self.events], [Unexpected])

    def test_an_aborted_body_stays_aborted(self) -> None:
        sender = self.start(self.whole(DATA))
        sender.abort("first")
        sender.abort("second")
        sender.stopProducing()
        self.assert_over(Outcome.ABORTED)
        self.assertEqual(self.outcomes[0][1], "first")
