"""What the measurements are made into: spreads, verdicts, reports, tables and plots."""

from __future__ import annotations

import math
import statistics
import xml.etree.ElementTree as ET

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core import flame
from bench.core.bars import Bar, Key, Verdict
from bench.core.charts import PLOTS, drawn, lines
from bench.core.document import PARTS, parts_of, placed
from bench.core.plot import Chart, Line, ceiling, svg
from bench.core.report import Outcome, Report, bars_table, figures_table, machine_line
from bench.core.samples import Spread, interleaved, percentile, rotated, shown
from bench.render import DOCS, DOCUMENT, FOUND

positive = st.floats(0.001, 1e9, allow_nan=False)
samples = st.lists(positive, min_size=1, max_size=9)
words = st.text("abcdefg, /", min_size=1, max_size=12)

OURS, THEIRS = Key("nodecache", "MB/s"), Key("nginx", "MB/s")


def figures(ours: list[float], theirs: list[float]) -> dict[str, dict[str, list[float]]]:
    return {"nodecache": {"MB/s": ours}, "nginx": {"MB/s": theirs}}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0.00"),
        (0.01234, "0.0123"),
        (0.5, "0.50"),
        (9.876, "9.88"),
        (12.34, "12.3"),
        (123.4, "123"),
        (12345.6, "12,346"),
        (-3.456, "-3.46"),
        (math.inf, "inf"),
    ],
)
def test_a_figure_is_shown_with_the_digits_that_tell(value: float, words: str) -> None:
    assert shown(value) == words


@given(samples)
def test_a_spread_holds_its_median(values: list[float]) -> None:
    spread = Spread.of(values)
    assert spread.least <= spread.median <= spread.most
    assert (spread.least, spread.most) == (min(values), max(values))
    assert ("(" in str(spread)) == (shown(min(values)) != shown(max(values)))


@given(st.lists(positive, min_size=1, max_size=200), st.floats(0, 1))
def test_a_percentile_is_the_least_that_enough_do_not_exceed(
    values: list[float], share: float
) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    below = [value for value in values if value < found]
    assert len(below) < max(share * len(values), 1)


@given(st.lists(words, min_size=1, max_size=6, unique=True), st.integers(0, 20))
def test_each_begins_a_round_in_turn(names: list[str], by: int) -> None:
    turned = rotated(names, by)
    assert sorted(turned) == sorted(names)
    assert turned[0] == names[by % len(names)]


def test_rounds_are_interleaved_and_kept_apart() -> None:
    order: list[str] = []

    def sample(name: str) -> dict[str, float]:
        order.append(name)
        return {"place": float(len(order))}

    found = interleaved(3, {"a": lambda: sample("a"), "b": lambda: sample("b")})
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert found == {"a": {"place": [1, 4, 5]}, "b": {"place": [2, 3, 6]}}


@given(st.lists(st.tuples(positive, positive), min_size=1, max_size=9), positive)
def test_a_ratio_is_taken_within_each_round(pairs: list[tuple[float, float]], limit: float) -> None:
    ours, theirs = ([pair[place] for pair in pairs] for place in (0, 1))
    bar = Bar(text="x", of=OURS, by=THEIRS, at_least=limit)
    verdict = bar.judge(figures(ours, theirs))
    ratios = [a / b for a, b in pairs]
    assert verdict.values == tuple(ratios)
    assert verdict.met == (statistics.median(ratios) >= limit)


@given(samples, positive)
def test_a_bar_on_the_worst_looks_at_the_worst(values: list[float], limit: float) -> None:
    most = Bar(text="x", of=OURS, at_most=limit, worst=True).judge(figures(values, []))
    least = Bar(text="x", of=OURS, at_least=limit, worst=True).judge(figures(values, []))
    assert most.met == (max(values) <= limit)
    assert least.met == (min(values) >= limit)


def test_a_difference_is_taken_within_each_round() -> None:
    bar = Bar(text="x", of=OURS, minus=THEIRS, at_most=20, unit="ms")
    verdict = bar.judge(figures([30, 50], [5, 35]))
    assert verdict.values == (25, 15)
    assert verdict.met
    assert verdict.limit == "at most 20 ms"


def test_rounds_that_do_not_pair_are_held_against_the_median() -> None:
    bar = Bar(text="x", of=OURS, by=THEIRS, at_most=2)
    assert bar.judge(figures([4, 6], [1, 2, 9])).values == (2, 3)


@pytest.mark.parametrize(("ours", "theirs"), [([], [1.0]), ([1.0], []), ([], [])])
def test_what_was_not_measured_is_neither_met_nor_below(
    ours: list[float], theirs: list[float]
) -> None:
    verdict = Bar(text="x", of=OURS, by=THEIRS, at_most=2).judge(figures(ours, theirs))
    assert verdict.met is None
    assert verdict.word == "not measured"
    assert Bar(text="x", of=Key("nobody", "x"), at_most=2).judge({}).met is None


@pytest.mark.parametrize("limits", [{}, {"at_least": 1.0, "at_most": 2.0}])
def test_a_bar_has_one_limit(limits: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="one limit"):
        Bar(text="x", of=OURS, **limits)  # type: ignore[arg-type]  # by name


verdicts = st.builds(
    Verdict,
    words,
    words,
    st.lists(positive, max_size=4).map(tuple),
    st.sampled_from([True, False, None]),
    st.booleans(),
)
outcomes = st.builds(
    Outcome,
    key=words,
    title=words,
    figures=st.dictionaries(words, st.dictionaries(words, samples, max_size=3), max_size=3),
    verdicts=st.lists(verdicts, max_size=3).map(tuple),
    notes=st.lists(words, max_size=2).map(tuple),
    seconds=positive,
    others=st.floats(0, 1),
    failed=st.sampled_from(["", "AssertionError: wrong bytes"]),
)
reports = st.builds(
    Report,
    machine=st.dictionaries(words, words, max_size=3),
    outcomes=st.lists(outcomes, max_size=4, unique_by=lambda one: one.key).map(tuple),
    missing=st.dictionaries(words, words, max_size=2),
)


@given(reports)
def test_a_report_survives_its_file(report: Report) -> None:
    assert Report.read(report.written()) == report


@given(reports, reports)
def test_joined_rows_are_those_of_both_and_the_later_one_wins(old: Report, new: Report) -> None:
    joined = old.joined(new)
    by_key = {one.key: one for one in joined.outcomes}
    assert len(by_key) == len(joined.outcomes)
    assert by_key == {one.key: one for one in (*old.outcomes, *new.outcomes)}
    assert [one.key for one in joined.outcomes][: len(old.outcomes)] == [
        one.key for one in old.outcomes
    ]


@given(reports)
def test_every_bar_and_every_figure_has_its_line(report: Report) -> None:
    bars = bars_table(report).splitlines()[2:]
    assert len(bars) == sum(len(one.verdicts) + bool(one.failed) for one in report.outcomes)
    assert all(line.count(" | ") >= 3 for line in bars)
    series = sum(len(each) for one in report.outcomes for each in one.figures.values())
    told = [line for line in figures_table(report).splitlines()[2:] if line.startswith("|")]
    assert len(told) == series


def outcome(**settings: object) -> Outcome:
    given = {"key": "warm", "title": "warm blob", "figures": {}, "others": 0.02, **settings}
    return Outcome(**given)  # type: ignore[arg-type]  # by name


def test_what_is_below_its_bar_is_named_and_what_failed_too() -> None:
    report = Report(
        machine={"cores": "2"},
        outcomes=(
            outcome(
                verdicts=(
                    Verdict("MB/s / nginx's", "at least 0.75", (0.5, 0.6, 0.7), False),
                    Verdict("CPU", "at most 1.3", (1.0,), True),
                    Verdict("unmeasured", "at most 1", (), None),
                )
            ),
            outcome(title="cold blob", failed="AssertionError: 2.00 copies", others=0.1),
        ),
    )
    assert list(report.below()) == [
        "warm blob: MB/s / nginx's: 0.60 (0.50 to 0.70), at least 0.75",
        "cold blob: failed: AssertionError: 2.00 copies",
    ]
    assert "| warm blob | MB/s / nginx's | at least 0.75 | 0.60 (0.50 to 0.70) | BELOW |" in (
        bars_table(report)
    )


def test_a_row_that_was_kept_keeps_its_day() -> None:
    before = Report(
        machine={"cores": "2"},
        outcomes=(outcome(key="warm", on="2026-01-01"), outcome(key="cold", on="2026-01-01")),
    )
    later = Report(
        machine={"cores": "2"}, outcomes=(outcome(key="cold", on="2026-01-02", others=0.1),)
    )
    kept = Report.read(before.joined(later).written())
    assert machine_line(kept) == (
        "cores 2, other programs took 2% to 10% of it.\n\n"
        "Rows (`--rows`) by the day they were measured:\n\n"
        "- 2026-01-01: warm\n- 2026-01-02: cold\n"
    )


def test_the_worst_shows_both_ends() -> None:
    assert Verdict("x", "at most 1", (1.0, 1.5), False, worst=True).result == "1.00 to 1.50"
    assert Verdict("x", "at most 1", (1.0, 1.0), True, worst=True).result == "1.00"


def test_notes_and_what_is_missing_stand_below_the_figures() -> None:
    report = Report(
        machine={}, outcomes=(outcome(notes=("10 a second",)),), missing={"drayage": "not here"}
    )
    assert figures_table(report).splitlines()[-2:] == [
        "- warm blob: 10 a second",
        "- drayage was not measured: not here",
    ]


@given(reports)
def test_parts_of_a_document_are_replaced_and_the_rest_stays(report: Report) -> None:
    other = "b\n<!-- begin else -->\n<!-- end else -->\n"
    document = f"a\n<!-- begin bars -->\nold\n<!-- end bars -->\n{other}"
    once = placed(document, report)
    assert once.startswith("a\n<!-- begin bars -->\n\n| work")
    assert once.endswith(other)
    assert placed(once, report) == once


def test_the_document_says_what_was_found() -> None:
    """Otherwise run ``python -m bench.render``."""
    report = Report.read(FOUND.read_text(encoding="utf-8"))
    text = DOCUMENT.read_text(encoding="utf-8")
    assert parts_of(text) == set(PARTS)
    assert placed(text, report) == text
    for name, plot in drawn(report):
        assert (DOCS / name).read_text(encoding="utf-8") == plot


@given(positive)
def test_a_ceiling_is_near_above(most: float) -> None:
    top = ceiling(most)
    assert most <= top <= most * 2.5


def test_a_ceiling_of_nothing_is_above_nothing() -> None:
    assert ceiling(0) == 1
    assert ceiling(5e-324) == 1


@given(
    st.lists(
        st.lists(st.tuples(positive, st.floats(0, 1e6)), min_size=1, max_size=5).map(tuple),
        min_size=1,
        max_size=8,
    )
)
def test_a_plot_is_well_formed_and_within_its_frame(
    series: list[tuple[tuple[float, float], ...]],
) -> None:
    made = tuple(Line(f"a < b & {n}", points) for n, points in enumerate(series))
    root = ET.fromstring(svg(Chart("<title> & more", "size", ((1, "1 MiB"),), made)))
    circles = [one for one in root.iter() if one.tag.endswith("circle")]
    assert len(circles) == sum(len(points) for points in series)
    for circle in circles:
        assert 0 <= float(circle.get("cx", "nan")) <= 760
        assert 0 <= float(circle.get("cy", "nan")) <= 360


@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: plot.row)
def test_each_plot_is_drawn_from_its_row_alone(plot: object) -> None:
    assert isinstance(plot, type(PLOTS[0]))
    found = {"cold": {words: [1.0, 3.0, 2.0] for _, words in plot.steps}, "unseen": {"else": [1.0]}}
    report = Report(machine={}, outcomes=(outcome(key=plot.row, figures=found),))
    [(name, text)] = list(drawn(report))
    assert name == plot.file
    assert "cold" in text
    assert "unseen" not in text
    [line] = lines(found, plot.steps)
    assert [value for _, value in line.points] == [2.0] * len(plot.steps)
    assert list(drawn(attrs.evolve(report, outcomes=(outcome(key="else", figures=found),)))) == []


stacks = st.dictionaries(
    st.lists(st.text("ab<&", min_size=1, max_size=3), min_size=1, max_size=5).map(tuple),
    st.integers(1, 100),
    max_size=8,
)


@given(stacks)
def test_folded_stacks_are_read_as_they_were_written(found: dict[tuple[str, ...], int]) -> None:
    text = "".join(f"{';'.join(stack)} {count}\n" for stack, count in found.items())
    assert flame.read(text) == found


def test_threads_that_wait_are_left_out() -> None:
    text = (
        "run (a.py:1);Condition.wait (threading.py:327) 500\n"
        "run (a.py:1);EPollReactor.doPoll (twisted/internet/epollreactor.py:217) 300\n"
        "run (a.py:1);ThreadDiskPool._work (nodecache/diskpool.py:116) 900\n"
        "run (a.py:1);work (b.py:2) 3\nrun (a.py:1);work (b.py:2) 4\n"
    )
    assert flame.read(text) == {("run (a.py:1)", "work (b.py:2)"): 7}


def test_a_stack_begins_at_the_loop_or_at_a_job_of_a_pool() -> None:
    loop = "_SignalReactorMixin.mainLoop (twisted/internet/base.py:705)"
    job = "ThreadPool.callInThreadWithCallback.<locals>.inContext (twisted/python/threadpool.py:2)"
    text = f"main (a.py:1);{loop};tick (b.py:1) 1\nThread.run (t.py:1);{job};hash (c.py:1) 2\n"
    assert flame.read(text) == {(loop, "tick (b.py:1)"): 1, (job, "hash (c.py:1)"): 2}


@given(stacks)
def test_a_flame_is_well_formed_and_no_frame_leaves_its_outer_one(
    found: dict[tuple[str, ...], int],
) -> None:
    total = sum(found.values())
    assert flame.tree(found).count == total
    root = ET.fromstring(flame.svg("a < b", found))
    frames = [one for one in root.iter() if one.tag.endswith("rect")][1:]
    rows: dict[str, float] = {}
    for frame in frames:
        left, width = float(frame.get("x", "nan")), float(frame.get("width", "nan"))
        assert left >= -0.1
        assert left + width <= 1200.2
        rows[frame.get("y", "")] = rows.get(frame.get("y", ""), 0) + width
    assert all(width <= 1201 for width in rows.values())
    assert bool(frames) == bool(found)
