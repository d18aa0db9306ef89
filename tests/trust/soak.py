"""The soak: an hour of everything at once on four nodes, and what they need stays flat.

``python -m tests.trust --soak 3600`` (as root: nodes are network namespaces). Clients on each node
pull cold, warm and rare images of several sizes, tags that move, ranges and lists, and hang up in
the middle, while cycle after cycle upstream is away, a black hole and slow, and nodes are replaced
one at a time, half of the times under another address. The cap is so small that nodes evict all
the time. Three times a cycle all rest, and what
each needs is read.

``soak_judge`` says what flat is, ``soak_watch`` the figures, and ``soak_load`` what clients check.
Two nodes run from the first second to the last, so that their memory, descriptors and threads are
judged by their growth; the two others are replaced again and again, and judged by ceilings and by
their disk, which outlives them.
"""

from __future__ import annotations

import contextlib
import pathlib
import random
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import attrs

from tests.system.cluster.cluster import Cluster, Plan, cluster
from tests.system.cluster.member import Member
from tests.system.cluster.network import MBIT
from tests.system.parts.images import MIB, Blob, Image, Layer, digest_of, huge_layer, image, noise
from tests.system.parts.processes import NotInTime, until
from tests.trust.run import on_disk
from tests.trust.soak_judge import too_often_full
from tests.trust.soak_load import NO_ROOM, Client, Shelf, Tally, Weather
from tests.trust.soak_watch import CAP, Watch

#: Nodes that are never replaced.
STEADY: Final = 2
CLIENTS: Final = 2  # of each node
FEWEST_CYCLES: Final = 2
#: What a node does now and then, it does often; what it keeps for a while, it keeps shortly.
TOML: Final = f"""\
max_size = "{CAP}"
tag_ttl = "2s"

[timeouts]
probe_last = '1s'
absent = '1s'
drain = '3s'
keepalive = '2s'
grace_pin = '2s'
listing_ttl = '2s'
peer_resolve = '1s'
peer_greet = '2s'
peer_pause_last = '2s'
peer_linger = '2s'
scrub_first = '30s'
scrub_rest = '2m'
"""
#: MiB of the layers of the images that come and go: each cycle has four of them.
SIZES: Final = ((9, 0.02), (0.01,), (1, 4), (20, 0.3), (0.05, 0.4), (2, 2, 2), (12, 0.1))
_HUB: Final = 200 * MBIT
_SLOW: Final = 8 * MBIT


@attrs.frozen
class Found:
    """For the report. Seconds, bytes."""

    seconds: float
    cycles: int
    replaced: int
    moved: int
    did: dict[str, int]
    got: dict[str, int]
    bytes: int
    evicted: int
    tags_moved: int
    calm_failures: int
    wrong_bodies: int
    verdicts: list[dict[str, Any]]
    problems: list[str]


@attrs.define
class Soak:
    """``run`` it once, in a cluster that is up."""

    land: Cluster
    seconds: float
    cycle: float
    seed: int
    rate: float
    began: float = attrs.Factory(time.monotonic)
    shelf: Shelf = attrs.Factory(Shelf)
    weather: Weather = attrs.Factory(Weather)
    tally: Tally = attrs.Factory(Tally)
    cycles: int = 0
    replaced: int = 0
    moved: int = 0
    evicted: float = 0
    _made: int = 0
    watch: Watch = attrs.field(init=False)
    rolled: random.Random = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.watch = Watch(self.land.members, self.now)
        self.rolled = random.Random(self.seed)

    def now(self) -> float:
        return time.monotonic() - self.began

    def run(self) -> Found:
        for number in range(3):
            self.shelf.add(self._image(f"hot-{number}", (0.3, 1.5, 2)), hot=True)
        self.shelf.add(self._image("first", (0.02, 3)))
        self._move_tag()
        clients = [
            Client(
                member, self.shelf, self.weather, self.tally,
                random.Random(f"{self.seed} {member.id} {number}"), self.rate,
            )
            for member in self.land.members
            for number in range(CLIENTS)
        ]  # fmt: skip
        threads = [threading.Thread(target=one.run, daemon=True) for one in clients]
        every = max(1.0, self.cycle / 12)
        threads.append(threading.Thread(target=self.watch.run, args=(every,), daemon=True))
        for thread in threads:
            thread.start()
        try:
            while self.cycles < FEWEST_CYCLES or self.now() + self.cycle / 2 < self.seconds:
                self._cycle(clients)
        except AssertionError as why:  # a node that does not start, or does not heal
            self.tally.wrong(f"cycle {self.cycles}: {why}")
        finally:
            self.weather.over = True
            self.watch.end()
            for thread in threads:
                thread.join(60)
        return self._found()

    # What there is to pull.

    def _image(self, name: str, sizes: tuple[float, ...]) -> Image:
        """Pushed; ``sizes`` of its layers in MiB."""
        seed = (self.seed, name)
        layers = [
            huge_layer(int(size) * MIB, (seed, at)) if size >= 1 else _small(size, (seed, at))
            for at, size in enumerate(sizes)
        ]
        return self.land.upstream.push(f"library/{name}", "latest", image(layers, of=name))

    def _new_image(self) -> None:
        self._made += 1
        sizes = SIZES[self._made % len(SIZES)]
        self.shelf.add(self._image(f"new-{self._made}", sizes))

    def _move_tag(self) -> None:
        number = len(self.shelf.tags)
        of = image([_small(0.01, (self.seed, "moving", number))], number=str(number))
        self.shelf.move(self.land.upstream.push("library/moving", "latest", of))

    # The cycle.

    def _cycle(self, clients: list[Client]) -> None:
        self.cycles += 1
        part = self.cycle / 8
        self._calm(part)
        with self.land.upstream.down():
            time.sleep(part)
        self._rest(clients)
        self._calm(part)
        self._black_hole(part)
        self._slow(part)
        self._rest(clients)
        self._calm(part)
        self._replace(part)
        self._rest(clients)
        print(self._line(), flush=True)

    def _calm(self, seconds: float) -> None:
        """Nothing is broken, and all have found that out; something new is there to pull."""
        self._healed()
        self.weather.open = True
        self._new_image()
        self._move_tag()
        self.weather.since, self.weather.calm = time.monotonic(), True
        time.sleep(seconds)
        self.weather.calm = False

    def _healed(self) -> None:
        for member in self.land.members:
            until(partial(_well, member), f"{member.id} asks upstream again")
        self.land.met()

    def _black_hole(self, seconds: float) -> None:
        self.land.upstream.station.unplug()
        time.sleep(seconds)
        self.land.upstream.station.plug()

    def _slow(self, seconds: float) -> None:
        self.land.upstream.station.shape(_SLOW)
        self._new_image()
        time.sleep(seconds)
        self.land.upstream.station.shape(_HUB)

    def _replace(self, seconds: float) -> None:
        """One that is not to stay, and in every second cycle it comes back elsewhere."""
        passing = self.land.members[STEADY:]
        member = passing[self.cycles % len(passing)]
        began = self.now()
        self._count_evictions(member)
        if (self.cycles // len(passing)) % 2:
            member.move(self.land.addresses())
            self.moved += 1
            self.land.publish()
        elif member.stop() != 0:
            self.tally.wrong(f"{member.id} ended with {member.node.process.wait()}")
        self._read_log(member)
        self.watch.restarted(member)
        member.start()
        self.replaced += 1
        time.sleep(max(0.0, seconds - (self.now() - began)))

    def _rest(self, clients: list[Client]) -> None:
        """Nobody asks; soon nothing is under way, and what is needed is read."""
        self.weather.open = False
        until(lambda: all(one.resting for one in clients), "the clients are done")
        self._healed()
        for member in self.land.members:
            try:
                until(partial(self._rests, member), f"{member.id} rests", patience=30)
            except NotInTime:
                self.tally.wrong(f"cycle {self.cycles}: {member.id} does not come to rest")
            self.watch.look(member, self.watch.rest)

    def _rests(self, member: Member) -> bool:
        seen = self.watch.look(member, {})
        idle = member.metric("nodecache_connections", port="mirror") == 0
        return seen.at_rest and idle

    # The end.

    def _found(self) -> Found:
        seconds = self.now()
        for member in self.land.members:
            if not member.alive:
                process = member.node.process
                ended = f"ended with {process.process.returncode}: {process.tail(5)[-2000:]}"
                self.tally.wrong(f"{member.id} does not run any more, {ended}")
                continue
            self._accounts_are_right(member)
            self._count_evictions(member)
            if member.stop() != 0:
                self.tally.wrong(f"{member.id} does not end in order")
            self._read_log(member)
        verdicts = list(self.watch.verdicts(seconds))
        if not self.tally.did["pull"] or not self.evicted:
            self.tally.wrong("nothing was pulled, or nothing evicted: it proves nothing")
        return Found(
            seconds=seconds,
            cycles=self.cycles,
            replaced=self.replaced,
            moved=self.moved,
            did=dict(self.tally.did),
            got=dict(self.tally.got),
            bytes=self.tally.bytes,
            evicted=int(self.evicted),
            tags_moved=len(self.shelf.tags) - 1,
            calm_failures=self.tally.calm_failures,
            wrong_bodies=self.tally.wrong_bodies,
            verdicts=[attrs.asdict(one) for one in verdicts],
            problems=[
                *self.tally.problems,
                *too_often_full(self.tally.got[NO_ROOM], self.tally.did["ranged"]),
                *(each for one in verdicts for each in one.problems),
            ],
        )

    def _count_evictions(self, member: Member) -> None:
        self.evicted += member.metric("nodecache_evictions_total")

    def _accounts_are_right(self, member: Member) -> None:
        def equal() -> bool:
            return member.metric("nodecache_cache_bytes") == on_disk(member.node.data_dir)

        try:
            until(equal, "accounts equal the disk", patience=15)
        except NotInTime:
            says = member.metric("nodecache_cache_bytes")
            here = on_disk(member.node.data_dir)
            self.tally.wrong(f"the accounts of {member.id} say {says}, the disk holds {here}")

    def _read_log(self, member: Member) -> None:
        """Of the process that has just ended: no defect, no rotten byte, no word on stderr."""
        for kind in ("unexpected", "corrupt"):
            for event in member.events(kind):
                self.tally.wrong(f"{member.id} tells of {kind}: {event}")
        if "Traceback" in member.node.words:
            self.tally.wrong(f"{member.id} wrote {member.node.words[-500:]}")

    def _line(self) -> str:
        rests = self.watch.rest.items()
        shown = "; ".join(
            f"{name} {[round(rest[-1].value, 1) for (of, _), rest in rests if of == name][:4]}"
            for name in ("memory, MiB", "descriptors", "threads", "disk, MiB")
        )
        did = sum(self.tally.did.values())
        wrong = len(self.tally.problems)
        return f"{self.now():6.0f} s, cycle {self.cycles}: {did} asked, {wrong} wrong; {shown}"


def _small(size: float, seed: object) -> Layer:
    """Less than a MiB, of bytes that do not compress."""
    data = noise(int(size * MIB), seed)
    return Layer(Blob.of(data), digest_of(data), "none")


def _well(member: Member) -> bool:
    """It asks each origin, and is ready."""
    with contextlib.suppress(OSError), member.station.namespace.entered():
        found = member.node.metrics()
        up = [value for (name, _), value in found.items() if name == "nodecache_upstream_up"]
        return all(up) and member.node.is_ready()
    return False


@contextlib.contextmanager
def four_nodes(folder: pathlib.Path) -> Iterator[Cluster]:
    plan = Plan(nodes=4, link=200 * MBIT, hub_link=_HUB, toml=TOML)
    with cluster(folder, plan) as made:
        made.up()
        yield made


def soak(seconds: float, seed: int, *, cycle: float = 60.0, rate: float = 1.0) -> Found:
    """``rate`` is what each of eight clients does in a second, at most. Raises MissingPart."""
    with (
        tempfile.TemporaryDirectory(prefix="soak-", dir="/var/tmp") as folder,
        four_nodes(pathlib.Path(folder) / "land") as land,
    ):
        return Soak(land, seconds, cycle, seed, rate).run()
