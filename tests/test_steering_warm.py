"""The order to fetch images ahead: what is told of it, and what its end leaves."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nodecache.archives.documents import read_document
from nodecache.failures import (
    Failure,
    OfflineMiss,
    PeerFailure,
    PeerKind,
    UnknownNamespace,
    UpstreamFailure,
    UpstreamKind,
)
from nodecache.limits import Limits
from nodecache.membership import Address, Peer
from nodecache.peerwire.wishes import Fulfilment, Stage, Wish
from nodecache.reference import Digest, Repository
from nodecache.steering import Refused
from nodecache.steering.telling import next_step
from nodecache.steering.warm import WarmingByOrder, WarmPorts
from nodecache.warming import Asked, Plan
from tests.archive_kit import made

IMAGE = made([b"one"])
PEER = Peer("node-2", (Address("127.0.0.1", 1),))


class FakeWarming:
    def __init__(self) -> None:
        self.plans: list[str] = []
        self.fetching: dict[str, Deferred[int]] = {}

    async def plan(self, asked: Asked) -> Plan:
        self.plans.append(asked.repository.name)
        document = read_document(IMAGE.manifest, Digest.parse(IMAGE.digest))
        blobs = {piece.digest: piece.size for piece in document.blobs}
        return Plan(asked.repository, asked.reference, (document,), blobs)

    def missing(self, plan: Plan) -> dict[Digest, int]:
        return dict(plan.blobs)

    async def fetch(self, plan: Plan, progress: Any) -> int:
        self.progress = progress
        self.fetching[plan.repository.name] = Deferred()
        return await self.fetching[plan.repository.name]


class FakePeers:
    def __init__(self) -> None:
        self.answers: list[Fulfilment | Failure] = []
        self.wishes: list[Wish] = []

    async def warm(self, peer: Peer, wish: Wish) -> Fulfilment:
        self.wishes.append(wish)
        answer = self.answers.pop(0)
        if isinstance(answer, Failure):
            raise answer
        return answer


class WarmTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.warming, self.peers = FakeWarming(), FakePeers()
        self.told: list[dict[str, Any]] = []
        self.order = WarmingByOrder(
            WarmPorts(
                warming=self.warming,  # type: ignore[arg-type]  # as much of it as is needed
                clock=self.clock,
                limits=Limits(warm_images=1),
                known=lambda: ("docker.io",),
                permit=lambda name, namespace: Repository(namespace, name),
                platform=lambda: "linux/amd64",
                cap=lambda: 1 << 30,
                peers=self.peers,
                live=lambda: (PEER,),
            )
        )

    def run_(self, **order: Any) -> Deferred[dict[str, Any]]:
        return Deferred.fromCoroutine(self.order.run(order, self.told.append))

    def states(self) -> list[tuple[str, str]]:
        return [(each["image"], each["state"]) for each in self.told if each["event"] == "image"]

    def test_all_are_planned_before_the_first_is_fetched_and_no_more_than_the_limit(self) -> None:
        running = self.run_(images=["a", "b"])
        self.assertEqual(self.states(), [("a", "planned"), ("b", "planned")])
        self.assertEqual(len(self.warming.fetching), 1)
        for _ in range(2):
            name = list(self.warming.fetching)[-1]
            self.warming.fetching[name].callback(7)
        summary = self.successResultOf(running)
        self.assertEqual((summary["images"], summary["fetched_bytes"]), (2, 14))
        self.assertEqual({state for _, state in self.states()[2:]}, {"done"})

    def test_one_that_is_given_up_begins_nothing_more(self) -> None:
        running = self.run_(images=["a", "b", "c"])
        running.cancel()
        self.failureResultOf(running, CancelledError)
        self.assertEqual(len(self.warming.fetching), 1)

    def test_progress_is_told_now_and_then_and_at_the_end(self) -> None:
        self.run_(images=["a"]).addErrback(lambda _: None)
        digest = Digest("sha256", "a" * 64)
        for present in range(10):
            self.warming.progress(digest, present, 100)
        self.clock.advance(1)
        self.warming.progress(digest, 50, 100)
        self.warming.progress(digest, 100, 100)
        told = [each["bytes"] for each in self.told if each["event"] == "progress"]
        self.assertEqual(told, [0, 50, 100])

    def everywhere(self, *answers: Fulfilment | Failure) -> dict[str, Any]:
        self.peers.answers = list(answers)
        running = self.run_(images=["a"], all_nodes=True)
        self.warming.fetching["library/a"].callback(7)
        self.clock.pump([1.0] * len(answers))
        return self.successResultOf(running)

    def test_a_peer_is_asked_until_it_is_done(self) -> None:
        busy, fetching = Fulfilment(Stage.BUSY), Fulfilment(Stage.FETCHING, 3, 7)
        summary = self.everywhere(busy, fetching, Fulfilment(Stage.DONE, 7, 7))
        self.assertEqual((summary["nodes"], summary["nodes_failed"]), (1, 0))
        states = [each["state"] for each in self.told if each["event"] == "node"]
        self.assertEqual(states, ["busy", "fetching", "done"])
        self.assertEqual(len({wish.job for wish in self.peers.wishes}), 1)

    def test_a_peer_that_is_silent_for_a_moment_is_asked_again_and_then_given_up(self) -> None:
        failure = PeerFailure("node-2", PeerKind.TIMEOUT, "no answer")
        summary = self.everywhere(failure, failure, Fulfilment(Stage.DONE))
        self.assertEqual(summary["nodes_failed"], 0)
        self.told.clear()
        self.warming.fetching.clear()
        summary = self.everywhere(*[failure] * 5)
        self.assertEqual(summary["nodes_failed"], 1)
        [told] = [each for each in self.told if each["event"] == "node"]
        self.assertEqual((told["state"], told["problem"]), ("failed", "no answer"))

    def test_an_order_without_an_image_is_refused(self) -> None:
        self.failureResultOf(self.run_(images=[]), Refused)


def test_each_failure_has_the_next_step_that_helps() -> None:
    for failure, words in (
        (UnknownNamespace("ghcr.io"), "--upstream"),
        (OfflineMiss("x"), "nodecache import"),
        (UpstreamFailure(UpstreamKind.NOT_FOUND, ""), "Is the name right?"),
        (UpstreamFailure(UpstreamKind.LIMITED, ""), "rate limit"),
        (UpstreamFailure(UpstreamKind.TIMEOUT, ""), "Try again"),
    ):
        assert words in next_step(failure)
    assert next_step(Failure("x")) == ""
