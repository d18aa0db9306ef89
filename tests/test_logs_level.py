"""What is logged at all: the level, its switch, and how many lines of a kind."""

from __future__ import annotations

import contextvars
import io
import json
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from nodecache import events
from nodecache.events import Event, Level
from nodecache.logs import LogSwitch, LogWriter, Sampler, level_of
from nodecache.logs.sampling import QUIET
from nodecache.traces import CURRENT, Trace
from tests.strategies_events import made_up

REQUEST = made_up(events.RequestFinished)
STALE = made_up(events.ServedStale)


@attrs.define(slots=False)
class Log:
    """A log whose lines are read back, and its clock."""

    form: str = "json"
    rate: float = 1
    burst: int = 2
    now: float = 1000.0
    stream: io.StringIO = attrs.Factory(io.StringIO)

    def __attrs_post_init__(self) -> None:
        sampler = Sampler(self.rate, self.burst)
        self.writer = LogWriter(self.stream, self.form, wall=lambda: self.now, sampler=sampler)

    def tell(self, event: Event, times: int = 1) -> None:
        for _ in range(times):
            self.writer.observe(event)

    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines()]


# How many.


def test_a_kind_that_comes_too_often_is_thinned_out_and_counted() -> None:
    log = Log(burst=2)
    log.tell(STALE, 10)
    log.now += 1.0
    log.tell(STALE)
    assert [record.get("left_out") for record in log.records()] == [None, None, 8]


def test_what_was_left_out_is_told_when_its_kind_has_ceased() -> None:
    log = Log(burst=1)
    log.tell(STALE, 4)
    log.now += QUIET
    log.tell(REQUEST)
    told = log.records()[1]
    assert (told["event"], told["level"], told["of"], told["count"]) == (
        "left_out",
        "warning",
        "stale",
        3,
    )
    log.now += QUIET
    log.tell(REQUEST)
    assert [record["event"] for record in log.records()].count("left_out") == 1


def test_one_kind_does_not_use_up_the_lines_of_another() -> None:
    log = Log(burst=1)
    log.tell(STALE, 100)
    log.tell(made_up(events.DiskFailed))
    assert [record["event"] for record in log.records()] == ["stale", "disk_failed"]


def test_every_pull_is_told_however_many_there_are() -> None:
    log = Log(burst=1)
    log.tell(made_up(events.PullFinished), 50)
    assert len(log.records()) == 50


def test_a_person_is_told_of_what_was_left_out_as_well() -> None:
    log = Log("console", burst=1)
    log.tell(STALE, 5)
    log.now += 1.0
    log.tell(STALE)
    assert log.lines()[1].endswith("warning: 4 more lines like this were left out (stale)")
    assert len(log.lines()) == 3


def test_what_is_below_the_level_uses_up_no_lines() -> None:
    log = Log(burst=1)
    log.writer.level = Level.INFO
    log.tell(REQUEST, 5)
    log.writer.level = Level.DEBUG
    log.tell(REQUEST)
    assert [record.get("left_out") for record in log.records()] == [None]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(-5, 30)), max_size=200))
def test_every_line_is_either_written_or_counted(steps: list[tuple[str, float]]) -> None:
    """Whatever the clock does."""
    sampler, now, written, told = Sampler(1, 3), 0.0, 0, 0
    for name, step in steps:
        now += step
        left_out = sampler.admit(name, now)
        written += left_out is not None
        told += left_out or 0
        told += sum(count for _, count in sampler.ceased(now))
    told += sum(count for _, count in sampler.ceased(now + 1000))
    assert written + told == len(steps)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=300))
def test_no_kind_has_more_than_its_rate(steps: list[float]) -> None:
    sampler, now, written = Sampler(2, 5), 0.0, 0
    for step in steps:
        now += step
        written += sampler.admit("a", now) is not None
    assert written <= 5 + 2 * now + 1


# What belongs together.


def test_what_happens_for_a_request_carries_its_trace() -> None:
    log = Log()

    def inside() -> None:
        CURRENT.set(Trace("c" * 32, "1" * 16))
        log.tell(made_up(events.UpstreamFailed))

    contextvars.copy_context().run(inside)
    log.tell(STALE)
    assert [record.get("trace_id") for record in log.records()] == ["c" * 32, None]


def test_the_trace_of_an_event_is_its_own() -> None:
    log = Log()

    def inside() -> None:
        CURRENT.set(Trace("c" * 32, "1" * 16))
        log.tell(made_up(events.RequestFinished, trace_id="d" * 32, span_id="", parent_id=""))

    contextvars.copy_context().run(inside)
    (record,) = log.records()
    assert record["trace_id"] == "d" * 32
    assert not {"span_id", "parent_id"} & set(record)


# The switch.


@attrs.define(slots=False)
class Switched:
    """A log at ``info``, its switch, and the clock of both."""

    clock: Clock = attrs.Factory(Clock)
    told: list[Event] = attrs.Factory(list)

    def __attrs_post_init__(self) -> None:
        self.log = LogWriter(io.StringIO(), level=Level.INFO)
        self.switch = LogSwitch(self.log, self.clock, self.told.append)


def test_a_level_can_be_set_until_further_notice() -> None:
    made = Switched()
    made.switch.set(Level.DEBUG)
    made.clock.advance(1e6)
    assert made.switch.level is Level.DEBUG
    assert made.switch.seconds_left is None
    assert made.told == [events.LogLevelSet(before="info", now="debug")]


def test_a_level_can_be_set_for_a_while() -> None:
    made = Switched()
    made.switch.set(Level.DEBUG, 60)
    made.clock.advance(20)
    assert made.switch.seconds_left == 40
    made.switch.set(Level.ERROR, 30)
    made.clock.advance(29)
    before = made.switch.level
    made.clock.advance(1)
    assert (before, made.switch.level) == (Level.ERROR, Level.INFO)
    assert made.clock.getDelayedCalls() == []


def test_settings_that_are_read_again_win_over_the_switch() -> None:
    made = Switched()
    made.switch.set(Level.DEBUG, 60)
    made.switch.settings_say(Level.WARNING)
    assert made.switch.level is Level.WARNING
    assert made.clock.getDelayedCalls() == []
    count = len(made.told)
    made.switch.settings_say(Level.WARNING)
    assert len(made.told) == count


def test_the_change_to_a_higher_level_is_still_logged() -> None:
    stream = io.StringIO()
    log = LogWriter(stream, "console", level=Level.INFO)
    LogSwitch(log, Clock(), log.observe).set(Level.ERROR)
    assert stream.getvalue().endswith("logs what is error or worse (was info)\n")


def test_levels_are_known_by_their_names() -> None:
    assert [level_of(name) for name in ("debug", "INFO", "warning", "Error")] == list(Level)
    with pytest.raises(ValueError, match="debug, info, warning, error"):
        level_of("loud")
