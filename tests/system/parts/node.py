"""The product: ``python -m nodecache serve`` as a child process, asked over its two ports."""

from __future__ import annotations

import http.client
import json
import os
import pathlib
import signal
import sys
from collections.abc import Mapping
from typing import Any, Self

import attrs
from prometheus_client.parser import text_string_to_metric_families

import nodecache
from tests.system.parts.cgroups import MemoryGroup
from tests.system.parts.processes import Child, free_port

_SOURCE = pathlib.Path(nodecache.__file__).parent.parent


@attrs.frozen
class Reply:
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @property
    def source(self) -> str:
        return self.headers.get("nodecache-source", "")


@attrs.define
class Node:
    """One node. ``flags`` are long options without dashes; ``toml`` is its file's text."""

    folder: pathlib.Path
    upstream: str
    flags: dict[str, str] = attrs.Factory(dict)
    toml: str = ""
    env: dict[str, str] = attrs.Factory(dict)
    group: MemoryGroup | None = None
    before: tuple[str, ...] = ()  # a command line that runs another one
    port: int = attrs.Factory(free_port)
    admin_port: int = attrs.Factory(free_port)
    child: Child | None = None
    _starts: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def data_dir(self) -> pathlib.Path:
        return self.folder / "data"

    @property
    def config(self) -> pathlib.Path:
        return self.folder / "nodecache.toml"

    def argv(self) -> list[str]:
        settings = {
            "config": str(self.config),
            "data-dir": str(self.data_dir),
            "listen": f"127.0.0.1:{self.port}",
            "admin-listen": f"127.0.0.1:{self.admin_port}",
            # The machine's disk may be fuller than a node's should be.
            "min-free": "256MiB",
            "log-format": "json",
            **({"upstream": self.upstream} if self.upstream else {}),
            **self.flags,
        }
        words = [f"--{name}={value}" for name, value in settings.items() if value]
        return [*self.before, sys.executable, "-m", "nodecache", "serve", *words]

    def launch(self) -> Child:
        """Start the process without waiting for anything."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(self.toml)
        self._starts += 1
        argv = self.group.inside(self.argv()) if self.group else self.argv()
        # No proxy of the machine's own may stand between the node and the tests' Hub.
        clean = dict.fromkeys((name for name in os.environ if name.lower().endswith("_proxy")), "")
        env = {**clean, "PYTHONPATH": str(_SOURCE), "PYTHONUNBUFFERED": "1", **self.env}
        self.child = Child(f"node-{self._starts}", argv, self.folder, env=env, cwd=self.folder)
        return self.child

    def start(self) -> Self:
        """Start it and wait until it says that it is ready."""
        self.launch().ready(self.is_ready)
        return self

    def is_ready(self) -> bool:
        try:
            return self.admin("/readyz").status == 200
        except OSError:
            return False

    @property
    def process(self) -> Child:
        assert self.child is not None, "the node was not started"
        return self.child

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.signal(signal.SIGTERM)
        return self.process.wait()

    def kill(self) -> None:
        """SIGKILL: what a power loss leaves, but for the page cache."""
        self.process.signal(signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        if self.child is not None:
            self.child.stop()

    def ask(
        self, path: str, method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> Reply:
        """One request to the mirror, on a connection of its own."""
        return _ask(self.port, path, method, headers or {})

    def admin(self, path: str) -> Reply:
        return _ask(self.admin_port, path, "GET", {})

    def metrics(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Every sample of ``/metrics`` by name and labels."""
        text = self.admin("/metrics").body.decode()
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def metric(self, name: str, **labels: str) -> float:
        """Sum of the samples of ``name`` that have ``labels`` among theirs."""
        wanted = frozenset(labels.items())
        return sum(
            value for (of, has), value in self.metrics().items() if of == name and wanted <= has
        )

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """The JSON log of the last start, or the events of one name in it."""
        lines = [*self.process.out.read_text().splitlines(), *self.words.splitlines()]
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [event for event in found if not name or event.get("event") == name]

    @property
    def words(self) -> str:
        """What it wrote to stderr since its last start."""
        return self.process.err.read_text()

    def peak_memory(self) -> int:
        """VmHWM: most bytes that were resident at once since the start."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024


def _ask(port: int, path: str, method: str, headers: Mapping[str, str]) -> Reply:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, headers=dict(headers))
        answer = connection.getresponse()
        named = {name.lower(): value for name, value in answer.getheaders()}
        return Reply(answer.status, named, answer.read())
    finally:
        connection.close()
