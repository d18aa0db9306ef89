"""What stands side by side: each cache on a folder of its own, before the same upstream."""

from __future__ import annotations

import os
import pathlib
import shutil
import sys
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import urlsplit

import attrs

from bench.parts.nginx import Nginx
from tests.system.parts.node import Node
from tests.system.parts.processes import Child, MissingPart, free_port, listens
from tests.system.parts.registry import DockerRegistry, pull_through

_CACHING = """\
    proxy_cache_path {folder}/cache levels=1:2 keys_zone=c:10m max_size=200g inactive=7d
        use_temp_path=off;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = /status {{ stub_status; }}
        location / {{
            proxy_pass {upstream};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_cache c;
            proxy_cache_valid 200 7d;
            proxy_cache_lock on;
            proxy_cache_lock_age 10m;
            proxy_cache_lock_timeout 10m;
        }}
    }}
"""

_DRAYAGE = """\
listen = "127.0.0.1:{port}"
cache_dir = "{folder}/cache"
[upstreams.docker_io]
registry = "{upstream}"
"""


class Part(Protocol):
    """A program that is started and stopped; ``port`` is on loopback."""

    @property
    def port(self) -> int: ...
    @property
    def child(self) -> Child | None: ...
    def start(self) -> object: ...
    def stop(self) -> object: ...


@attrs.define
class Cache:
    """``kept`` is where a blob is once it is stored, by the hex digits of its digest."""

    name: str
    part: Part
    kept: Callable[[str], pathlib.Path] | None = None

    def start(self) -> None:
        self.part.start()

    def stop(self) -> None:
        """Idempotent."""
        if self.part.child is not None and self.part.child.alive:
            self.part.stop()

    @property
    def child(self) -> Child:
        assert self.part.child is not None
        return self.part.child

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.part.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.part.port}"

    def file_of(self, digest: str) -> pathlib.Path | None:
        return None if self.kept is None else self.kept(digest.partition(":")[2])


Maker = Callable[[pathlib.Path, str], Cache]


def nodecache(folder: pathlib.Path, upstream: str, **settings: Any) -> Cache:
    node = Node(folder, f"docker.io={upstream}", **settings)
    blobs = node.data_dir / "v1/blobs/sha256"
    return Cache("nodecache", node, lambda name: blobs / name[:2] / name)


def stored(at: DockerRegistry, name: str) -> pathlib.Path:
    """The file in which docker-registry has the blob of these hex digits."""
    return at.storage / f"docker/registry/v2/blobs/sha256/{name[:2]}/{name}/data"


def registry(folder: pathlib.Path, upstream: str) -> Cache:
    """The usual pull-through cache."""
    part = pull_through(folder, upstream)
    return Cache("registry", part, lambda name: stored(part, name))


def caching_nginx(folder: pathlib.Path, upstream: str) -> Cache:
    port = free_port()
    text = _CACHING.format(folder=folder, port=port, upstream=upstream)
    return Cache("proxy_cache", Nginx(folder, "127.0.0.1", port, text))


@attrs.define
class _Program:
    """Runs until it is told to stop; its start says what it is."""

    folder: pathlib.Path
    upstream: str
    port: int = attrs.Factory(free_port)
    child: Child | None = None

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop()


@attrs.define
class Drayage(_Program):
    """A pull-through cache in Rust; on the path, or beside the interpreter."""

    def start(self) -> None:
        beside = os.path.dirname(sys.executable)
        program = shutil.which("drayage") or shutil.which("drayage", path=beside)
        if program is None:
            raise MissingPart("drayage is not installed")
        (self.folder / "cache").mkdir(parents=True, exist_ok=True)
        config = self.folder / "drayage.toml"
        text = _DRAYAGE.format(port=self.port, folder=self.folder, upstream=self.upstream)
        config.write_text(text)
        self.child = Child("drayage", [program, "serve", "-c", str(config)], self.folder)
        self.child.ready(lambda: listens("127.0.0.1", self.port))


def drayage(folder: pathlib.Path, upstream: str) -> Cache:
    return Cache("drayage", Drayage(folder, upstream))


@attrs.define
class Bare(_Program):
    """As little as can be done (bench/parts/bare.py): what is possible at all on this machine."""

    def start(self) -> None:
        asked = urlsplit(self.upstream)
        words = [str(self.port), str(self.folder), str(asked.port), str(asked.hostname)]
        argv = [sys.executable, "-m", "bench.parts.bare", *words]
        self.child = Child("bare", argv, self.folder, cwd=pathlib.Path(__file__).parents[2])
        self.child.ready(lambda: listens("127.0.0.1", self.port))


def bare(folder: pathlib.Path, upstream: str) -> Cache:
    return Cache("bare", Bare(folder, upstream), lambda name: folder / name)
