"""A few crash rounds (tests/trust/crash.py); ``make trust`` has hundreds."""

from __future__ import annotations

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.trust.crash import Tally, crash_rounds

#: Eleven starts of an interpreter, on whatever machine.
pytestmark = pytest.mark.timeout(300)

SEED = 9
ROUNDS = 7


class Crashes(TestCase):
    timeout = 280

    def test_a_node_that_is_killed_loses_nothing_but_work_in_flight(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._rounds())

    async def _rounds(self) -> None:
        tally = await crash_rounds(reactor, SEED, ROUNDS)
        print(tally)
        assert tally.problems == []
        assert_it_was_hard(tally)


def assert_it_was_hard(tally: Tally) -> None:
    """Rounds in which nothing happened would prove nothing."""
    assert tally.rounds == ROUNDS
    assert tally.whole > 5 * ROUNDS
    assert tally.damaged > ROUNDS
    assert tally.corrupt_found > 0
    assert tally.resumed > 0
    assert tally.orders.done.get("import", 0) > 0
    assert tally.orders.cut > 0
