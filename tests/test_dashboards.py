"""Dashboards and alerts ask only for what nodes have, and each alert says what to do.

That they get an answer as well is for tests/system/test_prometheus.py.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
import yaml

from tests.monitoring_kit import (
    CASES,
    DASHBOARDS,
    OF_THE_SCRAPER,
    ROOT,
    Asked,
    dashboards,
    groups,
    labels_of,
    maker,
    queries,
    rules,
)

ALERTS = rules("alert")
RECORDS = rules("record")
ALL = [
    *queries(),
    *(Asked(name, rule["expr"]) for name, rule in {**ALERTS, **RECORDS}.items()),
]
RUNBOOK = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")


def test_the_dashboards_are_what_their_source_says() -> None:
    """Otherwise run ``make.py`` beside them."""
    written = {path.name: path.read_text() for path in DASHBOARDS.glob("*.json")}
    assert written == maker().dashboards()


def test_there_is_a_view_of_the_cluster_and_one_of_a_node() -> None:
    assert list(dashboards()) == ["nodecache-cluster.json", "nodecache-node.json"]


@pytest.mark.parametrize("asked", ALL, ids=lambda asked: asked.of)
def test_every_metric_and_label_that_is_asked_for_exists(asked: Asked) -> None:
    known = labels_of()
    had: set[str] = set(OF_THE_SCRAPER)
    for name, matched in asked.metrics():
        assert name in known or name in RECORDS, name
        had |= known.get(name, frozenset())
        assert matched <= known.get(name, frozenset()) | OF_THE_SCRAPER, name
    assert len(had) > len(OF_THE_SCRAPER) or list(asked.metrics())
    assert asked.groups() <= had
    assert set(asked.shown) <= had


@pytest.mark.parametrize("asked", queries(), ids=lambda asked: asked.of)
def test_what_a_legend_names_is_not_aggregated_away(asked: Asked) -> None:
    if asked.groups() and asked.shown:
        assert set(asked.shown) <= asked.groups()


def test_a_name_that_no_node_has_is_found() -> None:
    with pytest.raises(AssertionError, match="nodecache_no_such_total"):
        test_every_metric_and_label_that_is_asked_for_exists(
            Asked("made up", "rate(nodecache_no_such_total[5m])")
        )
    with pytest.raises(AssertionError):
        test_every_metric_and_label_that_is_asked_for_exists(
            Asked("made up", 'sum by (image) (nodecache_ready{job="a"})')
        )
    with pytest.raises(AssertionError):
        test_every_metric_and_label_that_is_asked_for_exists(
            Asked("made up", 'nodecache_peers{peer="a"}')
        )


@pytest.mark.parametrize("name", list(dashboards()))
def test_panels_lie_side_by_side_within_the_grid(name: str) -> None:
    panels = dashboards()[name]["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in panels
        for x, y in itertools.product(range(panel["gridPos"]["w"]), range(panel["gridPos"]["h"]))
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24


@pytest.mark.parametrize("name", list(dashboards()))
def test_a_dashboard_asks_for_the_data_source_and_for_what_it_shows(name: str) -> None:
    board = dashboards()[name]
    names = [variable["name"] for variable in board["templating"]["list"]]
    assert names[:2] == ["datasource", "job"]
    used = set(re.findall(r"\$(\w+)", str([panel.get("targets") for panel in board["panels"]])))
    assert used <= {*names, "__rate_interval", "__range"}
    assert set(names) <= used


# Alerts.


@pytest.mark.parametrize("name", list(ALERTS))
def test_an_alert_says_what_is_wrong_and_what_to_do(name: str) -> None:
    notes = ALERTS[name]["annotations"]
    assert set(notes) == {"summary", "description", "runbook"}
    assert notes["runbook"] == f"docs/alerts.md#{name.lower()}"
    assert ALERTS[name]["labels"]["severity"] in {"info", "warning", "critical"}


def test_every_alert_has_its_page_and_every_page_its_alert() -> None:
    assert re.findall(r"^## (Nodecache\w+)$", RUNBOOK, re.MULTILINE) == list(ALERTS)


@pytest.mark.parametrize("name", list(ALERTS))
def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not(name: str) -> None:
    cases: list[Any] = [
        case
        for path in CASES.glob("*.yml")
        for test in yaml.safe_load(path.read_text())["tests"]
        for case in test.get("alert_rule_test", [])
        if case["alertname"] == name
    ]
    assert any(case["exp_alerts"] for case in cases)
    assert any(not case["exp_alerts"] for case in cases)


def test_groups_have_names_of_their_own() -> None:
    names = [group["name"] for group in groups()["groups"]]
    assert len(set(names)) == len(names)
