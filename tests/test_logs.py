"""Log lines: stable names, plain words, and no secrets."""

from __future__ import annotations

import io
import json
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from nodecache import events
from nodecache.events import Event, Level
from nodecache.logs import Console, LogWriter, UnexpectedObserver, scrub
from tests.strategies_events import kinds, made_up, one_of_each

WALL = 1_800_000_000.25
TRACE = "a" * 32


def lines(*seen: Event, form: str = "json", **options: Any) -> list[str]:
    stream = io.StringIO()
    writer = LogWriter(stream, form, wall=lambda: WALL, **options)
    for event in seen:
        writer.observe(event)
    return stream.getvalue().splitlines()


def record(event: Event) -> dict[str, Any]:
    (line,) = lines(event)
    found: dict[str, Any] = json.loads(line)
    return found


PULL = events.PullFinished(
    client="127.0.0.1",
    agent="docker/29",
    namespace="docker.io",
    repository="library/alpine",
    reference="3.20",
    digest="sha256:" + "a" * 64,
    requests=4,
    bytes=3_565_158,
    seconds=0.84,
    bytes_by_source={"disk": 3_565_158},
    source="disk",
    runtime="docker",
    failed=0,
    trace_id=TRACE,
    span_id="1" * 16,
)


def test_a_json_line_has_time_level_name_and_the_fields_of_the_event() -> None:
    assert record(PULL) == {
        "time": "2027-01-15T08:00:00.250Z",
        "level": "info",
        "event": "pull",
        "client": "127.0.0.1",
        "agent": "docker/29",
        "namespace": "docker.io",
        "repository": "library/alpine",
        "reference": "3.20",
        "digest": "sha256:" + "a" * 64,
        "requests": 4,
        "bytes": 3_565_158,
        "seconds": 0.84,
        "bytes_by_source": {"disk": 3_565_158},
        "source": "disk",
        "senders": {},
        "runtime": "docker",
        "failed": 0,
        "trace_id": TRACE,
        "span_id": "1" * 16,
    }


def test_names_of_events_are_the_documented_ones_and_differ() -> None:
    names = [kind.name for kind in kinds()]
    assert len(set(names)) == len(names)
    assert {"request", "pull", "fill", "stale", "upstream", "start", "stop"} <= set(names)


def test_no_field_of_an_event_hides_what_every_line_has() -> None:
    for event in one_of_each():
        assert not {"time", "level", "event"} & set(attrs.asdict(event))


def test_every_event_is_one_line_of_json() -> None:
    for event in one_of_each():
        if not isinstance(event, events.CacheSize):
            assert record(event)["event"] == event.name


def test_the_gauge_of_the_cache_is_left_to_the_metrics() -> None:
    assert lines(made_up(events.CacheSize)) == []


def test_a_level_can_be_asked_for() -> None:
    seen = (made_up(events.RequestFinished), PULL, made_up(events.DiskFailed))
    assert len(lines(*seen)) == 3
    assert len(lines(*seen, level=Level.INFO)) == 2
    assert len(lines(*seen, level=Level.ERROR)) == 1


@pytest.mark.parametrize(
    ("leg", "status", "told"),
    [
        ("manifest", 403, True),
        ("manifest", 429, True),
        ("blob", 403, True),
        ("cdn", 403, False),  # a link is used up
        ("manifest", 401, False),  # asks for a token
        ("manifest", 404, False),
        ("manifest", 200, False),
    ],
)
def test_an_upstream_that_refuses_is_told_at_the_usual_level(
    leg: str, status: int, *, told: bool
) -> None:
    answered = events.UpstreamAnswered(
        namespace="docker.io", leg=leg, method="GET", host="hub", status=status, seconds=0.1
    )
    found = [json.loads(line)["level"] for line in lines(answered, level=Level.INFO)]
    assert found == (["warning"] if told else [])


def test_numbers_that_json_does_not_know_are_null() -> None:
    found = record(made_up(events.Stopped, seconds=float("nan")))
    assert found["seconds"] is None
    assert record(made_up(events.Stopped, seconds=float("inf")))["seconds"] is None


def test_a_field_that_is_no_text_is_written_as_text() -> None:
    assert record(made_up(events.Stopping, reason=OSError("gone")))["reason"] == "gone"


@given(st.text(max_size=200))
@settings(max_examples=100, deadline=None)
def test_no_text_breaks_a_line(text: str) -> None:
    found = made_up(events.SettingWarning, message=text)
    assert len(lines(found)) == 1
    assert len(lines(found)[0].splitlines()) == 1


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def test_a_log_that_can_not_be_written_stops_nothing() -> None:
    LogWriter(Broken()).observe(PULL)
    closed = io.StringIO()
    closed.close()
    LogWriter(closed).observe(PULL)


def test_an_event_that_can_not_be_told_is_named() -> None:
    class Odd:
        def __str__(self) -> str:
            raise ZeroDivisionError("a defect")

    (line,) = lines(made_up(events.Stopping, reason=Odd()))
    assert json.loads(line)["event"] == "stop"


# In plain words.

START = (
    "nodecache 1 listens on l (admin a), stores in d"
    " (7 blobs, 2KiB, after an unclean stop), upstream u\n"
    "    try it: docker pull l/library/alpine (its line follows when the pull is over)"
)


def told(event: Event) -> str:
    """The console's line, without its time."""
    found = lines(event, form="console")
    assert found[0][2] == found[0][5] == ":"
    return "\n".join([found[0][9:], *found[1:]])


@pytest.mark.parametrize(
    ("listen", "typed"),
    [
        ("127.0.0.1:5000, [::1]:5000", "localhost:5000"),
        ("[::]:80", "localhost:80"),
        ("192.0.2.1:5000", "192.0.2.1:5000"),
    ],
)
def test_the_start_says_how_to_try_it(listen: str, typed: str) -> None:
    started = made_up(events.Started, listen=listen)
    assert f"\n    try it: docker pull {typed}/library/alpine " in told(started)


def test_a_pull_is_one_line_of_plain_words() -> None:
    assert told(PULL) == (
        "pulled docker.io/library/alpine:3.20 for 127.0.0.1: 3.4MiB in 0.8 s, all from disk"
    )


@pytest.mark.parametrize(
    ("count", "words"), [(1, "its request failed"), (3, "all 3 requests failed")]
)
def test_a_pull_of_which_nothing_came_is_not_called_one(count: int, words: str) -> None:
    refused = attrs.evolve(PULL, requests=count, failed=count)
    assert told(refused) == (f"could not pull docker.io/library/alpine:3.20 for 127.0.0.1: {words}")


def test_a_failing_upstream_is_told_in_words_and_its_probes_are_not() -> None:
    said = {"host": "h", "method": "HEAD", "reason": "silence"}
    failed = made_up(events.UpstreamFailed, **said, leg="manifest")
    assert told(failed) == "warning: h failed to answer (HEAD, manifest): silence"
    assert lines(made_up(events.UpstreamFailed, **said, leg="probe"), form="console") == []


def test_a_pull_says_what_came_from_where_and_what_failed() -> None:
    mixed = made_up(
        events.PullFinished,
        namespace="docker.io",
        repository="library/alpine",
        reference="sha256:abc",
        client="::1",
        bytes=4096,
        seconds=120.4,
        bytes_by_source={"fill": 1024, "disk": 3072, "none": 95},
        failed=1,
        requests=5,
    )
    assert told(mixed) == (
        "pulled docker.io/library/alpine@sha256:abc for ::1: 4KiB in 120 s,"
        " 3KiB from disk, 1KiB fetched; 1 of 5 requests failed"
    )


def test_a_terminal_is_spared_what_only_machines_want() -> None:
    quiet = [event for event in one_of_each() if not lines(event, form="console")]
    assert {type(event) for event in quiet} >= {events.RequestFinished, events.UpstreamAnswered}
    assert all(event.level < Level.WARNING for event in quiet)
    assert lines(made_up(events.FillFinished, outcome="stored"), form="console") == []


def test_warnings_and_errors_are_marked() -> None:
    stale = made_up(
        events.ServedStale,
        namespace="n",
        repository="r",
        reference="t",
        age_seconds=9,
        reason="429",
    )
    assert told(stale) == "warning: served n/r:t as it was 9.0 s ago: 429"
    assert told(made_up(events.DiskFailed, operation="fsync", reason="EIO")) == (
        "error: the disk failed to fsync: EIO"
    )


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (
            made_up(
                events.Started,
                version="1",
                listen="l",
                admin="a",
                data_dir="d",
                upstreams="u",
                bytes=2048,
                peers="",
            ),
            START,
        ),
        (
            made_up(events.Stopping, reason="SIGTERM", bodies=1),
            "stopping (SIGTERM), 1 body to finish",
        ),
        (made_up(events.Stopped, aborted=0, seconds=2), "stopped after 2.0 s"),
        (made_up(events.Stopped, aborted=3, seconds=2), "stopped after 2.0 s, 3 bodies cut off"),
        (
            made_up(events.Reloaded, changed="tag_ttl", ignored="listen"),
            "settings read again, changed: tag_ttl; needs a restart: listen",
        ),
        (made_up(events.Reloaded, changed="", ignored=""), "settings read again, changed: nothing"),
        (made_up(events.SettingWarning, message="odd"), "warning: odd"),
        (
            made_up(events.FillFinished, namespace="n", repository="r", digest="d:1"),
            "fetching n/r@d:1 ended (text): text",
        ),
        (
            made_up(events.PassedThrough, namespace="n", repository="r", digest="d:1"),
            "warning: sent n/r@d:1 without storing it (text): text",
        ),
        (made_up(events.UpstreamHealth, up=False), "warning: upstream text is down: text"),
        (made_up(events.UpstreamHealth, up=True), "warning: upstream text is back"),
        (
            made_up(events.CorruptionFound, kind="blob", found_by="scrub"),
            "error: blob text was rotten on disk (found by scrub), dropped",
        ),
        (
            made_up(events.FillResumed, digest="d", offset=1, reason="cut"),
            "warning: fill_resume: digest d, offset 1, reason cut",
        ),
        (made_up(events.PeersChanged, known=1, live=0), "knows 1 other node, and asks 0 of them"),
        (made_up(events.PeersChanged, known=3, live=3), "knows 3 other nodes, and asks 3 of them"),
        (
            made_up(events.PeerFailed, peer="n2", what="blob", kind="cut", reason="gone"),
            "warning: peer n2 failed (blob, cut): gone",
        ),
        (
            made_up(events.PeerHealth, peer="n2", up=False, reason="timeout", gone=False),
            "peer n2 is left alone for now: timeout",
        ),
        (made_up(events.PeerHealth, peer="n2", up=True), "peer n2 is asked again"),
        (
            made_up(events.PeerHealth, peer="::2", up=False, gone=True, reason="it is n2"),
            "peer ::2 is no more: it is n2",
        ),
        (
            made_up(events.PeersOff, off=True, pause_seconds=2.0, reason="most failed"),
            "warning: no peer is asked for 2 s: most failed",
        ),
        (made_up(events.PeersOff, off=False), "warning: peers are asked again"),
        (
            made_up(events.PeerSuspected, peer="n2", whose="theirs", digest="d", segments="1, 3"),
            "error: peer n2 sent wrong bytes: segments 1, 3 of d",
        ),
        (
            made_up(events.PeerSuspected, peer="n2", whose="ours", digest="d", segments="1"),
            "error: peer n2 says that our segments 1 of d are wrong",
        ),
        (
            made_up(events.Repaired, digest="d", source="peer", outcome="right"),
            "warning: d was fetched again from peer, and is right",
        ),
        (
            made_up(events.DiscoveryFailed, target="nodecache:5001", reason="NXDOMAIN"),
            "warning: the peers (nodecache:5001) were not found, those known stay: NXDOMAIN",
        ),
        (
            made_up(events.DiscoveryWorks, target="nodecache:5001"),
            "the peers (nodecache:5001) are found again",
        ),
        (made_up(events.SecretsRead, count=2, reason=""), "accepts 2 secrets of the peers"),
        (
            made_up(events.SecretsRead, count=1, reason="it holds no secret"),
            "the peers' secrets could not be read (it holds no secret), still accepted: 1 secret",
        ),
    ],
)
def test_each_event_for_people_has_its_words(event: Event, words: str) -> None:
    assert told(event) == words


def test_a_trace_is_indented_under_its_line() -> None:
    found = lines(
        made_up(events.Unexpected, where="w", error="e", trace="one\ntwo\n"), form="console"
    )
    assert found[1:] == ["    one", "    two"]


def test_nothing_that_a_client_says_moves_the_cursor() -> None:
    (line,) = lines(
        made_up(events.SettingWarning, message="a\x1b[2Jb\rc\u202ed\x00"), form="console"
    )
    assert line.endswith("a?[2Jb?c?d?")


# No secrets.

SECRETS = (
    "Authorization: Bearer abcdefSECRETtoken==",
    "authorization=Basic dXNlcjpTRUNSRVQ=",
    "GET https://cdn.example/blob?X-Amz-Signature=SECRET&verify=SECRET failed",
    "proxy http://user:SECRET@proxy.example:3128 refused",
    '{"token": "SECRET.jwt.value", "expires_in": 300}',
    '{"access_token":"SECRET"}',
    "password=SECRET",
    "eyJhbGciOiJSUzI1NiJ9SECRET.eyJpc3MiOiJTRUNSRVQifQ.SECRET",
    "Cookie: SECRET",
)


@pytest.mark.parametrize("text", SECRETS)
def test_what_looks_like_a_secret_is_hidden_in_every_form(text: str) -> None:
    event = made_up(events.Unexpected, where="w", error=text, trace=f"line\n  {text}\n")
    for form in ("json", "console"):
        assert "SECRET" not in "".join(lines(event, form=form)).replace("U0VDUkVU", "SECRET")
        assert "dXNlcjpT" not in "".join(lines(event, form=form))


def test_what_is_no_secret_is_left_alone() -> None:
    for text in (
        "https://registry-1.docker.io/v2/library/alpine/manifests/3.20",
        "sha256:" + "a" * 64,
        "token for repository:library/alpine:pull",
        "http://[::1]:5000",
        "basic setup",
    ):
        assert scrub(text) == text


# What Twisted logs.


def observed(*, raising: Exception | None = None) -> tuple[list[Event], Logger]:
    seen: list[Event] = []

    def observe(event: Event) -> None:
        seen.append(event)
        if raising is not None:
            raise raising

    return seen, Logger("room", observer=UnexpectedObserver(observe))


def test_a_failure_that_nobody_handled_is_told_with_its_trace() -> None:
    seen, log = observed()
    try:
        raise ZeroDivisionError("a defect")
    except ZeroDivisionError:
        log.failure("while {doing}", doing="something", failure=Failure())
    (event,) = seen
    assert isinstance(event, events.Unexpected)
    assert event.where == "room while something"
    assert event.error == "ZeroDivisionError: a defect"
    assert "test_logs.py" in event.trace


def test_an_error_without_a_failure_is_told_too() -> None:
    seen, log = observed()
    log.error("it broke")
    assert [getattr(event, "error", "") for event in seen] == ["it broke"]


def test_what_is_no_error_is_dropped() -> None:
    seen, log = observed()
    for level in (LogLevel.debug, LogLevel.info, LogLevel.warn):
        log.emit(level, "Timing out client: {peer}", peer="p")
    assert seen == []


def test_an_observer_that_logs_an_error_is_not_called_for_it() -> None:
    seen: list[Event] = []

    def observe(event: Event) -> None:
        seen.append(event)
        log.error("the observer itself fails")

    log = Logger("room", observer=UnexpectedObserver(observe))
    log.error("first")
    log.error("second")
    assert len(seen) == 2


def test_the_console_has_no_words_for_what_is_no_news() -> None:
    assert Console().text(made_up(events.UpstreamBytes)) is None
