"""Wrong bytes: who is asked for the right ones, and who is blamed."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import Deferred

from nodecache.events import PeerSuspected, Repaired
from nodecache.failures import PeerKind, UpstreamFailure, UpstreamKind
from nodecache.peerwire.questions import BlobQuestion
from nodecache.reference import Digest
from nodecache.sharing.suspicions import Trust
from tests.fakes_cluster import ME
from tests.sharing_blob_case import ALPINE, DATA, DIGEST, SharingCase

REPAIR = f"{DIGEST}/repair"
NOBODY: Mapping[int, frozenset[str]] = {}
WRONG = {0: (1, 2), 1: (3, 4), 2: (5, 6)}
RIGHT = {0: (1, 2), 1: (3, 9), 2: (7, 6)}


def sent(**peers: int) -> dict[int, frozenset[str]]:
    """The senders of segments: each peer sent one."""
    found: dict[int, frozenset[str]] = {}
    for peer, segment in peers.items():
        found[segment] = found.get(segment, frozenset()) | {peer}
    return found


class Blamed(SharingCase):
    """As the fill sees it."""

    def trust(self) -> Trust:
        return self.suspicions.trust(DIGEST)

    def wrong(self, senders: Mapping[int, frozenset[str]]) -> bool:
        return self.suspicions.mismatched(DIGEST, senders, WRONG)

    def right(self) -> None:
        self.suspicions.verified(DIGEST, RIGHT)

    def outcomes(self) -> list[tuple[str, str]]:
        return [(each.source, each.outcome) for each in self.events if isinstance(each, Repaired)]

    def test_wrong_bytes_of_upstream_are_nobodys_fault(self) -> None:
        for senders in (NOBODY, {0: frozenset[str]()}):
            self.assertFalse(self.wrong(senders))
            self.assertIs(self.trust(), Trust.USUAL)
        self.right()
        self.assertEqual((self.events, self.aside), ([], []))

    def test_bytes_that_were_right_are_no_event(self) -> None:
        self.right()
        self.assertEqual(self.events, [])

    def test_wrong_bytes_of_peers_are_fetched_again_in_another_way(self) -> None:
        self.assertTrue(self.wrong(sent(a=0)))
        self.assertIs(self.trust(), Trust.VERIFIED)
        self.assertIs(self.suspicions.trust(Digest("sha256", "cd" * 32)), Trust.USUAL)

    def test_a_peer_that_repairs_wrongly_is_passed_over(self) -> None:
        self.wrong(sent(a=0))
        self.assertTrue(self.wrong(sent(b=0)))
        self.assertIs(self.trust(), Trust.VERIFIED)
        self.assertEqual(self.suspicions.failed_repairers(DIGEST), {"b"})
        self.right()
        self.assertEqual(self.outcomes(), [("peer", "wrong"), ("upstream", "right")])

    def test_after_two_of_them_upstream_alone_is_asked(self) -> None:
        self.wrong(sent(a=0))
        for each in "bcd":
            self.assertIs(self.trust(), Trust.VERIFIED)
            self.assertTrue(self.wrong(sent(**{each: 0})))
        self.assertIs(self.trust(), Trust.ALONE)

    def test_and_if_they_are_wrong_again_from_upstream_alone(self) -> None:
        self.wrong(sent(a=0))
        self.assertTrue(self.wrong(sent(b=0, c=1)))
        self.assertIs(self.trust(), Trust.ALONE)
        self.assertFalse(self.wrong(NOBODY))
        self.assertIs(self.trust(), Trust.USUAL)
        self.assertEqual(self.outcomes(), [("peer", "wrong"), ("upstream", "wrong")])
        self.assertEqual(self.aside, [])

    def test_whatever_is_wrong_then_is_the_end(self) -> None:
        self.assertTrue(self.wrong(sent(a=0)))
        self.assertTrue(self.wrong(sent(b=0, d=1)))
        self.assertFalse(self.wrong(sent(c=0)))

    def test_a_repair_by_upstream_that_is_wrong_is_the_end(self) -> None:
        self.wrong(sent(a=0))
        self.assertFalse(self.wrong(NOBODY))
        self.assertEqual(self.outcomes(), [("upstream", "wrong")])

    def test_who_sent_what_differs_is_put_aside_and_told(self) -> None:
        self.wrong(sent(a=0, b=1, c=2, d=2))
        self.right()
        self.assertEqual(self.aside, ["b", "c", "d"])
        self.assertEqual(
            self.cluster.told,
            [("b", DIGEST, {1: (3, 9)}), ("c", DIGEST, {2: (7, 6)}), ("d", DIGEST, {2: (7, 6)})],
        )
        told = [each for each in self.events if isinstance(each, PeerSuspected)]
        self.assertEqual(
            [(each.peer, each.whose, each.segments) for each in told],
            [("b", "theirs", "1"), ("c", "theirs", "2"), ("d", "theirs", "2")],
        )
        self.assertEqual([self.suspicions.doubts(each) for each in "abcd"], [False] + [True] * 3)

    def test_several_segments_of_one_peer_are_told_together(self) -> None:
        self.wrong({0: frozenset("b"), 1: frozenset("b"), 2: frozenset("b")})
        self.right()
        self.assertEqual(self.cluster.told, [("b", DIGEST, {1: (3, 9), 2: (7, 6)})])

    def test_all_wrong_copies_are_compared(self) -> None:
        self.wrong(sent(b=1))
        self.wrong(sent(c=2))
        self.right()
        self.assertEqual(self.aside, ["b", "c"])
        self.assertEqual(self.outcomes()[-1], ("upstream", "right"))

    def test_what_was_ours_blames_nobody(self) -> None:
        self.wrong(sent(a=0))  # segments 1 and 2, the wrong ones, were not from peers
        self.right()
        self.assertEqual((self.aside, self.outcomes()), ([], [("upstream", "right")]))

    def test_segments_of_which_no_checksums_are_known_blame_nobody(self) -> None:
        self.suspicions.mismatched(DIGEST, sent(a=0, b=1), {0: (8,)})
        self.suspicions.verified(DIGEST, {1: (3, 9)})
        self.assertEqual(self.aside, [])

    def test_verified_bytes_of_a_peer_are_named_so(self) -> None:
        self.wrong(sent(b=1))
        self.suspicions.brought(DIGEST)
        self.right()
        self.assertEqual(self.outcomes(), [("peer", "right")])

    def test_once_an_hour(self) -> None:
        self.wrong(sent(b=1))
        self.right()
        self.assertIs(self.trust(), Trust.USUAL)
        self.assertFalse(self.wrong(sent(b=1)))
        self.clock.advance(self.timeouts.peer_repair)
        self.assertTrue(self.wrong(sent(b=1)))

    def test_an_hour_without_a_repair_is_the_end_of_it(self) -> None:
        self.wrong(sent(b=1))
        self.clock.advance(self.timeouts.peer_repair)
        self.assertIs(self.trust(), Trust.USUAL)
        self.right()
        self.assertEqual(self.aside, [])

    def test_a_doubt_ends(self) -> None:
        self.wrong(sent(b=1))
        self.right()
        self.assertEqual((self.aside, self.certain), (["b"], []))
        self.clock.advance(self.timeouts.peer_pause_last)
        self.assertFalse(self.suspicions.doubts("b"))

    def again(self, digest: Digest, senders: Mapping[int, frozenset[str]]) -> None:
        """Another blob was wrong, and is right now."""
        self.suspicions.mismatched(digest, senders, WRONG)
        self.suspicions.verified(digest, RIGHT)

    def test_wrong_bytes_of_the_same_minute_may_have_one_cause(self) -> None:
        """The layers of an image, passed on by a peer that knows no better."""
        for index in range(4):
            self.again(Digest("sha256", f"{index:064x}"), sent(b=1))
        self.assertEqual((self.aside, self.certain), (["b"] * 4, []))

    def test_who_does_it_again_is_put_aside_for_long(self) -> None:
        self.again(Digest("sha256", "1" * 64), sent(b=1))
        self.clock.advance(self.timeouts.peer_pause_last)
        self.again(Digest("sha256", "2" * 64), sent(b=1))
        self.assertEqual(self.certain, ["b"])
        self.clock.advance(self.timeouts.peer_pause_last)
        self.assertTrue(self.suspicions.doubts("b"))

    def test_but_not_an_hour_later(self) -> None:
        self.again(Digest("sha256", "1" * 64), sent(b=1))
        self.clock.advance(self.timeouts.peer_corrupt)
        self.again(Digest("sha256", "2" * 64), sent(b=1))
        self.assertEqual(self.certain, [])

    def test_who_repaired_wrongly_did_know_better(self) -> None:
        self.wrong(sent(b=1))
        self.wrong({segment: frozenset("c") for segment in WRONG})
        self.right()
        self.assertEqual((self.aside, self.certain), (["b", "c"], ["c"]))
        self.clock.advance(self.timeouts.peer_corrupt)
        self.assertFalse(self.suspicions.doubts("c"))

    def test_who_repairs_alone(self) -> None:
        self.cluster.ranks[REPAIR] = ["b", ME, "c"]
        self.assertFalse(self.suspicions.repairs_alone(DIGEST))
        self.wrong(sent(b=1))
        self.assertFalse(self.suspicions.repairs_alone(DIGEST))
        self.wrong(sent(b=1))
        self.assertTrue(self.suspicions.repairs_alone(DIGEST))
        self.right()
        self.assertFalse(self.suspicions.repairs_alone(DIGEST))

    def test_a_peer_that_is_gone_is_not_told(self) -> None:
        self.cluster.off.add("b")
        self.wrong(sent(b=1))
        self.right()
        self.assertEqual((self.aside, self.cluster.told), (["b"], []))

    def test_a_peer_that_can_not_be_told_is_left_alone(self) -> None:
        self.cluster["b"].failing = PeerKind.REFUSED
        self.wrong(sent(b=1))
        self.right()
        self.assertEqual(self.aside, ["b"])

    def test_telling_ends_with_the_node(self) -> None:
        hung: Deferred[None] = Deferred()

        async def suspect(*_: object) -> None:
            await hung

        self.patch(self.cluster, "suspect", suspect)
        self.wrong(sent(b=1))
        self.right()
        self.suspicions.stop()
        self.assertTrue(hung.called)

    def test_only_so_many_digests_are_remembered(self) -> None:
        for index in range(1100):
            self.suspicions.mismatched(Digest("sha256", f"{index:064x}"), sent(a=0), WRONG)
        self.assertEqual(len(self.suspicions._cases), 1024)


class Repairs(SharingCase):
    """As the blob's source does it."""

    def setUp(self) -> None:
        super().setUp()
        self.cluster.ranks[REPAIR] = ["d", "c", "b", "a"]
        self.suspicions.mismatched(DIGEST, sent(a=0), WRONG)

    def test_the_owner_of_the_repair_is_asked_for_verified_bytes(self) -> None:
        for each in self.ids:
            self.cluster[each].fetches[DIGEST] = DATA
        self.assert_segment(self.fetch(), 0, "d")
        question = self.cluster.asked[0].question
        assert isinstance(question, BlobQuestion)
        self.assertTrue(question.verified)
        self.suspicions.verified(DIGEST, WRONG)
        self.assertEqual(
            [each.source for each in self.events if isinstance(each, Repaired)], ["peer"]
        )

    def test_of_all_segments(self) -> None:
        self.size = len(DATA)
        self.give("a", "d")
        for segment in range(10):
            self.assert_segment(self.fetch(segment), segment, "d")

    def test_then_its_stand_ins_then_upstream(self) -> None:
        self.assert_segment(self.fetch(), 0, None)
        self.assertEqual([peer for peer, _, _ in self.cluster.log], ["d", "c", "b"])

    def test_the_owner_of_the_repair_goes_upstream_alone(self) -> None:
        self.cluster.ranks[REPAIR] = [ME, "c", "b", "a"]
        self.give("c")
        self.assert_segment(self.fetch(), 0, None)
        self.assertEqual(self.cluster.asked, [])

    def test_so_does_who_is_asked_for_verified_bytes(self) -> None:
        self.suspicions.verified(DIGEST, WRONG)
        self.give("a", "d")
        with self.tools.duties.on(DIGEST, 5, repair=True):
            self.assert_segment(self.fetch(), 0, None)
        self.assertEqual(self.cluster.asked, [])

    def test_when_upstream_fails_any_verified_copy_will_do(self) -> None:
        self.origin.refusals[ALPINE] = UpstreamFailure(UpstreamKind.ERROR, "502")
        self.give("a")
        self.cluster["a"].eager = 10
        self.assert_segment(self.fetch(), 0, "a")
        self.assertTrue(all(each.question.verified for each in self.cluster.asked))  # type: ignore[union-attr]

    def test_wrong_again_the_next_one_repairs(self) -> None:
        self.suspicions.mismatched(DIGEST, sent(d=0), WRONG)
        for each in self.ids:
            self.cluster[each].fetches[DIGEST] = DATA
        self.assert_segment(self.fetch(), 0, "c")

    def test_wrong_again_nobody_but_upstream_is_asked(self) -> None:
        self.suspicions.mismatched(DIGEST, sent(d=0, c=1), WRONG)
        self.give("a", "b", "c", "d")
        self.assert_segment(self.fetch(), 0, None)
        self.origin.refusals[ALPINE] = UpstreamFailure(UpstreamKind.ERROR, "502")
        self.refused(self.begin())
        self.assertEqual(self.cluster.asked, [])
