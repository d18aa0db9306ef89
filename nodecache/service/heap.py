"""What the C library keeps of memory that was given back, and when the kernel gets it.

A fetch is made of buffers of up to a megabyte, and what lives longer comes to
lie between them: a manifest, a record of what was pulled. So the heap is full
of holes, and pages that nobody uses stay with the process: measured, 29 MiB
after 4,500 requests of clients, while what was in use grew by half a MiB. Now
and then these pages are given back. What the next fetches take of them costs a
page fault each: some thousand, once in ``EVERY``.
"""

from __future__ import annotations

import contextlib
import ctypes
import time
from collections.abc import Callable
from typing import Final

#: Seconds between two times.
EVERY: Final = 60.0
#: Seconds of a processor without which nothing was done that would leave pages behind.
WORK: Final = 0.1


def give_back() -> bool:
    """Whole pages between what is in use. Blocks for some milliseconds.

    Whether there were any; musl has no such call.
    """
    with contextlib.suppress(OSError, AttributeError):
        return bool(ctypes.CDLL(None).malloc_trim(ctypes.c_size_t(0)))
    return False


class Heap:
    """``look`` is owed now and then; ``now`` is monotonic seconds.

    ``used`` are the seconds of a processor that this process has used, ``give``
    is what is done about the heap.
    """

    def __init__(
        self,
        now: float,
        used: Callable[[], float] = time.process_time,
        give: Callable[[], object] = give_back,
    ) -> None:
        self._used = used
        self._give = give
        self._due = now + EVERY
        self._used_before = used()

    def look(self, now: float) -> None:
        """Give pages back, if it is time to and anything was done since."""
        if now < self._due:
            return
        self._due = now + EVERY
        used = self._used()
        if used - self._used_before >= WORK:
            self._give()
            self._used_before = self._used()
