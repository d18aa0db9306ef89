"""The peers' own client before the real port, in what only the two together show."""

from __future__ import annotations

import time
from typing import Any

from twisted.internet.defer import Deferred

from nodecache.admission import Admission
from nodecache.byteranges import Span
from nodecache.events import PeerAnswered, PeerFailed
from nodecache.failures import PeerFailure, PeerKind, UpstreamFailure, UpstreamKind
from nodecache.limits import Limits, Timeouts
from nodecache.membership import Address, Membership, Peer
from nodecache.peers import PeerBody
from nodecache.peerwire.answers import Elsewhere, Fetching
from nodecache.peerwire.questions import Mode
from nodecache.web import PeerSite
from tests.fakes_disk import InlinePool
from tests.fakes_peer import SECRET
from tests.fakes_peer_registry import FakePeerRegistry
from tests.fakes_registry import FakeBlob
from tests.peers_kit import BLOB, PeersCase, question, reactor, until

HALF = len(BLOB) // 2


class TogetherTests(PeersCase):
    """Time is real here, so what is waited for is short."""

    timeouts = Timeouts(peer_alive=0.05, peer_patience=0.1)

    def setUp(self) -> None:
        super().setUp()
        self.registry = FakePeerRegistry()
        self.admission = Admission(Limits())
        self.members = Membership(Peer("real", ()), self.timeouts, "0.0")
        self.site = PeerSite(
            self.registry,
            self.admission,
            self.members,
            me="real",
            secrets=lambda: (SECRET,),
            clock=reactor,
            pool=InlinePool(),
            observe=self.events.append,
            wall=time.time,
            timeouts=self.timeouts,
            limits=Limits(),
            status=dict,
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
        self.assertEqual({loan.closed for loan in self.registry.loans} - {1}, set())

    def growing(self) -> FakeBlob:
        blob = FakeBlob(BLOB[:HALF], total=len(BLOB))
        self.addCleanup(blob.close)
        self.registry.add_blob(blob, BLOB)
        return blob

    async def test_bytes_that_come_slowly_are_waited_for_as_long_as_the_sender_lives(self) -> None:
        blob = self.growing()
        body = await self.body()
        parts: list[bytes] = []
        reading = body.deliver(parts.append)
        await until(lambda: sum(map(len, parts)) == HALF)
        # Signs of life, without bytes: they are nothing to those behind.
        await until(lambda: body._decoder.idle >= 3)
        self.assertNotIn(b"", parts)
        blob.append(BLOB[HALF:])
        await reading
        self.assertTrue(b"".join(parts) == BLOB)

    async def test_a_fetch_that_fails_at_the_sender_is_not_held_against_it(self) -> None:
        blob = self.growing()
        body = await self.body()
        reading: Deferred[Any] = body.deliver(lambda _piece: None)
        blob.fail(UpstreamFailure(UpstreamKind.ERROR, "upstream answers 500"))
        failure = await self.assertFailure(reading, PeerFailure)
        self.assertEqual(failure.problem, PeerKind.ERROR)
        self.assertIn("upstream answers 500", failure.message)
        self.assertIn("real", self.asked_ids())

    async def test_a_fetch_that_takes_long_is_asked_for_again(self) -> None:
        blob = FakeBlob.whole(BLOB)
        self.addCleanup(blob.close)
        self.registry.add_blob(blob, BLOB, here=False)
        fetched = self.registry.fetched = Deferred()
        answer = await self.peers.blob(self.peer, question(Span(0, HALF)))
        self.assertEqual(answer, Fetching(0.05))
        fetched.callback(None)
        body = await self.peers.blob(self.peer, question(Span(0, HALF)))
        assert isinstance(body, PeerBody)
        self.assertTrue(body.answer.fetched)
        await body.deliver(lambda _piece: None)
        self.assertEqual(len([asked for asked, _ in self.registry.asked if is_fetch(asked)]), 1)

    async def test_a_node_that_stops_is_not_asked_again_and_nobody_is_blamed(self) -> None:
        self.growing()
        self.site.leave()
        answer = await self.peers.blob(self.peer, question(mode=Mode.ONLY_IF_HAVE))
        assert isinstance(answer, Elsewhere)
        self.assertTrue(answer.leaving)
        self.assertNotIn("real", self.asked_ids())
        self.assertEqual(self.told(PeerFailed), [])

    async def test_a_crowd_is_served_or_referred_and_all_places_come_back(self) -> None:
        blob = FakeBlob.whole(BLOB)
        self.addCleanup(blob.close)
        self.registry.add_blob(blob, BLOB)
        served: list[bool] = []

        async def ask() -> None:
            answer = await self.peers.blob(self.peer, question())
            if isinstance(answer, PeerBody):
                await answer.deliver(lambda _piece: None)
            served.append(isinstance(answer, PeerBody))

        crowd = [Deferred.fromCoroutine(ask()) for _ in range(30)]
        for each in crowd:
            await each
        self.assertGreaterEqual(sum(served), 4)
        self.assertEqual(len(served), 30)
        await until(lambda: len(self.told(PeerAnswered)) == 30)
        self.assertEqual(self.site.held(), (0, 0, 0))


def is_fetch(asked: Any) -> bool:
    return bool(asked.mode is Mode.MAY_FETCH)
