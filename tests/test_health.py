"""Origins that go down and come back, as sequences; and rate limits."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodecache.failures import UpstreamKind
from nodecache.health import DOWN_KINDS, LIMITED_LONGEST, Down, Health, Up
from nodecache.limits import Timeouts

HUB = "https://registry-1.docker.io"
CDN = "https://cdn.example"
TIMEOUTS = Timeouts(probe_first=1.0, probe_last=8.0, limited=60.0)

ERROR, TIMEOUT, UNREACHABLE = UpstreamKind.ERROR, UpstreamKind.TIMEOUT, UpstreamKind.UNREACHABLE

#: A step is (what, when, arguments); see ``play``.
Step = tuple[object, ...]


def play(health: Health, steps: list[Step]) -> None:
    """Each step with what it must lead to.

    ("fail", at, kind, went_down) and ("ok", at, came_back) are requests;
    ("late", at, began, went_down) is a time-out of a request that began then;
    ("down", at, probe_at) and ("up", at) are looks at the state.
    """
    for step in steps:
        match step:
            case ("fail", float(at), UpstreamKind() as kind, went_down):
                assert health.failed(HUB, at, kind, "why") is went_down, step
            case ("late", float(at), float(began), went_down):
                assert health.failed(HUB, at, TIMEOUT, "why", began=began) is went_down, step
            case ("ok", float(at), came_back):
                assert health.succeeded(HUB, at) is came_back, step
            case ("down", float(at), probe_at):
                state = health.state(HUB, at)
                assert isinstance(state, Down), step
                assert state.probe_at == probe_at, step
            case ("up", float(at)):
                assert health.state(HUB, at) == Up(), step
            case _:
                raise AssertionError(f"no such step: {step}")


SEQUENCES: dict[str, list[Step]] = {
    "an origin is up until something is known of it": [
        ("up", 0.0),
        ("ok", 1.0, False),
        ("up", 1.0),
    ],
    "the first failure takes it down and a probe is due after the first pause": [
        ("fail", 10.0, TIMEOUT, True),
        ("down", 10.0, 11.0),
    ],
    "it stays down past the probe's time until a probe succeeds": [
        ("fail", 10.0, TIMEOUT, True),
        ("down", 500.0, 11.0),
        ("ok", 501.0, True),
        ("up", 501.0),
    ],
    "failed probes double the pause up to the last": [
        ("fail", 0.0, UNREACHABLE, True),
        ("fail", 1.0, UNREACHABLE, False),
        ("down", 1.0, 3.0),
        ("fail", 3.0, UNREACHABLE, False),
        ("down", 3.0, 7.0),
        ("fail", 7.0, UNREACHABLE, False),
        ("down", 7.0, 15.0),
        ("fail", 15.0, UNREACHABLE, False),
        ("down", 15.0, 23.0),
    ],
    "requests under way when it went down fail together and count once": [
        ("fail", 10.0, TIMEOUT, True),
        ("fail", 10.0, TIMEOUT, False),
        ("fail", 10.5, TIMEOUT, False),
        ("fail", 10.9, UNREACHABLE, False),
        ("down", 10.9, 11.0),
    ],
    "an origin that was silent and soon falls silent again goes on from its last pause": [
        ("fail", 0.0, TIMEOUT, True),
        ("fail", 1.0, TIMEOUT, False),
        ("down", 1.0, 3.0),
        ("ok", 3.0, True),
        ("fail", 5.0, TIMEOUT, True),
        ("down", 5.0, 9.0),
        ("ok", 9.0, True),
        ("fail", 17.0, UNREACHABLE, True),
        ("down", 17.0, 25.0),
        ("ok", 25.0, True),
        ("fail", 26.0, TIMEOUT, True),
        ("down", 26.0, 34.0),
    ],
    "an origin that was well for long begins with the first pause again": [
        ("fail", 0.0, TIMEOUT, True),
        ("fail", 1.0, TIMEOUT, False),
        ("ok", 3.0, True),
        ("fail", 11.5, TIMEOUT, True),
        ("down", 11.5, 12.5),
    ],
    "an error answer costs nothing and begins with the first pause each time": [
        ("fail", 0.0, ERROR, True),
        ("down", 0.0, 1.0),
        ("ok", 1.0, True),
        ("fail", 1.5, ERROR, True),
        ("down", 1.5, 2.5),
        ("ok", 2.5, True),
        ("fail", 3.0, TIMEOUT, True),
        ("down", 3.0, 4.0),
    ],
    "a probe that is answered with an error doubles the pause": [
        ("fail", 0.0, ERROR, True),
        ("fail", 1.0, ERROR, False),
        ("down", 1.0, 3.0),
    ],
    "a time-out that began before the last success says nothing new": [
        ("ok", 5.0, False),
        ("late", 10.0, 4.0, False),
        ("up", 10.0),
        ("late", 16.0, 6.0, True),
        ("down", 16.0, 17.0),
    ],
    "a straggler of the last outage does not take a recovered origin down": [
        ("late", 10.0, 0.0, True),
        ("ok", 11.0, True),
        ("late", 12.0, 2.0, False),
        ("up", 12.0),
    ],
    "requests of before the outage that fail after the first probe do not lengthen the pause": [
        ("late", 10.0, 0.0, True),
        ("late", 11.5, 2.0, False),
        ("late", 19.0, 9.0, False),
        ("down", 19.0, 11.0),
        ("late", 21.0, 11.0, False),
        ("down", 21.0, 23.0),
    ],
    "a success before anything failed keeps it up": [("ok", 0.0, False), ("ok", 1.0, False)],
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_sequence(name: str) -> None:
    play(Health(TIMEOUTS), SEQUENCES[name])


@pytest.mark.parametrize("kind", [kind for kind in UpstreamKind if kind not in DOWN_KINDS])
def test_what_is_about_one_name_or_one_body_takes_no_origin_down(kind: UpstreamKind) -> None:
    health = Health(TIMEOUTS)
    assert not health.failed(HUB, 0.0, kind, "not here")
    assert health.state(HUB, 0.0) == Up()


def test_the_state_tells_since_when_and_why_by_the_latest_probe() -> None:
    health = Health(TIMEOUTS)
    health.failed(HUB, 2.0, TIMEOUT, "silent for 10 s")
    health.failed(HUB, 3.0, UNREACHABLE, "connection refused")
    assert health.state(HUB, 4.0) == Down(2.0, UNREACHABLE, "connection refused", 5.0)


def test_the_time_to_a_probe_is_never_negative() -> None:
    down = Down(0.0, TIMEOUT, "silent", 5.0)
    assert down.probe_in(2.0) == 3.0
    assert down.probe_in(9.0) == 0.0


def test_origins_do_not_share_their_fate() -> None:
    health = Health(TIMEOUTS)
    health.failed(HUB, 0.0, TIMEOUT, "silent")
    assert health.state(CDN, 0.0) == Up()
    assert list(health.down()) == [HUB]


def test_probes_are_due_one_by_one() -> None:
    health = Health(TIMEOUTS)
    assert health.next_due() is None
    health.failed(HUB, 0.0, TIMEOUT, "silent")
    health.failed(CDN, 5.0, TIMEOUT, "silent")
    assert health.next_due() == 1.0
    assert health.due(0.5) == ()
    assert health.due(1.0) == (HUB,)
    assert health.due(6.0) == (HUB, CDN)
    health.succeeded(HUB, 6.0)
    assert health.due(6.0) == (CDN,)
    health.succeeded(CDN, 6.0)
    assert health.next_due() is None


def test_the_memory_of_origins_is_bounded_and_the_longest_unused_goes_first() -> None:
    health = Health(TIMEOUTS, most=2)
    health.failed("a", 0.0, TIMEOUT, "silent")
    health.failed("b", 0.0, TIMEOUT, "silent")
    health.failed("a", 0.1, TIMEOUT, "silent")
    health.failed("c", 0.2, TIMEOUT, "silent")
    assert sorted(health.down()) == ["a", "c"]


@given(st.lists(st.tuples(st.floats(0, 20), st.sampled_from([*DOWN_KINDS, None])), max_size=40))
def test_whatever_happens_a_probe_is_never_further_than_the_last_pause(
    steps: list[tuple[float, UpstreamKind | None]],
) -> None:
    health, now = Health(TIMEOUTS), 0.0
    for pause, kind in steps:
        now += pause
        if kind is None:
            health.succeeded(HUB, now)
            assert health.state(HUB, now) == Up()
        else:
            health.failed(HUB, now, kind, "why")
            state = health.state(HUB, now)
            assert isinstance(state, Down)
            assert now < state.probe_at <= now + TIMEOUTS.probe_last


KEY = ("docker.io", None)


@pytest.mark.parametrize(
    ("retry_after", "reset_at", "holds_for"),
    [
        (30.0, None, 30.0),
        (30.0, 1500.0, 30.0),
        (None, 1500.0, 500.0),
        (None, None, TIMEOUTS.limited),
        (0.0, None, 1.0),
        (-5.0, None, 1.0),
        (None, 900.0, 1.0),
        (1e12, None, LIMITED_LONGEST),
        (math.inf, None, LIMITED_LONGEST),
        (math.nan, None, 1.0),
    ],
)
def test_a_limit_holds_as_long_as_upstream_says_within_reason(
    retry_after: float | None, reset_at: float | None, holds_for: float
) -> None:
    health = Health(TIMEOUTS)
    until = health.limited(KEY, 1000.0, retry_after=retry_after, reset_at=reset_at)
    assert until == 1000.0 + holds_for
    assert health.limited_until(KEY, until - 0.5) == until
    assert health.limited_until(KEY, until) is None
    assert health.limited_until(KEY, 1000.0) is None


def test_a_limit_of_one_account_is_not_that_of_another() -> None:
    health = Health(TIMEOUTS)
    health.limited(("docker.io", "me"), 0.0)
    assert health.limited_until(("docker.io", None), 1.0) is None


def test_a_limit_does_not_take_its_origin_down() -> None:
    health = Health(TIMEOUTS)
    health.limited(HUB, 0.0)
    assert health.state(HUB, 0.0) == Up()


def test_an_answer_ends_a_limit() -> None:
    health = Health(TIMEOUTS)
    health.limited(KEY, 0.0)
    health.unlimited(KEY)
    health.unlimited("never limited")
    assert health.limited_until(KEY, 1.0) is None


def test_the_memory_of_limits_is_bounded() -> None:
    health = Health(TIMEOUTS, most=2)
    for key in ("a", "b", "c"):
        health.limited(key, 0.0)
    assert [health.limited_until(key, 1.0) is not None for key in ("a", "b", "c")] == [
        False,
        True,
        True,
    ]
