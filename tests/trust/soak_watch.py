"""What the nodes of the soak need, read from outside, and the rules by which that is flat."""

from __future__ import annotations

import contextlib
import os
import pathlib
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import attrs

from tests.system.cluster.member import Member
from tests.system.parts.images import MIB
from tests.trust.soak_judge import Reading, Rule, Verdict, judge

#: Bytes that a node may store.
CAP: Final = 48 * MIB
#: What of the disk may be above that for a moment: fills under way, and files that are going.
ABOVE: Final = 24 * MIB

#: By figure, MiB and counts. The disk fills up to the cap: it is judged by its ceiling, and by
#: what no account holds.
RULES: Final = (
    Rule("memory, MiB", grows=8, ceiling=128),
    Rule("descriptors", grows=8, ceiling=400),
    Rule("threads", grows=2, ceiling=24),
    Rule("bodies and fetches", grows=0, ceiling=64),
    Rule("disk, MiB", grows=CAP / MIB, ceiling=(CAP + ABOVE) / MIB),
    Rule("of the disk in no account, MiB", grows=0.5, ceiling=(CAP + ABOVE) / MIB),
    Rule("files of the disk", grows=40, ceiling=3000),
    Rule("folders of tags of the disk", grows=40, ceiling=3000),
)
#: Seconds: in a shorter run what fills once still fills, and twice the growth is allowed.
SHORT: Final = 600.0
_FLOWS: Final = (
    "nodecache_open_bodies",
    "nodecache_fills_active",
    "nodecache_cache_reserved_bytes",
    "nodecache_cache_bytes",
)


def rules(length: float) -> tuple[Rule, ...]:
    """Of a run of ``length`` seconds."""
    if length >= SHORT:
        return RULES
    return tuple(attrs.evolve(rule, grows=2 * rule.grows) for rule in RULES)


@attrs.frozen
class Needs:
    """By name of the rule; ``reserved`` in bytes."""

    figures: Mapping[str, float]
    reserved: float

    @property
    def at_rest(self) -> bool:
        return self.figures["bodies and fetches"] == 0 and self.reserved == 0


def needs(member: Member) -> Needs:
    """Of a node that runs. Raises OSError where it does not."""
    process = pathlib.Path(f"/proc/{member.node.process.pid}")
    lines = (line.split() for line in (process / "status").read_text().splitlines())
    status = {words[0]: words[1] for words in lines if len(words) > 1}
    with member.station.namespace.entered():
        found = member.node.metrics()
    bodies, fills, reserved, booked = (
        sum(value for (of, _), value in found.items() if of == name) for name in _FLOWS
    )
    data = member.node.data_dir
    here = _on_disk(data)
    figures = {
        "memory, MiB": int(status["VmRSS:"]) / 1024,
        "descriptors": float(len(os.listdir(process / "fd"))),
        "threads": float(status["Threads:"]),
        "bodies and fetches": bodies + fills,
        "disk, MiB": here / MIB,
        "of the disk in no account, MiB": (here - booked) / MIB,
        "files of the disk": float(sum(len(names) for _, _, names in os.walk(data))),
        "folders of tags of the disk": float(sum(1 for _ in os.walk(data / "v1" / "tags"))),
    }
    return Needs(figures, reserved)


def _on_disk(data: pathlib.Path) -> int:
    """Bytes of the files that an account is kept of: each once, also one that moves meanwhile."""
    found = {}
    for path in (data / "v1").rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            seen = path.lstat()
            if stat.S_ISREG(seen.st_mode) and path.name != "running":
                found[seen.st_ino] = seen.st_blocks * 512
    return sum(found.values())


@attrs.define
class Watch:
    """Readings of all figures by process: the name of the node, and the number of its start.

    Disk outlives a process, so its readings are those of the node.
    """

    members: list[Member]
    now: Callable[[], float]
    rest: dict[tuple[str, str], list[Reading]] = attrs.Factory(dict)
    busy: dict[tuple[str, str], list[Reading]] = attrs.Factory(dict)
    _lives: dict[str, int] = attrs.Factory(dict)
    _over: threading.Event = attrs.Factory(threading.Event)

    def life(self, member: Member) -> str:
        return f"{member.id} #{self._lives.get(member.id, 1)}"

    def restarted(self, member: Member) -> None:
        self._lives[member.id] = self._lives.get(member.id, 1) + 1

    def look(self, member: Member, into: dict[tuple[str, str], list[Reading]]) -> Needs:
        life, at = self.life(member), self.now()
        seen = needs(member)
        for name, value in seen.figures.items():
            of = member.id if "disk" in name else life
            into.setdefault((name, of), []).append(Reading(at, value))
        return seen

    def run(self, every: float) -> None:
        """Look at all that run, until ``end``."""
        while not self._over.wait(every):
            for member in self.members:
                with contextlib.suppress(OSError, KeyError, StopIteration):
                    self.look(member, self.busy)

    def end(self) -> None:
        self._over.set()

    def verdicts(self, length: float) -> Iterator[Verdict]:
        """Of each process that lived through what is judged, by all rules; else by the ceiling."""
        for rule in rules(length):
            for name, of in sorted({*self.rest, *self.busy}):
                if name != rule.name:
                    continue
                rest, busy = self.rest.get((name, of), []), self.busy.get((name, of), [])
                most = max((one.value for one in (*rest, *busy)), default=0)
                if self._was_there_throughout(of) or most > rule.ceiling:
                    yield judge(rule, of, rest, busy, length)

    def _was_there_throughout(self, of: str) -> bool:
        """Of a node whose process was ended and begun again, only the disk is looked at so."""
        name, _, life = of.partition(" #")
        return not life or self._lives.get(name, 1) == 1
