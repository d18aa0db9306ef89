"""The matrix: faults times legs times states, and the slice of it that every test run takes."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Final

import attrs

from tests.trust.faults import CUTS, FAULTS
from tests.trust.shapes import BLOBS, Expect, Fault, Leg, State

NEVER_STALE: Final = "a digest does not grow stale"
#: The cuts at each 64th are one fault; in these states a few places stand for all.
FEW_CUTS: Final = (0, 1, 32, 63)
#: A peer is asked for a blob, but stale for a manifest.
ONLY_OF_BLOBS: Final = "a peer's manifest has no range, sum or total: as one wrong byte"
ONE_OF_MANY: Final = "all 64 places are tried cold; 0, 1, 32 and 63 stand for them here"


@attrs.frozen
class Cell:
    """``why_not`` is why it makes no sense; None where it does."""

    fault: Fault
    leg: Leg
    state: State
    why_not: str | None

    @property
    def name(self) -> str:
        words = f"{self.fault.name} at {self.leg.value} {self.state.value}"
        return re.sub(r"\W+", "_", words).strip("_").lower()

    @property
    def expect(self) -> Expect:
        """What a cold node's client gets."""
        if self.leg is Leg.PEER:
            return self.fault.peer_expect
        found = self.fault.expect[self.leg]
        assert isinstance(found, Expect)
        return found


def _why_not(fault: Fault, leg: Leg, state: State) -> str | None:
    if leg is Leg.PEER:
        if fault.peer:
            return fault.peer
        if fault.peer_blob_only and state is State.STALE:
            return ONLY_OF_BLOBS
    elif isinstance(reason := fault.expect[leg], str):
        return reason
    if state is State.STALE and leg in BLOBS:
        return NEVER_STALE
    cuts = [each.name for each in CUTS]
    if fault.name in cuts and state is not State.COLD and cuts.index(fault.name) not in FEW_CUTS:
        return ONE_OF_MANY
    return None


def cells() -> Iterator[Cell]:
    for fault in FAULTS:
        for leg in Leg:
            for state in State:
                yield Cell(fault, leg, state, _why_not(fault, leg, state))


def sensible() -> list[Cell]:
    return [cell for cell in cells() if cell.why_not is None]


def chosen(seed: int, most: int) -> list[Cell]:
    """Each fault, and each leg in each of its states, at least once, and others up to ``most``.

    A warm node does not meet its fault, so such a cell does not count for that.

    Of faults that a timeout finds out, no more than that: they take a second each.
    """
    order = sensible()
    random.Random(seed).shuffle(order)
    missing: set[object] = {each.fault.name for each in order}
    missing |= {(each.leg, each.state) for each in order}
    missing -= {fault.name for fault in CUTS}
    missing |= {"a cut"}
    taken: list[Cell] = []
    for cell in sorted(order, key=lambda each: -len(_of(each) & missing)):
        if _of(cell) & missing:
            missing -= _of(cell)
            taken.append(cell)
    rest = [cell for cell in order if cell not in taken and not cell.fault.slow]
    return taken + rest[: max(0, most - len(taken))]


def _of(cell: Cell) -> set[object]:
    name = "a cut" if cell.fault in CUTS else cell.fault.name
    met = set() if cell.state is State.WARM else {name}
    return {(cell.leg, cell.state), *met}
