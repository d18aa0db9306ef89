"""What a node answers its peers."""

from __future__ import annotations

from typing import Any

import attrs

from nodecache.byteranges import Span
from nodecache.cache.refusals import refusal_of
from nodecache.events import PeerSuspected
from nodecache.failures import (
    Failure,
    FlightFailed,
    NoRoom,
    OfflineMiss,
    PeerFailure,
    PeerKind,
    StoreFailure,
    UpstreamFailure,
    UpstreamKind,
)
from nodecache.freshness import TagEntry
from nodecache.limits import MIB, SEGMENT
from nodecache.peerwire.answers import (
    Absent,
    Denied,
    Elsewhere,
    Fetching,
    Manifest,
    Refusal,
    UpstreamAbsent,
    UpstreamBroken,
)
from nodecache.peerwire.questions import BlobQuestion, ManifestQuestion, Mode
from nodecache.reference import Tag
from nodecache.rules import NameRules
from nodecache.sharing.manifest_answers import ToldByPeer
from tests.cache_cluster import ClusterCase
from tests.fakes_cache import ALPINE, BROKEN, BUSYBOX, EPOCH, LATEST, digest_of, image

OLD = image("old", b"layer")
NEW = image("new")
LAYER = digest_of(b"layer")
HEAD = "HEAD alpine:latest"
GET_OLD = f"GET alpine@{OLD.digest.hex[:6]}"
FULL = NoRoom("no room")
GONE = UpstreamFailure(UpstreamKind.NOT_FOUND, "upstream says 404", status=404)


class OwnerCase(ClusterCase):
    def setUp(self) -> None:
        super().setUp()
        self.hub.has(ALPINE, LATEST, OLD)
        self.node, *_ = self.make(3)

    @property
    def owner(self) -> Any:
        assert self.node.cache.owner is not None
        return self.node.cache.owner

    def ask_blob(self, mode: Mode = Mode.MAY_FETCH, **changes: Any) -> Any:
        question = BlobQuestion(ALPINE, LAYER, Span(0, MIB), mode, 5.0)
        return self.start(self.owner.peer_blob(attrs.evolve(question, **changes), "n1"))

    def blob(self, mode: Mode = Mode.MAY_FETCH, **changes: Any) -> Any:
        return self.successResultOf(self.ask_blob(mode, **changes))

    def has_blob(self, **changes: Any) -> Any:
        question = BlobQuestion(ALPINE, LAYER, Span(0, 1), Mode.ONLY_IF_HAVE, 5.0)
        return self.successResultOf(
            self.start(self.owner.peer_has_blob(attrs.evolve(question, **changes)))
        )

    def ask_manifest(self, mode: Mode = Mode.MAY_FETCH, **changes: Any) -> Any:
        question = ManifestQuestion(ALPINE, LATEST, mode, 5.0, head=False)
        return self.start(self.owner.peer_manifest(attrs.evolve(question, **changes), "n1"))

    def manifest(self, mode: Mode = Mode.MAY_FETCH, **changes: Any) -> Any:
        return self.successResultOf(self.ask_manifest(mode, **changes))

    def deny(self) -> None:
        rules = {"docker.io": NameRules(deny=("library/alpine",))}
        self.node.set_policy(rules=rules)


class BlobTests(OwnerCase):
    def test_what_is_whole_here_is_lent_in_both_modes(self) -> None:
        self.node.store.blobs[LAYER] = b"layer"
        for mode in Mode:
            loan = self.blob(mode)
            self.assertEqual((loan.total, loan.fetched), (5, False))
            loan.close()
        self.assertEqual([loan.readable.closes for loan in self.node.lender.loans], [1, 1])

    def test_what_is_not_here_is_absent_for_who_asks_only_that(self) -> None:
        self.node.lender.fetchable[LAYER] = 5
        self.assertEqual(self.blob(Mode.ONLY_IF_HAVE), Absent())
        self.assertEqual(self.node.lender.asked, [(LAYER, False)])

    def test_who_may_wait_for_what_is_on_its_way_is_told_so(self) -> None:
        self.node.lender.getting.add(LAYER)
        answer = self.blob(Mode.ONLY_IF_HAVE, wait=0.3)
        self.assertEqual((answer, self.node.lender.waits), (Elsewhere(0.2), [0.3]))
        self.assertEqual(self.blob(Mode.ONLY_IF_HAVE), Absent())
        with self.node.duties.upstream(LAYER, 0):
            for wait in (0.0, 0.3):
                self.assertEqual(self.blob(Mode.ONLY_IF_HAVE, wait=wait), Fetching(0.1))
            self.assertEqual(
                self.blob(Mode.ONLY_IF_HAVE, span=Span(SEGMENT, SEGMENT + 1)), Absent()
            )
        self.assertEqual(self.blob(Mode.ONLY_IF_HAVE), Absent())

    def test_what_may_be_fetched_is_and_the_duty_lasts_as_long_as_the_loan(self) -> None:
        self.node.lender.fetchable[LAYER] = 5
        loan = self.blob(span=Span(SEGMENT, SEGMENT + 9))
        self.assertTrue(loan.fetched)
        self.assertTrue(self.node.duties.has(LAYER, 1))
        self.assertFalse(self.node.duties.has(LAYER, 0))
        loan.close()
        self.assertEqual(len(self.node.duties), 0)

    def test_no_failure_leaves_a_duty(self) -> None:
        for failure in (GONE, FULL, BROKEN, FlightFailed(GONE)):
            self.node.lender.failure = failure
            self.assertIsInstance(self.blob(repository=BUSYBOX), Refusal)
            self.assertEqual(len(self.node.duties), 0)
            self.clock.advance(self.timeouts.absent)

    def test_upstreams_refusal_is_told_and_remembered_by_name(self) -> None:
        self.node.lender.failure = GONE
        said = UpstreamAbsent(UpstreamKind.NOT_FOUND, "upstream says 404", 404)
        self.assertEqual(self.blob(), said)
        self.assertEqual(self.blob(), said)
        self.assertEqual([fetch for _, fetch in self.node.lender.asked], [False, True, False])
        self.node.lender.failure = None
        self.node.lender.fetchable[LAYER] = 5
        self.blob(repository=BUSYBOX).close()
        self.clock.advance(self.timeouts.absent)
        self.blob().close()

    def test_a_failure_of_upstream_is_told_with_its_kind_and_not_remembered(self) -> None:
        self.node.lender.failure = UpstreamFailure(UpstreamKind.LIMITED, "limit", status=429)
        self.assertEqual(self.blob(), UpstreamBroken(UpstreamKind.LIMITED, "limit", 429))
        self.node.lender.failure = None
        self.node.lender.fetchable[LAYER] = 5
        self.blob().close()

    def test_no_room_is_no_word_of_upstream(self) -> None:
        self.node.lender.failure = FULL
        self.assertEqual(self.blob(), Denied("no room"))

    def test_an_upstream_known_to_be_down_is_not_tried(self) -> None:
        self.node.egress.cut = UpstreamFailure(UpstreamKind.UNREACHABLE, "refused")
        self.node.egress.known = True
        self.assertEqual(self.blob(), UpstreamBroken(UpstreamKind.UNREACHABLE, "refused"))
        self.node.store.blobs[LAYER] = b"layer"
        self.blob().close()

    def test_offline_only_what_is_here_is_lent(self) -> None:
        self.node.set_policy(offline=True)
        self.assertEqual(self.blob(), Denied("offline"))
        self.node.lender.partial[LAYER] = 5
        self.blob().close()

    def test_who_sends_us_the_segment_does_not_get_it_from_us(self) -> None:
        leave = self.node.asking.enter(LAYER, 0, "n1")
        self.assertIsInstance(self.blob(), Denied)
        self.assertIsInstance(self.blob(Mode.ONLY_IF_HAVE), Denied)
        self.assertEqual(self.node.lender.asked, [])
        self.node.lender.fetchable[LAYER] = 5
        self.blob(span=Span(SEGMENT, SEGMENT + 1)).close()
        leave()
        self.blob().close()

    def test_unless_it_is_whole_here(self) -> None:
        self.node.store.blobs[LAYER] = b"layer"
        self.node.asking.enter(LAYER, 0, "n1")
        self.blob().close()

    def test_a_manifest_is_no_blob(self) -> None:
        self.node.store.fill_with(OLD)
        for mode in Mode:
            self.assertEqual(self.blob(mode, digest=OLD.digest), Absent())
        self.assertIsNone(self.has_blob(digest=OLD.digest))

    def test_a_denied_name_gets_nothing_that_is_on_disk(self) -> None:
        self.node.store.blobs[LAYER] = b"layer"
        self.deny()
        for mode in Mode:
            self.assertIsInstance(self.blob(mode), Denied)
        self.assertIsNone(self.has_blob())
        self.assertEqual(self.node.lender.asked, [])

    def test_whether_it_is_here_begins_nothing(self) -> None:
        self.assertIsNone(self.has_blob())
        self.node.lender.partial[LAYER] = 7
        self.assertEqual(self.has_blob(), 7)
        self.assertIsNone(self.has_blob(verified=True))
        self.node.store.blobs[LAYER] = b"layer"
        self.assertEqual(self.has_blob(verified=True), 5)
        self.assertEqual((self.node.lender.asked, self.node.fills.starts), ([], []))


class YoungTests(OwnerCase):
    """A tag that is only to be told, and only as long as upstream's word on it holds."""

    def setUp(self) -> None:
        super().setUp()
        self.node.store.fill_with(OLD)

    def knows(self, *, age: float, imported: bool = False) -> None:
        entry = TagEntry(
            str(OLD.digest), OLD.media_type, len(OLD.body), EPOCH - age, imported=imported
        )
        self.node.store.tag_entries[ALPINE, LATEST] = entry

    def told(self, youth: float = 60.0, **changes: Any) -> Any:
        return self.manifest(Mode.ONLY_IF_HAVE, youth=youth, **changes)

    def test_what_upstream_said_a_moment_ago_is_told_with_its_age(self) -> None:
        self.knows(age=20.0)
        said = Manifest(OLD.digest, OLD.media_type, len(OLD.body), 20.0, OLD.body)
        self.assertEqual(self.told(), said)
        self.assertEqual(self.told(head=True), attrs.evolve(said, body=None))
        self.assertEqual(self.spent(), [])

    def test_what_is_too_old_for_the_asker_or_for_us_is_not(self) -> None:
        self.knows(age=20.0)
        self.assertEqual(self.told(20.0), Absent())
        self.knows(age=61.0)
        self.assertEqual(self.told(600.0), Absent())
        self.assertIsInstance(self.manifest(Mode.ONLY_IF_HAVE), Manifest)

    def test_an_import_is_not_upstreams_word(self) -> None:
        self.knows(age=1.0, imported=True)
        self.assertEqual(self.told(), Absent())

    def test_what_is_told_before_its_manifest_is_here_is_told_on(self) -> None:
        """A herd need not wait for the second question of those who came first."""
        self.node.store.manifests.clear()
        self.manifest(head=True)
        self.assertEqual(self.told(head=True).digest, OLD.digest)
        self.assertEqual(self.told(), Absent())


class VerifiedTests(OwnerCase):
    def test_only_a_whole_blob_is_lent(self) -> None:
        self.node.lender.partial[LAYER] = 5
        self.assertEqual(self.blob(Mode.ONLY_IF_HAVE, verified=True), Absent())
        self.node.lender.partial.clear()
        self.node.store.blobs[LAYER] = b"layer"
        self.blob(Mode.ONLY_IF_HAVE, verified=True).close()

    def test_whoever_may_fetch_fetches_the_whole_and_is_asked_again(self) -> None:
        self.node.fills.total = 5
        self.node.fills.opening.holding = True
        asking = self.ask_blob(verified=True)
        self.assertTrue(self.node.duties.repairs(LAYER))
        self.clock.advance(1)
        self.assertIsInstance(self.successResultOf(asking), Fetching)
        self.assertTrue(self.node.duties.repairs(LAYER))
        # It is whole: the last bytes, held back until then, are there.
        self.node.store.blobs[LAYER] = b"layer"
        self.node.fills.opening.release()
        self.assertFalse(self.node.duties.repairs(LAYER))
        self.assertEqual(self.blob(verified=True).total, 5)
        self.assertEqual(len(self.node.fills.starts), 1)

    def test_what_comes_from_upstream_alone_is_lent_while_it_arrives(self) -> None:
        """A big blob takes longer than any asker waits; it checks the digest itself."""
        self.node.fills.total, self.node.fills.arriving = 5, True
        self.node.lender.fetchable[LAYER] = 5
        asking = self.ask_blob(verified=True)
        self.clock.advance(1)
        self.successResultOf(asking).close()
        self.blob(verified=True).close()
        self.assertEqual(len(self.node.fills.starts), 1)
        self.assertTrue(self.node.duties.repairs(LAYER))

    def test_what_was_begun_before_is_not_lent_before_it_is_whole(self) -> None:
        self.node.fills.total, self.node.fills.arriving = 5, True
        self.node.lender.partial[LAYER] = 5
        asking = self.ask_blob(verified=True)
        self.clock.advance(1)
        self.assertIsInstance(self.successResultOf(asking), Fetching)
        self.assertIsInstance(self.blob_later(verified=True), Fetching)

    def blob_later(self, **changes: Any) -> Any:
        asking = self.ask_blob(**changes)
        self.clock.advance(1)
        return self.successResultOf(asking)

    def test_who_is_asked_repairs_though_it_finds_out_only_then_that_its_bytes_are_wrong(
        self,
    ) -> None:
        """Else each that was deceived, and came to know it sooner, would go upstream itself."""
        wrong = UpstreamFailure(UpstreamKind.WRONG, "the bytes that came have another digest")
        self.node.lender.partial[LAYER] = 5
        self.node.fills.total, self.node.fills.failure = 5, FlightFailed(wrong)
        self.node.fills.opening.holding = True
        asking = self.ask_blob(verified=True)
        self.node.fills.failure = None
        self.node.fills.opening.release()
        self.successResultOf(asking).close()
        self.assertEqual(len(self.node.fills.starts), 2)

    def test_what_fails_is_told(self) -> None:
        self.node.fills.failure = FlightFailed(GONE)
        self.assertIsInstance(self.blob(verified=True), UpstreamAbsent)
        self.node.fills.failure = None
        self.node.fills.refusal = FULL
        self.assertEqual(self.blob(verified=True), Denied("no room"))
        self.assertFalse(self.node.duties.repairs(LAYER))


class TagTests(OwnerCase):
    def test_a_tag_is_looked_up_and_kept_as_for_a_client(self) -> None:
        answer = self.manifest()
        self.assertEqual(
            answer, Manifest(OLD.digest, OLD.media_type, len(OLD.body), 0.0, OLD.body, True)
        )
        self.assertEqual(self.spent(), [HEAD, GET_OLD])
        entry = self.node.store.tag_entries[ALPINE, LATEST]
        self.assertEqual((entry.digest, entry.checked_at), (str(OLD.digest), EPOCH))
        self.assertEqual(self.pull(self.node).body, OLD.body)
        self.assertEqual(self.spent(), [])

    def test_its_age_is_told_and_no_peer_is_asked(self) -> None:
        self.manifest(head=True)
        self.clock.advance(7)
        answer = self.manifest(head=True)
        self.assertEqual((answer.age, answer.body, answer.fetched), (7.0, None, False))
        self.assertEqual(self.spent(), [HEAD])
        self.assertEqual(self.questions(), [])

    def test_questions_of_peers_and_clients_share_one_look(self) -> None:
        rank = self.by_tag()
        self.node = rank[0]
        self.hub.held["HEAD"].holding = True
        client = self.ask(self.node, head=True)
        peers = [self.ask_manifest(head=True) for _ in range(3)]
        self.hub.held["HEAD"].release()
        self.assertEqual(self.successResultOf(client).digest, OLD.digest)
        for peer in peers:
            self.assertEqual(self.successResultOf(peer).digest, OLD.digest)
        self.assertEqual(self.spent(), [HEAD])

    def test_who_waits_hears_that_it_is_fetched_and_the_question_goes_on(self) -> None:
        self.hub.held["HEAD"].holding = True
        asking = self.ask_manifest()
        self.clock.advance(self.timeouts.peer_alive)
        self.assertIsInstance(self.successResultOf(asking), Fetching)
        self.hub.held["HEAD"].release()
        self.assertEqual(self.manifest().body, OLD.body)
        self.assertEqual(self.spent(), [HEAD, GET_OLD])

    def test_it_hears_before_its_own_time_is_over(self) -> None:
        self.hub.held["HEAD"].holding = True
        asking = self.ask_manifest(seconds=0.2)
        self.clock.advance(0.17)
        self.assertIsInstance(self.successResultOf(asking), Fetching)

    def test_a_clock_that_jumped_tells_no_age_below_zero(self) -> None:
        self.manifest()
        self.node.skew = -100.0
        self.assertEqual(self.manifest(Mode.ONLY_IF_HAVE).age, 0.0)

    def test_absences_are_told_remembered_and_forgotten(self) -> None:
        missing = Tag("missing")
        for _ in range(2):
            answer = self.manifest(reference=missing)
            self.assertEqual(
                answer, UpstreamAbsent(UpstreamKind.NOT_FOUND, "upstream says 404", 404)
            )
        self.assertEqual(self.spent(), ["HEAD alpine:missing"])
        self.clock.advance(self.timeouts.absent)
        self.manifest(reference=missing)
        self.assertEqual(self.spent(), ["HEAD alpine:missing"])

    def test_what_a_peer_told_is_not_told_on(self) -> None:
        missing = Tag("missing")
        _, self.node, _ = self.by_tag(missing)
        self.refused(self.node, missing)
        self.spent()
        self.assertIsInstance(self.manifest(reference=missing), UpstreamAbsent)
        self.assertEqual(self.spent(), ["HEAD alpine:missing"])

    def test_failures_are_told_with_their_kind(self) -> None:
        self.hub.failures["HEAD"] = UpstreamFailure(
            UpstreamKind.LIMITED, "limit", status=429, retry_after=9.0
        )
        self.assertEqual(self.manifest(), UpstreamBroken(UpstreamKind.LIMITED, "limit", 429, 9.0))

    def test_an_import_is_for_who_asks_only_what_is_here(self) -> None:
        self.node.store.fill_with(NEW)
        entry = attrs.evolve(self._entry(NEW), imported=True)
        self.node.store.tag_entries[ALPINE, LATEST] = entry
        self.assertEqual(self.manifest(Mode.ONLY_IF_HAVE).digest, NEW.digest)
        self.assertEqual(self.manifest().digest, OLD.digest)
        self.assertEqual(self.node.store.tag_entries[ALPINE, LATEST], entry)

    def _entry(self, manifest: Any) -> Any:
        self.manifest()
        entry = self.node.store.tag_entries.pop((ALPINE, LATEST))
        self.node.cache = self.make_cache(self.node)
        return attrs.evolve(entry, digest=str(manifest.digest), size=len(manifest.body))

    def test_a_meaning_without_its_manifest_is_of_no_use_to_others(self) -> None:
        self.manifest(head=True)
        self.assertEqual(self.manifest(Mode.ONLY_IF_HAVE), Absent())

    def test_a_stopping_node_says_so(self) -> None:
        self.hub.held["HEAD"].holding = True
        asking = self.ask_manifest()
        self.node.cache.stop()
        answer = self.successResultOf(asking)
        assert isinstance(answer, Elsewhere)
        self.assertTrue(answer.leaving)


class DigestTests(OwnerCase):
    def test_one_that_is_here_is_given_in_both_modes(self) -> None:
        self.node.store.fill_with(OLD)
        for mode in Mode:
            for head in (True, False):
                answer = self.manifest(mode, reference=OLD.digest, head=head)
                self.assertEqual(answer.body, None if head else OLD.body)
                self.assertEqual((answer.age, answer.size), (None, len(OLD.body)))
        self.assertEqual(self.spent(), [])

    def test_one_that_is_not_here_is_fetched_and_kept(self) -> None:
        self.assertEqual(self.manifest(Mode.ONLY_IF_HAVE, reference=OLD.digest), Absent())
        for _ in range(2):
            self.assertEqual(self.manifest(reference=OLD.digest).body, OLD.body)
        self.assertEqual(self.spent(), [GET_OLD])
        modes = {mode for _, _, _, mode in self.questions()}
        self.assertEqual(modes, {"only-if-have"}, "nobody forwards")

    def test_one_that_a_former_owner_has_costs_no_get(self) -> None:
        node = self.nodes["n1"]
        assert node.cache.owner is not None
        question = ManifestQuestion(ALPINE, OLD.digest, Mode.MAY_FETCH, 5.0, head=False)
        self.successResultOf(self.start(node.cache.owner.peer_manifest(question, "n2")))
        self.assertEqual(self.spent(), [GET_OLD])
        self.assertEqual(self.manifest(reference=OLD.digest).body, OLD.body)
        self.assertEqual(self.spent(), [])

    def test_many_who_ask_at_once_cost_one_get(self) -> None:
        self.hub.held["GET"].holding = True
        asking = [self.ask_manifest(reference=OLD.digest) for _ in range(5)]
        self.hub.held["GET"].release()
        for each in asking:
            self.assertEqual(self.successResultOf(each).body, OLD.body)
        self.assertEqual(self.spent(), [GET_OLD])

    def test_who_had_to_ask_again_is_told_that_it_was_fetched_for_them(self) -> None:
        """Else the one GET of upstream would be told of as one that was avoided."""
        self.hub.held["GET"].holding = True
        asking = self.ask_manifest(reference=OLD.digest)
        self.clock.advance(self.timeouts.peer_alive)
        self.assertIsInstance(self.successResultOf(asking), Fetching)
        self.hub.held["GET"].release()
        self.assertTrue(self.node.store.has_manifest(OLD.digest))
        told = [self.manifest(reference=OLD.digest).fetched for _ in range(2)]
        self.assertEqual(told, [True, False])
        self.assertEqual(self.spent(), [GET_OLD])

    def test_who_never_asks_again_is_forgotten(self) -> None:
        self.hub.held["GET"].holding = True
        self.ask_manifest(reference=OLD.digest)
        self.clock.advance(self.timeouts.peer_alive)
        self.hub.held["GET"].release()
        self.clock.advance(self.timeouts.absent)
        self.assertFalse(self.manifest(reference=OLD.digest).fetched)


class SuspicionTests(OwnerCase):
    def test_it_is_told_of_and_left_to_the_fills(self) -> None:
        sums = {3: (1, 2), 1: (4,)}
        self.successResultOf(self.start(self.owner.peer_suspect(LAYER, sums, "n2")))
        self.assertEqual(self.node.lender.distrusted, [(LAYER, sums)])
        (told,) = [event for event in self.node.events if isinstance(event, PeerSuspected)]
        self.assertEqual((told.peer, told.whose, told.segments), ("n2", "ours", "1, 3"))


class RefusalTests(OwnerCase):
    def test_what_each_failure_is_told_as(self) -> None:
        absent = UpstreamAbsent(UpstreamKind.DENIED, "no", 401)
        table: list[tuple[Failure, Refusal]] = [
            (UpstreamFailure(UpstreamKind.DENIED, "no", status=401), absent),
            (FlightFailed(UpstreamFailure(UpstreamKind.DENIED, "no", status=401)), absent),
            (ToldByPeer.of(absent), Absent()),
            (OfflineMiss("it"), Denied("offline")),
            (FULL, Denied("no room")),
            (StoreFailure("EIO"), Denied("EIO")),
            (
                UpstreamFailure(UpstreamKind.ERROR, "500", status=500),
                UpstreamBroken(UpstreamKind.ERROR, "500", 500),
            ),
            (
                PeerFailure("n1", PeerKind.CUT, "cut"),
                UpstreamBroken(UpstreamKind.ERROR, "cut"),
            ),
        ]
        for failure, refusal in table:
            with self.subTest(failure):
                self.assertEqual(refusal_of(failure), refusal)
