"""Tables as a terminal and a pipe have them: folded where they do not fit, never cut."""

from __future__ import annotations

import subprocess
import sys

import pytest
from rich.table import Table

from nodecache.cli.console import print_table, table


def shown_in(columns: int, name: str) -> list[str]:
    """A table in a terminal of so many columns, without its colours."""
    code = (
        "from nodecache.cli import console as made_by\n"
        "from rich.console import Console\n"
        f"there = Console(width={columns}, force_terminal=True, no_color=True, color_system=None)\n"
        "made_by.console = lambda: there\n"
        "made = made_by.table('IMAGE', 'DIGEST', 'SIZE', right=('SIZE',))\n"
        f"made.add_row({name!r}, 'sha256:0123456789ab', '1.0 KiB')\n"
        "made_by.print_table(made)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return [line.rstrip() for line in result.stdout.splitlines()]


def test_a_terminal_that_is_too_narrow_folds_the_names_and_nothing_else() -> None:
    head, *rows = shown_in(60, "ghcr.io/" + "a" * 60)
    assert head.split() == ["IMAGE", "DIGEST", "SIZE"]
    assert len(rows) == 3
    assert rows[0].split()[1:] == ["sha256:0123456789ab", "1.0", "KiB"]
    assert "".join(row.split()[0] for row in rows) == "ghcr.io/" + "a" * 60
    assert max(map(len, [head, *rows])) <= 60


def test_a_name_is_left_twenty_columns_wherever_it_is_shown() -> None:
    _, *rows = shown_in(10, "b" * 40)
    assert [row.split()[0] for row in rows] == ["b" * 20, "b" * 20]
    assert "sha256:0123456789ab" in rows[0]


def test_where_all_fits_rich_lays_nothing_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It needs a millisecond for each row: many seconds for a list of thousands of images."""
    made = table("IMAGE", "SIZE", right=("SIZE",))
    for number in range(3):
        made.add_row(f"naïve/名-{number}", f"{10**number} B")

    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(Table, "__rich_console__", refuse)
    print_table(made)
    assert capsys.readouterr().out.splitlines() == [
        "IMAGE        SIZE",
        "naïve/名-0    1 B",
        "naïve/名-1   10 B",
        "naïve/名-2  100 B",
    ]


def test_a_wide_table_is_whole_in_a_pipe() -> None:
    name = "ghcr.io/" + "a-long-name/" * 20
    code = (
        "from nodecache.cli.console import print_table, table\n"
        f"made = table('A', 'B'); made.add_row({name!r}, 'end'); print_table(made)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout.splitlines()[1].split() == [name, "end"]
