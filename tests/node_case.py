"""A whole node in the test's own reactor, in front of a double of Docker Hub."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import tempfile
import time
from typing import Any, TypeVar, cast

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from nodecache.config import Settings, SizeSetting, UpstreamSettings
from nodecache.events import Event
from nodecache.metrics import Metrics
from nodecache.service import Node, Surroundings
from tests.fakes_client import Begun, Got, begin, fetch, until
from tests.fakes_hub import FakeHub

reactor = cast(Any, _reactor)
E = TypeVar("E", bound=Event)


def descriptors() -> set[str]:
    """Sockets and files of this process that are open, by number and what they lead to.

    Without pipes and devices, which the reactor and pytest open when they like.
    """
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the listing's own is gone by now
            found.add(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
    return {each for each in found if " pipe:" not in each and " /dev/" not in each}


async def nothing_stays_open(before: set[str]) -> None:
    """After node, hub and clients have ended; trial looks for timers itself.

    The end of a thread is waited for, which on a busy machine takes its time.
    """
    give_up = reactor.seconds() + 15
    while (left := descriptors() - before) and reactor.seconds() < give_up:
        await deferLater(reactor, 0.01)
    assert not left, [f"{each}{_ends(each)}" for each in sorted(left)]


def _ends(descriptor: str) -> str:
    """Of a TCP socket, as the kernel lists it: addresses of both ends and the state."""
    inode = descriptor.partition("socket:[")[2].rstrip("]")
    for name in ("tcp", "tcp6"):
        for line in pathlib.Path(f"/proc/net/{name}").read_text().splitlines():
            fields = line.split()
            if inode and fields[9] == inode:
                return f" {' '.join(fields[1:4])}"
    return ""


class NodeCase(TestCase):
    """``self.hub`` is up; ``await self.start()`` brings a node up in front of it."""

    timeout = 30  # trial ends a test that hangs
    node: Node

    def setUp(self) -> None:
        before = descriptors()
        self.addCleanup(lambda: Deferred.fromCoroutine(nothing_stays_open(before)))
        self.events: list[Event] = []
        self.metrics = Metrics()
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        self.data_dir = pathlib.Path(folder) / "data"
        self.hub = FakeHub(reactor).start()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.hub.stop()))

    def observe(self, event: Event) -> None:
        self.events.append(event)
        self.metrics.observe(event)

    def settings(self, **given: Any) -> Settings:
        """Those of a node on this machine's free ports; the floor is out of the way."""
        upstream = given.pop("upstream", {})
        common: dict[str, Any] = {
            "data_dir": str(self.data_dir),
            "listen": "127.0.0.1:0",
            "admin_listen": "127.0.0.1:0",
            "upstreams": (UpstreamSettings("docker.io", self.hub.url, **upstream),),
            "min_free": SizeSetting(bytes=0),
            "max_size": SizeSetting(bytes=1 << 30),
        }
        return Settings(**{**common, **given})

    async def start(self, **given: Any) -> Node:
        around = Surroundings(reactor, time.time, self.observe, self.metrics, {})
        node = await Node.start(around, self.settings(**given))
        self.node = node
        self.addCleanup(lambda: Deferred.fromCoroutine(node.stop("the test is over")))
        return node

    async def restart(self, **given: Any) -> Node:
        await self.node.stop("restart")
        return await self.start(**given)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.node.mirror_port}{path}"

    async def get(self, path: str, method: str = "GET", **headers: str) -> Got:
        """``Range`` and other headers as keywords, with ``_`` for ``-``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await fetch(reactor, self.url(path), method, named)

    async def manifest(self, name: str, reference: str, method: str = "GET", **headers: str) -> Got:
        return await self.get(f"/v2/{name}/manifests/{reference}", method, **headers)

    async def blob(self, name: str, digest: str, method: str = "GET", **headers: str) -> Got:
        return await self.get(f"/v2/{name}/blobs/{digest}", method, **headers)

    async def begin_blob(self, name: str, digest: str, **headers: str) -> Begun:
        """As far as its headers; the body comes meanwhile."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await begin(reactor, self.url(f"/v2/{name}/blobs/{digest}"), headers=named)

    async def stored(self, count: int) -> None:
        """Until so many blobs are in the store and no fill is under way."""
        await until(reactor, lambda: len(self.blob_files()) == count and not self.filling())

    def filling(self) -> int:
        """Fills under way."""
        return sum(e.name == "fill_start" for e in self.events) - sum(
            e.name == "fill" for e in self.events
        )

    def blob_files(self) -> list[pathlib.Path]:
        root = self.data_dir / "v1" / "blobs"
        return [path for path in root.rglob("*") if path.is_file()]

    def told(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def disk_bytes(self) -> int:
        """What the blobs take up on disk."""
        return sum(os.stat(path).st_blocks * 512 for path in self.blob_files())
