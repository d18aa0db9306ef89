"""What a crew needs of its fill."""

from __future__ import annotations

from typing import Protocol


class Intake(Protocol):
    """Where a crew's bytes go, and who hears of its end."""

    def received(self, offset: int, data: bytes) -> None:
        """New bytes, each of them once."""
        ...

    def sized(self, total: int) -> None:
        """The size of the blob became known."""
        ...

    def all_received(self) -> None:
        """Every byte has come."""
        ...

    def broken(self, error: Exception) -> None:
        """The sources give no more."""
        ...
