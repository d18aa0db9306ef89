"""Writes what a run found into docs/performance.md, and its plots beside it.

python -m bench --json docs/performance.json
python -m bench.render [docs/performance.json]
"""

from __future__ import annotations

import pathlib
import sys

from bench.core.charts import drawn
from bench.core.document import placed
from bench.core.report import Report

DOCS = pathlib.Path(__file__).parent.parent / "docs"
DOCUMENT, FOUND = DOCS / "performance.md", DOCS / "performance.json"


def main() -> None:
    found = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else FOUND
    report = Report.read(found.read_text(encoding="utf-8"))
    text = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(placed(text, report), encoding="utf-8")
    for name, svg in drawn(report):
        (DOCS / name).write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
