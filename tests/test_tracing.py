"""Traces: what clients send, what is begun here, and what is exported."""

from __future__ import annotations

import pathlib
import socket
import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.threads import deferToThread

from nodecache import events
from nodecache.config import Telemetry
from nodecache.events import Event
from nodecache.failures import ConfigError
from nodecache.limits import Timeouts
from nodecache.traces import Trace, parse_traceparent
from nodecache.tracing import Span, Tracing, start_tracing
from nodecache.tracing.spans import Kind, span_of
from tests.cluster_case import ClusterCase
from tests.fakes_client import until
from tests.fakes_collector import Receiver
from tests.node_case import NodeCase, reactor
from tests.strategies_events import made_up, one_of_each

TRACE, PARENT, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "1" * 16


@pytest.mark.parametrize(
    ("text", "sampled"),
    [
        (f"00-{TRACE}-{PARENT}-01", True),
        (f" 00-{TRACE}-{PARENT}-00 ", False),
        (f"00-{TRACE}-{PARENT}-ff", True),
        (f"01-{TRACE}-{PARENT}-01-what-is-yet-to-come", True),
    ],
)
def test_the_trace_of_a_client_is_taken_on(text: str, sampled: bool) -> None:
    found = parse_traceparent(text, SPAN)
    assert found == Trace(TRACE, SPAN, PARENT, sampled)
    assert found.recorded_id == (SPAN if sampled else "")


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "junk",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE[1:]}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}",
    ],
)
def test_what_is_no_trace_is_none(text: str | None) -> None:
    assert parse_traceparent(text, SPAN) is None


@given(st.text())
def test_no_header_breaks_anything(text: str) -> None:
    found = parse_traceparent(text, SPAN)
    assert found is None or len(found.trace_id) == 32


# Events as spans.

CURRENT_TRACE = Trace(TRACE, SPAN, PARENT)


def span(event: Event, current: Trace | None = CURRENT_TRACE) -> Span | None:
    return span_of(event, current, lambda: "2" * 16)


def test_a_request_is_a_span_of_its_own_trace() -> None:
    told = made_up(
        events.RequestFinished,
        method="GET",
        kind="blob",
        status=206,
        outcome="complete",
        trace_id=TRACE,
        span_id="3" * 16,
        parent_id=PARENT,
        seconds=0.5,
    )
    found = span(told, None)
    assert found is not None
    assert (found.name, found.kind, found.seconds) == ("GET blob", Kind.SERVER, 0.5)
    assert (found.trace_id, found.span_id, found.parent_id) == (TRACE, "3" * 16, PARENT)
    assert found.attributes["http.response.status_code"] == 206
    assert found.error == ""


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"status": 503, "reason": "upstream is down"}, "upstream is down"),
        ({"status": 200, "outcome": "aborted", "reason": ""}, "aborted"),
        ({"status": 404, "outcome": "complete", "reason": "no such image"}, ""),
        ({"status": 200, "outcome": "left", "reason": ""}, ""),
    ],
)
def test_what_went_wrong_with_a_request_is_its_error(fields: dict[str, Any], error: str) -> None:
    found = span(made_up(events.RequestFinished, **{"outcome": "complete", **fields}))
    assert found is not None
    assert found.error == error


@pytest.mark.parametrize(
    ("event", "name", "kind"),
    [
        (made_up(events.FillFinished, reason=""), "fill", Kind.INTERNAL),
        (made_up(events.UpstreamAnswered, leg="cdn", status=206), "upstream cdn", Kind.CLIENT),
        (made_up(events.UpstreamFailed, leg="manifest"), "upstream manifest", Kind.CLIENT),
        (made_up(events.PeerAsked, what="blob"), "peer blob", Kind.CLIENT),
    ],
)
def test_what_is_done_for_a_request_lies_under_it(event: Event, name: str, kind: Kind) -> None:
    found = span(event)
    assert found is not None
    assert (found.name, found.kind) == (name, kind)
    assert (found.trace_id, found.span_id, found.parent_id) == (TRACE, "2" * 16, SPAN)


def test_attributes_are_those_of_the_conventions_and_our_own() -> None:
    """All of an event's span, so that whoever reads traces finds what they are used to."""
    found = span(
        made_up(
            events.PullFinished,
            namespace="docker.io",
            repository="library/nginx",
            reference="1",
            digest="sha256:a",
            runtime="containerd",
            requests=4,
            bytes=30,
            bytes_by_source={"disk": 10, "peer": 20},
            failed=1,
        )
    )
    assert found is not None
    assert found.attributes == {
        "nodecache.namespace": "docker.io",
        "nodecache.repository": "library/nginx",
        "nodecache.reference": "1",
        "nodecache.digest": "sha256:a",
        "nodecache.runtime": "containerd",
        "nodecache.requests": 4,
        "nodecache.bytes": 30,
        "nodecache.bytes.disk": 10,
        "nodecache.bytes.peer": 20,
    }
    assert found.error == "1 of 4 requests failed"
    failed = span(made_up(events.UpstreamFailed, kind="timeout", host="cdn", namespace="docker.io"))
    assert failed is not None
    assert failed.attributes["error.type"] == "timeout"
    assert failed.attributes["server.address"] == "cdn"
    unanswered = span(made_up(events.RequestFinished, first_byte_seconds=None))
    assert unanswered is not None
    assert "nodecache.first_byte_seconds" not in unanswered.attributes


def test_every_field_of_the_table_is_one_of_its_event() -> None:
    for row_event in one_of_each():
        found = span(row_event)
        if found is not None:
            assert all(isinstance(value, str | int | float) for value in found.attributes.values())


def test_what_belongs_to_no_trace_that_is_kept_is_no_span() -> None:
    unsampled = Trace(TRACE, SPAN, PARENT, sampled=False)
    for event in one_of_each():
        if not hasattr(event, "trace_id"):
            assert span(event, None) is None
            assert span(event, unsampled) is None
    assert span(made_up(events.RequestFinished, span_id="")) is None
    assert span(made_up(events.PullFinished, trace_id="")) is None


# To a collector.


#: Spans are sent at once, and a collector is not waited for.
BRISK = Timeouts(traces_flush=0.05, traces_send=1.0, traces_close=0.5)


class CollectorTests(NodeCase):
    def setUp(self) -> None:
        super().setUp()
        self.tracing: Tracing | None = None
        self.complaints: list[str] = []
        self.image = self.hub.add_image("library/alpine", "latest", layers=(b"x" * 5000,))

    def observe(self, event: Event) -> None:
        super().observe(event)
        if self.tracing is not None:
            self.tracing.observe(event)

    def trace_to(self, url: str) -> None:
        self.tracing = start_tracing(url, "node-1", BRISK, time.time, self.complaints.append)
        self.addCleanup(self.close)

    async def close(self) -> None:
        tracing, self.tracing = self.tracing, None
        if tracing is not None:
            await deferToThread(tracing.close)

    def receiver(self, status: int = 200) -> Receiver:
        made = Receiver(status)
        self.addCleanup(deferToThread, made.stop)
        return made

    async def pulled(self, **headers: str) -> None:
        manifest = await self.manifest("library/alpine", self.image.digest, **headers)
        blob = await self.blob("library/alpine", self.image.layers[0], **headers)
        assert (manifest.status, blob.status, len(blob.body)) == (200, 200, 5000)
        await until(reactor, lambda: bool(self.told(events.PullFinished)))

    async def test_a_pull_comes_out_as_one_trace(self) -> None:
        receiver = self.receiver()
        self.trace_to(receiver.url)
        await self.start()
        await self.pulled()
        await until(reactor, lambda: "pull" in {span.name for span in receiver.spans()})
        await until(reactor, lambda: "fill" in {span.name for span in receiver.spans()})
        spans = {span.name: span for span in receiver.spans()}
        assert {span.trace_id for span in spans.values()} == {spans["pull"].trace_id}
        assert set(spans) >= {"pull", "GET manifest", "GET blob", "fill", "upstream cdn"}
        assert spans["pull"].parent_span_id == b""
        assert spans["GET blob"].parent_span_id == spans["pull"].span_id
        for name in ("fill", "upstream cdn"):
            assert spans[name].parent_span_id == spans["GET blob"].span_id
        took = spans["GET blob"].end_time_unix_nano - spans["GET blob"].start_time_unix_nano
        assert 0 < took < 30e9
        path, request = receiver.received[0]
        resource = {each.key: each.value.string_value for each in attributes(request)}
        assert path == "/v1/traces"
        assert (resource["service.name"], resource["service.instance.id"]) == (
            "nodecache",
            "node-1",
        )

    async def test_the_spans_hang_under_those_of_the_client(self) -> None:
        receiver = self.receiver()
        self.trace_to(receiver.url)
        await self.start()
        await self.pulled(traceparent=f"00-{TRACE}-{PARENT}-01")
        await until(reactor, lambda: "pull" in {span.name for span in receiver.spans()})
        assert {span.trace_id.hex() for span in receiver.spans()} == {TRACE}
        [pull] = [span for span in receiver.spans() if span.name == "pull"]
        assert pull.parent_span_id.hex() == PARENT

    async def test_a_client_that_is_not_recorded_is_not_here_either(self) -> None:
        receiver = self.receiver()
        self.trace_to(receiver.url)
        await self.start()
        await self.pulled(traceparent=f"00-{TRACE}-{PARENT}-00")
        await self.close()
        assert receiver.spans() == []

    async def test_a_share_of_none_sends_nothing_and_logs_are_as_ever(self) -> None:
        receiver = self.receiver()
        self.trace_to(receiver.url)
        await self.start(telemetry=Telemetry(traces_share=0.0))
        await self.pulled()
        await self.close()
        assert receiver.spans() == []
        (pull,) = self.told(events.PullFinished)
        assert len(pull.trace_id) == 32

    async def test_a_collector_that_refuses_is_told_of_and_disturbs_nobody(self) -> None:
        self.trace_to(self.receiver(400).url)
        await self.start()
        await self.pulled()
        await until(reactor, lambda: bool(self.complaints))

    async def test_a_collector_that_is_not_there_is_told_of_and_disturbs_nobody(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as gone:
            port = gone.getsockname()[1]
        self.trace_to(f"http://127.0.0.1:{port}/v1/traces")
        await self.start()
        await self.pulled()
        await until(reactor, lambda: bool(self.complaints))

    async def test_a_collector_that_never_answers_holds_up_no_end(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            self.trace_to(f"http://127.0.0.1:{silent.getsockname()[1]}/v1/traces")
            await self.start()
            await self.pulled()
            await self.close()  # the test would time out


class SharingTests(ClusterCase):
    async def test_what_a_peer_does_for_a_request_lies_in_the_same_trace(self) -> None:
        """Two nodes, of which either may be the owner of what is pulled."""
        one, two = await self.cluster(2)
        parent = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
        for number in range(4):  # so that each owns something
            image = self.hub.add_image(f"library/a{number}", "latest", layers=(b"x" * 5000,))
            for path in (f"manifests/{image.digest}", f"blobs/{image.layers[0]}"):
                assert (await one.get(f"/v2/{image.name}/{path}", **parent)).status == 200
        answered = [event for event in two.told(events.PeerAnswered) if event.what != "hello"]
        assert answered
        assert {event.trace_id for event in answered} == {TRACE}
        asked = {event.span_id for event in one.told(events.RequestFinished)}
        assert {event.parent_id for event in answered} <= asked
        found = span(answered[0], None)
        assert found is not None
        assert (found.kind, found.parent_id) == (Kind.SERVER, answered[0].parent_id)

    async def test_a_greeting_is_for_nobody(self) -> None:
        one, _ = await self.cluster(2)
        told = [event for event in one.told(events.PeerAnswered) if event.what == "hello"]
        assert {event.trace_id for event in told} <= {""}


def attributes(request: Any) -> Any:
    return request.resource_spans[0].resource.attributes


# Off, unless it is wanted.


def test_a_node_loads_nothing_of_it() -> None:
    code = (
        "import sys, nodecache.service, nodecache.cli.serve, nodecache.service.run;"
        "sys.exit(any(n.startswith(('opentelemetry', 'nodecache.tracing')) for n in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=60, check=False)
    assert done.returncode == 0


def test_a_library_that_is_missing_is_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    monkeypatch.delitem(sys.modules, "nodecache.tracing.otel", raising=False)
    with pytest.raises(ConfigError, match=r"telemetry\.traces: .*pip install 'nodecache\[otel\]'"):
        start_tracing("http://127.0.0.1:1", "", BRISK, time.time, print)


def test_a_node_that_is_told_to_trace_without_the_library_does_not_start(
    tmp_path: pathlib.Path,
) -> None:
    config = tmp_path / "nodecache.toml"
    config.write_text('[telemetry]\ntraces = "http://127.0.0.1:1/v1/traces"\n')
    code = (
        "import sys; sys.modules['opentelemetry.sdk'] = None;"
        "from nodecache.__main__ import main; main()"
    )
    given = ["serve", f"--config={config}", f"--data-dir={tmp_path}/data"]
    given += ["--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"]
    done = subprocess.run(
        [sys.executable, "-c", code, *given], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert b"pip install 'nodecache[otel]'" in done.stderr
