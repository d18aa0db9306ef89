"""The last errors in plain words, and the health in one line."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from nodecache import events
from nodecache.events import Event
from nodecache.watching import CacheNow, Now, PeersNow, Watch, documents
from nodecache.watching.health import GRAVE_FOR, health
from nodecache.watching.troubles import LENGTH, Trouble, Troubles, printable
from nodecache.watching.words import meaning
from tests.strategies_events import kinds, made_up
from tests.test_watching import HUB, START, answered, request
from tests.test_watching import health as upstream_health

DIGEST = "sha256:" + "d" * 64


def told(*found: Event, later: float = 0.0) -> list[dict[str, Any]]:
    watch = Watch([HUB])
    for event in found:
        watch.observe(event, START)
    errors: list[dict[str, Any]] = documents.errors(watch, 5000.0, START + later)["errors"]
    return errors


@pytest.mark.parametrize(
    ("event", "problem", "grave"),
    [
        (
            request(kind="manifest", status=404, source="none", reason="no such tag"),
            "docker.io/library/nginx:latest was answered with 404: no such tag",
            False,
        ),
        (
            request(kind="manifest", status=400, repository="", namespace="", source="none"),
            "a request for a manifest was answered with 400",
            False,
        ),
        (request(status=500, source="none"), "docker.io/library/nginx:latest", True),
        (
            request(outcome="aborted", reason="no byte for 10 s"),
            "the answer for docker.io/library/nginx:latest was broken off: no byte for 10 s",
            False,
        ),
        (request(outcome="stalled", reason="it took nothing"), "10.0.0.1 stopped taking", False),
        (
            upstream_health("https://registry-1.docker.io:443", up=False),
            "https://registry-1.docker.io:443 is down: refused",
            True,
        ),
        (answered(status=429), "docker.io counts no more pulls for now", True),
        (
            events.UpstreamFailed(
                namespace="docker.io",
                leg="cdn",
                method="GET",
                host="cdn.example",
                kind="timeout",
                reason="no answer in time",
                seconds=10,
            ),
            "cdn.example failed to answer (cdn): no answer in time",
            False,
        ),
        (
            events.ServedStale(
                namespace="docker.io",
                repository="a/b",
                reference="1",
                age_seconds=7200,
                reason="down",
            ),
            "docker.io/a/b:1 was served as it was 2 h ago: down",
            False,
        ),
        (
            events.FillFinished(
                digest=DIGEST,
                namespace="docker.io",
                repository="a/b",
                outcome="mismatch",
                total=1,
                fetched=1,
                seconds=1,
                connections=1,
                resumes=0,
                reason="another digest",
            ),
            "ended (mismatch): another digest",
            True,
        ),
        (
            events.PassedThrough(
                digest=DIGEST,
                namespace="docker.io",
                repository="a/b",
                bytes=1,
                reason="the disk is full",
                outcome="complete",
            ),
            "was sent without being stored: the disk is full",
            False,
        ),
        (
            events.CorruptionFound(kind="blob", digest=DIGEST, found_by="scrub"),
            "was rotten on disk (found by scrub)",
            True,
        ),
        (
            events.DiskFailed(operation="write", reason="EIO"),
            "the disk failed to write: EIO",
            True,
        ),
        (events.SettingWarning(message="x is unknown"), "x is unknown", False),
        (
            events.Unexpected(where="fill", error="KeyError(1)", trace="…"),
            "a defect of nodecache in fill: KeyError(1)",
            True,
        ),
        (
            events.PeerFailed(
                peer="b", what="blob", kind="stranger", reason="401", pause_seconds=1
            ),
            "peer b failed (blob, stranger): 401",
            True,
        ),
        (
            events.PeerHealth(peer="b", up=False, reason="silence"),
            "peer b is left alone for now: silence",
            False,
        ),
        (
            events.PeersOff(off=True, pause_seconds=5, reason="most failed"),
            "no peer is asked for 5 s: most failed",
            True,
        ),
        (
            events.DiscoveryFailed(target="nodecache:5001", reason="SERVFAIL"),
            "the peers (nodecache:5001) were not found, those known stay: SERVFAIL",
            False,
        ),
        (
            events.PeerSuspected(peer="b", whose="theirs", digest=DIGEST, segments="0, 3"),
            "peer b sent wrong bytes: segments 0, 3",
            True,
        ),
        (
            events.PeerSuspected(peer="b", whose="ours", digest=DIGEST, segments="0"),
            "peer b says that our segments 0",
            True,
        ),
        (
            events.SecretsRead(count=1, reason="no such file"),
            "the peers' secrets could not be read: no such file",
            True,
        ),
    ],
)
def test_each_trouble_has_words_and_a_next_step(event: Event, problem: str, grave: bool) -> None:
    [error] = told(event)
    assert problem in error["problem"]
    assert error["next"].endswith(".") or error["next"].endswith("?")
    assert error["grave"] is grave


@pytest.mark.parametrize(
    "event",
    [
        request(),
        request(outcome="left"),
        request(status=404, reference="sha256-" + "a" * 64 + ".sig", source="none"),
        request(status=416, source="none"),
        request(kind="other", status=404, source="none"),
        answered(),
        events.UpstreamFailed(
            namespace="docker.io",
            leg="probe",
            method="GET",
            host="h",
            kind="timeout",
            reason="",
            seconds=1,
        ),
        events.SecretsRead(count=2),
    ],
)
def test_what_nobody_needs_to_know_is_not_told(event: Event) -> None:
    assert told(event) == []


def test_an_unknown_namespace_is_told_from_a_missing_image() -> None:
    first, second = told(
        request(kind="manifest", status=404, code="MANIFEST_UNKNOWN"),
        request(kind="manifest", status=404, code="NAME_UNKNOWN", namespace="x.example"),
    )
    assert "--upstream" in first["next"]
    assert "account" in second["next"]


@pytest.mark.parametrize(
    ("begins", "ends"),
    [
        (
            upstream_health("https://registry-1.docker.io:443", up=False),
            upstream_health("https://registry-1.docker.io:443", up=True),
        ),
        (
            events.PeerHealth(peer="b", up=False, reason=""),
            events.PeerHealth(peer="b", up=True, reason=""),
        ),
        (
            events.PeerHealth(peer="10.0.0.2:5001", up=False, reason="refused"),
            events.PeerHealth(peer="10.0.0.2:5001", up=False, reason="it is n2", gone=True),
        ),
        (
            events.PeersOff(off=True, pause_seconds=1, reason=""),
            events.PeersOff(off=False, pause_seconds=0, reason=""),
        ),
        (
            events.DiscoveryFailed(target="nodecache:5001", reason="SERVFAIL"),
            events.DiscoveryWorks(target="nodecache:5001"),
        ),
        (events.SecretsRead(count=1, reason="gone"), events.SecretsRead(count=1)),
    ],
)
def test_what_is_over_is_said_to_be(begins: Event, ends: Event) -> None:
    assert [error["over"] for error in told(begins)] == [False]
    assert [error["over"] for error in told(begins, ends)] == [True]
    assert [(error["over"], error["count"]) for error in told(begins, ends, begins)] == [(False, 2)]
    assert told(ends) == []


def test_the_same_again_is_counted_and_the_latest_stands_first() -> None:
    troubles = Troubles()
    for at, name in ((0, "a"), (1, "b"), (2, "a")):
        troubles.met(Trouble(key=(name,), problem=f"{name}{at}", next_step="x"), START + at)
    first, second = troubles.seen(START + 10)
    assert (first.problem, first.count, first.first, first.last) == ("a2", 2, 10, 8)
    assert (second.problem, second.count) == ("b1", 1)


def test_only_so_many_are_remembered() -> None:
    troubles = Troubles(most=3)
    for number in range(5):
        troubles.met(Trouble(key=(str(number),), problem=str(number), next_step="x"), START)
    assert [seen.problem for seen in troubles.seen(START)] == ["4", "3", "2"]


def test_many_small_troubles_do_not_hide_a_grave_one() -> None:
    troubles = Troubles(most=3)
    troubles.met(Trouble(key=("disk",), problem="disk", next_step="x", grave=True), START)
    for number in range(5):
        troubles.met(Trouble(key=(str(number),), problem=str(number), next_step="x"), START)
    assert [seen.problem for seen in troubles.seen(START)] == ["4", "3", "disk"]
    for number in range(3):
        key = (f"grave{number}",)
        troubles.met(Trouble(key=key, problem=key[0], next_step="x", grave=True), START)
    assert [seen.problem for seen in troubles.seen(START)] == ["grave2", "grave1", "grave0"]


def test_words_from_outside_are_one_line_of_visible_characters() -> None:
    assert printable("a\nb\x1b[31mc\u202ed\0e") == "a b [31mc d e"
    assert len(printable("x" * 10_000)) == LENGTH


HOSTILE = "\0<script>\n" + "x" * 5000


@pytest.mark.parametrize("kind", kinds())
def test_every_event_is_taken(kind: type[Event]) -> None:
    """None breaks the memory, whatever stands in it, and the documents can be made."""
    words = {each.name: HOSTILE for each in attrs.fields(kind) if each.type in ("str", str)}
    event = made_up(kind, **words)
    meaning(event)
    watch = Watch([HUB])
    watch.observe(event, START)
    documents.errors(watch, 5000.0, START)
    documents.status(watch, now(), START)


# Health.


def now(**fields: Any) -> Now:
    common: dict[str, Any] = {
        "at": 5000.0,
        "problem": None,
        "version": "1.0",
        "node_id": "node-1",
        "uptime": 60.0,
        "offline": False,
        "cache": CacheNow(
            bytes=10,
            reserved=0,
            cap=100,
            floor=50,
            disk_free=80,
            disk_total=200,
            blobs=1,
            manifests=1,
            partials=0,
        ),
        "peers": None,
        "in_flight": 0,
        "sending": 0,
        "going": (),
    }
    return Now(**{**common, **fields})


def lines(watch: Watch, around: Now, later: float = 0.0) -> list[tuple[str, str]]:
    at = START + later
    found = health(around, watch.upstreams.seen(at), watch.troubles.seen(at))
    return [(line.state, line.text) for line in found]


def limit(remaining: int) -> events.RateLimitSeen:
    return events.RateLimitSeen(
        namespace="docker.io",
        limit=100,
        remaining=remaining,
        window_seconds=21600,
        resets_at=None,
        source="",
    )


FULL = attrs.evolve(now().cache, disk_free=50)
PEERS = PeersNow(known=5, live=5, aside=0, off=False)


@pytest.mark.parametrize(
    ("seen", "around", "state", "words"),
    [
        ([], now(), "ok", "All is well: nothing was asked of upstream yet."),
        ([answered()], now(), "ok", "All is well: docker.io answers."),
        ([answered()], now(peers=PEERS), "ok", "5 of 5 peers are asked"),
        ([], now(offline=True), "ok", "Serving what is cached"),
        ([], now(problem="the disk is gone"), "bad", "Not ready: the disk is gone."),
        (
            [upstream_health(HUB.origins[0], up=False)],
            now(),
            "warn",
            "docker.io has been down for less than a minute (refused). What is cached is served.",
        ),
        ([upstream_health(HUB.origins[0], up=False)], now(offline=True), "ok", "Serving"),
        ([answered(status=429)], now(), "warn", "its rate limit is used up"),
        ([limit(10)], now(), "warn", "docker.io has 10 of 100 pulls left"),
        ([limit(-3)], now(), "warn", "docker.io has 0 of 100 pulls left"),
        ([answered(), limit(11)], now(), "ok", "All is well"),
        ([], now(cache=FULL), "warn", "The disk is at its floor: 50B free, 50B are kept free."),
        ([], now(peers=attrs.evolve(PEERS, off=True)), "warn", "No peer is asked for now"),
        ([], now(peers=attrs.evolve(PEERS, aside=1)), "warn", "1 of 5 peers failed and is left"),
        ([], now(peers=attrs.evolve(PEERS, aside=2)), "warn", "2 of 5 peers failed and are left"),
        (
            [events.CorruptionFound(kind="blob", digest=DIGEST, found_by="scrub")],
            now(),
            "warn",
            "less than a minute ago: blob",
        ),
    ],
)
def test_health_in_one_line(seen: list[Event], around: Now, state: str, words: str) -> None:
    watch = Watch([HUB])
    for event in seen:
        watch.observe(event, START)
    first = lines(watch, around)[0]
    assert first[0] == state
    assert words in first[1]


def test_what_does_not_serve_comes_first_and_the_rest_is_said_too() -> None:
    watch = Watch([HUB])
    watch.observe(upstream_health(HUB.origins[0], up=False), START)
    found = lines(watch, now(problem="stopping", cache=FULL))
    assert [state for state, _ in found] == ["bad", "warn", "warn"]


def test_a_reason_from_outside_stays_on_its_line() -> None:
    watch = Watch([HUB])
    watch.observe(upstream_health(HUB.origins[0], up=False, reason="a\nb\x1b[2Jc"), START)
    [(_, words)] = lines(watch, now())
    assert "(a b [2Jc)" in words


def test_a_grave_trouble_is_no_news_for_ever() -> None:
    watch = Watch([HUB])
    watch.observe(events.DiskFailed(operation="write", reason="EIO"), START)
    assert lines(watch, now(), GRAVE_FOR - 1)[0][0] == "warn"
    assert lines(watch, now(), GRAVE_FOR)[0][0] == "ok"


def test_braces_from_outside_are_words() -> None:
    """Sentences are formats, and what is put into them is none."""
    watch = Watch([HUB])
    watch.observe(events.DiskFailed(operation="{0.reason", reason="{0} {1.x} {"), START)
    [seen] = watch.troubles.seen(START)
    assert seen.problem == "the disk failed to {0.reason: {0} {1.x} {"
