"""``nodecache bench``: it measures, says so plainly, and leaves nothing behind."""

from __future__ import annotations

import attrs
import pytest

from nodecache.cli import bench
from nodecache.cli.bench import Measured
from nodecache.config import SizeSetting
from tests.moving_case import MovingCase, Ran

MIB = 1 << 20
GOOD = Measured(
    blob=500.0 * MIB,
    blobs=900.0 * MIB,
    manifests=2000.0,
    loopback=1000.0 * MIB,
    write=200.0 * MIB,
    read=400.0 * MIB,
)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"blob": 100.0 * MIB}, "10% of what this machine's loopback does"),
        ({"blobs": 100.0 * MIB}, "slower than one"),
        ({"manifests": 7.0}, "only 7 manifests a second"),
        ({"read": 1.0 * MIB}, "the disk reads only 1.0 MiB/s"),
    ],
)
def test_what_is_slow_is_named(changed: dict[str, float], words: str) -> None:
    [fault] = attrs.evolve(GOOD, **changed).faults()
    assert words in fault


def test_what_is_fast_is_fine() -> None:
    assert GOOD.faults() == []


class BenchTests(MovingCase):
    def setUp(self) -> None:
        super().setUp()
        self.patch(bench, "_SECONDS", 0.05)

    async def bench(self, *words: str) -> Ran:
        mirror = f"127.0.0.1:{self.node.mirror_port}"
        url = f"http://127.0.0.1:{self.node.admin_port}"
        return await self.run_("bench", "--mirror", mirror, "--admin", url, *words)

    async def nothing_left(self) -> None:
        await self.node.steering.moving._lasting.idle()
        self.assertEqual(self.blob_files(), [])
        usage = self.node._store.usage()
        self.assertEqual((usage.blobs, usage.manifests, usage.reserved), (0, 0, 0))
        self.assertEqual(list((self.data_dir / "v1" / "tmp").iterdir()), [])

    async def test_it_measures_and_leaves_nothing_behind(self) -> None:
        await self.start()
        ran = await self.bench("--size", "8", "--json")
        self.assertIn(ran.code, (0, 1))  # how fast this machine is now is not the question
        for name in ("blob", "blobs", "manifests", "loopback", "write", "read", "share"):
            self.assertGreater(ran.json[name], 0)
        self.assertEqual(ran.code, 1 if ran.json["slow"] else 0)
        await self.nothing_left()
        self.assertEqual(self.hub.requests, [])

    async def test_for_a_person_it_is_a_table_and_a_verdict(self) -> None:
        await self.start()
        ran = await self.bench("--size", "8")
        self.assertIn("one pull of a warm blob", ran.out, ran.err)
        verdict = "is as fast as it should be." if ran.code == 0 else "is slower than it should be"
        self.assertIn(verdict, ran.out)

    async def test_where_there_is_no_room_the_biggest_blob_serves(self) -> None:
        """Nothing is evicted for a measurement."""
        image = self.hub.add_image("library/alpine", "3", [bytes(6 * MIB)])
        await self.start(max_size=SizeSetting(bytes=10 * MIB))
        self.assertEqual((await self.run_("pull", "alpine:3")).code, 0)
        before = {path.name for path in self.blob_files()}
        ran = await self.bench("--size", "8", "--json")
        self.assertGreater(ran.json["blob"], 0)
        self.assertEqual({path.name for path in self.blob_files()}, before)
        self.assertIn(image.layers[0][7:], before)

    async def test_where_there_is_neither_room_nor_a_blob_it_says_so(self) -> None:
        await self.start(max_size=SizeSetting(bytes=4 * MIB))
        ran = await self.bench("--size", "8")
        self.assertEqual(ran.code, 1)
        self.assertIn("the cache has no room for a test blob of 8MiB", ran.err)

    async def test_a_mirror_that_is_elsewhere(self) -> None:
        await self.start()
        ran = await self.run_("bench", "--mirror", "127.0.0.1:1", "--size", "1")
        self.assertEqual(ran.code, 3)
        self.assertIn("no mirror listens on 127.0.0.1:1", ran.err)
        await self.nothing_left()
        ran = await self.run_("bench", "--mirror", "nowhere")
        self.assertEqual(ran.code, 2)

    async def test_no_node(self) -> None:
        ran = await self.run_("bench", "--mirror", "127.0.0.1:1")
        self.assertEqual(ran.code, 3)
