"""Every way in which a peer can fail a question: what is made of it, and who is put aside."""

from __future__ import annotations

from typing import ClassVar

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from nodecache.byteranges import Span
from nodecache.events import PeerAsked, PeerBytes, PeerFailed, PeerHealth, PeersOff
from nodecache.failures import PeerFailure, PeerKind
from nodecache.limits import MIB, Timeouts
from nodecache.membership import Address, Peer
from nodecache.peers import PeerBody
from nodecache.peerwire import signing
from nodecache.peerwire.answers import Absent, Elsewhere, Fetching
from nodecache.watching import Watch
from tests.fakes_peer_lies import OTHER_SECRET
from tests.peers_kit import BLOB, PeersCase, question, reactor, until

#: For lies that are found out by waiting.
QUICK = {"peer_silence": 0.25, "peer_alive": 0.05, "silence": 0.5}


class LiesTests(PeersCase):
    #: Lies about any answer, and what they are found to be.
    ABOUT_ALL: ClassVar = {
        "silent": PeerKind.TIMEOUT,
        "stall-in-headers": PeerKind.TIMEOUT,
        "hang-up": PeerKind.CUT,
        "500": PeerKind.ERROR,
        "signed-500": PeerKind.ERROR,
        "html": PeerKind.WRONG,
        "endless-html": PeerKind.WRONG,
        "redirect": PeerKind.WRONG,
        "not-http": PeerKind.WRONG,
        "unsigned": PeerKind.STRANGER,
        "other-secret": PeerKind.STRANGER,
        "unknown-secret": PeerKind.STRANGER,
        "version": PeerKind.VERSION,
        "wrong-id": PeerKind.WRONG,
        "huge-headers": PeerKind.WRONG,
        "nonsense": PeerKind.WRONG,
    }

    #: Lies about the bytes of a blob.
    ABOUT_BYTES: ClassVar = {
        "stall": PeerKind.TIMEOUT,
        "cut": PeerKind.CUT,
        "wrong-length": PeerKind.WRONG,
        "too-long": PeerKind.WRONG,
        "wrong-sum": PeerKind.CORRUPT,
        "endless-alive": PeerKind.TIMEOUT,
    }

    async def found_out(self, lie: str, kind: PeerKind) -> None:
        liar = self.start_liar(lie)
        self.peers = self.start_peers(**QUICK if kind is PeerKind.TIMEOUT else {})
        self.peer = Peer(lie, (liar.address,))
        self.meet(self.peer)
        liar.lie(lie, what="blob")
        failure = await self.failure()
        self.assertEqual((failure.problem, failure.peer), (kind, lie), failure.message)
        (told,) = [event for event in self.told(PeerFailed) if event.peer == lie]
        self.assertEqual((told.kind, told.what), (kind.value, "blob"))
        self.assertGreater(told.pause_seconds, 0)
        self.assertNotIn(lie, self.asked_ids())
        await liar.stop()

    async def test_a_lie_about_the_answer_is_found_and_its_teller_put_aside(self) -> None:
        for lie, kind in self.ABOUT_ALL.items():
            await self.found_out(lie, kind)
            (asked,) = [event for event in self.told(PeerAsked) if event.peer == lie]
            self.assertEqual(asked.outcome, kind.value)

    async def test_a_lie_about_the_bytes_is_found_and_its_teller_put_aside(self) -> None:
        for lie, kind in self.ABOUT_BYTES.items():
            await self.found_out(lie, kind)
            (asked,) = [event for event in self.told(PeerAsked) if event.peer == lie]
            self.assertEqual(asked.outcome, "hit")

    async def test_a_peer_that_refuses_connections_is_refused(self) -> None:
        await self.liar.stop()
        self.assertEqual((await self.failure()).problem, PeerKind.REFUSED)
        self.assertNotIn("liar", self.asked_ids())

    async def test_a_wrong_total_is_wrong_when_the_size_is_known(self) -> None:
        self.liar.lie("wrong-total")
        failure = await self.failure(question(size=len(BLOB)))
        self.assertEqual(failure.problem, PeerKind.WRONG)

    async def test_wrong_bytes_with_right_sums_are_for_the_digest_to_find(self) -> None:
        self.liar.lie("wrong-bytes")
        self.assertNotEqual(await self.read(), BLOB)
        self.assertEqual(self.asked_ids(), ["liar"])

    async def test_no_byte_of_a_block_that_is_wrong_is_given_on(self) -> None:
        self.liar.lie("wrong-sum")
        given: list[bytes] = []
        body = await self.body()
        await self.assertFailure(body.deliver(given.append), PeerFailure)
        self.assertEqual(b"".join(given), b"")

    async def test_the_blocks_before_a_cut_are_given_on(self) -> None:
        self.liar.lie("cut")
        given: list[bytes] = []
        body = await self.body()
        await self.assertFailure(body.deliver(given.append), PeerFailure)
        self.assertEqual(b"".join(given), BLOB[:MIB])
        (told,) = self.told(PeerBytes)
        self.assertEqual((told.bytes, told.role, told.direction), (MIB, "owner", "in"))

    async def test_a_sender_that_says_why_it_breaks_off_is_not_put_aside(self) -> None:
        self.liar.lie("fail")
        failure = await self.failure()
        self.assertEqual(failure.problem, PeerKind.ERROR)
        self.assertIn("upstream cut it off", failure.message)
        self.assertEqual(self.asked_ids(), ["liar"])
        (told,) = self.told(PeerFailed)
        self.assertEqual(told.pause_seconds, 0)

    async def test_an_old_answer_shown_again_is_a_strangers(self) -> None:
        await self.read()
        self.liar.lie("replay")
        self.assertEqual((await self.failure()).problem, PeerKind.STRANGER)

    async def test_refusals_are_successes_of_the_peer(self) -> None:
        for lie, answer, outcome in (
            ("fetching", Fetching(0.05), "fetching"),
            ("absent", Absent(), "absent"),
            ("elsewhere", Elsewhere(0.05), "referral"),
        ):
            self.liar.be_honest()
            self.liar.lie(lie)
            self.assertEqual(await self.peers.blob(self.peer, question()), answer)
            self.assertEqual(self.told(PeerAsked)[-1].outcome, outcome)
        self.assertEqual(self.asked_ids(), ["liar"])
        self.assertEqual(self.told(PeerFailed), [])

    async def test_a_peer_that_is_leaving_is_not_asked_again(self) -> None:
        self.liar.lie("leaving")
        answer = await self.peers.blob(self.peer, question())
        self.assertEqual(answer, Elsewhere(0.05, leaving=True))
        self.assertEqual(self.asked_ids(), [])
        self.assertEqual(self.told(PeerHealth), [])

    async def test_a_peer_that_comes_back_is_told_of(self) -> None:
        self.liar.lie("500", times=1)
        await self.failure()
        self.peers.view()
        (down,) = self.told(PeerHealth)
        self.assertEqual((down.peer, down.up), ("liar", False))
        hello = await self.peers.hello(self.liar.address)
        later = reactor.seconds() + self.timeouts.peer_pause_first + 1
        self.membership.greeted(self.liar.address, hello, later, answered=True)
        self.assertEqual(self.asked_ids(), ["liar"])
        self.assertEqual(self.told(PeerHealth)[-1].up, True)

    async def test_an_address_that_failed_is_over_once_it_has_a_name(self) -> None:
        """As on a start of all nodes at once: who is not up yet is known by its address."""
        self.peers = self.start_peers()
        address, now = self.liar.address, reactor.seconds()
        self.membership.resolved([address], now)
        self.membership.unanswered(address, PeerKind.REFUSED, now)
        self.assertEqual(self.asked_ids(), [])
        (aside,) = self.told(PeerHealth)
        self.assertEqual((aside.peer, aside.up, aside.gone), (str(address), False, False))
        hello = await self.peers.hello(address)
        self.membership.greeted(address, hello, now + 1, answered=True)
        self.assertEqual(self.asked_ids(), ["liar"])
        _, gone = self.told(PeerHealth)
        self.assertEqual((gone.peer, gone.gone), (str(address), True))
        self.assertEqual(gone.reason, "it is known as liar now")
        watch = Watch([])
        for event in self.events:
            watch.observe(event, now)
        problems = [(seen.problem, seen.over) for seen in watch.troubles.seen(now)]
        self.assertIn((f"peer {address} is left alone for now: refused", True), problems)
        self.assertEqual([problem for problem, over in problems if not over], [])

    async def test_a_peer_that_failed_and_is_stopping_is_left_alone_no_more(self) -> None:
        self.liar.lie("500", times=1)
        await self.failure()
        self.peers.view()
        hello = attrs.evolve(await self.peers.hello(self.liar.address), leaving=True)
        later = reactor.seconds() + self.timeouts.peer_pause_first + 1
        self.membership.greeted(self.liar.address, hello, later, answered=True)
        self.assertEqual(self.asked_ids(), [])
        self.assertTrue(self.told(PeerHealth)[-1].gone)

    async def test_when_all_peers_fail_that_is_told_once(self) -> None:
        self.liar.lie("500")
        await self.failure()
        self.peers.view()
        await self.failure()
        self.assertEqual([event.off for event in self.told(PeersOff)], [True])
        self.assertEqual(self.asked_ids(), [])

    async def test_another_clusters_secret_makes_strangers_of_both(self) -> None:
        self.liar.secrets = [OTHER_SECRET]
        self.assertEqual((await self.failure()).problem, PeerKind.STRANGER)
        self.assertEqual(self.liar.heard[-1].verdict, signing.BadSignature())

    async def test_a_slow_peer_that_makes_progress_is_not_silent(self) -> None:
        self.peers = self.start_peers(peer_silence=1.0, peer_alive=0.05)
        self.meet(self.peer)
        self.liar.lie("drip")
        given: list[bytes] = []
        body = await self.body()
        await body.deliver(given.append)
        self.assertEqual(b"".join(given), BLOB)
        # Bytes come, says the body, while a block is not whole.
        self.assertIn(b"", given)


class AddressesTests(PeersCase):
    """A peer with several addresses, of which some are dead."""

    timeouts = Timeouts(peer_connect=1.0)

    async def closed_port(self) -> Address:
        liar = self.start_liar("dead")
        address = liar.address
        await liar.stop()
        return address

    async def test_the_next_address_is_tried_when_one_refuses(self) -> None:
        dead = await self.closed_port()
        self.peer = Peer("liar", (dead, self.liar.address))
        self.assertEqual(await self.read(), BLOB)
        self.assertEqual(self.told(PeerFailed), [])

    async def test_the_next_address_is_tried_beside_one_that_is_silent(self) -> None:
        # Nothing comes back from a network that is set aside for documentation.
        self.peer = Peer("liar", (Address("192.0.2.1", 9), self.liar.address))
        self.assertEqual(await self.read(), BLOB)

    async def test_addresses_of_both_families_are_dialled(self) -> None:
        liar = self.start_liar("six", interface="::1")
        self.peer = Peer("six", (liar.address,))
        self.assertEqual(await self.read(), BLOB)

    async def test_when_no_address_answers_it_is_refused_in_time(self) -> None:
        self.peer = Peer("liar", (Address("192.0.2.1", 9), Address("192.0.2.2", 9)))
        self.assertEqual((await self.failure()).problem, PeerKind.REFUSED)


class LeavingTests(PeersCase):
    """The asker goes away, or stops."""

    async def test_a_question_can_be_cancelled_before_its_answer(self) -> None:
        self.liar.lie("silent")
        asking = Deferred.fromCoroutine(self.peers.blob(self.peer, question()))
        await until(lambda: self.liar.heard)
        asking.cancel()
        await self.assertFailure(asking, CancelledError)
        await until(lambda: not self.liar.connections)
        self.assertEqual((self.told(PeerFailed), self.told(PeerAsked)), ([], []))

    async def test_a_body_that_is_cancelled_closes_its_connection(self) -> None:
        self.liar.lie("stall")
        body = await self.body()
        delivering = body.deliver(lambda _: None)
        delivering.cancel()
        await self.assertFailure(delivering, CancelledError)
        await until(lambda: not self.liar.connections)
        self.assertEqual(self.told(PeerFailed), [])

    async def test_a_body_that_nobody_wants_is_stopped(self) -> None:
        body = await self.body()
        body.stop()
        body.stop()
        await until(lambda: not self.liar.connections)
        self.assertEqual([event.bytes for event in self.told(PeerBytes)], [0])

    async def test_closing_ends_what_is_under_way(self) -> None:
        self.liar.lie("stall", times=1)
        body = await self.body()
        delivering = body.deliver(lambda _: None)
        await self.peers.close()
        await self.assertFailure(delivering, CancelledError)
        self.assertEqual((await self.failure()).problem, PeerKind.REFUSED)


class LineTests(PeersCase):
    """More bodies are wanted than may come at a time."""

    def setUp(self) -> None:
        self.limits = self.limits.__class__(peer_connections_per_node=2)
        super().setUp()

    async def test_who_asks_for_too_many_bodies_waits(self) -> None:
        self.liar.lie("stall", times=2)
        held = [await self.body(), await self.body()]
        waiting = Deferred.fromCoroutine(self.body(question(Span(0, 5))))
        given_up = Deferred.fromCoroutine(self.body(question(Span(0, 6))))
        given_up.cancel()
        await self.assertFailure(given_up, CancelledError)
        await deferLater(reactor, 0.01)
        self.assertEqual(len(self.liar.heard), 2)
        held[0].stop()
        body = await waiting
        self.assertIsInstance(body, PeerBody)
        body.stop()
        held[1].stop()

    async def test_a_refusal_or_a_failure_takes_no_place(self) -> None:
        self.liar.lie("absent", times=5)
        for _ in range(5):
            await self.peers.blob(self.peer, question())
        self.liar.lie("500", times=5)
        for _ in range(5):
            await self.failure()
        self.assertEqual(await self.read(), BLOB)
