"""What a row of the table is."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs

from bench.core.bars import Bar, Key
from bench.core.samples import Figures
from bench.parts.world import World

OURS = "nodecache"


@attrs.frozen(kw_only=True)
class Row:
    """``measure`` may note in words what figures do not tell; ``usual`` rows run unasked."""

    key: str
    title: str
    measure: Callable[[World], Figures]
    bars: tuple[Bar, ...] = ()
    notes: Callable[[World], Iterable[str]] = lambda _: ()
    usual: bool = True


def mine(what: str) -> Key:
    return Key(OURS, what)
