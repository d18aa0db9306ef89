"""A slice of the fault matrix, chosen by a seed: every fault, and every leg in each of its states.

All of it is ``make trust``; see tests/trust/cells.py for how the slice is chosen.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.trust.cells import ONE_OF_MANY, Cell, cells, chosen, sensible
from tests.trust.faults import CUTS, FAULTS
from tests.trust.run import run
from tests.trust.shapes import Leg, State

reactor = cast(Any, _reactor)

SEED = 9
#: Cells in all; each takes a part of a second, those of timeouts one or two.
MOST = 50


class Matrix(TestCase):
    timeout = 60

    async def cell_holds(self, cell: Cell) -> None:
        outcome = await run(reactor, cell, SEED)
        assert not outcome.problems, (outcome.problems, outcome.answers, outcome.causes)


def _add_tests() -> None:
    for cell in chosen(SEED, MOST):

        def test(self: Matrix, cell: Cell = cell) -> Deferred[None]:
            return Deferred.fromCoroutine(self.cell_holds(cell))

        setattr(Matrix, f"test_{cell.name}", test)


_add_tests()


def test_the_slice_has_every_fault_and_every_leg_in_each_of_its_states() -> None:
    taken = chosen(SEED, MOST)
    assert {each.name for each in FAULTS if each not in CUTS} <= {each.fault.name for each in taken}
    assert any(each.fault in CUTS for each in taken if each.state is not State.WARM)
    assert {(each.leg, each.state) for each in taken} == {
        (each.leg, each.state) for each in sensible()
    }


def test_no_cell_is_left_out_without_a_reason() -> None:
    every = list(cells())
    assert len(every) == len(FAULTS) * len(Leg) * len(State)
    assert len({each.name for each in every}) == len(every)
    assert all(each.why_not is None or len(each.why_not) > 10 for each in every)
    few = [each for each in every if each.why_not == ONE_OF_MANY]
    assert all(each.fault in CUTS for each in few)
