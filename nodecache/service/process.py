"""What belongs to the process and not to the node: descriptors, umask, signals."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from nodecache.limits import MIB

#: Two descriptors for each body, one for each client and upstream connection.
_DESCRIPTORS = 65536
#: Of glibc (malloc.h): what is kept at the end of the heap, from where on a block is
#: mapped by itself, and how many heaps there may be.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_KEPT: Final = 8 * MIB
_MAPPED: Final = 4 * MIB


def prepare() -> int:
    """Raise the descriptor limit as far as allowed, close files to others, keep buffers.

    Returns the number of descriptors that may be open.
    """
    os.umask(0o077)
    keep_buffers()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def keep_buffers() -> bool:
    """Let the heap keep the pages of buffers that come and go with each read of a socket.

    By itself glibc gives them back and asks for them again: measured, 70,000 to
    108,000 page faults for each GiB that is fetched, and 5,000 so. It also makes a
    heap for each of the first threads, so that what one of them frees is of no use
    to the others: one is enough where a lock lets one of them run at a time.
    Whether the C library takes that: musl has its own ways. Before any thread.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        wanted = ((_M_TRIM_THRESHOLD, _KEPT), (_M_MMAP_THRESHOLD, _MAPPED), (_M_ARENA_MAX, 1))
        return all(library.mallopt(*each) for each in wanted)
    return False


def collect_from_here() -> None:
    """What the start has made stays for good: the collector never looks through it again."""
    gc.freeze()
    gc.enable()


def on_signal(number: int, reactor: Any, then: Callable[[], None]) -> None:
    """Call ``then`` in the reactor's thread, a turn after the signal came."""

    def caught(_number: int, _frame: FrameType | None) -> None:
        reactor.callFromThread(then)

    signal.signal(number, caught)
