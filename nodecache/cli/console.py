"""What commands print: tables, progress, JSON, and questions to the person at the terminal.

Answers go to stdout, all else to stderr. On a terminal lines are as wide as it
is; in a pipe no row of a table is ever cut or folded.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import click
from rich.cells import cell_len
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from nodecache.cli.problems import CommandError, fail
from nodecache.failures import EXIT_UNUSABLE

__all__ = [
    "CommandError",
    "ago",
    "bar",
    "confirm",
    "console",
    "count",
    "fail",
    "json_option",
    "percent",
    "print_json",
    "print_line",
    "print_table",
    "progress",
    "size",
    "table",
    "to_stderr",
]

F = TypeVar("F", bound=Callable[..., Any])

#: Columns where nobody says how many.
WIDTH = 80
#: Between two columns of a table, and the least of one that is folded.
_GAP = 2
_FOLDED = 20

Justify = Literal["left", "right"]


def console() -> Console:
    """Stdout. Numbers and paths are not coloured by themselves."""
    return _console(stderr=False)


def to_stderr() -> Console:
    """For progress and notes."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    found = Console(stderr=stderr, highlight=False, emoji=False, markup=False, soft_wrap=False)
    if not found.is_terminal:
        found.width = WIDTH
    return found


def json_option(command: F) -> F:
    """Adds ``--json``; the command gets ``as_json``."""
    option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
    return option(command)


def print_json(document: Any) -> None:
    """One document, indented. In ASCII: so it is the same wherever it goes."""
    click.echo(json.dumps(document, indent=1))


def print_line(document: Any) -> None:
    """One document on one line: for what comes piece by piece."""
    click.echo(json.dumps(document))


def table(*columns: str, right: Sequence[str] = (), folded: Sequence[str] | None = None) -> Table:
    """A table without lines; the columns named in ``right`` hold numbers.

    What does not fit is folded, never cut: a name that lost its end is of no use. Only the
    columns named in ``folded`` are, or else the first: a digest in two lines can not be copied.
    """
    made = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
    for place, name in enumerate(columns):
        folds = name in folded if folded is not None else not place
        justify: Justify = "right" if name in right else "left"
        made.add_column(name, justify=justify, no_wrap=not folds, overflow="fold")
    return made


def print_table(made: Table) -> None:
    """To stdout. In a pipe it is as wide as its rows are, on a terminal as wide as that is.

    Where a terminal has not even room for folded columns, its own lines fold.
    """
    to = console()
    columns = [[str(cell) for cell in (each.header, *each.cells)] for each in made.columns]
    widths = [max(map(cell_len, cells)) for cells in columns]
    if to.is_terminal and sum(widths) + _GAP * (len(widths) - 1) > to.width:
        to.width = max(to.width, _least(made, widths))
        to.print(made)
        return
    # By hand: for a list of thousands of images rich takes its time.
    rights = [each.justify == "right" for each in made.columns]
    for number, cells in enumerate(zip(*columns, strict=True)):
        fields = map(_padded, cells, widths, rights)
        line = (" " * _GAP).join(fields).rstrip()
        if number:
            click.echo(line)
        else:
            to.print(Text(line, "table.header"), soft_wrap=True)


def _padded(cell: str, width: int, right: bool) -> str:  # noqa: FBT001 -- for map
    space = " " * (width - cell_len(cell))
    return space + cell if right else cell + space


def _least(made: Table, widths: Sequence[int]) -> int:
    """Columns that the table needs to be read."""
    least = [
        width if column.no_wrap else min(width, _FOLDED)
        for column, width in zip(made.columns, widths, strict=True)
    ]
    return sum(least) + _GAP * (len(least) - 1)


class _Speed(ProgressColumn):
    """In the units of all other figures."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{size(speed)}/s")


def progress(*, total: bool = True) -> Progress:
    """Bars for bytes, on stderr: nothing of them in a pipe. Without ``total``, of bare counts."""
    columns = [TextColumn("{task.description}", markup=False), BarColumn(bar_width=20)]
    if total:
        return Progress(
            *columns,
            DownloadColumn(binary_units=True),
            _Speed(),
            TimeRemainingColumn(),
            console=to_stderr(),
            disable=not sys.stderr.isatty(),
        )
    counts = TextColumn("{task.completed:.0f} of {task.total:.0f}", markup=False)
    return Progress(*columns, counts, console=to_stderr(), disable=not sys.stderr.isatty())


def confirm(question: str, *, yes: bool) -> None:
    """Ask the person at the terminal; returns when the answer is yes.

    ``yes`` is an answer given in advance. Ends the command: with exit code 1 for a
    no, and with 2 where there is no terminal to ask on.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        fail(
            "there is no terminal to ask on",
            "Say --yes to do it without a question.",
            EXIT_UNUSABLE,
        )
    click.echo(f"{question} [y/N]: ", nl=False, err=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        fail("nothing was changed")


# Words for figures.

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")
_TIMES = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))


def size(count: float | None) -> str:
    """Bytes, in three digits or so: ``51.3 MiB``."""
    if count is None:
        return "-"
    if count < 1024:
        return f"{count:.0f} B"
    value, place = count / 1024, 0
    while value >= 1000 and place + 1 < len(_UNITS):
        value, place = value / 1024, place + 1
    return f"{value:.{0 if value >= 100 else 1}f} {_UNITS[place]}"


def ago(seconds: float | None) -> str:
    """A time, in its biggest unit: ``3 d``; ``-`` where there is none."""
    if seconds is None:
        return "-"
    for length, unit in _TIMES:
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{max(0, int(seconds))} s"


def count(number: int, thing: str) -> str:
    """``1 image``, ``2 images``."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def percent(part: float | None) -> str:
    """A part of 1. Whole is said of what is whole only."""
    if part is None:
        return "-"
    return f"{min(99, int(part * 100)) if part < 1 else 100}%"


def bar(part: float, width: int = 20) -> Text:
    """A part of 1, drawn with what the terminal can show."""
    full = round(max(0.0, min(1.0, part)) * width)
    there, rest = "█░" if console().encoding.startswith("utf") else "#."
    return Text(there * full + rest * (width - full))
