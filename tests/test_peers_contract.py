"""What who asks and who answers rely on in each other: the peer of the tests and the real port."""

from __future__ import annotations

import time
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from nodecache.admission import Admission
from nodecache.byteranges import Span
from nodecache.events import PeerFailed
from nodecache.failures import PeerFailure, PeerKind
from nodecache.limits import MIB, SEGMENT, Limits
from nodecache.membership import Address, Peer
from nodecache.membership.membership import Membership
from nodecache.peerwire.answers import Absent, Bytes, Manifest
from nodecache.peerwire.questions import ManifestQuestion, Mode
from nodecache.peerwire.wishes import Fulfilment, Stage, Wish
from nodecache.reference import Reference, Tag
from nodecache.web import PeerSite
from tests.fakes_disk import InlinePool
from tests.fakes_peer import SECRET, digest_of
from tests.fakes_peer_lies import OTHER_SECRET
from tests.fakes_peer_registry import FakePeerRegistry
from tests.fakes_registry import FakeBlob
from tests.peers_kit import ALPINE, BLOB, DIGEST, Listed, PeersCase, question, reactor, until

BODY = b'{"schemaVersion": 2}'
TYPE = "application/vnd.oci.image.manifest.v1+json"
IMAGE = Manifest(digest_of(BODY), TYPE, len(BODY), 3.5, BODY)


class PeerContract:
    """Mixed into a case whose ``self.peer`` has ``BLOB``, ``IMAGE``, and the tag 3 of it."""

    read: Any
    failure: Any
    peers: Any
    peer: Peer
    secrets: Listed
    clock_off: float
    told: Any
    assertEqual: Any
    assertTrue: Any
    assertFailure: Any

    async def ask(self, reference: Reference, *, head: bool = False) -> Any:
        asked = ManifestQuestion(ALPINE, reference, Mode.MAY_FETCH, 5.0, head)
        return await self.peers.manifest(self.peer, asked)

    async def test_any_span_of_a_blob_comes_checked(self) -> None:
        for span in (
            Span(0, SEGMENT),
            Span(0, 1),
            Span(MIB - 1, MIB + 1),
            Span(MIB, 2 * MIB),
            Span(2 * MIB, SEGMENT),
            Span(len(BLOB) - 1, len(BLOB)),
        ):
            got = await self.read(question(span, size=len(BLOB)))
            self.assertTrue(got == BLOB[span.start : span.stop], span)
        self.assertEqual(self.told(PeerFailed), [])

    async def test_many_ask_at_once(self) -> None:
        reading = [
            Deferred.fromCoroutine(self.read(question(Span(at * 100_000, SEGMENT))))
            for at in range(4)
        ]
        for at, each in enumerate(reading):
            self.assertTrue(await each == BLOB[at * 100_000 :])

    async def test_what_it_does_not_have_is_absent(self) -> None:
        asked = question(mode=Mode.ONLY_IF_HAVE)
        unknown = attrs.evolve(asked, digest=digest_of(b"unknown"))
        self.assertEqual(await self.peers.blob(self.peer, unknown), Absent())
        self.assertEqual(await self.peers.has_blob(self.peer, unknown), Absent())
        self.assertEqual(await self.ask(Tag("none")), Absent())

    async def test_whether_it_has_it_is_told_without_bytes(self) -> None:
        answer = await self.peers.has_blob(self.peer, question())
        self.assertEqual(answer, Bytes(len(BLOB), ranged=True))

    async def test_manifests_come_by_tag_and_digest(self) -> None:
        by_tag, by_digest = await self.ask(Tag("3")), await self.ask(IMAGE.digest)
        self.assertEqual((by_tag.body, by_digest.body), (BODY, BODY))
        head = await self.ask(Tag("3"), head=True)
        self.assertEqual((head.digest, head.body, head.age), (IMAGE.digest, None, 3.5))

    async def test_they_greet_each_other(self) -> None:
        hello = await self.peers.hello(self.peer.addresses[0])
        self.assertEqual((hello.id, hello.wire), (self.peer.id, "1"))

    async def test_small_talk(self) -> None:
        await self.peers.suspect(self.peer, DIGEST, {0: (1, 2, 3)})
        told = await self.peers.warm(self.peer, Wish(ALPINE, Tag("3"), job="1"))
        self.assertEqual(told, Fulfilment(Stage.DONE))
        self.assertTrue(isinstance(await self.peers.status(self.peer), dict))

    async def test_strangers_are_told_apart(self) -> None:
        self.secrets.accepted = (OTHER_SECRET,)
        self.assertEqual((await self.failure()).problem, PeerKind.STRANGER)

    async def test_a_clock_that_is_off_is_allowed_for(self) -> None:
        for off in (-4000.0, 4000.0):
            self.clock_off = off
            self.assertTrue(await self.read() == BLOB)
        self.assertEqual(self.told(PeerFailed), [])

    async def test_a_question_for_another_node_is_not_answered(self) -> None:
        self.peer = Peer("another", self.peer.addresses)
        failure = await self.failure()
        self.assertEqual(failure.problem, PeerKind.WRONG)
        self.assertTrue("another node" in failure.message, failure.message)

    async def test_a_body_that_is_given_up_leaves_nothing_behind(self) -> None:
        body = await self.peers.blob(self.peer, question())
        reading = body.deliver(lambda _: body.pause())
        reading.cancel()
        await self.assertFailure(reading, Exception)
        self.assertTrue(await self.read() == BLOB)

    async def test_a_reader_that_pauses_gets_it_all_in_the_end(self) -> None:
        body = await self.peers.blob(self.peer, question())
        parts: list[bytes] = []

        def take(piece: bytes) -> None:
            parts.append(piece)
            body.pause()
            reactor.callLater(0.001, body.resume)

        await body.deliver(take)
        self.assertTrue(b"".join(parts) == BLOB)

    async def test_one_question_after_the_other(self) -> None:
        for _ in range(20):
            self.assertTrue(await self.read(question(Span(0, 9))) == BLOB[:9])
            await self.ask(Tag("3"))
        self.assertEqual(self.told(PeerFailed), [])


class LyingPeerWhenHonest(PeerContract, PeersCase):
    def setUp(self) -> None:
        super().setUp()
        self.liar.manifests = {str(IMAGE.digest): IMAGE, f"{ALPINE}:3": IMAGE}


class PeerSiteTests(PeerContract, PeersCase):
    def setUp(self) -> None:
        super().setUp()
        self.blob = FakeBlob.whole(BLOB)
        self.addCleanup(self.blob.close)
        self.registry = FakePeerRegistry()
        self.registry.add_blob(self.blob, BLOB)
        self.registry.manifests = {str(IMAGE.digest): IMAGE, "3": IMAGE}
        here = Peer("real", (Address("127.0.0.1", 2),))
        limits = Limits()
        self.site = PeerSite(
            self.registry,
            Admission(limits),
            Membership(here, self.timeouts, "0.0"),
            me="real",
            secrets=lambda: (SECRET,),
            clock=reactor,
            pool=InlinePool(),
            observe=lambda _: None,
            wall=time.time,
            timeouts=self.timeouts,
            limits=limits,
            status=lambda: {"is": "status"},
            warm=lambda *_: Fulfilment(Stage.DONE),
        )
        port = reactor.listenTCP(0, self.site, interface="127.0.0.1")
        self.addCleanup(lambda: Deferred.fromCoroutine(self.close_site(port)))
        where = port.getHost()
        self.peer = Peer("real", (Address(where.host, where.port),))
        self.meet(self.peer)

    async def close_site(self, port: Any) -> None:
        await port.stopListening()
        self.site.abort_all()
        await until(lambda: not self.site.channels)
        self.assertEqual(self.registry.open_loans, 0)

    async def test_a_sender_that_fails_says_why(self) -> None:
        self.registry.blobs[DIGEST] = Exception("a defect")
        failing = Deferred.fromCoroutine(self.peers.blob(self.peer, question()))
        failure = await self.assertFailure(failing, PeerFailure)
        self.assertEqual(failure.problem, PeerKind.ERROR)
        self.flushLoggedErrors()
