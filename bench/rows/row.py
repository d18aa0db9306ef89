"""What a row of the table is."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from bench.core.bars import Bar, Key
from bench.core.samples import Figures
from bench.parts.world import World

OURS = "nodecache"


@attrs.frozen(kw_only=True)
class Row:
    """``usual`` rows run unasked."""

    key: str
    title: str
    measure: Callable[[World], Figures]
    bars: tuple[Bar, ...] = ()
    usual: bool = True


def mine(what: str) -> Key:
    return Key(OURS, what)
