"""What users of other peer-to-peer mirrors reported, each caused on whole nodes that share.

The numbers are only an order (test_user_reports_peers_more has the rest, and says where what
concerns the installation is tested). Time is counted in questions and in
how they ended, not in seconds.
"""

from __future__ import annotations

import os

import attrs
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred

from nodecache.config import UpstreamSettings
from nodecache.events import PeerAsked, PeerBytes, PeerFailed, PeersOff
from nodecache.failures import PeerKind
from nodecache.limits import SEGMENT, Limits, Timeouts
from nodecache.membership import Address, Membership, Peer
from nodecache.membership.hello import Hello
from tests.cluster_case import SECRET, ClusterCase, Member, gathered
from tests.fakes_client import until
from tests.fakes_http import answer, cut, html, shifted, truncated
from tests.fakes_peer import LyingPeer, digest_of

APP = "library/app"


class PeerReports(ClusterCase):
    def silent_peers(self, count: int) -> list[LyingPeer]:
        """They greet, and then say nothing more to anything."""
        peers = [LyingPeer(f"silent{index}", secrets=(SECRET.encode(),)) for index in range(count)]
        for peer in peers:
            peer.listen(_reactor)
            self.addCleanup(self.end, peer)
        return peers

    def end(self, peer: LyingPeer) -> Deferred[None]:
        return Deferred.fromCoroutine(peer.stop())

    async def among_silent_peers(self, count: int) -> tuple[Member, list[LyingPeer]]:
        peers = self.silent_peers(count)
        [node] = await self.cluster(1, [peer.address for peer in peers])
        for peer in peers:
            peer.lie("silent")
        return node, peers

    async def test_01_dead_peers_cost_their_silence_once_and_then_nothing(self) -> None:
        node, _ = await self.among_silent_peers(3)
        images = [self.hub.add_image(APP, f"v{n}", [os.urandom(1000)]) for n in range(4)]
        await node.pull(images[0], "v0")
        for n, image in enumerate(images[1:], 1):
            await node.pull(image, f"v{n}")
        timeouts = [e for e in node.told(PeerAsked) if e.what != "hello" and e.outcome == "timeout"]
        # Whoever was silent is not asked before it has greeted again, which it never does.
        assert len({e.peer for e in timeouts}) == len(timeouts) <= 3, timeouts
        assert [e.off for e in node.told(PeersOff)] in ([], [True])

    async def test_02_a_miss_ends_when_the_last_answer_is_in(self) -> None:
        nodes = await self.cluster(3)
        self.hub.registry.fault(answer(404))
        got = await nodes[0].blob(APP, "sha256:" + "a" * 64)
        assert got.status == 404
        asked = [e for e in nodes[0].told(PeerAsked) if e.what == "blob"]
        assert asked
        assert {e.outcome for e in asked} <= {"absent", "upstream_absent", "denied"}

    async def test_03_a_peer_that_stalls_in_the_middle_is_left_for_another(self) -> None:
        """tests/test_cluster_liars.py has all the ways to stall; this one stalls for ever."""
        stalling = LyingPeer("stalling", secrets=(SECRET.encode(),))
        address = stalling.listen(_reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(stalling.stop()))
        layer = os.urandom(3 * SEGMENT)
        image = self.hub.add_image(APP, "latest", [layer])
        stalling.blobs[digest_of(layer)] = layer
        [node] = await self.cluster(1, [address])
        stalling.lie("stall", what="blob")
        assert await node.pull(image) == [layer]

    async def test_05_many_layers_do_not_pay_for_dead_peers_each(self) -> None:
        node, _ = await self.among_silent_peers(2)
        layers = [os.urandom(100 + n) for n in range(20)]
        image = self.hub.add_image(APP, "latest", layers)
        assert await node.pull(image) == layers
        asked = [e for e in node.told(PeerFailed) if e.kind == "timeout"]
        # All layers are asked for at once, so each may have met the silence, once.
        assert {e.peer for e in asked} <= {"silent0", "silent1"}
        before = len(asked)
        again = self.hub.add_image(APP, "again", [os.urandom(100 + n) for n in range(20)])
        await node.pull(again, "again")
        after = [e for e in node.told(PeerFailed) if e.kind == "timeout"]
        assert len(after) == before

    async def test_08_the_one_holder_is_not_overrun_and_the_others_relay(self) -> None:
        layer = os.urandom(2 * SEGMENT)
        image = self.hub.add_image(APP, "latest", [layer])
        nodes = await self.cluster(5, limits=Limits(peer_segment_transfers=1, peer_queue=0))
        holder, *others = nodes
        await holder.pull(image)
        crossed = self.crossed()
        assert await gathered([node.pull(image) for node in others]) == [[layer]] * 4
        assert self.crossed() <= crossed + 2 * SEGMENT
        sent = {
            node.id: sum(e.bytes for e in node.told(PeerBytes) if e.direction == "out")
            for node in nodes
        }
        assert sum(1 for count in sent.values() if count) >= 2, sent

    async def test_09_who_pulls_at_once_goes_upstream_once(self) -> None:
        layers = [os.urandom(200_000), os.urandom(5000)]
        image = self.hub.add_image(APP, "latest", layers)
        nodes = await self.cluster(8)
        assert await gathered([node.pull(image) for node in nodes]) == [layers] * 8
        for digest in (image.config, *image.layers):
            asked = self.hub.registry.seen(method="GET", kind="blob", status=307, reference=digest)
            assert len(asked) == 1, digest

    async def test_10_no_error_is_ever_kept_or_handed_on_as_data(self) -> None:
        layer = os.urandom(2 * SEGMENT + 5)
        image = self.hub.add_image(APP, "latest", [layer])
        nodes = await self.cluster(3)
        for fault in (html(), answer(429), cut(SEGMENT // 2), truncated(1000), shifted(3)):
            self.hub.cdn.fault(fault, times=3)
            for got in await gathered([n.blob(APP, image.layers[0]) for n in nodes]):
                assert got.status >= 400 or got.broken or got.body == layer
        self.hub.cdn.faults.clear()

        async def served(node: Member) -> bytes:
            got = await node.blob(APP, image.layers[0])
            while (got.status, got.broken) != (200, None):
                got = await node.blob(APP, image.layers[0])
            return got.body

        # What is remembered for seconds is remembered by this node alone: ask until it is not.
        assert await gathered([served(node) for node in nodes]) == [layer] * 3

    async def test_12_a_denied_name_is_refused_to_clients_and_to_peers(self) -> None:
        layer = os.urandom(SEGMENT + 1)
        image = self.hub.add_image("acme/secret", "latest", [layer])
        nodes = await self.cluster(2)
        await nodes[1].pull(image)
        await nodes[1].stop()
        denying = UpstreamSettings("docker.io", self.hub.url, deny=("acme/*",))
        nodes[1].settings = attrs.evolve(nodes[1].settings, upstreams=(denying,))
        await nodes[1].start()
        await self.acquainted(*nodes)
        assert (await nodes[1].blob("acme/secret", image.layers[0])).status == 404
        await nodes[0].pull(image)
        asked = [e for e in nodes[0].told(PeerAsked) if e.what != "hello" and e.peer == "node1"]
        assert "denied" in {e.outcome for e in asked}
        assert not [e for e in nodes[1].told(PeerBytes) if e.direction == "out" and e.bytes]

    async def test_20_a_stopping_node_cuts_no_pull_and_is_not_asked_again(self) -> None:
        layer = os.urandom(4 * SEGMENT)
        image = self.hub.add_image(APP, "latest", [layer])
        nodes = await self.cluster(3)
        await nodes[0].pull(image)
        pulling = [Deferred.fromCoroutine(node.pull(image)) for node in nodes[1:]]
        await until(_reactor, lambda: any(e.direction == "out" for e in nodes[0].told(PeerBytes)))
        await nodes[0].stop()
        assert [await each for each in pulling] == [[layer]] * 2
        await until(_reactor, lambda: all(node.known() == 1 for node in nodes[1:]))

    async def test_21_a_proxy_is_for_upstream_and_never_for_peers(self) -> None:
        layer = os.urandom(1000)
        image = self.hub.add_image(APP, "latest", [layer])
        addresses = self.addresses(2)
        nodes = [self.member(index, addresses) for index in range(2)]
        await nodes[0].start()
        await nodes[0].pull(image)
        # Nothing listens there: whatever goes through it fails.
        nodes[1].environ["HTTP_PROXY"] = "http://127.0.0.1:9"
        await nodes[1].start()
        await self.acquainted(*nodes)
        assert await nodes[1].pull(image) == [layer]


def test_11_no_answer_of_dns_empties_a_good_view() -> None:
    """NXDOMAIN, silence and an answer with nothing in it all come to one of these two calls."""
    me = Peer("me", (Address("10.0.0.1", 5001),))
    membership = Membership(me, Timeouts(), "1")
    others = [Address(f"10.0.0.{n}", 5001) for n in range(2, 6)]
    membership.resolved([*me.addresses, *others], 0.0)
    for n, address in enumerate(others):
        hello = Hello(f"node{n}", "1", "1", "", (address,))
        membership.greeted(address, hello, 1.0, answered=True)
    now = 1.0
    for _ in range(200):
        now += 10.0
        membership.unresolved(now)
        membership.resolved([], now)
        assert len(membership.view(now).peers) == 4
    assert membership.failed("node0", PeerKind.TIMEOUT, now) > 0
    assert len(membership.view(now).peers) == 3
