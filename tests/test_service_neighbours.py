"""How the fills of a node with peers share what it may have at a time."""

from __future__ import annotations

from functools import partial

from twisted.internet.defer import Deferred

from nodecache.limits import SEGMENT, Limits
from nodecache.reference import Digest
from nodecache.service.neighbours import Neighbours
from tests.cluster_case import ClusterCase, Member

DIGEST = Digest("sha256", "a" * 64)


class Shares(ClusterCase):
    def test_width_and_order_of_a_fill(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._width())

    async def _width(self) -> None:
        limits = Limits(peer_connections_shared=12)
        first, second = await self.cluster(2, limits=limits)
        near, other = self.near(first), self.near(second)
        assert near.width(DIGEST, 100 * SEGMENT) == 12
        assert near.width(DIGEST, 3 * SEGMENT) == 6, "a segment may come in halves"
        assert near.width(DIGEST, 0) == 1
        for going, wide in ((3, 4), (4, 3), (12, 2), (100, 2)):
            near._filling = partial(int, going)
            assert near.width(DIGEST, 100 * SEGMENT) == wide
        assert near.spread(DIGEST) == near.spread(DIGEST)
        assert near.spread(DIGEST) != other.spread(DIGEST), "each node in an order of its own"

    def test_all_connections_ask_for_whole_segments_where_nodes_are_few(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._at_a_time(small=2, expected=12))

    def test_fewer_segments_at_a_time_where_nodes_are_many(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._at_a_time(small=1, expected=5))

    async def _at_a_time(self, *, small: int, expected: int) -> None:
        limits = Limits(peer_small_cluster=small, peer_connections_per_blob=5)
        members = await self.cluster(2, limits=limits)
        spread = self.near(members[0]).spread(DIGEST)
        assert spread is not None
        assert spread.at_a_time == expected

    def test_a_node_alone_begins_with_one_connection_in_order(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._alone())

    async def _alone(self) -> None:
        [node] = await self.cluster(1)
        near = self.near(node)
        assert near.width(DIGEST, 100 * SEGMENT) == 1
        assert near.spread(DIGEST) is None

    @staticmethod
    def near(member: Member) -> Neighbours:
        assert member.node is not None
        assert member.node._neighbours is not None
        return member.node._neighbours
