"""Less than a minute of the soak (tests/trust/soak.py); ``make soak`` is an hour of it."""

from __future__ import annotations

import pytest

from tests.trust.soak import Found, soak
from tests.trust.soak_report import lines

SEED = 20261126
SECONDS = 20.0


def test_a_short_soak_is_flat_and_right(capsys: pytest.CaptureFixture[str]) -> None:
    found = soak(SECONDS, SEED, cycle=8.0, rate=3.0)
    with capsys.disabled():
        print("\n" + "\n".join(lines(found, SEED, "now")))
    assert found.problems == []
    assert_it_was_hard(found)


def assert_it_was_hard(found: Found) -> None:
    """One in which nothing happened would prove nothing."""
    assert found.cycles >= 2
    assert found.replaced >= 2
    assert found.evicted > 0
    assert found.tags_moved > 2
    assert all(found.did[what] for what in ("pull", "ranged", "hang_up", "moving_tag"))
    assert found.got["refused or broken off"], "nothing was broken"
    assert {one["of"].partition(" ")[0] for one in found.verdicts} >= {"node1", "node2", "node4"}
