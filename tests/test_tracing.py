"""Traces: what clients send, what is begun here, and what is exported."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodecache.traces import Trace, parse_traceparent

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
