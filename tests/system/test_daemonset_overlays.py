"""The overlays without hostPort, and with an account, as kubectl renders them; containerd pulls."""

from __future__ import annotations

import contextlib
import hashlib
import pathlib
from collections.abc import Iterator
from functools import partial

import attrs
import pytest

from tests.system.kube.docker import Docker
from tests.system.kube.land import ACCOUNT, MIRROR, Land, asked, land, running
from tests.system.kube.manifests import render
from tests.system.kube.pod import Machine, Pod
from tests.system.parts.images import Image, image, layer, noise
from tests.system.parts.processes import until
from tests.system.parts.runtimes import Containerd
from tests.system.parts.userlands import System
from tests.system.test_daemonset import knows_another, reaches


def push(place: Land, name: str) -> Image:
    return place.upstream.push(name, "latest", image([layer({"file": noise(2_000_000, name)})]))


@contextlib.contextmanager
def containerd(place: Land, machine: Machine) -> Iterator[Containerd]:
    runtime = Containerd(place.setup(machine, "c", System(), MIRROR))
    runtime.start()
    try:
        yield runtime
    finally:
        runtime.stop()


@attrs.frozen
class OnNodes:
    """Two pods on the network of their nodes, and a containerd beside the first."""

    land: Land
    pods: tuple[Pod, Pod]
    containerd: Containerd


@pytest.fixture(scope="module")
def on_nodes(the_image: Docker, world: pathlib.Path) -> Iterator[OnNodes]:
    with (
        land(world / "hn", the_image, render("overlays/hostnetwork")) as place,
        contextlib.ExitStack() as stack,
    ):
        pods = [place.pod(f"pod-{number}", place.machine(f"node-{number}")) for number in (1, 2)]
        place.publish(*pods)
        for pod in pods:
            stack.enter_context(running(pod))
        first, second = pods
        assert first.station is not None
        # The pod has the node's network, so the node has the pod's.
        node = attrs.evolve(first.machine, station=first.station)
        runtime = stack.enter_context(containerd(place, node))
        yield OnNodes(place, (first, second), runtime)


def test_on_the_nodes_network_the_mirror_is_on_the_loopback_alone(on_nodes: OnNodes) -> None:
    first, second = on_nodes.pods
    assert first.template["spec"]["hostNetwork"] is True
    with first.namespace.entered():
        assert reaches("127.0.0.1", 5000)
    with second.namespace.entered():
        assert not reaches(first.addresses[0], 5000)
        assert reaches(first.addresses[0], 5001)


def test_on_the_nodes_network_containerd_pulls_and_the_nodes_share(on_nodes: OnNodes) -> None:
    """What one has pulled the other gives out while the Hub is down."""
    _, second = on_nodes.pods
    for pod in on_nodes.pods:
        until(partial(knows_another, pod), "they met")
    of = push(on_nodes.land, "library/on-nodes")
    on_nodes.containerd.pull(of)
    on_nodes.containerd.check(of)
    assert not on_nodes.land.fell_back()
    layer_of = max(of.manifest.blobs, key=lambda blob: blob.size)
    with on_nodes.land.upstream.down(), second.namespace.entered():
        reply = asked(second).ask(f"/v2/{of.name}/blobs/{layer_of.digest}")
    assert reply.status == 200
    assert f"sha256:{hashlib.sha256(reply.body).hexdigest()}" == layer_of.digest


@attrs.frozen
class WithAccount:
    land: Land
    containerd: Containerd


@pytest.fixture(scope="module")
def with_account(the_image: Docker, world: pathlib.Path) -> Iterator[WithAccount]:
    """The secret is made by the command of the overlay; the Hub knows the account."""
    user, password = ACCOUNT
    with land(world / "ac", the_image, render("overlays/private-hub-account")) as place:
        place.upstream.hub.tokens.accounts[user] = password
        machine = place.machine("node-1")
        pod = place.pod("pod-1", machine)
        place.publish(pod)
        with running(pod), containerd(place, machine) as runtime:
            yield WithAccount(place, runtime)


def asked_as(place: Land, of: Image) -> set[str]:
    """The accounts for which tokens to pull an image were asked; "" is anonymous."""
    tokens = place.upstream.hub.tokens
    return {ask.account for ask in tokens.asks if f"repository:{of.name}:pull" in ask.scopes}


def test_a_listed_repository_is_pulled_with_the_account(with_account: WithAccount) -> None:
    """The runtime has no account, so nobody but the mirror can have given it."""
    of = push(with_account.land, "acme/app")
    with_account.land.upstream.hub.tokens.private.add(of.name)
    with_account.containerd.pull(of)
    with_account.containerd.check(of)
    assert asked_as(with_account.land, of) == {ACCOUNT[0]}
    assert not with_account.land.fell_back()


def test_another_repository_is_asked_for_without_the_account(with_account: WithAccount) -> None:
    of = push(with_account.land, "library/open")
    with_account.containerd.pull(of)
    with_account.containerd.check(of)
    assert asked_as(with_account.land, of) == {""}
    assert not with_account.land.fell_back()
