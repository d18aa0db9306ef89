"""Several whole nodes in the test's own reactor, sharing in front of a double of Docker Hub."""

from __future__ import annotations

import os
import pathlib
import shutil
import socket
import tempfile
import time
from collections.abc import Sequence
from typing import Any, TypeVar, cast

import attrs
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.trial.unittest import TestCase

from nodecache.config import Settings, SizeSetting, UpstreamSettings
from nodecache.events import Event
from nodecache.limits import Timeouts
from nodecache.membership import Address
from nodecache.membership.target import PeerTarget
from nodecache.metrics import Metrics
from nodecache.service import Node, Surroundings
from tests.fakes_client import Got, fetch, until
from tests.fakes_hub import FakeHub, Image
from tests.node_case import descriptors, nothing_stays_open

reactor = cast(Any, _reactor)
E = TypeVar("E", bound=Event)

SECRET = "a secret that is long enough"


#: Below those that the kernel gives to outgoing connections: such a one can not take
#: a port between its choice and its use. Each is given once in a process; four test
#: workers have a range each, and a process without others has all of them.
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
_FIRST, _COUNT = (20_000 + int(_WORKER) % 4 * 3_000, 3_000) if _WORKER else (20_000, 12_000)
PORTS = iter(range(_FIRST + os.getpid() % 20 * 100, _FIRST + _COUNT))


def free_port() -> int:
    """One that nobody listens on, and that nobody is given by chance."""
    for port in PORTS:
        with socket.socket() as made:
            try:
                made.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no port is left for another node")


@attrs.define
class Member:
    """One node of the cluster; ``node`` is None while it does not run."""

    id: str
    port: int
    data_dir: pathlib.Path
    settings: Settings
    node: Node | None = None
    events: list[Event] = attrs.Factory(list)
    metrics: Metrics = attrs.Factory(Metrics)
    environ: dict[str, str] = attrs.Factory(dict)

    def observe(self, event: Event) -> None:
        self.events.append(event)
        self.metrics.observe(event)

    def told(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    async def start(self) -> None:
        around = Surroundings(reactor, time.time, self.observe, self.metrics, self.environ)
        self.node = await Node.start(around, self.settings)

    async def stop(self) -> None:
        node, self.node = self.node, None
        if node is not None:
            await node.stop("the test says so")

    async def get(self, path: str, method: str = "GET", **headers: str) -> Got:
        """``Range`` and other headers as keywords, with ``_`` for ``-``."""
        assert self.node is not None
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"http://127.0.0.1:{self.node.mirror_port}{path}"
        return await fetch(reactor, url, method, named)

    async def manifest(self, name: str, reference: str, method: str = "GET") -> Got:
        return await self.get(f"/v2/{name}/manifests/{reference}", method)

    async def blob(self, name: str, digest: str, **headers: str) -> Got:
        return await self.get(f"/v2/{name}/blobs/{digest}", **headers)

    async def pull(self, image: Image, tag: str = "latest") -> list[bytes]:
        """As containerd does: HEAD of the tag, the manifest, then all blobs at once.

        Returns the layers. Raises AssertionError for anything but 200.
        """
        head = await self.manifest(image.name, tag, "HEAD")
        assert head.status == 200, head
        manifest = await self.manifest(image.name, image.digest)
        assert manifest.status == 200, manifest
        assert manifest.body == image.manifest.body
        digests = (image.config, *image.layers)
        blobs = await gathered([self.blob(image.name, digest) for digest in digests])
        for got in blobs:
            assert (got.status, got.broken) == (200, None), got
        return [got.body for got in blobs[1:]]

    def known(self) -> int:
        """Other nodes that this one asks."""
        assert self.node is not None
        return len(self.node.live_peers())


async def gathered(work: Sequence[Any]) -> list[Any]:
    """The results of all; raises the first failure."""
    going = [Deferred.fromCoroutine(one) for one in work]
    found = await DeferredList(going, fireOnOneErrback=True, consumeErrors=True)
    return [result for _, result in found]


class ClusterCase(TestCase):
    """``self.hub`` is up; ``await self.cluster(4)`` brings four nodes up in front of it."""

    timeout = 60  # trial ends a test that hangs

    def setUp(self) -> None:
        before = descriptors()
        self.addCleanup(lambda: Deferred.fromCoroutine(nothing_stays_open(before)))
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.hub = FakeHub(reactor).start()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.hub.stop()))
        self.secret_file = self.folder / "secret"
        self.secret_file.write_text(SECRET + "\n")
        self.members: list[Member] = []

    def member(self, index: int, addresses: Sequence[Address], **given: Any) -> Member:
        data_dir = self.folder / f"data{index}"
        common: dict[str, Any] = {
            "data_dir": str(data_dir),
            "listen": "127.0.0.1:0",
            "admin_listen": "127.0.0.1:0",
            "peer_listen": str(addresses[index]),
            "peers": PeerTarget(None, addresses[index].port, tuple(addresses)),
            "node_id": f"node{index}",
            "peer_secret_file": str(self.secret_file),
            "upstreams": (UpstreamSettings("docker.io", self.hub.url),),
            "min_free": SizeSetting(bytes=0),
            "max_size": SizeSetting(bytes=1 << 30),
            "timeouts": Timeouts(peer_greet=1.0, peer_pause_first=0.2),
        }
        settings = Settings(**{**common, **given})
        made = Member(f"node{index}", addresses[index].port, data_dir, settings)
        self.addCleanup(lambda: Deferred.fromCoroutine(made.stop()))
        return made

    def addresses(self, count: int) -> list[Address]:
        """For so many nodes."""
        return [Address("127.0.0.1", free_port()) for _ in range(count)]

    async def cluster(
        self, count: int, beside: Sequence[Address] = (), **given: Any
    ) -> list[Member]:
        """All of them up, and known to each other; ``beside`` are other peers that all know."""
        addresses = [*self.addresses(count), *beside]
        self.members = [self.member(index, addresses, **given) for index in range(count)]
        await gathered([member.start() for member in self.members])
        await self.acquainted(*self.members, more=len(beside))
        return self.members

    async def acquainted(self, *members: Member, more: int = 0) -> None:
        """Until each of them asks all the others, and ``more`` peers that are none of them."""
        others = len(members) - 1 + more
        await until(reactor, lambda: all(m.known() == others for m in members))

    def crossed(self) -> int:
        """Bytes of blobs that the CDN sent."""
        return sum(each.sent for each in self.hub.cdn.requests)
