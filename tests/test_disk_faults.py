"""Any one system call of the data folder fails, or it and all behind it: for each of them.

A scenario runs once untouched, and its calls are counted. Then it runs anew for each call and
each error a kernel may answer it with. Clients get right bytes or are broken off, and whoever
asks again is served, from upstream if need be; nothing is left open, spoken for or lying about;
and once the disk is well again everything is kept as ever.
"""

from __future__ import annotations

import errno
import os
import random
import traceback
from collections.abc import Callable
from typing import Any, Final

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure as Failed

from nodecache.byteranges import Span
from nodecache.cache import Cache
from nodecache.events import CorruptionFound, DiskFailed, FillFinished
from nodecache.failures import DataFolderError, Failure
from nodecache.reference import Digest
from nodecache.results import PassThroughResult
from nodecache.seams import BlobBody, BlobSource
from tests.fakes_cache import ALPINE, LATEST, FakeUpstream, Manifest, image, open_policy
from tests.fakes_failing_disk import SHORT, Call, FailingCalls, How, plausible
from tests.flight_case import SEGMENT, Client, FlightCase, M
from tests.store_case import digest_of, some_bytes, write_segment

CODES: Final = (errno.EIO, errno.ENOSPC, errno.EROFS, errno.EMFILE, SHORT)
#: Of the cells of each scenario and mode, one in so many is run; all of them by ``make trust``.
SHARE: Final = int(os.environ.get("NODECACHE_DISK_FAULTS_SHARE", "30"))
SEED: Final = int(os.environ.get("NODECACHE_DISK_FAULTS_SEED", "20261126"))

LAYER = some_bytes(SEGMENT + 3 * M, 1)
SMALL = some_bytes(M, 2)
OLD = image("old", SMALL)
NEW = image("new", LAYER)


class Reading(Client):
    """A client whose own reads are not counted among those of the node's disk."""

    calls: FailingCalls

    def read(self) -> int:
        with self.calls.unseen():
            return super().read()


@attrs.define
class Stream:
    """A client of a body that passes through."""

    body: BlobBody
    got: bytearray = attrs.Factory(bytearray)
    outcome: str | None = None

    def go(self) -> Stream:
        self.body.deliver(self.got.extend).addCallbacks(
            lambda _: self._end("complete"), lambda _: self._end("broken")
        )
        return self

    def _end(self, outcome: str) -> None:
        self.outcome = outcome


@attrs.define
class Visit:
    """One request for a blob: its client, or what it was refused with."""

    digest: Digest
    data: bytes
    client: Client | Stream | None = None
    refused: Failure | None = None

    @property
    def outcome(self) -> str:
        if self.refused is not None:
            return f"refused: {self.refused}"
        return str(self.client.outcome if self.client is not None else None)


@attrs.define
class Upstream(FakeUpstream):
    """Its blobs come from where those of the fills come from."""

    blobs_of: Any = None

    def blob_source(self, name: str, digest: Digest) -> BlobSource:
        del name
        source: BlobSource = self.blobs_of.source(ALPINE, digest)
        return source


class Ground(FlightCase):
    """A cache over the real store and real fills, on a folder whose calls can be made to fail."""

    __test__ = False

    def runTest(self) -> None:
        """A case needs one to be made outside a runner."""

    def setUp(self) -> None:
        super().setUp()
        self.calls = FailingCalls(self.folder)
        Reading.calls = self.calls
        self.hub = Upstream(blobs_of=self.origin)
        self.hub.has(ALPINE, LATEST, OLD)
        self.hub.has(ALPINE, None, NEW)
        for data in (LAYER, SMALL):
            self.origin.blobs[digest_of(data)] = data
        self.cache = self.new_cache()

    def new_cache(self) -> Cache:
        return Cache(
            self.store,
            self.fills,
            self,
            open_policy(60.0),
            clock=self.clock,
            wall=self.wall,
            observe=self.events.append,
            limits=self.limits,
            timeouts=self.timeouts,
        )

    def get(self, namespace: str) -> Upstream:
        """The cache's ``Upstreams``."""
        assert namespace == "docker.io"
        return self.hub

    # What clients do.

    def visit(self, data: bytes, span: Span | None = None) -> Visit:
        """Ask for a blob, or a part of it, and read what comes."""
        visit = Visit(digest_of(data), data if span is None else data[span.start : span.stop])

        def answered(result: Any) -> None:
            if isinstance(result, PassThroughResult):
                visit.client = Stream(result.body).go()
            else:
                visit.client = Reading(result.readable, span).go()

        def refused(reason: Any) -> None:
            assert isinstance(reason.value, Failure), reason.getTraceback()
            visit.refused = reason.value

        asked = self.cache.blob(ALPINE, visit.digest, whole=span is None)
        Deferred.fromCoroutine(asked).addCallbacks(answered, refused).addErrback(self.defect)
        self.turn()
        return visit

    def defect(self, reason: Any) -> None:
        raise AssertionError(reason.getTraceback())

    def see(self, manifest: Manifest) -> None:
        """A client asks for the tag and gets the manifest, whatever the disk does."""
        answered = Deferred.fromCoroutine(self.cache.manifest(ALPINE, LATEST, head=False))
        self.turn()
        body = self.successResultOf(answered).body
        assert body == manifest.body, body

    def arrive(self) -> None:
        """All that upstream was asked for comes, and what waits for a full disk gives up."""
        self.finish()
        for _ in range(int(self.timeouts.stall_total) + 2):
            self.turn(self.timeouts.full_retry)
            self.finish()

    def check(self, visit: Visit) -> None:
        """It got right bytes, all of them or a beginning."""
        assert visit.outcome in ("complete", "broken") or visit.refused is not None, visit.outcome
        if visit.client is not None:
            got = bytes(visit.client.got)
            assert visit.data.startswith(got), "wrong bytes"
            assert visit.outcome != "complete" or got == visit.data, "a short body"

    # How it stands afterwards.

    def open_files(self) -> list[str]:
        found = []
        for number in os.listdir("/proc/self/fd"):
            try:
                path = os.readlink(f"/proc/self/fd/{number}")
            except OSError:
                continue
            if path.startswith(self.folder):
                found.append(path.removeprefix(self.folder))
        return sorted(found)

    def check_well(self) -> None:
        """Nothing is left over, and all is kept as ever."""
        self.calls.mend()
        self.turn(self.timeouts.grace_pin)
        self.turn(self.timeouts.marker)
        self.nothing_is_left()
        assert self.open_files() == ["/lock", "/v1/running"], self.open_files()
        assert os.listdir(os.path.join(self.folder, "v1", "tmp")) == []
        assert self.store.problem is None, self.store.problem
        assert not self.told("unexpected"), self.told("unexpected")
        self.turn(61)
        for data in (LAYER, SMALL, some_bytes(2 * M, 9)):
            self.origin.blobs[digest_of(data)] = data
            visit = self.visit(data)
            self.arrive()
            assert visit.outcome == "complete", visit.outcome
            assert bytes(visit.client.got) == data  # type: ignore[union-attr]  # it is complete
            assert self.store.blob_size(digest_of(data)) == len(data), "it was not kept"
        self.turn(self.timeouts.grace_pin)
        self.nothing_is_left()
        self.assert_accounts_are_right()

    def shut(self) -> None:
        self.cache.stop()
        self.doCleanups()


Scenario = Callable[[Ground], list[Visit]]


def cold_with_three_readers(ground: Ground) -> list[Visit]:
    """One whole, one of a range behind it, one that comes late."""
    first = ground.visit(LAYER)
    ranged = ground.visit(LAYER, Span(SEGMENT + M, SEGMENT + 2 * M))
    for body in list(ground.origin.open_bodies):
        if body.delivering:
            body.send(2 * M)
    ground.settle()
    late = ground.visit(LAYER)
    ground.arrive()
    return [first, ranged, late]


def tag_for_the_first_time(ground: Ground) -> list[Visit]:
    ground.see(OLD)
    return []


def tag_that_moves(ground: Ground) -> list[Visit]:
    """What it meant is here, and so is its file."""
    with ground.calls.unseen():
        ground.see(OLD)
    ground.turn(61)
    ground.hub.has(ALPINE, LATEST, NEW)
    ground.see(NEW)
    return []


def warm(ground: Ground) -> list[Visit]:
    """All of it is here, after a restart of the cache."""
    with ground.calls.unseen():
        ground.see(OLD)
        ground.put_blob(SMALL)
        ground.cache = ground.new_cache()
    ground.see(OLD)
    visits = [ground.visit(SMALL), ground.visit(SMALL, Span(10, 20))]
    ground.arrive()
    return visits


def evicting(ground: Ground) -> list[Visit]:
    """Others have to go for the new one."""
    with ground.calls.unseen():
        for number in range(6):
            ground.turn(60)
            ground.put_blob(some_bytes(2 * M, 20 + number))
        ground.store.set_limits(len(LAYER) + 2 * M, 0)
    visit = ground.visit(LAYER)
    ground.arrive()
    return [visit]


def resuming_from(ground: Ground) -> None:
    """One segment is here."""
    partial = ground.run_now(ground.store.open_partial(digest_of(LAYER)))
    partial.set_total(len(LAYER))
    write_segment(partial, LAYER, 0)
    partial.keep()
    ground.store.usage()


def resuming(ground: Ground) -> list[Visit]:
    """One segment is here from before; a client asks for what is behind it, then for all."""
    with ground.calls.unseen():
        resuming_from(ground)
    behind = ground.visit(LAYER, Span(SEGMENT, len(LAYER)))
    whole = ground.visit(LAYER)
    ground.arrive()
    return [behind, whole]


SCENARIOS: Final[dict[str, Scenario]] = {
    each.__name__: each
    for each in (
        cold_with_three_readers,
        tag_for_the_first_time,
        tag_that_moves,
        warm,
        evicting,
        resuming,
    )
}


def run(scenario: Scenario, at: int | None, code: int, how: How = How.ONCE) -> Ground:
    """Once; raises what is wrong."""
    ground = Ground()
    ground.setUp()
    try:
        if at is not None:
            ground.calls.arm(at, code, how)
        with ground.calls.caught():
            visits = scenario(ground)
            for visit in visits:
                ground.check(visit)
            if at is None:
                assert [visit.outcome for visit in visits] == ["complete"] * len(visits)
            elif how is not How.ONCE and visits:
                check_again(ground)
        seen = list(ground.calls.seen)
        check_told(ground, visits)
        ground.check_well()
        ground.calls.seen = seen
    finally:
        ground.shut()
    return ground


def check_again(ground: Ground) -> None:
    """While the disk is still broken: whoever asks again for the whole gets it from upstream.

    The first may be the one who finds out that it is broken.
    """
    outcomes = []
    for _ in range(2):
        again = ground.visit(LAYER)
        ground.arrive()
        ground.check(again)
        outcomes.append(again.outcome)
    assert outcomes[-1] == "complete", f"asked again: {outcomes}"


def check_told(ground: Ground, visits: list[Visit]) -> None:
    """An event names the cause of what a client did not get."""
    if all(visit.outcome == "complete" for visit in visits):
        return
    words = [each.reason for each in ground.events if isinstance(each, DiskFailed | FillFinished)]
    named = any(word and os.strerror(ground.calls.code) in word for word in words)
    assert named or any(isinstance(e, CorruptionFound) for e in ground.events), words


def cells(scenario: Scenario, how: How) -> list[tuple[int, int]]:
    """Call and code."""
    calls = run(scenario, None, 0).calls.seen
    assert len(calls) > 5, "the scenario touches the disk"
    return chosen(calls, f"{scenario.__name__} {how.value}")


def chosen(calls: list[Call], which: str) -> list[tuple[int, int]]:
    """The share of the cells that is run: call and code."""
    every = [(at, code) for at, call in enumerate(calls) for code in CODES if plausible(call, code)]
    return sorted(random.Random(f"{SEED} {which}").sample(every, -(-len(every) // SHARE)))


def said(at: int, code: int) -> str:
    """What went wrong, for a person."""
    word = "short" if code == SHORT else errno.errorcode[code]
    return f"call {at} {word}: {traceback.format_exc(limit=-3)}"


def start(at: int | None, code: int, how: How) -> list[Call]:
    """A start after a kill, on a folder with something of each kind; returns its calls."""
    ground = Ground()
    ground.setUp()
    try:
        with ground.calls.caught():
            with ground.calls.unseen():
                resuming_from(ground)
                ground.see(OLD)
                ground.put_blob(SMALL)
                ground.successResultOf(Deferred.fromCoroutine(ground.fills.stop()))
                ground.kill()
            assert ground.open_files() == [], ground.open_files()
            ground.calls.arm(-1 if at is None else at, code, how)
            result = ground.opening()
            ground.turn()
            seen = list(ground.calls.seen)
            ground.calls.mend()
            if isinstance(result.result, Failed):
                error = ground.failureResultOf(result, DataFolderError).getErrorMessage()
                assert "\n" not in error, error
                assert os.strerror(code) in error or "is not a folder" in error, error
                assert ground.open_files() == [], ground.open_files()
                ground.store = ground.opened()
            else:
                ground.store = ground.successResultOf(result)
                ground.stores.append(ground.store)
                if any(each.operation == "scan" for each in ground.told("disk_failed")):
                    # A folder that was not read counts as empty until the next start.
                    ground.reopened()
            ground.turn()
        ground.fills = ground.new_fills()
        ground.cache = ground.new_cache()
        ground.check_well()
        ground.see(OLD)
    finally:
        ground.shut()
    return seen


def test_any_call_of_a_start_may_fail() -> None:
    """It starts, or says in one line why it does not and lets go of everything."""
    problems, calls = [], start(None, 0, How.ONCE)
    tried = chosen(calls, "start")
    for at, code in tried:
        try:
            start(at, code, How.ONCE)
        except Exception:
            problems.append(said(at, code))
    assert not problems, f"{len(problems)} of {len(tried)}:\n" + "\n".join(problems)


@pytest.mark.parametrize("how", How)
@pytest.mark.parametrize("name", SCENARIOS)
def test_any_call_may_fail(name: str, how: How) -> None:
    scenario = SCENARIOS[name]
    problems = []
    tried = cells(scenario, how)
    for at, code in tried:
        try:
            run(scenario, at, code, how)
        except Exception:
            problems.append(said(at, code))
    assert not problems, f"{len(problems)} of {len(tried)}:\n" + "\n".join(problems)


@pytest.mark.parametrize("leap", [-400 * 86400, -3600, 3600, 400 * 86400])
def test_the_clock_leaps_in_the_middle(leap: float) -> None:
    """Forward or back, it costs no client anything, and nothing that is here is doubted or lost."""
    ground = Ground()
    ground.setUp()
    try:
        ground.see(OLD)
        kept = ground.put_blob(some_bytes(M, 70))
        early = ground.visit(LAYER)
        ground.body.send(2 * M)
        ground.settle()
        ground.offset += leap
        late = ground.visit(LAYER)
        ground.arrive()
        for visit in (early, late):
            assert (visit.outcome, visit.client is not None) == ("complete", True)
            ground.check(visit)
        ground.see(OLD)
        ground.check_well()
        assert ground.read_blob(kept) == some_bytes(M, 70)
        ground.turn(ground.timeouts.grace_pin)
        ground.offset -= leap
        assert ground.read_blob(kept) == some_bytes(M, 70)
        assert ground.told("corrupt") == []
        ground.reopened()
        assert ground.read_blob(kept) == some_bytes(M, 70)
        assert ground.told("corrupt") == []
        ground.see(OLD)
    finally:
        ground.shut()
