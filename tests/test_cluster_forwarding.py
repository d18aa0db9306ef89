"""Nobody forwards: whoever is asked for what it lacks fetches it, names others or refuses.

A node that is asked to fetch acts as owner, whatever its own view says. Before it goes
upstream it may look, once, whether those who rank for it by its own view have it already.
That question is marked *only-if-have*: whoever hears it answers from what is there, and
asks nobody on account of it. So a question goes one step, that look one more, and neither
any further.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from nodecache.byteranges import Span
from nodecache.config import UpstreamSettings
from nodecache.events import FillStarted, PeerAnswered
from nodecache.failures import PeerFailure, UpstreamFailure, UpstreamKind
from nodecache.limits import SEGMENT
from nodecache.membership import Peer
from nodecache.membership.view import View
from nodecache.peers import PeerBody, Peers
from nodecache.peerwire.answers import Fetching
from nodecache.peerwire.questions import BlobQuestion, ManifestQuestion, Mode
from nodecache.reference import Digest, Repository
from tests import cache_cluster
from tests.cluster_case import ClusterCase, Member, gathered
from tests.fakes_cache import ALPINE, LATEST
from tests.fakes_cache import image as made
from tests.fakes_client import until
from tests.fakes_http import Gate, hold_at
from tests.fakes_hub import Image

APP = "library/app"

Question = BlobQuestion | ManifestQuestion


@attrs.frozen
class Asked:
    """``by`` and ``of`` are node ids."""

    by: str
    of: str
    question: Question

    @property
    def may_fetch(self) -> bool:
        return self.question.mode is Mode.MAY_FETCH

    @property
    def thing(self) -> tuple[object, object]:
        """What it is about: a segment of a blob, a manifest, the meaning of a tag."""
        if isinstance(self.question, BlobQuestion):
            return self.question.digest, self.question.span.start // SEGMENT
        return self.question.reference, self.question.head


class Divergent(ClusterCase):
    """``self.believes["node0"]`` are those that rank first for everything, as node0 sees it."""

    def setUp(self) -> None:
        super().setUp()
        self.believes: dict[str, Sequence[str]] = {}
        self.asked: list[Asked] = []
        usual = View.rank

        def rank(view: View, key: str, most: int) -> tuple[Peer, ...]:
            everyone = {peer.id: peer for peer in usual(view, key, len(view.peers) + 1)}
            first = [each for each in self.believes.get(view.me.id, ()) if each in everyone]
            rest = [each for each in everyone if each not in first]
            return tuple(everyone[each] for each in (*first, *rest))[:most]

        self.patch(View, "rank", rank)
        for name in ("blob", "has_blob", "manifest"):
            self.patch(Peers, name, self.heard(getattr(Peers, name)))

    def heard(self, usual: Callable[..., Any]) -> Callable[..., Any]:
        """``usual``, and every question that a node puts to another is written down."""

        def ask(peers: Peers, peer: Peer, question: Question, *rest: float | None) -> Any:
            self.asked.append(Asked(peers.view().me.id, peer.id, question))
            return usual(peers, peer, question, *rest)

        return ask

    def by(self, node: Member) -> list[Asked]:
        return [each for each in self.asked if each.by == node.id]

    def image(self, *sizes: int) -> tuple[Image, list[bytes]]:
        layers = [os.urandom(size) for size in sizes]
        return self.hub.add_image(APP, "latest", layers), layers

    def questions_upstream(self) -> tuple[int, int]:
        """HEADs and GETs of manifests."""
        registry = self.hub.registry
        return registry.count(method="HEAD", kind="manifest", status=200), registry.count(
            method="GET", kind="manifest", status=200
        )

    def assert_looks_once(self, node: Member, *, again: int = 0) -> None:
        """On account of others it asks only for what is there, and each peer once for a thing.

        ``again``: so many times upstream broke off.
        """
        asked = self.by(node)
        assert asked
        assert not [each for each in asked if each.may_fetch], asked
        times = Counter((each.of, each.thing) for each in asked)
        assert max(times.values()) <= 1 + again, times

    def assert_answers_alone(self, node: Member) -> None:
        """It was asked, asked nobody itself, and fetched nothing."""
        heard = [each for each in node.told(PeerAnswered) if each.what != "hello"]
        assert heard, "it was asked nothing"
        assert {each.mode for each in heard} == {"only-if-have"}, heard
        assert self.by(node) == []
        assert node.told(FillStarted) == []


def started(work: Coroutine[Any, Any, None]) -> Deferred[None]:
    return Deferred.fromCoroutine(work)


class NobodyForwards(Divergent):
    """node0 pulls, takes node1 for the owner of everything, and that takes node2 for it."""

    def setUp(self) -> None:
        super().setUp()
        self.believes = {
            "node0": ["node1", "node2", "node3"],
            "node1": ["node2", "node3", "node0"],
            "node2": ["node3", "node0", "node1"],
            "node3": ["node0", "node1", "node2"],
        }

    def test_who_is_asked_to_fetch_goes_upstream_itself_whomever_it_takes_for_the_owner(
        self,
    ) -> Deferred[None]:
        return started(self._goes_upstream())

    async def _goes_upstream(self) -> None:
        image, layers = self.image(3 * SEGMENT + 5, 70_000)
        nodes = await self.cluster(4)
        assert await nodes[0].pull(image) == layers
        to_fetch = {each.thing for each in self.asked if each.may_fetch}
        assert {each.of for each in self.asked if each.may_fetch} == {"node1"}
        # The tag and the manifest; four segments, the small layer and the image's configuration.
        assert len(to_fetch) == 2 + 4 + 2, to_fetch
        self.assert_looks_once(nodes[1])
        for node in nodes[2:]:
            self.assert_answers_alone(node)
        assert self.crossed() <= 1.01 * sum(map(len, layers)), self.crossed()
        assert self.questions_upstream() == (1, 1)

    def test_what_the_one_it_takes_for_the_owner_has_is_passed_on_and_not_fetched(
        self,
    ) -> Deferred[None]:
        """As after a change of owners: the new one finds what the one before it holds."""
        return started(self._finds())

    async def _finds(self) -> None:
        image, layers = self.image(2 * SEGMENT + 5)
        self.believes["node2"] = ["node2"]
        nodes = await self.cluster(4)
        assert await nodes[2].pull(image) == layers
        crossed, heads_and_gets = self.crossed(), self.questions_upstream()
        self.asked.clear()
        assert await nodes[0].pull(image) == layers
        self.assert_looks_once(nodes[1])
        assert self.by(nodes[2]) == []
        assert self.by(nodes[3]) == []
        assert self.crossed() == crossed
        # A tag's meaning is upstream's word, which its owner asks for; the manifest is not fetched.
        assert self.questions_upstream() == (heads_and_gets[0] + 1, heads_and_gets[1])

    def test_who_may_not_fetch_refuses_and_asks_nobody(self) -> Deferred[None]:
        return started(self._may_not())

    async def _may_not(self) -> None:
        image, layers = self.image(SEGMENT + 5)
        addresses = self.addresses(3)
        nodes = [self.member(index, addresses) for index in range(3)]
        denying = UpstreamSettings("docker.io", self.hub.url, deny=("library/*",))
        nodes[1].settings = attrs.evolve(nodes[1].settings, upstreams=(denying,))
        nodes[2].settings = attrs.evolve(nodes[2].settings, offline=True)
        await gathered([node.start() for node in nodes])
        await self.acquainted(*nodes)
        self.believes["node0"] = ["node1", "node2"]
        assert await nodes[0].pull(image) == layers
        for node in nodes[1:]:
            heard = [each for each in node.told(PeerAnswered) if each.mode == "may-fetch"]
            assert {each.outcome for each in heard} == {"denied"}, heard
            assert self.by(node) == []
        assert self.crossed() <= 1.01 * len(layers[0]), self.crossed()

    def test_it_stays_so_when_the_asker_has_left_and_upstream_breaks_off(self) -> Deferred[None]:
        """What was begun for a peer is ended as it was begun: by this node, as owner."""
        return started(self._left())

    async def _left(self) -> None:
        image, _ = self.image(SEGMENT)
        nodes = await self.cluster(4)
        gate = Gate()
        held = self.hub.cdn.fault(hold_at(SEGMENT // 2, gate), reference=image.layers[0])
        self.addCleanup(gate.open)
        await self.ask_and_leave(nodes[0], nodes[1], image.layers[0])
        held.lift()
        await self.hub.cdn.stop()
        self.hub.cdn.start()
        digest = Digest.parse(image.layers[0])
        await until(_reactor, lambda: self.whole(nodes[1], digest))
        self.assert_looks_once(nodes[1], again=1)
        for node in nodes[2:]:
            self.assert_answers_alone(node)

    async def ask_and_leave(self, asker: Member, asked: Member, digest: str) -> None:
        """Ask for the first segment, wait for the first of its bytes, and go."""
        assert asker.node is not None
        assert asker.node._neighbours is not None
        peers = asker.node._neighbours.peers
        span, repository = Span(0, SEGMENT), Repository("docker.io", APP)
        question = BlobQuestion(repository, Digest.parse(digest), span, Mode.MAY_FETCH, 5.0)
        peer = peers.view().get(asked.id)
        assert peer is not None
        answer = await peers.blob(peer, question)
        while isinstance(answer, Fetching):
            answer = await peers.blob(peer, question)
        assert isinstance(answer, PeerBody), answer
        came: list[bytes] = []
        ended = answer.deliver(came.append)
        ended.addErrback(lambda failure: failure.trap(CancelledError, PeerFailure))
        await until(_reactor, lambda: came)
        answer.stop()
        ended.cancel()
        await until(_reactor, lambda: "cut" in {e.outcome for e in asked.told(PeerAnswered)})

    def whole(self, node: Member, digest: Digest) -> bool:
        """Whether all that it fetches of it has come."""
        assert node.node is not None
        flights = [each for each in node.node._fills.active() if each.digest == digest]
        return all(each.progress.present.total() == each.total for each in flights)


class Rings(Divergent):
    """Three nodes, each of which takes the next one for the owner of everything."""

    def setUp(self) -> None:
        super().setUp()
        self.believes = {
            "node0": ["node1", "node2", "node0"],
            "node1": ["node2", "node0", "node1"],
            "node2": ["node0", "node1", "node2"],
        }

    def test_a_question_does_not_go_round(self) -> Deferred[None]:
        return started(self._one())

    async def _one(self) -> None:
        image, layers = self.image(3 * SEGMENT + 5)
        nodes = await self.cluster(3)
        assert await nodes[0].pull(image) == layers
        self.assert_looks_once(nodes[1])
        self.assert_answers_alone(nodes[2])
        assert self.crossed() <= 1.01 * len(layers[0]), self.crossed()
        assert self.questions_upstream() == (1, 1)

    def test_all_at_once_end_upstream(self) -> Deferred[None]:
        """Each is asked to fetch by the one before it, and asks the next one for its client."""
        return started(self._all())

    async def _all(self) -> None:
        image, layers = self.image(3 * SEGMENT + 5, 70_000)
        nodes = await self.cluster(3)
        assert await gathered([node.pull(image) for node in nodes]) == [layers] * 3
        # Each thing is fetched by those who take themselves for its owner: at most all three.
        assert self.crossed() <= 3.03 * sum(map(len, layers)), self.crossed()
        heads, gets = self.questions_upstream()
        assert 1 <= heads <= 3
        assert 1 <= gets <= 3


NODES = 5
numbers = st.sets(st.integers(0, NODES - 1), max_size=NODES)


class AnyViews(SynchronousTestCase):
    """Tags and manifests among nodes of which each sees whom it pleases."""

    @given(
        unseen=st.lists(numbers, min_size=NODES, max_size=NODES),
        pulling=numbers.filter(bool),
        cut=numbers,
        holding=numbers,
    )
    @settings(max_examples=60, deadline=None)
    def test_only_who_has_a_client_makes_others_fetch_and_who_may_not_fetch_asks_nobody(
        self, unseen: list[set[int]], pulling: set[int], cut: set[int], holding: set[int]
    ) -> None:
        case = cache_cluster.ClusterCase()
        case.setUp()
        old = made("old", b"layer")
        case.hub.has(ALPINE, LATEST, old)
        nodes = case.make(NODES)
        for number, node in enumerate(nodes):
            node.cluster.unseen = {f"n{other}" for other in unseen[number]}
            if number in holding:
                node.store.fill_with(old)
            if number in cut:
                node.egress.cut = UpstreamFailure(UpstreamKind.UNREACHABLE, "refused")
        clients = [case.ask(nodes[number]) for number in pulling]
        case.clock.pump([0.05] * 220)
        for client in clients:
            client.addErrback(lambda _: None)
            self.successResultOf(client)
        asked = [(node.name, *each) for node in nodes for each in node.cluster.asked]
        to_fetch = {of for _, of, _, mode in asked if mode == Mode.MAY_FETCH.value}
        wanting = {nodes[number].name for number in pulling}
        for by, _, _, mode in asked:
            self.assertIn(by, wanting | to_fetch, "asked only for what it has, and asks on")
            if by not in wanting:
                self.assertEqual(mode, Mode.ONLY_IF_HAVE.value, "it has others fetch for others")
