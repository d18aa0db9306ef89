"""One node of the cluster: its station, its process, and what may befall it."""

from __future__ import annotations

import contextlib
import shutil
import signal
from collections.abc import Iterator, Mapping
from typing import Any, Self

import attrs

from tests.system.cluster.network import Station
from tests.system.cluster.pulls import Pull, prepare
from tests.system.parts.images import Image
from tests.system.parts.node import Node, Reply

MIRROR_PORT, PEER_PORT, ADMIN_PORT = 5000, 5001, 5002
MIRROR = f"http://127.0.0.1:{MIRROR_PORT}"


@attrs.define
class Member:
    """A node in a namespace. Whatever is asked of it is asked from inside."""

    id: str
    station: Station
    node: Node
    hub: str  # the URL of the runtime's own fall-back

    def launch(self) -> None:
        """Begin without waiting."""
        self.node.launch()

    def ready(self) -> Self:
        with self.station.namespace.entered():
            self.node.process.ready(self.node.is_ready)
        return self

    def start(self) -> Self:
        self.launch()
        return self.ready()

    def stop(self) -> int:
        """SIGTERM; the exit code once its bodies are sent."""
        return self.node.stop()

    def kill(self) -> None:
        self.node.kill()

    def restart(self) -> Self:
        self.stop()
        return self.start()

    def close(self) -> None:
        self.node.close()

    @property
    def alive(self) -> bool:
        return self.node.child is not None and self.node.child.alive

    def freeze(self) -> None:
        self.node.process.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.node.process.signal(signal.SIGCONT)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    @contextlib.contextmanager
    def deaf(self) -> Iterator[None]:
        """Its packet filter drops what other nodes send; it reaches the Hub and DNS."""
        self.station.deaf()
        try:
            yield
        finally:
            self.station.hearing()

    def wipe(self) -> None:
        """An empty data folder; the process must not run."""
        assert not self.alive
        shutil.rmtree(self.node.data_dir, ignore_errors=True)

    def ask(
        self, path: str, method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> Reply:
        with self.station.namespace.entered():
            return self.node.ask(path, method, headers)

    def admin(self, path: str) -> Reply:
        with self.station.namespace.entered():
            return self.node.admin(path)

    def metric(self, name: str, **labels: str) -> float:
        with self.station.namespace.entered():
            return self.node.metric(name, **labels)

    def live(self) -> int:
        """How many others it would ask."""
        return int(self.metric("nodecache_peers_live"))

    def events(self, name: str = "") -> list[dict[str, Any]]:
        return self.node.events(name)

    def pull(self, image: Image, *, direct: bool = False, fall_back: bool = True) -> Pull:
        """A pull that waits for ``go``: through the mirror, then the Hub; or the Hub alone."""
        hosts = [] if direct else [MIRROR]
        if direct or fall_back:
            hosts.append(self.hub)
        return prepare(self.station, image, hosts)
