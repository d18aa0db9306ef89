"""The disk under a real node: full, filled, read-only, broken, out of inodes, deleted, forbidden.

In each case clients get their bytes, the log and a metric name the cause, the node stays ready as
long as its folder can be used, and keeps what it fetches again once the disk is well.
"""

from __future__ import annotations

import concurrent.futures
import http.client
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator

import attrs
import pytest

from tests.system.conftest import NodeMaker, Shop
from tests.system.parts.disks import MIB, FailingDisk, SmallDisk
from tests.system.parts.hub import Hub
from tests.system.parts.images import Image, Manifest, artifact, digest_of, noise
from tests.system.parts.node import Node
from tests.system.parts.processes import need, until

LAYER = 6 * MIB
#: Bytes a second, where something is to happen in the middle.
RATE = 4 * MIB
#: The node looks after its folder that often here.
TOML = "[timeouts]\nmarker = '500ms'\nfull_retry = '200ms'\ngrace_pin = '1s'\n"


def two_layers(seed: object) -> Manifest:
    kind = "application/octet-stream"
    layers = [(kind, noise(LAYER, (seed, number))) for number in range(2)]
    return artifact("application/vnd.example.layers", layers)


@attrs.define
class Place:
    """A node on a disk of its own, not started yet."""

    node: Node
    shop: Shop
    hub: Hub

    @property
    def home(self) -> pathlib.Path:
        return pathlib.Path(self.node.flags["data-dir"]) / "v1"

    def serves(self, of: Image, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Manifest and blobs, by two clients at once; one that is broken off asks again."""
        assert self.node.ask(f"/v2/{of.name}/manifests/{of.tag}").body == of.manifest.body
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(self._whole, of, each) for each in (1, 2, 1, 2)]
            meanwhile()
            for each in asked:
                each.result()

    def _whole(self, of: Image, number: int) -> None:
        blob = of.manifest.blobs[number]
        for _ in range(3):
            reply = self.try_blob(of, number)
            if reply is not None:
                assert digest_of(reply) == blob.digest
                return
        raise AssertionError(f"{blob.digest} was not to be had\n{self.node.process.tail()}")

    def try_blob(self, of: Image, number: int) -> bytes | None:
        """None where the body broke off."""
        path = f"/v2/{of.name}/blobs/{of.manifest.blobs[number].digest}"
        try:
            reply = self.node.ask(path)
        except (http.client.IncompleteRead, ConnectionError):
            return None
        assert reply.status == 200, reply
        return reply.body

    def flowing(self) -> None:
        until(lambda: self.node.metric("nodecache_fills_active") > 0, "a fill is under way")

    def told(self, *words: str) -> bool:
        """Whether an event names the cause in one of these words."""
        events = ("disk_failed", "pass_through", "fill", "corrupt")
        lines = [str(event) for name in events for event in self.node.events(name)]
        return any(word in line for word in words for line in lines)

    def ready(self) -> bool:
        return self.node.admin("/readyz").status == 200

    def kept(self, of: Image) -> bool:
        names = {path.name for path in self.home.rglob("blobs/sha256/*/*")}
        return all(blob.digest.partition(":")[2] in names for blob in of.manifest.blobs[1:])

    def is_well(self) -> None:
        """It keeps what it fetches, has nothing left over, and its accounts equal the disk."""
        until(self.ready, "the node is ready")
        of = self.shop.make(two_layers)

        def keeps() -> bool:
            self.serves(of)
            return self.kept(of)

        until(keeps, "what is fetched is kept again", patience=15)
        until(lambda: self.node.metric("nodecache_fills_active") == 0, "no fill is under way")
        until(lambda: self.books_balance() == "", f"accounts: {self.books_balance()}", patience=5)
        assert not self.node.events("unexpected"), self.node.events("unexpected")

    def books_balance(self) -> str:
        """What is wrong with the accounts; empty when nothing is."""
        metric = self.node.metric
        if reserved := metric("nodecache_cache_reserved_bytes"):
            return f"{reserved} bytes are reserved"
        drafts = list((self.home / "tmp").iterdir())
        on_disk = sum(
            -(-path.stat().st_size // 4096) * 4096
            for path in self.home.rglob("*")
            if path.is_file() and path.name != "running" and "segments" not in path.parts
        ) + sum(p.stat().st_blocks * 512 for p in self.home.rglob("segments/*/*"))
        used = metric("nodecache_cache_bytes")
        if drafts or used != on_disk:
            segments = {
                str(path.relative_to(self.home)): path.stat().st_blocks * 512
                for path in self.home.rglob("segments/*/*")
            }
            return f"{used} bytes are accounted for, {on_disk} are on disk; {drafts}; {segments}"
        return ""


PlaceMaker = Callable[[pathlib.Path], Place]


@pytest.fixture
def place_on(make_node: NodeMaker, shop: Shop, hub: Hub) -> PlaceMaker:
    def make(folder: pathlib.Path, **more: object) -> Place:
        flags = {"data-dir": str(folder / "data"), "min-free": "0", "max-size": "1GiB"}
        return Place(make_node(flags=flags, toml=TOML, **more), shop, hub)

    return make


@pytest.fixture
def small(world: pathlib.Path) -> Iterator[SmallDisk]:
    disk = SmallDisk(world / "small", 64 * MIB).mount()
    yield disk
    disk.unmount()


@pytest.fixture
def failing(world: pathlib.Path, request: pytest.FixtureRequest) -> Iterator[FailingDisk]:
    disk = FailingDisk(world / "failing", world / "below", 96 * MIB, getattr(request, "param", 0))
    try:
        yield disk.mount()
    finally:
        disk.unmount()
        shutil.rmtree(world / "below", ignore_errors=True)


def test_full_at_the_start(small: SmallDisk, place_on: PlaceMaker, shop: Shop) -> None:
    """It starts and is ready, so that no rollout waits for it, and passes bodies through."""
    small.fill()
    place = place_on(small.path)
    place.node.start()
    place.serves(shop.make(two_layers))
    assert place.ready()
    until(lambda: place.told("no room", "No space left"), "an event names the cause")
    assert place.node.metric("nodecache_passed_through_total") > 0
    small.free()
    place.is_well()


def test_filled_by_others_in_the_middle(
    small: SmallDisk, place_on: PlaceMaker, shop: Shop, hub: Hub
) -> None:
    place = place_on(small.path)
    place.node.start()
    hub.plain.nginx.cdn_rate(RATE)

    def meanwhile() -> None:
        place.flowing()
        small.fill()

    place.serves(shop.make(two_layers), meanwhile)
    assert place.ready()
    until(lambda: place.told("no room", "No space left"), "an event names the cause")
    small.free()
    hub.plain.nginx.cdn_rate(0)
    place.is_well()


def test_out_of_inodes(world: pathlib.Path, place_on: PlaceMaker, shop: Shop) -> None:
    disk = SmallDisk(world / "inodes", 64 * MIB, inodes=400).mount()
    try:
        place = place_on(disk.path)
        place.node.start()
        place.serves(shop.make(two_layers))
        disk.fill_inodes()
        place.serves(shop.make(two_layers))
        assert place.ready()
        until(lambda: place.told("no room", "No space left"), "an event names the cause")
        assert place.node.stop() == 0
        place.node.start()  # there is none for the marker
        place.serves(shop.make(two_layers))
        disk.free()
        place.is_well()
    finally:
        place.node.close()
        disk.unmount()


def test_read_only_in_the_middle_and_mounted_anew(
    failing: FailingDisk, place_on: PlaceMaker, shop: Shop, hub: Hub
) -> None:
    """The files that the node had open are on a file system that nobody sees any more."""
    place = place_on(failing.path)
    place.node.start()
    hub.plain.nginx.cdn_rate(RATE)

    def meanwhile() -> None:
        place.flowing()
        failing.go_read_only()

    place.serves(shop.make(two_layers), meanwhile)
    until(lambda: place.told("Read-only file system"), "an event names the cause")
    until(lambda: not place.ready(), "a folder that can not be used makes a node unready")
    assert place.node.metric("nodecache_disk_failures_total") > 0
    place.serves(shop.make(two_layers))
    failing.cure()
    hub.plain.nginx.cdn_rate(0)
    place.is_well()


@pytest.mark.parametrize("failing", [48 * MIB], indirect=True, ids=["EIO"])
def test_a_device_that_does_not_take_what_is_written(
    failing: FailingDisk, place_on: PlaceMaker, shop: Shop
) -> None:
    """What reaches the device comes back as an input/output error."""
    place = place_on(failing.path)
    place.node.start()
    failing.starve()
    for _ in range(3):
        place.serves(shop.make(two_layers))
    until(
        lambda: place.told("Input/output error", "Read-only file system"),
        "an event names the cause",
    )
    assert place.node.metric("nodecache_disk_failures_total") > 0
    failing.cure()
    place.is_well()


def truncate(path: pathlib.Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def blank(path: pathlib.Path) -> None:
    """Its length stays."""
    path.write_bytes(bytes(path.stat().st_size))


def remove_folder(path: pathlib.Path) -> None:
    shutil.rmtree(path.parent)


@pytest.mark.parametrize("harm", [pathlib.Path.unlink, truncate, blank, remove_folder])
def test_blobs_that_were_harmed_behind_its_back(
    small: SmallDisk, place_on: PlaceMaker, shop: Shop, harm: Callable[[pathlib.Path], None]
) -> None:
    """A client that takes the blob gets the right bytes, now and later."""
    place = place_on(small.path)
    place.node.start()
    of = shop.make(two_layers)
    place.serves(of)
    until(lambda: place.kept(of), "it is stored")
    for blob in of.manifest.blobs[1:]:
        [path] = place.home.rglob(f"blobs/**/{blob.digest.partition(':')[2]}")
        harm(path)
    place.serves(of)
    place.serves(of)
    assert place.told(of.manifest.blobs[1].digest)
    place.is_well()


def test_everything_else_removed_behind_its_back(
    small: SmallDisk, place_on: PlaceMaker, shop: Shop
) -> None:
    """Lock, marker, and the folders themselves, while it runs; then it is killed."""
    place = place_on(small.path)
    place.node.start()
    place.serves(shop.make(two_layers))
    for path in pathlib.Path(place.node.flags["data-dir"]).iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    place.serves(shop.make(two_layers))
    until((place.home / "running").exists, "the marker is there again")
    until((place.home.parent / "lock").exists, "the lock is there again")
    of = shop.make(two_layers)
    place.serves(of)
    place.node.kill()
    place.node.start()
    assert place.node.events("start")[-1]["unclean"] is True
    place.is_well()


@pytest.fixture
def bound(place_on: Callable[..., Place], small: SmallDisk) -> Place:
    """Root without the right to pass over permissions, as a container's user has none."""
    need("setpriv")
    without = "--bounding-set=-dac_override,-dac_read_search"
    return place_on(small.path, before=("setpriv", without))


@pytest.mark.parametrize("what", ["blobs/sha256", "tmp", "segments", "tags", "one blob"])
def test_permissions_that_were_taken_while_it_runs(bound: Place, what: str) -> None:
    bound.node.start()
    of = bound.shop.make(two_layers)
    bound.serves(of)
    until(lambda: bound.kept(of), "it is stored")
    path = bound.home / what
    if what == "one blob":
        [path] = bound.home.rglob(f"blobs/**/{of.manifest.blobs[1].digest.partition(':')[2]}")
    mode = path.stat().st_mode
    path.chmod(0)
    bound.serves(of)
    bound.serves(bound.shop.make(two_layers))
    assert bound.told("Permission denied") or what == "one blob"
    if path.exists():
        path.chmod(mode)
    bound.is_well()


def test_a_folder_without_permission_is_refused_at_the_start(bound: Place) -> None:
    folder = pathlib.Path(bound.node.flags["data-dir"])
    folder.mkdir(mode=0o500)
    assert bound.node.launch().wait() == 2
    [line] = bound.node.words.splitlines()
    assert str(folder) in line
    assert "Permission denied" in line
