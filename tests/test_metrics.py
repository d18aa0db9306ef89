"""Metrics: every event counts where it should, and no label grows without bound."""

from __future__ import annotations

import contextvars
import pathlib
import platform
import re
from importlib import metadata
from typing import Any

import attrs
import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

import nodecache
from nodecache import __version__, events
from nodecache.events import Event
from nodecache.metrics import Metrics, Readings, Threads
from nodecache.metrics.room import DISTINCT, OTHER, Bounded
from nodecache.traces import CURRENT, Trace
from tests.strategies_events import made_up, one_of_each


def request(**fields: Any) -> events.RequestFinished:
    given: dict[str, Any] = {
        "request_id": "a-1",
        "client": "127.0.0.1",
        "agent": "containerd",
        "method": "GET",
        "kind": "blob",
        "namespace": "docker.io",
        "repository": "library/alpine",
        "reference": "sha256:" + "a" * 64,
        "status": 200,
        "source": "disk",
        "bytes": 1000,
        "seconds": 0.2,
        "first_byte_seconds": 0.01,
        "outcome": "complete",
    }
    return events.RequestFinished(**{**given, **fields})


READINGS = Readings(
    ready=True,
    busy=False,
    bodies={"mirror": 3, "peer": 1},
    connections={"mirror": 5, "peer": 2, "admin": 1},
    threads={"disk": Threads(most=8, busy=2, waiting=4), "reactor": Threads(10, 0, 0)},
    cap=100,
    floor=20,
    disk_size=1000,
    disk_free=500,
    inodes=50,
    inodes_free=40,
    pins=1,
    peers={"live": 3, "aside": 1},
    view=12345,
    link=12_500_000,
    behind=False,
)


#: Of which everything is shown; the made-up pull of ``one_of_each`` is one that failed.
ALL = (*one_of_each(), made_up(events.PullFinished, failed=0))


class Counted:
    """Metrics that have seen ``seen``; values by name and labels."""

    def __init__(self, *seen: Event) -> None:
        self.metrics = Metrics(images=2)
        self.metrics.live.read = lambda: READINGS
        for event in seen:
            self.metrics.observe(event)
        self._text = self.metrics.render().decode()

    def __call__(self, name: str, **labels: str) -> float | None:
        for family in text_string_to_metric_families(self._text):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return sample.value
        return None

    def families(self) -> list[Any]:
        return list(text_string_to_metric_families(self._text))


def test_requests_are_counted_by_kind_method_source_and_status() -> None:
    seen = Counted(request(), request(method="HEAD", bytes=0), request(status=206))
    by = {"kind": "blob", "source": "disk"}
    assert seen("nodecache_requests_total", method="GET", status="200", **by) == 1
    assert seen("nodecache_requests_total", method="HEAD", status="200", **by) == 1
    assert seen("nodecache_requests_total", method="GET", status="206", **by) == 1
    assert seen("nodecache_response_bytes_total", **by) == 2000
    assert seen("nodecache_request_seconds_count", **by) == 3
    assert seen("nodecache_request_seconds_sum", **by) == pytest.approx(0.6)
    assert seen("nodecache_first_byte_seconds_count", **by) == 3


def test_how_answers_end_is_counted() -> None:
    seen = Counted(request(outcome="left"), request(outcome="stalled"), request(outcome="left"))
    assert seen("nodecache_request_ends_total", kind="blob", outcome="left") == 2
    assert seen("nodecache_request_ends_total", kind="blob", outcome="stalled") == 1


def test_hits_are_from_disk_and_misses_began_a_fetch() -> None:
    seen = Counted(
        request(),
        request(source="stale", kind="manifest"),
        request(source="fill"),
        request(source="flight"),
        request(source="none", status=404),
        request(kind="base", source="none"),
    )
    assert seen("nodecache_cache_hits_total", kind="blob") == 1
    assert seen("nodecache_cache_hits_total", kind="manifest") == 1
    assert seen("nodecache_cache_misses_total", kind="blob") == 1
    assert seen("nodecache_cache_misses_total", kind="manifest") == 0
    assert seen("nodecache_cache_hits_total", kind="base") is None


def test_coalesced_stale_and_tags_are_counted() -> None:
    seen = Counted(
        events.Coalesced(kind="blob"),
        events.Coalesced(kind="blob"),
        events.ServedStale(
            namespace="docker.io", repository="r", reference="t", age_seconds=5, reason="429"
        ),
        events.TagResolved(
            namespace="docker.io", repository="r", tag="t", digest="d", outcome="changed"
        ),
    )
    assert seen("nodecache_coalesced_total", kind="blob") == 2
    assert seen("nodecache_stale_total", namespace="docker.io") == 1
    assert seen("nodecache_tag_lookups_total", outcome="changed") == 1


def test_the_size_of_the_cache_and_evictions_are_shown() -> None:
    seen = Counted(
        events.CacheSize(bytes=5, reserved=6, blobs=7, manifests=8),
        events.CacheSize(bytes=50, reserved=60, blobs=70, manifests=80),
        events.Evicted(kind="blob", digest="d", bytes=40, idle_seconds=9),
        events.Evicted(kind="blob", digest="d", bytes=2, idle_seconds=9),
    )
    assert seen("nodecache_cache_bytes") == 50
    assert seen("nodecache_cache_reserved_bytes") == 60
    assert seen("nodecache_cache_blobs") == 70
    assert seen("nodecache_cache_manifests") == 80
    assert seen("nodecache_evictions_total", kind="blob") == 2
    assert seen("nodecache_evicted_bytes_total", kind="blob") == 42
    assert seen("nodecache_evictions_total", kind="partial") == 0


def test_fetches_are_counted_from_begin_to_end() -> None:
    begun = events.FillStarted(digest="d", namespace="n", repository="r", resumed_bytes=0)
    ended = events.FillFinished(
        digest="d",
        namespace="n",
        repository="r",
        outcome="stored",
        total=9,
        fetched=9,
        seconds=2,
        connections=1,
        resumes=0,
        from_peers=4,
    )
    other = attrs.evolve(begun, digest="another")
    seen = Counted(begun, other, ended, events.FillResumed(digest="d", offset=1, reason="cut"))
    assert seen("nodecache_fills_active") == 1
    assert seen("nodecache_fills_total", outcome="stored") == 1
    assert seen("nodecache_fill_seconds_sum") == 2
    assert seen("nodecache_fill_resumes_total") == 1
    assert seen("nodecache_fill_bytes_total", origin="peer") == 4
    assert seen("nodecache_fill_bytes_total", origin="upstream") == 5


def test_a_fetch_that_failed_before_it_was_told_as_begun_leaves_no_trace_among_the_active() -> None:
    assert Counted(made_up(events.FillFinished))("nodecache_fills_active") == 0


def test_bodies_passed_through_are_counted() -> None:
    seen = Counted(
        events.PassedThrough(
            digest="d", namespace="n", repository="r", bytes=77, reason="full", outcome="mismatch"
        )
    )
    assert seen("nodecache_passed_through_total", outcome="mismatch") == 1
    assert seen("nodecache_passed_through_bytes_total") == 77


def test_upstream_is_told_by_status_failure_bytes_tokens_and_health() -> None:
    by = {"namespace": "docker.io", "leg": "blob"}
    seen = Counted(
        events.UpstreamAnswered(**by, method="GET", host="h", status=206, seconds=0.3),
        events.UpstreamAnswered(**by, method="GET", host="h", status=99999, seconds=0.3),
        events.UpstreamFailed(
            **by, method="GET", host="h", kind="timeout", reason="silence", seconds=10
        ),
        events.UpstreamBytes(**by, bytes=123),
        events.TokenFetched(namespace="docker.io", host="h", scope="s", life_seconds=300),
        events.UpstreamHealth(origin="https://a", up=False, reason="connect"),
        events.UpstreamHealth(origin="https://b", up=True, reason=""),
    )
    assert seen("nodecache_upstream_requests_total", method="GET", status="206", **by) == 1
    assert seen("nodecache_upstream_requests_total", method="GET", status=OTHER, **by) == 1
    assert seen("nodecache_upstream_request_seconds_count", **by) == 2
    assert seen("nodecache_upstream_failures_total", kind="timeout", **by) == 1
    assert seen("nodecache_upstream_bytes_total", **by) == 123
    assert seen("nodecache_upstream_tokens_total", namespace="docker.io") == 1
    assert seen("nodecache_upstream_up", origin="https://a") == 0
    assert seen("nodecache_upstream_up", origin="https://b") == 1


def test_the_rate_limit_is_shown_as_it_was_last_seen() -> None:
    def limit(remaining: int | None, resets_at: float | None) -> events.RateLimitSeen:
        return events.RateLimitSeen(
            namespace="docker.io",
            limit=100,
            remaining=remaining,
            window_seconds=21600,
            resets_at=resets_at,
            source="1.2.3.4",
        )

    seen = Counted(limit(20, 1_800_000_000.0), limit(-3, None))
    by = {"namespace": "docker.io"}
    assert seen("nodecache_upstream_rate_limit", **by) == 100
    assert seen("nodecache_upstream_rate_limit_remaining", **by) == -3
    assert seen("nodecache_upstream_rate_limit_window_seconds", **by) == 21600
    assert seen("nodecache_upstream_rate_limit_reset_timestamp_seconds", **by) == 1_800_000_000


def test_what_should_not_happen_is_counted() -> None:
    seen = Counted(
        events.CorruptionFound(kind="blob", digest="d", found_by="scrub"),
        events.DiskFailed(operation="fsync", reason="EIO"),
        events.Unexpected(where="w", error="e", trace="t"),
    )
    assert seen("nodecache_corruptions_total", kind="blob", found_by="scrub") == 1
    assert seen("nodecache_disk_failures_total", operation="fsync") == 1
    assert seen("nodecache_unexpected_total") == 1


def test_pulls_are_counted_complete_or_failed() -> None:
    def pull(failed: int) -> events.PullFinished:
        return events.PullFinished(
            client="c",
            agent="a",
            namespace="n",
            repository="r",
            reference="t",
            digest="d",
            requests=4,
            bytes=9,
            seconds=3,
            bytes_by_source={"disk": 9},
            source="disk",
            failed=failed,
        )

    seen = Counted(pull(0), pull(0), pull(1))
    assert seen("nodecache_pulls_total", result="complete") == 2
    assert seen("nodecache_pulls_total", result="failed") == 1
    assert seen("nodecache_pull_seconds_count", source="disk") == 3
    assert seen("nodecache_pull_bytes_total", source="disk") == 27


def test_the_running_release_is_named() -> None:
    labels = {"version": __version__, "python": platform.python_version()}
    labels["twisted"] = metadata.version("Twisted")
    assert Counted()("nodecache_build_info", **labels) == 1


def test_every_event_can_be_observed() -> None:
    """Also those that count nothing."""
    assert Counted(*one_of_each())("nodecache_unexpected_total") == 1


def test_names_follow_the_conventions_of_prometheus() -> None:
    for family in Counted(*ALL).families():
        name = family.name
        if name.startswith("process_"):
            continue  # the client library's own
        assert re.fullmatch(r"nodecache_[a-z]+(_[a-z]+)*", name), name
        assert family.documentation.endswith("."), name
        totals = [sample.name for sample in family.samples if sample.name.endswith("_total")]
        assert (family.type == "counter") == bool(totals), name
        assert not re.search(r"_(ms|kb|mb|minutes|hours|percent)(_|$)", name), name


@pytest.mark.parametrize("each", Metrics(images=1).describe(), ids=lambda each: each.name)
def test_a_help_text_says_what_it_is_without_its_neighbours(each: Any) -> None:
    """Prometheus and Grafana show one at a time."""
    assert each.help.endswith(".")
    assert len(each.help.split()) >= 3
    assert not re.match(r"Of (these|this|that|the names)\b|How long, in all", each.help)
    assert not re.search(r"\b(that disk|these pulls|after that)\b", each.help)


def test_every_metric_is_described_with_its_kind_and_labels() -> None:
    described = {each.name: each for each in Metrics(images=2).describe()}
    shown = {family.name: family for family in Counted(*ALL).families()}
    ours = {name for name in shown if name.startswith("nodecache_")}
    assert {name.removesuffix("_total") for name in described} == ours
    for name, each in described.items():
        family = shown[name.removesuffix("_total")]
        assert (each.kind, each.help) == (family.type, family.documentation)
        labels = {label for sample in family.samples for label in sample.labels}
        assert set(each.labels) == labels - {"le"}


def test_what_a_client_chooses_is_no_label() -> None:
    metrics = Metrics()
    for number in range(300):
        metrics.observe(
            request(
                method=f"M{number}",
                agent=f"agent-{number}",
                client=f"10.0.0.{number}",
                namespace=f"ns{number}",
                repository=f"r/{number}",
                reference=f"t{number}",
                reason=f"because {number}",
            )
        )
    text = metrics.render().decode()
    assert len([line for line in text.splitlines() if "nodecache_requests_total{" in line]) == 1
    for word in ("M7", "agent-7", "10.0.0.7", "ns7", "r/7", "t77", "because"):
        assert f'"{word}' not in text


def test_hosts_of_upstream_are_told_apart_up_to_a_limit() -> None:
    metrics = Metrics()
    for number in range(1000):
        metrics.observe(events.UpstreamHealth(origin=f"https://{number}", up=True, reason=""))
        metrics.observe(events.DiskFailed(operation=f"open {number}", reason=""))
    lines = metrics.render().decode().splitlines()
    assert len([line for line in lines if line.startswith("nodecache_upstream_up{")]) == 33
    assert len([line for line in lines if "nodecache_disk_failures_total{" in line]) == 33


def test_a_known_value_stays_known_when_the_limit_is_reached() -> None:
    label = Bounded(2)
    assert [label(value) for value in ("a", "b", "c", "a")] == ["a", "b", OTHER, "a"]
    assert DISTINCT >= 8


# What was saved.


def test_manifests_that_upstream_was_not_asked_for_are_counted_pulls_avoided() -> None:
    manifest = {"kind": "manifest", "bytes": 10}
    peer: dict[str, Any] = {"peer": "n2", "mode": "may-fetch", "seconds": 0.1}
    seen = Counted(
        request(**manifest),
        request(**manifest, source="flight"),
        request(**manifest, source="stale"),
        events.PeerAsked(**peer, what="manifest", outcome="hit"),
        # None of these would have been counted, or was avoided.
        events.PeerAsked(**peer, what="manifest", outcome="fetched"),
        request(**manifest, method="HEAD"),
        request(**manifest, source="fill"),
        request(**manifest, source="none", status=404),
        request(kind="blob"),
        events.PeerAsked(**peer, what="manifest", outcome="absent"),
        events.PeerAsked(**peer, what="tag", outcome="hit"),
        events.PeerAsked(**peer, what="manifest", outcome="hit", head=True),
    )
    assert seen("nodecache_counted_pulls_avoided_total") == 4


def test_bytes_that_did_not_come_from_upstream_are_saved() -> None:
    fill = {"outcome": "stored", "fetched": 100}
    seen = Counted(
        request(bytes=1),
        request(bytes=10, source="flight"),
        request(bytes=100, source="stale", kind="manifest"),
        made_up(events.FillFinished, **fill, from_peers=1000),
        # Not these.
        request(bytes=5, source="fill"),
        request(bytes=5, source="none", status=404),
        made_up(events.FillFinished, outcome="kept", fetched=100, from_peers=5),
    )
    assert seen("nodecache_upstream_saved_bytes_total") == 1111


# Names of images, where they are asked for.


def pulled(name: str, **fields: Any) -> Event:
    given = {"namespace": "docker.io", "requests": 4, "failed": 0, "bytes": 7}
    return made_up(events.PullFinished, repository=name, **{**given, **fields})


def test_images_are_no_label_unless_the_settings_say_so() -> None:
    metrics = Metrics()
    metrics.observe(pulled("library/alpine"))
    assert b"alpine" not in metrics.render()
    assert "nodecache_image_pulls_total" not in [each.name for each in metrics.describe()]


def test_images_are_counted_by_name_up_to_a_bound() -> None:
    """And what failed as a whole takes no place: a client could make up names."""
    seen = Counted(
        pulled("made/up", failed=4),
        *(pulled(f"library/{name}") for name in ("a", "b", "c", "d", "a")),
    )
    by = "nodecache_image_pulls_total"
    assert seen(by, image="docker.io/library/a") == 2
    assert seen(by, image="docker.io/library/b") == 1
    assert seen(by, image=OTHER) == 2
    assert seen(by, image="docker.io/made/up") is None
    assert seen("nodecache_image_bytes_total", image="docker.io/library/a") == 14


# How the node is at the moment.


def test_a_node_is_read_when_it_is_scraped() -> None:
    seen = Counted()
    assert seen("nodecache_ready") == 1
    assert seen("nodecache_loop_busy") == 0
    assert seen("nodecache_open_bodies", port="peer") == 1
    assert seen("nodecache_connections", port="mirror") == 5
    assert seen("nodecache_threads", pool="reactor") == 10
    assert seen("nodecache_threads_busy", pool="disk") == 2
    assert seen("nodecache_thread_jobs_waiting", pool="disk") == 4
    assert seen("nodecache_cache_max_bytes") == 100
    assert seen("nodecache_disk_floor_bytes") == 20
    assert seen("nodecache_disk_free_bytes") == 500
    assert seen("nodecache_peers", state="aside") == 1
    assert seen("nodecache_peers_view_checksum") == 12345
    assert seen("nodecache_link_bytes_per_second") == 12_500_000
    assert seen("nodecache_link_behind") == 0


def test_what_is_not_known_of_a_node_is_not_shown_as_0() -> None:
    assert b"nodecache_disk_free_bytes" not in Metrics().render()


def test_how_late_the_reactor_is_is_a_histogram() -> None:
    metrics = Metrics()
    metrics.loop.lagged(0.003)
    metrics.loop.lagged(-0.001)
    metrics.loop.stood_still(60)
    text = metrics.render().decode()
    assert 'nodecache_loop_lag_seconds_bucket{le="0.001"} 1.0' in text
    assert 'nodecache_loop_lag_seconds_bucket{le="0.005"} 2.0' in text
    assert "nodecache_loop_stalls_total 1.0" in text
    assert "nodecache_loop_stalled_seconds_total 60.0" in text


def test_what_may_be_counted_is_there_from_the_start() -> None:
    """A rate over a counter misses its first value, which for these is the one that matters."""
    metrics = Metrics()
    metrics.expect(["docker.io", "ghcr.io"])
    text = metrics.render().decode()
    for line in (
        'nodecache_stale_total{namespace="ghcr.io"} 0.0',
        'nodecache_corruptions_total{found_by="scrub",kind="blob"} 0.0',
        'nodecache_peer_suspected_total{whose="theirs"} 0.0',
        'nodecache_pulls_total{result="failed"} 0.0',
    ):
        assert line in text


def test_every_place_where_corruption_is_found_is_shown_from_the_start() -> None:
    """So that a new one is not forgotten."""
    found = set()
    for path in (pathlib.Path(nodecache.__file__).parent).rglob("*.py"):
        found |= set(re.findall(r'found_by="(\w+)"', path.read_text()))
    text = Metrics().render().decode()
    assert found
    for each in found:
        assert f'nodecache_corruptions_total{{found_by="{each}"' in text, each


def test_every_operation_of_the_disk_is_shown_from_the_start() -> None:
    found = set()
    for path in (pathlib.Path(nodecache.__file__).parent).rglob("*.py"):
        text = path.read_text()
        found |= set(re.findall(r'DiskFailed\(operation="([\w ]+)"', text))
        found |= set(re.findall(r'if_possible\(\s*[\w.]+,\s*"([\w ]+)"', text))
    text = Metrics().render().decode()
    assert found
    for each in found:
        assert f'nodecache_disk_failures_total{{operation="{each}"}} 0.0' in text, each


# For a scraper that wants to know which request it was.

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
TRACE = "ab" * 16


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        (OPENMETRICS, True),
        ("text/plain, application/openmetrics-text", True),
        ("application/OpenMetrics-Text; version=0.0.1; q=0.75", True),
        ("application/openmetrics-text;q=0", False),
        ("text/plain;version=0.0.4", False),
        ("*/*", False),
        ("", False),
        (";;,,=", False),
    ],
)
def test_a_scraper_gets_the_format_that_it_asks_for(accept: str, openmetrics: bool) -> None:
    body, kind = Metrics().answer(accept)
    assert kind.startswith("application/openmetrics-text" if openmetrics else "text/plain")
    assert body.endswith(b"# EOF\n") == openmetrics


def test_values_lead_to_the_trace_that_they_come_from() -> None:
    seen = Counted(request(trace_id=TRACE), made_up(events.PullFinished, trace_id=TRACE))

    def inside() -> None:
        CURRENT.set(Trace(TRACE, "1" * 16))
        seen.metrics.observe(made_up(events.UpstreamAnswered))

    contextvars.copy_context().run(inside)
    body, _ = seen.metrics.answer(OPENMETRICS)
    found = {
        sample.name: sample.exemplar.labels
        for family in openmetrics_families(body.decode())
        for sample in family.samples
        if sample.exemplar is not None
    }
    assert set(found) == {
        "nodecache_request_seconds_bucket",
        "nodecache_first_byte_seconds_bucket",
        "nodecache_pull_seconds_bucket",
        "nodecache_upstream_request_seconds_bucket",
    }
    assert all(labels == {"trace_id": TRACE} for labels in found.values())
    assert b"trace_id" not in seen.metrics.render()


def test_everything_can_be_said_in_both_formats() -> None:
    seen = Counted(*one_of_each())
    body, _ = seen.metrics.answer(OPENMETRICS)
    plain = {family.name.removesuffix("_total") for family in seen.families()}
    assert {family.name for family in openmetrics_families(body.decode())} == plain
