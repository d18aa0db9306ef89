"""Orders that are shown as they are carried out: a bar, lines, or JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nodecache.cli.console import print_line, progress
from nodecache.cli.target import Target


def carry_out(
    target: Target,
    verb: str,
    order: Mapping[str, Any],
    tell: Callable[[dict[str, Any]], None],
    *,
    title: str,
    as_json: bool,
    bytes_: bool = False,
) -> dict[str, Any]:
    """Give an order, and show what happens; the last that was told.

    On a terminal its progress is a bar called ``title``, of bytes or of bare
    counts. ``tell`` is given every other event but the last. With ``as_json``
    each event is a line, and nothing else is shown. Raises CommandError.
    """
    last: dict[str, Any] = {}
    if as_json:
        for last in target.control.run(verb, order):
            print_line(last)
        return last
    with progress(total=bytes_) as bars:
        task = bars.add_task(title, total=None, visible=False)
        for last in target.control.run(verb, order):
            if last["event"] == "progress":
                bars.update(task, completed=last["done"], total=last["total"], visible=True)
            elif last["event"] != "done":
                tell(last)
    return last
