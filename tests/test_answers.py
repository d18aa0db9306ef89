"""The table of failures and their answers, row by row."""

from __future__ import annotations

import json
import re

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodecache.answers import (
    Answer,
    Asked,
    Case,
    answer,
    asked_for,
    case,
    render_table,
    seemingly_asked,
    stale_warning,
    table,
)
from nodecache.failures import (
    BadRequest,
    BlobsMissing,
    Crowded,
    Failure,
    FlightFailed,
    NameDenied,
    NoRoom,
    OfflineMiss,
    PeerFailure,
    RangeNotSatisfiable,
    RequestProblem,
    StoreFailure,
    UnknownNamespace,
    UpstreamFailure,
    UpstreamKind,
)
from nodecache.reference import parse_path

HEX = "0123456789abcdef" * 4
P = RequestProblem
U = UpstreamKind


@attrs.frozen(kw_only=True)
class Expected:
    """What is owed for a failure: by what was asked, then the same to a sole registry's clients."""

    of: Failure
    manifest: str
    blob: str
    tags: str
    referrers: str
    sole: str | None = None  # for a manifest and a blob; None: as for a mirror
    headers: tuple[tuple[str, str], ...] = ()  # of the manifest's answer


def all_the_same(failure: Failure, status: str, *headers: tuple[str, str]) -> Expected:
    return Expected(
        of=failure, manifest=status, blob=status, tags=status, referrers=status, headers=headers
    )


def absent(failure: Failure) -> Expected:
    return Expected(
        of=failure,
        manifest="404 MANIFEST_UNKNOWN",
        blob="404 BLOB_UNKNOWN",
        tags="404 NAME_UNKNOWN",
        referrers="404 MANIFEST_UNKNOWN",
    )


def not_served(failure: Failure) -> Expected:
    unknown = "404 NAME_UNKNOWN"
    return Expected(
        of=failure, manifest=unknown, blob="404 BLOB_UNKNOWN", tags=unknown, referrers=unknown
    )


def not_now(
    failure: Failure,
    *headers: tuple[str, str],
    status: str = "503 UNAVAILABLE",
    sole: str = "503 UNAVAILABLE",
) -> Expected:
    return Expected(
        of=failure,
        manifest=status,
        blob="404 BLOB_UNKNOWN",
        tags=status,
        referrers=status,
        sole=sole,
        headers=headers,
    )


def bad(problem: RequestProblem) -> Failure:
    return BadRequest(problem, "is bad")


def upstream(kind: UpstreamKind, retry_after: float | None = None) -> Failure:
    return UpstreamFailure(kind, "upstream fails", retry_after=retry_after)


ROWS: dict[Case, Expected] = {
    Case.NAME: all_the_same(bad(P.NAME), "400 NAME_INVALID"),
    Case.TAG: all_the_same(bad(P.TAG), "400 TAG_INVALID"),
    Case.DIGEST: all_the_same(bad(P.DIGEST), "400 DIGEST_INVALID"),
    Case.DIGEST_ALGORITHM: absent(bad(P.DIGEST_ALGORITHM)),
    Case.PATH: all_the_same(bad(P.PATH), "400 NAME_INVALID"),
    Case.ENDPOINT: all_the_same(bad(P.ENDPOINT), "404 UNSUPPORTED"),
    Case.QUERY: all_the_same(bad(P.QUERY), "400 UNSUPPORTED"),
    Case.METHOD: all_the_same(bad(P.METHOD), "405 UNSUPPORTED", ("Allow", "GET, HEAD")),
    Case.HEADERS: all_the_same(bad(P.HEADERS), "431 UNSUPPORTED"),
    Case.BODY: all_the_same(bad(P.BODY), "413 UNSUPPORTED"),
    Case.RANGE: all_the_same(bad(P.RANGE), "416 RANGE_INVALID"),
    Case.UNSATISFIABLE: all_the_same(
        RangeNotSatisfiable(10), "416 RANGE_INVALID", ("Content-Range", "bytes */10")
    ),
    Case.NAMESPACE: not_served(UnknownNamespace("evil.example")),
    Case.DENIED_HERE: not_served(NameDenied("team/secret")),
    Case.OFFLINE: absent(OfflineMiss("library/alpine:latest")),
    Case.NOT_FOUND: absent(upstream(U.NOT_FOUND)),
    Case.DENIED: absent(upstream(U.DENIED)),
    Case.LIMITED: not_now(
        upstream(U.LIMITED, 30), ("Retry-After", "30"), sole="429 TOOMANYREQUESTS"
    ),
    Case.ERROR: not_now(upstream(U.ERROR, 30), ("Retry-After", "30")),
    Case.TIMEOUT: not_now(upstream(U.TIMEOUT)),
    Case.UNREACHABLE: not_now(upstream(U.UNREACHABLE)),
    Case.CUT: not_now(upstream(U.CUT)),
    Case.WRONG: not_now(upstream(U.WRONG)),
    Case.DOWN: not_now(upstream(U.DOWN, 0.5), ("Retry-After", "1")),
    Case.BLOBS_MISSING: not_now(BlobsMissing("library/alpine:latest")),
    Case.CROWDED: not_now(Crowded("too many"), ("Retry-After", "1")),
    Case.NO_ROOM: not_now(NoRoom("no room for 5 bytes")),
    Case.STORE: not_now(StoreFailure("disk says EIO")),
    Case.UNEXPECTED: not_now(Failure(), status="500 UNKNOWN", sole="500 UNKNOWN"),
}

every_row = pytest.mark.parametrize("row", list(Case), ids=lambda row: row.name.lower())
every_failure = st.sampled_from([expected.of for expected in ROWS.values()])
anything_asked = st.sampled_from(list(Asked))


def said(given_answer: Answer) -> str:
    return f"{given_answer.status} {given_answer.code}"


@every_row
def test_a_mirror_answers_the_row(row: Case) -> None:
    expected = ROWS[row]
    assert case(expected.of) is row
    assert said(answer(expected.of, Asked.MANIFEST)) == expected.manifest
    assert said(answer(expected.of, Asked.BLOB)) == expected.blob
    assert said(answer(expected.of, Asked.LISTING)) == expected.tags
    assert said(answer(expected.of, Asked.REFERRERS)) == expected.referrers
    assert answer(expected.of, Asked.MANIFEST).headers == expected.headers


@every_row
def test_a_sole_registry_answers_the_row(row: Case) -> None:
    expected = ROWS[row]
    manifest = answer(expected.of, Asked.MANIFEST, sole_registry=True)
    blob = answer(expected.of, Asked.BLOB, sole_registry=True)
    assert said(manifest) == (expected.sole or expected.manifest)
    assert said(blob) == (expected.sole or expected.blob)
    assert manifest.headers == expected.headers


@every_row
def test_a_flight_that_failed_is_answered_as_its_cause(row: Case) -> None:
    cause = ROWS[row].of
    flight = FlightFailed(FlightFailed(cause))
    for asked in Asked:
        assert answer(flight, asked) == answer(cause, asked)


@every_row
def test_the_row_stands_in_the_documented_table(row: Case) -> None:
    expected = ROWS[row]
    cells = [
        row.row.what,
        expected.manifest,
        expected.blob,
        expected.tags,
        expected.referrers,
        expected.sole or "the same",
    ]
    assert "| " + " | ".join(cells) + " | " in render_table()
    for name, _ in expected.headers:
        assert row.row.header == name


def test_the_documented_table_has_a_line_for_each_row_and_as_many_cells() -> None:
    lines = render_table().splitlines()
    assert len(lines) == 2 + len(table()) == 2 + len(Case)
    assert {line.count("|") for line in lines} == {8}
    assert len(set(lines)) == len(lines)


# What holds of all of them


@given(every_failure, anything_asked)
def test_a_mirror_never_sends_what_makes_clients_wait_or_offer_passwords(
    failure: Failure, asked: Asked
) -> None:
    given_answer = answer(failure, asked)
    assert given_answer.status not in {401, 403, 429}
    assert "WWW-Authenticate" not in dict(given_answer.headers)


@given(every_failure)
def test_a_blob_is_never_refused_with_a_status_that_dockerd_retries(failure: Failure) -> None:
    assert answer(failure, Asked.BLOB).status < 500


@given(every_failure, anything_asked, st.booleans())
def test_every_answer_is_a_registry_error(failure: Failure, asked: Asked, sole: bool) -> None:
    given_answer = answer(failure, asked, sole_registry=sole)
    body = given_answer.body()
    assert body.isascii()
    error = {"code": given_answer.code, "message": given_answer.message, "detail": None}
    assert json.loads(body) == {"errors": [error]}
    assert re.fullmatch("[A-Z_]+", given_answer.code)
    assert given_answer.message
    assert 400 <= given_answer.status < 600


@pytest.mark.parametrize("kind", list(U))
def test_every_kind_of_upstream_failure_has_a_row(kind: UpstreamKind) -> None:
    assert case(upstream(kind)).name == kind.name


@pytest.mark.parametrize("problem", list(P))
def test_every_problem_of_a_request_has_a_row(problem: RequestProblem) -> None:
    assert case(bad(problem)).name == problem.name


def subclasses(of: type[Failure]) -> set[type[Failure]]:
    direct = set(of.__subclasses__())
    return direct.union(*map(subclasses, direct))


def test_every_failure_has_a_row() -> None:
    # A peer's failure is never a client's answer: whoever meets it asks elsewhere.
    tested = {type(expected.of) for expected in ROWS.values()} | {FlightFailed, PeerFailure}
    ours = {kind for kind in subclasses(Failure) if kind.__module__ == "nodecache.failures"}
    assert ours <= tested


def test_a_failure_that_the_table_does_not_know_is_a_defect() -> None:
    class Unforeseen(Failure):
        pass

    assert said(answer(Unforeseen("what"), Asked.MANIFEST)) == "500 UNKNOWN"


# Messages


def test_the_message_is_the_failures_own() -> None:
    failure = UpstreamFailure(U.DENIED, "registry-1.docker.io answers 403")
    assert answer(failure, Asked.MANIFEST).message == "registry-1.docker.io answers 403"


def test_a_failure_without_words_gets_those_of_its_row() -> None:
    assert answer(StoreFailure(), Asked.MANIFEST).message == "the disk fails"


def test_a_long_message_is_cut() -> None:
    assert len(answer(StoreFailure("x" * 10_000), Asked.MANIFEST).message) == 512


def test_a_message_of_any_text_is_ascii_on_the_wire() -> None:
    body = answer(UnknownNamespace('ä"\n\x00\ud800'), Asked.MANIFEST).body()
    assert body.isascii()
    assert b"\n" not in body


# Retry-After


def retry_after(failure: Failure, asked: Asked = Asked.MANIFEST, *, sole: bool = False) -> str:
    headers = dict(answer(failure, asked, sole_registry=sole).headers)
    return headers.get("Retry-After", "none")


@pytest.mark.parametrize(
    ("seconds", "sent"),
    [
        (0.0, "1"),
        (-5.0, "1"),
        (0.2, "1"),
        (30.0, "30"),
        (30.1, "31"),
        (21600.0, "21600"),
        (1e12, "86400"),
        (float("inf"), "none"),
        (float("nan"), "none"),
        (None, "none"),
    ],
)
def test_a_time_to_ask_again_is_passed_on_in_whole_seconds(
    seconds: float | None, sent: str
) -> None:
    assert retry_after(upstream(U.DOWN, seconds)) == sent


def test_a_limit_that_names_no_time_is_said_to_last_a_minute() -> None:
    assert retry_after(upstream(U.LIMITED)) == "60"
    assert retry_after(upstream(U.LIMITED), sole=True) == "60"


def test_no_time_is_named_where_asking_again_is_not_the_answer() -> None:
    assert retry_after(upstream(U.LIMITED, 30), Asked.BLOB) == "none"
    assert retry_after(upstream(U.NOT_FOUND, 30)) == "none"
    assert retry_after(NoRoom("full")) == "none"


def test_a_sole_registry_names_the_time_for_a_blob_too() -> None:
    assert retry_after(upstream(U.LIMITED, 30), Asked.BLOB, sole=True) == "30"


# What was asked


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v2/", Asked.BASE),
        ("/v2/a/manifests/latest", Asked.MANIFEST),
        (f"/v2/a/manifests/sha256:{HEX}", Asked.MANIFEST),
        (f"/v2/a/blobs/sha256:{HEX}", Asked.BLOB),
        ("/v2/a/tags/list", Asked.LISTING),
        (f"/v2/a/referrers/sha256:{HEX}", Asked.REFERRERS),
    ],
)
def test_what_a_path_asks_for(path: str, asked: Asked) -> None:
    assert asked_for(parse_path(path.encode())) is asked
    if asked is not Asked.BASE:
        assert seemingly_asked(path.encode()) is asked


@pytest.mark.parametrize(
    ("raw", "asked"),
    [
        (f"/v2/a/blobs/sha512:{HEX * 2}".encode(), Asked.BLOB),
        (f"/v2/a/manifests/sha512:{HEX * 2}".encode(), Asked.MANIFEST),
        (f"/v2/a/referrers/sha512:{HEX * 2}".encode(), Asked.REFERRERS),
        (b"/v2/A/tags/list", Asked.LISTING),
        (b"/v2/A/manifests/x", Asked.MANIFEST),
        (b"/v2/_catalog", Asked.OTHER),
        (b"/v2", Asked.OTHER),
        (b"/v1/a/blobs/x", Asked.OTHER),
        (b"blobs/x", Asked.OTHER),
        (b"\x00", Asked.OTHER),
        (b"", Asked.OTHER),
    ],
)
def test_what_a_refused_path_seems_to_ask_for(raw: bytes, asked: Asked) -> None:
    assert seemingly_asked(raw) is asked


def test_a_sha512_digest_is_refused_with_the_code_that_lets_clients_go_on() -> None:
    raw = f"/v2/a/blobs/sha512:{HEX * 2}".encode()
    with pytest.raises(BadRequest) as caught:
        parse_path(raw)
    given_answer = answer(caught.value, seemingly_asked(raw))
    assert said(given_answer) == "404 BLOB_UNKNOWN"
    assert "only sha256" in given_answer.message


# Stale answers


def test_a_stale_answer_says_why() -> None:
    assert stale_warning("upstream ~says 429") == '299 - "upstream ~says 429"'


def test_a_warning_quotes_what_would_end_it() -> None:
    assert stale_warning('say "a\\b"') == '299 - "say \\"a\\\\b\\""'


@given(st.text())
def test_a_warning_of_any_text_is_one_short_line_of_ascii(reason: str) -> None:
    header = stale_warning(reason)
    assert re.fullmatch(r'299 - "(?:[ !#-\[\]-~]|\\["\\])*"', header)
    assert len(header) <= 4096


def test_a_long_reason_is_cut_without_breaking_the_quotes() -> None:
    header = stale_warning('"' * 10_000)
    assert len(header) < 1100
    assert header.endswith('\\""')
