"""The parts of a document that are made from a report."""

from __future__ import annotations

import re
from collections.abc import Callable

from bench.core.charts import PLOTS, drawn
from bench.core.report import Report, bars_table, figures_table, machine_line

_PART = re.compile(r"(<!-- begin (\w+) -->\n)(.*?)(<!-- end \2 -->)", re.DOTALL)


def plots(report: Report) -> str:
    """An image for each plot that was drawn."""
    names = {name for name, _ in drawn(report)}
    return "".join(f"![{plot.title}]({plot.file})\n" for plot in PLOTS if plot.file in names)


PARTS: dict[str, Callable[[Report], str]] = {
    "bars": bars_table,
    "figures": figures_table,
    "machine": machine_line,
    "plots": plots,
}


def placed(document: str, report: Report) -> str:
    """``document`` with each part between its marks made anew; others stay."""

    def part(match: re.Match[str]) -> str:
        make = PARTS.get(match[2])
        return match[0] if make is None else f"{match[1]}\n{make(report)}\n{match[4]}"

    return _PART.sub(part, document)


def parts_of(document: str) -> set[str]:
    """Names of the parts that have a place in it."""
    return {match[2] for match in _PART.finditer(document)}
