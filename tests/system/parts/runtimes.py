"""Container runtimes as clients, configured as they are in the field.

Each keeps everything in a folder of its own, is pointed at a mirror by the
files that operators write, and leads to Docker Hub's public face for all else.
``pull`` raises CommandFailed with the runtime's own words.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any, Protocol

import attrs

from tests.system.parts import cri
from tests.system.parts.images import Image
from tests.system.parts.processes import Child, CommandFailed, run
from tests.system.parts.userlands import Userland

_POLICY = {"default": [{"type": "insecureAcceptAnything"}]}


class Runtime(Protocol):
    """What the tests ask of a client, whichever it is."""

    @property
    def name(self) -> str: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def pull(self, image: Image) -> None: ...

    def check(self, image: Image) -> None:
        """Fail unless the image is here, with the digests and types it was pushed with."""
        ...

    def remove(self, image: Image) -> None:
        """Take the image and all its layers away."""
        ...


@attrs.frozen
class Setup:
    """Where a runtime lives and what it is pointed at."""

    folder: pathlib.Path
    userland: Userland
    mirror: str  # http://HOST:PORT, or "" for none
    env: Mapping[str, str]
    then: tuple[str, ...] = ()  # more hosts behind the mirror

    @property
    def mirror_host(self) -> str:
        return self.mirror.partition("://")[2]

    def write(self, name: str, text: str) -> pathlib.Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def child(self, name: str, words: list[str]) -> Child:
        return Child(name, self.userland.argv(words), self.folder, env=self.env)

    def run(self, words: list[str]) -> str:
        return run(self.userland.argv(words), env=self.env, shown=words)


@attrs.define
class Dockerd:
    """dockerd with ``registry-mirrors`` in its daemon.json."""

    setup: Setup
    daemon: Child | None = None

    @property
    def name(self) -> str:
        return f"dockerd-{self.setup.userland.name}"

    @property
    def _socket(self) -> str:
        return f"unix://{self.setup.folder}/docker.sock"

    def start(self) -> None:
        self.setup.userland.need("dockerd", "docker", "containerd")
        folder = self.setup.folder
        mirrors = [self.setup.mirror] if self.setup.mirror else []
        config = self.setup.write("daemon.json", json.dumps({"registry-mirrors": mirrors}))
        self.daemon = self.setup.child(
            "dockerd",
            [
                "dockerd",
                *("--config-file", str(config)),
                *("--data-root", str(folder / "data")),
                *("--exec-root", str(folder / "exec")),
                *("--pidfile", str(folder / "docker.pid")),
                *("-H", self._socket),
                *("--storage-driver", "vfs"),
                *("--bridge", "none"),
                "--iptables=false",
                "--ip6tables=false",
            ],
        )
        self.daemon.ready(self._answers)

    def _answers(self) -> bool:
        try:
            return bool(self._docker("version", "--format", "{{.Server.Version}}"))
        except CommandFailed:
            return False

    def _docker(self, *words: str) -> str:
        return self.setup.run(["docker", "-H", self._socket, *words])

    def stop(self) -> None:
        if self.daemon is not None:
            self.daemon.stop()

    def pull(self, image: Image) -> None:
        self.pull_name(f"{image.name}:{image.tag}")

    def pull_name(self, name: str) -> None:
        self._docker("pull", "--quiet", name)

    def check(self, image: Image) -> None:
        self.check_name(f"{image.name}:{image.tag}", image)

    def check_name(self, name: str, image: Image) -> None:
        seen = json.loads(self._docker("image", "inspect", name))[0]
        mine = image.platform()
        assert [one.rpartition("@")[2] for one in seen["RepoDigests"]] == [image.digest]
        assert seen["Id"] == json.loads(mine.body)["config"]["digest"]

    def remove(self, image: Image) -> None:
        self.remove_name(f"{image.name}:{image.tag}")

    def remove_name(self, name: str) -> None:
        self._docker("image", "rm", "--force", name)


@attrs.define
class Containerd:
    """containerd with hosts.toml, pulled by ``ctr`` or, as a kubelet does it, by CRI.

    ``default`` puts the mirror into the ``_default`` folder, as kops does for
    ``"*"``, and pulls by CRI.
    """

    setup: Setup
    default: bool = False
    daemon: Child | None = None

    @property
    def name(self) -> str:
        return f"containerd-{self.setup.userland.name}{'-cri-default' if self.default else ''}"

    @property
    def _socket(self) -> str:
        return str(self.setup.folder / "containerd.sock")

    @property
    def _hosts(self) -> pathlib.Path:
        return self.setup.folder / "certs.d"

    def start(self) -> None:
        self.setup.userland.need("containerd", "ctr")
        folder = self.setup.folder
        (folder / "root").mkdir(parents=True, exist_ok=True)
        config = self.setup.write(
            "config.toml",
            f"version = 2\nroot = '{folder}/root'\nstate = '{folder}/state'\n"
            f"[grpc]\naddress = '{self._socket}'\n"
            f"[ttrpc]\naddress = '{self._socket}.ttrpc'\n"
            f"[plugins.'io.containerd.grpc.v1.cri'.containerd]\nsnapshotter = 'native'\n"
            f"[plugins.'io.containerd.grpc.v1.cri'.registry]\nconfig_path = '{self._hosts}'\n",
        )
        if self.setup.mirror:
            place = "_default" if self.default else "docker.io"
            self.setup.write(
                f"certs.d/{place}/hosts.toml",
                "".join(
                    f"[host.'{url}']\ncapabilities = ['pull', 'resolve']\n"
                    for url in (self.setup.mirror, *self.setup.then)
                ),
            )
        self.daemon = self.setup.child("containerd", ["containerd", "--config", str(config)])
        self.daemon.ready(self._answers)

    def _answers(self) -> bool:
        try:
            return "Server" in self._ctr("version")
        except CommandFailed:
            return False

    def _ctr(self, *words: str) -> str:
        return self.setup.run(self._ctr_words(*words))

    def _ctr_words(self, *words: str) -> list[str]:
        space = "k8s.io" if self.default else "default"
        return ["ctr", "--address", self._socket, "--namespace", space, *words]

    def stop(self) -> None:
        if self.daemon is not None:
            self.daemon.stop()

    def pull(self, image: Image) -> None:
        if self.default:
            cri.pull_image(self._socket, image.reference)
            return
        self._ctr("images", "pull", *self._pull_options(), image.reference)

    def pull_words(self, image: Image) -> list[str]:
        """The whole command line, for a person."""
        words = self._ctr_words("images", "pull", *self._pull_options(), image.reference)
        return self.setup.userland.argv(words)

    def _pull_options(self) -> list[str]:
        # The transfer service of containerd 2 would pull in the daemon, without hosts.toml.
        local = ["--local"] if self.setup.userland.name != "system" else []
        return [*local, "--hosts-dir", str(self._hosts), "--snapshotter", "native"]

    def _images(self) -> list[list[str]]:
        """Reference, media type and digest of each image."""
        return [line.split()[:3] for line in self._ctr("images", "ls").splitlines()[1:]]

    def check(self, image: Image) -> None:
        assert [image.reference, image.manifest.media_type, image.digest] in self._images()
        for manifest in {image.manifest, image.platform()}:
            assert self._ctr("content", "get", manifest.digest).encode() == manifest.body

    def remove(self, image: Image) -> None:
        names = [name for name, _, digest in self._images() if digest == image.digest]
        self._ctr("images", "rm", "--sync", *names)
        assert image.digest not in self._ctr("content", "ls", "-q").split()


@attrs.define
class Podman:
    """podman with a mirror in registries.conf."""

    setup: Setup

    @property
    def name(self) -> str:
        return f"podman-{self.setup.userland.name}"

    def start(self) -> None:
        self.setup.userland.need("podman")
        _containers_files(self.setup)

    def stop(self) -> None:
        """Podman leaves no process behind."""

    def _podman(self, *words: str) -> str:
        folder = self.setup.folder
        return self.setup.run(
            [
                *("env", f"CONTAINERS_REGISTRIES_CONF={folder}/registries.conf"),
                *("podman", "--storage-driver", "vfs"),
                *("--root", str(folder / "root")),
                *("--runroot", str(folder / "run")),
                *("--tmpdir", str(folder / "tmp")),
                *("--cgroup-manager", "cgroupfs"),
                *words,
            ]
        )

    def pull(self, image: Image) -> None:
        policy = f"{self.setup.folder}/policy.json"
        self._podman("pull", "--quiet", "--signature-policy", policy, image.reference)

    def check(self, image: Image) -> None:
        seen = json.loads(self._podman("image", "inspect", image.reference))[0]
        digests = {one.rpartition("@")[2] for one in seen["RepoDigests"]}
        mine = image.platform()
        assert {image.digest, mine.digest} == digests
        assert seen["ManifestType"] == mine.media_type
        assert f"sha256:{seen['Id']}" == json.loads(mine.body)["config"]["digest"]

    def remove(self, image: Image) -> None:
        self._podman("image", "rm", "--force", image.reference)


@attrs.define
class Skopeo:
    """skopeo with a mirror in registries.conf; copies every byte of an image into a folder."""

    setup: Setup

    @property
    def name(self) -> str:
        return f"skopeo-{self.setup.userland.name}"

    def start(self) -> None:
        self.setup.userland.need("skopeo")
        _containers_files(self.setup)

    def stop(self) -> None:
        """Skopeo leaves no process behind."""

    def _skopeo(self, *words: str) -> str:
        conf = f"{self.setup.folder}/registries.conf"
        return self.setup.run(["skopeo", "--registries-conf", conf, *words])

    def _copy(self, image: Image) -> pathlib.Path:
        return self.setup.folder / image.name.replace("/", "-")

    def inspect(self, image: Image) -> dict[str, Any]:
        seen: dict[str, Any] = json.loads(self._skopeo("inspect", f"docker://{image.reference}"))
        return seen

    def pull(self, image: Image) -> None:
        policy = f"{self.setup.folder}/policy.json"
        self._copy(image).mkdir()
        self._skopeo(
            *("--policy", policy, "copy", "--all", "--preserve-digests", "--quiet"),
            *(f"docker://{image.reference}", f"dir:{self._copy(image)}"),
        )

    def check(self, image: Image) -> None:
        copy = self._copy(image)
        assert (copy / "manifest.json").read_bytes() == image.manifest.body
        for child in image.manifest.children:
            name = f"{child.digest.partition(':')[2]}.manifest.json"
            assert (copy / name).read_bytes() == child.body
        for blob in image.manifest.all_blobs():
            with (copy / blob.digest.partition(":")[2]).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            assert f"sha256:{found}" == blob.digest

    def remove(self, image: Image) -> None:
        shutil.rmtree(self._copy(image))


def _containers_files(setup: Setup) -> None:
    """registries.conf and policy.json, for what is built on containers/image."""
    mirror = (
        f'[[registry.mirror]]\nlocation = "{setup.mirror_host}"\ninsecure = true\n'
        if setup.mirror
        else ""
    )
    setup.write(
        "registries.conf",
        'unqualified-search-registries = ["docker.io"]\n'
        '[[registry]]\nprefix = "docker.io"\nlocation = "docker.io"\n' + mirror,
    )
    setup.write("policy.json", json.dumps(_POLICY))
