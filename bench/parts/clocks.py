"""Processor time and memory of processes, when they are idle, and what others take."""

from __future__ import annotations

import contextlib
import os
import pathlib
import resource
import time
from collections.abc import Sequence

import attrs

from tests.system.parts.processes import Child, descendants


def processor_seconds(pid: int) -> float:
    """Of one process with all its threads so far (its clock as clock_getcpuclockid(3) has it)."""
    return time.clock_gettime((~pid << 3) | 2)


def used_by(child: Child) -> float:
    """Processor seconds of the child and of its children that live."""
    total = 0.0
    for pid in (child.pid, *descendants(child.pid)):
        with contextlib.suppress(OSError):
            total += processor_seconds(pid)
    return total


def peak_memory(pid: int) -> int:
    """VmHWM, bytes."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    line = next(line for line in text.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def forget_peak(pid: int) -> None:
    """Count VmHWM anew from what is resident now (proc(5), clear_refs)."""
    pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def settled(child: Child, awaited: pathlib.Path | None = None) -> float:
    """When the child last did something, once that was a second ago and ``awaited`` is there."""
    moved, used = time.monotonic(), used_by(child)
    while time.monotonic() - moved < 1:
        time.sleep(0.05)
        now, waits = used_by(child), awaited is not None and not awaited.exists()
        # An idle process wakes up for its timers, a working one works, or waits for the disk.
        if now - used > 0.003 or waits:
            moved = time.monotonic()
        used = now
    return moved


def machine_seconds() -> tuple[float, float]:
    """Busy, and all: seconds of all processors since the machine started."""
    with open("/proc/stat", encoding="ascii") as file:
        fields = [int(word) for word in file.readline().split()[1:9]]
    tick = os.sysconf("SC_CLK_TCK")
    return (sum(fields) - fields[3] - fields[4]) / tick, sum(fields) / tick


@attrs.define
class Others:
    """How much of the machine others take, besides us and what we started."""

    children: Sequence[Child]
    _before: tuple[float, float, float] = (0, 0, 0)

    def _ours(self) -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        total = time.process_time() + used.ru_utime + used.ru_stime
        for child in self.children:
            if child.alive:
                total += used_by(child)
        return total

    def begin(self) -> None:
        self._before = (*machine_seconds(), self._ours())

    def share(self) -> float:
        """Since ``begin``; the kernel's own threads count as others."""
        now = (*machine_seconds(), self._ours())
        busy, everything, ours = (b - a for a, b in zip(self._before, now, strict=True))
        return max(0.0, busy - ours) / max(everything, 0.01)
