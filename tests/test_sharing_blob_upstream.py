"""A segment from upstream, and from anybody when that is slow or fails."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from nodecache.deadline import Deadline
from nodecache.failures import PeerKind, UpstreamFailure, UpstreamKind
from nodecache.membership import Address
from nodecache.peerwire.answers import Elsewhere
from nodecache.seams import BlobBody
from tests.fakes_cluster import ME, FakePeer, FakePeerBody
from tests.sharing_blob_case import ALPINE, DATA, DIGEST, SharingCase


class UpstreamCase(SharingCase):
    """This node is the owner of everything, and knows that its stand-ins have nothing."""

    ids = ("a", "b", "c", "d", "e", "f")

    def setUp(self) -> None:
        super().setUp()
        self.cluster.ranks["*"] = [ME, "a", "b", "c", "d", "e", "f"]
        for peer in self.cluster.peers.values():
            peer.eager = 10

    def fail_upstream(self, kind: UpstreamKind = UpstreamKind.ERROR) -> None:
        self.origin.refusals[ALPINE] = UpstreamFailure(kind, "upstream's own words", status=500)

    def asked_whether(self) -> list[str]:
        """Who was asked whether it has it."""
        return [peer for peer, what, _ in self.cluster.log if what == "has_blob"]

    def answer(self, *peers: str) -> None:
        """Answer what these were asked, as they are."""
        for asked in self.cluster.open:
            if asked.peer in peers:
                self.cluster.answer(asked)

    def be_patient(self, *peers: str) -> None:
        for each in peers:
            self.cluster[each].patient = True


class Sweeps(UpstreamCase):
    def test_upstream_that_answers_is_all_that_is_asked(self) -> None:
        self.give("e")
        self.assert_segment(self.fetch(), 0, None)
        self.assertEqual(self.asked_whether(), [])

    def test_any_failure_of_upstream_sends_us_to_all_peers(self) -> None:
        self.give("e")
        for kind in UpstreamKind:
            self.fail_upstream(kind)
            body = self.successResultOf(self.begin(blob=self.make_blob()))
            self.assertEqual(body.peer, "e", kind)

    def test_when_nobody_has_it_upstreams_failure_stands(self) -> None:
        for kind in UpstreamKind:
            self.fail_upstream(kind)
            failure = self.refused(self.begin(blob=self.make_blob()))
            self.assertEqual((failure.kind, failure.message), (kind, "upstream's own words"))

    def test_who_has_just_said_no_is_not_asked_again(self) -> None:
        self.fail_upstream()
        self.refused(self.begin())
        self.assertEqual(self.asked_whether(), ["c", "d", "e", "f"])

    def test_who_has_just_failed_is_not_asked_again(self) -> None:
        self.fail_upstream()
        self.cluster["a"].failing = self.cluster["b"].failing = PeerKind.ERROR
        self.refused(self.begin())
        self.assertEqual(self.asked_whether(), ["c", "d", "e", "f"])

    def test_the_nearest_zone_is_asked_first(self) -> None:
        for each, zone in zip("abcdef", "xyxyxy", strict=True):
            self.cluster[each].zone = zone
        self.cluster.me = FakePeer(ME, zone="y").peer
        self.fail_upstream()
        self.refused(self.begin())
        self.assertEqual(self.asked_whether(), ["d", "f", "c", "e"])

    def test_so_many_at_a_time(self) -> None:
        self.fail_upstream()
        self.be_patient("c", "d", "e", "f")
        fetching = self.begin()
        self.assertEqual(self.asked_whether(), ["c", "d"])
        self.answer("d")
        self.assertEqual(self.asked_whether(), ["c", "d", "e"])
        self.give("e")
        self.answer("e")
        self.answer("e")  # for the bytes
        self.assert_segment(self.successResultOf(fetching), 0, "e")
        self.assertEqual(self.cluster.log[-1], ("e", "blob", "only-if-have"))
        self.assertTrue(next(each for each in self.cluster.asked if each.peer == "c").cancelled)

    def test_slow_upstream_and_all_peers_run_beside_each_other(self) -> None:
        self.origin.patient = True
        self.be_patient("c", "d")
        fetching = self.begin()
        self.advance(1.9)
        self.assertEqual(self.asked_whether(), [])
        self.advance(0.15)
        self.assertEqual(self.asked_whether(), ["c", "d"])
        self.origin.answer(self.origin.asked[0])
        self.assert_segment(self.successResultOf(fetching), 0, None)
        self.assert_clean()

    def test_or_a_peer_is_faster(self) -> None:
        self.origin.patient = True
        self.give("d")
        fetching = self.begin()
        self.advance(2.1)
        self.assert_segment(self.successResultOf(fetching), 0, "d")
        self.assertEqual(self.places.taken, 0)

    def test_a_peer_that_has_answered_but_sends_nothing_does_not_end_upstream(self) -> None:
        self.origin.patient = True
        self.give("c")
        self.cluster["c"].eager = 0
        fetching = self.begin()
        self.advance(2.1)
        self.assertNoResult(fetching)
        self.assertTrue(self.cluster.bodies[0].delivering)
        self.origin.answer(self.origin.asked[0])
        self.assert_segment(self.successResultOf(fetching), 0, None)
        self.assertTrue(self.cluster.bodies[0].closed)

    def test_nor_do_those_that_might_send_something(self) -> None:
        self.fail_upstream()
        self.give("c", "d")
        self.cluster["c"].eager = 0
        fetching = self.begin()
        self.cluster.bodies[0].fail(PeerKind.TIMEOUT)
        self.assert_segment(self.successResultOf(fetching), 0, "d")

    def test_upstream_that_has_been_cancelled_may_still_answer(self) -> None:
        self.origin.patient = self.origin.stubborn = True
        self.give("d")
        fetching = self.begin()
        self.advance(2.1)
        self.assert_segment(self.successResultOf(fetching), 0, "d")
        self.assertEqual(self.places.taken, 1)
        self.origin.release()
        self.assertEqual(self.places.taken, 0)

    def test_upstream_known_to_be_down_is_not_waited_for(self) -> None:
        self.down = UpstreamFailure(UpstreamKind.DOWN, "it is down")
        self.origin.patient = True
        self.give("f")
        self.assert_segment(self.fetch(), 0, "f")

    def test_upstream_down_and_nobody_has_it(self) -> None:
        self.down = UpstreamFailure(UpstreamKind.DOWN, "it is down")
        self.origin.refusals[ALPINE] = self.down
        self.assertIs(self.refused(self.begin()).kind, UpstreamKind.DOWN)
        self.assertEqual(self.asked_whether(), ["c", "d", "e", "f"])

    def test_a_sweep_ends_at_the_deadline(self) -> None:
        self.fail_upstream()
        self.be_patient("c", "d")
        fetching = self.begin()
        self.advance(9.9)
        self.assertNoResult(fetching)
        self.advance(0.2)
        self.assertEqual(self.refused(fetching).message, "upstream's own words")
        self.assert_clean()

    def test_peers_that_fail_when_asked_are_not_waited_for(self) -> None:
        self.fail_upstream()
        for each in "cde":
            self.cluster[each].failing = PeerKind.REFUSED
        self.give("f")
        self.assert_segment(self.fetch(), 0, "f")

    def test_who_says_yes_and_then_gives_nothing_is_passed_over(self) -> None:
        self.fail_upstream()
        self.give("c", "f")
        usual = self.cluster["c"].usual
        self.cluster["c"].failing = PeerKind.ERROR
        self.cluster["c"].twists.append(lambda question: usual("has_blob", question))
        self.cluster["c"].failing = None
        self.cluster["c"].twists.append(lambda _: Elsewhere(0.1, leaving=True))
        self.assert_segment(self.fetch(), 0, "f")

    def test_a_holder_at_its_limit_is_waited_for(self) -> None:
        self.fail_upstream()
        self.give("c")
        busy = self.cluster["c"]
        busy.twists += [lambda _: None, lambda _: Elsewhere(0.5), lambda _: None]
        fetching = self.begin()
        self.assertNoResult(fetching)
        self.advance(0.6)
        self.assert_segment(self.successResultOf(fetching), 0, "c")

    def test_a_holder_at_its_limit_names_others(self) -> None:
        self.fail_upstream()
        self.cluster.peers["z"] = FakePeer("z", has={DIGEST: DATA}, eager=10)
        self.cluster.off.add("z")
        there = Address("10.0.0.9", 5001)
        self.give("c")
        self.cluster["c"].twists += [lambda _: None, lambda _: Elsewhere(0.5, (("z", there),))]
        self.assert_segment(self.fetch(), 0, "z")

    def test_a_fruitless_sweep_is_not_repeated_for_each_segment(self) -> None:
        self.size = len(DATA)
        self.fail_upstream()
        self.refused(self.begin(0))
        asked = len(self.asked_whether())
        self.refused(self.begin(8))
        self.assertEqual(len(self.asked_whether()), asked)
        self.advance(6)
        self.refused(self.begin(8))
        self.assertEqual(len(self.asked_whether()), asked + 6)

    def test_what_a_sweep_found_serves_the_other_segments(self) -> None:
        self.size = len(DATA)
        self.fail_upstream()
        self.give("e")
        self.assert_segment(self.fetch(0), 0, "e")
        swept = len(self.asked_whether())
        for segment in range(1, 10):
            self.assert_segment(self.fetch(segment), segment, "e")
        self.assertEqual(len(self.asked_whether()), swept)

    def test_a_fill_makes_one_sweep_at_a_time(self) -> None:
        self.size = len(DATA)
        self.fail_upstream()
        self.be_patient("c", "d", "e", "f")
        first, second = self.begin(0), self.begin(8)
        self.assertEqual(self.asked_whether(), ["c", "d"])
        self.give("d")
        self.answer("d")
        self.answer("d")
        self.assert_segment(self.successResultOf(first), 0, "d")
        self.assertEqual(self.asked_whether(), ["c", "d"])
        self.answer("d")
        self.assert_segment(self.successResultOf(second), 8, "d")

    def test_a_sweeps_body_that_breaks_off_counts(self) -> None:
        self.fail_upstream()
        self.give("e", "f")
        body = self.fetch()
        done = body.deliver(lambda _: None)
        sender = self.sender_of(body)
        assert isinstance(sender, FakePeerBody)
        sender.fail()
        self.failureResultOf(done)
        self.assert_segment(self.fetch(), 0, "f")

    def test_cancelled_in_a_sweep(self) -> None:
        self.origin.patient = True
        self.be_patient("c", "d")
        fetching = self.begin()
        self.advance(2.1)
        fetching.cancel()
        self.failureResultOf(fetching)
        self.assertTrue(all(each.cancelled for each in self.cluster.asked[-2:]))
        self.assert_clean()

    def test_cancelled_in_the_line_for_a_sweep(self) -> None:
        self.fail_upstream()
        self.be_patient("c", "d")
        first, second = self.begin(0), self.begin(1)
        second.cancel()
        self.failureResultOf(second)
        first.cancel()
        self.failureResultOf(first)
        self.assert_clean()


class Offline(UpstreamCase):
    def setUp(self) -> None:
        super().setUp()
        self.offline = True

    def test_only_what_peers_have(self) -> None:
        self.cluster["a"].fetches[DIGEST] = DATA
        self.give("f")
        self.assert_segment(self.fetch(), 0, "f")
        self.assertEqual({mode for _, _, mode in self.cluster.log}, {"only-if-have"})
        self.assertEqual(self.origin.asked, [])

    def test_an_owner_is_not_made_to_fetch(self) -> None:
        self.cluster.ranks["*"] = ["a", ME]
        self.cluster["a"].fetches[DIGEST] = DATA
        self.refused(self.begin())
        self.assertEqual({mode for _, _, mode in self.cluster.log}, {"only-if-have"})

    def test_nobody_has_it(self) -> None:
        failure = self.refused(self.begin())
        self.assertIs(failure.kind, UpstreamKind.DOWN)
        self.assertIn("offline", failure.message)

    def test_parts_at_several_peers_are_found_while_sweeps_rest(self) -> None:
        self.size = len(DATA)
        self.give("e")
        self.assert_segment(self.fetch(0), 0, "e")
        self.cluster["e"].has.clear()
        self.refused(self.begin(1))
        self.give("e")
        self.assert_segment(self.fetch(2), 2, "e")

    def test_no_whole_body(self) -> None:
        whole = Deferred.fromCoroutine(self.blob.fetch(None, Deadline(10.0)))
        self.assertIs(self.refused(whole).kind, UpstreamKind.DOWN)


class Places(UpstreamCase):
    """Three for the node, two for a fill."""

    def setUp(self) -> None:
        super().setUp()
        self.cluster.off.update(self.ids)

    def begin_at(self, *segments: int) -> list[Deferred[BlobBody]]:
        blob = self.make_blob()
        return [self.begin(segment, blob=blob) for segment in segments]

    def test_a_place_is_held_to_the_end_of_the_body(self) -> None:
        body = self.fetch()
        self.assertEqual(self.places.taken, 1)
        self.read(body)
        self.assertEqual(self.places.taken, 0)

    def test_a_fill_has_so_many(self) -> None:
        first, _, third = self.begin_at(0, 1, 2)
        self.assertNoResult(third)
        self.assertEqual((self.places.taken, self.places.waiting), (2, 1))
        self.read(self.successResultOf(first))
        self.successResultOf(third)

    def test_the_node_has_so_many(self) -> None:
        first = self.begin_at(0, 1)
        second = self.begin_at(0, 1)
        self.successResultOf(second[0])
        self.assertNoResult(second[1])
        self.successResultOf(first[0]).stop()
        self.successResultOf(second[1])
        self.assertEqual(self.places.taken, 3)

    def test_who_has_none_goes_first(self) -> None:
        first = self.begin_at(0, 1, 2)
        second = self.begin_at(0, 1)
        third = self.begin_at(0)
        self.successResultOf(first[0]).stop()
        self.successResultOf(third[0])
        self.assertNoResult(first[2])
        self.assertNoResult(second[1])

    def test_what_has_begun_goes_before_what_has_not(self) -> None:
        first, second = self.make_blob(), self.make_blob()
        bodies = [self.begin(0, blob=first), *self.begin_at(0, 1)]
        new = self.begin(0, blob=second)
        self.successResultOf(bodies[0]).stop()
        self.successResultOf(new).stop()
        again = self.successResultOf(self.begin(0, blob=first))
        newest, older = self.begin_at(0)[0], self.begin(1, blob=second)
        again.stop()
        self.successResultOf(older)
        self.assertNoResult(newest)
        newest.cancel()
        self.failureResultOf(newest)

    def test_every_end_of_a_body_gives_it_back(self) -> None:
        ends = ("stop", "stop twice", "cancel", "cut", "silence")
        for end in ends:
            body = self.fetch()
            sender = self.sender_of(body)
            if end.startswith("stop"):
                body.stop()
                if end == "stop twice":
                    body.stop()
            else:
                done = body.deliver(lambda _: None)
                {"cancel": done.cancel, "cut": sender.cut, "silence": sender.fall_silent}[end]()
                self.failureResultOf(done)
            self.assertEqual(self.places.taken, 0, end)

    def test_every_end_of_a_question_gives_it_back(self) -> None:
        self.fail_upstream()
        self.refused(self.begin())
        self.assertEqual(self.places.taken, 0)
        self.origin.patient = True
        fetching = self.begin()
        self.assertEqual(self.places.taken, 1)
        fetching.cancel()
        self.failureResultOf(fetching)
        self.assertEqual(self.places.taken, 0)

    def test_who_waits_in_vain_is_told_in_time_for_a_sweep(self) -> None:
        self.begin_at(0, 1)
        self.begin_at(0)
        self.cluster.off.clear()
        fetching = self.begin(blob=self.make_blob())
        self.advance(7.9)
        self.assertEqual(self.asked_whether(), [])
        self.be_patient("c", "d")
        self.advance(0.2)
        self.assertEqual(self.asked_whether(), ["c", "d"])
        self.advance(2)
        failure = self.refused(fetching)
        self.assertIs(failure.kind, UpstreamKind.TIMEOUT)
        self.assertIn("too many", failure.message)

    def test_who_leaves_the_line_leaves_nothing(self) -> None:
        first = self.begin_at(0, 1)
        self.begin_at(0)
        waiting = self.begin_at(0)[0]
        waiting.cancel()
        self.failureResultOf(waiting)
        self.assertEqual(self.places.waiting, 0)
        self.successResultOf(first[0]).stop()
        self.assertEqual(self.places.taken, 2)

    def test_a_whole_body_needs_none(self) -> None:
        self.begin_at(0, 1)
        self.begin_at(0)
        whole = Deferred.fromCoroutine(self.blob.fetch(None, Deadline(10.0)))
        self.successResultOf(whole).stop()
