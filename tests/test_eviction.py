"""The ledger against a plain model: the cap holds, the pinned stay, the accounts are exact."""

from __future__ import annotations

from collections import Counter

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nodecache.eviction import BLOCK, PARTIAL_SHARE, Ledger, whole_blocks

keys = st.sampled_from("abcde")
sizes = st.one_of(st.sampled_from([0, 1, BLOCK - 1, BLOCK, BLOCK + 1]), st.integers(0, 12 * BLOCK))
CAP = 20 * BLOCK
DISK = 40 * BLOCK
PLENTY = 1 << 40


@attrs.define
class Entry:
    size: int
    used_at: int
    partial: bool

    @property
    def blocks(self) -> int:
        return whole_blocks(self.size)


@attrs.define
class Reserved:
    amount: int
    written: int = 0


class LedgerMachine(RuleBasedStateMachine):
    """A store that does as the ledger says, on a small disk that others use as well."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger: Ledger[str] = Ledger(CAP)
        self.entries: dict[str, Entry] = {}  # the order of use, the oldest first
        self.pins: Counter[str] = Counter()
        self.held: set[str] = set()
        self.reservations: list[Reserved] = []
        self.others = 0  # bytes of the disk that others use
        self.floor = 4 * BLOCK
        self.clock = 1000
        self.above_cap_allowed = False

    def now(self) -> int:
        self.clock += 1
        return self.clock

    def pinned(self, key: str) -> bool:
        return self.pins[key] > 0 or key in self.held

    def used(self) -> int:
        return sum(entry.blocks for entry in self.entries.values())

    def reserved(self) -> int:
        return sum(reserved.amount for reserved in self.reservations)

    def written(self) -> int:
        return sum(reserved.written for reserved in self.reservations)

    def disk_free(self) -> int:
        return DISK - self.others - self.used() - self.written()

    def candidates(self) -> list[str]:
        free = [key for key in self.entries if not self.pinned(key)]
        return sorted(free, key=lambda key: not self.entries[key].partial)

    def room_for(self, need: int, gone: list[str]) -> bool:
        freed = sum(self.entries[key].blocks for key in gone)
        unwritten = self.reserved() - self.written()
        below_cap = self.used() - freed + self.reserved() + need <= self.ledger.cap
        return below_cap and self.disk_free() + freed - unwritten - need >= self.floor

    def make_room(self, size: int) -> bool:
        """Ask for a plan, check it against the model, and follow it."""
        need = whole_blocks(size)
        unwritten = self.reserved() - self.written()
        plan = self.ledger.plan(size, self.disk_free(), self.floor, unwritten=unwritten)
        victims = list(plan.victims)
        candidates = self.candidates()
        assert plan.fits == self.room_for(need, candidates)
        if not plan.fits:
            assert not victims
            return False
        assert victims == candidates[: len(victims)], "the oldest go first, partials before all"
        assert self.room_for(need, victims)
        assert not victims or not self.room_for(need, victims[:-1]), "nobody goes in vain"
        for victim in victims:
            self.forget(victim)
        self.above_cap_allowed = False
        return True

    def forget(self, key: str) -> None:
        assert not self.pinned(key)
        assert self.ledger.remove(key)
        del self.entries[key]

    def young(self, key: str, entry: Entry) -> None:
        self.entries.pop(key, None)
        self.entries[key] = entry

    @rule(key=keys, size=sizes, partial=st.booleans())
    def write(self, key: str, size: int, partial: bool) -> None:
        if self.make_room(size):
            now = self.now()
            self.ledger.reserve(size)
            self.ledger.convert(size, key, size, now, partial=partial)
            self.young(key, Entry(size, now, partial))

    @rule(size=sizes)
    def reserve(self, size: int) -> None:
        if self.make_room(size):
            assert self.ledger.reserve(size) == whole_blocks(size)
            self.reservations.append(Reserved(whole_blocks(size)))

    @precondition(lambda self: self.reservations)
    @rule(blocks=st.integers(1, 12))
    def write_some_of_a_reservation(self, blocks: int) -> None:
        reserved = self.reservations[0]
        reserved.written = min(reserved.amount, reserved.written + blocks * BLOCK)

    @precondition(lambda self: self.reservations)
    @rule()
    def give_up_a_reservation(self) -> None:
        self.ledger.unreserve(self.reservations.pop().amount)

    @precondition(lambda self: self.reservations)
    @rule(key=keys, less=st.integers(0, BLOCK), partial=st.booleans())
    def commit_a_reservation(self, key: str, less: int, partial: bool) -> None:
        reserved = self.reservations.pop(0)
        size, now = max(0, reserved.amount - less), self.now()
        self.ledger.convert(reserved.amount, key, size, now, partial=partial)
        self.young(key, Entry(size, now, partial))

    @rule(size=sizes)
    def reserve_beyond_the_cap(self, size: int) -> None:
        if whole_blocks(size) > max(0, self.ledger.cap - self.used() - self.reserved()):
            with pytest.raises(ValueError, match="do not fit"):
                self.ledger.reserve(size)

    @rule(key=keys)
    def touch(self, key: str) -> None:
        now = self.now()
        self.ledger.touch(key, now)
        if key in self.entries:
            self.young(key, attrs.evolve(self.entries[key], used_at=now))

    @rule(key=keys)
    def pin(self, key: str) -> None:
        self.ledger.pin(key)
        self.pins[key] += 1

    @rule(key=keys)
    def unpin(self, key: str) -> None:
        if not self.pins[key]:
            with pytest.raises(ValueError, match="not pinned"):
                self.ledger.unpin(key)
            return
        self.ledger.unpin(key)
        self.pins[key] -= 1
        if key in self.entries and not self.pinned(key):
            self.young(key, self.entries[key])

    @rule(key=keys)
    def hold(self, key: str) -> None:
        self.ledger.hold_forever(key)
        self.held.add(key)

    @rule(key=keys)
    def release(self, key: str) -> None:
        self.ledger.release(key)
        if key in self.held:
            self.held.remove(key)
            if key in self.entries and not self.pinned(key):
                self.young(key, self.entries[key])

    @rule(key=keys)
    def file_is_gone(self, key: str) -> None:
        assert self.ledger.remove(key) == (key in self.entries)
        self.entries.pop(key, None)

    @rule(blocks=st.integers(0, 36))
    def others_use_the_disk(self, blocks: int) -> None:
        self.others = min(blocks * BLOCK, DISK - self.used() - self.written())

    @rule(blocks=st.integers(0, 30))
    def set_cap(self, blocks: int) -> None:
        self.ledger.cap = blocks * BLOCK
        self.above_cap_allowed = True

    @rule(files=st.integers(0, 3))
    def trim(self, files: int) -> None:
        unwritten = self.reserved() - self.written()
        candidates = self.candidates()
        partials = [key for key in candidates if self.entries[key].partial]
        share = int(self.ledger.cap * PARTIAL_SHARE)
        victims = list(
            self.ledger.trim(self.disk_free(), self.floor, unwritten=unwritten, files=files)
        )
        assert victims == candidates[: len(victims)]
        assert len(victims) >= min(files, len(candidates))
        left = [key for key in partials if key not in victims]
        assert len(left) <= 1 or sum(self.entries[key].blocks for key in left) <= share
        if len(victims) < len(candidates):
            assert self.room_for(0, victims)
        for victim in victims:
            self.forget(victim)
        self.above_cap_allowed = self.used() + self.reserved() > self.ledger.cap
        assert not (self.above_cap_allowed and self.candidates())

    @invariant()
    def never_above_the_cap(self) -> None:
        if not self.above_cap_allowed:
            assert self.ledger.used + self.ledger.reserved <= self.ledger.cap

    @invariant()
    def the_accounts_are_exact(self) -> None:
        ledger = self.ledger
        assert ledger.used == self.used()
        assert ledger.reserved == self.reserved()
        assert ledger.free == ledger.cap - self.used() - self.reserved()
        assert ledger.evictable == sum(self.entries[key].blocks for key in self.candidates())
        assert set(ledger) == set(self.entries)
        assert len(ledger) == len(self.entries)

    @invariant()
    def every_entry_is_known_as_it_is(self) -> None:
        for key in "abcde":
            entry = self.entries.get(key)
            assert (key in self.ledger) == (entry is not None)
            assert self.ledger.size(key) == (entry and entry.size)
            assert self.ledger.used_at(key) == (entry and entry.used_at)
            assert self.ledger.pinned(key) == self.pinned(key)


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def loaded(*entries: tuple[str, int, float], cap: int = PLENTY) -> Ledger[str]:
    ledger: Ledger[str] = Ledger(cap)
    ledger.load(entries)
    return ledger


def order(ledger: Ledger[str]) -> tuple[str, ...]:
    """All keys that may go, in the order in which they would."""
    ledger.cap = -PLENTY
    return ledger.trim(PLENTY, 0)


def test_a_loaded_ledger_evicts_by_last_use_whatever_the_order_of_the_scan() -> None:
    assert order(loaded(("new", 1, 30.0), ("old", 1, 10.0), ("middle", 1, 20.0))) == (
        "old",
        "middle",
        "new",
    )


def test_loads_of_several_kinds_make_one_order() -> None:
    ledger = loaded(("a", 1, 10.0), ("c", 1, 30.0))
    ledger.load([("d", 1, 40.0), ("b", 1, 20.0)])
    ledger.load([("late", 1, 99.0), ("early", 1, 5.0)], partial=True)
    assert order(ledger) == ("early", "late", "a", "b", "c", "d")


def test_a_load_keeps_what_is_pinned_and_replaces_what_is_there() -> None:
    ledger: Ledger[str] = Ledger(PLENTY)
    ledger.pin("pinned")
    ledger.hold_forever("held")
    ledger.add("twice", BLOCK, 1)
    ledger.load([("pinned", 1, 1.0), ("held", 1, 2.0), ("twice", 2 * BLOCK, 3.0)])
    assert ledger.used == 4 * BLOCK
    assert ledger.evictable == 2 * BLOCK
    assert order(ledger) == ("twice",)


@pytest.mark.parametrize(
    ("size", "counted"), [(0, 0), (1, BLOCK), (BLOCK, BLOCK), (BLOCK + 1, 2 * BLOCK)]
)
def test_sizes_count_as_whole_blocks_and_are_told_exactly(size: int, counted: int) -> None:
    ledger = loaded(("a", size, 0.0))
    assert ledger.used == counted
    assert ledger.size("a") == size


@pytest.mark.parametrize(("used_at", "kept"), [(-5.0, 0), (1.9, 1), (1e30, (1 << 34) - 1)])
def test_a_file_time_outside_of_all_reason_does_not_spoil_its_size(
    used_at: float, kept: int
) -> None:
    ledger = loaded(("a", 12345, used_at))
    assert ledger.size("a") == 12345
    assert ledger.used_at("a") == kept


def test_a_huge_blob_is_counted_exactly() -> None:
    assert loaded(("a", 5 << 50, 1e9)).size("a") == 5 << 50


@pytest.mark.parametrize("use", ["load", "add", "reserve", "unreserve"])
def test_negative_sizes_are_refused(use: str) -> None:
    ledger: Ledger[str] = Ledger(PLENTY)
    with pytest.raises(ValueError, match="-1"):
        {
            "load": lambda: ledger.load([("a", -1, 0.0)]),
            "add": lambda: ledger.add("a", -1, 0.0),
            "reserve": lambda: ledger.reserve(-1),
            "unreserve": lambda: ledger.unreserve(-1),
        }[use]()
    assert ledger.used == ledger.reserved == 0


def test_more_than_is_reserved_cannot_be_given_back() -> None:
    ledger: Ledger[str] = Ledger(PLENTY)
    ledger.reserve(BLOCK)
    with pytest.raises(ValueError, match="given back"):
        ledger.unreserve(2 * BLOCK)
    assert ledger.reserved == BLOCK


def test_an_entry_bigger_than_its_reservation_is_refused_and_changes_nothing() -> None:
    ledger: Ledger[str] = Ledger(PLENTY)
    ledger.reserve(BLOCK)
    with pytest.raises(ValueError, match="reservation"):
        ledger.convert(BLOCK, "a", BLOCK + 1, 0)
    assert (ledger.reserved, ledger.used) == (BLOCK, 0)


def test_what_would_not_fit_anyway_evicts_nobody() -> None:
    ledger = loaded(("a", BLOCK, 1.0), ("b", BLOCK, 2.0), cap=2 * BLOCK)
    plan = ledger.plan(3 * BLOCK, PLENTY, 0)
    assert not plan.fits
    assert plan.victims == ()


def test_a_plan_changes_nothing() -> None:
    ledger = loaded(("a", BLOCK, 1.0), ("b", BLOCK, 2.0), cap=2 * BLOCK)
    assert ledger.plan(BLOCK, PLENTY, 0) == ledger.plan(BLOCK, PLENTY, 0)
    assert ledger.used == 2 * BLOCK


def test_the_floor_of_the_disk_evicts_although_the_cap_would_not() -> None:
    ledger = loaded(("a", BLOCK, 1.0), ("b", BLOCK, 2.0))
    assert ledger.plan(BLOCK, 5 * BLOCK, 5 * BLOCK).victims == ("a",)
    assert not ledger.plan(3 * BLOCK, 5 * BLOCK, 5 * BLOCK).fits


def test_what_is_reserved_but_not_written_counts_against_the_floor() -> None:
    ledger = loaded(("a", BLOCK, 1.0))
    ledger.reserve(2 * BLOCK)
    assert not ledger.plan(BLOCK, 3 * BLOCK, 2 * BLOCK).fits
    assert ledger.plan(BLOCK, 3 * BLOCK, 2 * BLOCK, unwritten=0).victims == ()
    assert ledger.plan(BLOCK, 3 * BLOCK, 2 * BLOCK, unwritten=BLOCK).victims == ("a",)


def test_a_shortage_of_inodes_evicts_files_however_small() -> None:
    ledger = loaded(("a", 0, 1.0), ("b", 0, 2.0), ("c", 0, 3.0))
    assert ledger.plan(0, PLENTY, 0, files=2).victims == ("a", "b")
    assert ledger.trim(PLENTY, 0, files=9) == ("a", "b", "c")
    assert not ledger.plan(0, PLENTY, 0, files=4).fits


def test_a_trim_gives_the_disk_back_to_others_although_it_is_not_enough() -> None:
    ledger = loaded(("a", BLOCK, 1.0), ("b", BLOCK, 2.0))
    assert ledger.trim(0, 100 * BLOCK) == ("a", "b")


def test_partials_above_their_share_go_but_the_youngest_stays() -> None:
    ledger: Ledger[str] = Ledger(100 * BLOCK)
    ledger.load([("a", 4 * BLOCK, 1.0), ("b", 4 * BLOCK, 2.0), ("c", 4 * BLOCK, 3.0)], partial=True)
    assert ledger.trim(PLENTY, 0) == ("a",)
    ledger.add("huge", 60 * BLOCK, 4, partial=True)
    assert ledger.trim(PLENTY, 0) == ("a", "b", "c")


def test_partials_expire_unless_somebody_works_on_them() -> None:
    ledger: Ledger[str] = Ledger(PLENTY)
    ledger.load([("old", 1, 10.0), ("busy", 1, 11.0), ("new", 1, 90.0)], partial=True)
    ledger.add("whole", 1, 12.0)
    ledger.pin("busy")
    assert ledger.expired(50.0) == ("old",)


def test_a_pin_outlasts_the_entry_it_was_made_for() -> None:
    ledger = loaded(("a", BLOCK, 1.0))
    ledger.pin("a")
    ledger.remove("a")
    ledger.add("a", BLOCK, 2.0)
    assert order(ledger) == ()
    ledger.unpin("a")
    assert order(ledger) == ("a",)


def test_an_entry_with_two_readers_stays_until_both_are_gone() -> None:
    ledger = loaded(("a", BLOCK, 1.0))
    ledger.pin("a")
    ledger.pin("a")
    ledger.unpin("a")
    assert order(ledger) == ()
    ledger.unpin("a")
    assert order(ledger) == ("a",)
    with pytest.raises(ValueError, match="not pinned"):
        ledger.unpin("a")


def test_a_trim_keeps_room_for_what_is_reserved_but_not_written() -> None:
    ledger = loaded(("a", BLOCK, 1.0), ("b", BLOCK, 2.0))
    ledger.reserve(2 * BLOCK)
    assert ledger.trim(5 * BLOCK, 4 * BLOCK) == ("a",)
    assert ledger.trim(5 * BLOCK, 4 * BLOCK, unwritten=BLOCK) == ()


def test_a_partial_that_becomes_whole_changes_its_order() -> None:
    ledger = loaded(("whole", BLOCK, 1.0))
    ledger.add("a", BLOCK, 2.0, partial=True)
    assert order(ledger) == ("a", "whole")
    ledger.add("a", BLOCK, 3.0)
    assert order(ledger) == ("whole", "a")
