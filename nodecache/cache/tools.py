"""What the rooms of one cache have in common."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.interfaces import IReactorTime

from nodecache.cache.policy import Policy
from nodecache.cache.ports import Fills, Shelves
from nodecache.limits import Limits, Timeouts
from nodecache.seams import Observe, WallClock


@attrs.frozen
class Tools:
    """``policy`` is read anew for each question."""

    shelves: Shelves
    fills: Fills
    policy: Callable[[], Policy]
    clock: IReactorTime
    wall: WallClock
    observe: Observe
    limits: Limits
    timeouts: Timeouts
