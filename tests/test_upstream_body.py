"""The body of an answer as time goes by: silence, pauses, and a process that was frozen."""

from __future__ import annotations

import gzip
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss

from nodecache.failures import UpstreamFailure, UpstreamKind
from nodecache.upstream.body import BodyStream, read_whole
from nodecache.upstream.encoding import decoded
from nodecache.upstream.gather import EAGER, LONGEST
from nodecache.upstream.waits import TimedOut, bounded


class FakeTransport:
    def __init__(self) -> None:
        self.paused = False

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False


class FakeReply:
    """As much of a Reply as a BodyStream sees; ``early`` comes within deliverBody."""

    def __init__(self, early: tuple[bytes, ...] = ()) -> None:
        self.response = self
        self.early = early
        self.taken = False
        self.aborted = 0
        self.transport = FakeTransport()

    def deliverBody(self, protocol: Any) -> None:
        protocol.makeConnection(self.transport)
        for data in self.early:
            protocol.dataReceived(data)

    def abort(self) -> None:
        self.aborted += 1


class BodyStreamTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.reply = FakeReply()
        self.ended: list[int] = []
        self.taken: list[bytes] = []

    def start(self, *early: bytes) -> tuple[BodyStream, Deferred[None]]:
        self.reply = FakeReply(early)
        reply: Any = self.reply
        stream = BodyStream(self.clock, reply, 10.0, self.ended.append)
        return stream, stream.deliver(self.taken.append)

    def end(self, stream: BodyStream, reason: Exception | None = None) -> None:
        stream.connectionLost(Failure(reason or ResponseDone()))

    def test_a_whole_body_ends_well_and_its_bytes_are_counted_once(self) -> None:
        stream, done = self.start(b"ab")
        stream.dataReceived(b"cd")
        self.end(stream)
        self.successResultOf(done)
        stream.stop()
        self.assertEqual((self.taken, self.ended), ([b"ab", b"cd"], [4]))
        self.assertEqual(self.reply.aborted, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_body_that_broke_off_is_cut(self) -> None:
        for reason in (ResponseFailed([]), PotentialDataLoss()):
            stream, done = self.start(b"ab")
            self.end(stream, reason)
            failure = self.failureResultOf(done, UpstreamFailure)
            self.assertEqual(failure.value.kind, UpstreamKind.CUT)

    def test_silence_is_measured_from_the_last_byte(self) -> None:
        stream, done = self.start()
        for _ in range(4):
            self.clock.advance(9.9)
            stream.dataReceived(b"x")
        self.clock.advance(9.9)
        self.assertNoResult(done)
        self.clock.advance(0.1)
        failure = self.failureResultOf(done, UpstreamFailure)
        self.assertEqual(failure.value.kind, UpstreamKind.TIMEOUT)
        self.assertEqual((self.reply.aborted, self.ended), (1, [4]))

    def test_nothing_is_called_silent_while_we_pause_it(self) -> None:
        stream, done = self.start(b"x")
        stream.pause()
        self.assertTrue(self.reply.transport.paused)
        self.clock.pump([5.0] * 20)
        self.assertNoResult(done)
        stream.resume()
        self.assertFalse(self.reply.transport.paused)
        self.clock.advance(9.9)
        self.assertNoResult(done)
        self.clock.advance(0.1)
        self.failureResultOf(done, UpstreamFailure)

    def packets(self, stream: BodyStream, count: int, gap: float = 0.001) -> None:
        for _ in range(count):
            self.clock.advance(gap)
            stream.dataReceived(b"x" * 1448)

    def test_bytes_that_come_slowly_gather_in_the_kernel(self) -> None:
        stream, done = self.start(b"x" * EAGER)
        self.packets(stream, 1)
        self.assertTrue(self.reply.transport.paused)
        self.clock.advance(LONGEST)
        self.assertFalse(self.reply.transport.paused)
        self.end(stream)
        self.successResultOf(done)

    def test_the_first_bytes_of_a_body_are_read_as_they_come(self) -> None:
        stream, done = self.start()
        self.packets(stream, EAGER // 1448)
        self.assertFalse(self.reply.transport.paused)
        stream.stop()
        self.failureResultOf(done, CancelledError)

    def test_a_rest_ends_with_the_body(self) -> None:
        for end in ("stop", "end"):
            stream, done = self.start(b"x" * EAGER)
            done.addErrback(lambda stopped: stopped.trap(CancelledError))
            self.packets(stream, 1)
            stream.stop() if end == "stop" else self.end(stream)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_pause_outlasts_a_rest(self) -> None:
        stream, done = self.start(b"x" * EAGER)
        self.packets(stream, 1)
        stream.pause()
        self.clock.advance(1)
        self.assertTrue(self.reply.transport.paused)
        stream.resume()
        self.assertFalse(self.reply.transport.paused)
        stream.stop()
        self.failureResultOf(done, CancelledError)

    def test_a_process_that_was_frozen_blames_nobody(self) -> None:
        _, done = self.start(b"x")
        self.clock.advance(300)
        self.assertNoResult(done)
        for _ in range(2):
            self.clock.advance(5)
        self.failureResultOf(done, UpstreamFailure)

    def test_what_comes_after_a_pause_is_kept_for_later(self) -> None:
        stream, done = self.start(b"ab")
        stream.pause()
        stream.dataReceived(b"cd")
        self.end(stream)
        self.assertEqual(self.taken, [b"ab"])
        self.assertNoResult(done)
        stream.resume()
        self.assertEqual(self.taken, [b"ab", b"cd"])
        self.successResultOf(done)

    def test_a_sink_may_pause_at_every_step(self) -> None:
        reply: Any = FakeReply((b"a", b"b", b"c"))
        stream = BodyStream(self.clock, reply, 10.0, self.ended.append)

        def take(data: bytes) -> None:
            self.taken.append(data)
            stream.pause()

        done = stream.deliver(take)
        self.end(stream)
        for number in (1, 2, 3):
            self.assertEqual(len(self.taken), number)
            self.assertNoResult(done)
            stream.resume()
        self.successResultOf(done)
        self.assertEqual(b"".join(self.taken), b"abc")

    def test_a_pause_before_the_delivery_holds(self) -> None:
        reply: Any = FakeReply((b"a",))
        stream = BodyStream(self.clock, reply, 10.0, self.ended.append)
        stream.pause()
        done = stream.deliver(self.taken.append)
        self.assertEqual((self.taken, reply.transport.paused), ([], True))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        stream.resume()
        self.assertEqual(self.taken, [b"a"])
        self.end(stream)
        self.successResultOf(done)

    def test_after_a_stop_nothing_is_delivered(self) -> None:
        stream, done = self.start(b"ab")
        stream.stop()
        stream.dataReceived(b"cd")
        self.end(stream, ResponseFailed([]))
        stream.stop()
        stream.pause()
        stream.resume()
        self.failureResultOf(done, CancelledError)
        self.assertEqual((self.taken, self.reply.aborted, self.ended), ([b"ab"], 1, [2]))

    def test_stopping_a_body_that_is_in_leaves_its_connection_alone(self) -> None:
        stream, done = self.start(b"ab")
        stream.pause()
        self.end(stream)
        stream.stop()
        self.failureResultOf(done, CancelledError)
        self.assertEqual(self.reply.aborted, 0)

    def test_a_sink_may_stop_the_body(self) -> None:
        reply: Any = FakeReply((b"a", b"b"))
        stream = BodyStream(self.clock, reply, 10.0, self.ended.append)

        def take(data: bytes) -> None:
            self.taken.append(data)
            stream.stop()

        done = stream.deliver(take)
        self.failureResultOf(done, CancelledError)
        self.assertEqual(self.taken, [b"a"])
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ReadWholeTests(SynchronousTestCase):
    def read(self, reply: Any, encoding: str | None = None) -> tuple[Clock, Any, Deferred[bytes]]:
        clock = Clock()
        stream = BodyStream(clock, reply, 10.0, lambda _received: None)
        reading = Deferred.fromCoroutine(read_whole(clock, stream, encoding, 8, 3.0))
        return clock, stream, reading

    def test_a_small_body_is_read(self) -> None:
        _, stream, reading = self.read(FakeReply((b"abcd", b"efgh")))
        stream.connectionLost(Failure(ResponseDone()))
        self.assertEqual(self.successResultOf(reading), b"abcdefgh")

    def test_a_body_that_is_too_big_is_refused_at_once(self) -> None:
        reply = FakeReply((b"abcd", b"efghi"))
        _, _, reading = self.read(reply)
        failure = self.failureResultOf(reading, UpstreamFailure)
        self.assertEqual((failure.value.kind, reply.aborted), (UpstreamKind.WRONG, 1))

    def test_a_body_that_takes_too_long_is_given_up(self) -> None:
        reply = FakeReply((b"abcd",))
        clock, stream, reading = self.read(reply)
        clock.advance(2.9)
        stream.dataReceived(b"e")
        self.assertNoResult(reading)
        clock.advance(0.1)
        self.failureResultOf(reading, TimedOut)
        self.assertEqual(reply.aborted, 1)

    def test_cancelling_a_read_ends_the_body(self) -> None:
        reply = FakeReply((b"abcd",))
        clock, _, reading = self.read(reply)
        reading.cancel()
        self.failureResultOf(reading, CancelledError)
        self.assertEqual((reply.aborted, clock.getDelayedCalls()), (1, []))

    def test_gzip_is_undone_and_its_size_is_bounded(self) -> None:
        self.assertEqual(decoded(gzip.compress(b"abcd"), "gzip", 8), b"abcd")
        self.assertEqual(decoded(b"abcd", None, 8), b"abcd")
        self.assertEqual(decoded(b"abcd", "Identity", 8), b"abcd")
        bomb = gzip.compress(b"\0" * 100_000)
        short = gzip.compress(b"abcd")[:-3]
        for body, encoding in ((bomb, "gzip"), (short, "gzip"), (b"abcd", "gzip"), (b"", "br")):
            with self.assertRaises(UpstreamFailure):
                decoded(body, encoding, 8)


class BoundedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def test_a_result_in_time_is_the_result(self) -> None:
        inner: Deferred[int] = Deferred()
        outer = bounded(self.clock, inner, 5)
        inner.callback(3)
        self.assertEqual(self.successResultOf(outer), 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_failure_in_time_is_the_failure(self) -> None:
        inner: Deferred[int] = Deferred()
        outer = bounded(self.clock, inner, 5)
        inner.errback(ValueError("x"))
        self.failureResultOf(outer, ValueError)

    def test_when_time_is_up_the_inner_one_is_cancelled_whatever_it_makes_of_it(self) -> None:
        inner: Deferred[int] = Deferred(lambda d: d.errback(ValueError("not a cancel")))
        outer = bounded(self.clock, inner, 5)
        self.clock.advance(5)
        failure = self.failureResultOf(outer, TimedOut)
        self.assertFalse(failure.value.late)
        self.successResultOf(inner)  # its error was taken care of

    def test_a_timer_that_comes_late_says_so(self) -> None:
        inner: Deferred[int] = Deferred()
        outer = bounded(self.clock, inner, 5)
        self.clock.advance(6.5)
        self.assertTrue(self.failureResultOf(outer, TimedOut).value.late)

    def test_a_cancel_from_outside_is_a_cancel_whatever_the_inner_one_makes_of_it(self) -> None:
        inner: Deferred[int] = Deferred(lambda d: d.errback(ValueError("not a cancel")))
        outer = bounded(self.clock, inner, 5)
        outer.cancel()
        self.failureResultOf(outer, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_result_that_is_there_already_is_the_result(self) -> None:
        inner: Deferred[int] = Deferred()
        inner.callback(3)
        self.assertEqual(self.successResultOf(bounded(self.clock, inner, 0)), 3)
