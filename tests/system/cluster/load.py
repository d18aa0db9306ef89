"""How busy the machine's cores were: whether links or processors were measured."""

from __future__ import annotations

import os
import pathlib
import time

import attrs


def _ticks() -> list[int]:
    line = pathlib.Path("/proc/stat").read_text().splitlines()[0]
    return [int(word) for word in line.split()[1:9]]


@attrs.frozen
class Busy:
    """Shares of all cores together, 0 to 1, since ``Watch`` began."""

    seconds: float
    user: float
    system: float
    interrupts: float  # most of it packets on their way through the cables

    @property
    def total(self) -> float:
        return self.user + self.system + self.interrupts

    def __str__(self) -> str:
        return (
            f"{self.total:.0%} of {os.cpu_count()} cores"
            f" (programs {self.user:.0%}, kernel {self.system:.0%}, packets {self.interrupts:.0%})"
        )


@attrs.define
class Watch:
    """Runs from where it is made."""

    _began: float = attrs.Factory(time.monotonic)
    _ticks: list[int] = attrs.Factory(_ticks)

    def busy(self) -> Busy:
        spent = [now - then for now, then in zip(_ticks(), self._ticks, strict=True)]
        user, nice, system, _idle, _wait, irq, softirq = spent[:7]
        total = sum(spent) or 1
        seconds = time.monotonic() - self._began
        return Busy(seconds, (user + nice) / total, system / total, (irq + softirq) / total)
