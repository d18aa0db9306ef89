"""All findings of a node, in the order in which a pull meets their subjects."""

from __future__ import annotations

from collections.abc import Iterator

from nodecache.runtimes.check_containerd import check_containerd
from nodecache.runtimes.check_containers import check_containers
from nodecache.runtimes.check_disk import check_disk
from nodecache.runtimes.check_docker import check_docker
from nodecache.runtimes.check_node import check_admin, check_clock, check_port, check_upstreams
from nodecache.runtimes.facts import Facts
from nodecache.runtimes.findings import Finding, warning


def diagnose(facts: Facts) -> list[Finding]:
    """What is well and what is not."""
    return [
        *_runtimes(facts),
        *check_port(facts.port),
        *check_admin(facts.node),
        *check_upstreams(facts.upstreams, facts.node, peers=facts.node.peers is not None),
        *check_clock(facts.upstreams, facts.node),
        *check_disk(facts.disk, facts.kubelet),
    ]


def _runtimes(facts: Facts) -> Iterator[Finding]:
    if facts.containerd is not None:
        yield from check_containerd(facts.containerd, facts.mirror, facts.registries)
    if facts.docker is not None:
        yield from check_docker(facts.docker, facts.mirror)
    for one in facts.containers:
        yield from check_containers(one, facts.mirror, facts.registries)
    if facts.containerd is None and facts.docker is None and not facts.containers:
        yield warning(
            "runtime-none",
            "runtime",
            "no container runtime was found here",
            "Whether anybody uses the mirror can not be told.",
            "In a pod, mount the node's files and say --root; or name it with --runtime.",
        )
