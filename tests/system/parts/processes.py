"""Child processes of the tests: started with a log, awaited by condition, stopped by id."""

from __future__ import annotations

import collections
import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")

#: Seconds in which anything of the tests must come about; generous, since a
#: machine may be busy, and never waited for in full on the good path.
PATIENCE = 60.0
#: Seconds between two looks at a condition.
POLL = 0.02
#: Ports that one run of the tests takes from, the next one last.
_BLOCK = 1000
_PORTS: collections.deque[int] = collections.deque()
_CLAIMS: list[socket.socket] = []


class MissingPart(Exception):
    """A program, a folder or a right that this machine does not give."""


class NotInTime(AssertionError):
    """What a test waited for did not come about."""


def until(condition: Callable[[], T | None], what: str, *, patience: float = PATIENCE) -> T:
    """The first value of ``condition`` that is true; NotInTime after ``patience`` seconds."""
    limit = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > limit:
            raise NotInTime(f"{what}: not within {patience:.0f} s")
        time.sleep(POLL)


def need(*programs: str) -> None:
    """Raise MissingPart for the first of ``programs`` that is not on the path."""
    for program in programs:
        if shutil.which(program) is None:
            raise MissingPart(f"{program} is not installed")


def need_root() -> None:
    if os.geteuid() != 0:
        raise MissingPart("root (namespaces, mounts and container runtimes need it)")


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on at ``host``, and that nobody is given by chance.

    They lie below those that the kernel gives to outgoing connections, and no two runs of the
    tests on one machine take from the same ones.
    """
    if not _PORTS:
        _PORTS.extend(_block())
    for _ in range(len(_PORTS)):
        _PORTS.rotate(-1)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((host, _PORTS[0]))
                return _PORTS[0]
    raise RuntimeError(f"no port is left at {host}")


def _block() -> range:
    """Ports that are this process's own: as long as it lives, it holds a name for them."""
    for first in range(10_000, 20_000, _BLOCK):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0nodecache-tests-ports-{first}")
        except OSError:
            claim.close()
            continue
        _CLAIMS.append(claim)
        return range(first, first + _BLOCK)
    raise RuntimeError("too many runs of the system ring at once")


def listens(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


class Child:
    """One process that a test started; its output goes to files in ``folder``."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        folder: pathlib.Path,
        *,
        env: Mapping[str, str] | None = None,
        cwd: pathlib.Path | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.out = folder / f"{name}.out"
        self.err = folder / f"{name}.err"
        with self.out.open("ab") as out, self.err.open("ab") as err:
            self.process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=None if env is None else {**os.environ, **env},
                cwd=cwd,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def tail(self, lines: int = 30) -> str:
        text = self.out.read_text(errors="replace") + self.err.read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def ready(self, condition: Callable[[], T | None], *, patience: float = PATIENCE) -> T:
        """Wait for ``condition``; fail with the child's last words if it died or is late."""

        def alive_and() -> T | None:
            if not self.alive:
                code = self.process.returncode
                raise AssertionError(f"{self.name} ended with {code}:\n{self.tail()}")
            return condition()

        try:
            return until(alive_and, f"{self.name} is ready", patience=patience)
        except NotInTime as late:
            raise NotInTime(f"{late}\n{self.tail()}") from None

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self, patience: float = PATIENCE) -> int:
        """The exit code, once it ended by itself."""
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            raise NotInTime(f"{self.name} ends within {patience:.0f} s\n{self.tail()}") from None

    def stop(self, patience: float = 15.0) -> None:
        """As ``end``."""
        end(self.process, patience)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def end(process: subprocess.Popen[bytes], patience: float = 15.0) -> None:
    """SIGTERM, then SIGKILL for it and for what is left of its session. Idempotent.

    ``process`` was started with a session of its own.
    """
    if process.poll() is None:
        process.terminate()
        process.send_signal(signal.SIGCONT)  # a test may have frozen it
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
    left = [*descendants(process.pid), *([process.pid] if process.poll() is None else [])]
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait(patience)


def descendants(session: int) -> list[int]:
    """Processes of a session, without its leader."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == session:
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(int(entry.name))
    return found


class CommandFailed(AssertionError):
    """A client's command ended with another code than 0."""

    def __init__(self, argv: Sequence[str], done: subprocess.CompletedProcess[str]) -> None:
        words = f"{done.stdout}\n{done.stderr}".strip()
        super().__init__(f"{' '.join(argv)} ended with {done.returncode}:\n{words}")
        self.output = words


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    patience: float = 2 * PATIENCE,
    shown: Sequence[str] = (),
) -> str:
    """What the command printed (stdout); CommandFailed, with all it said, when it failed.

    ``shown`` is named in the error in place of a command line full of wrappings.
    """
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=patience,
        check=False,
        env=None if env is None else {**os.environ, **env},
    )
    if done.returncode != 0:
        raise CommandFailed(shown or argv, done)
    return done.stdout


@contextlib.contextmanager
def all_stopped(parts: Iterable[Child]) -> Iterator[None]:
    try:
        yield
    finally:
        for part in parts:
            part.stop()
