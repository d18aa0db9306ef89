"""A node that has what befalls nodes among their peers, and a defect.

It finds its peers by a name, over DNS that can be ended; its one peer can die, or send wrong
bytes; its clock can be put ahead, so that nobody has to wait for what takes ten minutes; and its
code fails in a way that nothing foresees once a certain image is asked for.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import pathlib
import sys

import attrs

from nodecache.rendezvous import Roster
from tests.cluster_case import free_port
from tests.system.parts.images import Image
from tests.system.parts.node import Node
from tests.system.parts.processes import Child, need, need_root, until

_SOURCE = pathlib.Path(__file__).parents[3]
#: The image that the code fails at.
DEFECT = "library/defect"
NAME = "peers.lost.test"
_HERE, _PEER, _DNS = "127.83.0.2", "127.83.0.3", "127.83.0.53"
#: Seconds that the clock is put ahead by.
AHEAD = 700

_STRANGE = """\
import os
import time

import nodecache.reference

then, parse = time.monotonic, nodecache.reference.parse_path


def now():
    return then() + {ahead} * os.path.exists({later!r})


def parse_path(raw):
    if {defect!r} in raw:
        raise ZeroDivisionError("a defect")
    return parse(raw)


time.monotonic = now
nodecache.reference.parse_path = parse_path
"""
_BRISK = """\
[timeouts]
peer_greet = '1s'
peer_resolve = '1s'
"""
#: Runs a command with other settings of the resolver.
_RESOLVING = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'


@attrs.define
class Lost:
    """``start`` it; ``stop`` is owed. ``image`` has a blob that its peer is to have fetched."""

    folder: pathlib.Path
    upstream: str
    image: Image
    port: int = attrs.Factory(free_port)
    node: Node = attrs.field(init=False)
    names: Child | None = None
    peer: Child | None = None
    _starts: int = 0

    def __attrs_post_init__(self) -> None:
        """Raises MissingPart."""
        need("dnsmasq", "unshare")
        need_root()
        flags = {
            "peers": f"{NAME}:{self.port}",
            "peer-listen": f"{_HERE}:{self.port}",
            "peer-secret-file": str(self.folder / "secret"),
            "node-address": _HERE,
            "node-id": "lost",
            "tag-ttl": "0s",
        }
        self.node = Node(
            self.folder / "node",
            self.upstream,
            flags,
            _BRISK,
            port=free_port(),
            admin_port=free_port(),
        )

    def launch(self) -> None:
        """All of it, without waiting for the node."""
        self.folder.mkdir(parents=True)
        (self.folder / "secret").write_text("a secret that is long enough\n")
        self._answer_names()
        self.start_peer()
        resolver = self.folder / "resolv.conf"
        resolver.write_text(f"nameserver {_DNS}\n")
        strange = self.folder / "strange"
        strange.mkdir()
        text = _STRANGE.format(ahead=AHEAD, later=str(self._later), defect=DEFECT.encode())
        (strange / "sitecustomize.py").write_text(text)
        self.node.before = ("unshare", "--mount", "sh", "-c", _RESOLVING, str(resolver))
        self.node.env["PYTHONPATH"] = f"{strange}:{_SOURCE}"
        self.node.launch()

    def stop(self) -> None:
        self.node.close()
        for child in (self.peer, self.names):
            if child is not None:
                child.stop()

    # Its peer.

    def start_peer(self, *lies: str) -> None:
        """It has all of the image's blobs; ``lies`` are those of ``tests.fakes_peer``."""
        blobs = self.folder / "blobs"
        blobs.mkdir(exist_ok=True)
        for blob in self.image.manifest.all_blobs():
            (blobs / blob.digest.partition(":")[2]).write_bytes(b"".join(blob.chunks()))
        argv = [sys.executable, "-m", "tests.fakes_peer", "--port", str(self.port)]
        argv += ["--interface", _PEER, "--id", self._owner(), "--blob-dir", str(blobs)]
        argv += ["--secret-file", str(self.folder / "secret"), "--what", "blob"]
        argv += [word for lie in lies for word in ("--fault", lie)]
        self._starts += 1
        path = f"{_SOURCE}"
        child = Child(
            f"peer{self._starts}", argv, self.folder, env={"PYTHONPATH": path}, cwd=_SOURCE
        )
        self.peer = child
        child.ready(lambda: "listening" in child.out.read_text())

    def kill_peer(self) -> None:
        """Until the node has found out."""
        assert self.peer is not None
        self.peer.stop()
        self.knows(0)

    @property
    def digest(self) -> str:
        """Of the blob that the peer owns."""
        return self.image.manifest.blobs[-1].digest

    def _owner(self) -> str:
        """A name of the peer by which it has to fetch the blob."""
        names = (f"peer-{number}" for number in itertools.count())
        key = f"{self.digest}/0"
        return next(one for one in names if Roster(["lost", one]).rank(key, 1) == (one,))

    def ask_for_it(self) -> None:
        """The blob, until the node finds that its peer's bytes are wrong.

        A peer that is slow on a busy machine is not waited for, and the blob comes from upstream.
        """
        until(self._finds_out, "the node has wrong bytes of its peer")

    def _finds_out(self) -> bool:
        for path in self.node.data_dir.rglob(f"blobs/**/{self.digest.partition(':')[2]}"):
            path.unlink()
        # Wrong bytes may be cut off.
        with contextlib.suppress(http.client.IncompleteRead, ConnectionResetError):
            self.node.ask(f"/v2/{self.image.name}/blobs/{self.digest}")
        return self.node.metric("nodecache_peer_suspected_total", whose="theirs") > 0

    # Names, and time.

    def _answer_names(self) -> None:
        words = [
            *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv"),
            *("--no-hosts", "--user=root", "--log-facility=-", "--bind-interfaces"),
            *(f"--listen-address={_DNS}", f"--pid-file={self.folder}/dnsmasq.pid"),
            *(f"--host-record={NAME},{_HERE}", f"--host-record={NAME},{_PEER}"),
        ]
        self.names = Child("dnsmasq", words, self.folder)

    def end_names(self) -> None:
        """Nobody answers questions for names any more."""
        assert self.names is not None
        self.names.stop()

    @property
    def _later(self) -> pathlib.Path:
        return self.folder / "later"

    def put_ahead(self) -> None:
        """Its clock, by ``AHEAD`` seconds; once."""
        self._later.touch()

    def knows(self, live: int) -> None:
        """Until it asks so many peers."""
        until(lambda: self.node.metric("nodecache_peers_live") == live, f"it asks {live} peers")
