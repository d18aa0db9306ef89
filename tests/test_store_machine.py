"""Any order of fills, reads, evictions, faults, losses and restarts: the accounts stay right."""

from __future__ import annotations

import errno
import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)

from nodecache.freshness import TagEntry
from nodecache.limits import KIB, MIB
from nodecache.reference import Repository, Tag
from nodecache.store import StoredBlob
from tests.store_case import StoreCase, digest_of, fill_partial, manifest_of, some_bytes

CAP = 1 * MIB
CONTENTS = [some_bytes(size * KIB + seed, seed) for seed, size in enumerate((1, 90, 200, 301, 600))]
DIGESTS = [digest_of(data) for data in CONTENTS]
APP = Repository("docker.io", "library/app")
which = st.integers(0, len(CONTENTS) - 1)


class Case(StoreCase):
    cap = CAP
    __test__ = False

    def runTest(self) -> None:
        """A case needs one to be made outside a runner."""


class StoreMachine(RuleBasedStateMachine):
    """``stuck`` is True while one kind of call fails: then nothing is promised about room."""

    readers = Bundle("readers")

    @initialize()
    def begin(self) -> None:
        self.case = Case()
        self.case.setUp()
        self.open: dict[int, list[StoredBlob]] = {}
        self.stuck = False

    def teardown(self) -> None:
        self.close_readers()
        self.case.doCleanups()

    def close_readers(self) -> None:
        for blobs in self.open.values():
            while blobs:
                blobs.pop().close()

    def result(self, work: Any) -> Any:
        """What ``work`` gives, or the failure it ends with."""
        results: list[Any] = []
        self.case.begin(work).addBoth(results.append)
        assert results, "nothing may be left waiting"
        return getattr(results[0], "value", results[0])

    @rule(number=which)
    def fill(self, number: int) -> None:
        reservation = self.result(self.case.store.reserve(len(CONTENTS[number])))
        if isinstance(reservation, Exception):
            return
        partial = self.result(self.case.store.open_partial(DIGESTS[number]))
        if isinstance(partial, Exception):
            reservation.release()
            return
        try:
            fill_partial(partial, CONTENTS[number])
            failure = self.result(
                self.case.store.commit(partial, reservation, len(CONTENTS[number]))
            )
        except Exception as error:
            failure = error
        partial.keep()
        reservation.release()
        if failure is None:
            assert self.case.store.blob_size(DIGESTS[number]) == len(CONTENTS[number])

    @rule(number=which)
    def fill_in_part(self, number: int) -> None:
        reservation = self.result(self.case.store.reserve(8 * KIB))
        if isinstance(reservation, Exception):
            return
        partial = self.result(self.case.store.open_partial(DIGESTS[number]))
        if not isinstance(partial, Exception):
            try:
                partial.write(0, [CONTENTS[number][:1000]])
            except Exception:
                partial.discard()
            partial.keep()
        reservation.release()

    @rule(target=readers, number=which)
    def read(self, number: int) -> int:
        blob = self.result(self.case.store.open_blob(DIGESTS[number]))
        if isinstance(blob, StoredBlob):
            self.open.setdefault(number, []).append(blob)
            assert os.pread(blob.fd, 10 * MIB, 0) == CONTENTS[number]
        return number

    @rule(number=consumes(readers))
    def leave(self, number: int) -> None:
        blobs = self.open.get(number, [])
        if blobs:
            blob = blobs.pop()
            assert os.pread(blob.fd, 10 * MIB, 0) == CONTENTS[number], "a body broke"
            blob.close()

    @rule(number=which)
    def drop(self, number: int) -> None:
        self.result(self.case.store.drop_blob(DIGESTS[number]))

    @rule(number=which, size=st.sampled_from([None, 0, 10]))
    def lose(self, number: int, size: int | None) -> None:
        """A file is deleted or cut behind our back, and then asked for."""
        path = self.case.blob_path(DIGESTS[number])
        known = self.case.store.blob_size(DIGESTS[number]) is not None
        if self.open.get(number) or not known or self.stuck:
            return
        if size is None:
            os.unlink(path)
        else:
            os.truncate(path, size)
        blob = self.result(self.case.store.open_blob(DIGESTS[number]))
        assert blob is None

    @rule(number=which)
    def write_manifest(self, number: int) -> None:
        body = CONTENTS[number][:100]
        self.result(self.case.store.write_manifest(manifest_of(body)))

    @rule(number=which, pinned=st.booleans())
    def write_tag(self, number: int, *, pinned: bool) -> None:
        entry = TagEntry(str(DIGESTS[number]), "a/b", 1, self.case.wall(), pinned=pinned)
        self.result(self.case.store.write_tag(APP, Tag(f"t{number}"), entry))

    @rule(seconds=st.sampled_from([1.0, 10.0, 100.0, 4000.0]))
    def wait(self, seconds: float) -> None:
        self.case.clock.advance(seconds)

    @precondition(lambda self: not self.stuck)
    @rule(call=st.sampled_from(["unlink", "rename", "fsync", "pwritev", "mkdir"]))
    def break_disk(self, call: str) -> None:
        self.case.disk.fail(call, errno.EIO)
        self.stuck = True

    @precondition(lambda self: self.stuck)
    @rule()
    def mend_disk(self) -> None:
        self.case.disk.mend()
        self.stuck = False
        self.case.clock.advance(10)

    @precondition(lambda self: not self.stuck)
    @rule(clean=st.booleans())
    def restart(self, *, clean: bool) -> None:
        self.close_readers()
        if clean:
            self.case.reopened()
        else:
            self.case.after_kill()

    @invariant()
    def what_is_read_stays(self) -> None:
        for number, blobs in self.open.items():
            for blob in blobs:
                assert os.pread(blob.fd, 10, 0) == CONTENTS[number][:10]

    @invariant()
    def the_cap_is_kept(self) -> None:
        usage = self.case.store.usage()
        if not self.stuck:
            assert usage.bytes + usage.reserved <= CAP

    @invariant()
    def the_accounts_are_those_of_the_disk(self) -> None:
        if not self.stuck:
            self.case.store.usage()
            self.case.assert_accounts_are_right()


StoreMachine.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
StoreMachineTests = StoreMachine.TestCase
