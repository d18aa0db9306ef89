"""What the scan finds among the blobs, whatever lies there, and how the ledger takes it."""

from __future__ import annotations

import os
import re
import stat
import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st

from nodecache.eviction import Ledger, whole_blocks
from nodecache.limits import GIB
from nodecache.store.disk import Disk
from nodecache.store.keys import Entries, Entry
from nodecache.store.layout import Layout
from nodecache.store.scan import EMPTY, Found, _scan_blobs

NOW = 1_700_000_000.0
HEX = "0123456789abcdef"

shards = st.sampled_from(["00", "e3", "ff", "f", "fff", "Ff", "zz"])
ends = st.one_of(
    st.text(HEX, min_size=62, max_size=62),
    st.text(HEX, max_size=4),
    st.sampled_from(["A" * 62, " " * 62, "٣" * 62, "0" * 61 + "\n", "0" * 63, EMPTY[2:]]),
)
files = st.dictionaries(
    st.tuples(shards, st.sampled_from(["00", "e3", "ff", "f", ""]), ends),
    st.tuples(st.integers(0, 3 * 4096), st.floats(0, 2 * NOW)),
    max_size=20,
)


def lay(blobs: str, found: dict[tuple[str, str, str], tuple[int, float]]) -> None:
    for (shard, start, end), (size, used_at) in found.items():
        os.makedirs(os.path.join(blobs, shard), exist_ok=True)
        path = os.path.join(blobs, shard, start + end)
        if start + end:
            with open(path, "wb") as file:
                file.truncate(size)
            os.utime(path, (used_at, used_at))


def plainly(blobs: str) -> tuple[set[Entry], set[str]]:
    """Entries and empty ones, a file at a time and without any haste."""
    entries, empty = set(), set()
    for shard in os.listdir(blobs):
        for name in os.listdir(os.path.join(blobs, shard)):
            info = os.lstat(os.path.join(blobs, shard, name))
            right = re.fullmatch("[0-9a-f]{64}", name) and shard == name[:2]
            if right and stat.S_ISREG(info.st_mode):
                if info.st_size or name == EMPTY:
                    key = b"b" + bytes.fromhex(name)
                    entries.add((key, info.st_size, min(NOW, info.st_mtime)))
                else:
                    empty.add(name)
    return entries, empty


@settings(max_examples=60, deadline=None)
@given(files)
def test_the_scan_finds_what_a_plain_look_finds(
    found: dict[tuple[str, str, str], tuple[int, float]],
) -> None:
    """Each blob with its size and time, nothing that is none; those without bytes are removed."""
    with tempfile.TemporaryDirectory(prefix="scan-") as root:
        layout = Layout(root)
        os.makedirs(layout.blobs)
        lay(layout.blobs, found)
        entries, empty = plainly(layout.blobs)
        seen = _scan_blobs(Disk(), layout, os.listdir(layout.blobs), NOW)
        assert sorted(seen.blobs) == sorted(entries)
        assert (set(seen.empty), len(seen.empty)) == (empty, len(empty))
        assert plainly(layout.blobs) == (entries, set())


def test_a_folder_and_a_link_by_the_name_of_a_blob_are_none(tmp_path: os.PathLike[str]) -> None:
    layout = Layout(os.fspath(tmp_path))
    os.makedirs(os.path.join(layout.blobs, "ab", "ab" * 32))
    os.symlink("/etc/hostname", os.path.join(layout.blobs, "ab", "ab" * 31 + "00"))
    assert list(_scan_blobs(Disk(), layout, ["ab"], NOW).blobs) == []


def test_what_two_jobs_found_is_joined_in_order() -> None:
    one, two = Found(), Found()
    one.blobs.append((b"b1", 1, 1.5))
    two.blobs.append((b"b2", 2, 2.5))
    two.empty.append("x")
    one.add(two)
    assert (list(one.blobs), len(one.blobs), one.empty) == (
        [(b"b1", 1, 1.5), (b"b2", 2, 2.5)],
        2,
        ["x"],
    )


@given(
    st.dictionaries(
        st.binary(min_size=1, max_size=3),
        st.tuples(st.integers(0, 5 << 50), st.floats(-1e12, 1e12)),
        max_size=30,
    )
)
def test_the_ledger_takes_columns_as_it_takes_tuples(
    what: dict[bytes, tuple[int, float]],
) -> None:
    """The order is that of a sort by time; each size is exact, and counted in whole blocks."""
    columns = Entries()
    for key, (size, used_at) in what.items():
        columns.append((key, size, used_at))
    ledger: Ledger[bytes] = Ledger(GIB)
    ledger.load(columns)
    assert list(ledger) == sorted(what, key=lambda key: what[key][1])
    assert {key: ledger.size(key) for key in what} == {key: what[key][0] for key in what}
    assert ledger.used == sum(whole_blocks(size) for size, _ in what.values())
