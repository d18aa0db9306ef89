"""Metrics: every event counts where it should, and no label grows without bound."""

from __future__ import annotations

import re
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from nodecache import __version__, events
from nodecache.events import Event
from nodecache.metrics import Metrics
from nodecache.metrics.room import DISTINCT, OTHER, Bounded
from tests.strategies_events import one_of_each


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


class Counted:
    """Metrics that have seen ``seen``; values by name and labels."""

    def __init__(self, *seen: Event) -> None:
        self.metrics = Metrics()
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
    )
    seen = Counted(begun, begun, ended, events.FillResumed(digest="d", offset=1, reason="cut"))
    assert seen("nodecache_fills_active") == 1
    assert seen("nodecache_fills_total", outcome="stored") == 1
    assert seen("nodecache_fill_seconds_sum") == 2
    assert seen("nodecache_fill_resumes_total") == 1


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
            failed=failed,
        )

    seen = Counted(pull(0), pull(0), pull(1))
    assert seen("nodecache_pulls_total", result="complete") == 2
    assert seen("nodecache_pulls_total", result="failed") == 1
    assert seen("nodecache_pull_seconds_count") == 3


def test_the_running_release_is_named() -> None:
    assert Counted()("nodecache_build_info", version=__version__) == 1


def test_every_event_can_be_observed() -> None:
    """Also those that count nothing."""
    assert Counted(*one_of_each())("nodecache_unexpected_total") == 1


def test_names_follow_the_conventions_of_prometheus() -> None:
    for family in Counted(*one_of_each()).families():
        name = family.name
        if name.startswith("process_"):
            continue  # the client library's own
        assert re.fullmatch(r"nodecache_[a-z]+(_[a-z]+)*", name), name
        assert family.documentation.endswith("."), name
        totals = [sample.name for sample in family.samples if sample.name.endswith("_total")]
        assert (family.type == "counter") == bool(totals), name
        assert not re.search(r"_(ms|kb|mb|minutes|hours|percent)(_|$)", name), name


def test_every_metric_is_described_with_its_kind_and_labels() -> None:
    described = {each.name: each for each in Metrics().describe()}
    shown = {family.name: family for family in Counted(*one_of_each()).families()}
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
