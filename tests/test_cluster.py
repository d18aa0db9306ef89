"""Whole nodes that share, over loopback sockets."""

from __future__ import annotations

import os
from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred

from nodecache.events import PeerBytes
from nodecache.limits import SEGMENT
from nodecache.membership import Peer
from nodecache.membership.view import View
from tests.cluster_case import ClusterCase, gathered


def started(work: Coroutine[Any, Any, None]) -> Deferred[None]:
    return Deferred.fromCoroutine(work)


class Herd(ClusterCase):
    def test_a_cluster_fetches_a_cold_image_once(self) -> Deferred[None]:
        return started(self._cold(5))

    async def _cold(self, count: int) -> None:
        layers = [os.urandom(3 * SEGMENT + 12345), os.urandom(SEGMENT // 2)]
        image = self.hub.add_image("library/app", "latest", layers)
        nodes = await self.cluster(count)
        pulled = await gathered([node.pull(image) for node in nodes])
        assert pulled == [layers] * count
        registry = self.hub.registry
        assert registry.count(method="HEAD", kind="manifest", status=200) == 1
        assert registry.count(method="GET", kind="manifest", status=200) == 1
        crossed = sum(each.sent for each in self.hub.cdn.requests)
        assert crossed <= 1.05 * sum(map(len, layers)), crossed
        came = [e for node in nodes for e in node.told(PeerBytes) if e.direction == "in"]
        assert sum(e.bytes for e in came) >= (count - 1) * sum(map(len, layers))


class Owners(ClusterCase):
    """Every node takes itself for the owner of everything: no two views are the same."""

    def setUp(self) -> None:
        super().setUp()
        usual = View.rank

        def me_first(view: View, key: str, most: int) -> tuple[Peer, ...]:
            others = [peer for peer in usual(view, key, most + 1) if peer != view.me]
            return (view.me, *others)[:most]

        self.patch(View, "rank", me_first)

    def test_they_wait_for_the_one_that_goes_upstream(self) -> Deferred[None]:
        """Three nodes, for each of them is then asked by all who go upstream.

        Two that ask each other at the same moment may both go. Of these twelve segments none or a
        few are fetched twice so; without the wait each is by two or three.
        """
        return started(self._they_wait())

    async def _they_wait(self) -> None:
        layers = [os.urandom(4 * SEGMENT) for _ in range(3)]
        image = self.hub.add_image("library/app", "latest", layers)
        nodes = await self.cluster(3)
        assert await gathered([node.pull(image) for node in nodes]) == [layers] * 3
        copies = sum(each.sent for each in self.hub.cdn.requests) / sum(map(len, layers))
        assert copies < 2.0, copies
