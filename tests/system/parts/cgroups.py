"""Memory of a process as its cgroup counts it, without the page cache."""

from __future__ import annotations

import contextlib
import os
import pathlib
import threading
from collections.abc import Callable, Iterator, Sequence

import attrs

from tests.system.parts.processes import MissingPart

_ROOT = pathlib.Path("/sys/fs/cgroup")
#: Seconds between two looks.
_EVERY = 0.02


@contextlib.contextmanager
def polled(look: Callable[[], None]) -> Iterator[None]:
    """Call ``look`` again and again, in a thread, until the block ends."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_EVERY):
            look()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@attrs.define
class MemoryGroup:
    """A cgroup of its own, of either version; what is started by ``inside`` counts into it."""

    folder: pathlib.Path
    keys: Sequence[str]
    peak: int = 0

    def inside(self, argv: Sequence[str]) -> list[str]:
        """The command line that enters the group and then runs ``argv``."""
        return ["sh", "-c", f'echo $$ > {self.folder}/cgroup.procs; exec "$@"', "sh", *argv]

    def in_use(self) -> int:
        """Bytes in use now, without what only caches files."""
        lines = (self.folder / "memory.stat").read_text().splitlines()
        values = {name: int(value) for name, value in (line.split() for line in lines)}
        return sum(values.get(key, 0) for key in self.keys)

    def look(self) -> None:
        self.peak = max(self.peak, self.in_use())

    def watched(self) -> contextlib.AbstractContextManager[None]:
        """Keep ``peak`` up to date."""
        return polled(self.look)


@contextlib.contextmanager
def memory_group() -> Iterator[MemoryGroup]:
    """A new group, removed in the end; MissingPart where none can be made."""
    for base, keys in (
        (_ROOT / "memory", ("rss", "kernel_stack", "slab")),
        (_ROOT, ("anon", "kernel_stack", "slab_unreclaimable", "sock")),
    ):
        folder = base / f"nodecache-tests-{os.getpid()}"
        if not (base / "cgroup.procs").exists():
            continue
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            if (folder / "memory.stat").exists():
                yield MemoryGroup(folder, keys)
                return
        finally:
            folder.rmdir()
    raise MissingPart("a memory cgroup that may be written")
