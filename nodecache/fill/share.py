"""What flights that only peers asked for may take of the disk, all of them together. Pure."""

from __future__ import annotations

from collections.abc import Callable

from nodecache.failures import NoRoom


class Share:
    """``most`` tells the bytes there are for all; ``taken`` are those that are claimed."""

    def __init__(self, most: Callable[[], int]) -> None:
        self.taken = 0
        self._most = most

    def claim(self, size: int) -> None:
        """Owes ``give_back`` of as much. Raises NoRoom."""
        if self.taken + size > self._most():
            raise NoRoom(f"no room for {size} bytes more that only peers want")
        self.taken += size

    def give_back(self, size: int) -> None:
        self.taken -= size
