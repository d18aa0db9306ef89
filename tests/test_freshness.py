"""What is done about a tag by its entry, the policy and the time; what is remembered absent."""

from __future__ import annotations

import json
import math

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodecache.failures import UpstreamFailure, UpstreamKind
from nodecache.freshness import Absences, TagEntry, Verdict, judge, newer
from tests.strategies import digests

DIGEST = "sha256:" + "ab" * 32
INDEX = "application/vnd.oci.image.index.v1+json"

times = st.floats(0, 1e10, allow_nan=False)
ttls = st.floats(0, 1e6, allow_nan=False)
media_types = st.one_of(st.just(INDEX), st.just("application/json; charset=utf-8"))
entries = st.builds(
    TagEntry,
    digest=digests().map(str),
    media_type=media_types,
    size=st.integers(0, 1 << 40),
    checked_at=times,
    pinned=st.booleans(),
    imported=st.booleans(),
)
asked = entries.map(lambda entry: attrs.evolve(entry, imported=False))


def entry(checked_at: float = 1000.0, *, imported: bool = False) -> TagEntry:
    return TagEntry(DIGEST, INDEX, 1234, checked_at, imported=imported)


@pytest.mark.parametrize(
    ("age", "ttl", "offline", "down", "verdict"),
    [
        (0, 60, False, False, Verdict.FRESH),
        (59.9, 60, False, False, Verdict.FRESH),
        (60, 60, False, False, Verdict.REVALIDATE),
        (1e9, 60, False, False, Verdict.REVALIDATE),
        (0, 0, False, False, Verdict.REVALIDATE),
        (59, 60, True, False, Verdict.FRESH),
        (59, 60, False, True, Verdict.FRESH),
        (61, 60, True, False, Verdict.STALE_ONLY),
        (61, 60, False, True, Verdict.STALE_ONLY),
        (61, 60, True, True, Verdict.STALE_ONLY),
        (-5, 60, False, False, Verdict.REVALIDATE),
        (-5, 60, True, False, Verdict.STALE_ONLY),
        (-5, 60, False, True, Verdict.STALE_ONLY),
    ],
)
def test_a_tag_is_judged_by_its_age_and_by_whether_upstream_may_be_asked(
    age: float, ttl: float, offline: bool, down: bool, verdict: Verdict
) -> None:
    assert judge(entry(1000), 1000 + age, ttl, offline=offline, upstream_down=down) is verdict


@given(now=times, ttl=ttls, offline=st.booleans(), down=st.booleans())
def test_a_tag_without_an_entry_is_a_miss(
    now: float, ttl: float, offline: bool, down: bool
) -> None:
    assert judge(None, now, ttl, offline=offline, upstream_down=down) is Verdict.MISS


@given(entries, times, ttls, st.booleans(), st.booleans())
def test_an_import_is_never_revalidated(
    found: TagEntry, now: float, ttl: float, offline: bool, down: bool
) -> None:
    found = attrs.evolve(found, imported=True)
    assert judge(found, now, ttl, offline=offline, upstream_down=down) is Verdict.FRESH


@given(entries, times, ttls, st.booleans(), st.booleans())
def test_what_is_here_is_always_served_and_upstream_is_asked_only_if_it_may_be(
    found: TagEntry, now: float, ttl: float, offline: bool, down: bool
) -> None:
    verdict = judge(found, now, ttl, offline=offline, upstream_down=down)
    assert verdict is not Verdict.MISS
    if offline or down:
        assert verdict is not Verdict.REVALIDATE
    else:
        assert verdict is not Verdict.STALE_ONLY


@given(asked, times, ttls, st.floats(0, 1e6))
def test_a_tag_that_is_not_fresh_does_not_become_so_by_waiting(
    found: TagEntry, checked: float, ttl: float, later: float
) -> None:
    found = attrs.evolve(found, checked_at=checked)

    def fresh(now: float) -> bool:
        return judge(found, now, ttl, offline=False, upstream_down=False) is Verdict.FRESH

    if not fresh(checked + later):
        assert not fresh(checked + later + 1 + ttl)


@given(asked, times, ttls)
def test_a_clock_that_jumped_back_makes_nothing_fresh(
    found: TagEntry, now: float, ttl: float
) -> None:
    found = attrs.evolve(found, checked_at=math.nextafter(now, math.inf))
    assert judge(found, now, ttl, offline=False, upstream_down=False) is Verdict.REVALIDATE


@given(entries, entries)
def test_a_tag_never_goes_back_to_an_older_check(one: TagEntry, other: TagEntry) -> None:
    kept = newer(one, other)
    assert kept in (one, other)
    assert kept.checked_at == max(one.checked_at, other.checked_at)


@given(entries)
def test_a_tag_without_an_entry_takes_any(candidate: TagEntry) -> None:
    assert newer(None, candidate) is candidate


def test_of_two_checks_at_one_time_the_later_told_wins() -> None:
    current, candidate = entry(5), attrs.evolve(entry(5), size=99)
    assert newer(current, candidate) is candidate


def test_a_check_in_the_future_gives_way_so_that_a_clock_once_ahead_freezes_no_tag() -> None:
    ahead, today = entry(5000), entry(1000)
    assert newer(ahead, today) is ahead
    assert newer(ahead, today, now=1000) is today
    assert newer(ahead, today, now=6000) is ahead


def test_two_checks_in_the_future_keep_to_the_later() -> None:
    assert newer(entry(5000), entry(4000), now=1000) == entry(5000)


def test_the_age_of_a_check_in_the_future_is_nothing() -> None:
    assert entry(1000).age(1030) == 30
    assert entry(1000).age(900) == 0


@given(entries)
def test_an_entry_survives_its_file(found: TagEntry) -> None:
    assert TagEntry.from_json(found.to_json()) == found


def test_an_entry_written_by_another_release_is_read() -> None:
    fields = {"digest": DIGEST, "media_type": INDEX, "size": 7, "checked_at": 9, "zone": ["x"]}
    assert TagEntry.from_json(json.dumps(fields).encode()) == TagEntry(DIGEST, INDEX, 7, 9.0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("digest", None),
        ("digest", 5),
        ("digest", "sha256:../../../../etc/passwd"),
        ("digest", "sha256:" + "AB" * 32),
        ("digest", "sha512:" + "ab" * 64),
        ("digest", "ab" * 32),
        ("media_type", None),
        ("media_type", ""),
        ("media_type", "text/html\r\nSet-Cookie: a"),
        ("media_type", "x" * 256),
        ("media_type", "application/ä"),
        ("size", -1),
        ("size", 1.5),
        ("size", True),
        ("size", "12"),
        ("checked_at", None),
        ("checked_at", "now"),
        ("checked_at", True),
        ("checked_at", math.nan),
        ("checked_at", math.inf),
        ("checked_at", 10**400),
        ("pinned", 1),
        ("imported", "yes"),
    ],
)
def test_a_damaged_entry_is_no_entry(field: str, value: object) -> None:
    fields = json.loads(entry().to_json()) | {field: value}
    assert TagEntry.from_json(json.dumps(fields).encode()) is None


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"7",
        b'"text"',
        b"\xff\xfe",
        b"\0" * 64,
        b"[" * 100_000,
        b"9" * 9999,
    ],
)
def test_junk_is_no_entry(raw: bytes) -> None:
    assert TagEntry.from_json(raw) is None


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(raw: bytes) -> None:
    TagEntry.from_json(raw)


def absent(message: str = "no such tag") -> UpstreamFailure:
    return UpstreamFailure(UpstreamKind.NOT_FOUND, message, status=404)


def test_an_absence_is_remembered_until_its_time_and_says_how_long_it_still_holds() -> None:
    absences = Absences()
    absences.remember("a", 10.0, absent())
    found = absences.recall("a", 4.0)
    assert found is not None
    assert (found.kind, found.message, found.status, found.retry_after) == (
        UpstreamKind.NOT_FOUND,
        "no such tag",
        404,
        6.0,
    )
    assert absences.recall("b", 4.0) is None
    assert absences.recall("a", 10.0) is None
    assert len(absences) == 0


def test_each_recall_gives_a_failure_of_its_own() -> None:
    """A raised exception holds its traceback, and with it every frame of its first victim."""
    absences = Absences()
    absences.remember("a", 10.0, absent())
    first = absences.recall("a", 1.0)
    assert first is not None
    with pytest.raises(UpstreamFailure):
        raise first
    second = absences.recall("a", 1.0)
    assert second is not None
    assert second.__traceback__ is None


def test_the_latest_word_about_an_absence_counts() -> None:
    absences = Absences()
    absences.remember("a", 10.0, absent("old"))
    absences.remember("a", 5.0, absent("new"))
    assert str(absences.recall("a", 4.0)) == "new"
    assert absences.recall("a", 5.0) is None


def test_absences_are_forgotten_when_told_so() -> None:
    absences = Absences()
    absences.remember("a", 10.0, absent())
    absences.remember("b", 10.0, absent())
    absences.forget("a")
    absences.forget("never known")
    assert absences.recall("a", 1.0) is None
    assert absences.recall("b", 1.0) is not None
    absences.clear()
    assert absences.recall("b", 1.0) is None


def test_absences_are_bounded_and_the_longest_unasked_goes_first() -> None:
    absences = Absences(most=2)
    absences.remember("a", 10.0, absent())
    absences.remember("b", 10.0, absent())
    absences.recall("a", 1.0)
    absences.remember("c", 10.0, absent())
    assert len(absences) == 2
    assert absences.recall("b", 1.0) is None
    assert absences.recall("a", 1.0) is not None
