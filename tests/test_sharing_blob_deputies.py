"""A segment in a cluster of so many nodes that not all may ask its owner."""

from __future__ import annotations

from nodecache.membership import Address
from nodecache.peerwire.answers import Elsewhere
from nodecache.peerwire.questions import BlobQuestion
from tests.fakes_cluster import ME
from tests.sharing_blob_case import DATA, DIGEST, SharingCase

HAVE, MAY = "only-if-have", "may-fetch"


class Big(SharingCase):
    """``a`` is the owner, ``b`` and ``c`` its stand-ins, the next four the deputies."""

    ids = tuple("abcdefg") + tuple(f"n{number}" for number in range(510))

    def setUp(self) -> None:
        super().setUp()
        self.cluster.ranks["*"] = list("abcdefg")

    def deputy(self) -> str:
        """That of this node, found by asking."""
        self.fetch()
        peer, what, mode = self.cluster.log[0]
        self.assertEqual((what, mode), ("blob", HAVE))
        self.cluster.asked.clear()
        return peer

    def test_its_deputy_is_asked_before_the_owner(self) -> None:
        deputy = self.deputy()
        self.assertIn(deputy, "defg")
        self.cluster["a"].fetches[DIGEST] = DATA
        self.assert_segment(self.fetch(), 0, "a")
        self.assertEqual(self.cluster.log, [(deputy, "blob", HAVE), ("a", "blob", MAY)])

    def test_no_owner_is_kept_waiting_nor_sent_to_who_waits_for_it(self) -> None:
        def told() -> tuple[bool, bool]:
            question = self.cluster.asked[0].question
            assert isinstance(question, BlobQuestion)
            return question.as_owner, question.wait > 0

        self.fetch()
        self.assertEqual(told(), (False, True))
        self.cluster.asked.clear()
        self.cluster.ranks["*"] = [ME, "b", "c", "d"]
        self.fetch(1)
        self.assertEqual(told(), (True, False))

    def test_a_deputy_that_has_it_gives_it(self) -> None:
        deputy = self.deputy()
        self.cluster[deputy].has[DIGEST] = DATA
        self.assert_segment(self.fetch(), 0, deputy)

    def test_whom_a_deputy_names_gives_it_and_the_owner_hears_nothing(self) -> None:
        deputy = self.deputy()
        self.cluster[deputy].refusal = Elsewhere(0.1, (("n7", Address("10.0.0.1", 5001)),))
        self.cluster["n7"].has[DIGEST] = DATA
        self.assert_segment(self.fetch(), 0, "n7")
        self.assertEqual([peer for peer, _, _ in self.cluster.log], [deputy, "n7"])

    def test_a_deputy_that_asks_to_come_again_is_asked_again(self) -> None:
        deputy = self.deputy()
        self.cluster[deputy].refusal = Elsewhere(0.1)
        fetching = self.begin()
        self.assertNoResult(fetching)
        self.cluster[deputy].has[DIGEST] = DATA
        self.clock.advance(0.1)
        self.assert_segment(self.successResultOf(fetching), 0, deputy)
        self.assertEqual([peer for peer, _, _ in self.cluster.log], [deputy] * 2)

    def test_a_deputy_that_only_ever_asks_to_come_again_holds_nobody_up_for_long(self) -> None:
        deputy = self.deputy()
        self.cluster[deputy].refusal = Elsewhere(0.1)
        self.cluster["a"].fetches[DIGEST] = DATA
        fetching = self.begin()
        self.clock.pump([0.1] * 55)
        self.assert_segment(self.successResultOf(fetching), 0, "a")

    def test_who_is_a_deputy_itself_asks_the_owner(self) -> None:
        self.cluster.ranks["*"] = ["a", "b", "c", ME, "e", "f", "g"]
        self.cluster["a"].fetches[DIGEST] = DATA
        self.assert_segment(self.fetch(), 0, "a")
        self.assertEqual(self.cluster.log, [("a", "blob", MAY)])

    def test_the_owner_asks_none(self) -> None:
        self.cluster.ranks["*"] = [ME, "b", "c", "d", "e", "f", "g"]
        self.fetch()
        self.assertEqual([peer for peer, _, _ in self.cluster.log], ["b", "c"])


class Small(SharingCase):
    ids = tuple("abcdefg") + tuple(f"n{number}" for number in range(504))

    def test_of_512_nodes_each_asks_the_owner(self) -> None:
        self.cluster.ranks["*"] = list("abcdefg")
        self.cluster["a"].fetches[DIGEST] = DATA
        self.assert_segment(self.fetch(), 0, "a")
        self.assertEqual(self.cluster.log, [("a", "blob", MAY)])
