"""Who gets leave when: the line, referrals, searches that outlast a question, and leaving."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred

from nodecache.byteranges import Span
from nodecache.deadline import Deadline
from nodecache.events import PeerAnswered, Unexpected
from nodecache.failures import UpstreamKind
from nodecache.limits import SEGMENT
from nodecache.peerwire.answers import (
    Absent,
    Denied,
    Elsewhere,
    Fetching,
    Refusal,
    UpstreamAbsent,
    UpstreamBroken,
)
from nodecache.peerwire.frames import Decoder
from nodecache.peerwire.questions import BlobQuestion, Mode
from nodecache.reference import Digest
from nodecache.web.peer_lending import MOST_KEPT, MOST_SEARCHES
from tests.fakes_registry import some_bytes
from tests.loopback import Client, turns, until
from tests.peer_case import PeerCase, payload, question

DATA = some_bytes(50_000)
SPAN = Span(0, len(DATA))


class LendingCase(PeerCase):
    def setUp(self) -> None:
        super().setUp()
        self.admission.places = self.admission.line = 1

    def held(self) -> Digest:
        """A blob of which the last byte has not come, so that whoever gets it keeps its place."""
        self.growth = self.blob(DATA[:-1], total=len(DATA))
        return self.peers.add_blob(self.growth, DATA)

    async def lent_to(self, digest: Digest, name: str) -> Client:
        client = await self.begin_asking(self.asking(question(digest, SPAN), node=name))
        await until(client.replies)
        return client

    async def waits(self, digest: Digest, name: str) -> Client:
        client = await self.begin_asking(self.asking(question(digest, SPAN), node=name))
        await until(lambda: self.site.held()[1])
        return client

    def taken(self) -> list[str]:
        """Who has a place now."""
        return [ticket.asker for ticket in self.admission.taken]


class RefusalTests(LendingCase):
    async def test_what_is_not_here_costs_no_place(self) -> None:
        digest = self.peers.add_blob(self.whole(DATA), DATA, here=False)
        self.assertEqual(await self.refusal(self.asking(question(digest, SPAN))), Absent())
        self.assertEqual(self.admission.asked, 0)
        (told,) = await self.answered()
        self.assertEqual((told.outcome, told.status), ("absent", 404))

    async def test_what_our_rules_deny_costs_no_place_either(self) -> None:
        digest = self.peers.add_blob(self.whole(DATA), DATA)
        self.peers.blobs[digest] = Denied("library/alpine is denied here")
        sent = self.asking(question(digest, SPAN, Mode.MAY_FETCH))
        self.assertEqual(await self.refusal(sent), self.peers.blobs[digest])
        self.assertEqual(self.admission.asked, 0)

    async def test_every_refusal_is_told_as_it_is(self) -> None:
        refusals: dict[Refusal, str] = {
            Absent(): "absent",
            Denied("no room"): "denied",
            UpstreamAbsent(UpstreamKind.NOT_FOUND, "no such blob", 404): "upstream_absent",
            UpstreamBroken(UpstreamKind.LIMITED, "429", 429, 12.5): "upstream_failed",
            UpstreamBroken(UpstreamKind.TIMEOUT, "silent"): "upstream_failed",
            Fetching(0.25): "fetching",
            Elsewhere(0.5): "referral",
        }
        digest = self.peers.add_blob(self.whole(DATA), DATA, here=False)
        for number, (refusal, outcome) in enumerate(refusals.items(), 1):
            self.peers.blobs[digest] = refusal
            sent = self.asking(question(digest, SPAN, Mode.MAY_FETCH))
            self.assertEqual(await self.refusal(sent), refusal)
            told = await self.answered(number)
            self.assertEqual(told[-1].outcome, outcome)


class LineTests(LendingCase):
    async def test_the_next_in_line_goes_when_one_is_done(self) -> None:
        digest = self.held()
        first = await self.lent_to(digest, "node-2")
        second = await self.waits(digest, "node-3")
        self.assertEqual(self.taken(), ["node-2"])
        self.growth.append(DATA[-1:])
        self.growth.finish()
        for client in (first, second):
            reply = await client.whole()
            self.assert_same(payload(Decoder(SPAN).feed(reply.body)), DATA)
        await self.answered(2)
        self.assertEqual(self.admission.completed, ["node-2", "node-3"])

    async def test_the_end_of_a_blob_is_not_kept_behind_whole_segments(self) -> None:
        data = some_bytes(SEGMENT + 100_000)
        digest = self.peers.add_blob(self.whole(data), data)
        for span in (Span(SEGMENT, len(data)), Span(SEGMENT + 50_000, len(data))):
            client = await self.begin_asking(self.asking(question(digest, span)))
            reply = await client.whole()
            self.assert_same(payload(Decoder(span).feed(reply.body)), data[span.start :])
        self.assertEqual(self.admission.urgent, [False, True])

    async def test_the_next_in_line_goes_when_one_leaves(self) -> None:
        digest = self.held()
        first = await self.lent_to(digest, "node-2")
        await self.waits(digest, "node-3")
        first.leave()
        await until(lambda: self.taken() == ["node-3"])

    async def test_one_that_leaves_the_line_gives_its_place_up(self) -> None:
        digest = self.held()
        await self.lent_to(digest, "node-2")
        second = await self.waits(digest, "node-3")
        second.leave()
        await until(lambda: not self.site.held()[1])
        self.assertEqual(self.peers.loans[1].closed, 1)
        (told,) = await self.answered()
        self.assertEqual((told.peer, told.outcome), ("node-3", "cut"))
        await self.waits(digest, "node-4")

    async def test_one_that_waits_too_long_is_referred_to_whoever_got_it(self) -> None:
        where = self.members.know("node-2")
        digest = self.held()
        await self.lent_to(digest, "node-2")
        second = await self.waits(digest, "node-3")
        self.clock.advance(self.timeouts.peer_silence / 2)
        reply = await second.whole()
        self.assertEqual(reply.header("Nodecache-Peers"), f"node-2={where}")
        self.assertEqual((reply.status, self.site.held()[1]), (503, 0))
        (told,) = await self.answered()
        self.assertEqual((told.peer, told.outcome), ("node-3", "referral"))

    async def test_when_the_line_is_full_one_is_referred_at_once(self) -> None:
        for name in ("node-2", "node-3", "node-4"):
            self.members.know(name)
        digest = self.held()
        await self.lent_to(digest, "node-2")
        await self.waits(digest, "node-3")
        answer = await self.refusal(self.asking(question(digest, SPAN), node="node-4"))
        self.assertEqual([name for name, _ in answer.peers], ["node-2"])
        self.assertFalse(answer.leaving)
        self.assertEqual([loan.closed for loan in self.peers.loans], [0, 0, 1])
        # Nobody is referred to itself, nor to one whose address is not known.
        del self.members.peers["node-2"]
        answer = await self.refusal(self.asking(question(digest, SPAN), node="node-5"))
        self.assertEqual([name for name, _ in answer.peers], ["node-4"])

    async def test_segments_have_lines_of_their_own(self) -> None:
        digest = self.held()
        await self.lent_to(digest, "node-2")
        other = question(digest, Span(SEGMENT, 2 * SEGMENT))
        await self.bytes_of(self.asking(other), other.span)

    async def test_a_zone_is_told_to_admission(self) -> None:
        self.members.know("node-2", "z")
        digest = self.peers.add_blob(self.whole(DATA), DATA)
        await self.bytes_of(self.asking(question(digest, SPAN)), SPAN)
        self.assertEqual(self.admission.zones, ["z"])


class FetchTests(LendingCase):
    def absent(self) -> Digest:
        self.peers.fetched = Deferred()
        return self.peers.add_blob(self.whole(DATA), DATA, here=False)

    def may(self, digest: Digest, **fields: Any) -> BlobQuestion:
        return question(digest, SPAN, Mode.MAY_FETCH, **fields)

    async def begin_fetch(self, digest: Digest, name: str = "node-2", **fields: Any) -> Client:
        before = len(self.peers.asked)
        client = await self.begin_asking(self.asking(self.may(digest, **fields), node=name))
        await until(lambda: len(self.peers.asked) == before + 2)
        return client

    async def impatient(self, digest: Digest) -> None:
        """Ask, and be told that it is being fetched."""
        client = await self.begin_fetch(digest)
        self.clock.advance(self.timeouts.peer_patience)
        reply = await client.whole()
        self.assertEqual((reply.status, reply.header("Nodecache-Retry")), (202, "50"))
        await until(lambda: not self.site.active)
        self.assertEqual(self.taken(), [])

    def fetched(self) -> None:
        assert self.peers.fetched is not None
        self.peers.fetched.callback(None)

    async def test_a_place_is_taken_before_a_fetch_is_begun(self) -> None:
        digest = self.absent()
        await self.begin_fetch(digest)
        self.assertEqual(self.taken(), ["node-2"])
        # The next one waits in line, and nothing is begun for it.
        await self.begin_asking(self.asking(self.may(digest), node="node-3"))
        await until(lambda: self.site.held()[1])
        self.assertEqual(
            [mode for mode in self.modes() if mode is Mode.MAY_FETCH], [Mode.MAY_FETCH]
        )

    def modes(self) -> list[Mode]:
        return [asked.mode for asked, _ in self.peers.asked]

    async def test_a_fetch_that_takes_long_is_answered_with_ask_again_and_goes_on(self) -> None:
        digest = self.absent()
        await self.impatient(digest)
        self.assertEqual(self.peers.cancelled, 0)
        (told,) = await self.answered()
        self.assertEqual((told.outcome, told.mode), ("fetching", "may-fetch"))
        self.fetched()
        await turns()
        # The next question takes what was found.
        answer, data = await self.bytes_of(self.asking(self.may(digest)), SPAN)
        self.assertTrue(answer.fetched)
        self.assert_same(data, DATA)
        self.assertEqual(self.modes(), [Mode.ONLY_IF_HAVE, Mode.MAY_FETCH])

    async def test_the_next_question_joins_the_fetch(self) -> None:
        digest = self.absent()
        await self.impatient(digest)
        sent = self.asking(self.may(digest, seconds=3.0))
        client = await self.begin_asking(sent)
        await until(self.taken)
        self.fetched()
        reply = await client.whole()
        self.assert_same(payload(Decoder(SPAN).feed(reply.body)), DATA)
        self.assertEqual(self.modes(), [Mode.ONLY_IF_HAVE, Mode.MAY_FETCH])

    async def test_a_peer_that_leaves_does_not_break_a_fetch_off(self) -> None:
        digest = self.absent()
        client = await self.begin_fetch(digest)
        client.leave()
        await self.answered()
        self.assertEqual((self.taken(), self.peers.cancelled), ([], 0))
        self.fetched()
        await turns()
        self.assertEqual((len(self.peers.loans), self.peers.open_loans), (1, 1))
        # Nobody comes for it: it is given back.
        self.clock.advance(2 * self.timeouts.peer_silence)
        self.assertEqual((self.peers.open_loans, self.site.held()), (0, (0, 0, 0)))

    async def test_what_fails_while_nobody_asks_is_kept_for_the_next_question(self) -> None:
        digest = self.absent()
        await self.impatient(digest)
        self.peers.blobs[digest] = refusal = UpstreamAbsent(UpstreamKind.NOT_FOUND, "gone", 404)
        self.fetched()
        self.assertEqual(await self.refusal(self.asking(self.may(digest))), refusal)
        self.assertEqual(self.modes(), [Mode.ONLY_IF_HAVE, Mode.MAY_FETCH])

    async def test_a_fetch_is_waited_for_no_longer_than_the_asker_has(self) -> None:
        digest = self.absent()
        client = await self.begin_fetch(digest, seconds=0.2)
        self.clock.advance(0.2)
        self.assertEqual((await client.whole()).status, 202)
        self.peers.fetched = None

    async def test_line_and_fetch_together_take_no_longer_than_patience(self) -> None:
        """Or the asker would take us for silent."""
        digest = self.absent()
        first = await self.begin_fetch(digest)
        second = await self.begin_asking(self.asking(self.may(digest), node="node-3"))
        await until(lambda: self.site.held()[1])
        self.clock.advance(self.timeouts.peer_silence / 2 - 0.01)
        first.leave()
        await until(lambda: self.taken() == ["node-3"])
        self.clock.advance(self.timeouts.peer_patience - self.timeouts.peer_silence / 2 + 0.01)
        self.assertEqual((await second.whole()).status, 202)

    async def test_two_askers_have_a_loan_each(self) -> None:
        self.admission.places = 2
        digest = self.absent()
        clients = [await self.begin_fetch(digest, name) for name in ("node-2", "node-3")]
        self.fetched()
        for client in clients:
            reply = await client.whole()
            self.assert_same(payload(Decoder(SPAN).feed(reply.body)), DATA)
        self.assertEqual(len(self.peers.loans), 2)

    async def test_one_that_asks_twice_at_once_has_a_loan_for_each(self) -> None:
        self.admission.places = 2
        digest = self.absent()
        first = await self.begin_fetch(digest)
        second = await self.begin_asking(self.asking(self.may(digest)))
        await until(lambda: len(self.taken()) == 2)
        self.fetched()
        for client in (first, second):
            reply = await client.whole()
            self.assert_same(payload(Decoder(SPAN).feed(reply.body)), DATA)

    async def test_searches_have_a_bound(self) -> None:
        digest = self.absent()
        searches = self.site._lending._searches._searches
        for number in range(MOST_SEARCHES):
            searches[number] = None
        answer = await self.refusal(self.asking(self.may(digest)))
        self.assertIsInstance(answer, Elsewhere)
        self.assertEqual(self.peers.asked, [])
        searches.clear()

    async def test_a_look_at_our_own_disk_that_takes_long_is_no_fetch(self) -> None:
        digest = self.absent()
        hold: Deferred[None] = Deferred()

        async def slow(*_args: Any) -> Any:
            await hold
            return Absent()

        self.peers.peer_blob = slow  # type: ignore[assignment,method-assign]
        client = await self.begin_asking(self.asking(question(digest, SPAN)))
        await until(lambda: self.site.held()[2])
        self.clock.advance(self.timeouts.peer_patience)
        self.assertEqual((await client.whole()).status, 503)
        hold.callback(None)
        self.clock.advance(2 * self.timeouts.peer_silence)


class DefectTests(LendingCase):
    async def test_a_defect_is_a_clean_500_and_one_event(self) -> None:
        digest = self.peers.add_blob(self.whole(DATA), DATA)
        self.peers.blobs[digest] = ZeroDivisionError("a defect")
        for mode in Mode:
            reply = await self.answer(self.asking(question(digest, SPAN, mode)))
            self.assertEqual((reply.status, reply.header("Nodecache-Answer")), (500, "defect"))
            self.assertNotIn("ZeroDivisionError", repr(reply))
        reply = await self.answer(self.asking(question(digest, SPAN), "HEAD"), head=True)
        self.assertEqual(reply.status, 500)
        self.assertEqual(len(self.told(Unexpected)), 3)
        self.assertEqual({each.outcome for each in self.told(PeerAnswered)}, {"error"})

    async def test_a_defect_while_nobody_waits_is_an_event_too(self) -> None:
        self.peers.fetched = Deferred()
        digest = self.peers.add_blob(self.whole(DATA), DATA, here=False)
        client = await self.begin_asking(self.asking(question(digest, SPAN, Mode.MAY_FETCH)))
        await until(lambda: len(self.peers.asked) == 2)
        client.leave()
        await self.answered()
        self.peers.fetched.errback(ZeroDivisionError("a defect"))
        self.clock.advance(2 * self.timeouts.peer_silence)
        (event,) = self.told(Unexpected)
        self.assertIn("a defect", event.error)

    async def test_a_search_that_is_cancelled_elsewhere_is_a_defect_and_no_silence(self) -> None:
        digest = self.peers.add_blob(self.whole(DATA), DATA)
        self.peers.blobs[digest] = CancelledError()
        reply = await self.answer(self.asking(question(digest, SPAN)))
        self.assertEqual(reply.status, 500)


class WaitingTests(LendingCase):
    """An asker that may be kept waiting for the first bytes of what is on its way."""

    def wishes(self) -> list[float]:
        return [asked.wait for asked, _ in self.peers.asked if isinstance(asked, BlobQuestion)]

    async def test_it_is_kept_waiting_for_less_than_it_takes_for_silence(self) -> None:
        digest = self.peers.add_blob(self.whole(DATA), DATA, here=False)
        for wait in (0.2, 100.0):
            await self.refusal(self.asking(question(digest, SPAN, wait=wait)))
        self.assertEqual(self.wishes(), [0.2, 0.4 * self.timeouts.peer_silence])

    async def test_who_makes_us_fetch_waits_in_its_own_way(self) -> None:
        digest = self.peers.add_blob(self.whole(DATA), DATA, here=False)
        asked = question(digest, SPAN, Mode.MAY_FETCH, wait=0.2)
        _, received = await self.bytes_of(self.asking(asked), SPAN)
        self.assert_same(received, DATA)
        self.assertEqual(self.wishes(), [0.0, 0.0])

    async def test_who_makes_us_fetch_what_is_being_fetched_joins_it(self) -> None:
        digest = self.peers.add_blob(self.whole(DATA), DATA, here=False)
        self.peers.first_looks[digest] = Fetching(0.1)
        asked = question(digest, SPAN, Mode.MAY_FETCH)
        _, received = await self.bytes_of(self.asking(asked), SPAN)
        self.assert_same(received, DATA)
        self.assertEqual(await self.refusal(self.asking(question(digest, SPAN))), Fetching(0.1))

    async def test_only_so_many_are_kept_waiting(self) -> None:
        searches = self.site._lending._searches._searches
        for number in range(MOST_KEPT):
            searches[number] = None
        digest = self.peers.add_blob(self.whole(DATA), DATA, here=False)
        await self.refusal(self.asking(question(digest, SPAN, wait=0.2)))
        self.assertEqual(self.wishes(), [0.0])
        searches.clear()


class LeavingTests(LendingCase):
    async def test_a_node_that_stops_refers_and_finishes_what_it_began(self) -> None:
        where = self.members.know("node-2")
        digest = self.held()
        first = await self.lent_to(digest, "node-2")
        self.site.leave()
        self.assertTrue(self.members.leaving)
        for mode in Mode:
            answer = await self.refusal(self.asking(question(digest, SPAN, mode), node="node-3"))
            self.assertTrue(answer.leaving)
            self.assertEqual(answer.peers, (("node-2", where),))
        self.growth.append(DATA[-1:])
        self.growth.finish()
        reply = await first.whole()
        self.assert_same(payload(Decoder(SPAN).feed(reply.body)), DATA)

    async def test_drain_waits_for_bodies_and_closes_what_is_idle(self) -> None:
        digest = self.held()
        idle = await self.connect()
        first = await self.lent_to(digest, "node-2")
        left: list[int] = []
        draining = Deferred.fromCoroutine(self.site.drain(Deadline(self.clock.seconds() + 25)))
        draining.addCallback(left.append)
        await idle.hung_up()
        self.assertEqual(left, [])
        self.growth.append(DATA[-1:])
        self.growth.finish()
        reply = await first.whole()
        self.assert_same(payload(Decoder(SPAN).feed(reply.body)), DATA)
        await until(lambda: left)
        self.assertEqual(left, [0])

    async def test_drain_ends_at_its_deadline_and_the_rest_is_cut(self) -> None:
        digest = self.held()
        first = await self.lent_to(digest, "node-2")
        second = await self.waits(digest, "node-3")
        left: list[int] = []
        Deferred.fromCoroutine(self.site.drain(Deadline(self.clock.seconds() + 0.5))).addCallback(
            left.append
        )
        self.clock.advance(0.5)
        self.assertEqual(left, [2])
        self.assertEqual(self.site.abort_all(), 2)
        await first.hung_up()
        await second.hung_up()

    async def test_what_is_being_fetched_is_let_go_when_all_is_cut(self) -> None:
        self.peers.fetched = Deferred()
        digest = self.peers.add_blob(self.whole(DATA), DATA, here=False)
        client = await self.begin_asking(self.asking(question(digest, SPAN, Mode.MAY_FETCH)))
        await until(lambda: len(self.peers.asked) == 2)
        self.site.abort_all()
        await client.hung_up()
        self.assertEqual((self.peers.cancelled, self.site.held()), (1, (0, 0, 0)))
        self.assertEqual(self.told(Unexpected), [])


class TicketTests(LendingCase):
    async def test_places_are_given_back_once_whenever_the_connection_is_cut(self) -> None:
        """Cut before, in and behind the line, the search, and the body."""
        fetched = self.peers.fetched = Deferred()
        digest = self.peers.add_blob(self.whole(DATA), DATA, here=False)
        asked = attrs.evolve(question(digest, SPAN), mode=Mode.MAY_FETCH)
        for wait in range(12):
            client = await self.begin_asking(self.asking(asked))
            await turns(wait)
            if wait == 8:
                fetched.callback(None)
                self.peers.fetched = None
            client.leave()
            await until(lambda: not self.site.channels)
        self.assertGreater(self.admission.given, 3)
        self.assertEqual((self.admission.taken, self.admission.waiting), ([], []))
        self.clock.advance(2 * self.timeouts.peer_silence)
