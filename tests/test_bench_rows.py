"""The rows as a whole: what they are named, and what a run makes of one that fails."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest

from bench import slow_node
from bench.__main__ import chosen, measured, run, version, write
from bench.core.bars import Bar
from bench.core.charts import PLOTS
from bench.core.report import Report
from bench.core.samples import Figures
from bench.parts.peers import drayage, nodecache
from bench.parts.world import World
from bench.rows import ROWS
from bench.rows.row import Row, mine
from bench.rows.start import dearest, unused
from tests.system.cluster.pulls import Pulled

ROOT = pathlib.Path(__file__).parent.parent


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "bench", *words]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)


def test_each_row_has_a_key_of_its_own_and_those_that_run_unasked_have_bars() -> None:
    keys = [row.key for row in ROWS]
    assert len(set(keys)) == len(keys)
    assert all(row.bars for row in ROWS if row.usual)
    assert {plot.row for plot in PLOTS} == {row.key for row in ROWS if not row.usual}


def test_rows_are_chosen_by_key() -> None:
    assert [row.key for row in chosen("cold,warm-1")] == ["cold", "warm-1"]
    assert chosen("") == [row for row in ROWS if row.usual]
    with pytest.raises(SystemExit, match="no row nothing; there are warm-1"):
        chosen("cold,nothing")


def row(key: str, value: float = 1.0, wrong: str = "") -> Row:
    def measure(world: World) -> Figures:
        world.note(f"{key} was here")
        if wrong:
            raise AssertionError(wrong)
        return {"nodecache": {"x": [value]}}

    bar = Bar(text="x", of=mine("x"), at_most=1)
    return Row(key=key, title=key, measure=measure, bars=(bar,))


def test_a_row_that_fails_says_so_and_the_next_one_runs(tmp_path: pathlib.Path) -> None:
    rows = [row("first", wrong="2.00 copies\nof it"), row("second", 2.0), row("third")]
    report = run(rows, tmp_path / "bench", quick=True)
    first, second, third = report.outcomes
    assert first.failed == "AssertionError: 2.00 copies of it"
    assert [one.met for one in (*first.verdicts, *second.verdicts, *third.verdicts)] == [
        None,
        False,
        True,
    ]
    assert [one.notes for one in report.outcomes] == [
        ("first was here",),
        ("second was here",),
        ("third was here",),
    ]
    assert list(report.below()) == [
        "first: failed: AssertionError: 2.00 copies of it",
        "second: x: 2.00, at most 1",
    ]


def test_others_are_a_share_of_the_machine(tmp_path: pathlib.Path) -> None:
    assert 0 <= measured(row("a"), World(tmp_path)).others <= 1


def test_rows_join_those_of_the_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "found.json"
    for keys, join in ((("a", "b"), True), (("b", "c"), True)):
        write(run([row(key) for key in keys], tmp_path, quick=True), path, join=join)
    report = Report.read(path.read_text())
    assert [one.key for one in report.outcomes] == ["a", "b", "c"]
    write(run([row("d")], tmp_path, quick=True), path, join=False)
    assert [one["key"] for one in json.loads(path.read_text())["outcomes"]] == ["d"]


def test_a_cache_that_is_not_installed_is_left_out_by_name(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.parts.peers.shutil.which", lambda *_, **__: None)
    world = World(tmp_path)
    assert world.here((nodecache, drayage), "http://127.0.0.1:9") == [nodecache]
    assert world.missing == {"drayage": "drayage is not installed"}
    assert world.here((nodecache, drayage), "http://127.0.0.1:9") == [nodecache]


def test_what_serve_has_no_use_for_is_found_among_its_imports() -> None:
    names = ["nodecache.cli.serve", "nodecache.cli.pull", "rich", "twisted.web", "yaml", "attrs"]
    assert list(unused(names)) == ["nodecache.cli.pull", "rich", "yaml"]


def test_the_dearest_imports_are_summed_by_package() -> None:
    found = [(2000, "twisted.web"), (3000, "twisted.internet.defer"), (4000, "attr")]
    assert dearest(found) == "twisted 5 ms, attr 4 ms"


def test_a_program_that_is_not_here_has_no_version() -> None:
    assert version("no-such-program-at-all", "-v") == "none"
    assert version(sys.executable, "--version") == sys.version.split()[0]


def test_the_rows_are_listed() -> None:
    done = bench("--list")
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == [one.key for one in ROWS]


def test_an_unknown_row_is_named() -> None:
    done = bench("--rows", "nothing")
    assert done.returncode == 1
    assert "There is no row nothing" in done.stderr


def pulled_within(began: float, seconds: float) -> Pulled:
    return Pulled("", "", began, began + seconds, (), ())


def test_a_pull_beside_a_slow_node_is_a_line_of_its_table() -> None:
    """Seconds from when the first one began, of the slow node first."""
    pulled = [pulled_within(10.0, 20.0), pulled_within(11.0, 5.0), pulled_within(10.0, 8.0)]
    assert slow_node.line(2, pulled, 1.016, known=True) == "| 2 | yes | 20.0 | 7.0 | 8.0 | 1.02 |"
    assert slow_node.line(1, pulled, 1.0, known=False).split(" | ")[1] == "no"
    assert slow_node.HEAD.count("|") == slow_node.line(1, pulled, 1.0, known=True).count("|")
