"""``nodecache pull --all-nodes``: every node has the image then, and upstream gave it once."""

from __future__ import annotations

from typing import Any

import attrs

from nodecache.config import SizeSetting, UpstreamSettings
from tests.cluster_case import ClusterCase, reactor
from tests.fakes_client import until
from tests.moving_case import run

LAYERS = [b"one" * 100_000, b"two" * 100]


class PullClusterTests(ClusterCase):
    async def test_each_node_has_all_of_it_and_upstream_was_asked_about_once(self) -> None:
        image = self.hub.add_image("library/alpine", "3", LAYERS)
        nodes = await self.cluster(3)
        ran = await run(nodes[0].data_dir, "pull", "alpine:3", "--all-nodes")
        self.assertEqual((ran.code, ran.err), (0, ""))
        self.assertIn("node1: alpine:3  done", ran.out)
        self.assertIn("2 other nodes were told", ran.out)
        for node in nodes:
            blobs = [path for path in (node.data_dir / "v1/blobs").rglob("*") if path.is_file()]
            self.assertEqual(len(blobs), 3)
        for digest in (image.config, *image.layers):
            got = await nodes[2].blob("library/alpine", digest)
            self.assertEqual(got.header("nodecache-source"), "disk")
        self.assertLessEqual(len(self.hub.cdn.requests), 4)

    async def test_each_node_goes_by_its_own_rules_and_the_others_are_not_held_up(self) -> None:
        self.hub.add_image("library/alpine", "3", LAYERS)
        addresses = self.addresses(4)
        denying = (UpstreamSettings("docker.io", self.hub.url, deny=("alpine",)),)
        given: tuple[dict[str, Any], ...] = (
            {},
            {"upstreams": denying},
            {"offline": True},
            {"max_size": SizeSetting(bytes=50_000)},
        )
        self.members = [self.member(index, addresses, **more) for index, more in enumerate(given)]
        for member in self.members:
            await member.start()
        await self.all_known()
        ran = await run(self.members[0].data_dir, "pull", "alpine:3", "--all-nodes", "--json")
        self.assertEqual(ran.code, 1)
        last = {each["node"]: each for each in ran.lines if each["event"] == "node"}
        self.assertEqual({each["state"] for each in last.values()}, {"refused"})
        self.assertIn("denied", last["node1"]["problem"])
        self.assertIn("offline", last["node2"]["problem"])
        self.assertIn("holds at most", last["node3"]["problem"])
        self.assertEqual(ran.lines[-1]["nodes_failed"], 3)
        self.assertEqual(ran.lines[-1]["failed"], 0)

    async def all_known(self) -> None:
        await until(reactor, lambda: all(member.known() == 3 for member in self.members))

    async def test_a_node_that_is_gone_is_named(self) -> None:
        self.hub.add_image("library/alpine", "3", LAYERS)
        nodes = await self.cluster(2)
        assert nodes[0].node is not None
        run_: Any = nodes[0].node.steering.site.verbs["warm"].run
        ports = run_.__self__
        peers = nodes[0].node.live_peers()
        ports._ports = attrs.evolve(ports._ports, live=lambda: peers)
        await nodes[1].stop()
        ran = await run(nodes[0].data_dir, "pull", "alpine:3", "--all-nodes")
        self.assertEqual(ran.code, 1)
        self.assertIn("nodecache: node1: alpine:3: ", ran.err)
        self.assertIn("alpine:3  ", ran.out)
