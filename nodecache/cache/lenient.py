"""A disk that fails is told of, and is no reason to fail."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from nodecache.events import DiskFailed
from nodecache.failures import NoRoom, StoreFailure
from nodecache.seams import Observe

T = TypeVar("T")


async def if_possible(observe: Observe, operation: str, attempt: Awaitable[T]) -> T | None:
    """What ``attempt`` yields; None where the disk can not do it. ``operation`` is for the log."""
    try:
        return await attempt
    except NoRoom:
        # Being full is a state, not a fault; the size of the cache tells of it.
        return None
    except StoreFailure as failure:
        observe(DiskFailed(operation=operation, reason=str(failure)))
        return None
