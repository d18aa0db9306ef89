"""``purge``, ``pin``, ``unpin``, ``refresh`` and ``verify`` on a running node."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from nodecache.cli.client import Control
from nodecache.config import SizeSetting
from nodecache.events import CorruptionFound
from nodecache.reference import Digest, Repository, Tag
from nodecache.store.keys import Kind, key_of
from tests.fakes_client import until
from tests.fakes_http import Gate, answer, hold_at
from tests.fakes_hub import Image
from tests.steering_case import NGINX, REDIS, SteeringCase, reactor

MIB = 1 << 20


class PurgeTests(SteeringCase):
    async def test_an_image_goes_with_its_blobs_and_can_be_pulled_again(self) -> None:
        await self.start()
        image = self.hub.add_image(NGINX, "1", [b"x" * MIB])
        await self.pull(image, "1")
        said = await self.say("purge", "nginx:1", "--yes")
        assert said.code == 0, said
        assert "Removed 1 image; 1.0 MiB are free." in said.out
        assert await self.images() == {}
        assert self.blob_files() == []
        assert self.node._store.usage().bytes == 0
        before = self.hub.count(kind="manifest", method="GET")
        await self.pull(image, "1")
        assert self.hub.count(kind="manifest", method="GET") == before + 1
        assert set(await self.images()) == {"nginx:1"}

    async def test_it_is_gone_after_a_restart_too(self) -> None:
        await self.start()
        await self.pull(self.hub.add_image(NGINX, "1", [b"x"]), "1")
        await self.say("purge", "*", "--yes")
        await self.restart()
        assert await self.images() == {}

    async def test_what_another_image_needs_stays(self) -> None:
        await self.start()
        shared = b"s" * MIB
        gone = self.hub.add_image(NGINX, "1", [shared, b"own"])
        kept = self.hub.add_image(REDIS, "1", [shared])
        await self.pull(gone, "1")
        await self.pull(kept, "1")
        said = await self.say("purge", "nginx", "--yes", "--json")
        done = said.lines[-1]
        assert done["blobs"] == 2  # its config and its own layer
        assert done["bytes"] < MIB
        asked = self.hub.count(kind="blob")
        await self.pull(kept, "1")
        assert self.hub.count(kind="blob") == asked

    async def test_two_tags_of_one_digest_go_one_by_one(self) -> None:
        await self.start()
        image = self.hub.add_image(NGINX, "1", [b"x"])
        self.hub.repository(NGINX).tags["latest"] = image.digest
        await self.pull(image, "1")
        await self.pull(image, "latest")
        await self.say("purge", "nginx:latest", "--yes")
        assert {name: one.bytes_here > 0 for name, one in (await self.images()).items()} == {
            "nginx:1": True
        }
        assert len(self.blob_files()) == 2

    async def test_a_dry_run_removes_nothing(self) -> None:
        await self.start()
        await self.pull(self.hub.add_image(NGINX, "1", [b"x"]), "1")
        said = await self.say("purge", "nginx", "--dry-run")
        assert said.code == 0
        assert said.out.splitlines()[0] == "nginx:1"
        assert set(await self.images()) == {"nginx:1"}

    async def test_by_age_of_the_last_use(self) -> None:
        await self.start()
        await self.pull(self.hub.add_image(NGINX, "1", [b"x"]), "1")
        said = await self.say("purge", "--older-than", "1d", "--yes")
        assert said.code == 0
        assert "Nothing is to go." in said.out
        inventory = self.node.steering.images.looking._inventory
        wall = inventory._wall
        self.patch(inventory, "_wall", lambda: wall() + 90_000)
        assert (await self.say("purge", "redis", "--older-than", "1d", "--yes")).code == 1
        assert (await self.say("purge", "--older-than", "1d", "--yes")).code == 0
        assert await self.images() == {}

    async def test_pinned_images_stay_unless_they_are_named_so(self) -> None:
        await self.start()
        await self.pull(self.hub.add_image(NGINX, "1", [b"x"]), "1")
        await self.pull(self.hub.add_image(REDIS, "1", [b"y"]), "1")
        await self.say("pin", "nginx")
        said = await self.say("purge", "*", "--yes")
        assert "Pinned, so they stay: nginx:1." in said.out
        assert set(await self.images()) == {"nginx:1"}
        await self.say("purge", "*", "--pinned", "--yes")
        assert await self.images() == {}
        assert self.blob_files() == []

    async def test_without_a_terminal_it_is_not_done_unasked(self) -> None:
        await self.start()
        await self.pull(self.hub.add_image(NGINX, "1", [b"x"]), "1")
        said = await self.say("purge", "nginx", answer="y\n")
        assert said.code == 2
        assert "--yes" in said.err
        assert set(await self.images()) == {"nginx:1"}

    async def test_nothing_named_is_wrong_usage(self) -> None:
        await self.start()
        assert (await self.say("purge", "--yes")).code == 2
        assert (await self.say("purge", "--older-than", "soon")).code == 2

    async def test_a_wrong_name_removes_nothing_at_all(self) -> None:
        await self.start()
        await self.pull(self.hub.add_image(NGINX, "1", [b"x"]), "1")
        said = await self.say("purge", "nginx", "ngimx", "--yes")
        assert said.code == 1
        assert "Did you mean nginx" in said.err
        assert set(await self.images()) == {"nginx:1"}

    async def test_a_body_that_is_being_sent_is_sent_to_its_end(self) -> None:
        await self.start()
        content = bytes(range(256)) * (64 * 1024)  # more than the kernel's buffers hold
        image = self.hub.add_image(NGINX, "1", [content])
        await self.pull(image, "1")
        begun = await self.begin_blob(NGINX, image.layers[0])
        assert (await self.say("purge", "nginx", "--yes")).code == 0
        got = await begun.whole()
        assert (got.body, got.broken) == (content, None)

    async def test_a_blob_that_is_being_fetched_is_left_alone(self) -> None:
        await self.start()
        image = self.hub.add_image(NGINX, "1", [b"x" * (4 * MIB)])
        await self.manifest(NGINX, "1")
        gate = Gate()
        self.hub.cdn.fault(hold_at(2 * MIB, gate))
        body = Deferred.fromCoroutine(self.blob(NGINX, image.layers[0]))
        await until(reactor, lambda: gate.waiting)
        said = await self.say("purge", "nginx", "--yes")
        assert "Being fetched, so not touched: 1 blob." in said.out
        gate.open()
        got = await body
        assert (len(got.body), got.broken) == (4 * MIB, None)

    async def test_what_nothing_leads_to_goes_by_its_digest(self) -> None:
        await self.start()
        image = self.hub.add_image(NGINX, None, [b"x"])
        await self.pull(image, image.digest)
        assert (await self.say("purge", image.digest, "--yes")).code == 0
        assert await self.images() == {}
        assert self.blob_files() == []

    async def test_what_is_left_of_a_fetch_goes_too(self) -> None:
        await self.start()
        image = self.hub.add_image(NGINX, "1", [b"x" * (20 * MIB)])
        await self.manifest(NGINX, "1")
        store = self.node._store
        digest = Digest.parse(image.layers[0])
        reservation = await store.reserve(20 * MIB)
        partial = await store.open_partial(digest)
        partial.keep()
        await until(
            reactor,
            lambda: store.usage().cap > 0 and store._accounts.has(key_of(Kind.PARTIAL, digest)),
        )
        reservation.release()
        assert (await self.say("purge", "nginx", "--yes")).code == 0
        assert not (self.data_dir / "v1" / "segments" / digest.hex).exists()

    async def test_many_images_are_listed_and_removed(self) -> None:
        """More than are looked at in one turn of the reactor."""
        await self.start()
        for number in range(120):
            self.hub.add_image(NGINX, f"t{number:03}", [b"%d" % number])
            assert (await self.manifest(NGINX, f"t{number:03}")).status == 200
        assert len(await self.images()) == 120
        said = await self.say("purge", "nginx:t00*", "--yes")
        assert said.code == 0, said
        assert len(await self.images()) == 110
        said = await self.say("purge", "nginx", "--yes")
        assert "... and 90 more" in said.out
        assert await self.images() == {}
        assert self.node._store.usage().bytes == 0

    async def test_hanging_up_in_the_middle_leaves_what_can_be_pulled_and_purged_again(
        self,
    ) -> None:
        await self.start()
        images = [self.hub.add_image(NGINX, f"t{n}", [b"%d" % n]) for n in range(20)]
        for number, image in enumerate(images):
            await self.pull(image, f"t{number}")
        control = Control(str(self.data_dir / "control.sock"))

        def begin_and_leave() -> None:
            lines = control.run("purge", {"images": ["*"]})
            assert next(lines)["event"] == "image"
            lines.close()  # type: ignore[attr-defined]  # a generator, which hangs up

        await deferToThread(begin_and_leave)
        await until(reactor, lambda: not self.node.steering.site.active)
        for number, image in enumerate(images):
            await self.pull(image, f"t{number}")
        assert {one.bytes_here == one.bytes for one in (await self.images()).values()} == {True}
        assert (await self.say("verify")).code == 0
        assert (await self.say("purge", "*", "--yes")).code == 0
        assert self.node._store.usage().bytes == 0
        assert self.blob_files() == []


class PinTests(SteeringCase):
    async def test_a_pinned_image_outlives_the_others_and_a_restart(self) -> None:
        size = SizeSetting(bytes=8 * MIB)
        await self.start(max_size=size)
        image = self.hub.add_image(NGINX, "1", [b"x" * (2 * MIB)])
        await self.pull(image, "1")
        said = await self.say("pin", "nginx:1")
        assert said.code == 0, said
        assert said.out.splitlines()[0] == "nginx:1: pinned"
        await self.restart(max_size=size)
        assert (await self.images())["nginx:1"].pinned
        for number in range(8):
            more = self.hub.add_image(REDIS, str(number), [bytes([number]) * (2 * MIB)])
            await self.pull(more, str(number))
        found = await self.images()
        assert found["nginx:1"].bytes_here == found["nginx:1"].bytes
        assert sum(one.bytes_here == one.bytes for one in found.values()) < 9

    async def test_unpin_lets_it_go_again(self) -> None:
        size = SizeSetting(bytes=8 * MIB)
        await self.start(max_size=size)
        await self.pull(self.hub.add_image(NGINX, "1", [b"x" * (2 * MIB)]), "1")
        await self.say("pin", "nginx")
        assert (await self.say("unpin", "nginx")).out.strip() == "nginx:1: unpinned"
        for number in range(8):
            more = self.hub.add_image(REDIS, str(number), [bytes([number]) * (2 * MIB)])
            await self.pull(more, str(number))
        found = (await self.images()).get("nginx:1")
        assert found is None or found.bytes_here < found.bytes

    async def test_pinning_twice_is_pinning_once(self) -> None:
        await self.start()
        await self.pull(self.hub.add_image(NGINX, "1", [b"x"]), "1")
        await self.say("pin", "nginx")
        said = await self.say("pin", "nginx")
        assert said.out.splitlines()[0] == "nginx:1: pinned already"

    async def test_a_name_without_a_tag_pins_all_of_them(self) -> None:
        await self.start()
        for tag in ("1", "2"):
            await self.pull(self.hub.add_image(NGINX, tag, [tag.encode()]), tag)
        await self.say("pin", "nginx")
        said = await self.say("list", "--pinned", "--json")
        assert [row["name"] for row in said.document["images"]] == ["nginx:1", "nginx:2"]

    async def test_pins_beyond_their_share_are_refused_with_figures(self) -> None:
        await self.start(max_size=SizeSetting(bytes=4 * MIB))
        await self.pull(self.hub.add_image(NGINX, "1", [b"x" * (2 * MIB)]), "1")
        self.hub.add_image(REDIS, "1", [b"y" * (3 * MIB)])
        assert (await self.say("pin", "nginx")).code == 0
        await self.manifest(REDIS, "1")
        said = await self.say("pin", "redis")
        assert said.code == 1
        assert "5MiB would be pinned, and 3.6MiB may be (90% of the cap)" in said.err
        assert "--max-size" in said.err
        assert not (await self.images())["redis:1"].pinned

    async def test_what_is_not_here_is_to_be_pulled_first(self) -> None:
        await self.start()
        said = await self.say("pin", "postgres:16")
        assert said.code == 1
        assert "nodecache pull" in said.err

    async def test_a_pin_belongs_to_a_tag(self) -> None:
        await self.start()
        image = self.hub.add_image(NGINX, None, [b"x"])
        await self.pull(image, image.digest)
        said = await self.say("pin", image.digest)
        assert said.code == 1
        assert "a pin belongs to a tag" in said.err

    async def test_a_pin_stays_when_the_tag_means_another_image(self) -> None:
        await self.start(tag_ttl=0.0)
        await self.pull(self.hub.add_image(NGINX, "1", [b"old"]), "1")
        await self.say("pin", "nginx")
        new = self.hub.add_image(NGINX, "1", [b"new"])
        await self.pull(new, "1")
        found = (await self.images())["nginx:1"]
        assert (str(found.digest), found.pinned) == (new.digest, True)

    async def test_pulls_and_pins_at_once_lose_neither(self) -> None:
        """Both write the tag's file."""
        await self.start(tag_ttl=0.0)
        image = self.hub.add_image(NGINX, "1", [b"0"])
        await self.pull(image, "1")
        for number in range(5):
            image = self.hub.add_image(NGINX, "1", [b"%d" % number])
            pulling = Deferred.fromCoroutine(self.manifest(NGINX, "1"))
            keeping = self.node._cache.keeping
            pin = lambda entry, on=number % 2 == 0: attrs.evolve(entry, pinned=on)  # noqa: E731
            key = Repository("docker.io", NGINX), Tag("1")
            await keeping.change(key, pin)
            await pulling
            found = (await self.images())["nginx:1"]
            assert (str(found.digest), found.pinned) == (image.digest, number % 2 == 0)


class RefreshTests(SteeringCase):
    async def test_upstream_is_asked_however_fresh_the_tag_is(self) -> None:
        await self.start(tag_ttl=3600.0)
        old = self.hub.add_image(NGINX, "1", [b"old"])
        await self.pull(old, "1")
        said = await self.say("refresh", "nginx")
        assert said.out.strip() == f"nginx:1: unchanged, {old.digest[:19]}"
        new = self.hub.add_image(NGINX, "1", [b"new"])
        said = await self.say("refresh", "nginx")
        assert said.code == 0
        assert f"{new.digest[:19]} now, {old.digest[:19]} before" in said.out
        assert (await self.manifest(NGINX, "1")).body == new.manifest.body

    async def test_an_upstream_that_does_not_answer_leaves_it_as_it_was(self) -> None:
        await self.start()
        image = self.hub.add_image(NGINX, "1", [b"x"])
        await self.pull(image, "1")
        self.hub.registry.fault(answer(500), times=20)
        said = await self.say("refresh", "nginx")
        assert said.code == 1
        assert "no answer, it stays as it was" in said.out
        self.hub.registry.faults.clear()
        assert str((await self.images())["nginx:1"].digest) == image.digest

    async def test_an_absence_that_is_remembered_is_asked_about_anew(self) -> None:
        await self.start(tag_ttl=0.0)
        image = self.hub.add_image(NGINX, "1", [b"x"])
        await self.pull(image, "1")
        self.hub.remove(NGINX)
        assert (await self.manifest(NGINX, "1")).header("warning") is not None
        image = self.hub.add_image(NGINX, "1", [b"new"])
        said = await self.say("refresh", "nginx", "--json")
        assert said.lines[0]["digest"] == image.digest
        assert said.lines[-1]["changed"] == 1

    async def test_an_imported_image_gives_way_to_an_answer_only(self) -> None:
        await self.start()
        image = self.hub.add_image(NGINX, "1", [b"imported"])
        await self.pull(image, "1")
        await self.imported(NGINX, "1")
        self.hub.registry.fault(answer(503), times=20)
        assert (await self.say("refresh", "nginx")).code == 1
        found = (await self.images())["nginx:1"]
        assert found.entry is not None
        assert found.entry.imported
        self.hub.registry.faults.clear()
        new = self.hub.add_image(NGINX, "1", [b"upstream's"])
        await self.restart()  # what was remembered of the failure is over
        assert (await self.say("refresh", "nginx")).code == 0
        found = (await self.images())["nginx:1"]
        assert found.entry is not None
        assert (found.entry.digest, found.entry.imported) == (new.digest, False)
        assert found.pinned  # until it is unpinned

    async def imported(self, name: str, tag: str) -> None:
        def change(entry: Any) -> Any:
            return attrs.evolve(entry, imported=True, pinned=True)

        await self.node._cache.keeping.change((Repository("docker.io", name), Tag(tag)), change)

    async def test_a_node_that_is_offline_says_so(self) -> None:
        await self.start()
        await self.pull(self.hub.add_image(NGINX, "1", [b"x"]), "1")
        await self.restart(offline=True)
        said = await self.say("refresh", "nginx")
        assert said.code == 1
        assert "offline" in said.err

    async def test_a_digest_is_not_refreshed(self) -> None:
        await self.start()
        image = self.hub.add_image(NGINX, None, [b"x"])
        await self.pull(image, image.digest)
        said = await self.say("refresh", image.digest)
        assert said.code == 1
        assert "the same for ever" in said.err


class VerifyTests(SteeringCase):
    def rot(self, digest: str) -> None:
        [path] = [path for path in self.blob_files() if path.name == digest[7:]]
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(bytes(data))

    async def node_with(self, layers: list[bytes]) -> Image:
        await self.start()
        image = self.hub.add_image(NGINX, "1", layers)
        await self.pull(image, "1")
        return image

    async def test_all_that_is_here_is_read_and_good(self) -> None:
        await self.node_with([b"x" * (5 * MIB)])
        said = await self.say("verify")
        assert said.code == 0
        assert said.out.strip() == "2 blobs and 1 manifest, 5.0 MiB: all good."

    async def test_a_rotten_blob_is_named_removed_and_fetched_anew(self) -> None:
        image = await self.node_with([b"x" * MIB, b"y" * MIB])
        self.rot(image.layers[1])
        said = await self.say("verify", "nginx")
        assert said.code == 1
        assert f"rotten, removed: blob {image.layers[1]} of nginx:1" in said.out
        assert "rotten: 1." in said.out
        [event] = self.told(CorruptionFound)
        assert event.found_by == "verify"
        assert (await self.blob(NGINX, image.layers[1])).body == b"y" * MIB
        await self.settled()
        assert (await self.say("verify")).code == 0

    async def test_a_rotten_manifest_too(self) -> None:
        image = await self.node_with([b"x"])
        path = self.data_dir / "v1" / "manifests" / "sha256" / image.digest[7:9] / image.digest[7:]
        path.write_bytes(path.read_bytes() + b" ")
        said = await self.say("verify")
        assert said.code == 1
        assert f"rotten, removed: manifest {image.digest}" in said.out

    async def test_progress_goes_up_to_all_bytes(self) -> None:
        await self.node_with([b"x" * (9 * MIB)])
        said = await self.say("verify", "--json")
        steps = [line for line in said.lines if line["event"] == "progress"]
        done = [step["done"] for step in steps]
        assert done == sorted(done)
        assert len(done) >= 3
        assert done[-1] == steps[-1]["total"] > 9 * MIB

    async def test_what_is_missing_of_an_image_is_told_and_is_no_rot(self) -> None:
        await self.start()
        image = self.hub.add_image(NGINX, "1", [b"x", b"y"])
        await self.manifest(NGINX, "1")
        await self.blob(NGINX, image.layers[0])
        await self.settled()
        said = await self.say("verify", "nginx")
        assert said.code == 0
        assert "Not here, so not read: 2 blobs." in said.out
