"""More of what users of other peer-to-peer mirrors reported, and where the rest is tested.

As in test_user_reports_peers: whole nodes that share, and time counted in questions.
"""

from __future__ import annotations

import os
import pathlib
import re

import pytest
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred

from nodecache.events import FillFinished, PeerAsked, PeerBytes
from nodecache.failures import UpstreamFailure, UpstreamKind
from nodecache.limits import SEGMENT, Limits, Timeouts
from tests import cache_cluster
from tests.cluster_case import SECRET, ClusterCase, Member, gathered
from tests.fakes_cache import ALPINE, LATEST
from tests.fakes_cache import image as made
from tests.fakes_client import until
from tests.fakes_http import answer, black_hole
from tests.fakes_peer import LyingPeer, digest_of

APP = "library/app"
#: Short enough for a test, long enough for a loaded machine.
HASTY = Timeouts(answer=3.0, silence=0.5, stall_total=2.0)

TESTS = pathlib.Path(__file__).parent
#: What concerns the installation, or needs a machine of its own: row, file, test.
ELSEWHERE = [
    ("04 something else on the port", "test_cli_doctor.py", "a_port_that_somebody_else_answers"),
    ("04 something silent on the port", "test_cli_doctor.py", "a_port_that_is_silent"),
    ("04 a short dial timeout", "test_runtimes_files.py", "dial_timeout_is_known_by_the_releases"),
    ("07 flat memory", "system/test_memory.py", "twenty_clients_of_a_cold_2_gib_blob_stay_under"),
    ("07 a big layer", "system/test_two_gib.py", "a_layer_of_2_gib_is_fetched_once"),
    ("09 a hundred nodes", "test_simulate.py", "about_one_copy_crosses_the_upstream_link"),
    (
        "13 the start order",
        "system/test_daemonset_failures.py",
        "every_pull_succeeds_while_the_pod",
    ),
    (
        "14 the deprecated table",
        "test_runtimes_findings.py",
        "the_deprecated_table_is_worth_a_note",
    ),
    ("14 what each release reads", "test_runtimes_findings.py", "each_fault_of_a_containerd_has"),
]


@pytest.mark.parametrize(("row", "file", "test"), ELSEWHERE, ids=[row for row, *_ in ELSEWHERE])
def test_what_is_tested_elsewhere_is(row: str, file: str, test: str) -> None:
    assert re.search(rf"def test_{test}", (TESTS / file).read_text()), row


def blob_files(node: Member) -> list[pathlib.Path]:
    """Whole blobs on its disk."""
    return [file for file in node.data_dir.rglob("blobs/sha256/*/*") if file.is_file()]


def sent(node: Member) -> int:
    """Bytes that it sent to its peers."""
    return sum(e.bytes for e in node.told(PeerBytes) if e.direction == "out")


class MorePeerReports(ClusterCase):
    async def test_01_a_peer_that_was_dead_is_asked_again_without_a_restart(self) -> None:
        back = LyingPeer("back", secrets=(SECRET.encode(),))
        back.listen(_reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(back.stop()))
        [node] = await self.cluster(1, [back.address])
        back.lie("silent")
        await node.pull(self.hub.add_image(APP, "first", [os.urandom(1000)]), "first")
        await until(_reactor, lambda: node.known() == 0)
        back.be_honest()
        await until(_reactor, lambda: node.known() == 1)
        layer = os.urandom(1000)
        back.blobs[digest_of(layer)] = layer
        image = self.hub.add_image(APP, "second", [layer])
        assert await node.pull(image, "second") == [layer]
        assert sum(e.bytes for e in node.told(PeerBytes) if e.direction == "in") >= len(layer)

    async def test_05_many_layers_do_not_pay_for_a_hung_upstream_each(self) -> None:
        """It is found out once; a runtime goes elsewhere with the other layers at once."""
        [node] = await self.cluster(1, timeouts=HASTY)
        image = self.hub.add_image(APP, "latest", [os.urandom(100 + n) for n in range(20)])
        assert (await node.manifest(APP, image.digest)).status == 200
        for site in (self.hub.registry, self.hub.cdn):
            site.fault(black_hole)
        first, *others = image.layers
        assert (await node.blob(APP, first)).status >= 400
        asked = self.hub.registry.count()
        for digest in others:
            assert (await node.blob(APP, digest)).status >= 400
        # A probe may be among them.
        assert self.hub.registry.count() - asked <= 2

    async def test_06_what_is_evicted_while_it_is_sent_is_sent_whole(self) -> None:
        layer = os.urandom(2 * SEGMENT)
        image = self.hub.add_image(APP, "latest", [layer])
        slowly = Limits(peer_rate=12 * 1024 * 1024)
        nodes = await self.cluster(2, limits=slowly)
        await nodes[0].pull(image)
        crossed = self.crossed()
        pulling = Deferred.fromCoroutine(nodes[1].pull(image))
        hits = ("hit", "fetched")
        await until(
            _reactor,
            lambda: [e for e in nodes[1].told(PeerAsked) if e.what == "blob" and e.outcome in hits],
        )
        for file in blob_files(nodes[0]):
            file.unlink()
        assert await pulling == [layer]
        assert self.crossed() <= crossed + len(layer) + 1000

    async def test_06_what_was_evicted_just_before_is_fetched_and_never_short(self) -> None:
        layer = os.urandom(SEGMENT + 7)
        image = self.hub.add_image(APP, "latest", [layer])
        nodes = await self.cluster(2)
        await nodes[0].pull(image)
        files = blob_files(nodes[0])
        assert files
        for file in files:
            file.unlink()
        assert await gathered([node.pull(image) for node in nodes]) == [[layer]] * 2

    async def test_07_a_large_layer_comes_from_neighbours_over_several_connections(self) -> None:
        size = 6 * SEGMENT
        digest = self.hub.add_pattern(APP, size)
        nodes = await self.cluster(3)
        first = await nodes[0].blob(APP, digest)
        crossed = self.crossed()
        again = await nodes[1].blob(APP, digest)
        assert again.broken is None
        assert again.body == first.body
        assert self.crossed() == crossed
        await until(_reactor, lambda: nodes[1].told(FillFinished))
        (told,) = nodes[1].told(FillFinished)
        assert (told.digest, told.total, told.outcome) == (digest, size, "stored")
        assert told.connections > 1
        # What it owns itself it has fetched for the first one.
        assert told.from_peers >= size - sent(nodes[1]) > 0

    async def test_22_a_tag_that_moved_is_seen_by_all_and_stale_only_while_upstream_fails(
        self,
    ) -> None:
        old = self.hub.add_image(APP, "latest", [b"old layer"])
        nodes = await self.cluster(3, tag_ttl=0.0)
        for node in nodes:
            await node.pull(old)
        new = self.hub.add_image(APP, "latest", [b"new layer"])
        for node in nodes:
            got = await node.manifest(APP, "latest")
            assert (got.status, got.body) == (200, new.manifest.body)
            assert got.header("Warning") is None
            assert await node.pull(new) == [b"new layer"]
        self.hub.registry.fault(answer(503))
        for node in nodes:
            got = await node.manifest(APP, "latest")
            assert (got.status, got.body) == (200, new.manifest.body)
            assert got.header("Warning") is not None

    async def test_23_pulls_do_not_cost_upstream_a_question_each(self) -> None:
        image = self.hub.add_image(APP, "latest", [b"a layer"])
        nodes = await self.cluster(4)
        for _ in range(5):
            await gathered([node.pull(image) for node in nodes])
        registry = self.hub.registry
        assert registry.count(method="HEAD", kind="manifest", status=200) == 1
        assert registry.count(method="GET", kind="manifest", status=200) == 1


class SixtyNodes(cache_cluster.ClusterCase):
    def test_24_what_one_of_sixty_has_is_found_by_all_though_nobody_advertises_it(self) -> None:
        old = made("old", b"layer")
        self.hub.has(ALPINE, LATEST, old)
        nodes = self.make(60)
        holder = nodes[37]
        self.pull(holder)
        holder.store.blobs.update({digest_of(blob): blob for blob in (b"old", b"layer")})
        for node in nodes:
            node.egress.cut = UpstreamFailure(UpstreamKind.UNREACHABLE, "refused")
            node.egress.known = True
        for node in nodes:
            self.assertEqual(self.pull(node, old.digest).body, old.body)
