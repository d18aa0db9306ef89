"""How much one body may send when it is its turn (``lane``), by how many others want theirs."""

from __future__ import annotations

from typing import Final

from nodecache.limits import KIB, MIB

#: Bytes of one write, and of one sendfile call where many send: a client's share of
#: memory and of a turn. Measured: with eight clients 1 MiB sends no faster and doubles
#: the others' wait.
PIECE: Final = 256 * KIB
#: Bytes that the bodies send while each has a turn. One alone spares three turns of four.
TURN: Final = 1 * MIB

#: Seconds. A body alone goes on until so much of its turn is over. Its socket has more to send then
#: when its client is at work, and is looked at less often: measured, a warm GiB costs 1.2 times the
#: processor time of nginx, and with one call a turn 1.3 to 1.5.
LONG: Final = 0.002


class Turn:
    """``enter`` and ``leave`` belong together."""

    def __init__(self) -> None:
        self._senders = 0

    def enter(self) -> None:
        self._senders += 1

    def leave(self) -> None:
        self._senders -= 1

    def lasts(self, seconds: float) -> bool:
        """Whether one that has sent for so long may go on."""
        return self._senders <= 1 and seconds < LONG

    @property
    def share(self) -> int:
        """Bytes that one of them may send now."""
        return max(PIECE, TURN // max(1, self._senders))
