"""Tags and manifests from peers, from upstream, and from whoever has them."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nodecache.failures import PeerFailure, PeerKind, UpstreamFailure, UpstreamKind
from nodecache.limits import Limits, Timeouts
from nodecache.peerwire.answers import (
    Absent,
    Denied,
    Elsewhere,
    Fetching,
    Manifest,
    UpstreamAbsent,
    UpstreamBroken,
)
from nodecache.peerwire.questions import ManifestQuestion, Mode
from nodecache.reference import Digest, Reference
from nodecache.sharing.blob import SharedBlob
from nodecache.sharing.duties import Asking, Duties
from nodecache.sharing.manifest_answers import ToldByPeer, judge
from nodecache.sharing.manifest_ports import age_of
from nodecache.sharing.places import UpstreamPlaces
from nodecache.sharing.suspicions import Suspicions
from nodecache.sharing.tools import Tools
from nodecache.sharing.upstreams import SharedUpstreams
from tests.fakes_cache import ALPINE, LATEST, FakeUpstream, FetchedPage, digest_of, image
from tests.fakes_cluster import ME, FakeCluster, FakePeer

OLD = image("old")
NEW = image("new")
LAYER = digest_of(b"layer")
NAME = ALPINE.name
HEAD = "HEAD alpine:latest"
GET = f"GET alpine@{OLD.digest.hex[:6]}"
DOWN = UpstreamFailure(UpstreamKind.UNREACHABLE, "refused")


def said(manifest: Any = OLD, *, age: float | None = None, fetched: bool = False) -> Manifest:
    return Manifest(
        manifest.digest, manifest.media_type, len(manifest.body), age, manifest.body, fetched
    )


class ManifestCase(SynchronousTestCase):
    """This node, before the peers a to e; they rank in this order, and this node last."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.hub = FakeUpstream()
        self.hub.has(ALPINE, LATEST, OLD)
        self.cluster = self.make_cluster()
        self.offline = False
        self.aside: list[str] = []
        self.limits = Limits()
        timeouts, observe = Timeouts(), lambda _event: None
        self.timeouts = timeouts
        self.shared = SharedUpstreams(
            self,
            Tools(
                cluster=self.cluster,
                duties=Duties(),
                asking=Asking(),
                places=UpstreamPlaces(8, 8, self.clock),
                suspicions=Suspicions(
                    self.cluster,
                    self.clock,
                    observe,
                    lambda peer, _kind: self.aside.append(peer),
                    timeouts,
                ),
                clock=self.clock,
                limits=self.limits,
                timeouts=timeouts,
                offline=lambda: self.offline,
            ),
            put_aside=self.aside.append,
        )
        self.upstream = self.shared.get("docker.io")

    def make_cluster(self) -> FakeCluster:
        return FakeCluster(*(FakePeer(name) for name in "abcde"), clock=self.clock)

    def get(self, _namespace: str) -> FakeUpstream:
        """The direct ``Upstreams``."""
        return self.hub

    def i_rank(self, place: int) -> None:
        order = list("abcde")
        order.insert(place, ME)
        self.cluster.ranks["*"] = order

    def start(self, work: Any) -> Deferred[Any]:
        return Deferred.fromCoroutine(work)

    def head(self, reference: Reference = LATEST) -> Any:
        return self.successResultOf(self.start(self.upstream.head_manifest(NAME, reference)))

    def fetch(self, reference: Reference = OLD.digest) -> Any:
        return self.successResultOf(self.start(self.upstream.get_manifest(NAME, reference)))

    def refused(self, work: Any) -> Any:
        return self.failureResultOf(self.start(work)).value

    def log(self) -> list[tuple[str, str]]:
        """Who was asked since the last time, and how."""
        asked = [(peer, mode) for peer, _, mode in self.cluster.log]
        self.cluster.asked.clear()
        return asked


class TagTests(ManifestCase):
    def test_the_owner_is_asked_and_tells_the_age(self) -> None:
        self.cluster["a"].manifests["latest"] = said(age=7.5)
        found = self.head()
        self.assertEqual((found.digest, found.media_type), (OLD.digest, OLD.media_type))
        self.assertEqual((found.size, age_of(found)), (len(OLD.body), 7.5))
        self.assertEqual((self.log(), self.hub.asked), ([("a", "may-fetch")], []))

    def test_upstreams_own_word_is_of_now(self) -> None:
        self.i_rank(0)
        self.assertEqual(age_of(self.head()), 0.0)
        self.assertEqual((self.log(), self.hub.asked), ([], [HEAD]))

    def test_stand_ins_fetch_where_the_owner_does_not_answer(self) -> None:
        self.cluster["a"].failing = PeerKind.REFUSED
        self.cluster["b"].manifests["latest"] = said(age=0.0)
        self.head()
        self.assertEqual(self.log(), [("a", "may-fetch"), ("b", "may-fetch")])

    def test_a_stand_in_asks_upstream_and_not_those_behind_it(self) -> None:
        self.i_rank(1)
        self.cluster["a"].failing = PeerKind.REFUSED
        self.head()
        self.assertEqual((self.log(), self.hub.asked), ([("a", "may-fetch")], [HEAD]))

    def test_no_answer_of_peers_keeps_from_asking_upstream(self) -> None:
        broken = UpstreamBroken(UpstreamKind.LIMITED, "limit", 429)
        for refusal in (Absent(), Denied("no"), broken, Elsewhere(0.1, leaving=True)):
            with self.subTest(refusal):
                for peer in self.cluster.peers.values():
                    peer.refusal = refusal
                self.hub.asked.clear()
                self.assertEqual(self.head().digest, OLD.digest)
                self.assertEqual(self.hub.asked, [HEAD])

    def test_after_an_owners_broken_upstream_no_one_else_is_made_to_try(self) -> None:
        self.cluster["a"].refusal = UpstreamBroken(UpstreamKind.ERROR, "500", 500)
        self.head()
        self.assertEqual(self.log(), [("a", "may-fetch")])

    def test_who_is_fetching_it_is_asked_again(self) -> None:
        self.cluster["a"].twists += [lambda _: Fetching(0.4), lambda _: said(age=0.0)]
        asking = self.start(self.upstream.head_manifest(NAME, LATEST))
        self.assertNoResult(asking)
        self.clock.advance(0.4)
        self.assertEqual(self.successResultOf(asking).digest, OLD.digest)
        self.assertEqual(self.hub.asked, [])

    def test_but_not_for_ever(self) -> None:
        self.cluster["a"].refusal = Fetching(0.4)
        asking = self.start(self.upstream.head_manifest(NAME, LATEST))
        self.clock.pump([0.1] * 65)
        self.assertEqual(self.successResultOf(asking).digest, OLD.digest)
        self.assertEqual(self.hub.asked, [HEAD])

    def test_upstreams_word_to_a_peer_is_the_answer(self) -> None:
        self.cluster["a"].refusal = UpstreamAbsent(UpstreamKind.DENIED, "no", 401)
        failure = self.refused(self.upstream.head_manifest(NAME, LATEST))
        self.assertIsInstance(failure, ToldByPeer)
        self.assertEqual((failure.kind, failure.status), (UpstreamKind.DENIED, 401))
        self.assertEqual(self.hub.asked, [])

    def test_a_down_upstream_is_not_asked_and_nobody_is_asked_what_it_meant(self) -> None:
        self.hub.remembered = DOWN
        failure = self.refused(self.upstream.head_manifest(NAME, LATEST))
        self.assertIs(failure, DOWN)
        self.assertNotIn("only-if-have", {mode for _, mode in self.log()})

    def test_offline_nobody_is_made_to_fetch(self) -> None:
        self.offline = True
        failure = self.refused(self.upstream.head_manifest(NAME, LATEST))
        self.assertIs(failure.kind, UpstreamKind.DOWN)
        self.assertEqual((self.log(), self.hub.asked), ([], []))

    def test_a_get_of_a_tag_is_checked_against_its_own_digest(self) -> None:
        self.cluster["a"].manifests["latest"] = attrs.evolve(said(age=1.0), body=NEW.body)
        self.cluster["b"].manifests["latest"] = said(age=2.0)
        found = self.fetch(LATEST)
        self.assertEqual((found.body, age_of(found)), (OLD.body, 2.0))
        self.assertEqual(self.aside, ["a"])

    def test_a_starting_node_waits_for_its_first_greetings(self) -> None:
        self.cluster.starting = Deferred()
        asking = self.start(self.upstream.head_manifest(NAME, LATEST))
        self.assertTrue(self.shared.rest.live())
        self.assertEqual(self.hub.asked, [])
        self.cluster["a"].manifests["latest"] = said(age=0.0)
        self.cluster.starting.callback(None)
        self.successResultOf(asking)
        self.assertEqual(self.hub.asked, [])


class DigestTests(ManifestCase):
    def test_the_owner_is_asked_for_it(self) -> None:
        self.cluster["a"].manifests[str(OLD.digest)] = said()
        found = self.fetch()
        self.assertEqual((found.body, found.media_type), (OLD.body, OLD.media_type))
        self.assertEqual((self.log(), self.hub.asked), ([("a", "may-fetch")], []))

    def test_an_owner_asks_stand_ins_whether_they_have_it_and_then_upstream(self) -> None:
        self.i_rank(0)
        self.assertEqual(self.fetch().body, OLD.body)
        self.assertEqual(self.log(), [("a", "only-if-have"), ("b", "only-if-have")])
        self.assertEqual(self.hub.asked, [GET])

    def test_an_owner_does_not_fetch_what_a_stand_in_has(self) -> None:
        self.i_rank(0)
        self.cluster["b"].manifests[str(OLD.digest)] = said()
        self.assertEqual(self.fetch().body, OLD.body)
        self.assertEqual(self.hub.asked, [])

    def test_what_a_peer_asked_for_is_not_got_again_when_its_stand_ins_were_slow(self) -> None:
        """Its question and our own both lead upstream, and the one is late."""
        self.i_rank(0)
        self.cluster["b"].patient = True
        owned = self.shared.owned.get("docker.io")
        theirs = self.start(owned.get_manifest(NAME, OLD.digest))
        self.assertNoResult(theirs)
        ours = self.start(self.shared.direct.get("docker.io").get_manifest(NAME, OLD.digest))
        self.assertEqual(self.successResultOf(ours).body, OLD.body)
        for asked in [each for each in self.cluster.asked if each.open]:
            self.cluster.answer(asked)
        self.assertEqual(self.successResultOf(theirs).body, OLD.body)
        self.assertEqual(self.hub.asked, [GET])

    def test_a_while_later_it_is_got_anew(self) -> None:
        direct = self.shared.direct.get("docker.io")
        for _ in range(2):
            self.successResultOf(self.start(direct.get_manifest(NAME, OLD.digest)))
            self.clock.advance(60)
        self.assertEqual(self.hub.asked, [GET, GET])

    def test_who_told_the_tag_is_asked_for_its_manifest(self) -> None:
        self.cluster.ranks = {
            f"docker.io/{NAME}:latest": ["e"],
            str(OLD.digest): [ME, "a", "b"],
        }
        self.cluster["e"].manifests["latest"] = said(age=0.0)
        self.cluster["e"].manifests[str(OLD.digest)] = said()
        self.head()
        self.fetch()
        self.assertEqual(self.hub.asked, [])

    def test_wrong_bytes_are_refused_their_sender_put_aside_and_others_asked(self) -> None:
        self.cluster["a"].manifests[str(OLD.digest)] = attrs.evolve(said(), body=NEW.body)
        self.cluster["b"].manifests[str(OLD.digest)] = said()
        self.assertEqual(self.fetch().body, OLD.body)
        self.assertEqual(self.aside, ["a"])

    def test_whatever_upstream_says_all_are_asked_whether_they_have_it(self) -> None:
        self.cluster["e"].manifests[str(OLD.digest)] = said()
        for kind, status in ((UpstreamKind.NOT_FOUND, 404), (UpstreamKind.LIMITED, 429)):
            with self.subTest(kind):
                self.hub.failures["GET"] = UpstreamFailure(kind, "no", status=status)
                self.assertEqual(self.fetch().body, OLD.body)
                self.assertIn(("e", "only-if-have"), self.log())

    def test_also_where_a_peer_was_told_so(self) -> None:
        self.cluster["a"].refusal = UpstreamAbsent(UpstreamKind.NOT_FOUND, "no", 404)
        self.cluster["d"].manifests[str(OLD.digest)] = said()
        self.assertEqual(self.fetch().body, OLD.body)
        self.assertEqual(self.hub.asked, [])

    def test_in_vain_is_upstreams_failure_and_not_tried_again_at_once(self) -> None:
        self.hub.remembered = DOWN
        for _ in range(2):
            failure = self.refused(self.upstream.get_manifest(NAME, OLD.digest))
            self.assertIs(failure, DOWN)
        asked = [mode for _, mode in self.log()]
        self.assertEqual(asked.count("only-if-have"), 5)
        self.clock.advance(self.timeouts.absent)
        self.refused(self.upstream.get_manifest(NAME, OLD.digest))
        self.assertEqual([mode for _, mode in self.log()].count("only-if-have"), 5)

    def test_a_slow_upstream_is_overtaken_by_who_has_it(self) -> None:
        self.hub.held["GET"].holding = True
        self.cluster["e"].manifests[str(OLD.digest)] = said()
        asking = self.start(self.upstream.get_manifest(NAME, OLD.digest))
        self.clock.advance(self.timeouts.peer_sweep_after)
        self.assertEqual(self.successResultOf(asking).body, OLD.body)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_and_waited_for_where_nobody_has(self) -> None:
        self.hub.held["GET"].holding = True
        asking = self.start(self.upstream.get_manifest(NAME, OLD.digest))
        self.clock.advance(self.timeouts.peer_sweep_after)
        self.assertNoResult(asking)
        self.hub.held["GET"].release()
        self.assertEqual(self.successResultOf(asking).body, OLD.body)
        self.assertEqual(self.hub.asked, [GET])

    def test_its_failure_ends_the_wait_at_once(self) -> None:
        self.hub.failures["GET"] = DOWN
        self.assertIs(self.refused(self.upstream.get_manifest(NAME, OLD.digest)), DOWN)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class OtherQuestionTests(ManifestCase):
    def test_the_size_of_a_blob_is_asked_of_who_ranks_then_of_upstream(self) -> None:
        self.hub.blobs[LAYER] = 9
        size = self.successResultOf(self.start(self.upstream.head_blob(NAME, LAYER)))
        self.assertEqual(size, 9)
        self.assertEqual([peer for peer, _ in self.log()], ["a", "b", "c"])
        self.cluster["b"].has[LAYER] = b"layer"
        size = self.successResultOf(self.start(self.upstream.head_blob(NAME, LAYER)))
        self.assertEqual(size, 5)
        self.assertEqual({mode for _, mode in self.log()}, {"only-if-have"})

    def test_and_then_of_anybody(self) -> None:
        self.cluster["e"].has[LAYER] = b"layer"
        self.hub.remembered = DOWN
        size = self.successResultOf(self.start(self.upstream.head_blob(NAME, LAYER)))
        self.assertEqual(size, 5)
        missing = self.upstream.head_blob(NAME, digest_of(b"missing"))
        self.assertIs(self.refused(missing), DOWN)

    def test_listings_are_upstreams_alone(self) -> None:
        self.hub.pages[NAME, None, None] = FetchedPage(b"{}")
        page = self.successResultOf(self.start(self.upstream.tags(NAME, None, None)))
        self.assertEqual(page.body, b"{}")
        self.hub.remembered = DOWN
        self.assertIs(self.refused(self.upstream.tags(NAME, None, None)), DOWN)
        self.assertIs(self.refused(self.upstream.referrers(NAME, LAYER, None)), DOWN)
        self.assertEqual(self.log(), [])

    def test_blobs_are_shared_as_well(self) -> None:
        self.assertIsInstance(self.upstream.blob_source(NAME, LAYER), SharedBlob)


class RestTests(ManifestCase):
    def has(self, digest: Digest = LAYER) -> bool:
        found: bool = self.successResultOf(self.start(self.shared.rest.has_blob(ALPINE, digest)))
        return found

    def meaning(self, *, known: bool = False) -> Any:
        asking = self.start(self.shared.rest.meaning(ALPINE, LATEST, known=known))
        return self.successResultOf(asking)

    def test_the_youngest_meaning_of_all_is_told_and_ages(self) -> None:
        self.cluster["b"].manifests["latest"] = said(age=300.0)
        self.cluster["d"].manifests["latest"] = said(NEW, age=100.0)
        self.assertEqual((self.meaning().digest, self.meaning().age), (NEW.digest, 100.0))
        self.clock.advance(3)
        self.assertEqual(self.meaning().age, 103.0)
        self.assertEqual(len(self.log()), 5)

    def test_that_nobody_knows_it_is_remembered(self) -> None:
        for _ in range(3):
            self.assertIsNone(self.meaning())
        self.assertEqual(len(self.log()), 5)

    def test_a_silent_peer_costs_the_others_answers_nothing_but_time(self) -> None:
        self.cluster["a"].patient = True
        self.cluster["b"].manifests["latest"] = said(age=300.0)
        asking = self.start(self.shared.rest.meaning(ALPINE, LATEST, known=False))
        self.assertNoResult(asking)
        self.clock.advance(self.timeouts.peer_silence)
        self.assertEqual(self.successResultOf(asking).digest, OLD.digest)

    def test_whole_blobs_are_found_and_remembered(self) -> None:
        self.assertFalse(self.has())
        self.cluster["d"].has[LAYER] = b"layer"
        self.assertFalse(self.has())
        self.clock.advance(self.timeouts.absent)
        self.log()
        self.assertTrue(self.has())
        self.assertTrue(self.has())
        self.assertLessEqual(len(self.log()), 5)

    def test_peers_that_fail_have_nothing(self) -> None:
        for peer in self.cluster.peers.values():
            peer.failing = PeerKind.REFUSED
        self.assertFalse(self.has())
        self.assertIsNone(self.meaning())

    def test_without_peers_nobody_lives(self) -> None:
        self.cluster.off.update("abcde")
        self.meaning()
        self.assertFalse(self.shared.rest.live())

    def test_that_upstream_answers_a_peer_is_known_for_a_while(self) -> None:
        self.assertFalse(self.shared.rest.reach("docker.io"))
        self.cluster["a"].manifests["latest"] = said(age=0.0, fetched=True)
        self.head()
        self.assertTrue(self.shared.rest.reach("docker.io"))
        self.assertFalse(self.shared.rest.reach("quay.io"))
        self.clock.advance(self.timeouts.absent)
        self.assertFalse(self.shared.rest.reach("docker.io"))


class JudgeTests(SynchronousTestCase):
    def question(self, *, head: bool = False, reference: Reference = OLD.digest) -> Any:
        return ManifestQuestion(ALPINE, reference, Mode.MAY_FETCH, 5.0, head)

    def test_what_is_no_answer_is_refused(self) -> None:
        for answer, problem in (
            (said(NEW), PeerKind.WRONG),
            (attrs.evolve(said(), body=None), PeerKind.WRONG),
            (attrs.evolve(said(), size=1), PeerKind.WRONG),
            (attrs.evolve(said(), size=-1), PeerKind.WRONG),
            (attrs.evolve(said(), media_type=""), PeerKind.WRONG),
            (attrs.evolve(said(), age=float("inf")), PeerKind.WRONG),
            (attrs.evolve(said(), age=float("nan")), PeerKind.WRONG),
            (attrs.evolve(said(), body=NEW.body), PeerKind.CORRUPT),
        ):
            with self.subTest(answer):
                with self.assertRaises(PeerFailure) as caught:
                    judge(answer, self.question(), "a")
                self.assertIs(caught.exception.problem, problem)

    def test_an_age_below_zero_is_none(self) -> None:
        found = judge(said(age=-5.0), self.question(head=True, reference=LATEST), "a")
        self.assertEqual(found.age, 0.0)
