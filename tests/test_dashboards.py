"""Dashboards and alerts ask only for what nodes have, and each alert says what to do.

That they get an answer as well is for tests/system/test_prometheus.py.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

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
    panels,
    queries,
    rules,
)

ALERTS = rules("alert")
RECORDS = rules("record")
ALL = [
    *queries(),
    *(Asked(name, rule["expr"]) for name, rule in {**ALERTS, **RECORDS}.items()),
]
SOURCE = {"type": "prometheus", "uid": "$datasource"}
#: Of Grafana's own ids of units, those that are used here.
UNITS = {"short", "percentunit", "bytes", "Bps", "s", "ops", "reqps"}
#: What each view has to answer, and what a query of it names.
ITEMS = {
    "bytes by source": ("sum by (source)", "nodecache_response_bytes_total"),
    "upstream bytes saved": ("nodecache_response_bytes_total", "- sum", "nodecache_upstream_bytes"),
    "counted pulls avoided": ("nodecache_counted_pulls_avoided_total",),
    "rate limit left": ("nodecache_upstream_rate_limit_remaining",),
    "hit rate": ("nodecache_cache_hits_total", "nodecache_cache_misses_total"),
    "cold-pull time": ("histogram_quantile", "nodecache_pull_seconds_bucket", "source"),
    "peers' health": ("nodecache_peers{", "state"),
    "disk": ("nodecache_disk_free_bytes",),
    "cache": ("nodecache_cache_bytes",),
}
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


@pytest.mark.parametrize("name", list(dashboards()))
def test_a_dashboard_has_what_grafana_wants_to_import_it(name: str) -> None:
    board = dashboards()[name]
    assert board["uid"] == name.removesuffix(".json")
    assert len(board["uid"]) <= 40
    assert board["schemaVersion"] >= 36, "as Grafana 9 and newer write them"
    assert board["title"]
    assert "id" not in board, "Grafana gives one"
    assert board["time"] == {"from": "now-6h", "to": "now"}
    source, *others = board["templating"]["list"]
    assert (source["type"], source["query"]) == ("datasource", "prometheus")
    for variable in others:
        assert variable["type"] == "query"
        assert variable["datasource"] == SOURCE
        assert variable["query"]["query"] == variable["definition"]
        assert re.fullmatch(
            r"label_values\(nodecache_build_info.*, (job|instance)\)", variable["definition"]
        )


def unknown(said: object, known: object, place: str = "") -> Iterator[str]:
    """Where ``said`` has something that is not in ``known``, or is something else there."""
    if isinstance(said, dict) and isinstance(known, dict):
        for key, value in said.items():
            yield from unknown(value, known.get(key), f"{place}.{key}")
    elif isinstance(said, list) and isinstance(known, list) and len(said) == len(known):
        for index, (one, other) in enumerate(zip(said, known, strict=True)):
            yield from unknown(one, other, f"{place}[{index}]")
    elif said != known:
        yield place


def read_by_grafana(board: dict[str, Any]) -> Any:
    """What is left of a dashboard once Grafana's own types have read and written it."""
    register_default_plugins()
    return json.loads(json.dumps(Dashboard.from_json(board), cls=JSONEncoder))


@pytest.mark.parametrize("name", list(dashboards()))
def test_grafanas_own_types_know_all_that_a_dashboard_says(name: str) -> None:
    board = dashboards()[name]
    lost = [place.rpartition(".")[2] for place in unknown(board, read_by_grafana(board))]
    # What Grafana writes beside the query of a variable, and these types do not have.
    assert set(lost) <= {"definition"}


def test_a_word_that_grafana_does_not_know_is_found() -> None:
    board = dashboards()["nodecache-node.json"]
    panel = next(each for each in board["panels"] if each["type"] == "timeseries")
    panel["fieldConfig"]["defaults"]["custom"]["lineWide"] = 2
    panel["options"]["ledgend"] = {}
    found = {place.rpartition(".")[2] for place in unknown(board, read_by_grafana(board))}
    assert found == {"definition", "lineWide", "ledgend"}


@pytest.mark.parametrize(("name", "panel"), list(panels()), ids=lambda each: str(each)[:60])
def test_a_panel_has_what_grafana_wants_to_draw_it(name: str, panel: Any) -> None:
    assert panel["type"] in {"stat", "timeseries"}, name
    assert panel["datasource"] == SOURCE
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    references = [target["refId"] for target in panel["targets"]]
    assert references == sorted(set(references))
    for target in panel["targets"]:
        assert target["datasource"] == SOURCE
        assert target["instant"] != target["range"]
        assert "\n" not in target["expr"]
    legends = [target["legendFormat"] for target in panel["targets"]]
    assert len(set(legends)) == len(legends), "lines that can not be told apart"


@pytest.mark.parametrize("asked", queries(), ids=lambda asked: asked.of)
def test_rates_are_taken_over_what_grafana_says_and_sums_over_what_is_shown(asked: Asked) -> None:
    """An interval of our own is too short for some scrapers and too long for a close look."""
    windows = re.findall(r"(rate|irate|increase)\([^()]*\[([^\]]+)\]", asked.expr)
    assert {window for how, window in windows if how == "rate"} <= {"$__rate_interval"}
    assert {window for how, window in windows if how == "increase"} <= {"$__range"}
    assert "irate" not in {how for how, _ in windows}
    assert asked.expr.count("[") == len(windows)


@pytest.mark.parametrize("name", list(dashboards()))
@pytest.mark.parametrize("item", list(ITEMS))
def test_both_views_show_all_that_people_ask(name: str, item: str) -> None:
    found = [
        target["expr"]
        for of, panel in panels()
        if of.startswith(f"{name}: ")
        for target in panel["targets"]
    ]
    assert any(all(word in expr for word in ITEMS[item]) for expr in found)


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
