"""``/api/v1/status`` and its kin, over a node that clients pull from."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.task import deferLater

from nodecache.config import SizeSetting
from nodecache.events import PeerAsked, PullFinished
from nodecache.limits import SEGMENT
from tests.cluster_case import ClusterCase, Member
from tests.fakes_client import fetch, until
from tests.fakes_http import Gate, hold_at
from tests.node_case import NodeCase, reactor

APP = "library/app"


async def document(port: int, path: str) -> Any:
    got = await fetch(reactor, f"http://127.0.0.1:{port}/api/v1/{path}")
    assert got.status == 200, got
    assert got.header("Content-Type") == "application/json; charset=utf-8"
    assert got.header("Cache-Control") == "no-store"
    return json.loads(got.body)


class StatusTests(NodeCase):
    async def read(self, path: str) -> Any:
        return await document(self.node.admin_port, path)

    async def test_a_fresh_node_has_little_to_say(self) -> None:
        await self.start()
        status = await self.read("status")
        told = status["state"], status["ready"], status["hit_rate"]
        self.assertEqual(told, ("ok", True, None), status["notices"])
        self.assertEqual(status["upstreams"][0]["up"], None)
        self.assertEqual(status["upstreams"][0]["rate_limit"], None)
        self.assertEqual(status["peers"], None)
        self.assertEqual((status["in_flight"], status["errors"]), (0, []))

    async def test_status_after_two_pulls(self) -> None:
        """The first is fetched, the second comes from disk."""
        self.hub.pull_limit = 100
        image = self.hub.add_image(APP, "1", [b"x" * 500_000])
        await self.start(max_size=SizeSetting(bytes=1 << 28))
        for _ in range(2):
            await self.manifest(APP, "1")
            await self.blob(APP, image.layers[0])
            await self.stored(1)
        await until(reactor, lambda: self.told(PullFinished))
        status = await self.read("status")
        self.assertEqual((status["hits"], status["misses"], status["hit_rate"]), (2, 2, 0.5))
        sources = status["bytes_by_source"]
        self.assertEqual(set(sources), {"disk", "flight", "fill", "stale", "peers", "upstream"})
        self.assertEqual(sources["disk"], 500_000 + len(image.manifest.body))
        self.assertEqual(status["served_bytes"], 2 * sources["disk"])
        self.assertGreaterEqual(sources["upstream"], 500_000)
        self.assertEqual(
            status["upstream_bytes_saved"], status["served_bytes"] - sources["upstream"]
        )
        cache = status["cache"]
        self.assertEqual((cache["blobs"], cache["manifests"], cache["cap"]), (1, 1, 1 << 28))
        self.assertGreater(cache["disk_total"], cache["disk_free"])
        [upstream] = status["upstreams"]
        self.assertEqual((upstream["namespace"], upstream["up"]), ("docker.io", True))
        limit = upstream["rate_limit"]
        self.assertEqual((limit["limit"], limit["remaining"]), (100, 99))
        self.assertEqual((limit["window_seconds"], limit["resets_in_seconds"]), (21600, None))
        self.assertEqual(status["hottest"][0]["image"], "docker.io/library/app:1")

    async def test_an_upstream_that_is_down_is_in_the_health(self) -> None:
        image = self.hub.add_image(APP, "1", [b"x"])
        await self.start(tag_ttl=0.0)
        await self.manifest(APP, "1")
        for digest in (image.config, *image.layers):
            await self.blob(APP, digest)
        await self.stored(2)
        await self.hub.stop()
        await self.manifest(APP, "1")
        status = await self.read("status")
        self.assertEqual((status["state"], status["ready"]), ("warn", True))
        self.assertIn("docker.io has been down", status["health"])
        self.assertEqual(status["upstreams"][0]["up"], False)
        problems = [error["problem"] for error in (await self.read("errors"))["errors"]]
        self.assertTrue(any("was served as it was" in problem for problem in problems), problems)

    async def test_a_blob_in_flight_is_shown_with_its_progress(self) -> None:
        """As far as it came, with the bytes of its reader among those by source."""
        digest = self.hub.add_pattern(APP, 3 * SEGMENT)
        gate = Gate()
        await self.start()
        self.hub.cdn.fault(hold_at(SEGMENT // 2, gate), skip=1, times=1)
        body = await self.begin_blob(APP, digest)
        await until(reactor, lambda: gate.waiting and body.received > SEGMENT)
        found = await self.read("transfers")
        [transfer] = found["transfers"]
        self.assertEqual((transfer["digest"], transfer["image"]), (digest, "docker.io/library/app"))
        self.assertEqual((transfer["status"], transfer["total_bytes"]), ("arriving", 3 * SEGMENT))
        self.assertEqual((transfer["readers"], found["sending"]), (1, 1))
        self.assertGreater(transfer["bytes_per_second"], 0)
        self.assertGreaterEqual(transfer["present_bytes"], SEGMENT)
        self.assertEqual(transfer["from_upstream_bytes"], transfer["fetched_bytes"])
        self.assertEqual(transfer["spans"][0][0], 0)
        status = await self.read("status")
        self.assertEqual((status["in_flight"], status["sending"]), (1, 1))
        self.assertGreater(status["bytes_by_source"]["fill"], SEGMENT)
        history = await self.read("history")
        self.assertGreater(sum(history["bytes"]["fill"]), SEGMENT)
        gate.open()
        await body.whole()
        await self.stored(1)
        self.assertEqual((await self.read("transfers"))["transfers"], [])
        self.assertEqual((await self.read("status"))["bytes_by_source"]["fill"], 3 * SEGMENT)

    async def test_history_has_a_value_for_each_step(self) -> None:
        await self.start()
        for window, step, count in (("15m", 10, 90), ("1h", 10, 360), ("24h", 300, 288)):
            history = await self.read(f"history?window={window}")
            self.assertEqual((history["window"], history["step_seconds"]), (window, step))
            series = [*history["bytes"].values(), history["hits"], history["hit_rate"]]
            self.assertEqual({len(values) for values in series}, {count})
            self.assertLess(history["elapsed_seconds"], step)
        self.assertEqual((await self.read("history"))["window"], "1h")

    async def test_a_window_that_is_none_is_refused(self) -> None:
        await self.start()
        for window in ("7d", "", "%00", "<script>"):
            url = f"http://127.0.0.1:{self.node.admin_port}/api/v1/history?window={window}"
            got = await fetch(reactor, url)
            self.assertEqual((window, got.status), (window, 400))
            self.assertEqual(set(json.loads(got.body)), {"problem", "next"})

    async def test_errors_are_counted_in_plain_words(self) -> None:
        await self.start()
        for _ in range(3):
            await self.manifest("library/typo", "1")
        [error] = (await self.read("errors"))["errors"]
        self.assertIn("docker.io/library/typo:1 was answered with 404", error["problem"])
        self.assertEqual((error["count"], error["over"], error["grave"]), (3, False, False))
        self.assertIn("name", error["next"])


class StatusOfPeersTests(ClusterCase):
    async def read(self, member: Member, path: str) -> Any:
        assert member.node is not None
        return await document(member.node.admin_port, path)

    async def test_who_feeds_whom(self) -> None:
        """What one node has goes to the other, and both say so."""
        image = self.hub.add_image(APP, "1", [b"y" * 3_000_000])
        first, second = await self.cluster(2)
        await first.pull(image, "1")
        await second.pull(image, "1")
        giver, taker = await self.read(first, "status"), await self.read(second, "status")
        given = {feed["peer"]: feed["sent_bytes"] for feed in giver["feeds"]}
        taken = {feed["peer"]: feed["received_bytes"] for feed in taker["feeds"]}
        self.assertGreaterEqual(given[second.id] + taken[first.id], 3_000_000)
        self.assertEqual((giver["node_id"], taker["node_id"]), (first.id, second.id))
        self.assertEqual((taker["peers"]["known"], taker["peers"]["live"]), (1, 1))
        self.assertGreater(taker["bytes_by_source"]["peers"], 0)
        self.assertEqual(giver["sent_to_peers_bytes"], sum(given.values()))

    async def test_who_feeds_whom_among_the_others(self) -> None:
        """A node is told by two others which of them fed the other, once somebody looks there."""
        image = self.hub.add_image(APP, "1", [b"y" * 3_000_000])
        first, second, _ = await self.cluster(3)
        await first.pull(image, "1")
        await second.pull(image, "1")
        giver, taker, other = await self.fed()
        self.assertEqual(self.asked_by(other), set(), "nobody looked")

        async def told() -> bool:
            edges = (await self.read(other, "feeds"))["edges"]
            return any((edge["from"], edge["to"]) == (giver.id, taker.id) for edge in edges)

        while not await told():
            await deferLater(reactor, 0.05)
        self.assertEqual(self.asked_by(other), {giver.id, taker.id})
        found = await self.read(other, "feeds")
        self.assertEqual({each["peer"] for each in found["reports"]}, {giver.id, taker.id})
        self.assertFalse(any(each["old"] for each in found["reports"]))

    async def fed(self) -> tuple[Member, Member, Member]:
        """One that fed another, that other, and the third of three."""
        by_id = {member.id: member for member in self.members}
        for taker in self.members:
            for feed in (await self.read(taker, "status"))["feeds"]:
                if feed["received_bytes"]:
                    [other] = by_id.keys() - {taker.id, feed["peer"]}
                    return by_id[feed["peer"]], taker, by_id[other]
        raise AssertionError("nobody fed anybody")

    def asked_by(self, member: Member) -> set[str]:
        """Whom it asked for their status."""
        return {told.peer for told in member.told(PeerAsked) if told.what == "status"}

    async def test_a_peer_that_is_gone_says_nothing_and_breaks_nothing(self) -> None:
        first, second = await self.cluster(2)
        await second.stop()
        for _ in range(3):
            found = await self.read(first, "feeds")
            self.assertEqual(found["edges"], [])


class StatusAloneTests(NodeCase):
    async def test_a_node_without_peers_has_no_feeds_of_a_cluster(self) -> None:
        await self.start()
        got = await fetch(reactor, f"http://127.0.0.1:{self.node.admin_port}/api/v1/feeds")
        self.assertEqual(got.status, 404)
        self.assertEqual(set(json.loads(got.body)), {"problem", "next"})
