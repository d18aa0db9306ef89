"""A cluster in small: machines on a bridge, the pods of a DaemonSet on them, a Hub and DNS."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import attrs

from tests.system.cluster import names
from tests.system.cluster.names import Names
from tests.system.cluster.netns import Namespace, Run
from tests.system.cluster.network import Network, node_addresses
from tests.system.cluster.upstream import ADDRESSES, Upstream
from tests.system.kube.docker import Docker
from tests.system.kube.manifests import Manifests
from tests.system.kube.pod import Machine, Pod
from tests.system.kube.probes import Kubelet
from tests.system.parts.node import Node
from tests.system.parts.processes import run, until
from tests.system.parts.runtimes import Setup
from tests.system.parts.userlands import Userland

DNS = "10.77.0.4"
ACCOUNT = ("robot", "token-of-the-robot")
#: As the commands of docs/kubernetes.md and of the overlay with an account make them.
SECRETS = {
    "nodecache-peers": {"secrets": "5f" * 32},
    "nodecache-hub-account": {"account": ":".join(ACCOUNT)},
}
MIRROR = "http://127.0.0.1:5000"


@attrs.frozen
class Machines:
    """A userland on a machine's network, with the mounts of this one: dockerd wants cgroups."""

    userland: Userland
    namespace: Namespace

    @property
    def name(self) -> str:
        return self.userland.name

    def argv(self, words: Sequence[str]) -> list[str]:
        network = f"--net=/run/netns/{self.namespace.name}"
        return ["nsenter", network, "--", *self.userland.argv(words)]

    def need(self, *programs: str) -> None:
        self.userland.need(*programs)


@attrs.frozen
class Patient(Setup):
    """podman takes two minutes to find out that a mirror's port is silent."""

    def run(self, words: list[str]) -> str:
        return run(self.userland.argv(words), env=self.env, shown=words, patience=280)


@attrs.define
class Land:
    """``manifests`` are what kubectl rendered, with the Hub of the tests as upstream."""

    folder: pathlib.Path
    docker: Docker
    network: Network
    upstream: Upstream
    names: Names
    manifests: Manifests
    _given: int = 0

    def addresses(self) -> tuple[str, str]:
        """Two that nobody ever had."""
        self._given += 1
        return node_addresses(self._given)

    def machine(self, name: str) -> Machine:
        station = self.network.attach(name, self.addresses(), 0, names.resolv_conf(DNS))
        folder = self.folder / name
        folder.mkdir()
        return Machine(name, station, folder, self.network, self.docker, DNS)

    def pod(self, name: str, machine: Machine) -> Pod:
        """A pod of the manifests' one workload for this machine; nothing of it is made yet."""
        (template,) = self.manifests.pods()
        spec = template["spec"]
        for one in (*spec.get("initContainers", ()), *spec["containers"]):
            self.docker.alias(one["image"])
        return Pod(name, template, machine, self.addresses(), self._files())

    def _files(self) -> Mapping[str, Mapping[str, str]]:
        """ConfigMaps as rendered, but for the upstream, which is this land's Hub."""
        found: dict[str, Mapping[str, str]] = {name: dict(files) for name, files in SECRETS.items()}
        for one in self.manifests.of("ConfigMap"):
            toml = one["data"]["nodecache.toml"]
            there = 'url = "https://registry-1.docker.io"'
            assert there in toml
            toml = toml.replace(there, f'url = "{self.upstream.url}"')
            # The machine's disk may be fuller than a node's should be.
            toml = toml.replace('min_free = "20%"', 'min_free = "256MiB"')
            found[one["metadata"]["name"]] = {"nodecache.toml": toml}
        return found

    def publish(self, *pods: Pod) -> None:
        """The addresses of the headless service."""
        self.names.publish(address for pod in pods for address in pod.addresses)

    def setup(self, machine: Machine, name: str, userland: Userland, mirror: str) -> Setup:
        """For a runtime on this machine; Docker Hub's names lead it to the Hub's public face."""
        inside = Machines(userland, machine.station.namespace)
        return Patient(machine.folder / name, inside, mirror, self.upstream.hub.client_env())

    def fell_back(self) -> bool:
        """Whether a runtime went past its mirror."""
        return bool(self.upstream.hub.egress.connects)


@contextlib.contextmanager
def land(folder: pathlib.Path, docker: Docker, manifests: Manifests) -> Iterator[Land]:
    """Bridge, Hub and DNS run; machines and pods are yet to be made. All is gone in the end."""
    folder.mkdir(parents=True)
    with Run(folder) as made, contextlib.ExitStack() as stack:
        network = Network.make(made)
        upstream = Upstream.make(network, folder / "hub", 0)
        # The runtimes reach it from their own namespaces.
        upstream.hub.egress.host = ADDRESSES[0]
        stack.callback(upstream.stop)
        upstream.start()
        dns = Names(network.attach("dns", [DNS]), folder / "dns")
        stack.callback(dns.stop)
        dns.start()
        yield Land(folder, docker, network, upstream, dns, manifests)


def asked(pod: Pod) -> Node:
    """The ports of a pod, to be asked within its own namespace."""
    return Node(pod.machine.folder, "", port=5000, admin_port=5002)


def metric(pod: Pod, name: str, **labels: str) -> float:
    with pod.namespace.entered():
        return asked(pod).metric(name, **labels)


@contextlib.contextmanager
def running(pod: Pod) -> Iterator[Kubelet]:
    """Created, begun, watched and ready; deleted in the end."""
    try:
        pod.create().begin()
        with Kubelet(pod) as kubelet:
            until(lambda: kubelet.ready, f"{pod.name} is ready\n{pod.log()}")
            yield kubelet
    finally:
        pod.delete(grace=1)
