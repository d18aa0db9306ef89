"""A peer's body as time goes by: sums, pauses, silence, and a sender that only says it lives."""

from __future__ import annotations

import random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseDone, ResponseFailed

from nodecache.byteranges import Span
from nodecache.failures import PeerFailure, PeerKind, UpstreamKind
from nodecache.limits import MIB, Timeouts
from nodecache.peers.body import PeerBody, Pulse
from nodecache.peerwire.answers import Bytes
from nodecache.peerwire.frames import Encoder
from tests.test_upstream_body import FakeReply

NOISE = random.Random(3).randbytes(2 * MIB)
SPAN = Span(0, 2 * MIB)


class PeerBodyTests(SynchronousTestCase):
    timeouts = Timeouts()

    def setUp(self) -> None:
        self.clock = Clock()
        self.given: list[bytes] = []
        self.blamed: list[tuple[PeerKind, bool]] = []
        self.over: list[int] = []
        self.beats = self.heard_bytes = 0
        self.lives = False
        self.encoder = Encoder(SPAN)
        self.reply = FakeReply()
        reply: Any = self.reply
        self.body = PeerBody(
            self.clock,
            reply,
            "two",
            SPAN,
            Bytes(2 * MIB, ranged=True),
            self.timeouts,
            self.fail_with,
            self.over.append,
            Pulse(self.heard, lambda: self.lives),
        )
        self.wire: Any = self.body._stream

    def heard(self, size: int) -> None:
        self.beats += 1
        self.heard_bytes += size

    def fail_with(self, kind: PeerKind, words: str, blame: bool) -> PeerFailure:
        self.blamed.append((kind, blame))
        return PeerFailure("two", kind, words)

    def start(self) -> Deferred[None]:
        return self.body.deliver(self.given.append)

    def comes(self, parts: list[bytes]) -> None:
        self.wire.dataReceived(b"".join(parts))

    def ends(self, reason: Exception | None = None) -> None:
        self.wire.connectionLost(Failure(reason or ResponseDone()))

    def received(self) -> bytes:
        return b"".join(self.given)

    def kind_of(self, done: Deferred[None]) -> PeerKind:
        failure = self.failureResultOf(done, PeerFailure)
        assert isinstance(failure.value, PeerFailure)
        return failure.value.problem

    def test_a_whole_span_keeps_the_connection(self) -> None:
        done = self.start()
        self.comes(self.encoder.data(NOISE))
        self.assertEqual(self.received(), NOISE)
        self.assertNoResult(done)
        self.comes(self.encoder.end())
        self.ends()
        self.successResultOf(done)
        self.body.stop()
        self.assertEqual((self.over, self.reply.aborted), ([2 * MIB], 0))
        self.assertGreaterEqual(self.heard_bytes, 2 * MIB)  # what the link carried
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_it_is_stands_in_its_answer(self) -> None:
        body = self.body
        facts = (body.start, body.stop_at, body.total, body.ranged, body.peer, body.answer.total)
        self.assertEqual(facts, (0, 2 * MIB, 2 * MIB, True, "two", 2 * MIB))

    def test_whatever_follows_a_whole_span_makes_no_difference_to_it(self) -> None:
        for follows in (
            lambda: self.comes([b"more"]),
            lambda: self.ends(ResponseFailed([])),
            lambda: self.clock.pump([0.05] * 80),
        ):
            self.setUp()
            done = self.start()
            self.comes(self.encoder.data(NOISE) + self.encoder.end())
            follows()
            self.successResultOf(done)
            self.assertEqual((self.over, self.blamed), ([2 * MIB], []))
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_body_that_ends_without_its_end_is_cut(self) -> None:
        for reason in (ResponseDone(), ResponseFailed([])):
            self.setUp()
            done = self.start()
            self.comes(self.encoder.data(NOISE))
            self.ends(reason)
            self.assertEqual(self.kind_of(done), PeerKind.CUT)
            self.assertEqual((self.blamed, self.over), ([(PeerKind.CUT, True)], [2 * MIB]))

    def test_silence_is_a_timeout(self) -> None:
        done = self.start()
        self.comes(self.encoder.data(NOISE[:5]))
        self.clock.pump([0.05] * 58)
        self.assertNoResult(done)
        self.clock.pump([0.05] * 8)
        self.assertEqual(self.kind_of(done), PeerKind.TIMEOUT)
        self.assertEqual((self.reply.aborted, self.received()), (1, b""))

    def test_one_that_is_heard_elsewhere_is_given_more_time_but_not_for_ever(self) -> None:
        """Of many connections that share a link one may be starved for seconds."""
        done = self.start()
        self.lives = True
        self.comes(self.encoder.data(NOISE[:5]))
        self.assertEqual(self.beats, 1)
        self.clock.pump([0.05] * 160)
        self.assertNoResult(done)
        self.clock.pump([0.05] * 160)
        self.assertEqual(self.kind_of(done), PeerKind.TIMEOUT)

    def test_a_sender_that_waits_says_that_it_lives_and_nobody_else_hears_of_it(self) -> None:
        """Else nodes that wait for each other in a ring would keep it alive."""
        done = self.start()
        for _ in range(10):
            self.clock.pump([0.05] * 10)
            self.comes(self.encoder.alive())
        self.assertEqual(self.given, [])
        self.comes(self.encoder.data(NOISE) + self.encoder.end())
        self.ends()
        self.successResultOf(done)

    def test_a_sender_that_only_lives_is_given_up(self) -> None:
        done = self.start()
        for _ in range(60):
            self.clock.pump([0.05] * 10)
            self.comes(self.encoder.alive())
        self.assertNoResult(done)
        self.comes(self.encoder.alive())
        self.assertEqual(self.kind_of(done), PeerKind.TIMEOUT)

    def test_bytes_on_their_way_to_a_sum_are_a_sign_of_life_now_and_then(self) -> None:
        self.start()
        for number in range(20):
            self.clock.advance(0.1)
            self.comes(self.encoder.data(NOISE[number * 100 : number * 100 + 100]))
        self.assertTrue(2 <= len(self.given) <= 4, self.given)
        self.assertEqual(self.received(), b"")

    def test_a_wrong_sum_is_corrupt_and_garbage_is_wrong(self) -> None:
        broken = bytearray(b"".join(self.encoder.data(NOISE)))
        broken[100] ^= 1
        for raw, kind in ((bytes(broken), PeerKind.CORRUPT), (b"<html>", PeerKind.WRONG)):
            self.setUp()
            done = self.start()
            self.comes([raw])
            self.assertEqual(self.kind_of(done), kind)
            self.assertEqual((self.reply.aborted, self.received()), (1, b""))

    def test_a_sender_that_breaks_off_is_not_to_blame(self) -> None:
        done = self.start()
        self.comes(self.encoder.data(NOISE[:9]) + self.encoder.sum())
        self.comes(self.encoder.fail(UpstreamKind.TIMEOUT, "upstream is silent"))
        failure = self.failureResultOf(done, PeerFailure)
        self.assertIn("upstream is silent", str(failure.value))
        self.assertEqual(self.blamed, [(PeerKind.ERROR, False)])
        self.assertEqual(self.received(), NOISE[:9])

    def test_nothing_is_given_while_it_is_paused(self) -> None:
        done = self.start()
        self.body.pause()
        self.assertTrue(self.reply.transport.paused)
        self.comes(self.encoder.data(NOISE) + self.encoder.end())
        self.ends()
        self.clock.advance(60)
        self.assertEqual(self.given, [])
        self.assertNoResult(done)
        self.body.resume()
        self.assertEqual(self.received(), NOISE)
        self.successResultOf(done)

    def test_a_sink_may_pause_at_every_piece(self) -> None:
        def take(piece: bytes) -> None:
            self.given.append(piece)
            self.body.pause()

        done = self.body.deliver(take)
        for at in range(0, 2 * MIB, MIB // 4):
            self.comes(self.encoder.data(NOISE[at : at + MIB // 4]))
        self.comes(self.encoder.end())
        self.ends()
        for count in range(1, 3):
            self.assertEqual(len(self.given), count)
            self.assertNoResult(done)
            self.body.resume()
        while not done.called:
            self.body.resume()
        self.assertEqual(self.received(), NOISE)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_sink_may_pause_and_resume_at_once(self) -> None:
        def take(piece: bytes) -> None:
            self.given.append(piece)
            self.body.pause()
            self.body.resume()

        done = self.body.deliver(take)
        self.comes(self.encoder.data(NOISE) + self.encoder.end())
        self.ends()
        self.successResultOf(done)
        self.assertEqual(self.received(), NOISE)
        self.assertFalse(self.reply.transport.paused)

    def test_a_sink_may_stop_in_the_middle(self) -> None:
        def take(piece: bytes) -> None:
            self.given.append(piece)
            self.body.stop()

        done = self.body.deliver(take)
        self.comes(self.encoder.data(NOISE) + self.encoder.end())
        self.failureResultOf(done, CancelledError)
        self.assertEqual((len(self.given), self.reply.aborted, len(self.over)), (1, 1, 1))

    def test_cancelling_closes_the_connection(self) -> None:
        done = self.start()
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertEqual((self.reply.aborted, self.over, self.blamed), (1, [0], []))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_process_that_was_frozen_blames_nobody(self) -> None:
        done = self.start()
        self.clock.advance(300)
        self.assertNoResult(done)
        self.comes(self.encoder.data(NOISE) + self.encoder.end())
        self.ends()
        self.successResultOf(done)
        self.assertEqual(self.blamed, [])
