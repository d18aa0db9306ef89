"""A segment from peers: who is asked, in which order, and what is made of the answers."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred

from nodecache.deadline import Deadline
from nodecache.failures import PeerFailure, PeerKind, UpstreamFailure, UpstreamKind
from nodecache.membership import Address
from nodecache.peerwire.answers import (
    Absent,
    Denied,
    Elsewhere,
    Fetching,
    UpstreamAbsent,
    UpstreamBroken,
)
from nodecache.peerwire.questions import BlobQuestion, Mode
from tests.fakes_cluster import ME, FakePeer, FakePeerBody
from tests.sharing_blob_case import ALPINE, DATA, DIGEST, SEGMENT, SharingCase


class Order(SharingCase):
    """Who is asked."""

    def test_the_owner_is_asked_to_fetch_it(self) -> None:
        self.cluster["a"].fetches[DIGEST] = DATA
        self.assert_segment(self.fetch(), 0, "a")
        self.assertEqual(self.cluster.log, [("a", "blob", "may-fetch")])
        self.assertEqual(self.origin.asked, [])

    def test_then_its_stand_ins_then_upstream(self) -> None:
        self.assert_segment(self.fetch(), 0, None)
        asked = [("a", "blob", "may-fetch"), ("b", "blob", "may-fetch"), ("c", "blob", "may-fetch")]
        self.assertEqual(self.cluster.log, asked)

    def test_the_question_says_what_is_known(self) -> None:
        self.size = len(DATA)
        self.give("a")
        self.assert_segment(self.fetch(3), 3, "a")
        question = self.cluster.asked[0].question
        assert isinstance(question, BlobQuestion)
        self.assertEqual(
            (question.repository, question.digest, question.size), (ALPINE, DIGEST, len(DATA))
        )
        self.assertEqual((question.span.start, question.span.stop), (3 * SEGMENT, 4 * SEGMENT))
        self.assertEqual((question.seconds, question.verified), (10.0, False))

    def test_an_owner_asks_its_stand_ins_what_they_have_then_upstream(self) -> None:
        self.cluster.ranks["*"] = [ME, "a", "b", "c"]
        self.assert_segment(self.fetch(), 0, None)
        asked = [("a", "blob", "only-if-have"), ("b", "blob", "only-if-have")]
        self.assertEqual(self.cluster.log, asked)

    def test_an_owner_asks_them_once_for_a_lane(self) -> None:
        self.cluster.ranks["*"] = [ME, "a", "b", "c"]
        self.size = len(DATA)
        for segment in (0, 8):  # one lane
            self.assert_segment(self.fetch(segment), segment, None)
        self.assertEqual(len(self.cluster.asked), 2)
        self.assert_segment(self.fetch(1), 1, None)
        self.assertEqual(len(self.cluster.asked), 4)

    def test_an_owner_asks_once_for_a_lane_who_would_rank_if_its_link_were_not_slow(self) -> None:
        self.cluster.ranks["*"] = [ME, "a", "b", "c"]
        self.cluster.behind, self.cluster.formers = frozenset({"d"}), ("d",)
        self.size = len(DATA)
        for segment in (0, 8):  # one lane
            self.assert_segment(self.fetch(segment), segment, None)
        self.assertEqual([peer for peer, _, _ in self.cluster.log], ["d", "a", "b"])
        self.assertEqual({mode for _, _, mode in self.cluster.log}, {"only-if-have"})
        self.give("d")
        self.assert_segment(self.fetch(1), 1, "d")

    def test_who_is_asked_by_a_peer_is_an_owner(self) -> None:
        with self.tools.duties.on(DIGEST, 0):
            self.assert_segment(self.fetch(), 0, None)
        self.assertEqual({mode for _, _, mode in self.cluster.log}, {"only-if-have"})

    def test_it_stays_one_for_that_segment_though_who_asked_has_left(self) -> None:
        with self.tools.duties.on(DIGEST, 0):
            self.fetch().stop()
        self.assert_segment(self.fetch(), 0, None)
        self.assertEqual({mode for _, _, mode in self.cluster.log}, {"only-if-have"})
        self.assert_segment(self.fetch(1), 1, None)
        self.assertEqual(self.cluster.log[-1], ("c", "blob", "may-fetch"))

    def test_who_is_asked_by_a_peer_meanwhile_waits_for_nobody_who_may_wait_for_it(self) -> None:
        """The owner failed for all at once: this node is next, and already looks for itself."""
        self.cluster.ranks["*"] = ["a", ME, "b", "c"]
        self.cluster["a"].failing = PeerKind.WRONG
        self.cluster["b"].refusal = Elsewhere(0.2)  # it is getting it: from this node
        fetching = self.begin()
        self.clock.pump([0.1] * 8)
        self.assertNoResult(fetching)
        asked = len(self.cluster.asked)
        self.cluster["b"].twists.append(lambda _: Absent())  # what it says to an owner
        with self.tools.duties.on(DIGEST, 0):
            self.assertFalse(self.tools.duties.brings(DIGEST, 0, "b"))
            self.clock.pump([0.1] * 5)
            self.assert_segment(self.successResultOf(fetching), 0, None)
        question = self.cluster.asked[asked].question
        assert isinstance(question, BlobQuestion)
        self.assertEqual((question.as_owner, question.wait), (True, 0.0))
        self.assertEqual(len(self.cluster.asked), asked + 1)
        self.cluster["b"].refusal = Absent()
        self.assert_segment(self.fetch(), 0, None)  # it broke off: nobody else is made to
        self.assertEqual({each.mode for each in self.cluster.asked[asked:]}, {Mode.ONLY_IF_HAVE})

    def test_from_then_on_it_may_be_waited_for_by_whoever_acts_as_owner_too(self) -> None:
        duties = self.tools.duties

        def awaited() -> bool:
            return any(duties.brings(DIGEST, 0, str(each)) for each in range(20))

        self.cluster["a"].patient = True
        fetching = self.begin()
        with duties.on(DIGEST, 0):
            self.assertFalse(awaited())
            self.cluster["b"].patient = True
            self.cluster.answer(self.cluster.open[0], Absent())
            self.assertEqual(self.cluster.log[-1], ("b", "blob", "only-if-have"))
            self.assertTrue(awaited())
        fetching.cancel()
        self.failureResultOf(fetching, CancelledError)
        self.assertFalse(awaited())

    def test_a_duty_is_for_its_segment(self) -> None:
        with self.tools.duties.on(DIGEST, 1):
            self.assert_segment(self.fetch(), 0, None)
        self.assertEqual({mode for _, _, mode in self.cluster.log}, {"may-fetch"})

    def test_each_lane_has_its_own_owner(self) -> None:
        self.size = len(DATA)
        self.cluster.ranks[f"{DIGEST}/1"] = ["b"]
        for peer in ("a", "b"):
            self.cluster[peer].fetches[DIGEST] = DATA
        self.assert_segment(self.fetch(1), 1, "b")
        other = self.successResultOf(self.begin(9, blob=self.make_blob()))
        self.assert_segment(other, 9, "b")

    def test_all_is_one_lane_where_upstream_takes_no_ranges(self) -> None:
        self.size = len(DATA)
        self.cluster.ranks[f"{DIGEST}/1"] = ["b"]
        self.cluster["a"].ranges = False
        self.cluster["a"].fetches[DIGEST] = DATA
        self.assert_segment(self.fetch(0), 0, "a")
        self.cluster["b"].fetches[DIGEST] = DATA
        self.assert_segment(self.fetch(1), 1, "a")

    def test_a_whole_answer_of_upstream_makes_one_lane_too(self) -> None:
        self.size = len(DATA)
        self.origin.ranges = False
        self.cluster.ranks[f"{DIGEST}/1"] = ["b"]
        body = self.fetch(0)
        self.assertEqual((body.peer, body.ranged), (None, False))
        for peer in ("a", "b"):
            self.cluster[peer].fetches[DIGEST] = DATA
        self.assert_segment(self.fetch(1), 1, "a")

    def test_without_peers_upstream_is_asked_at_once(self) -> None:
        self.cluster.off.update(self.ids)
        self.assert_segment(self.fetch(), 0, None)
        self.assertEqual(self.cluster.asked, [])

    def test_the_whole_comes_from_upstream(self) -> None:
        self.give("a")
        body = self.successResultOf(Deferred.fromCoroutine(self.blob.fetch(None, Deadline(10.0))))
        self.assertEqual((body.peer, self.cluster.asked, self.places.taken), (None, [], 0))
        self.assertEqual(self.read(body), DATA)

    def test_a_starting_node_ranks_nobody_before_it_has_met_them(self) -> None:
        self.give("a")
        self.cluster.starting = Deferred()
        fetching = self.begin()
        self.assertNoResult(fetching)
        self.assertEqual(self.cluster.asked, [])
        self.cluster.starting.callback(None)
        self.assert_segment(self.successResultOf(fetching), 0, "a")


class Answers(SharingCase):
    """What peers say, and what comes of it."""

    def test_a_peer_that_gave_is_asked_before_the_owner_of_the_next(self) -> None:
        self.size = len(DATA)
        self.give("d")
        self.cluster.ranks[f"{DIGEST}/0"] = ["d"]
        self.assert_segment(self.fetch(0), 0, "d")
        self.assert_segment(self.fetch(1), 1, "d")
        self.assertEqual(self.cluster.log[1:], [("d", "blob", "only-if-have")])

    def test_nor_is_one_whose_link_is_slow_though_it_gave(self) -> None:
        self.size = len(DATA)
        self.give("d")
        self.cluster.ranks[f"{DIGEST}/0"] = ["d"]
        self.assert_segment(self.fetch(0), 0, "d")
        self.cluster.behind = frozenset({"d"})
        self.give("a")
        self.assert_segment(self.fetch(1), 1, "a")
        self.assertEqual(self.cluster.log[1:], [("a", "blob", "may-fetch")])

    def test_a_referral_is_followed_also_to_a_stranger(self) -> None:
        self.cluster.peers["e"] = FakePeer("e", has={DIGEST: DATA})
        self.cluster.off.add("e")
        there = Address("10.0.0.5", 5001)
        self.cluster["a"].twists.append(lambda _: Elsewhere(0.1, (("e", there),)))
        self.assert_segment(self.fetch(), 0, "e")

    def test_a_referral_to_who_lied_is_not(self) -> None:
        self.cluster.peers["e"] = FakePeer("e", has={DIGEST: DATA})
        self.suspicions.mismatched(DIGEST, {0: frozenset({"e"})}, {0: (1,)})
        self.suspicions.verified(DIGEST, {0: (2,)})
        self.suspicions.stop()
        self.cluster.off.add("e")
        there = Address("10.0.0.5", 5001)
        self.cluster["a"].twists.append(lambda _: Elsewhere(0.1, (("e", there),)))
        self.cluster["a"].fetches[DIGEST] = DATA
        fetching = self.begin()
        self.advance(1)
        self.assert_segment(self.successResultOf(fetching), 0, "a")

    def test_the_turn_of_a_segment_is_waited_for_while_others_come(self) -> None:
        """On a slow link a node has few at a time, and its last one comes late."""
        self.size = len(DATA)
        self.give("d")
        self.cluster.ranks[f"{DIGEST}/0"] = ["d"]
        coming = self.fetch(0)
        coming.deliver(lambda _: None).addErrback(lambda _: None)  # stopped at the end
        self.cluster["d"].has.clear()
        self.cluster["a"].twists += [lambda _: Fetching(1.0)] * 200
        waiting = self.begin(1)
        for _ in range(60):
            self.advance(1)
            self.sender_of(coming).send(1)
            self.assertNoResult(waiting)
        self.advance(self.timeouts.peer_search + 1)
        self.assert_segment(self.successResultOf(waiting), 1, None)

    def test_a_peer_that_is_fetching_is_waited_for(self) -> None:
        self.cluster["a"].twists += [lambda _: Fetching(0.5), lambda _: Fetching(0.5)]
        self.cluster["a"].fetches[DIGEST] = DATA
        fetching = self.begin()
        self.assertNoResult(fetching)
        self.advance(1.2)
        self.assert_segment(self.successResultOf(fetching), 0, "a")
        self.assertEqual(self.origin.asked, [])

    def test_but_upstream_keeps_its_time(self) -> None:
        self.cluster["a"].refusal = Fetching(0.5)
        fetching = self.begin(seconds=7)
        self.advance(2.9)
        self.assertNoResult(fetching)
        self.advance(0.3)
        self.assert_segment(self.successResultOf(fetching), 0, None)

    def test_peers_never_have_more_than_their_time(self) -> None:
        self.cluster["a"].refusal = Fetching(0.5)
        fetching = self.begin(seconds=30)
        self.advance(self.timeouts.peer_search + 0.1)
        self.assert_segment(self.successResultOf(fetching), 0, None)

    def test_a_deadline_too_near_for_peers_is_upstreams(self) -> None:
        self.give("a")
        self.assert_segment(self.successResultOf(self.begin(seconds=3.9)), 0, None)
        self.assertEqual(self.cluster.asked, [])

    def test_upstreams_word_by_a_peer_counts(self) -> None:
        words = UpstreamAbsent(UpstreamKind.DENIED, "pull access denied", 403)
        self.cluster["a"].refusal = words
        failure = self.refused(self.begin())
        self.assertEqual(
            (failure.kind, failure.message, failure.status),
            (UpstreamKind.DENIED, "pull access denied", 403),
        )
        self.assertEqual(self.origin.asked, [])

    def test_but_what_another_peer_has_is_given(self) -> None:
        self.cluster["a"].refusal = UpstreamAbsent(UpstreamKind.NOT_FOUND, "gone", 404)
        self.give("d")
        self.cluster["d"].eager = 10
        self.assert_segment(self.fetch(), 0, "d")
        self.assertEqual(self.origin.asked, [])

    def test_a_peer_whose_upstream_fails_says_nothing_of_ours(self) -> None:
        self.cluster["a"].refusal = UpstreamBroken(UpstreamKind.LIMITED, "too many", 429)
        self.assert_segment(self.fetch(), 0, None)
        # The stand-ins are not made to try what failed for the owner.
        self.assertEqual([mode for _, _, mode in self.cluster.log[1:]], ["only-if-have"] * 2)

    def test_a_peer_that_may_not_is_passed_over(self) -> None:
        for refusal in (Denied("by its rules"), Absent()):
            self.cluster["a"].refusal = refusal
            self.cluster["b"].fetches[DIGEST] = DATA
            self.assertEqual(self.successResultOf(self.begin(blob=self.make_blob())).peer, "b")

    def test_peers_that_fail_are_passed_over(self) -> None:
        for kind in PeerKind:
            self.cluster["a"].failing = kind
            self.cluster["b"].fetches[DIGEST] = DATA
            body = self.successResultOf(self.begin(blob=self.make_blob()))
            self.assertEqual(body.peer, "b")

    def test_silent_peers_cost_a_second_and_a_half(self) -> None:
        for each in self.ids:
            self.cluster[each].patient = True
        fetching = self.begin()
        self.advance(1.4)
        self.assertNoResult(fetching)
        self.advance(0.15)
        self.assert_segment(self.successResultOf(fetching), 0, None)
        self.assertEqual(self.cluster.log[0], ("a", "blob", "may-fetch"))
        self.assertEqual(self.cluster.log[1], ("b", "blob", "may-fetch"))

    def test_a_peer_that_tells_another_size_is_not_believed(self) -> None:
        self.size = len(DATA)
        self.cluster["a"].has[DIGEST] = DATA + b"?"
        self.cluster["b"].has[DIGEST] = DATA
        self.assert_segment(self.fetch(), 0, "b")
        self.assertTrue(self.cluster.bodies[0].closed)

    def test_the_size_that_upstream_told_is_better_than_a_manifests(self) -> None:
        self.size = 5
        self.assert_segment(self.fetch(0), 0, None)
        self.give("a")
        self.assert_segment(self.fetch(1), 1, "a")


class Bodies(SharingCase):
    """What becomes of a body on its way."""

    def break_off(self, kind: PeerKind = PeerKind.CUT) -> str:
        """Fetch segment 0, and let the body break; returns who sent it."""
        body = self.fetch()
        done = body.deliver(lambda _: None)
        sender = self.sender_of(body)
        assert isinstance(sender, FakePeerBody)
        sender.send(100)
        sender.fail(kind)
        self.failureResultOf(done, PeerFailure)
        assert body.peer is not None
        return body.peer

    def test_a_peer_that_broke_off_is_left_out_for_the_segment(self) -> None:
        self.give("a", "b")
        self.assertEqual(self.break_off(), "a")
        self.assert_segment(self.fetch(), 0, "b")
        self.size = len(DATA)
        self.assert_segment(self.fetch(2), 2, "a")

    def test_a_referral_to_it_is_not_followed(self) -> None:
        self.give("a", "b")
        self.break_off()
        there = Address("10.0.0.1", 5001)
        self.cluster["b"].twists.append(lambda _: Elsewhere(0.1, (("a", there),)))
        fetching = self.begin()
        self.advance(1)
        self.assert_segment(self.successResultOf(fetching), 0, "b")

    def test_after_three_bodies_upstream_is_asked(self) -> None:
        self.give("a", "b", "c", "d")
        self.assertEqual([self.break_off() for _ in range(3)], ["a", "b", "c"])
        self.assert_segment(self.fetch(), 0, None)

    def test_and_then_the_others_when_that_fails(self) -> None:
        self.give("a", "b", "c", "d")
        for _ in range(3):
            self.break_off()
        self.origin.refusals[ALPINE] = UpstreamFailure(UpstreamKind.ERROR, "502")
        self.cluster["d"].eager = 10
        self.assert_segment(self.fetch(), 0, "d")

    def test_what_was_cancelled_was_not_broken(self) -> None:
        self.give("a")
        body = self.fetch()
        done = body.deliver(lambda _: None)
        done.cancel()
        self.failureResultOf(done)
        self.assert_segment(self.fetch(), 0, "a")

    def test_whom_we_wait_for_is_known_from_question_to_end(self) -> None:
        self.give("a")
        self.cluster["a"].patient = True
        waits = self.tools.asking.waits_for
        fetching = self.begin()
        self.assertTrue(waits("a", DIGEST, 0))
        self.assertFalse(waits("a", DIGEST, 1) or waits("b", DIGEST, 0))
        self.cluster.answer(self.cluster.open[0])
        body = self.successResultOf(fetching)
        self.assertTrue(waits("a", DIGEST, 0))
        self.read(body)
        self.assertFalse(waits("a", DIGEST, 0))

    def test_a_body_is_passed_on_as_it_is(self) -> None:
        self.give("a")
        body = self.fetch()
        shape = (body.start, body.stop_at, body.total, body.ranged, body.peer)
        self.assertEqual(shape, (0, SEGMENT, len(DATA), True, "a"))
        body.deliver(lambda _: None).addErrback(lambda _: None)
        body.pause()
        self.assertTrue(self.sender_of(body).paused)
        body.resume()
        self.assertFalse(self.sender_of(body).paused)
        self.sender_of(body).finish()

    def test_cancelled_while_a_peer_is_asked(self) -> None:
        self.cluster["a"].patient = True
        fetching = self.begin()
        fetching.cancel()
        self.failureResultOf(fetching)
        self.assertTrue(self.cluster.asked[0].cancelled)
        self.assert_clean()

    def test_cancelled_while_it_pauses(self) -> None:
        self.cluster["a"].refusal = Fetching(0.5)
        fetching = self.begin()
        fetching.cancel()
        self.failureResultOf(fetching)
        self.assert_clean()
