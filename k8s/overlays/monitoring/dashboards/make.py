"""Writes the dashboards of Grafana from ``panels.yaml``: ``python make.py``.

Where a panel stands, its id and what Grafana wants besides is filled in here.
``tests/test_dashboards.py`` fails where a file is not what this writes, and where a query
names what no node has.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

HERE = pathlib.Path(__file__).parent
#: Columns of Grafana's grid, and what a panel and a single value take of it.
WIDTH = 24
PANEL = (8, 8)
VALUE = (3, 4)

DATASOURCE = {"type": "prometheus", "uid": "$datasource"}
VARIABLES = {
    "job": ("Cluster", "label_values(nodecache_build_info, job)"),
    "instance": ("Node", 'label_values(nodecache_build_info{job=~"$job"}, instance)'),
}


def dashboards() -> dict[str, str]:
    """The text of each file, by its name."""
    source = yaml.safe_load((HERE / "panels.yaml").read_text(encoding="utf-8"))
    return {
        f"{name}.json": json.dumps(_dashboard(name, plan, source["rows"]), indent=2) + "\n"
        for name, plan in source["dashboards"].items()
    }


def _dashboard(name: str, plan: dict[str, Any], rows: dict[str, Any]) -> dict[str, Any]:
    return {
        "uid": name,
        "title": plan["title"],
        "tags": ["nodecache"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "links": [
            {
                "type": "dashboards",
                "title": "nodecache",
                "tags": ["nodecache"],
                "asDropdown": False,
                "keepTime": True,
                "includeVars": True,
            }
        ],
        "templating": {"list": [_source(), *map(_variable, plan["variables"])]},
        "annotations": {"list": []},
        "panels": list(_placed([rows[row] for row in plan["rows"]], plan["this"])),
    }


def _source() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "current": {},
        "hide": 0,
    }


def _variable(name: str) -> dict[str, Any]:
    label, query = VARIABLES[name]
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": name == "instance",
        "includeAll": False,
        "current": {},
        "hide": 0,
    }


def _placed(rows: Sequence[dict[str, Any]], this: str) -> Iterator[dict[str, Any]]:
    number, top = 0, 0
    for row in rows:
        number += 1
        place = {"x": 0, "y": top, "w": WIDTH, "h": 1}
        yield {"id": number, "type": "row", "title": row["title"], "gridPos": place, "panels": []}
        top, left, high = top + 1, 0, 0
        for panel in row["panels"]:
            wide, high = VALUE if "value" in panel else PANEL
            if left + wide > WIDTH:
                top, left = top + high, 0
            number += 1
            place = {"x": left, "y": top, "w": wide, "h": high}
            yield _panel(panel, this, {"id": number, "gridPos": place})
            left += wide
        top += high


def _panel(panel: dict[str, Any], this: str, placed: dict[str, Any]) -> dict[str, Any]:
    single = "value" in panel
    lines = {"__auto": panel["value"]} if single else panel["lines"]
    return {
        **placed,
        "type": "stat" if single else "timeseries",
        "title": panel["title"],
        "description": panel.get("text", ""),
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": _defaults(panel, single=single), "overrides": []},
        "options": _options(single=single),
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": DATASOURCE,
                "expr": query.replace("$this", this),
                "legendFormat": name,
                "instant": single,
                "range": not single,
                # What leads from a point of the plot to a trace.
                "exemplar": "_bucket" in query and not single,
            }
            for index, (name, query) in enumerate(lines.items())
        ],
    }


def _options(*, single: bool) -> dict[str, Any]:
    if single:
        reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        return {"reduceOptions": reduce, "colorMode": "value", "graphMode": "none"}
    return {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }


def _defaults(panel: dict[str, Any], *, single: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"unit": panel["unit"], "thresholds": _thresholds(panel)}
    if panel.get("least", 0) is not None:
        found["min"] = 0
    if "most" in panel:
        found["max"] = panel["most"]
    if not single:
        stacked = panel.get("stack", False)
        found["custom"] = {
            "fillOpacity": 30 if stacked else 5,
            "lineWidth": 1,
            "showPoints": "never",
            "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        }
    return found


def _thresholds(panel: dict[str, Any]) -> dict[str, Any]:
    steps = [{"color": "green", "value": None}]
    if "bad_above" in panel:
        steps.append({"color": "red", "value": panel["bad_above"] + 1e-9})
    elif "bad_below" in panel:
        steps = [
            {"color": "red", "value": None},
            {"color": "green", "value": panel["bad_below"]},
        ]
    return {"mode": "absolute", "steps": steps}


def main() -> None:
    """Write them."""
    for name, text in dashboards().items():
        (HERE / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
