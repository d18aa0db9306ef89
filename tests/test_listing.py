"""Processes that list blobs: what they find, and that nothing is lost where they fail."""

from __future__ import annotations

import hashlib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nodecache.events import Event, ListingFailed
from nodecache.listing import Crew, begin, blobs_in, crew, lister
from nodecache.listing.crew import launched, parted
from nodecache.store import Disk, Store
from nodecache.store.keys import Entry, Kind
from nodecache.store.layout import Layout
from nodecache.store.listed import SETTLED
from nodecache.store.scan import _scan_blobs
from tests.fakes_disk import FaultyDisk, InlinePool
from tests.test_store_scan import NOW, files, lay, plainly

SHARDS = tuple(f"{number:02x}" for number in range(256))
#: What a program that stands in for the lister begins with.
HEAD = """
import os, signal, sys
sys.path.insert(0, os.path.dirname(sys.argv[1]))
import lister
BLOBS, NUMBER, COLUMNS = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
def head(shard, count, offset, magic=lister.MAGIC, number=NUMBER):
    os.write(1, lister.HEAD.pack(magic, number, shard, count, offset, 0))
def keys(shard, count):
    return b"".join(b"b" + bytes([shard]) + bytes([each]) * 31 for each in range(count))
ONES, TIMES = (1).to_bytes(8, sys.byteorder), bytes(8)
"""
#: What goes wrong: a program, and what is said of it.
BROKEN = {
    "it is killed in the middle": (
        """
write, left = os.write, [40]
def some(fd, data):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return write(fd, data)
os.write = some
lister.main(BLOBS, NUMBER, COLUMNS)
""",
        "ended with -9",
    ),
    "it fails": ("os.read(0, 1); raise KeyError", "ended with 1"),
    "it takes shards and ends": ("os.read(0, 50); sys.exit(3)", "ended with 3"),
    "garbage": ("os.write(1, os.urandom(400))", "nonsense"),
    "half a head": ("os.write(1, b'nls1'); os.read(0, 1)", "nonsense"),
    "the head of another": ("head(os.read(0, 1)[0], 0, 0, number=77)", "nonsense"),
    "short columns": (
        "it = os.read(0, 1)[0]; os.write(COLUMNS, keys(it, 3)); head(it, 4, 0)",
        "nonsense",
    ),
    "columns beyond the end": ("head(os.read(0, 1)[0], 4, 1 << 40)", "nonsense"),
    "more than there can be": ("head(os.read(0, 1)[0], (1 << 32) - 1, 0)", "nonsense"),
    "the same shard twice": ("it = os.read(0, 1)[0]; head(it, 0, 0); head(it, 0, 0)", "nonsense"),
    "blobs of another shard": (
        "it = os.read(0, 1)[0]; os.write(COLUMNS, keys(it ^ 1, 1) + ONES + TIMES); head(it, 1, 0)",
        "nonsense",
    ),
    "a blob without bytes": (
        "it = os.read(0, 1)[0]; os.write(COLUMNS, keys(it, 1) + TIMES * 2); head(it, 1, 0)",
        "nonsense",
    ),
}


def names(count: int) -> Iterator[str]:
    for number in range(count):
        yield hashlib.sha256(b"%d" % number).hexdigest()


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> str:
    """600 blobs in all of the shards, none of which was changed of late."""
    blobs = Layout(str(tmp_path)).blobs
    for shard in SHARDS:
        os.makedirs(os.path.join(blobs, shard))
    for number, name in enumerate(names(600)):
        with open(os.path.join(blobs, name[:2], name), "wb") as file:
            file.truncate(number + 1)
        os.utime(file.name, (NOW - number, NOW - number))
    for shard in SHARDS:
        os.utime(os.path.join(blobs, shard), (NOW, NOW))
    return str(tmp_path)


def crew_of(folder: str, script: str | None = None) -> Crew:
    """Two processes; ``script`` is a program that stands in for the lister."""

    def launch(command: Sequence[str], *ends: int) -> subprocess.Popen[bytes]:
        if script is not None:
            command = [*command[:3], "-c", HEAD + script, *command[3:]]
        return launched(command, *ends)

    some = Crew(Layout(folder).blobs, SHARDS, 2, launch)
    some.complete()
    return some


def wait_for(some: Crew) -> None:
    """Until its processes have listed what there is; their heads wait in the pipe."""
    for each in some._listers:
        each.process.wait()


def opened(
    folder: str, listing: Crew | None, disk: Disk | None = None
) -> tuple[list[Entry], list[Event]]:
    """Blobs as a store that was opened accounts for them, and what it told."""
    events: list[Event] = []
    store: Any = None

    async def go() -> None:
        nonlocal store
        store = await Store.open(
            folder,
            InlinePool(),
            Clock(),
            lambda: NOW,
            events.append,
            cap=1 << 60,
            floor=0,
            disk=disk,
            listing=listing,
        )

    done = Deferred.fromCoroutine(go())
    assert done.called
    done.addErrback(lambda reason: reason.raiseException())
    assert store.usage().blobs == len(store._accounts.ledger)
    ledger = store._accounts.ledger
    found = [(key, ledger.size(key), float(ledger.used_at(key))) for key in ledger]
    Deferred.fromCoroutine(store.close())
    return found, events


def expected(folder: str) -> set[Entry]:
    return plainly(Layout(folder).blobs)[0]


def reasons(events: list[Event]) -> list[str]:
    return [each.reason for each in events if isinstance(each, ListingFailed)]


@settings(max_examples=80, deadline=None)
@given(files)
def test_lister_and_scan_find_together_what_a_plain_look_finds(
    found: dict[tuple[str, str, str], tuple[int, float]],
) -> None:
    """What the one leaves is for the other."""
    with tempfile.TemporaryDirectory(prefix="listing-") as root:
        layout = Layout(root)
        os.makedirs(layout.blobs)
        lay(layout.blobs, found)
        entries, empty = plainly(layout.blobs)
        seen, left = set[Entry](), list[str]()
        for shard in os.listdir(layout.blobs):
            listed = crew.is_shard(shard) and lister.listed(os.path.join(layout.blobs, shard))
            if not listed:
                left.append(shard)
                continue
            changed, count, data = listed
            assert changed == os.stat(os.path.join(layout.blobs, shard)).st_mtime_ns
            each = parted(data, count, int(shard, 16), changed)
            times = [min(NOW, used_at) for used_at in each.times]
            seen |= set(zip(each.keys, each.sizes, times, strict=True))
        rest = _scan_blobs(Disk(), layout, left, NOW)
        assert sorted([*seen, *rest.blobs]) == sorted(entries)
        assert set(rest.empty) == empty


@pytest.mark.parametrize(
    ("name", "size", "in_order"),
    [
        ("ab" * 32, 1, True),
        ("ab" * 31 + "00", 5 << 40, True),
        ("ab" * 32, 0, False),
        ("AB" * 32, 1, False),
        ("ab" * 31, 1, False),
        ("ab" * 31 + " a", 1, False),
        ("ab" * 31 + "\udcff", 1, False),
        ("cd" * 32, 1, False),
        ("x", 1, False),
    ],
)
def test_a_shard_with_anything_odd_is_left_alone(
    tmp_path: pathlib.Path, name: str, size: int, in_order: bool
) -> None:
    shard = tmp_path / "ab"
    shard.mkdir()
    for each, length in ((("ab" * 31) + "ff", 7), (name, size)):
        with (shard / each).open("wb") as file:
            file.truncate(min(length, 1 << 40))
    assert (lister.listed(str(shard)) is not None) is in_order


def test_what_is_brought_is_in_the_order_of_its_last_use(folder: str) -> None:
    """Who sorts all shards then merges; each blob keeps its own size and time."""
    brought: list[Entry] = []
    with crew_of(folder) as listing:
        while (found := listing.next()) is not None:
            assert list(found.times) == sorted(found.times)
            brought += zip(found.keys, found.sizes, found.times, strict=True)
    assert set(brought) == expected(folder)
    assert len(brought) == 600


@pytest.mark.parametrize("kind", ["folder", "link", "no folder", "a link in its place"])
def test_what_is_no_file_is_left_alone(tmp_path: pathlib.Path, kind: str) -> None:
    shard = tmp_path / "ab"
    if kind == "a link in its place":
        (tmp_path / "real").mkdir()
        shard.symlink_to(tmp_path / "real")
    elif kind != "no folder":
        shard.mkdir()
        if kind == "folder":
            (shard / ("ab" * 32)).mkdir()
        else:
            (shard / ("ab" * 32)).symlink_to("/etc/hostname")
    assert lister.listed(str(shard)) is None


def test_two_names_whose_lengths_make_up_for_each_other_are_odd(tmp_path: pathlib.Path) -> None:
    shard = tmp_path / "ab"
    shard.mkdir()
    for name in ("ab" * 31 + "a", "ab" * 32 + "b"):
        (shard / name).write_bytes(b"x")
    assert lister.listed(str(shard)) is None


def test_a_store_has_all_blobs_that_its_processes_listed(folder: str) -> None:
    with crew_of(folder) as listing:
        found, events = opened(folder, listing)
        assert listing.pids == []
    assert set(found) == expected(folder)
    assert len(found) == 600
    assert [key for key, _, _ in found] == [
        b"b" + bytes.fromhex(name) for name in reversed(list(names(600)))
    ]
    assert reasons(events) == []


def test_the_processes_bring_every_shard_that_is_in_order(folder: str) -> None:
    odd = os.path.join(Layout(folder).blobs, "e3", "lost")
    os.mkdir(odd)
    with crew_of(folder) as listing:
        brought = []
        while (found := listing.next()) is not None:
            brought.append(found.shard)
    assert sorted(brought) == sorted(set(SHARDS) - {"e3"})
    assert listing.troubles == []


def test_times_to_come_count_as_now(folder: str) -> None:
    name = next(names(1))
    path = os.path.join(Layout(folder).blobs, name[:2], name)
    os.utime(path, (NOW + 9e6, NOW + 9e6))
    with crew_of(folder) as listing:
        found, _ = opened(folder, listing)
    assert (b"b" + bytes.fromhex(name), 1, NOW) in found


@pytest.mark.parametrize("what", BROKEN)
def test_nothing_is_lost_where_a_process_fails(folder: str, what: str) -> None:
    """Each blob is found, once; it is told; nothing stays open, and nobody alive."""
    script, words = BROKEN[what]
    before = os.listdir("/proc/self/fd")
    with crew_of(folder, script) as listing:
        pids = listing.pids
        found, events = opened(folder, listing)
    assert len(pids) == 2
    assert (set(found), len(found)) == (expected(folder), 600)
    assert words in reasons(events)[0]
    assert [pid for pid in pids if os.path.exists(f"/proc/{pid}")] == []
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_broken_process_is_not_lost_on_a_good_one(folder: str) -> None:
    """Shards that one takes to its grave are left to the scan, the rest is listed."""
    number = iter(range(2))

    def launch(command: Sequence[str], *ends: int) -> subprocess.Popen[bytes]:
        if next(number) == 0:
            command = [*command[:3], "-c", HEAD + "os.read(0, 5); sys.exit(9)", *command[3:]]
            process = launched(command, *ends)
            process.wait()
            return process
        return launched(command, *ends)

    with Crew(Layout(folder).blobs, SHARDS, 2, launch) as listing:
        listing.complete()
        brought = []
        while (found := listing.next()) is not None:
            brought.append(found.shard)
    assert len(set(brought)) == len(brought) == 251
    assert listing.troubles == ["a process that lists blobs ended with 9"]


@pytest.mark.parametrize("fails_at", [0, 1])
def test_nothing_is_lost_where_no_process_can_be_started(folder: str, fails_at: int) -> None:
    """Nor where it is the second one that can not."""
    number = iter(range(2))

    def launch(command: Sequence[str], *ends: int) -> subprocess.Popen[bytes]:
        if next(number) == fails_at:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        process = launched(command, *ends)
        process.send_signal(signal.SIGSTOP)  # it is not done when the other one is wanted
        return process

    before = os.listdir("/proc/self/fd")
    with Crew(Layout(folder).blobs, SHARDS, 2, launch) as listing:
        listing.complete()
        assert len(listing.pids) == fails_at
        for pid in listing.pids:
            os.kill(pid, signal.SIGCONT)
        found, events = opened(folder, listing)
    assert (set(found), len(found)) == (expected(folder), 600)
    assert "could be started" in reasons(events)[0]
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_an_interpreter_that_is_not_there_is_told_of(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with crew_of(folder) as listing:
        found, events = opened(folder, listing)
    assert len(found) == 600
    assert "No such file" in reasons(events)[0]


def test_what_was_changed_since_is_looked_at_again(folder: str) -> None:
    """Another process had the folder until after it was listed."""
    blobs = Layout(folder).blobs
    with crew_of(folder) as listing:
        wait_for(listing)
        come, gone = "ab" * 32, next(names(1))
        with open(os.path.join(blobs, "ab", come), "wb") as file:
            file.truncate(77)
        os.unlink(os.path.join(blobs, gone[:2], gone))
        found, _ = opened(folder, listing)
    keys = [key.hex()[2:] for key, _, _ in found]
    assert come in keys
    assert gone not in keys
    assert (set(found), len(found)) == (expected(folder), 600)


@pytest.mark.parametrize(("before", "again"), [(SETTLED - 1, True), (SETTLED + 1, False)])
def test_what_was_changed_just_before_is_looked_at_again(
    folder: str, before: int, again: bool
) -> None:
    """A change within the same tick of the clock would not be seen."""
    shard = os.path.join(Layout(folder).blobs, "ab")
    os.utime(shard, (NOW, NOW))
    size = 4096
    with crew_of(folder) as listing:
        listing.begun = int(NOW) * 1_000_000_000 + before
        wait_for(listing)
        with open(os.path.join(shard, "ab" * 32), "wb") as file:
            file.truncate(size)
        os.utime(shard, (NOW, NOW))
        found, _ = opened(folder, listing)
    assert ((b"b" + b"\xab" * 32) in [key for key, _, _ in found]) is again


def test_a_disk_that_is_not_the_real_one_is_scanned_through_it(folder: str) -> None:
    with crew_of(folder) as listing:
        found, _ = opened(folder, listing, FaultyDisk())
        assert listing.pids != []
    assert len(found) == 600


def test_many_blobs_are_listed_by_processes_without_being_told(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store begins by itself, where nobody has begun before; few are left to a thread."""
    begun: list[Crew] = []

    class Seen(Crew):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            begun.append(self)

    monkeypatch.setattr(crew, "Crew", Seen)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    assert len(opened(folder, None)[0]) == 600
    assert begun == []
    monkeypatch.setattr(crew, "MANY", 100)
    found, events = opened(folder, None)
    assert (set(found), len(found)) == (expected(folder), 600)
    assert len(begun) == 1
    assert reasons(events) == []


@pytest.mark.parametrize(("processors", "processes"), [(1, 0), (2, 2), (3, 3), (64, 4)])
def test_there_is_a_process_for_each_processor_but_the_callers_until_it_waits(
    folder: str, monkeypatch: pytest.MonkeyPatch, processors: int, processes: int
) -> None:
    monkeypatch.setattr(crew, "MANY", 100)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(processors)))
    listing = begin(Layout(folder).blobs)
    assert (listing is None) is (processes == 0)
    if listing is not None:
        with listing:
            assert len(listing.pids) == processes - 1
            for pid in listing.pids:
                os.kill(pid, signal.SIGSTOP)
            listing.complete()
            listing.complete()
            assert len(listing.pids) == processes


def test_where_all_is_listed_no_other_process_is_started(folder: str) -> None:
    with Crew(Layout(folder).blobs, SHARDS, 2, launched) as listing:
        wait_for(listing)
        listing.complete()
        assert len(listing.pids) == 1
        found, events = opened(folder, listing)
    assert (set(found), len(found), reasons(events)) == (expected(folder), 600, [])


@pytest.mark.parametrize("path", ["/nowhere", "a\0b", "/etc/hostname"])
def test_a_folder_that_is_none_is_for_others_to_tell_of(path: str) -> None:
    assert begin(path) is None


def test_the_room_agrees_with_the_store() -> None:
    assert blobs_in("/data") == Layout("/data").blobs
    assert blobs_in("data") == Layout(os.path.abspath("data")).blobs
    assert Kind.BLOB.code == lister.CODE
    assert len(Kind.BLOB.code + bytes(32)) == lister.KEY


def test_a_process_has_its_four_descriptors_and_next_to_no_environment(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever this one has open, and whatever secrets it was given."""
    monkeypatch.setenv("NODECACHE_PASSWORD", "secret")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/somewhere")
    mine, other = os.pipe()
    os.set_inheritable(other, True)
    script = """
found = {fd for fd in range(3, 4096) if os.path.exists(f"/proc/self/fd/{fd}")}
os.write(COLUMNS, repr((found == {COLUMNS}, sorted(os.environ))).encode())
"""
    try:
        with crew_of(folder, script) as listing:
            wait_for(listing)
            said = os.pread(listing._listers[0].columns, 4096, 0).decode()
    finally:
        os.close(mine)
        os.close(other)
    alone, environ = eval(said)
    assert alone
    assert set(environ) - {"LC_CTYPE"} <= {"PATH", "LD_LIBRARY_PATH"}


def test_a_process_ends_when_nobody_reads_its_heads_any_more(folder: str) -> None:
    """Who has started it is gone: it lists no other shard."""
    reader, writer = os.pipe()
    os.close(reader)
    columns = os.memfd_create("columns")
    tasks, more = os.pipe()
    os.write(more, b"\xab\xcd\xef")
    command = [sys.executable, "-I", "-S", lister.__file__, Layout(folder).blobs, "0", str(columns)]
    try:
        process = launched(command, tasks, writer, columns)
        assert process.wait(60) == 1
        first = lister.listed(os.path.join(Layout(folder).blobs, "ab"))
        assert first is not None
        assert os.fstat(columns).st_size == len(first[2])
        assert os.read(tasks, 9) == b"\xcd\xef"
    finally:
        for fd in (writer, columns, tasks, more):
            os.close(fd)


_SERVE = """
import sys
import nodecache.cli.serve as serve
def seen(blobs):
    print(blobs, "twisted" in sys.modules, "nodecache.store" in sys.modules)
    sys.exit(0)
serve.begin = seen
serve.serve(["--data-dir", sys.argv[1], "--upstream", "docker.io=http://127.0.0.1:9"])
"""


def test_serve_has_the_blobs_listed_before_it_loads_the_rest(folder: str) -> None:
    command = [sys.executable, "-c", _SERVE, folder]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == f"{Layout(folder).blobs} False False\n"


#: A start whose processes never say anything.
_HANGS = """
import sys
import nodecache.cli.serve as serve
from nodecache.listing import crew
crew.MANY = 1
launched = crew.launched
pids = []
def launch(command, *ends):
    process = launched([*command[:3], "-c", "import time; time.sleep(600)"], *ends)
    pids.append(process.pid)
    return process
crew.os.sched_getaffinity = lambda _: {0, 1}
begin = serve.begin
serve.begin = lambda blobs: begin(blobs, launch)
take = crew.Crew.next
def take_and_tell(self):
    print("waits for", *pids, flush=True)
    return take(self)
crew.Crew.next = take_and_tell
serve.serve([
    "--data-dir", sys.argv[1], "--upstream", "docker.io=http://127.0.0.1:9",
    "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--log-format", "json",
])
"""


def test_a_signal_ends_a_start_that_waits_for_its_processes(folder: str) -> None:
    command = [sys.executable, "-c", _HANGS, folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline().split()
            assert line[:2] == ["waits", "for"]
            process.send_signal(signal.SIGTERM)
            said = process.stdout.read()
            assert process.wait(60) == 0
        finally:
            process.kill()
    assert '"stopped"' in said
    assert '"start"' not in said
    assert len(line) == 4
    assert [pid for pid in line[2:] if os.path.exists(f"/proc/{pid}")] == []
    assert len(opened(folder, None)[0]) == 600
