"""How much memory and how many descriptors a node needs.

Before a registry as Docker Hub is one (token authentication, blobs from a
CDN), one node after the other, each a process of its own on an empty folder:

- idle, having served nothing;
- while twenty clients pull one cold blob, of 256 MiB and of 2 GiB;
- while 200 clients have asked for a blob and take none of it.

    python -m bench.memory [--folder DIR]

Printed are VmHWM (most bytes resident at once), the most that the node's
cgroup counted without page cache, and the most open descriptors.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pathlib
import shutil
import socket
import tempfile
from collections.abc import Iterator

import attrs

from tests.system.parts.cgroups import MemoryGroup, memory_group, polled
from tests.system.parts.curl import fetch_all
from tests.system.parts.hub import Hub, make_hub
from tests.system.parts.images import Blob, Image, Pusher
from tests.system.parts.node import Node
from tests.system.parts.zoo import Kind, quarter_gib, two_gib

MIB = 1 << 20
CROWD = 20
STALLED = 200


@attrs.define
class Descriptors:
    """Most descriptors that a process had open at once, looked at every 20 ms."""

    pid: int
    most: int = 0

    def look(self) -> None:
        self.most = max(self.most, len(os.listdir(f"/proc/{self.pid}/fd")))

    def watched(self) -> contextlib.AbstractContextManager[None]:
        """Keep ``most`` up to date."""
        return polled(self.look)


@attrs.define
class Watched:
    """A node that runs, and what watches it."""

    node: Node
    group: MemoryGroup
    descriptors: Descriptors

    def report(self, situation: str) -> None:
        self.descriptors.look()
        resident, counted = self.node.peak_memory() / MIB, self.group.peak / MIB
        open_files = self.descriptors.most
        print(f"| {situation} | {resident:.1f} | {counted:.1f} | {open_files} |", flush=True)


@contextlib.contextmanager
def watched_node(hub: Hub, folder: pathlib.Path) -> Iterator[Watched]:
    """A node on an empty folder in a cgroup of its own; gone in the end."""
    here = pathlib.Path(tempfile.mkdtemp(prefix="node-", dir=folder))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, here)
        group = stack.enter_context(memory_group())
        stack.enter_context(group.watched())
        node = Node(here, f"docker.io={hub.url}", group=group).start()
        stack.callback(node.close)
        descriptors = Descriptors(node.process.pid)
        stack.enter_context(descriptors.watched())
        yield Watched(node, group, descriptors)


def path_of(image: Image) -> tuple[str, Blob]:
    blob = image.manifest.blobs[1]
    return f"/v2/{image.name}/blobs/{blob.digest}", blob


def idle(hub: Hub, folder: pathlib.Path) -> None:
    with watched_node(hub, folder) as it:
        it.report("idle, empty store")


def crowd(hub: Hub, folder: pathlib.Path, image: Image) -> None:
    """Twenty clients at once; each gets all of it, and upstream sends it once."""
    path, blob = path_of(image)
    with watched_node(hub, folder) as it:
        mark = hub.plain.mark()
        seen = fetch_all([it.node.url + path] * CROWD)
        assert {(one.exit_code, one.status, one.size) for one in seen} == {(0, 200, blob.size)}
        assert hub.plain.asked(mark).fetched(blob.digest) == blob.size
        it.report(f"{CROWD} clients of a cold blob of {blob.size // MIB} MiB")


def stalled_client(port: int, path: str) -> socket.socket:
    """A connection that has asked, got its first byte, and takes no more."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert connection.recv(1, socket.MSG_PEEK) == b"H"
    return connection


def stalled(hub: Hub, folder: pathlib.Path, image: Image, *, cold: bool) -> None:
    """Nobody reads, and the node goes on: a client that does read gets all of it."""
    path, blob = path_of(image)
    with watched_node(hub, folder) as it, contextlib.ExitStack() as stack:
        if not cold:
            fetch_all([it.node.url + path])
        for _ in range(STALLED):
            stack.callback(stalled_client(it.node.port, path).close)
        seen = fetch_all([it.node.url + path])
        assert [(one.exit_code, one.size) for one in seen] == [(0, blob.size)]
        state = "cold" if cold else "stored"
        it.report(f"{STALLED} stalled clients of a {state} blob of {blob.size // MIB} MiB")


def push(hub: Hub, kind: Kind) -> Image:
    name = kind.__name__.replace("_", "-")
    return Pusher(hub).push(f"library/{name}", "latest", kind(name))


def measure(hub: Hub, folder: pathlib.Path) -> None:
    quarter, big = push(hub, quarter_gib), push(hub, two_gib)
    print("| | VmHWM, MiB | cgroup without page cache, MiB | descriptors |")
    print("|---|---|---|---|")
    idle(hub, folder)
    crowd(hub, folder, quarter)
    crowd(hub, folder, big)
    stalled(hub, folder, quarter, cold=False)
    stalled(hub, folder, quarter, cold=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", default="/var/tmp", help="where everything is made")
    given = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="memory-", dir=given.folder))
    hub = make_hub(folder / "hub")
    try:
        hub.start()
        measure(hub, folder)
    finally:
        hub.stop()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
