"""Durations and sizes as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodecache.config import (
    SizeSetting,
    format_duration,
    format_size,
    parse_bytes,
    parse_duration,
    parse_size,
)
from nodecache.limits import GIB, KIB, MIB


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("0s", 0.0),
        ("250ms", 0.25),
        ("30s", 30.0),
        ("1.5s", 1.5),
        ("5m", 300.0),
        ("1h", 3600.0),
        ("1h30m", 5400.0),
        ("2m0.5s", 120.5),
        ("2d", 172800.0),
        ("60", 60.0),
        (" 5m ", 300.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "s", "5x", "-1s", "+1s", "1e3s", "1 h", "5 m 3 s", "1h-5m", "inf", "nan"),
        *("5M", "٣s", "1,5s", "0x10", "11y", "4000d", "9" * 40, "5s\n5s", ".5s", "5.s"),
    ],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no duration|ten years"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1024", 1024),
        ("100B", 100),
        ("20GiB", 20 * GIB),
        ("20Gi", 20 * GIB),
        ("100MB", 100_000_000),
        ("100M", 100_000_000),
        ("1.5GiB", 3 * GIB // 2),
        ("64 KiB", 64 * KIB),
        ("64kb", 64_000),
        ("64KB", 64_000),
        ("1gib", GIB),
        ("2TiB", 2048 * GIB),
        ("3TB", 3 * 10**12),
        ("0.3KiB", 307),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_bytes(text) == size
    assert parse_size(text) == SizeSetting(bytes=size)


@pytest.mark.parametrize(
    "text",
    [
        *("", "GiB", "-1", "-1GiB", "1e9", "1 2", "5X", "5GiBs", "10%%", "1,5GB", "0x10", "inf"),
        *("nan", "9" * 40, "9999999PiB", "٣GiB", "5\nGiB5"),
    ],
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no size|exbibyte|percentage"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "percent"), [("10%", 10), ("0%", 0), ("12.5 %", 12.5), ("100%", 100)]
)
def test_shares_of_the_disk(text: str, percent: float) -> None:
    assert parse_size(text) == SizeSetting(percent=percent)
    assert parse_size(text).resolve(1000 * MIB) == percent * 10 * MIB


@pytest.mark.parametrize("text", ["101%", "-1%", "%", "x%", "1%0", "10%%"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="percentage"):
        parse_size(text)


def test_a_size_setting_is_told_as_it_was_given() -> None:
    assert str(parse_size("20GiB")) == "20GiB"
    assert str(parse_size("12.5%")) == "12.5%"


def test_a_size_in_bytes_is_the_same_on_every_disk() -> None:
    assert SizeSetting(bytes=5).resolve(0) == SizeSetting(bytes=5).resolve(1 << 60) == 5


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0B"),
        (1023, "1023B"),
        (1024, "1KiB"),
        (1536, "1.5KiB"),
        (20 * GIB, "20GiB"),
        (100_000_000, "95.4MiB"),
        (-2 * MIB, "-2MiB"),
    ],
)
def test_sizes_are_told_in_the_biggest_unit_that_fits(size: int, text: str) -> None:
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0"),
        (0.25, "250ms"),
        (0.9999, "1s"),
        (1.0, "1s"),
        (1.5, "1.5s"),
        (90, "90s"),
        (300, "5m"),
        (5400, "90m"),
        (7200, "2h"),
        (86400, "24h"),
        (1e7 + 0.125, "10000000.125s"),
    ],
)
def test_durations_are_told_in_the_biggest_unit_that_is_exact(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(0, 3_000_000_000))
def test_a_duration_that_is_told_is_read_back(thousandths: int) -> None:
    assert parse_duration(format_duration(thousandths / 1000)) == thousandths / 1000


@given(st.integers(1, 1023), st.sampled_from([1, KIB, MIB, GIB]))
def test_a_size_that_is_told_is_read_back(count: int, unit: int) -> None:
    assert parse_bytes(format_size(count * unit)) == count * unit


@given(st.text(max_size=12))
def test_no_text_breaks_the_readers(text: str) -> None:
    for read in (parse_duration, parse_size):
        try:
            read(text)
        except ValueError as error:
            assert "\n" not in str(error)
