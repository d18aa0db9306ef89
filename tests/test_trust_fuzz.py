"""Every parser is fed what no one should send (tests/trust/fuzz.py), a little in each run."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, seed, settings

from tests.trust.fuzz import TARGETS, Target, mutations

SEED = 9
EXAMPLES = 60


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_parser_holds(target: Target) -> None:
    runs = 0

    @seed(SEED)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(mutations(target))
    def feed(data: bytes) -> None:
        nonlocal runs
        runs += 1
        target.check(data)

    feed()
    print(f"{target.name}: {runs} runs")
    assert runs >= EXAMPLES // 2


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_the_good_inputs_are_held_to_the_same(target: Target) -> None:
    for data in target.seeds:
        target.check(data)


def test_a_parser_that_breaks_is_found() -> None:
    """Or none of the above would prove anything."""

    def breaks(data: bytes) -> None:
        assert b"!" not in data

    @settings(max_examples=2000, deadline=None, database=None)
    @given(mutations(Target("breaks", breaks, (b"a good input!",))))
    def feed(data: bytes) -> None:
        breaks(data)

    with pytest.raises(AssertionError):
        feed()
