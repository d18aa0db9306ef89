"""A tag and a manifest in a cluster of so many nodes that not all may ask their owner."""

from __future__ import annotations

from nodecache.membership import Address
from nodecache.peerwire.answers import Elsewhere
from nodecache.peerwire.questions import ManifestQuestion
from nodecache.sharing.manifest_ports import age_of
from tests.fakes_cache import LATEST
from tests.fakes_cluster import ME, FakeCluster, FakePeer
from tests.test_sharing_manifests import GET, HEAD, OLD, ManifestCase, said

HAVE, MAY = "only-if-have", "may-fetch"
NAMED = Elsewhere(0.1, (("n7", Address("10.0.0.1", 5001)),))


class BigCase(ManifestCase):
    """``a`` is the owner, ``b`` and ``c`` its stand-ins, the next four the deputies."""

    others = 510

    def make_cluster(self) -> FakeCluster:
        names = [*"abcdefg", *(f"n{number}" for number in range(self.others))]
        cluster = FakeCluster(*(FakePeer(name) for name in names), clock=self.clock)
        cluster.ranks["*"] = list("abcdefg")
        return cluster

    def deputy(self) -> str:
        """That of this node for the tag, found by asking."""
        self.head()
        (peer, mode), *_ = self.log()
        self.assertEqual(mode, HAVE)
        self.hub.asked.clear()
        return peer


class TagTests(BigCase):
    def test_the_deputy_is_asked_before_the_owner(self) -> None:
        deputy = self.deputy()
        self.assertIn(deputy, "defg")
        self.cluster["a"].manifests["latest"] = said(age=3.0)
        self.assertEqual(age_of(self.head()), 3.0)
        self.assertEqual((self.log(), self.hub.asked), ([(deputy, HAVE), ("a", MAY)], []))

    def test_what_a_deputy_was_told_a_moment_ago_is_taken(self) -> None:
        deputy = self.deputy()
        self.cluster[deputy].manifests["latest"] = said(age=59.0)
        self.assertEqual(age_of(self.head()), 59.0)
        question = self.cluster.asked[-1].question
        assert isinstance(question, ManifestQuestion)
        self.assertEqual((question.youth, question.as_owner), (60.0, False))

    def test_what_is_as_old_as_a_tag_may_be_is_not_even_from_a_node_that_gives_it(self) -> None:
        deputy = self.deputy()
        self.cluster[deputy].manifests["latest"] = said(age=60.0)
        self.cluster["a"].manifests["latest"] = said(age=0.0)
        self.assertEqual(age_of(self.head()), 0.0)

    def test_whom_a_deputy_names_tells_it_and_the_owner_hears_nothing(self) -> None:
        deputy = self.deputy()
        self.cluster[deputy].refusal = NAMED
        self.cluster["n7"].manifests["latest"] = said(age=1.0)
        self.assertEqual(age_of(self.head()), 1.0)
        self.assertEqual((self.log(), self.hub.asked), ([(deputy, HAVE), ("n7", HAVE)], []))

    def test_a_deputy_that_asks_to_come_again_is_asked_again(self) -> None:
        deputy = self.deputy()
        self.cluster[deputy].refusal = Elsewhere(0.1)
        asking = self.start(self.upstream.head_manifest("library/alpine", LATEST))
        self.assertNoResult(asking)
        self.cluster[deputy].manifests["latest"] = said(age=0.0)
        self.clock.advance(0.1)
        self.assertEqual(self.successResultOf(asking).digest, OLD.digest)
        self.assertEqual(self.log(), [(deputy, HAVE)] * 2)

    def test_one_that_only_ever_asks_to_come_again_costs_no_more_than_its_time(self) -> None:
        deputy = self.deputy()
        self.cluster[deputy].refusal = Elsewhere(0.1)
        self.cluster["a"].manifests["latest"] = said(age=0.0)
        asking = self.start(self.upstream.head_manifest("library/alpine", LATEST))
        self.clock.pump([0.1] * 55)
        self.assertEqual(self.successResultOf(asking).digest, OLD.digest)
        self.assertEqual((self.log()[-1], self.hub.asked), (("a", MAY), []))

    def test_the_owner_asks_upstream_and_a_deputy_asks_the_owner(self) -> None:
        self.cluster.ranks["*"] = [ME, *"abcdef"]
        self.head()
        self.assertEqual((self.log(), self.hub.asked), ([], [HEAD]))
        self.cluster.ranks["*"] = [*"abcd", ME, "e", "f"]
        self.cluster["a"].manifests["latest"] = said(age=0.0)
        self.head()
        self.assertEqual(self.log(), [("a", MAY)])


class DigestTests(BigCase):
    def test_a_deputy_is_asked_before_the_owner_and_whom_it_names(self) -> None:
        self.fetch()
        (deputy, mode), *_ = self.log()
        self.assertEqual((mode, self.hub.asked), (HAVE, [GET]))
        self.cluster[deputy].refusal = NAMED
        self.cluster["n7"].manifests[str(OLD.digest)] = said()
        # What upstream gave a moment ago is not what is asked for here.
        self.assertEqual(self.fetch().peer, "n7")
        self.assertEqual((self.log(), self.hub.asked), ([(deputy, HAVE), ("n7", HAVE)], [GET]))


class SmallTests(BigCase):
    others = 504

    def test_of_512_nodes_each_asks_the_owner(self) -> None:
        self.cluster["a"].manifests["latest"] = said(age=0.0)
        self.head()
        self.assertEqual(self.log(), [("a", MAY)])
