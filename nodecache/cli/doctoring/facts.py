"""Everything that is gathered on one node, in the order in which one needs the other."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from nodecache.cli.doctoring import asks, runtimes
from nodecache.cli.doctoring.disk import disk
from nodecache.cli.doctoring.files import Root
from nodecache.cli.doctoring.kubelet import kubelet
from nodecache.config import Settings
from nodecache.runtimes.facts import Facts
from nodecache.runtimes.names import Version


@attrs.frozen(kw_only=True)
class Wanted:
    """What the person said. ``runtimes`` empty: those that are there."""

    root: Root
    mirror: str
    admin_url: str
    runtimes: Sequence[str] = ()
    registries: Sequence[str] = ()
    version: Version | None = None
    containerd_config: str | None = None


def gather(wanted: Wanted, settings: Settings) -> Facts:
    """Reads files and asks ports; what fails is a fact too."""
    root = wanted.root
    told = kubelet(root)
    endpoint = told.thresholds.runtime_endpoint if told.thresholds else ""
    named = tuple(wanted.runtimes) or runtimes.present(root, endpoint)
    node, status = asks.node(wanted.admin_url)
    node = attrs.evolve(node, offline=node.offline or settings.offline)
    upstreams = () if node.offline else asks.upstreams(settings.upstreams)
    if all(one.skew is None for one in upstreams):
        node = attrs.evolve(node, peer_skews=asks.peer_skews(node.peers))
    registries = tuple(wanted.registries) or tuple(one.namespace for one in settings.upstreams)
    return Facts(
        mirror=wanted.mirror,
        registries=registries,
        port=asks.port(wanted.mirror, in_pod=not root.shares_network),
        node=node,
        disk=disk(root, settings, status),
        kubelet=told,
        upstreams=upstreams,
        containerd=(
            runtimes.containerd(root, wanted.version, wanted.containerd_config)
            if "containerd" in named
            else None
        ),
        docker=runtimes.docker(root) if "docker" in named else None,
        containers=tuple(
            runtimes.containers(root, one) for one in ("crio", "podman") if one in named
        ),
    )
