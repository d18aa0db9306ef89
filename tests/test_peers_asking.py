"""Questions to an honest peer: what they are signed with, over which connections, and when."""

from __future__ import annotations

import itertools
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase

from nodecache.byteranges import Span
from nodecache.events import PeerAsked, PeerFailed
from nodecache.failures import PeerFailure, PeerKind
from nodecache.limits import SEGMENT
from nodecache.membership import Address, Peer
from nodecache.peers.readiness import Readiness
from nodecache.peerwire import codec, signing
from nodecache.peerwire.answers import Absent, Bytes, Manifest
from nodecache.peerwire.hello import Known
from nodecache.peerwire.questions import ManifestQuestion, Mode
from nodecache.peerwire.wishes import Fulfilment, Stage, Wish
from nodecache.reference import Reference, Tag
from tests.fakes_http import Gate
from tests.fakes_peer import SECRET, digest_of
from tests.peers_kit import ALPINE, BLOB, DIGEST, ME, PeersCase, question, reactor, until

BODY = b'{"schemaVersion": 2}'
IMAGE = Manifest(
    digest_of(BODY), "application/vnd.oci.image.manifest.v1+json", len(BODY), 3.5, BODY
)
NEXT = b"the next secret of it"


class QuestionTests(PeersCase):
    def ask_manifest(self, reference: Reference, *, head: bool = False) -> Deferred[Any]:
        asked = ManifestQuestion(ALPINE, reference, Mode.MAY_FETCH, 5.0, head)
        return Deferred.fromCoroutine(self.peers.manifest(self.peer, asked))

    async def test_a_span_comes_checked_over_one_connection_for_all(self) -> None:
        self.assertEqual(await self.read(), BLOB)
        self.assertEqual(await self.read(question(Span(5, 2_000_000))), BLOB[5:2_000_000])
        self.assertEqual(await self.read(question(Span(len(BLOB) - 1, SEGMENT))), BLOB[-1:])
        self.assertEqual(self.liar.accepted, 1)
        outcomes = [(event.what, event.mode, event.outcome) for event in self.told(PeerAsked)]
        self.assertEqual(outcomes, [("blob", "may-fetch", "hit")] * 3)

    async def test_what_is_asked_arrives_as_it_was_meant(self) -> None:
        asked = question(Span(5, 9), mode=Mode.ONLY_IF_HAVE, size=len(BLOB), verified=True)
        await self.read(asked)
        (heard,) = self.liar.heard
        read = codec.decode_blob(heard.target, heard.headers["range"])
        self.assertLessEqual(read.seconds, asked.seconds)
        self.assertEqual((read.span, read.mode, read.size), (asked.span, asked.mode, asked.size))
        self.assertTrue(read.verified)
        self.assertIsInstance(heard.verdict, signing.Accepted)
        self.assertNotIn(SECRET.decode(), repr(heard))

    async def test_an_empty_blob_has_no_bytes(self) -> None:
        empty = digest_of(b"")
        self.liar.blobs[empty] = b""
        self.assertEqual(await self.read(attrs.evolve(question(), digest=empty)), b"")

    async def test_whether_it_has_a_blob_moves_no_bytes(self) -> None:
        answer = await self.peers.has_blob(self.peer, question())
        self.assertEqual(answer, Bytes(len(BLOB), ranged=True))
        self.liar.blobs.clear()
        self.assertEqual(await self.peers.has_blob(self.peer, question()), Absent())
        self.assertEqual([heard.method for heard in self.liar.heard], ["HEAD", "HEAD"])
        self.assertEqual(self.liar.accepted, 1)

    async def test_a_manifest_comes_by_tag_and_by_digest(self) -> None:
        self.liar.manifests = {str(IMAGE.digest): IMAGE, f"{ALPINE}:3": IMAGE}
        self.assertEqual(await self.ask_manifest(Tag("3")), IMAGE)
        self.assertEqual(await self.ask_manifest(IMAGE.digest), IMAGE)
        head = await self.ask_manifest(Tag("3"), head=True)
        self.assertEqual((head.body, head.digest, head.age), (None, IMAGE.digest, 3.5))
        self.assertEqual(await self.ask_manifest(Tag("4")), Absent())
        whats = [(event.what, event.outcome) for event in self.told(PeerAsked)]
        self.assertEqual(
            whats, [("tag", "hit"), ("manifest", "hit"), ("tag", "hit"), ("tag", "absent")]
        )
        self.assertEqual(
            [event.head for event in self.told(PeerAsked)], [False, False, True, False]
        )

    async def test_a_manifest_that_is_not_that_of_its_digest_is_corrupt(self) -> None:
        other = Manifest(digest_of(b"x"), IMAGE.media_type, len(BODY), None, BODY)
        self.liar.manifests = {str(other.digest): other, str(IMAGE.digest): other}
        for reference in (other.digest, IMAGE.digest):
            failure = await self.assertFailure(self.ask_manifest(reference), PeerFailure)
            self.assertEqual(failure.problem, PeerKind.CORRUPT)
        self.assertEqual(self.asked_ids(), [])

    async def test_a_hello_is_answered_and_keeps_no_connection(self) -> None:
        other = Address("10.0.0.9", 5001)
        self.liar.known = [Known("three", other, "a", 2.0)]
        hello = await self.peers.hello(self.liar.address)
        self.assertEqual((hello.id, hello.known), ("liar", tuple(self.liar.known)))
        (heard,) = self.liar.heard
        self.assertEqual(codec.decode_hello(heard.body).id, ME)
        self.assertEqual(heard.headers["nodecache-to"], str(self.liar.address))
        await until(lambda: not self.liar.connections)

    async def test_a_hello_that_fails_is_for_its_caller_to_hold_against_somebody(self) -> None:
        for lie, kind in (("html", PeerKind.WRONG), ("unknown-secret", PeerKind.STRANGER)):
            self.liar.be_honest()
            self.liar.lie(lie)
            hailing: Deferred[Any] = Deferred.fromCoroutine(self.peers.hello(self.liar.address))
            failure = await self.assertFailure(hailing, PeerFailure)
            self.assertEqual((failure.problem, failure.peer), (kind, str(self.liar.address)))
        self.assertEqual(self.asked_ids(), ["liar"])

    async def test_suspicions_wishes_and_status(self) -> None:
        sums = {0: (1, 2), 7: (2**32 - 1,)}
        await self.peers.suspect(self.peer, DIGEST, sums)
        self.assertEqual(self.liar.suspected, [(DIGEST, sums)])
        self.liar.fulfilment = Fulfilment(Stage.FAILED, 1, 2, "no such image")
        told = await self.peers.warm(self.peer, Wish(ALPINE, Tag("3")))
        self.assertEqual(told, self.liar.fulfilment)
        self.assertEqual(self.liar.warmed, ["docker.io/library/alpine/3"])
        self.assertEqual(await self.peers.status(self.peer), {"is": "status"})

    async def test_a_peer_known_by_its_address_only_may_have_any_id(self) -> None:
        self.peer = Peer(str(self.liar.address), (self.liar.address,))
        self.assertEqual(await self.read(), BLOB)


class TimeTests(PeersCase):
    """Clocks that differ, connections that died, secrets that change."""

    async def test_a_peer_whose_clock_is_off_is_asked_by_its_own_time(self) -> None:
        for off in (3600.0, -3600.0):
            liar = self.start_liar("off", clock_off=off)
            self.peer = Peer("off", (liar.address,))
            self.assertEqual(await self.read(), BLOB)
            self.assertEqual(len(liar.heard), 2)
            await self.read()
            self.assertEqual(len(liar.heard), 3)
            await liar.stop()
        self.assertEqual(self.told(PeerFailed), [])

    async def test_our_own_clock_may_jump(self) -> None:
        await self.read()
        self.clock_off = -90_000.0
        await self.read()
        self.assertEqual(self.told(PeerFailed), [])

    async def test_a_time_that_is_ours_is_no_excuse(self) -> None:
        self.secrets.accepted = (NEXT,)
        self.assertEqual((await self.failure()).problem, PeerKind.STRANGER)
        self.assertEqual(len(self.liar.heard), 1)

    async def test_a_peer_that_names_one_time_after_the_other_is_a_stranger(self) -> None:
        self.liar.secrets = [NEXT]
        self.liar.clock_off = 3600
        self.assertEqual((await self.failure()).problem, PeerKind.STRANGER)
        self.assertEqual(len(self.liar.heard), 2)

    async def test_a_rotation_in_three_steps_splits_nobody(self) -> None:
        steps = ((SECRET,), (SECRET, NEXT), (NEXT, SECRET), (NEXT,))
        for before, after in itertools.pairwise(steps):
            for ours, theirs in ((after, before), (before, after), (after, after)):
                self.secrets.accepted = ours
                self.liar.secrets = list(theirs)
                self.assertEqual(await self.read(), BLOB)
        self.assertEqual(self.told(PeerFailed), [])

    async def test_a_kept_connection_that_died_is_replaced_and_the_question_signed_anew(
        self,
    ) -> None:
        await self.read()
        (connection,) = self.liar.connections
        # It takes the question, and dies before it answers.
        self.liar.change(lambda plan: attrs.evolve(plan, raw=b""), times=1)
        self.assertEqual(await self.read(), BLOB)
        self.assertNotIn(connection, self.liar.connections)
        first, second = self.liar.heard[1:]
        self.assertIsInstance(first.verdict, signing.Accepted)
        self.assertIsInstance(second.verdict, signing.Accepted)
        self.assertEqual(self.told(PeerFailed), [])

    async def test_a_peer_that_was_restarted_is_asked_again_at_once(self) -> None:
        await self.read()
        port = self.liar.address.port
        await self.liar.stop()
        liar = self.start_liar("elsewhere")
        await liar.stop()
        self.liar.listen(reactor, port)
        self.assertEqual(await self.read(), BLOB)
        self.assertEqual(self.told(PeerFailed), [])

    async def test_a_shorter_silence_can_be_asked_for(self) -> None:
        self.liar.lie("silent")
        asking: Deferred[Any] = Deferred.fromCoroutine(self.peers.blob(self.peer, question(), 0.05))
        failure = await self.assertFailure(asking, PeerFailure)
        self.assertIn("0.05 s", failure.message)

    async def test_an_answer_that_is_held_back_is_waited_for(self) -> None:
        gate = Gate()
        self.liar.change(lambda plan: attrs.evolve(plan, hold=gate), times=1)
        reading = Deferred.fromCoroutine(self.read())
        await until(lambda: gate.waiting)
        await deferLater(reactor, 0)
        self.assertFalse(reading.called)
        gate.open()
        self.assertEqual(await reading, BLOB)

    async def test_a_process_that_was_frozen_asks_again_and_blames_nobody(self) -> None:
        self.freezing()
        self.liar.lie("silent", times=1)
        reading = Deferred.fromCoroutine(self.read())
        await until(lambda: self.liar.heard)
        self.reactor.thaw()
        self.assertEqual(await reading, BLOB)
        self.assertEqual((len(self.liar.heard), self.told(PeerFailed)), (2, []))

    async def test_one_that_freezes_again_and_again_gives_up_and_blames_nobody(self) -> None:
        self.freezing()
        self.liar.lie("silent")
        reading: Deferred[Any] = Deferred.fromCoroutine(self.read())
        await until(lambda: len(self.liar.heard) == 1)
        self.reactor.thaw()
        await until(lambda: len(self.liar.heard) == 2)
        self.reactor.thaw()
        failure = await self.assertFailure(reading, PeerFailure)
        self.assertEqual(failure.problem, PeerKind.TIMEOUT)
        self.assertEqual([event.pause_seconds for event in self.told(PeerFailed)], [0.0])
        self.assertEqual(self.asked_ids(), ["liar"])

    def freezing(self) -> None:
        """``self.peers`` are of a process that can be frozen."""
        self.reactor = Freezing()
        self.peers = self.start_peers(self.reactor)
        self.meet(self.peer)


class Freezing:
    """The reactor, whose clock can jump."""

    def __init__(self) -> None:
        self.jumped = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)

    def seconds(self) -> float:
        return float(reactor.seconds()) + self.jumped

    def thaw(self) -> None:
        """Ten seconds are gone, and the timer of the question goes off."""
        timers = [call for call in reactor.getDelayedCalls() if "_Patience" in str(call.func)]
        (timer,) = [call for call in timers if call.active()]
        self.jumped += 10
        timer.func()


class ReadinessTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.readiness = Readiness(self.clock, 1.0)

    def wait(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.readiness.wait())

    def test_who_waits_goes_on_once_it_is_so(self) -> None:
        waits = [self.wait(), self.wait()]
        waits[0].cancel()
        self.failureResultOf(waits[0])
        self.assertNoResult(waits[1])
        self.readiness.reach()
        self.readiness.reach()
        self.successResultOf(waits[1])
        self.successResultOf(self.wait())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nobody_waits_for_long(self) -> None:
        self.clock.advance(0.6)
        wait = self.wait()
        self.clock.advance(0.3)
        self.assertNoResult(wait)
        self.clock.advance(0.2)
        self.successResultOf(wait)
        self.successResultOf(self.wait())
