"""What a run found, as JSON and as tables in a document."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import attrs

from bench.core.bars import Verdict
from bench.core.samples import Spread


@attrs.frozen(kw_only=True)
class Outcome:
    """One row of the run, on the day ``on`` (ISO 8601).

    ``others`` is the share of the machine that other programs took.
    """

    key: str
    title: str
    figures: Mapping[str, Mapping[str, Sequence[float]]]
    verdicts: tuple[Verdict, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    others: float = 0.0
    on: str = ""
    failed: str = ""

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Self:
        verdicts = [
            Verdict(one["text"], one["limit"], tuple(one["values"]), one["met"], one["worst"])
            for one in told["verdicts"]
        ]
        return cls(**{**told, "verdicts": tuple(verdicts), "notes": tuple(told["notes"])})


@attrs.frozen(kw_only=True)
class Report:
    """``machine`` in words by what it is; ``missing`` is what could not be had, and why."""

    machine: Mapping[str, str]
    outcomes: tuple[Outcome, ...]
    missing: Mapping[str, str] = attrs.Factory(dict)

    def written(self) -> str:
        return json.dumps(attrs.asdict(self), indent=1) + "\n"

    @classmethod
    def read(cls, text: str) -> Self:
        told = json.loads(text)
        outcomes = tuple(Outcome.read(one) for one in told["outcomes"])
        return cls(machine=told["machine"], outcomes=outcomes, missing=told["missing"])

    def joined(self, later: Report) -> Report:
        """The rows of both, in order; the later one's where both have one."""
        newer = {one.key: one for one in later.outcomes}
        kept = [newer.pop(one.key, one) for one in self.outcomes]
        missing = {**self.missing, **later.missing}
        return Report(machine=later.machine, outcomes=(*kept, *newer.values()), missing=missing)

    def below(self) -> Iterator[str]:
        """Each bar that was not reached, and each row that failed, in words."""
        for one in self.outcomes:
            if one.failed:
                yield f"{one.title}: failed: {one.failed}"
            for verdict in one.verdicts:
                if verdict.met is False:
                    yield f"{one.title}: {verdict.text}: {verdict.result}, {verdict.limit}"


def bars_table(report: Report) -> str:
    """One line for each bar."""
    lines = ["| work | what | bar | result | |", "|---|---|---|---|---|"]
    for one in report.outcomes:
        title = one.title
        for verdict in one.verdicts:
            cells = (title, verdict.text, verdict.limit, verdict.result, verdict.word)
            lines.append(f"| {' | '.join(cells)} |")
            title = ""
        if one.failed:
            lines.append(f"| {one.title} | | | {one.failed} | FAILED |")
    return "\n".join(lines) + "\n"


def figures_table(report: Report) -> str:
    """Every series: median, least and most; and what was noted."""
    lines = ["| work | who | what | median (least to most) | rounds |", "|---|---|---|---|---|"]
    for one in report.outcomes:
        for who, series in one.figures.items():
            for what, values in series.items():
                cells = (one.title, who, what, str(Spread.of(values)), str(len(values)))
                lines.append(f"| {' | '.join(cells)} |")
    notes = [f"- {one.title}: {note}" for one in report.outcomes for note in one.notes]
    notes += [f"- {name} was not measured: {why}" for name, why in report.missing.items()]
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"


def machine_line(report: Report) -> str:
    """The machine, what others took of it, and the day of each row."""
    if not report.outcomes:
        return "Nothing was measured.\n"
    words = [f"{name} {value}" for name, value in report.machine.items()]
    taken = [one.others for one in report.outcomes]
    words.append(f"other programs took {min(taken):.0%} to {max(taken):.0%} of it")
    days: dict[str, list[str]] = {}
    for one in report.outcomes:
        days.setdefault(one.on, []).append(one.key)
    told = "".join(f"- {day}: {', '.join(keys)}\n" for day, keys in sorted(days.items()))
    return f"{', '.join(words)}.\n\nRows (`--rows`) by the day they were measured:\n\n{told}"
