"""Network namespaces: made under a name of this run, entered by a thread, gone in the end.

A run that was killed leaves namespaces, processes in them and a folder. Each
run holds a lock on a file that names them; whoever finds the lock free sweeps.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import itertools
import os
import pathlib
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Self, TypeVar

import attrs

from tests.system.parts.processes import need, need_root, run

T = TypeVar("T")

_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000
_NAMESPACES = pathlib.Path("/run/netns")
_RESOLVERS = pathlib.Path("/etc/netns")
_RUNS = pathlib.Path("/run/nodecache-clusters")
_COUNT = itertools.count(1)


def _setns(fd: int) -> None:
    if _LIBC.setns(fd, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


@attrs.frozen
class Namespace:
    """One namespace under ``/run/netns``."""

    name: str

    def create(self, resolver: str = "") -> None:
        """Make it, with loopback; ``resolver`` is the text of its own resolv.conf."""
        folder = _RESOLVERS / self.name
        if resolver:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "resolv.conf").write_text(resolver)
        run(["ip", "netns", "add", self.name])
        self.ip("link set lo up")

    def argv(self, words: Sequence[str]) -> list[str]:
        """The command line that runs ``words`` inside, with its resolv.conf."""
        return ["ip", "netns", "exec", self.name, *words]

    def run(self, words: str) -> str:
        return run(self.argv(words.split()))

    def ip(self, words: str) -> str:
        return run(["ip", "-n", self.name, *words.split()])

    def tc(self, words: str) -> str:
        return run(["tc", "-n", self.name, *words.split()])

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """This thread is inside: its new sockets, threads and processes belong there.

        A socket stays where it was made, whoever uses it later.
        """
        with (
            open("/proc/thread-self/ns/net", "rb") as home,
            (_NAMESPACES / self.name).open("rb") as there,
        ):
            _setns(there.fileno())
            try:
                yield
            finally:
                _setns(home.fileno())

    def inside(self, job: Callable[[], T]) -> T:
        with self.entered():
            return job()

    def delete(self) -> None:
        """Kill what still runs inside, then take it away. Idempotent."""
        if (_NAMESPACES / self.name).exists():
            for pid in run(["ip", "netns", "pids", self.name]).split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            run(["ip", "netns", "del", self.name])
        shutil.rmtree(_RESOLVERS / self.name, ignore_errors=True)


@attrs.define
class Run:
    """The namespaces of one cluster of this process, all named ``prefix-…``.

    Use as a context: the folder and every namespace go in the end.
    """

    folder: pathlib.Path
    prefix: str = attrs.Factory(lambda: f"nc{os.getpid()}x{next(_COUNT)}")
    _lock: int = -1

    def __enter__(self) -> Self:
        need_root()
        need("ip", "tc", "iptables", "ip6tables")
        _RUNS.mkdir(exist_ok=True)
        sweep_stale()
        # Written and locked under another name first: a sweep must not find it unlocked.
        unborn = _RUNS / f".{self.prefix}"
        self._lock = os.open(unborn, os.O_CREAT | os.O_RDWR)
        os.write(self._lock, str(self.folder.absolute()).encode())
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        unborn.rename(_RUNS / self.prefix)
        return self

    def __exit__(self, *_: object) -> None:
        _sweep(_RUNS / self.prefix)
        os.close(self._lock)

    def namespace(self, name: str, resolver: str = "") -> Namespace:
        made = Namespace(f"{self.prefix}-{name}")
        made.create(resolver)
        return made


def sweep_stale() -> None:
    """Take away what runs left that ended without doing so."""
    for entry in _RUNS.glob("nc*"):
        with contextlib.suppress(OSError), entry.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _sweep(entry)


def _sweep(entry: pathlib.Path) -> None:
    for folder in (_NAMESPACES, _RESOLVERS):
        for one in sorted(folder.glob(f"{entry.name}-*")):
            Namespace(one.name).delete()
    shutil.rmtree(entry.read_text(), ignore_errors=True)
    entry.unlink()
