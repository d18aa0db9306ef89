"""Crash rounds: a real node is killed under load, its last writes are damaged, and it starts again.

The data folder lives on from round to round, so each start finds what many crashes have left.
Upstream is a double of Docker Hub in this process, whose tags move while the node runs; beside
the pulls, orders are given over the control socket (``crash_orders``). What a power loss may leave
is made by hand: files that the last second wrote are cut short or lose pages, with their times
as they were.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, Final

import attrs
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater

from nodecache.eviction import BLOCK
from nodecache.limits import MIB, SEGMENT
from nodecache.segments import segment_span
from nodecache.store.journal import read_journal
from tests.fakes_client import Got, fetch
from tests.fakes_hub import FakeHub, Image
from tests.trust.crash_orders import IMPORTED, Orders, OrdersTally
from tests.trust.run import on_disk

APP: Final = "library/app"
TAGS: Final = ("1", "2", "3")
SMALL: Final = (3_000, 70_000, 400_000, 1_500_000)
#: Three segments, the last of which is short.
BIG: Final = 2 * SEGMENT + 3 * MIB
#: Small, so that it evicts; an import that has to be unpacked speaks for 64 MiB of it.
CAP: Final = 72 * MIB
#: Clients at a time.
CLIENTS: Final = 6
PAGE: Final = 4096
#: Seconds until the node answers, on a busy machine, the interpreter's start included.
START: Final = 180.0
#: Seconds until upstream counts as back, and the accounts are settled, on a busy machine.
PATIENCE: Final = 90.0
#: Orders that are given at a time.
ORDERS: Final = 2
#: Bytes that a start may read for each file of its folder, and in all, beside what it reads
#: with an empty folder and what it checks: no byte of a blob or a partial twice, also not of a
#: partial that was whole when the node died, whose segments and whose digest are checked.
READ_EACH: Final = 16 * 1024
READ: Final = MIB
#: Bytes of an upstream body that a fill may have under way twice, beside its segments.
SLACK: Final = MIB

CONFIG: Final = """\
[timeouts]
absent = "50ms"
absent_signature = "50ms"
drain = "1s"
grace_pin = "100ms"
probe_first = "50ms"
probe_last = "200ms"
answer = "8s"
marker = "1s"
"""


@attrs.define
class Tally:
    """What the rounds did and found; ``problems`` name the round."""

    rounds: int = 0
    requests: int = 0
    whole: int = 0
    evicted: int = 0
    fills_cut: int = 0
    damaged: int = 0
    corrupt_found: int = 0
    segments_kept: int = 0
    resumed: int = 0
    slowest_start: float = 0.0
    slowest_scan: float = 0.0
    #: Bytes, beside those of a start with an empty folder.
    most_read: int = 0
    most_files: int = 0
    orders: OrdersTally = attrs.Factory(OrdersTally)
    problems: list[str] = attrs.Factory(list)


class Crashes:
    """``open``, ``round`` as often as you like, ``close``."""

    def __init__(self, reactor: Any, seed: int) -> None:
        self.reactor = reactor
        self.random = random.Random(seed)
        self.tally = Tally()
        self._process: subprocess.Popen[bytes] | None = None
        self._serial = 0
        self._blobs: dict[str, int] = {}
        self._manifests: dict[str, set[bytes]] = {tag: set() for tag in TAGS}
        self._images: list[Image] = []
        self._read_when_empty = 0

    async def open(self) -> None:
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="crash-"))
        self.data_dir = self.folder / "data"
        (self.folder / "nodecache.toml").write_text(CONFIG)
        self.hub = FakeHub(self.reactor).start()
        for tag in TAGS:
            self.move(tag)
        self.big = self.hub.add_pattern(APP, BIG)
        self.orders = Orders(self.data_dir, self.folder / "archives", self.random)
        self.tally.orders = self.orders.tally
        await self.start()

    async def close(self) -> None:
        self.kill()
        await self.hub.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def wrong(self, words: str) -> None:
        self.tally.problems.append(f"round {self.tally.rounds}: {words}")

    def move(self, tag: str) -> None:
        """The tag means another image from now on."""
        self._serial += 1
        layers = [self.random.randbytes(size) for size in self.random.sample(SMALL, 2)]
        image = self.hub.add_image(APP, tag, layers)
        self._images.append(image)
        self._manifests[tag].add(image.manifest.body)
        for digest in (image.config, *image.layers):
            self._blobs[digest] = self.hub._blobs[digest].size

    # The process

    async def start(self) -> None:
        self._log = self.folder / f"log{self.tally.rounds}"
        argv = [sys.executable, "-m", "nodecache", "serve", "--data-dir", str(self.data_dir)]
        argv += ["--config", str(self.folder / "nodecache.toml"), "--tag-ttl", "0"]
        argv += ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
        argv += ["--upstream", f"docker.io={self.hub.url}", "--max-size", str(CAP)]
        argv += ["--min-free", "0", "--log-format", "json"]
        began = self.reactor.seconds()
        here = self._here()
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log)
        while not (started := self.logged("start")):
            if self._process.poll() is not None:
                raise AssertionError(f"it does not start: {self._log.read_text()[-2000:]}")
            assert self.reactor.seconds() - began < START, "it does not start in time"
            await deferLater(self.reactor, 0.02)
        self._judge_start(*here)
        self.port, self.admin = (_port(started[0][name]) for name in ("listen", "admin"))
        got = await self._try(f"http://127.0.0.1:{self.port}/v2/")
        assert got is not None
        assert got.status == 200, got
        took = self.reactor.seconds() - began
        self.tally.slowest_start = max(self.tally.slowest_start, took)
        self.tally.slowest_scan = max(self.tally.slowest_scan, started[0]["scan_seconds"])
        if self.tally.rounds and not started[0]["unclean"]:
            self.wrong("the start does not know of the crash")

    def _here(self) -> tuple[int, int]:
        """How many files there are, and their bytes; nobody writes now."""
        found = [
            os.stat(os.path.join(folder, name)).st_size
            for folder, _, names in os.walk(self.data_dir)
            for name in names
        ]
        return len(found), sum(found)

    def _judge_start(self, files: int, size: int) -> None:
        """How much was read until it listens: by what the kernel counted, not by a clock.

        What was written lately is checked from then on, so that some of it is among this.
        """
        assert self._process is not None
        text = pathlib.Path(f"/proc/{self._process.pid}/io").read_text()
        read = int(dict(line.split(": ") for line in text.splitlines())["rchar"])
        if not self.tally.rounds:
            self._read_when_empty = read
        extra = read - self._read_when_empty
        if extra > READ + READ_EACH * files + size:
            self.wrong(f"a start with {files} files of {size} bytes read {extra} bytes")
        self.tally.most_read = max(self.tally.most_read, extra)
        self.tally.most_files = max(self.tally.most_files, files)

    def kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGKILL)
            process.wait()

    def logged(self, kind: str) -> list[dict[str, Any]]:
        found = []
        for line in self._log.read_text().splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue  # the last one may be torn
            if event.get("event") == kind:
                found.append(event)
        return found

    async def _try(self, url: str, **headers: str) -> Got | None:
        """None where nobody answers."""
        try:
            return await fetch(self.reactor, url, headers=headers)
        except Exception:
            return None

    async def get(self, path: str, **headers: str) -> Got | None:
        return await self._get(APP, path, **headers)

    async def _get(self, name: str, path: str, **headers: str) -> Got | None:
        self.tally.requests += 1
        return await self._try(f"http://127.0.0.1:{self.port}/v2/{name}/{path}", **headers)

    async def metric(self, name: str) -> float:
        got = await self._try(f"http://127.0.0.1:{self.admin}/metrics")
        if got is None:
            return -1.0
        families = text_string_to_metric_families(got.body.decode())
        samples = [one for family in families for one in family.samples]
        return sum(one.value for one in samples if one.name == f"nodecache_{name}")

    # A round

    async def round(self, *, big: bool) -> None:
        """``big``: a large blob is filled when the node dies, and nothing is damaged."""
        self.tally.rounds += 1
        if big:
            await self._die_in_a_fill()
            before = self._whole_segments()
            await self._again()
            await self._resumes(before)
        else:
            await self._die_under_load()
            self._lose_power()
            await self._again()
        await self._serves_no_wrong_byte()
        await self._accounts_are_right()

    async def _again(self) -> None:
        self.kill()
        await self.start()

    async def _die_under_load(self) -> None:
        at = self.reactor.seconds() + self.random.uniform(0.05, 0.8)
        clients = [Deferred.fromCoroutine(self._client(at)) for _ in range(CLIENTS)]
        clients += self._give_orders()
        await deferLater(self.reactor, max(0.0, at - self.reactor.seconds()))
        await self._some_orders()
        self.tally.fills_cut += int(max(0.0, await self.metric("fills_active")))
        self.tally.evicted += int(max(0.0, await self.metric("evictions_total")))
        self.kill()
        await DeferredList(clients, consumeErrors=True)

    def _give_orders(self) -> list[Deferred[None]]:
        patterns = [f"docker.io/{APP}:{tag}" for tag in TAGS] + [f"docker.io/{IMPORTED}:*"]
        return [Deferred.fromCoroutine(self.orders.give(patterns)) for _ in range(ORDERS)]

    async def _some_orders(self) -> None:
        """Every second time until one more was carried out, so that there is something to lose."""
        done, give_up = self.orders.done, self.reactor.seconds() + PATIENCE
        if self.random.random() < 0.5:
            while self.orders.done == done and self.reactor.seconds() < give_up:
                await deferLater(self.reactor, self.random.uniform(0.001, 0.05))

    async def _client(self, until: float) -> None:
        """Pulls this and that, and moves tags, until the node is dead."""
        while self.reactor.seconds() < until + PATIENCE:
            tag = self.random.choice(TAGS)
            if self.random.random() < 0.3:
                self.move(tag)
            got = await self.get(f"manifests/{tag}")
            if got is None:
                return
            self._check_manifest(tag, got)
            image = self.random.choice(self._images[-12:])
            digest = self.random.choice([image.config, *image.layers, self.big])
            first = self.random.randrange(1000)
            ranged = {"Range": f"bytes={first}-"} if self.random.random() < 0.3 else {}
            got = await self.get(f"blobs/{digest}", **ranged)
            if got is None:
                return
            if not ranged:
                self._check_blob(digest, got)

    async def _die_in_a_fill(self) -> None:
        """Somewhere in the big blob, which is forgotten first."""
        self.big = self.hub.add_pattern(APP, BIG, b"%d" % self.random.getrandbits(64))
        at = self.random.randrange(BIG)
        reading = Deferred.fromCoroutine(self.get(f"blobs/{self.big}"))
        orders = self._give_orders()
        sent = self.hub.cdn.sent
        while self.hub.cdn.sent - sent < at and not reading.called:
            await deferLater(self.reactor, 0)
        await self._some_orders()
        self.kill()
        under_way: list[Deferred[Any]] = [reading, *orders]
        await DeferredList(under_way, consumeErrors=True)

    def _journal(self) -> pathlib.Path:
        return self.data_dir / "v1" / "segments" / self.big.partition(":")[2] / "journal"

    def _whole_segments(self) -> list[int]:
        """Bytes of those that a start has to keep: of partials, the youngest is sure to stay."""
        try:
            written = self._journal().stat().st_mtime
            known = read_journal(self._journal().read_bytes()).segments
        except FileNotFoundError:
            return []
        others = [path for path in self._journal().parent.parent.rglob("*") if path.is_file()]
        later = [path for path in others if path.stat().st_mtime > written - 2]
        mine = all(path.parent == self._journal().parent for path in later)
        return [segment_span(index, BIG).size for index in known] if mine else []

    async def _resumes(self, segments: list[int]) -> None:
        """What was whole is not fetched again."""
        stored = (self.data_dir / "v1" / "blobs" / "sha256" / self.big[7:9] / self.big[7:]).exists()
        sent, there = self.hub.cdn.sent, self._journal().exists()
        got = await self.get(f"blobs/{self.big}")
        if got is None or got.broken or got.status != 200:
            self.wrong(f"the big blob is not served: {got and (got.status, got.broken)}")
            return
        self._check_blob(self.big, got)
        fetched = self.hub.cdn.sent - sent
        kept = BIG if stored else sum(segments)
        self.tally.segments_kept += len(segments)
        self.tally.resumed += 1
        if fetched > BIG - kept + SLACK:
            self.wrong(
                f"segments of {segments} bytes were whole, and {fetched} of {BIG} bytes came again"
                f" (answer {got.header('Nodecache-Source')}; the start"
                f" {'kept' if there else 'dropped'} the partial): {self._story()}"
            )

    def _story(self) -> str:
        """What the log has of the start, of the big blob, and of the disk."""
        lines = self._log.read_text().splitlines()
        of = (self.big, '"disk_failed"', '"event": "start"', '"evict')
        told = [line[:400] for line in lines if any(each in line for each in of)]
        return " | ".join(told[-12:])

    # The damage

    def _lose_power(self) -> None:
        """Of what the last second wrote, something is cut short, blanked or left."""
        now = time.time()
        self.orders.forget()
        for path in sorted(self.data_dir.rglob("*")):
            if not path.is_file() or path.name == "lock":
                continue
            found = path.stat()
            if now - max(found.st_mtime, found.st_ctime) > 1.5 or not found.st_size:
                continue
            how = self.random.choice(("cut", "emptied", "blanked", "page", "left", "left"))
            self._damage(path, found.st_size, how)
            os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
            self.tally.damaged += how != "left"

    def _damage(self, path: pathlib.Path, size: int, how: str) -> None:
        with open(path, "r+b") as file:
            if how == "cut":
                file.truncate(self.random.randrange(size))
            elif how == "emptied":
                file.truncate(0)
            elif how == "blanked":
                file.write(bytes(size))
            elif how == "page":
                at = self.random.randrange(0, size, PAGE)
                file.seek(at)
                file.write(bytes(min(PAGE, size - at)))

    # After the start

    def _check_blob(self, digest: str, got: Got) -> None:
        if got.status == 200 and got.broken is None:
            self.tally.whole += 1
            if hashlib.sha256(got.body).hexdigest() != digest[7:]:
                self.wrong(f"wrong bytes of {digest}")

    def _check_manifest(self, tag: str, got: Got) -> None:
        if got.status == 200 and got.broken is None:
            self.tally.whole += 1
            if got.body not in self._manifests[tag]:
                self.wrong(f"a manifest that {tag} never meant")
            if got.header("Docker-Content-Digest") != (
                f"sha256:{hashlib.sha256(got.body).hexdigest()}"
            ):
                self.wrong(f"the manifest of {tag} has the digest of another")

    async def _serves_no_wrong_byte(self) -> None:
        """First what is here, without upstream; then all of it."""
        await self.hub.registry.stop()
        await self.hub.cdn.stop()
        await self.orders.check(self._imported, self.wrong)
        for reachable in (False, True):
            if reachable:
                self.hub.registry.start()
                self.hub.cdn.start()
            for tag in TAGS:
                got = await self._until_answered(f"manifests/{tag}", reachable=reachable)
                self._check_manifest(tag, got)
            wanted = [*self._blobs][-8:] if reachable else self._on_disk()
            for digest in wanted:
                got = await self._until_answered(f"blobs/{digest}", reachable=reachable)
                self._check_blob(digest, got)
        self.tally.corrupt_found += len(self.logged("corrupt"))
        for event in self.logged("unexpected"):
            self.wrong(f"a defect was met: {event}")

    def _on_disk_bytes(self) -> int:
        """A manifest's sidecar counts as a block, also one that was emptied."""
        manifests = self.data_dir / "v1" / "manifests"
        emptied = [path for path in manifests.rglob("*.type") if not path.stat().st_size]
        return on_disk(self.data_dir) + BLOCK * len(emptied)

    def _on_disk(self) -> list[str]:
        blobs = self.data_dir / "v1" / "blobs"
        return [f"sha256:{path.name}" for path in blobs.rglob("*") if path.is_file()]

    async def _imported(self, path: str) -> Got:
        got = await self._get(IMPORTED, path)
        assert got is not None, f"the node is gone: {self._log.read_text()[-2000:]}"
        return got

    async def _until_answered(self, path: str, *, reachable: bool) -> Got:
        """Once more where upstream was only just away."""
        give_up = self.reactor.seconds() + PATIENCE
        while True:
            got = await self.get(path)
            assert got is not None, f"the node is gone: {self._log.read_text()[-2000:]}"
            served = got.status == 200 and got.broken is None
            if served or not reachable:
                return got
            if self.reactor.seconds() > give_up:
                self.wrong(f"{path} is not served: {got.status} {got.broken} {got.body[:100]!r}")
                return got
            await deferLater(self.reactor, 0.02)

    async def _accounts_are_right(self) -> None:
        give_up = self.reactor.seconds() + PATIENCE
        while True:
            says, here = await self.metric("cache_bytes"), self._on_disk_bytes()
            reserved = await self.metric("cache_reserved_bytes")
            if says == here <= CAP and reserved == 0:
                return
            if self.reactor.seconds() > give_up:
                self.wrong(f"the accounts say {says} bytes and {reserved} reserved, disk: {here}")
                return
            await deferLater(self.reactor, 0.05)


def _port(address: str) -> int:
    """Of an address as a start tells it."""
    return int(address.rpartition(":")[2])


async def crash_rounds(
    reactor: Any, seed: int, rounds: int, told: Callable[[Tally], None] = lambda _: None
) -> Tally:
    """Every third round dies in the fill of a big blob. ``told`` hears of each round's end."""
    crashes = Crashes(reactor, seed)
    try:
        await crashes.open()
        for number in range(rounds):
            await crashes.round(big=number % 3 == 2)
            told(crashes.tally)
            if number % 10 == 9:
                print(crashes.tally, flush=True)
    finally:
        await crashes.close()
    return crashes.tally
