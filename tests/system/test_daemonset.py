"""The DaemonSet as kubectl renders it, run as it is written on two machines of a bridge."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import tomllib
from collections.abc import Iterator
from functools import partial

import attrs
import pytest

from tests.system.kube.docker import Docker
from tests.system.kube.image import USER
from tests.system.kube.land import MIRROR, Land, land, metric, running
from tests.system.kube.manifests import render
from tests.system.kube.pod import Machine, Pod
from tests.system.kube.probes import Kubelet
from tests.system.parts.images import Image, image, layer, noise
from tests.system.parts.processes import until
from tests.system.parts.runtimes import Containerd
from tests.system.parts.userlands import System, Userland, newer


@attrs.define
class Node:
    """``place`` is a pod of this machine, watched by its kubelet."""

    machine: Machine
    containerd: Containerd
    _stack: contextlib.ExitStack
    pod: Pod
    kubelet: Kubelet

    @classmethod
    def make(cls, place: Land, number: int, userland: Userland) -> Node:
        """With its first pod, not yet begun."""
        machine = place.machine(f"node-{number}")
        pod = place.pod(f"pod-{number}-1", machine)
        made = containerd(place, machine, userland)
        return cls(machine, made, contextlib.ExitStack(), pod, Kubelet(pod))

    def start(self) -> None:
        self.kubelet = self._stack.enter_context(running(self.pod))

    def end(self) -> None:
        """As when the pod is deleted."""
        self._stack.close()

    def replace(self, place: Land, *others: Pod) -> None:
        """Another pod, with addresses of its own, as a rollout makes it."""
        number, _, count = self.pod.name.rpartition("-")
        self.end()
        self.pod = place.pod(f"{number}-{int(count) + 1}", self.machine)
        place.publish(self.pod, *others)
        self.start()


@attrs.define
class Both:
    land: Land
    one: Node
    other: Node

    def push(self, name: str) -> Image:
        layers = [layer({f"file-{place}": noise(3_000_000, (name, place))}) for place in range(3)]
        return self.land.upstream.push(f"library/{name}", "latest", image(layers))


def containerd(place: Land, machine: Machine, userland: Userland) -> Containerd:
    """A containerd of the machine, which reads the folder that the overlay wrote to."""
    setup = place.setup(machine, "c", userland, "")
    setup.folder.mkdir()
    hosts = machine.folder / "etc/containerd/certs.d"
    (setup.folder / "certs.d").symlink_to(hosts)
    return Containerd(setup)


@pytest.fixture(scope="module")
def both(the_image: Docker, world: pathlib.Path) -> Iterator[Both]:
    """Two machines with the containerd overlay; one with containerd 1.6, one with the newest."""
    with land(world / "ds", the_image, render("overlays/containerd")) as place:
        userlands: tuple[Userland, ...] = (System(), newer(world))
        nodes = [Node.make(place, number, one) for number, one in enumerate(userlands, 1)]
        place.publish(*(node.pod for node in nodes))
        with contextlib.ExitStack() as stack:
            for node in nodes:
                stack.callback(node.end)
                node.start()
                stack.callback(node.containerd.stop)
                node.containerd.start()
            yield Both(place, *nodes)


@pytest.fixture
def usual(both: Both) -> Both:
    both.land.upstream.as_usual()
    return both


def test_pods_are_ready_by_the_probes_of_the_manifest(usual: Both) -> None:
    for node in (usual.one, usual.other):
        assert node.kubelet.ready
        assert node.kubelet.restarts == 0


def knows_another(pod: Pod) -> bool:
    return metric(pod, "nodecache_peers_live") == 1


def test_two_pods_find_each_other_by_the_headless_service(usual: Both) -> None:
    for node in (usual.one, usual.other):
        until(partial(knows_another, node.pod), "they met")


def test_the_data_folder_is_on_the_machine_and_the_users_own(usual: Both) -> None:
    folder = usual.one.machine.folder / "var/lib/nodecache"
    assert folder.stat().st_uid == USER
    assert (folder / "v1").stat().st_uid == USER


def test_the_process_is_no_root_and_has_no_capability(usual: Both) -> None:
    status = pathlib.Path(f"/proc/{usual.one.pod.pid}/status").read_text()
    told = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert set(told["Uid"].split()) == {str(USER)}
    assert int(told["CapBnd"], 16) == int(told["CapEff"], 16) == 0
    assert told["NoNewPrivs"] == "1"
    assert told["Seccomp"] == "2"


def test_the_overlay_wrote_a_file_that_leads_to_the_mirror_and_then_to_docker_hub(
    usual: Both,
) -> None:
    for node in (usual.one, usual.other):
        file = node.machine.folder / "etc/containerd/certs.d/docker.io/hosts.toml"
        told = tomllib.loads(file.read_text())
        assert told["server"] == "https://registry-1.docker.io"
        assert list(told["host"]) == ["http://127.0.0.1:5000"]
        assert file.stat().st_mode & 0o044 == 0o044


def test_real_containerds_old_and_new_pull_through_their_pods_and_share(usual: Both) -> None:
    """By the hosts.toml of the overlay and the hostPort; upstream sends each byte once."""
    until(partial(knows_another, usual.other.pod), "they met")
    of = usual.push("shared")
    tab = usual.land.upstream.tab()
    for node in (usual.one, usual.other):
        node.containerd.pull(of)
        node.containerd.check(of)
    bill = tab.bill()
    assert bill.blob_bytes <= 1.05 * sum(blob.size for blob in of.manifest.blobs)
    assert bill.clients <= {*usual.one.pod.addresses, *usual.other.pod.addresses}
    assert not usual.land.fell_back()
    pods = (usual.one.pod, usual.other.pod)
    assert sum(metric(pod, "nodecache_peer_bytes_total", direction="in") for pod in pods) > 0


def test_the_hostport_is_on_the_loopback_alone(usual: Both) -> None:
    """Another machine of the network does not reach the mirror through the node."""
    address = usual.one.machine.station.address
    with usual.other.machine.station.namespace.entered():
        assert not reaches(address, 5000)
    with usual.one.machine.station.namespace.entered():
        assert reaches("127.0.0.1", 5000)
        assert not reaches("127.0.0.1", 5001)
        assert not reaches("127.0.0.1", 5002)


def reaches(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=2):
            return True
    except OSError:
        return False


def test_a_pod_that_is_replaced_keeps_its_cache_and_its_name(usual: Both) -> None:
    """What was pulled before comes from disk, under another address, while upstream is down."""
    of = usual.push("kept")
    usual.one.containerd.pull(of)
    usual.one.containerd.remove(of)
    usual.one.replace(usual.land, usual.other.pod)
    with usual.land.upstream.down():
        usual.one.containerd.pull(of)
        usual.one.containerd.check(of)
    assert not usual.land.fell_back()
    until(partial(knows_another, usual.other.pod), "they met again")
    assert metric(usual.other.pod, "nodecache_peers_known") == 1


def test_a_registry_with_a_file_of_its_own_is_not_asked_through_the_mirror_of_default(
    usual: Both,
) -> None:
    """How nodecache's own image keeps out of nodecache's way; here, docker.io stands for it."""
    setup = usual.land.setup(usual.one.machine, "own", System(), MIRROR)
    made = Containerd(setup, default=True)
    setup.write("certs.d/docker.io/hosts.toml", 'server = "https://registry-1.docker.io"\n')
    of = usual.push("own")
    before = metric(usual.one.pod, "nodecache_requests_total")
    try:
        made.start()
        made.pull(of)
    finally:
        made.stop()
    assert usual.land.fell_back()
    assert metric(usual.one.pod, "nodecache_requests_total") == before


def test_the_remove_overlay_leaves_nothing_on_a_machine(usual: Both) -> None:
    """Run as it is written, after the pod is gone; the node's containerd pulls on."""
    node = usual.one
    node.end()
    (template,) = render("overlays/remove").pods()
    pod = Pod("remove-1", template, node.machine, usual.land.addresses(), {})
    try:
        pod.create().begin()
        assert pod.alive
    finally:
        pod.delete()
    assert list((node.machine.folder / "etc/containerd/certs.d").iterdir()) == []
    assert list((node.machine.folder / "var/lib/nodecache").iterdir()) == []
    of = usual.push("removed")
    node.containerd.pull(of)
    node.containerd.check(of)
    assert usual.land.fell_back()
