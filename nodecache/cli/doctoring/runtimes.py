"""Which runtimes there are on the node, and what their files say."""

from __future__ import annotations

import fnmatch
import itertools
import os
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any, Final

from nodecache.cli.doctoring.files import Root, Unreadable
from nodecache.runtimes.containerd import (
    CertsDir,
    CriConfig,
    folders,
    imports_of,
    read,
)
from nodecache.runtimes.facts import ContainerdFacts, ContainersFacts, DockerFacts
from nodecache.runtimes.names import Unusable, Version, parse_version
from nodecache.runtimes.toml import read_toml
from nodecache.runtimes.words import environment_words, read_flags

RUNTIMES: Final = ("containerd", "docker", "crio", "podman")

_CONTAINERD_FILES: Final = (
    "/etc/containerd/config.toml",
    "/etc/containerd/config-kops.toml",
    "/var/lib/rancher/k3s/agent/etc/containerd/config.toml",
    "/var/lib/rancher/rke2/agent/etc/containerd/config.toml",
)
_DAEMON_JSON: Final = "/etc/docker/daemon.json"
_DOCKER_FLAGS: Final = "/etc/sysconfig/docker"
_CONTAINERS: Final = "/etc/containers/registries.conf"

#: Any of these says that a runtime is there; the kubelet's own word comes first.
_SIGNS: Final = {
    "containerd": ("/run/containerd/containerd.sock", *_CONTAINERD_FILES),
    "docker": ("/run/docker.sock", "/var/run/docker.sock", _DAEMON_JSON, _DOCKER_FLAGS),
    "crio": ("/run/crio/crio.sock", "/etc/crio"),
    "podman": ("/usr/bin/podman",),
}
#: How deep files may import each other.
_IMPORTS: Final = 5
_VERSION_SECONDS: Final = 5


def present(root: Root, endpoint: str) -> tuple[str, ...]:
    """The runtimes whose images count: the kubelet's, or all that there are signs of."""
    for name in ("containerd", "crio"):
        if name in endpoint:
            return (name,)
    if "docker" in endpoint:
        return ("docker",)
    found = [name for name in RUNTIMES if any(root.exists(one) for one in _SIGNS[name])]
    if "docker" in found and not root.exists("/etc/containerd/certs.d"):
        found = [name for name in found if name != "containerd"]  # dockerd brings its own
    return tuple(found)


def containerd(root: Root, version: Version | None, file: str | None) -> ContainerdFacts:
    """Its file, those that this imports, and the hosts.toml files in the folders that it names."""
    name = file or _containerd_file(root)
    known = version or _asked_version(root, "containerd")
    try:
        documents = list(_documents(root, name, 0))
        config = read(documents) if documents else None
        dirs = tuple(_certs(root, one) for one in folders(config or CriConfig(), known))
    except (Unreadable, Unusable) as error:
        return ContainerdFacts(name, version=known, problem=str(error))
    return ContainerdFacts(name, config, known, dirs)


def _containerd_file(root: Root) -> str:
    words = root.command_line("containerd")
    short = (after for word, after in itertools.pairwise(words) if word == "-c")
    found = (one for one in _CONTAINERD_FILES if root.exists(one))
    return read_flags(words).get("config") or next(short, "") or next(found, _CONTAINERD_FILES[0])


def _documents(root: Root, path: str, depth: int) -> Iterator[dict[str, Any]]:
    text = root.read(path)
    if text is None:
        return
    try:
        document = read_toml(text)
    except Unusable as error:
        raise Unusable(f"{path} {error}") from None
    yield document
    for pattern in imports_of(document) if depth < _IMPORTS else ():
        base = os.path.dirname(path)
        for one in _matching(root, os.path.join(base, pattern)):
            yield from _documents(root, one, depth + 1)


def _matching(root: Root, pattern: str) -> list[str]:
    folder, name = os.path.split(pattern)
    if not any(mark in name for mark in "*?["):
        return [pattern]
    return [os.path.join(folder, one) for one in fnmatch.filter(root.names(folder), name)]


def _certs(root: Root, folder: str) -> CertsDir:
    names = (name for name in root.names(folder) if os.path.isdir(root.real(f"{folder}/{name}")))
    return CertsDir(folder, {name: root.read(f"{folder}/{name}/hosts.toml") for name in names})


def _asked_version(root: Root, program: str) -> Version | None:
    """Only the node's own program can be asked, and only where it runs."""
    if not root.is_own:
        return None
    try:
        done = subprocess.run(  # noqa: S603 -- a fixed word of ours
            [program, "--version"],
            capture_output=True,
            text=True,
            timeout=_VERSION_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_version(done.stdout)


def docker(root: Root) -> DockerFacts:
    """Its file, and its flags as it runs or as its service gives them."""
    words = root.command_line("dockerd")
    try:
        named = read_flags(words).get("config-file") or _DAEMON_JSON
        text = root.read(named)
        given = () if words else environment_words(root.read(_DOCKER_FLAGS) or "")
    except Unreadable as error:
        return DockerFacts(_DAEMON_JSON, problem=str(error))
    source = "dockerd's command line" if words else _DOCKER_FLAGS
    return DockerFacts(named, text, words or given, source)


def containers(root: Root, runtime: str) -> ContainersFacts:
    """registries.conf and its drop-ins, in the order in which they are read."""
    try:
        folder = f"{_CONTAINERS}.d"
        names = [one for one in root.names(folder) if one.endswith(".conf")]
        paths: Sequence[str] = (_CONTAINERS, *(f"{folder}/{one}" for one in names))
        texts = ((path, root.read(path)) for path in paths)
        return ContainersFacts(runtime, tuple((path, text) for path, text in texts if text))
    except Unreadable as error:
        return ContainersFacts(runtime, problem=str(error))
