"""One descriptor that a flight and its readers share."""

from __future__ import annotations

from collections.abc import Callable


class SharedFile:
    """``fd`` is valid while anybody holds it; ``dispose`` closes it, once, behind the last.

    Whoever makes it is the first holder.
    """

    def __init__(self, fd: int, dispose: Callable[[int], object]) -> None:
        self.fd = fd
        self._dispose = dispose
        self._holders = 1

    def hold(self) -> SharedFile:
        """One more holder, who owes one ``release``."""
        assert self._holders, "the file is closed"
        self._holders += 1
        return self

    def release(self) -> None:
        self._holders -= 1
        if not self._holders:
            self._dispose(self.fd)
