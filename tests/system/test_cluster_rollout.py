"""Nodes that come, go, move and change their secrets, and a DNS that fails, under load."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from functools import partial

import pytest

from tests.system.cluster.cluster import SECRET, Cluster
from tests.system.cluster.member import Member
from tests.system.cluster.names import Names
from tests.system.cluster.traffic import Traffic, traffic
from tests.system.parts.images import Image
from tests.system.parts.processes import until


def one_copy(land: Cluster, members: Sequence[Member]) -> None:
    """A herd of these gets the right bytes, and upstream sends them once."""
    of: Image = land.image(20)
    tab = land.upstream.tab()
    for pulled in land.herd(members, of):
        pulled.check(of)
    bill = tab.bill()
    size = sum(blob.size for blob in of.manifest.blobs)
    assert bill.blob_bytes <= 1.05 * size, str(bill.asked)


def more_rounds(flowing: Traffic, count: int = 1) -> None:
    """Wait until so many more herds have ended."""
    wanted = flowing.rounds + count
    until(lambda: flowing.ended or flowing.rounds >= wanted, "the traffic goes on")


def accepts(member: Member, count: int) -> bool:
    return member.metric("nodecache_peer_secrets") == count


def test_a_secret_is_changed_in_three_steps_under_load(land: Cluster) -> None:
    """Files change node by node, and herds run while they differ: nobody is ever a stranger."""
    new = "the next secret of this cluster"
    steps = [(SECRET, new), (new, SECRET), (new,)]
    half = len(land.members) // 2
    with traffic(land, land.members) as flowing:
        for step in steps:
            for number, member in enumerate(land.members):
                member.secrets(*step)
                until(partial(accepts, member, len(step)), f"{member.id} has read its secrets")
                if number == half:
                    more_rounds(flowing)
        more_rounds(flowing)
    flowing.check(mirror_alone=True)
    told = [event for one in land.members for event in one.events("peer_failed")]
    assert not [event for event in told if event["kind"] == "stranger"], told
    one_copy(land, land.members)


def test_a_rolling_restart_breaks_no_pull(land: Cluster) -> None:
    """Each node in turn is stopped and started while all pull; runtimes fall back meanwhile."""
    with traffic(land, land.members) as flowing:
        for member in land.members:
            member.restart()
    flowing.check(mirror_alone=False)
    land.met()
    one_copy(land, land.members)


def test_a_restart_elsewhere_does_not_concern_the_runtime_of_a_node(land: Cluster) -> None:
    """Nodes that are not restarted themselves serve every byte."""
    steady, moving = land.members[:5], land.members[5:]
    with traffic(land, steady) as flowing:
        more_rounds(flowing)
        for member in moving:
            member.restart()
    flowing.check(mirror_alone=True)


def test_a_restart_of_all_at_once_breaks_no_pull(land: Cluster) -> None:
    with traffic(land, land.members) as flowing:
        more_rounds(flowing)
        for member in land.members:
            member.node.process.signal(signal.SIGTERM)
        for member in land.members:
            member.node.process.wait()
        land.start()
        more_rounds(flowing)
    flowing.check(mirror_alone=False)
    land.met()
    one_copy(land, land.members)


def test_a_restarted_pod_keeps_its_id_under_a_new_address(land: Cluster) -> None:
    """It is one peer, not two, and what it holds is found where it was looked for before."""
    of = land.image(20)
    *others, mover = land.members
    for pulled in land.herd([mover], of):
        pulled.check(of)
    old = mover.station.address
    mover.move(land.addresses())
    land.up()
    for one in others:
        until(partial(knows_at, one, mover), f"{one.id} knows the new address")
        assert one.metric("nodecache_peers_known") == len(others), old
    with land.upstream.down():
        for pulled in land.herd(others, of):
            pulled.check(of)


def knows_at(one: Member, mover: Member) -> bool:
    return mover.station.address in one.admin("/api/v1/peers").body.decode()


def test_a_node_is_replaced_under_load(land: Cluster) -> None:
    """Another id on another address; the old one never comes back."""
    *others, old = land.members
    new = None
    try:
        with traffic(land, others) as flowing:
            more_rounds(flowing)
            old.kill()
            new = land.add("replacement")
            rest = [*others, new]
            land.publish(rest)
            land.start([new])
            more_rounds(flowing)
        flowing.check(mirror_alone=True)
        land.met(rest)
        one_copy(land, rest)
    finally:
        if new is not None:
            land.remove(new)


#: How DNS can fail without anything being wrong with the nodes.
MOODS: dict[str, Callable[[Names], object]] = {
    "NXDOMAIN": lambda names: names.publish([]),
    "an empty answer": Names.empty,
    "a closed port": Names.stop,
    "silence": Names.freeze,
}


@pytest.mark.parametrize("mood", MOODS)
def test_a_dns_that_fails_does_not_empty_the_view(land: Cluster, mood: str) -> None:
    for member in land.members:
        until(partial(has_a_fresh_answer, member), f"{member.id} has an answer of DNS")
    before = [member.metric("nodecache_peers_lookup_failures_total") for member in land.members]
    MOODS[mood](land.names)
    for member, count in zip(land.members, before, strict=True):
        until(partial(has_noticed, member, count), f"{member.id} says that DNS fails")
    # One that was slow a moment ago may be left alone just now; an emptied view stays empty.
    land.met()
    one_copy(land, land.members)


def has_a_fresh_answer(member: Member) -> bool:
    return member.metric("nodecache_peers_view_age_seconds") < 2


def has_noticed(member: Member, before: float) -> bool:
    return member.metric("nodecache_peers_lookup_failures_total") > before


def test_a_dns_that_names_only_some_nodes_splits_nobody(land: Cluster) -> None:
    """The union of the last answers, and what nodes tell each other, keep the view whole."""
    land.publish(land.members[:3])
    until(land.names.answers, "DNS answers")
    for _ in range(3):
        one_copy(land, land.members)
