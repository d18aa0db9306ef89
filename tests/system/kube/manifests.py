"""Manifests as documents: read from a file, or rendered by kubectl."""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import attrs
import yaml

from tests.system.parts.processes import MissingPart

K8S = pathlib.Path(__file__).parents[3] / "k8s"
RENDERED = K8S / "rendered" / "nodecache.yaml"
#: What ``kubectl apply -k`` takes; the base, and each overlay.
OVERLAYS = (
    "base",
    "overlays/central",
    "overlays/containerd",
    "overlays/hostnetwork",
    "overlays/monitoring",
    "overlays/private-hub-account",
    "overlays/remove",
)

Document = dict[str, Any]


@attrs.frozen
class Manifests:
    documents: tuple[Document, ...]

    @classmethod
    def read(cls, text: str) -> Manifests:
        return cls(tuple(one for one in yaml.safe_load_all(text) if one))

    def of(self, kind: str) -> list[Document]:
        return [one for one in self.documents if one["kind"] == kind]

    def one(self, kind: str) -> Document:
        (found,) = self.of(kind)
        return found

    def pods(self) -> Iterator[Document]:
        """The pod templates of all workloads."""
        for one in self.documents:
            if one["kind"] in {"DaemonSet", "Deployment"}:
                yield one["spec"]["template"]


def rendered_text(overlay: str) -> str:
    """What ``kubectl kustomize`` makes of a folder of ``k8s``; MissingPart without a kubectl."""
    words = [*kustomize(), str(K8S / overlay)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def render(overlay: str) -> Manifests:
    return Manifests.read(rendered_text(overlay))


def kustomize() -> list[str]:
    """The command that renders a folder, of kubectl or of kustomize alone.

    MissingPart for one that is older than Kustomize 5, which knows less.
    """
    if shutil.which("kustomize"):
        return ["kustomize", "build"]
    if not shutil.which("kubectl"):
        raise MissingPart("kubectl (or kustomize)")
    told = subprocess.run(
        ["kubectl", "version", "--client"], capture_output=True, text=True, check=True
    ).stdout
    if not re.search(r"Kustomize Version: v[5-9]\.", told):
        raise MissingPart(f"kubectl 1.27 or newer (this is {told.splitlines()[0]})")
    return ["kubectl", "kustomize"]


def container(pod: Document, name: str = "nodecache") -> Document:
    """A container or an init container of a pod template."""
    spec = pod["spec"]
    (found,) = (
        one for one in (*spec.get("initContainers", ()), *spec["containers"]) if one["name"] == name
    )
    return dict(found)


def environment(of: Document) -> dict[str, str]:
    """A container's variables; those that a node gives have the path of the field."""
    return {
        one["name"]: one.get("value") or one["valueFrom"]["fieldRef"]["fieldPath"]
        for one in of.get("env", ())
    }
