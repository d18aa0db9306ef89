"""A row of nodes on loopback that are each other's peers, and a client that pulls from one."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from tests.system.parts.images import Image, Manifest
from tests.system.parts.node import Node
from tests.system.parts.processes import free_port, until
from tests.system.parts.reader import Reader

_BRISK = """\
[timeouts]
peer_greet = '1s'
"""


@contextmanager
def row(folder: pathlib.Path, upstream: str, count: int) -> Iterator[list[Node]]:
    """``count`` nodes, ready and known to each other."""
    folder.mkdir(parents=True, exist_ok=True)
    secret = folder / "secret"
    secret.write_text("a secret that is long enough\n")
    ports = [free_port() for _ in range(count)]
    peers = ",".join(f"127.0.0.1:{port}" for port in ports)
    with ExitStack() as stack:
        nodes = []
        for number, port in enumerate(ports, 1):
            flags = {
                "peers": peers,
                "peer-listen": f"127.0.0.1:{port}",
                "peer-secret-file": str(secret),
                "node-id": f"node-{number}",
            }
            node = Node(folder / str(number), upstream, flags=flags, toml=_BRISK)
            stack.callback(node.close)
            nodes.append(node)
            node.launch()
        for node in nodes:
            node.process.ready(node.is_ready)
        until(lambda: all(_live(node) == count - 1 for node in nodes), "the nodes know each other")
        yield nodes


def _live(node: Node) -> int:
    return int(node.metric("nodecache_peers_live"))


def pull(node: Node, of: Image) -> None:
    """As a runtime does: HEAD of the tag, the manifest, then its blobs side by side."""
    path = f"/v2/{of.name}/manifests"
    accept = {"Accept": of.manifest.media_type}
    head = node.ask(f"{path}/{of.tag}", "HEAD", accept)
    assert head.status == 200, head
    assert node.ask(f"{path}/{of.digest}", headers=accept).body == of.manifest.body
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda digest: _read(node, of, digest), _digests(of.manifest)))


def _digests(manifest: Manifest) -> list[str]:
    return [blob.digest for blob in manifest.all_blobs()]


def _read(node: Node, of: Image, digest: str) -> None:
    reader = Reader(node, f"/v2/{of.name}/blobs/{digest}")
    assert reader.answer.status == 200
    assert reader.rest() == digest
