"""What a node needs does not grow with what it has done."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import sys
import tracemalloc

import pytest

from nodecache.cache.descriptors import named
from nodecache.cache.hot import HotManifests, Known
from nodecache.limits import MIB
from nodecache.reference import Digest
from nodecache.service import heap
from nodecache.service.heap import EVERY, WORK, Heap
from nodecache.store import StoredManifest
from tests.fakes_client import until
from tests.node_case import NodeCase, reactor

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")


def _told(script: str) -> list[str]:
    """What a process of its own prints, whose heap nobody else has used."""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.split()


_HOLES = """
from nodecache.service.heap import give_back
from nodecache.service.process import keep_buffers

def pages():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])

keep_buffers()
buffers = [b"x" * 262144 for _ in range(128)]
before = pages()
del buffers[::2]  # 16 MiB, and between them what stays
freed = pages()
print(before - freed, give_back(), before - pages())
"""


@glibc
def test_pages_between_what_is_in_use_go_back_to_the_kernel() -> None:
    """By themselves they do not: that is what grew."""
    freed, given, gone = _told(_HOLES)
    assert int(freed) < 1000
    assert given == "True"
    assert int(gone) > 3000


_THREADS = """
import ctypes, sys, threading
from nodecache.service.process import keep_buffers

keep_buffers()
begun = threading.Barrier(5)
def work():
    held = [b"x" * 20_000 for _ in range(20)]
    begun.wait()  # each has its memory while all others have theirs
    del held
threads = [threading.Thread(target=work) for _ in range(4)]
for each in threads:
    each.start()
begun.wait()
for each in threads:
    each.join()
library = ctypes.CDLL(None)
out = ctypes.c_void_p.in_dll(library, "stdout")
library.malloc_info(0, out)
library.fflush(out)
"""


@glibc
def test_all_threads_share_one_heap() -> None:
    """So that what one of them frees serves the others."""
    words = _told(_THREADS)
    assert words.count("<heap") == 1


class Watched:
    """A heap of a process whose processor time the test sets."""

    def __init__(self) -> None:
        self.used, self.given = 0.0, 0
        self.heap = Heap(100.0, lambda: self.used, self.give)

    def give(self) -> None:
        self.given += 1

    def looked(self, at: float, used: float) -> int:
        """How often pages were given back in all."""
        self.used = used
        self.heap.look(100.0 + at)
        return self.given


def test_pages_are_given_back_once_in_a_while_by_a_node_that_works() -> None:
    node = Watched()
    assert node.looked(EVERY - 1, 50) == 0
    assert node.looked(EVERY, 51) == 1
    assert node.looked(EVERY + 1, 60) == 1
    assert node.looked(2 * EVERY, 80) == 2


def test_a_node_that_rests_leaves_the_heap_alone() -> None:
    node = Watched()
    assert node.looked(EVERY, WORK / 2) == 0
    assert node.looked(9 * EVERY, WORK / 2) == 0


def test_little_work_adds_up() -> None:
    """A node that hardly does anything still gives back what that left behind."""
    node = Watched()
    assert node.looked(EVERY, WORK * 0.6) == 0
    assert node.looked(2 * EVERY, WORK * 1.2) == 1
    assert node.looked(3 * EVERY, WORK * 1.8) == 1


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _known(number: int, layers: int) -> Known:
    """A manifest as upstream might send it, of layers that no other has."""
    sizes = enumerate(range(1000, 1000 + layers))
    layer = [{"digest": _digest(b"%d %d" % (number, at)), "size": size} for at, size in sizes]
    body = json.dumps({"schemaVersion": 2, "layers": layer}, indent=2).encode()
    return Known(StoredManifest(Digest.parse(_digest(body)), "a/b", body), named(body))


@pytest.mark.parametrize("layers", [1, 5, 30])
def test_hot_manifests_take_the_memory_that_they_may(layers: int) -> None:
    """Of small ones what is known of them takes more than their bodies do."""
    hot = HotManifests(MIB)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(1500):
            hot.put(_known(number, layers), 0.0)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.6 * MIB < after - before < 1.3 * MIB
    assert hot.used <= MIB


class GrowthOfANode(NodeCase):
    async def test_the_heap_is_looked_after_while_the_node_runs(self) -> None:
        looks: list[float] = []
        self.patch(heap.Heap, "look", lambda _, now: looks.append(now))
        await self.start()
        await until(reactor, lambda: len(looks) > 1)
        assert looks == sorted(looks)
