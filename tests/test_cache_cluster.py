"""Tags and manifests in a cluster: what it costs upstream, and what stays when that fails."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nodecache.cache.gate import is_signature
from nodecache.events import ServedStale, Source
from nodecache.failures import (
    BlobsMissing,
    NameDenied,
    OfflineMiss,
    UpstreamFailure,
    UpstreamKind,
)
from nodecache.freshness import TagEntry
from nodecache.peerwire.answers import Absent, Denied, Manifest
from nodecache.peerwire.questions import ManifestQuestion, Mode
from nodecache.reference import Tag
from nodecache.rules import NameRules
from tests.cache_cluster import ClusterCase, Node
from tests.fakes_cache import (
    ALPINE,
    BROKEN,
    EPOCH,
    LATEST,
    QUAY,
    digest_of,
    image,
    index,
    upstream_failures,
)

OLD = image("old", b"layer")
NEW = image("new")
GET_OLD = f"GET alpine@{OLD.digest.hex[:6]}"
HEAD = "HEAD alpine:latest"
DOWN = UpstreamFailure(UpstreamKind.UNREACHABLE, "connection refused")
#: Two searches of at most four nodes, each asked now and then while it fetches; two sweeps.
MOST_QUESTIONS = 60
SIGNATURE = Tag("sha256-" + "0" * 64 + ".sig")


class TagCase(ClusterCase):
    count = 3

    def setUp(self) -> None:
        super().setUp()
        self.hub.has(ALPINE, LATEST, OLD)
        self.all = self.make(self.count)

    def hold(self, *nodes: Node) -> None:
        """They hold all blobs of the old image."""
        for node in nodes:
            node.store.blobs.update({digest_of(blob): blob for blob in (b"old", b"layer")})

    def hub_fails(self, failure: UpstreamFailure = DOWN, *, known: bool = True) -> None:
        for node in self.all:
            node.egress.cut, node.egress.known = failure, known


class OneQuestionTests(TagCase):
    count = 7

    def test_nodes_that_ask_at_once_cost_one_head_and_one_get(self) -> None:
        for method in ("HEAD", "GET"):
            self.hub.held[method].holding = True
        clients = [self.ask(node) for node in self.all]
        for method in ("HEAD", "GET"):
            self.hub.held[method].release()
            self.clock.pump([0.1] * 10)
        for client in clients:
            self.assertEqual(self.successResultOf(client).body, OLD.body)
        self.assertEqual(self.spent(), [HEAD, GET_OLD])

    def test_nodes_that_ask_one_after_the_other_cost_as_much(self) -> None:
        for node in self.all:
            result = self.pull(node)
            self.assertEqual((result.body, result.media_type), (OLD.body, OLD.media_type))
            self.assertIn(result.source, (Source.FILL, Source.DISK))
            self.assertEqual(node.store.manifests, {OLD.digest: OLD.stored})
        self.assertEqual(self.spent(), [HEAD, GET_OLD])

    def test_heads_alone_cost_one_head(self) -> None:
        for node in self.all:
            self.assertEqual(self.pull(node, head=True).digest, OLD.digest)
        self.assertEqual(self.spent(), [HEAD])

    def test_a_digest_costs_one_get(self) -> None:
        for node in self.all:
            self.assertEqual(self.pull(node, OLD.digest).body, OLD.body)
        self.assertEqual(self.spent(), [GET_OLD])

    def test_its_heads_cost_at_most_as_many(self) -> None:
        for node in self.all:
            self.assertEqual(self.pull(node, OLD.digest, head=True).digest, OLD.digest)
        self.assertLessEqual(len(self.spent()), self.count)

    def test_no_answer_asks_more_than_those_who_rank(self) -> None:
        for node in self.all:
            self.pull(node)
        asked = self.questions()
        self.assertLessEqual(len(asked), 5 * self.count)
        self.assertLessEqual({mode for *_, mode in asked}, {"may-fetch", "only-if-have"})

    def test_a_slow_upstream_is_waited_for_together(self) -> None:
        self.hub.held["HEAD"].holding = True
        clients = [self.ask(node) for node in self.all]
        self.clock.pump([0.1] * 40)
        self.hub.held["HEAD"].release()
        self.clock.pump([0.1] * 10)
        for client in clients:
            self.assertEqual(self.successResultOf(client).body, OLD.body)
        self.assertEqual(self.spent(), [HEAD, GET_OLD])

    def test_a_hub_that_tells_no_digest_costs_one_get_more(self) -> None:
        self.hub.says_digest = False
        for node in self.all:
            self.assertEqual(self.pull(node).body, OLD.body)
        self.assertEqual(self.spent(), [HEAD, "GET alpine:latest"])


class SharedPeriodTests(TagCase):
    def test_a_tag_is_as_old_everywhere_as_at_its_owner(self) -> None:
        owner, other, third = self.by_tag()
        self.pull(owner)
        self.clock.advance(50)
        self.pull(other)
        self.spent()
        self.hub.has(ALPINE, LATEST, NEW)
        self.clock.advance(9)
        self.assertEqual(self.pull(other).digest, OLD.digest)
        self.assertEqual(self.spent(), [])
        self.clock.advance(1)
        self.assertEqual(self.pull(other).digest, NEW.digest)
        for node in (owner, third):
            self.assertEqual(self.pull(node).digest, NEW.digest)
        self.assertEqual(self.spent(), [HEAD, f"GET alpine@{NEW.digest.hex[:6]}"])

    def test_a_period_costs_one_head_whoever_asks(self) -> None:
        for _ in range(5):
            for _ in range(6):
                for node in self.all:
                    self.pull(node)
                self.clock.advance(10)
        self.assertEqual(self.spent().count(HEAD), 5)

    def test_clocks_that_differ_or_jump_do_not_matter(self) -> None:
        owner, other, third = self.by_tag()
        owner.skew, other.skew = 1e6, -1e6
        for node in self.all:
            self.pull(node)
        self.assertEqual(self.spent(), [HEAD, GET_OLD])
        self.clock.advance(30)
        third.skew = -3000.0
        for node in self.all:
            self.assertEqual(self.pull(node).digest, OLD.digest)
        self.assertEqual(self.spent(), [])

    def test_an_owner_whose_clock_jumped_asks_again_and_tells_no_age_below_zero(self) -> None:
        owner, other, third = self.by_tag()
        for jump in (-1e6, 1e6):
            self.pull(owner)
            owner.skew += jump
            self.spent()
            self.hub.has(ALPINE, LATEST, NEW)
            self.clock.advance(1)
            self.pull(owner)
            self.clock.advance(self.tag_ttl)
            for node in (other, third):
                self.assertEqual(self.pull(node).digest, NEW.digest)
                entry = node.store.tag_entries[ALPINE, LATEST]
                self.assertLessEqual(entry.checked_at, EPOCH + self.clock.seconds())


class LostPeerTests(TagCase):
    count = 4

    def test_without_its_owner_the_next_one_asks(self) -> None:
        owner, second, *_ = self.by_tag()
        owner.dead = True
        for node in self.all:
            if node is not owner:
                self.assertEqual(self.pull(node).body, OLD.body)
        self.assertEqual(self.spent().count(HEAD), 1)
        self.assertIn("HEAD", second.egress.asked)

    def test_without_all_peers_upstream_is_asked(self) -> None:
        node, *others = reversed(self.by_tag())
        for other in others:
            other.dead = True
        self.assertEqual(self.pull(node).body, OLD.body)
        self.assertEqual(self.spent(), [HEAD, GET_OLD])

    def test_silent_peers_cost_their_silence_and_no_more(self) -> None:
        node, *others = reversed(self.by_tag())
        for other in others:
            other.silent = True
        client = self.ask(node)
        self.clock.pump([0.1] * 16)
        self.clock.pump([0.1] * 16)
        self.assertEqual(self.successResultOf(client).body, OLD.body)
        self.assertEqual(self.spent(), [HEAD, GET_OLD])

    def test_an_owner_that_is_cut_off_from_upstream_costs_one_question_more(self) -> None:
        owner = self.by_tag()[0]
        owner.egress.cut = DOWN
        for node in self.all:
            if node is not owner:
                self.assertEqual(self.pull(node).body, OLD.body)

    def test_a_node_that_is_cut_off_itself_lives_on_its_peers(self) -> None:
        cut = self.by_tag()[-1]
        cut.egress.cut, cut.egress.known = DOWN, True
        result = self.pull(cut)
        self.assertEqual((result.body, result.warning), (OLD.body, None))
        self.assertEqual(cut.egress.asked, [])

    def test_views_that_differ_cost_a_question_each_and_no_failure(self) -> None:
        for node in self.all:
            node.cluster.unseen = {other.name for other in self.all if other is not node}
            self.assertEqual(self.pull(node).body, OLD.body)
        self.assertEqual(self.spent().count(HEAD), self.count)

    def test_a_peer_that_sends_other_bytes_is_put_aside_and_another_asked(self) -> None:
        node = next(each for each in self.all if each is not self.ranked(str(OLD.digest))[0])
        owner = self.ranked(str(OLD.digest))[0]

        def other_bytes(answer: Manifest) -> Manifest:
            return attrs.evolve(answer, body=answer.body and answer.body[:-1] + b" ")

        node.cluster.twist[owner.name] = other_bytes
        self.assertEqual(self.pull(node, OLD.digest).body, OLD.body)
        self.assertEqual(node.cluster.put_aside, [owner.name])
        self.assertEqual(node.store.manifests, {OLD.digest: OLD.stored})

    def test_a_peer_that_answers_with_another_digest_is_not_believed(self) -> None:
        owner, node = self.ranked(str(OLD.digest))[:2]
        node.cluster.twist[owner.name] = lambda _: Manifest(
            NEW.digest, NEW.media_type, len(NEW.body), None, NEW.body
        )
        self.assertEqual(self.pull(node, OLD.digest).body, OLD.body)


class FailingHubTests(TagCase):
    count = 5

    def pulled_by(self, *nodes: Node) -> None:
        for node in nodes:
            self.pull(node)
        self.hold(*nodes)
        self.spent()
        self.questions()

    def test_whatever_fails_what_one_node_has_all_have(self) -> None:
        for name, failure in upstream_failures():
            for holder in range(self.count):
                with self.subTest(name, holder=holder):
                    self.nodes.clear()
                    self.all = self.make(self.count)
                    self.pulled_by(self.all[holder])
                    self.clock.advance(self.tag_ttl)
                    self.hub_fails(failure, known=failure.kind is UpstreamKind.DOWN)
                    for node in self.all:
                        for head in (True, False):
                            result = self.pull(node, head=head)
                            self.assertEqual(result.digest, OLD.digest)
                            self.assertEqual(result.source, Source.STALE)
                            self.assertEqual(result.warning, str(failure))
                        self.assertEqual(self.pull(node, OLD.digest).body, OLD.body)

    def test_offline_nodes_ask_each_other_and_make_nobody_fetch(self) -> None:
        holder, node, *_ = self.all
        self.pulled_by(holder)
        self.clock.advance(self.tag_ttl)
        node.set_policy(offline=True)
        result = self.pull(node)
        self.assertEqual((result.body, result.source), (OLD.body, Source.STALE))
        self.assertIn("offline", result.warning)
        self.assertEqual(self.spent(), [])
        self.assertEqual({mode for *_, mode in self.questions()}, {"only-if-have"})

    def test_a_hub_that_hangs_leaves_time_for_what_others_remember(self) -> None:
        holder, node, *_ = self.all
        self.pulled_by(holder, node)
        self.clock.advance(self.tag_ttl)
        self.hub.held["HEAD"].holding = True
        for peers_hang in (False, True):
            for other in self.all:
                other.silent = peers_hang and other is not node
            client = self.ask(node)
            self.clock.pump([0.1] * 99)
            result = self.successResultOf(client)
            self.assertEqual((result.digest, result.source), (OLD.digest, Source.STALE))

    def test_offline_sizes_and_listings_are_misses(self) -> None:
        node, holder, *_ = self.all
        node.set_policy(offline=True)
        layer = digest_of(b"layer")
        for work in (
            node.cache.blob_head(ALPINE, layer),
            node.cache.tags(ALPINE, None, None),
            node.cache.referrers(ALPINE, OLD.digest, None),
        ):
            self.failureResultOf(self.start(work), OfflineMiss)
        holder.store.blobs[layer] = b"layer"
        head = self.successResultOf(self.start(node.cache.blob_head(ALPINE, layer)))
        self.assertEqual(head.size, 5)
        self.assertEqual(self.spent(), [])

    def test_what_no_node_has_is_a_miss_of_the_offline_node(self) -> None:
        node = self.all[0]
        node.set_policy(offline=True)
        self.assertIsInstance(self.refused(node), OfflineMiss)
        self.assertIsInstance(self.refused(node, OLD.digest), OfflineMiss)
        self.assertIsInstance(self.refused(node, OLD.digest, head=True), OfflineMiss)
        self.assertEqual(self.spent(), [])

    def test_the_youngest_meaning_wins(self) -> None:
        first, second, third, *_ = self.all
        self.pulled_by(first)
        self.clock.advance(100)
        self.hub.has(ALPINE, LATEST, NEW)
        second.store.blobs[digest_of(b"new")] = b"new"
        self.pull(second)
        self.clock.advance(100)
        self.hub_fails()
        for node in (third, first):
            self.assertEqual(self.pull(node).digest, NEW.digest)
        (told,) = [event for event in third.events if isinstance(event, ServedStale)]
        self.assertEqual(told.age_seconds, 100.0)

    def test_a_meaning_from_a_peer_is_not_kept_as_upstreams_word(self) -> None:
        holder, node, *_ = self.all
        self.pulled_by(holder)
        self.clock.advance(self.tag_ttl)
        self.hub_fails()
        self.pull(node)
        self.assertEqual(node.store.tag_entries, {})
        self.assertIn(OLD.digest, node.store.manifests)

    def test_an_import_serves_others_only_while_upstream_fails(self) -> None:
        owner, node, *_ = self.by_tag()
        owner.store.fill_with(NEW)
        entry = TagEntry(str(NEW.digest), NEW.media_type, len(NEW.body), EPOCH, imported=True)
        owner.store.tag_entries[ALPINE, LATEST] = entry
        self.assertEqual(self.pull(owner).digest, NEW.digest)
        self.assertEqual(self.pull(node).digest, OLD.digest)
        self.assertEqual(owner.store.tag_entries[ALPINE, LATEST], entry)
        for each in self.all:
            each.store.tag_entries.pop((ALPINE, LATEST), None)
            each.cache = self.make_cache(each)
        owner.store.tag_entries[ALPINE, LATEST] = entry
        owner.store.blobs[digest_of(b"new")] = b"new"
        self.hub_fails()
        self.assertEqual(self.pull(node).digest, NEW.digest)

    def test_an_imported_tag_costs_others_one_head_in_a_period(self) -> None:
        owner, *others = self.by_tag()
        owner.store.fill_with(OLD)
        entry = TagEntry(str(OLD.digest), OLD.media_type, len(OLD.body), EPOCH, imported=True)
        owner.store.tag_entries[ALPINE, LATEST] = entry
        for node in others:
            self.assertEqual(self.pull(node).digest, OLD.digest)
        self.assertLessEqual(self.spent(), [HEAD, GET_OLD])

    def test_an_image_whose_layers_nobody_has_is_not_handed_out(self) -> None:
        holder, node, *_ = self.all
        self.pulled_by(holder)
        del holder.store.blobs[digest_of(b"layer")]
        self.clock.advance(self.tag_ttl)
        self.hub_fails()
        self.assertIsInstance(self.refused(node), BlobsMissing)
        self.assertIsInstance(self.refused(holder), BlobsMissing)
        self.assertIsInstance(self.refused(node, OLD.digest), BlobsMissing)

    def test_layers_may_be_at_different_nodes(self) -> None:
        holder, node, another, *_ = self.all
        self.pulled_by(holder)
        del holder.store.blobs[digest_of(b"layer")]
        another.store.blobs[digest_of(b"layer")] = b"layer"
        self.clock.advance(self.tag_ttl)
        self.hub_fails()
        self.assertEqual(self.pull(node).body, OLD.body)

    def test_a_part_of_a_layer_does_not_count(self) -> None:
        holder, node, another, *_ = self.all
        self.pulled_by(holder)
        del holder.store.blobs[digest_of(b"layer")]
        another.lender.partial[digest_of(b"layer")] = 5
        self.clock.advance(self.tag_ttl)
        self.hub_fails()
        self.assertIsInstance(self.refused(node), BlobsMissing)

    def test_an_index_and_its_child_are_found(self) -> None:
        holder, node, *_ = self.all
        both = index((OLD, "amd64"), (NEW, "arm64"))
        holder.store.fill_with(both, OLD)
        holder.store.tag_entries[ALPINE, LATEST] = TagEntry(
            str(both.digest), both.media_type, len(both.body), EPOCH
        )
        self.hold(holder)
        self.clock.advance(self.tag_ttl)
        self.hub_fails()
        self.assertEqual(self.pull(node).body, both.body)
        self.assertEqual(self.pull(node, OLD.digest).body, OLD.body)

    def test_after_a_limit_on_manifests_blobs_may_be_missing(self) -> None:
        holder, node, *_ = self.all
        self.pulled_by(holder)
        holder.store.blobs.clear()
        self.clock.advance(self.tag_ttl)
        self.hub_fails(UpstreamFailure(UpstreamKind.LIMITED, "limit", status=429), known=False)
        self.assertEqual(self.pull(node).source, Source.STALE)

    def test_searches_in_vain_are_not_repeated_at_once(self) -> None:
        node = self.all[0]
        self.hub_fails()
        missing = NEW.digest
        self.refused(node)
        self.refused(node, missing)
        self.questions()
        for _ in range(5):
            self.refused(node)
            self.refused(node, missing)
        asked = [what for what in self.questions() if what[3] == "only-if-have"]
        self.assertLessEqual(len(asked), 2 * 5 * 2)
        self.clock.advance(self.timeouts.absent)
        self.refused(node, missing)
        self.assertGreaterEqual(len(self.questions()), self.count - 1)

    def test_upstream_back_again_is_asked_at_once(self) -> None:
        holder, node, *_ = self.all
        self.pulled_by(holder)
        self.clock.advance(self.tag_ttl)
        self.hub_fails()
        self.assertEqual(self.pull(node).source, Source.STALE)
        for each in self.all:
            each.egress.cut = None
        self.hub.has(ALPINE, LATEST, NEW)
        result = self.pull(node)
        self.assertEqual((result.digest, result.warning), (NEW.digest, None))

    def test_a_missing_signature_is_not_searched_for(self) -> None:
        node = self.all[0]
        self.assertTrue(is_signature(str(SIGNATURE)))
        failure = self.refused(node, SIGNATURE)
        self.assertIs(failure.kind, UpstreamKind.NOT_FOUND)
        self.assertNotIn("only-if-have", {mode for *_, mode in self.questions()})

    def test_a_silent_upstream_does_not_keep_a_digest_from_those_that_want_it(self) -> None:
        node, *_, holder = self.ranked(str(OLD.digest))
        holder.store.fill_with(OLD)
        self.hub.held["GET"].holding = True
        client = self.ask(node, OLD.digest)
        self.clock.advance(self.timeouts.peer_sweep_after - 0.1)
        self.assertNoResult(client)
        self.clock.advance(0.1)
        self.assertEqual(self.successResultOf(client).body, OLD.body)


class AbsenceTests(TagCase):
    def test_not_found_is_told_by_the_owner_and_asked_once(self) -> None:
        missing = Tag("missing")
        for _ in range(3):
            for node in self.all:
                failure = self.refused(node, missing)
                self.assertIs(failure.kind, UpstreamKind.NOT_FOUND)
                self.assertEqual(failure.status, 404)
        self.assertEqual(self.spent(), ["HEAD alpine:missing"])

    def test_it_is_forgotten_however_often_nodes_tell_each_other(self) -> None:
        missing = Tag("missing")
        # Each holds another to be the owner.
        for node, unseen in zip(self.all, self.by_tag(missing), strict=True):
            node.cluster.unseen = {unseen.name} - {node.name}
        for _ in range(30):
            for node in self.all:
                self.refused(node, missing)
            self.clock.advance(1)
        self.hub.has(ALPINE, missing, OLD)
        self.clock.advance(self.timeouts.absent)
        for node in self.all:
            self.assertEqual(self.pull(node, missing).digest, OLD.digest)

    def test_denied_is_told_too(self) -> None:
        self.hub.failures["HEAD"] = UpstreamFailure(UpstreamKind.DENIED, "no", status=401)
        for node in self.all:
            failure = self.refused(node)
            self.assertEqual((failure.kind, failure.status), (UpstreamKind.DENIED, 401))
        self.assertEqual(self.spent(), [HEAD])

    def test_an_owners_limit_is_no_limit_of_the_others(self) -> None:
        owner = self.by_tag()[0]
        owner.egress.cut = UpstreamFailure(UpstreamKind.LIMITED, "limit", status=429)
        for node in self.all:
            if node is not owner:
                self.assertEqual(self.pull(node).body, OLD.body)


class RulesTests(TagCase):
    def deny(self, node: Node) -> None:
        rules = {"docker.io": NameRules(deny=("library/*",)), "quay.io": NameRules()}
        node.set_policy(rules=rules)

    def question(self, mode: Mode, **changes: Any) -> ManifestQuestion:
        return attrs.evolve(ManifestQuestion(ALPINE, LATEST, mode, 5.0, True), **changes)

    def answer(self, node: Node, question: ManifestQuestion) -> Any:
        assert node.cache.owner is not None
        return self.successResultOf(
            self.start(node.cache.owner.peer_manifest(question, "somebody"))
        )

    def test_a_name_that_a_node_denies_is_denied_to_peers_though_it_is_on_disk(self) -> None:
        owner, node, *_ = self.by_tag()
        self.pull(owner)
        self.deny(owner)
        for mode in Mode:
            self.assertIsInstance(self.answer(owner, self.question(mode)), Denied)
        self.assertEqual(self.pull(node).body, OLD.body)
        self.assertIsInstance(self.refused(owner), NameDenied)

    def test_an_unknown_namespace_is_denied(self) -> None:
        node = self.all[0]
        unknown = attrs.evolve(ALPINE, namespace="elsewhere.example")
        question = self.question(Mode.MAY_FETCH, repository=unknown)
        self.assertIsInstance(self.answer(node, question), Denied)

    def test_an_offline_node_fetches_for_nobody_and_gives_what_it_has(self) -> None:
        owner, *_ = self.by_tag()
        owner.set_policy(offline=True)
        question = self.question(Mode.MAY_FETCH)
        self.assertEqual(self.answer(owner, question), Denied("offline"))
        self.assertEqual(self.answer(owner, self.question(Mode.ONLY_IF_HAVE)), Absent())
        owner.set_policy(offline=False)
        self.pull(owner)
        owner.set_policy(offline=True)
        self.assertEqual(self.answer(owner, question).digest, OLD.digest)
        self.clock.advance(self.tag_ttl)
        self.assertEqual(self.answer(owner, question), Denied("offline"))
        held = self.answer(owner, self.question(Mode.ONLY_IF_HAVE))
        self.assertEqual((held.digest, held.age), (OLD.digest, self.tag_ttl))

    def test_a_disk_that_keeps_nothing_still_answers(self) -> None:
        owner, *_ = self.by_tag()
        owner.store.broken = dict.fromkeys(
            ("read_tag", "write_tag", "read_manifest", "write_manifest"), BROKEN
        )
        answer = self.answer(owner, self.question(Mode.MAY_FETCH, head=False))
        self.assertEqual((answer.body, answer.age), (OLD.body, 0.0))

    def test_two_registries_do_not_share_tags(self) -> None:
        self.pull(self.all[0])
        question = self.question(Mode.ONLY_IF_HAVE, repository=QUAY)
        self.assertEqual(self.answer(self.all[0], question), Absent())


class EveryViewTests(SynchronousTestCase):
    """Whatever nodes think of each other, and whoever is dead: it ends, at upstream if need be."""

    @given(
        unseen=st.lists(st.sets(st.integers(0, 5), max_size=5), min_size=6, max_size=6),
        dead=st.sets(st.integers(0, 5), max_size=4),
        cut=st.sets(st.integers(0, 5), max_size=3),
        silent=st.sets(st.integers(0, 5), max_size=3),
        order=st.permutations(range(6)),
    )
    @settings(max_examples=60, deadline=None)
    def test_every_node_with_an_upstream_gets_its_image(
        self,
        unseen: list[set[int]],
        dead: set[int],
        cut: set[int],
        silent: set[int],
        order: list[int],
    ) -> None:
        case = ClusterCase()
        case.setUp()
        case.hub.has(ALPINE, LATEST, OLD)
        nodes = case.make(6)
        for number, node in enumerate(nodes):
            node.cluster.unseen = {f"n{other}" for other in unseen[number]}
            node.dead, node.silent = number in dead, number in silent
            if number in cut:
                node.egress.cut = DOWN
        clients = {number: case.ask(nodes[number]) for number in order if number not in dead}
        case.clock.pump([0.05] * 220)
        for number, client in clients.items():
            if number in cut:
                # It may have been helped, or not.
                client.addErrback(lambda failure: failure.trap(UpstreamFailure, BlobsMissing))
                self.successResultOf(client)
            else:
                self.assertEqual(self.successResultOf(client).body, OLD.body)
        spent = case.spent()
        assert len(spent) <= 2 * len(nodes)
        for node in nodes:
            assert len(node.cluster.asked) <= MOST_QUESTIONS, node.cluster.asked
        assert not [call for call in case.clock.getDelayedCalls() if call.getTime() > 60]


class ManyNodesTests(ClusterCase):
    def test_a_herd_of_fifty_costs_one_head_and_one_get(self) -> None:
        self.hub.has(ALPINE, LATEST, OLD)
        nodes = self.make(50)
        for method in ("HEAD", "GET"):
            self.hub.held[method].holding = True
        clients = [self.ask(node) for node in nodes]
        for method in ("HEAD", "GET"):
            self.hub.held[method].release()
            self.clock.pump([0.1] * 10)
        for client in clients:
            self.assertEqual(self.successResultOf(client).body, OLD.body)
        self.assertEqual(self.spent(), [HEAD, GET_OLD])

    def test_a_search_among_many_asks_so_many_at_a_time_and_ends(self) -> None:
        self.limits = attrs.evolve(self.limits, peer_sweep=8)
        node, *others = self.make(60)
        for other in others:
            other.silent = True
        node.egress.cut, node.egress.known = DOWN, True
        client = self.ask(node, OLD.digest)
        self.clock.pump([0.05] * 160)
        self.assertIs(self.failureResultOf(client).value, DOWN)
        waiting = [each for each in node.cluster.asked if each[2] == "only-if-have"]
        self.assertLessEqual(len(waiting), 8 * 5)
