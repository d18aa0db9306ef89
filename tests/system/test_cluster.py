"""Eight nodes on links of their own: a herd fetches an image once, together."""

from __future__ import annotations

import collections
import concurrent.futures
import json
import os
import pathlib
import subprocess
from functools import partial
from typing import Any

from tests.system.cluster.cluster import Cluster
from tests.system.cluster.containers import containerd_in, skopeo_in
from tests.system.cluster.member import ADMIN_PORT, Member
from tests.system.cluster.network import MBIT
from tests.system.cluster.pulls import Pull, begin
from tests.system.cluster.upstream import Bill
from tests.system.parts.images import MIB, Image
from tests.system.parts.processes import until
from tests.system.parts.runtimes import Runtime
from tests.system.parts.town import NODECACHE
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


def seen(member: Member) -> dict[str, Any]:
    """``/api/v1/peers`` there."""
    document: dict[str, Any] = json.loads(member.admin("/api/v1/peers").body)
    return document


def is_behind(slow: Member, fast: list[Member]) -> bool:
    """It says so, and all the others have heard of it."""
    busy = [{peer["id"] for peer in seen(one)["peers"] if peer["busy"]} for one in fast]
    return bool(seen(slow)["behind"]) and all(slow.id in ids for ids in busy)


def test_a_node_on_a_slow_link_is_found_out_and_asked_for_nothing(land: Cluster) -> None:
    """All others would have what it owns at the pace of its link."""
    slow, *fast = land.members
    for one in fast:
        one.station.shape(100 * MBIT)
    slow.station.shape(20 * MBIT)
    slow.restart()  # it may have seen its link carry more
    try:
        land.met()
        herd(land, land.image(40), land.members)
        until(partial(is_behind, slow, fast), "greetings told who is slow")
        assert [event["behind"] for event in slow.events("link_behind")] == [True]
        of, sent = land.image(24), slow.metric("nodecache_peer_bytes_total", direction="out")
        bill = herd(land, of, land.members)
        fetched_once(bill, of)
        assert not bill.clients.intersection(slow.station.addresses), "it fetched for the others"
        assert slow.metric("nodecache_peer_bytes_total", direction="out") == sent
    finally:
        slow.restart()


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


# Before a node leaves: for a while the others tell of it as one that does not answer.


def test_commands_on_one_node_see_and_steer_all_of_them(land: Cluster) -> None:
    of = land.image(2, 1)
    here, *others = land.members
    name = of.name.removeprefix("library/")
    tab = land.upstream.tab()
    done = typed(here, "pull", name, "--all-nodes")
    assert (done.returncode, done.stderr) == (0, ""), done
    lines = done.stdout.splitlines()
    assert lines[-1] == "7 other nodes were told"
    assert {f"{one.id}: {name}  done" for one in others} <= set(lines)
    bill = tab.bill()
    fetched_once(bill, of)
    assert bill.asked.manifest_gets == 1, str(bill.asked)
    nodes = told(others[-1], "status", "--cluster")["nodes"]
    assert {node["id"] for node in nodes} == {one.id for one in land.members}
    assert all(node["status"]["bytes"] >= size(of) for node in nodes)
    assert sum(node["status"]["upstream_bytes"] for node in nodes) >= size(of)
    assert layers_from(here, name) == {"disk"}


def test_what_is_not_here_is_said_to_come_from_the_peers_that_have_it(land: Cluster) -> None:
    of = land.image(2)
    name = of.name.removeprefix("library/")
    here, one, two, *_ = land.members
    herd(land, of, [here, one, two])
    assert typed(here, "purge", name, "--yes").returncode == 0
    assert here.ask(f"/v2/{of.name}/manifests/{of.tag}").status == 200
    (found,) = layers_from(here, name)
    assert found in {f"peer {first.id} and 1 more" for first in (one, two)}


def test_a_node_that_says_nothing_is_named_and_the_others_are_shown(land: Cluster) -> None:
    here, silent, *_ = land.members
    silent.freeze()
    rows = typed(here, "status", "--cluster").stdout.splitlines()
    states = {row.split()[0]: row for row in rows[1 : 1 + len(land.members)]}
    assert "no answer" in states[silent.id]
    assert states[f"{here.id}*"].split()[1] == "live"
    assert sum("no answer" in row for row in states.values()) == 1


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


# What a person types on one node, and all of them do.


def typed(member: Member, *words: str) -> subprocess.CompletedProcess[str]:
    """A command on the machine of ``member``, as in its container: no option is needed."""
    env = {
        "NODECACHE_DATA_DIR": str(member.node.data_dir),
        "NODECACHE_ADMIN_LISTEN": f"127.0.0.1:{ADMIN_PORT}",
        "PYTHONPATH": str(pathlib.Path(__file__).parents[2]),
    }
    return subprocess.run(
        member.station.namespace.argv([*NODECACHE, *words]),
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def told(member: Member, *words: str) -> dict[str, Any]:
    """The document that a command prints."""
    done = typed(member, *words, "--json")
    assert done.returncode == 0, done
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def layers_from(member: Member, name: str) -> set[str]:
    """What ``show`` says of where the next pull gets them."""
    rows = [line.split() for line in typed(member, "show", name).stdout.splitlines()]
    # Behind layer, DIGEST, the two words of SIZE, and HERE.
    return {" ".join(row[5:]) for row in rows if row[:1] == ["layer"]}
