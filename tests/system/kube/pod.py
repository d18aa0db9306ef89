"""A pod as a kubelet runs it: sandbox, hostPort, init containers, container.

The sandbox holds the pod's network namespace and lives as long as the pod; the
container in it may end and be started again, while the hostPort goes on to lead
to the sandbox.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
from collections.abc import Mapping, Sequence
from typing import Any, Self

import attrs

from tests.system.cluster.names import resolv_conf
from tests.system.cluster.netns import Namespace
from tests.system.cluster.network import Network, Station
from tests.system.kube.container import Place
from tests.system.kube.docker import Docker
from tests.system.kube.image import NAME
from tests.system.kube.manifests import Document
from tests.system.kube.portmap import Portmap
from tests.system.parts.processes import run

_SYSCTLS = (
    "net.ipv6.conf.all.disable_ipv6=0",  # docker turns it off where it makes no network
    "net.ipv6.conf.all.accept_ra=0",
    "net.ipv6.conf.all.accept_dad=0",
)


@attrs.frozen
class Machine:
    """A node: its place on the network, and the folder that is its root for hostPaths."""

    name: str
    station: Station
    folder: pathlib.Path
    network: Network
    docker: Docker
    dns: str


@attrs.define
class Pod:
    """``given`` are the files of ConfigMaps and Secrets by their names in the manifest."""

    name: str
    template: Document
    machine: Machine
    addresses: Sequence[str]
    given: Mapping[str, Mapping[str, str]]
    station: Station | None = None
    _sandbox: str = ""
    _container: str = ""
    _portmap: Portmap | None = None
    pid: int = 0  # of the container's first process

    @property
    def spec(self) -> dict[str, Any]:
        return dict(self.template["spec"])

    @property
    def main(self) -> dict[str, Any]:
        (found,) = self.spec["containers"]
        return dict(found)

    @property
    def namespace(self) -> Namespace:
        assert self.station is not None
        return self.station.namespace

    @property
    def docker(self) -> Docker:
        return self.machine.docker

    @property
    def _folder(self) -> pathlib.Path:
        """What the kubelet keeps for this pod."""
        return self.machine.folder / "var/lib/kubelet" / self.name

    # Its life.

    def create(self) -> Self:
        """Sandbox, network and hostPort, and the init containers have ended well."""
        self._open_sandbox()
        for one in self.spec.get("initContainers", ()):
            self.docker("run", "--rm", *self._place().words(one))
        return self

    def begin(self) -> Self:
        """Start the container (again), as the kubelet does: a new one each time."""
        if self._container:
            self.docker("rm", "--force", self._container)
        self._container = self.docker("run", "--detach", *self._place().words(self.main))
        self.pid = self.docker.pid(self._container)
        return self

    def stop(self, grace: float) -> None:
        """SIGTERM to the container, and SIGKILL after ``grace`` seconds."""
        self.docker("stop", "--time", str(int(grace)), self._container)

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    @property
    def alive(self) -> bool:
        """Whether the container's process is there."""
        return self.pid != 0 and pathlib.Path(f"/proc/{self.pid}").exists()

    def delete(self, grace: float | None = None) -> None:
        """As when the pod is deleted or evicted. Idempotent."""
        if self._container:
            given = self.spec["terminationGracePeriodSeconds"] if grace is None else grace
            self.stop(given)
            self.docker("rm", "--force", self._container)
            self._container = ""
        if self._portmap is not None:
            self._portmap.remove()
            self._portmap = None
        if self._sandbox:
            self.namespace.delete()
            self.docker("rm", "--force", self._sandbox)
            self._sandbox = ""
        shutil.rmtree(self._folder, ignore_errors=True)

    def log(self) -> str:
        return self.docker("logs", self._container) if self._container else ""

    # What it is made of.

    def _open_sandbox(self) -> None:
        words = ["--network", "none", "--read-only", "--user", "65535", "--entrypoint", "sleep"]
        self._sandbox = self.docker("run", "--detach", *words, NAME, "infinity")
        switch = self.machine.network.switch
        namespace = Namespace(f"{self.machine.network.run.prefix}-{self.name}")
        run(["ip", "netns", "attach", namespace.name, str(self.docker.pid(self._sandbox))])
        for setting in _SYSCTLS:
            namespace.run(f"sysctl -q -w {setting}")
        switch.ip(f"link add {self.name} type veth peer name eth0 netns {namespace.name}")
        switch.ip(f"link set {self.name} master bridge up")
        namespace.ip("link set eth0 up")
        self.station = Station(namespace, switch, self.name)
        self.station.take(self.addresses)
        ports = [port for port in self.main.get("ports", ()) if "hostPort" in port]
        # On the node's network there is nothing to map; the sandbox stands for the node then.
        if ports and not self.spec.get("hostNetwork"):
            node = self.machine.station.namespace
            self._portmap = Portmap(node, namespace, self.addresses[0], ports)
            self._portmap.add()

    def _place(self) -> Place:
        fields = {
            "spec.nodeName": self.machine.name,
            "status.podIPs": ",".join(self.addresses),
        }
        volumes = {one["name"]: str(self._volume(one)) for one in self.spec.get("volumes", ())}
        resolver = self._folder / "resolv.conf"
        resolver.parent.mkdir(parents=True, exist_ok=True)
        resolver.write_text(resolv_conf(self.machine.dns))
        volumes["resolv.conf"] = str(resolver)
        return Place(self._sandbox, fields, volumes, self.spec["securityContext"])

    def _volume(self, one: Mapping[str, Any]) -> pathlib.Path:
        """The folder of a volume, made as the kubelet makes it."""
        if host := one.get("hostPath"):
            assert host["type"] == "DirectoryOrCreate"
            path: pathlib.Path = self.machine.folder / host["path"].lstrip("/")
            path.mkdir(parents=True, exist_ok=True)
            return path
        path = self._folder / one["name"]
        path.mkdir(parents=True, exist_ok=True)
        if "persistentVolumeClaim" in one:
            os.chown(path, 0, self.spec["securityContext"]["fsGroup"])
            path.chmod(0o2775)
            return path
        kind: dict[str, Any] = one["configMap"] if "configMap" in one else one["secret"]
        self._files(path, kind, self.given[kind.get("name") or kind["secretName"]])
        return path

    def give(self, secret: str, files: Mapping[str, str]) -> None:
        """What a Secret holds now; it arrives in the running container."""
        (one,) = (
            one for one in self.spec["volumes"] if one.get("secret", {}).get("secretName") == secret
        )
        self.given = {**self.given, secret: files}
        self._files(self._folder / one["name"], one["secret"], files)

    def _files(self, path: pathlib.Path, kind: Mapping[str, Any], files: Mapping[str, str]) -> None:
        for file, text in files.items():
            self._project(path / file, text, kind.get("defaultMode", 0o644))

    def _project(self, file: pathlib.Path, text: str, mode: int) -> None:
        fresh = file.with_name(f".{file.name}")
        fresh.write_text(text)
        os.chown(fresh, 0, self.spec["securityContext"].get("fsGroup", 0))
        fresh.chmod(mode)
        fresh.rename(file)
