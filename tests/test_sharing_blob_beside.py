"""A second sender for what a peer brings already."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from nodecache.byteranges import Span
from nodecache.deadline import Deadline
from nodecache.membership import Address
from nodecache.peerwire.answers import Elsewhere
from nodecache.peerwire.questions import Mode
from nodecache.seams import BlobBody
from tests.fakes_cluster import FakePeerBody
from tests.sharing_blob_case import DATA, DIGEST, SEGMENT, SharingCase

#: The second half of segment 2.
HALF = Span(2 * SEGMENT + SEGMENT // 2, 3 * SEGMENT)


class SecondSenders(SharingCase):
    def known(self, *peers: str) -> None:
        """Each of these has given a segment."""
        self.give(*peers)
        for segment, peer in enumerate(peers):
            self.cluster.ranks["*"] = [peer, *(each for each in self.ids if each != peer)]
            self.blob._findings.holders.told([peer])
            self.read(self.fetch(segment))
        self.cluster.asked.clear()

    def beside(self, peer: str, seconds: float = 1.0) -> Deferred[BlobBody | None]:
        deadline = Deadline(self.clock.seconds() + seconds)
        return Deferred.fromCoroutine(self.blob.fetch_beside(peer, HALF, deadline))

    def test_it_is_another_that_has_it(self) -> None:
        self.known("a", "b")
        body = self.successResultOf(self.beside("a"))
        assert body is not None
        self.assertEqual(body.peer, "b")
        self.assertEqual(self.read(self.keep(body)), DATA[HALF.start : HALF.stop])
        [asked] = self.cluster.asked
        self.assertEqual((asked.mode, asked.question.as_owner), (Mode.ONLY_IF_HAVE, True))
        self.assert_clean()

    def test_nobody_is_asked_where_no_other_is_known(self) -> None:
        self.known("a")
        self.assertIsNone(self.successResultOf(self.beside("a")))
        self.assertEqual((self.cluster.asked, self.origin.asked), ([], []))

    def test_who_is_named_is_asked_but_for_the_first(self) -> None:
        self.known("a", "b")
        where = Address("10.0.0.1", 5001)
        self.cluster["b"].twists = [lambda _: Elsewhere(0.0, (("a", where), ("c", where)))]
        self.give("c")
        body = self.successResultOf(self.beside("a"))
        assert body is not None
        self.assertEqual(body.peer, "c")
        self.keep(body)
        self.assert_clean()

    def test_upstream_is_not_asked_nor_is_anybody_made_to_fetch_it(self) -> None:
        self.known("a", "b")
        del self.cluster["b"].has[DIGEST]
        self.cluster["b"].fetches[DIGEST] = DATA
        before = len(self.origin.asked)
        self.assertIsNone(self.successResultOf(self.beside("a")))
        self.assertEqual(len(self.origin.asked), before)

    def test_it_is_looked_for_no_longer_than_it_may_be(self) -> None:
        self.known("a", "b")
        self.cluster["b"].twists = [lambda _: Elsewhere(0.1, ())] * 100
        looking = self.beside("a")
        self.advance(0.9)
        self.assertNoResult(looking)
        self.advance(0.2)
        self.assertIsNone(self.successResultOf(looking))
        self.assert_clean()

    def test_one_that_broke_off_with_it_is_not_asked(self) -> None:
        self.known("a", "b")
        breaking = self.beside("a")
        body = self.successResultOf(breaking)
        assert body is not None
        done = self.keep(body).deliver(lambda _: None)
        sender = self.sender_of(body)
        assert isinstance(sender, FakePeerBody)
        sender.fail()
        self.failureResultOf(done)
        self.cluster.asked.clear()
        self.assertIsNone(self.successResultOf(self.beside("a")))
        self.assertEqual(self.cluster.asked, [])

    def test_where_bytes_of_peers_were_wrong_there_is_none(self) -> None:
        self.known("a", "b")
        self.suspicions.mismatched(DIGEST, {0: frozenset("a")}, {0: (1,)})
        self.assertIsNone(self.successResultOf(self.beside("a")))
        self.assertEqual(self.cluster.asked, [])

    def test_cancelling_leaves_nothing_behind(self) -> None:
        self.known("a", "b")
        self.cluster["b"].patient = True
        looking = self.beside("a")
        looking.addErrback(lambda _: None)
        looking.cancel()
        self.assertTrue(self.cluster.asked[0].cancelled)
        self.assert_clean()
