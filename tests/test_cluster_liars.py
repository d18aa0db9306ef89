"""One peer of a cluster that lies, in every way there is: every pull ends with the right bytes."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Coroutine
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred

from nodecache.events import (
    FillFinished,
    PeerAsked,
    PeerFailed,
    PeerIdTwice,
    PeerSuspected,
    Repaired,
    Unexpected,
)
from nodecache.limits import SEGMENT, Timeouts
from nodecache.membership import Address
from nodecache.rendezvous import Roster
from tests.cluster_case import SECRET, ClusterCase, Member, free_port, gathered
from tests.fakes_client import until
from tests.fakes_hub import Image
from tests.fakes_peer import LyingPeer, digest_of
from tests.fakes_peer_lies import LIES

LIAR = "liar"
#: No honest node is given up because the machine is slow: what that costs is told elsewhere.
PATIENT = Timeouts(
    peer_greet=1.0,
    peer_pause_first=0.2,
    peer_silence=15.0,
    peer_stall=30.0,
    peer_search=30.0,
    answer=45.0,
    stall_total=90.0,
)
IDS = (LIAR, "node0", "node1")


def owned_by(node: str, size: int, ids: tuple[str, ...] = IDS) -> bytes:
    """Random bytes of a blob of which ``node`` owns the first segment."""
    ranking = Roster(ids)
    while True:
        data = os.urandom(64)
        data += bytes(size - len(data))
        if ranking.rank(f"sha256:{hashlib.sha256(data).hexdigest()}/0", 1) == (node,):
            return data


async def persistently(node: Member, image: Image) -> list[bytes]:
    """Pull as a runtime does, which tries again when a body was broken off."""
    for _ in range(4):
        with contextlib.suppress(AssertionError):
            return await node.pull(image)
    return await node.pull(image)


def segments_asked(liar: LyingPeer) -> set[int]:
    """Those of which it was asked for bytes."""
    asked = [heard for heard in liar.heard if heard.what == "blob" and heard.method == "GET"]
    starts = [heard.headers["range"].removeprefix("bytes=").partition("-")[0] for heard in asked]
    return {int(start) // SEGMENT for start in starts}


class Liars(ClusterCase):
    """Two honest nodes and one liar, which owns the layer that is pulled."""

    def setUp(self) -> None:
        super().setUp()
        self.liar = LyingPeer(LIAR, secrets=(SECRET.encode(),))
        self.address = self.liar.listen(_reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.liar.stop()))

    def run_lie(self, name: str, what: str) -> Deferred[None]:
        return Deferred.fromCoroutine(self._lie(name, what))

    async def _lie(self, name: str, what: str) -> None:
        layer = owned_by(LIAR, SEGMENT + 1000)
        image = self.hub.add_image("library/app", "latest", [layer])
        nodes = await self.cluster(2, [self.address])
        self.liar.blobs[digest_of(layer)] = layer
        self.liar.lie(name, what=what)
        pulled = await gathered([persistently(node, image) for node in nodes])
        assert pulled == [[layer], [layer]]
        assert [heard for heard in self.liar.heard if heard.what == what], "it was never asked"
        for node in nodes:
            assert node.told(Unexpected) == []


def _add_tests() -> None:
    """A test for each lie about blobs, and for each about manifests."""
    for name in LIES:
        for what in ("blob", "manifest"):

            def test(self: Liars, name: str = name, what: str = what) -> Deferred[None]:
                return self.run_lie(name, what)

            title = f"test_{what}_{name.replace('-', '_')}"
            test.__name__ = title
            setattr(Liars, title, test)


_add_tests()


class Corrupt(ClusterCase):
    """Wrong bytes with right sums: only the digest can tell, and then by segment."""

    def test_a_corrupting_peer_is_found_and_costs_a_node_one_refetch(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._corrupt())

    async def _corrupt(self) -> None:
        liar = LyingPeer(LIAR, secrets=(SECRET.encode(),))
        address = liar.listen(_reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(liar.stop()))
        ids = (LIAR, *(f"node{index}" for index in range(4)))
        layer = owned_by(LIAR, 2 * SEGMENT, ids)
        image = self.hub.add_image("library/app", "latest", [layer])
        nodes = await self.cluster(4, [address], timeouts=PATIENT)
        liar.blobs[digest_of(layer)] = layer
        liar.lie("wrong-bytes", what="blob")

        assert await gathered([persistently(node, image) for node in nodes]) == [[layer]] * 4
        await until(_reactor, lambda: bool(liar.suspected))
        told = {segment for _, sums in liar.suspected for segment in sums}
        assert told <= segments_asked(liar)
        suspected = {e.peer for node in nodes for e in node.told(PeerSuspected)}
        # Honest nodes that passed its bytes on may be suspected as well, for a minute.
        assert LIAR in suspected
        # Whoever repairs may have the liar's bytes itself, and has to try again.
        assert "right" in {e.outcome for node in nodes for e in node.told(Repaired)}
        # One refetch for all who were deceived, whatever honest owners fetched before.
        stored = [
            event
            for node in nodes
            for event in node.told(FillFinished)
            if event.digest == image.layers[0] and event.outcome == "stored"
        ]
        refetched = sum(event.fetched - event.from_peers for event in stored)
        assert refetched <= len(layer), stored


def started(work: Coroutine[Any, Any, None]) -> Deferred[None]:
    return Deferred.fromCoroutine(work)


class Twins(ClusterCase):
    def test_nodes_of_one_id_say_so(self) -> Deferred[None]:
        """As from a setting that gives all of them the same: they would never share."""
        return started(self._twins())

    async def _twins(self) -> None:
        addresses = [Address("127.0.0.1", free_port()) for _ in range(2)]
        both = [self.member(index, addresses, node_id="same") for index in range(2)]
        await gathered([member.start() for member in both])
        await until(_reactor, lambda: all(member.told(PeerIdTwice) for member in both))
        image = self.hub.add_image("library/app", "latest", [os.urandom(1000)])
        for member in both:
            await member.pull(image)


class Strangers(ClusterCase):
    def test_a_node_of_another_cluster_shares_nothing_and_breaks_nothing(self) -> Deferred[None]:
        return started(self._strangers())

    async def _strangers(self) -> None:
        other = self.folder / "other"
        other.write_text("the secret of quite another cluster\n")
        layer = os.urandom(SEGMENT + 7)
        image = self.hub.add_image("library/app", "latest", [layer])
        addresses = [Address("127.0.0.1", free_port()) for _ in range(2)]
        first = self.member(0, addresses)
        second = self.member(1, addresses, peer_secret_file=str(other))
        await gathered([first.start(), second.start()])
        both = (first, second)
        await until(_reactor, lambda: all(node.told(PeerAsked) for node in both))
        assert await gathered([node.pull(image) for node in both]) == [[layer]] * 2
        assert all(node.known() == 0 for node in both)
        kinds = {e.outcome for node in both for e in node.told(PeerAsked)}
        assert "stranger" in kinds
        assert {e.kind for node in both for e in node.told(PeerFailed)} <= {"stranger", "refused"}
