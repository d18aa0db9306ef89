"""What the dashboards and the rules ask of Prometheus, taken apart."""

from __future__ import annotations

import importlib.util
import json
import pathlib
import re
import types
from collections.abc import Iterator
from typing import Any, Final

import attrs
import yaml

from nodecache.metrics import Metrics

ROOT: Final = pathlib.Path(__file__).parent.parent
MONITORING: Final = ROOT / "k8s" / "overlays" / "monitoring"
DASHBOARDS: Final = MONITORING / "dashboards"
RULES: Final = MONITORING / "prometheus-rules.yaml"
CASES: Final = ROOT / "tests" / "rules"

#: What the scraper puts to each series, and what this node's process shows by itself.
OF_THE_SCRAPER: Final = frozenset({"job", "instance", "node"})
OTHERS: Final[dict[str, frozenset[str]]] = {
    "up": frozenset(),
    "process_open_fds": frozenset(),
    "process_max_fds": frozenset(),
    "process_resident_memory_bytes": frozenset(),
    "process_cpu_seconds_total": frozenset(),
    "process_start_time_seconds": frozenset(),
}

_NAME = re.compile(r"\b((?:nodecache|process)_\w+|up|nodecache:[\w:]+)\b(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"[^"]*"')
_GROUPS = re.compile(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)")


@attrs.frozen
class Asked:
    """One query; ``of`` says whose it is, ``shown`` are the labels that its legend wants."""

    of: str
    expr: str
    shown: tuple[str, ...] = ()

    def metrics(self) -> Iterator[tuple[str, frozenset[str]]]:
        """Each metric that is asked for, and the labels that are matched."""
        for match in _NAME.finditer(self.expr):
            yield match[1], frozenset(_MATCHER.findall(match[2] or ""))

    def groups(self) -> frozenset[str]:
        """Labels that are grouped by."""
        found = (part.strip() for match in _GROUPS.findall(self.expr) for part in match.split(","))
        return frozenset(part for part in found if part)


def labels_of() -> dict[str, frozenset[str]]:
    """The labels of every series that a node can have, by name."""
    found = dict(OTHERS)
    for each in Metrics().describe():
        labels = frozenset(each.labels)
        if each.kind == "histogram":
            found[f"{each.name}_bucket"] = labels | {"le"}
            found[f"{each.name}_sum"] = found[f"{each.name}_count"] = labels
        else:
            found[each.name] = labels
    return found


def maker() -> types.ModuleType:
    """The script that writes the dashboards."""
    spec = importlib.util.spec_from_file_location("dashboards_make", DASHBOARDS / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def dashboards() -> dict[str, Any]:
    """Each dashboard by its file's name, as it stands there."""
    return {path.name: json.loads(path.read_text()) for path in sorted(DASHBOARDS.glob("*.json"))}


def panels() -> Iterator[tuple[str, Any]]:
    """Each panel that asks something, with a name for it."""
    for name, board in dashboards().items():
        for panel in board["panels"]:
            if panel["type"] != "row":
                yield f"{name}: {panel['title']}", panel


def queries() -> list[Asked]:
    """Every query of every panel."""
    return [
        Asked(name, target["expr"], tuple(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])))
        for name, panel in panels()
        for target in panel["targets"]
    ]


def groups() -> dict[str, Any]:
    """The rules as Prometheus itself reads them."""
    found: dict[str, Any] = yaml.safe_load(RULES.read_text())["spec"]
    return found


def rules(kind: str) -> dict[str, Any]:
    """The rules of a kind (``alert`` or ``record``) by name."""
    return {
        rule[kind]: rule for group in groups()["groups"] for rule in group["rules"] if kind in rule
    }
