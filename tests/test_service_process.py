"""What a node changes of its process."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_FAULTS = """
import resource
from nodecache.service.process import keep_buffers

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        blocks = [b"x" * 262144 for _ in range(16)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

kept = keep_buffers()
faults()
print(kept, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_buffers_that_come_and_go_keep_their_pages() -> None:
    """Each round asks for 4 MiB: without, its thousand pages would be asked for anew."""
    done = subprocess.run(
        [sys.executable, "-c", _FAULTS], capture_output=True, text=True, check=True, timeout=60
    )
    kept, faults = done.stdout.split()
    assert kept == "True"
    assert int(faults) < 1000


_COLLECTS = """
import gc
from nodecache.service.process import collect_from_here

gc.disable()
class Ring: pass
made = [Ring() for _ in range(1000)]
collect_from_here()
print(gc.isenabled(), any(isinstance(each, Ring) for each in gc.get_objects()))
"""


def test_a_node_that_serves_collects_again_but_for_what_its_start_made() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _COLLECTS], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["True", "False"]
