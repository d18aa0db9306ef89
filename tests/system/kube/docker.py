"""The dockerd that builds the image and runs the pods' containers."""

from __future__ import annotations

import contextlib
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import attrs

from tests.system.kube.image import NAME, Built, build
from tests.system.parts.processes import Child, CommandFailed, need, need_root, run


@attrs.define
class Docker:
    """A client of one dockerd. ``built`` is what the image came to."""

    url: str
    built: Built | None = None

    def __call__(self, *words: str) -> str:
        return run(["docker", "-H", self.url, *words]).strip()

    def answers(self) -> bool:
        try:
            return bool(self("version", "--format", "{{.Server.Version}}"))
        except CommandFailed:
            return False

    def inspect(self, what: str) -> dict[str, Any]:
        (found,) = json.loads(self("inspect", what))
        return dict(found)

    def pid(self, container: str) -> int:
        """Of the container's first process; 0 once it has ended."""
        return int(self.inspect(container)["State"]["Pid"])

    def alias(self, name: str) -> None:
        """The image is on this node under the name that a manifest has for it."""
        self("tag", NAME, name)


@contextlib.contextmanager
def docker_with_image(folder: pathlib.Path) -> Iterator[Docker]:
    """A dockerd of its own with the image built in it; all containers end with it."""
    need_root()
    need("dockerd", "docker", "containerd")
    docker = Docker(f"unix://{folder}/docker.sock")
    words = [
        *("dockerd", "-H", docker.url, "--pidfile", f"{folder}/docker.pid"),
        *("--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec"),
        # A file that is not there: nothing of the machine's own configuration.
        *("--config-file", f"{folder}/daemon.json"),
        *("--bridge", "none", "--iptables=false", "--ip6tables=false"),
    ]
    folder.mkdir(parents=True)
    (folder / "daemon.json").write_text("{}")
    try:
        with Child("dockerd", words, folder) as daemon:
            daemon.ready(docker.answers)
            docker.built = build(docker.url)
            yield docker
            for container in docker("ps", "--all", "--quiet").split():
                docker("rm", "--force", "--volumes", container)
    finally:
        _unmount_below(folder)


def _unmount_below(folder: pathlib.Path) -> None:
    """A dockerd leaves the namespace of its containers mounted."""
    mounts = pathlib.Path("/proc/self/mounts").read_text().splitlines()
    for place in sorted((line.split()[1] for line in mounts), reverse=True):
        if pathlib.Path(place).is_relative_to(folder):
            run(["umount", "--lazy", place])
