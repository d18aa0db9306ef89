"""What a running node shows of itself when it is scraped."""

from __future__ import annotations

from typing import Any

import attrs
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred

from nodecache.config import SizeSetting
from nodecache.events import (
    FillFinished,
    PeersOff,
    PullFinished,
    RequestFinished,
    UpstreamAnswered,
)
from nodecache.reference import Repository, Tag
from tests.cluster_case import SECRET, ClusterCase
from tests.fakes_client import fetch, until
from tests.fakes_peer import LyingPeer
from tests.node_case import NodeCase, reactor

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def samples(text: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


@attrs.frozen
class Scraped:
    """One answer of ``/metrics``."""

    text: bytes
    kind: str

    def __call__(self, name: str, **labels: str) -> float | None:
        return samples(self.text).get((name, frozenset(labels.items())))


async def scrape(port: int, accept: str = "*/*") -> Scraped:
    got = await fetch(reactor, f"http://127.0.0.1:{port}/metrics", headers={"Accept": accept})
    assert got.status == 200, got
    return Scraped(got.body, got.header("Content-Type") or "")


class NodeMetrics(NodeCase):
    async def scrape(self, accept: str = "*/*") -> Scraped:
        return await scrape(self.node.admin_port, accept)

    async def test_a_node_shows_its_room_threads_and_ports(self) -> None:
        await self.start(max_size=SizeSetting(bytes=1 << 30), min_free=SizeSetting(bytes=4096))
        await self.until_shown("nodecache_disk_free_bytes")
        seen = await self.scrape()
        assert seen("nodecache_ready") == 1
        assert seen("nodecache_pins") == 0
        assert seen("nodecache_cache_max_bytes") == 1 << 30
        assert seen("nodecache_disk_floor_bytes") == 4096
        size, free = seen("nodecache_disk_size_bytes"), seen("nodecache_disk_free_bytes")
        assert size is not None
        assert free is not None
        assert 0 < free < size
        assert seen("nodecache_threads", pool="disk") == self.node.settings.limits.disk_threads
        assert seen("nodecache_connections", port="admin") == 1
        assert seen("nodecache_upstream_up", origin=self.hub.url) == 1
        assert seen("nodecache_stale_total", namespace="docker.io") == 0
        # It has no peers, so that it says nothing of any.
        assert b"nodecache_peers_view_checksum " not in seen.text
        assert b"nodecache_peers{" not in seen.text

    async def until_shown(self, name: str) -> None:
        async def shown() -> bool:
            return (await self.scrape())(name) is not None

        give_up = reactor.seconds() + 10
        while not await shown():
            assert reactor.seconds() < give_up, name

    async def test_the_reactor_of_a_node_without_peers_is_measured_too(self) -> None:
        await self.start()
        give_up = reactor.seconds() + 10
        while not (await self.scrape())("nodecache_loop_lag_seconds_count"):
            assert reactor.seconds() < give_up

    async def test_a_stopped_node_is_read_no_more(self) -> None:
        node = await self.start()
        await node.stop("the test says so")
        assert b"nodecache_disk_free_bytes" not in self.metrics.render()
        assert b"nodecache_ready" not in self.metrics.render()

    async def test_a_disk_that_can_not_be_asked_is_not_shown(self) -> None:
        await self.start()
        await self.until_shown("nodecache_disk_free_bytes")
        moved = self.data_dir.with_name("elsewhere")
        self.data_dir.rename(moved)
        # The store, which looks after its folder, can not make it anew meanwhile.
        self.data_dir.symlink_to("nowhere")
        give_up = reactor.seconds() + 10
        while (await self.scrape())("nodecache_disk_free_bytes") is not None:
            assert reactor.seconds() < give_up
        self.data_dir.unlink()
        moved.rename(self.data_dir)
        await self.until_shown("nodecache_disk_free_bytes")

    async def test_metrics_logs_and_upstream_meet_in_the_trace_of_the_client(self) -> None:
        """A pull as a runtime that traces makes it."""
        image = self.hub.add_image("library/alpine", "latest", layers=(b"x" * 5000,))
        await self.start()
        parent = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
        await self.get(f"/v2/{image.name}/manifests/{image.digest}", **parent)
        await self.get(f"/v2/{image.name}/blobs/{image.layers[0]}", **parent)
        await self.stored(1)
        await until(reactor, lambda: bool(self.told(PullFinished)))
        requests = self.told(RequestFinished)
        assert {event.trace_id for event in requests} == {TRACE}
        assert {event.parent_id for event in requests} == {PARENT}
        assert len({event.span_id for event in requests}) == 2
        (pull,) = self.told(PullFinished)
        assert (pull.trace_id, pull.parent_id) == (TRACE, PARENT)
        seen = await self.scrape("application/openmetrics-text;version=1.0.0")
        assert seen.kind.startswith("application/openmetrics-text")
        lines = seen.text.decode().splitlines()
        led = {line.split("{")[0] for line in lines if f'trace_id="{TRACE}"' in line}
        assert led >= {
            "nodecache_first_byte_seconds_bucket",
            "nodecache_pull_seconds_bucket",
            # Told by the coroutines that the request began: they know whom they work for.
            "nodecache_upstream_request_seconds_bucket",
            "nodecache_fill_seconds_bucket",
        }

    async def test_a_pull_without_a_trace_is_given_one(self) -> None:
        image = self.hub.add_image("library/alpine", "latest", layers=(b"x" * 5000,))
        await self.start()
        await self.manifest(image.name, image.digest)
        await self.blob(image.name, image.layers[0])
        await self.manifest(image.name, image.digest, traceparent="junk")
        await until(reactor, lambda: bool(self.told(PullFinished)))
        traces = {event.trace_id for event in self.told(RequestFinished)}
        (pull,) = self.told(PullFinished)
        assert traces == {pull.trace_id}
        assert len(pull.trace_id) == 32
        assert {event.parent_id for event in self.told(RequestFinished)} == {pull.span_id}

    async def test_what_upstream_was_spared_is_counted(self) -> None:
        image = self.hub.add_image("library/alpine", "latest", layers=(b"x" * 5000,))
        await self.start()
        for _ in range(3):
            await self.manifest(image.name, image.digest)
            await self.blob(image.name, image.layers[0])
            await self.stored(1)
        seen = await self.scrape()
        answers = [each for each in self.told(UpstreamAnswered) if each.leg == "manifest"]
        assert len([each for each in answers if each.status == 200]) == 1
        assert seen("nodecache_counted_pulls_avoided_total") == 2
        spared = 2 * (5000 + len(image.manifest.body))
        assert seen("nodecache_upstream_saved_bytes_total") == spared


class ClusterMetrics(ClusterCase):
    async def test_two_nodes_see_the_same_cluster_and_say_what_came_from_whom(self) -> None:
        one, two = await self.cluster(2)
        image = self.hub.add_image("library/alpine", "latest", layers=(b"x" * 3_000_000,))
        await one.pull(image)
        await two.pull(image)
        await until(reactor, lambda: bool(two.told(PullFinished)))
        (pull,) = two.told(PullFinished)
        peers = sum(event.from_peers for event in two.told(FillFinished))
        assert peers >= 3_000_000
        assert pull.bytes_by_source["peer"] == peers
        assert pull.senders == {one.id: peers}
        assert pull.source == "peer"
        seen = [await self.scraped(member) for member in (one, two)]
        views = {each("nodecache_peers_view_checksum") for each in seen}
        assert len(views) == 1
        assert None not in views
        assert seen[0]("nodecache_peers", state="live") == 1
        assert seen[0]("nodecache_peers", state="aside") == 0
        assert seen[1]("nodecache_pull_bytes_total", source="peer") == peers
        assert seen[1]("nodecache_fill_bytes_total", origin="peer") == peers

    async def test_a_node_that_is_left_alone_has_another_view(self) -> None:
        one, two = await self.cluster(2)
        before = (await self.scraped(one))("nodecache_peers_view_checksum")
        await two.stop()
        await until(reactor, lambda: one.known() == 0)
        assert (await self.scraped(one))("nodecache_peers_view_checksum") != before

    async def test_an_outage_ends_in_metrics_though_nobody_pulls(self) -> None:
        """Its end is found out by greetings alone."""
        liar = LyingPeer(secrets=[SECRET.encode()])
        self.addCleanup(lambda: Deferred.fromCoroutine(liar.stop()))
        [node] = await self.cluster(1, beside=[liar.listen(reactor)])
        liar.lie("hang-up")
        await until(reactor, lambda: [event.off for event in node.told(PeersOff)] == [True])
        assert (await self.scraped(node))("nodecache_peers_off") == 1
        liar.be_honest()
        await until(reactor, lambda: [event.off for event in node.told(PeersOff)] == [True, False])
        assert (await self.scraped(node))("nodecache_peers_off") == 0

    async def scraped(self, member: Any) -> Scraped:
        assert member.node is not None
        return await scrape(member.node.admin_port)


class PinMetrics(NodeCase):
    async def test_pinned_tags_are_counted(self) -> None:
        image = self.hub.add_image("library/alpine", "latest", layers=(b"x" * 500,))
        node = await self.start()
        await self.manifest(image.name, "latest")
        await self.manifest(image.name, image.digest)
        repository, tag = Repository("docker.io", "library/alpine"), Tag("latest")
        entry = await node._store.read_tag(repository, tag)
        assert entry is not None
        await node._store.write_tag(repository, tag, attrs.evolve(entry, pinned=True))
        assert (await scrape(node.admin_port))("nodecache_pins") == 1
        await node._store.drop_tag(repository, tag)
        assert (await scrape(node.admin_port))("nodecache_pins") == 0
