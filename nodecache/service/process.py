"""What belongs to the process and not to the node: descriptors, umask, signals."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

#: Two descriptors for each body, one for each client and upstream connection.
_DESCRIPTORS = 65536


def prepare() -> int:
    """Raise the descriptor limit as far as allowed and close files to others.

    Returns the number of descriptors that may be open.
    """
    os.umask(0o077)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def on_signal(number: int, reactor: Any, then: Callable[[], None]) -> None:
    """Call ``then`` in the reactor's thread, a turn after the signal came."""

    def caught(_number: int, _frame: FrameType | None) -> None:
        reactor.callFromThread(then)

    signal.signal(number, caught)
