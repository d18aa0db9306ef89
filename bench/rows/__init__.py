"""The rows of the table, in its order: one module for each kind of work."""

from __future__ import annotations

from bench.rows import (
    cold,
    connections,
    crowd,
    growth,
    idle,
    lag,
    layers,
    links,
    manifests,
    memory,
    start,
    tls,
    warm,
)
from bench.rows.row import Row

ROWS: tuple[Row, ...] = (
    *warm.ROWS,
    *manifests.ROWS,
    *lag.ROWS,
    *cold.ROWS,
    *links.ROWS,
    *crowd.ROWS,
    *layers.ROWS,
    *tls.ROWS,
    *memory.ROWS,
    *start.ROWS,
    *connections.ROWS,
    *idle.ROWS,
    *growth.ROWS,
)
