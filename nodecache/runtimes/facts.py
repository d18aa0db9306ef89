"""What ``nodecache doctor`` gathers on a node, before it judges anything."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import attrs

from nodecache.runtimes.containerd import CertsDir, CriConfig
from nodecache.runtimes.kubelet import Thresholds
from nodecache.runtimes.names import Version


@attrs.frozen
class ContainerdFacts:
    """``config`` None: there is no file. ``problem`` says why a file could not be read."""

    file: str
    config: CriConfig | None = None
    version: Version | None = None
    dirs: tuple[CertsDir, ...] = ()
    problem: str = ""


@attrs.frozen
class DockerFacts:
    """``text`` None: there is no file. ``flags`` are the words of dockerd's command line."""

    file: str
    text: str | None = None
    flags: tuple[str, ...] = ()
    flags_from: str = ""
    problem: str = ""


@attrs.frozen
class ContainersFacts:
    """registries.conf and its drop-ins, in the order in which ``runtime`` reads them."""

    runtime: str
    files: tuple[tuple[str, str], ...] = ()
    problem: str = ""


class Answer(enum.Enum):
    """What became of a question to a port."""

    OURS = "ours"  # a nodecache
    OTHER = "other"  # somebody else
    REFUSED = "refused"  # nobody listens
    SILENT = "silent"  # no answer in time
    FAILED = "failed"  # anything else


@attrs.frozen
class PortFacts:
    """``seconds`` until the answer. ``in_pod``: asked from within a pod, not from the node."""

    mirror: str
    answer: Answer
    detail: str = ""
    seconds: float = 0.0
    in_pod: bool = False


@attrs.frozen
class UpstreamFacts:
    """``status`` is what its ``/v2/`` answered, or None, and then ``problem`` says why.

    ``skew`` is this clock less the other's, in seconds, as far as its Date header tells.
    """

    namespace: str
    url: str
    status: int | None = None
    problem: str = ""
    skew: float | None = None


@attrs.frozen
class NodeFacts:
    """What the admin port says. ``problem``: it could not be asked. ``down`` are origins.

    ``offline``: its own setting keeps it from asking any upstream. ``unasked_seconds``:
    so long after its start nobody has asked it for an image. ``peer_skews`` are this clock
    less theirs, in seconds.
    """

    admin: str
    problem: str = ""
    peers: Mapping[str, Any] | None = None
    down: tuple[str, ...] = ()
    offline: bool = False
    unasked_seconds: float | None = None
    peer_skews: tuple[float, ...] = ()


@attrs.frozen
class DiskFacts:
    """The disk of the data folder, in bytes, and the cache's two limits on it.

    ``with_kubelet``: pods and images are on the same one; None where that can not be told.
    """

    data_dir: str
    total: int = 0
    free: int = 0
    cap: int = 0
    floor: int = 0
    with_kubelet: bool | None = None
    problem: str = ""


@attrs.frozen
class KubeletFacts:
    """``sources`` are the files that were read; ``thresholds`` None: there is no kubelet."""

    thresholds: Thresholds | None = None
    sources: tuple[str, ...] = ()
    problem: str = ""


@attrs.frozen
class Facts:
    """All of it. ``registries`` are those that the mirror is for."""

    mirror: str
    registries: tuple[str, ...]
    port: PortFacts
    node: NodeFacts
    disk: DiskFacts
    kubelet: KubeletFacts = KubeletFacts()
    upstreams: tuple[UpstreamFacts, ...] = ()
    containerd: ContainerdFacts | None = None
    docker: DockerFacts | None = None
    containers: tuple[ContainersFacts, ...] = ()
