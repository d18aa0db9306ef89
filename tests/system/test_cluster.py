"""Eight nodes on links of their own: a herd fetches an image once, together."""

from __future__ import annotations

import collections
import concurrent.futures
from functools import partial

from tests.system.cluster.cluster import Cluster
from tests.system.cluster.containers import containerd_in, skopeo_in
from tests.system.cluster.member import Member
from tests.system.cluster.network import MBIT
from tests.system.cluster.pulls import Pull, begin
from tests.system.cluster.upstream import Bill
from tests.system.parts.images import MIB, Image
from tests.system.parts.processes import until
from tests.system.parts.runtimes import Runtime
from tests.system.parts.userlands import newer

#: What a herd may take of upstream, as a multiple of the image.
ONE_COPY = 1.05


def size(of: Image) -> int:
    return sum(blob.size for blob in of.manifest.blobs)


def copies(bill: Bill, of: Image) -> float:
    return bill.blob_bytes / size(of)


def herd(land: Cluster, of: Image, members: list[Member]) -> Bill:
    """All pull at once through their mirrors, and get every byte right."""
    tab = land.upstream.tab()
    for pulled in land.herd(members, of):
        pulled.check(of)
    return tab.bill()


def fetched_once(bill: Bill, of: Image) -> None:
    assert copies(bill, of) <= ONE_COPY, str(bill.asked)


def test_a_cold_herd_of_eight_costs_upstream_one_copy(land: Cluster) -> None:
    of = land.image(20, 4)
    bill = herd(land, of, land.members)
    fetched_once(bill, of)
    assert bill.payload <= 1.2 * size(of), "packets on the Hub's cable, sent again ones included"


def test_a_cold_herd_costs_one_counted_get_and_one_head(land: Cluster) -> None:
    of = land.image(2)
    bill = herd(land, of, land.members)
    assert bill.asked.manifest_gets == 1, str(bill.asked)
    heads = [ask.status for ask in bill.asked.manifests("HEAD")]
    assert heads.count(200) == 1, str(bill.asked)


def test_each_owner_takes_one_token_for_the_repository(land: Cluster) -> None:
    of = land.image(24)
    bill = herd(land, of, land.members)
    taken = collections.Counter((ask.client, ask.scopes) for ask in bill.tokens)
    assert set(taken.values()) == {1}, taken
    asked = {ask.client for ask in bill.asked.asks if ask.face == "front"}
    assert {client for client, _ in taken} == asked


def test_a_big_blob_is_fetched_by_several_owners_in_disjoint_parts(land: Cluster) -> None:
    of = land.image(40)
    bill = herd(land, of, land.members)
    layer = max(of.manifest.blobs, key=lambda blob: blob.size)
    asked = [ask for ask in bill.asked.blobs if layer.digest.partition(":")[2] in ask.uri]
    assert len({ask.client for ask in asked}) >= 3, str(bill.asked)
    fetched_once(bill, of)


def test_a_warm_herd_costs_upstream_nothing(land: Cluster) -> None:
    of = land.image(20, 4)
    herd(land, of, land.members[:1])
    bill = herd(land, of, land.members[1:])
    assert bill.blob_bytes == 0, str(bill.asked)
    assert bill.asked.manifest_gets == 0, str(bill.asked)


def has_received(member: Member, count: int, pull: Pull) -> bool:
    return pull.over or member.station.received().bytes >= count


def test_a_herd_that_starts_one_by_one_costs_one_copy(land: Cluster) -> None:
    """Each begins when the one before has some of its bytes, and not all."""
    of = land.image(32)
    tab = land.upstream.tab()
    pulls = []
    for member in land.members:
        before = member.station.received().bytes
        pulls.append(member.pull(of))
        begin(pulls[-1:])
        until(partial(has_received, member, before + 4 * MIB, pulls[-1]), "some bytes came")
    for pull in pulls:
        pull.result().check(of)
    fetched_once(tab.bill(), of)


def test_a_herd_behind_a_slow_hub_waits_for_the_one_copy(land: Cluster) -> None:
    """A peer that makes progress is waited for, however slow: silence is what is bounded."""
    land.upstream.station.shape(20 * MBIT)
    of = land.image(12, 4)
    fetched_once(herd(land, of, land.members), of)


def test_what_one_node_holds_is_found_by_all_while_the_hub_is_down(land: Cluster) -> None:
    of = land.image(20)
    holder, *others = land.members
    for one in others:
        one.kill()
    herd(land, of, [holder])
    land.publish()
    land.start()
    land.met()
    with land.upstream.down():
        for pulled in land.herd(others, of):
            pulled.check(of)


def test_what_the_cluster_holds_is_found_while_the_hub_is_a_black_hole(land: Cluster) -> None:
    of = land.image(20)
    herd(land, of, land.members[:2])
    land.upstream.station.unplug()
    for pulled in land.herd(land.members[2:], of):
        pulled.check(of)


def test_a_node_that_comes_later_costs_upstream_nothing(land: Cluster) -> None:
    """It is an owner of some lanes now, and finds what former owners hold."""
    of = land.image(24)
    herd(land, of, land.members[:4])
    late = land.add("late")
    try:
        land.up()
        bill = herd(land, of, [late])
    finally:
        land.remove(late)
    assert bill.blob_bytes == 0, str(bill.asked)


def test_real_runtimes_of_two_ages_pull_beside_a_herd(land: Cluster) -> None:
    """containerd as it is and as it will be in two nodes, skopeo in a third, and the rest."""
    of = land.image(16, 4)
    first, second, third, *rest = land.members
    tab = land.upstream.tab()
    with (
        containerd_in(first, fall_back=False) as old,
        containerd_in(second, newer(land.folder), fall_back=False) as new,
        concurrent.futures.ThreadPoolExecutor() as pool,
    ):
        runtimes: list[Runtime] = [old, new, skopeo_in(third)]
        pulling = [pool.submit(runtime.pull, of) for runtime in runtimes]
        herd(land, of, rest)
        for one, runtime in zip(pulling, runtimes, strict=True):
            one.result()
            runtime.check(of)
    fetched_once(tab.bill(), of)
