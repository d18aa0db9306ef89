"""One node of the cluster: its station, its process, and what may befall it."""

from __future__ import annotations

import pathlib
import shutil
import signal
from collections.abc import Mapping, Sequence
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
    _pulls: list[Pull] = attrs.Factory(list)

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
        """At once: nobody waits for what it still sends."""
        self._end_pulls()
        if self.alive:
            self.kill()

    def _end_pulls(self) -> None:
        while self._pulls:
            self._pulls.pop().end()

    @property
    def alive(self) -> bool:
        return self.node.child is not None and self.node.child.alive

    def freeze(self) -> None:
        self.node.process.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.node.process.signal(signal.SIGCONT)

    def heal(self) -> None:
        """Take back what was done to its process, cable and filter; end its pulls. Idempotent."""
        self.station.hearing()
        self.station.plug()
        self._end_pulls()
        if self.alive:
            self.thaw()

    def move(self, addresses: Sequence[str]) -> None:
        """A pod that is made anew on its node: another address, the same id and data."""
        self.stop()
        self.station.take(addresses)

    def secrets(self, *secrets: str) -> None:
        """What its file of secrets holds, changed at once as a mounted secret is."""
        text = "".join(f"{secret}\n" for secret in secrets)
        if self.secret_file.exists() and self.secret_file.read_text() == text:
            return
        fresh = self.secret_file.with_suffix(".new")
        fresh.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(text)
        fresh.chmod(0o600)
        fresh.rename(self.secret_file)

    @property
    def secret_file(self) -> pathlib.Path:
        return self.node.folder / "secret"

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

    def asks_upstream(self) -> bool:
        """Whether it holds no origin for down; it has probed those that were."""
        with self.station.namespace.entered():
            samples = self.node.metrics()
        return all(value for (of, _), value in samples.items() if of == "nodecache_upstream_up")

    def events(self, name: str = "") -> list[dict[str, Any]]:
        return self.node.events(name)

    def pull(self, image: Image, *, direct: bool = False, fall_back: bool = True) -> Pull:
        """A pull that waits for ``go``: through the mirror, then the Hub; or the Hub alone."""
        hosts = [] if direct else [MIRROR]
        if direct or fall_back:
            hosts.append(self.hub)
        self._pulls.append(prepare(self.station, image, hosts))
        return self._pulls[-1]
