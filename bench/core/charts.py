"""Which figures become which plot."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import attrs

from bench.core.plot import Chart, Line, svg
from bench.core.report import Report
from bench.core.samples import Figures

Steps = tuple[tuple[int, str], ...]

#: Places on the axes, and their words; the figures are named by the words.
SIZES: Steps = ((1, "1 MiB"), (10, "10 MiB"), (100, "100 MiB"), (1024, "1 GiB"), (10240, "10 GiB"))
CLIENTS: Steps = tuple((count, f"{count}") for count in (1, 5, 20, 50, 100, 200))
STORED: Steps = tuple((count, f"{count:,}") for count in (10, 1000, 100_000, 1_000_000))


@attrs.frozen
class Plot:
    """Of one row of the report; ``file`` is its name in the documents."""

    row: str
    file: str
    title: str
    across: str
    steps: Steps


PLOTS = (
    Plot(
        "growth-size",
        "performance-size.svg",
        "Processor seconds for each GiB, by the size of a blob",
        "size of the blob",
        SIZES,
    ),
    Plot(
        "growth-clients",
        "performance-clients.svg",
        "Processor seconds for each GiB of a warm blob, by clients at once",
        "clients",
        CLIENTS,
    ),
    Plot(
        "growth-store",
        "performance-store.svg",
        "Processor microseconds for each request, by blobs in the store",
        "blobs in the store",
        STORED,
    ),
)


def lines(figures: Figures, steps: Steps) -> tuple[Line, ...]:
    """One for each who, through the medians of what was measured of it."""
    found = []
    for who, series in figures.items():
        points = [
            (place, statistics.median(series[words])) for place, words in steps if words in series
        ]
        if points:
            found.append(Line(who, tuple(points)))
    return tuple(found)


def drawn(report: Report) -> Iterator[tuple[str, str]]:
    """Name of the file and SVG, of each plot that was measured."""
    rows = {one.key: one for one in report.outcomes}
    for plot in PLOTS:
        if plot.row in rows and (of := lines(rows[plot.row].figures, plot.steps)):
            chart = Chart(plot.title, plot.across, plot.steps, of)
            yield plot.file, svg(chart)
