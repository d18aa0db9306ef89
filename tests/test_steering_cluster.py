"""What the commands say of other nodes: the status of all, and what a peer has."""

from __future__ import annotations

import re
from typing import Any

from twisted.internet.defer import Deferred

from nodecache import __version__
from nodecache.membership import Address
from nodecache.reference import Digest
from tests import fakes_peer
from tests.cluster_case import SECRET, ClusterCase, Member, reactor
from tests.fakes_client import until
from tests.fakes_peer import LyingPeer
from tests.steering_case import Said, nodecache

NGINX = "library/nginx"


async def say(member: Member, *arguments: str) -> Said:
    assert member.node is not None
    url = f"http://127.0.0.1:{member.node.admin_port}"
    return await nodecache(*arguments, "--admin", url, "--data-dir", str(member.data_dir))


class StatusOfAll(ClusterCase):
    def test_every_node_is_asked(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._every_node())

    async def _every_node(self) -> None:
        first, second, third = await self.cluster(3)
        await third.pull(self.hub.add_image(NGINX, "latest", [b"x" * 100_000]))
        document = (await say(first, "status", "--cluster", "--json")).document
        nodes = {node["id"]: node for node in document["nodes"]}
        assert set(nodes) == {"node0", "node1", "node2"}
        assert [node["self"] for node in document["nodes"]] == [True, False, False]
        assert nodes["node2"]["status"]["served_bytes"] > 100_000
        assert nodes["node2"]["status"]["cap"] == 1 << 30
        assert all(node["status"]["release"] for node in nodes.values())
        assert second.node is not None
        said = await say(first, "status", "--cluster")
        rows = [line.split() for line in said.out.splitlines()[1:4]]
        assert [row[:2] for row in rows] == [
            ["node0*", "live"],
            ["node1", "live"],
            ["node2", "live"],
        ]

    def test_one_that_is_gone_is_shown_as_such(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._gone())

    async def _gone(self) -> None:
        first, second = await self.cluster(2)
        node = second.node
        assert node is not None
        # Its port is closed, and nobody was told.
        await node._listeners["peer_listen"].close()
        node._neighbours.site.abort_all()  # type: ignore[union-attr]
        said = await say(first, "status", "--cluster")
        assert said.code == 0
        row = next(line for line in said.out.splitlines() if line.startswith("node1"))
        assert "no answer" in row
        assert said.out.splitlines()[-1].startswith("node1: ")

    def test_an_address_that_nobody_answers_on_is_shown_as_unknown(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._unknown())

    async def _unknown(self) -> None:
        nowhere = self.addresses(1)
        address: Address = nowhere[0]
        self.members = [self.member(0, [*self.addresses(1), address])]
        await self.members[0].start()
        document = (await say(self.members[0], "status", "--cluster", "--json")).document
        [other] = [node for node in document["nodes"] if node["id"] == str(address)]
        assert other["status"] is None
        assert other["problem"]

    def test_one_of_another_version_and_one_that_never_answered_are_no_secret(
        self,
    ) -> Deferred[None]:
        return Deferred.fromCoroutine(self._strangers())

    async def _strangers(self) -> None:
        """``pull --all-nodes`` names them too: they do not have the image then."""
        self.patch(fakes_peer, "WIRE_VERSION", "2")
        newer = LyingPeer("newer", secrets=(SECRET.encode(),))
        self.addCleanup(lambda: Deferred.fromCoroutine(newer.stop()))
        own, nowhere = self.addresses(2)
        member = self.member(0, [own, newer.listen(reactor), nowhere])
        self.members = [member]
        await member.start()
        node = member.node
        assert node is not None
        assert node._neighbours is not None
        table = node._neighbours.table
        await until(reactor, lambda: "newer" in {row.id for row in table.seen().peers})
        rows = [line.split() for line in (await say(member, "status", "--cluster")).out.split("\n")]
        assert rows[0] == ["NODE", "STATE", "VERSION", "SIZE", "HITS", "UPSTREAM", "BREAKERS", "UP"]
        assert rows[1][:3] == ["node0*", "live", __version__]
        assert ["newer", "other", "version", "0.0", *"-----"] in rows
        assert [str(nowhere), "no", "answer", *"------"] in rows
        assert ["newer:", "it", "speaks", "another", "version", "of", "the", "wire"] in rows
        self.hub.add_image(NGINX, "1", [b"x" * 1000])
        said = await say(member, "pull", "nginx:1", "--all-nodes")
        assert said.code == 1
        assert "newer: nginx:1: not told: it speaks another version of the wire\n" in said.err
        why = "it (has never answered|failed a moment ago, and is not asked)"
        assert re.search(f"{nowhere}: nginx:1: not told: {why}\n", said.err)
        assert "'nodecache status --cluster'" in said.err
        assert said.out.startswith("nginx:1  ")

    def test_what_a_node_does_not_ask_for_now_stands_in_its_line(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._breakers())

    async def _breakers(self) -> None:
        first, second = await self.cluster(2)
        assert second.node is not None
        assert second.node._neighbours is not None
        await second.node._listeners["peer_listen"].close()
        second.node._neighbours.site.abort_all()  # type: ignore[union-attr]
        await say(first, "status", "--cluster")  # which finds it gone
        await self.hub.stop()
        assert (await first.manifest(NGINX, "1")).status >= 500
        out = (await say(first, "status", "--cluster")).out
        row = next(line for line in out.splitlines() if line.startswith("node0*"))
        assert "  1 upstream, 1 peer  " in row, out
        assert "node0: docker.io does not answer it\n" in out
        assert "node0: it has put 1 peer aside\n" in out


class WhereBlobsComeFrom(ClusterCase):
    def test_the_peers_that_have_a_blob_are_named(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._at_a_peer())

    async def _at_a_peer(self) -> None:
        first, second, third = await self.cluster(3)
        image = self.hub.add_image(NGINX, "1", [b"x" * 1000, b"y" * 1000])
        await second.pull(image, "1")
        assert (await first.manifest(NGINX, "1")).status == 200
        crossed = self.hub.count(kind="blob")
        blobs = await self.shown(first)
        assert [(blob["from"], blob["peers"]) for blob in blobs] == [("peer", ["node1"])] * 3
        assert (await say(first, "show", "nginx")).out.count("peer node1\n") == 3
        # Nobody was made to fetch, and what is had since is seen.
        assert self.hub.count(kind="blob") == crossed
        assert (await third.blob(NGINX, image.layers[0])).status == 200
        assert third.node is not None
        store, layer = third.node._store, Digest.parse(image.layers[0])
        await until(reactor, lambda: store.blob_size(layer) is not None)
        [_, both, one] = await self.shown(first)
        assert sorted(both["peers"]) == ["node1", "node2"]
        assert one["peers"] == ["node1"]
        out = (await say(first, "show", "nginx")).out
        assert out.count(f"peer {both['peers'][0]} and 1 more\n") == 1
        assert (
            f"peers {', '.join(both['peers'])}"
            in (await say(first, "show", "nginx", "--digests")).out
        )

    async def shown(self, member: Member) -> list[dict[str, Any]]:
        document = (await say(member, "show", "nginx", "--json")).document
        blobs: list[dict[str, Any]] = document["manifest"]["blobs"]
        return blobs

    def test_what_no_peer_has_comes_from_upstream(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._at_none())

    async def _at_none(self) -> None:
        first, _second = await self.cluster(2)
        self.hub.add_image(NGINX, "1", [b"x" * 1000])
        assert (await first.manifest(NGINX, "1")).status == 200
        assert {(blob["from"], *blob["peers"]) for blob in await self.shown(first)} == {
            ("upstream",)
        }
