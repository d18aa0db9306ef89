"""``nodecache pull``: what is named is fetched whole, by way of the cache; what fails is named."""

from __future__ import annotations

from twisted.internet.threads import deferToThread

from nodecache.cli.problems import CommandError
from nodecache.config import SizeSetting
from nodecache.limits import Timeouts
from nodecache.reference import Digest
from tests.fakes_client import until
from tests.fakes_http import Pattern, answer, corrupt
from tests.moving_case import MovingCase
from tests.node_case import reactor

LAYERS = [b"one" * 1000, b"two" * 2000]


class PullTests(MovingCase):
    async def test_all_of_an_image_is_here_then_and_the_second_time_costs_nothing(self) -> None:
        image = self.hub.add_image("library/alpine", "3", LAYERS)
        await self.start()
        ran = await self.run_("pull", "alpine:3")
        self.assertEqual((ran.code, ran.err), (0, ""))
        self.assertIn("alpine:3  9", ran.out)
        self.assertIn("fetched", ran.out)
        self.assertIn(image.digest, ran.out)
        self.assertEqual(len(self.blob_files()), 3)
        asked = len(self.hub.requests)
        ran = await self.run_("pull", "alpine:3", "library/alpine:3")
        self.assertEqual(ran.code, 0)
        self.assertIn("was here", ran.out)
        self.assertEqual(len(self.hub.requests), asked)
        got = await self.blob("library/alpine", image.layers[1])
        self.assertEqual((got.header("nodecache-source"), got.body), ("disk", LAYERS[1]))

    async def test_names_come_from_a_file_and_from_standard_input_too(self) -> None:
        for name in ("a", "b", "c"):
            self.hub.add_image(f"library/{name}", "latest", [name.encode() * 100])
        await self.start()
        path = self.write("names", b"# the base\na\n\nb  # and another\na\n")
        ran = await self.run_("pull", "--file", path, "-", "--json", stdin=b"c\n")
        self.assertEqual(ran.code, 0)
        over = [each for each in ran.lines if each.get("state") == "done"]
        self.assertEqual(sorted(each["image"] for each in over), ["a", "b", "c"])
        self.assertEqual(ran.lines[-1]["event"], "done")
        self.assertEqual((ran.lines[-1]["images"], ran.lines[-1]["failed"]), (3, 0))

    async def test_every_event_is_a_line_of_json_and_each_layer_has_its_progress(self) -> None:
        image = self.hub.add_image("library/alpine", "3", LAYERS)
        await self.start()
        ran = await self.run_("pull", "alpine:3", "--json")
        planned = ran.lines[0]
        self.assertEqual((planned["event"], planned["state"]), ("image", "planned"))
        self.assertEqual(
            {blob["digest"] for blob in planned["blobs"]}, {image.config, *image.layers}
        )
        whole = {
            each["digest"]: each["bytes"]
            for each in ran.lines
            if each["event"] == "progress" and each["bytes"] == each["total"]
        }
        self.assertEqual(whole, {blob["digest"]: blob["bytes"] for blob in planned["blobs"]})

    async def test_of_an_index_the_platforms_that_are_wanted(self) -> None:
        amd = self.hub.add_image("library/multi", None, [b"amd"])
        arm = self.hub.add_image("library/multi", None, [b"arm"], platform="arm64")
        self.hub.add_index("library/multi", "1", {"amd64": amd, "arm64": arm})
        await self.start()
        here = self.node._store.blob_size
        self.assertEqual((await self.run_("pull", "multi:1")).code, 0)
        self.assertIsNotNone(here(Digest.parse(amd.layers[0])))
        self.assertIsNone(here(Digest.parse(arm.layers[0])))
        ran = await self.run_("pull", "multi:1", "--platform", "linux/arm64")
        self.assertEqual(ran.code, 0)
        self.assertIsNotNone(here(Digest.parse(arm.layers[0])))
        ran = await self.run_("pull", "multi:1", "--all-platforms")
        self.assertIn("was here", ran.out)
        ran = await self.run_("pull", "multi:1", "--platform", "linux/s390x")
        self.assertEqual(ran.code, 1)
        self.assertIn("it has: linux/amd64, linux/arm64", ran.err)
        ran = await self.run_("pull", "multi:1", "--platform", "Linux")
        self.assertIn("no platform like", ran.err)

    async def test_failures_are_named_and_the_others_are_fetched(self) -> None:
        self.hub.add_image("library/good", "latest", LAYERS)
        await self.start(upstream={"deny": ("secret/*",)})
        ran = await self.run_("pull", "nosuch", "good", "secret/x", "BAD", "ghcr.io/x/y")
        self.assertEqual(ran.code, 1)
        for words in (
            "nodecache: nosuch: ",
            "Is the name right?",
            "nodecache: secret/x: ",
            "denied by this node's rules",
            "nodecache: BAD: ",
            "nodecache: ghcr.io/x/y: ",
            "--upstream",
        ):
            self.assertIn(words, ran.err)
        self.assertTrue(ran.out.startswith("good  "))

    async def test_what_helps_is_said_once_of_many_that_fail_in_the_same_way(self) -> None:
        await self.start()
        ran = await self.run_("pull", *(f"nosuch:{number}" for number in range(50)))
        self.assertEqual(ran.code, 1)
        self.assertEqual(ran.err.count("answered 404"), 50)
        self.assertEqual(ran.err.count("Is the name right?"), 1)

    async def test_an_order_that_is_too_long_is_not_given(self) -> None:
        await self.start()
        names = "\n".join(f"ghcr.io/a-long-name/image-{number}" for number in range(40_000))
        ran = await self.run_("pull", "-", stdin=names.encode())
        self.assertEqual(ran.code, 1)
        self.assertIn("and a node takes 1048576", ran.err)
        self.assertIn("Name fewer images", ran.err)

    async def test_what_does_not_fit_is_refused_with_sizes_before_a_layer_is_fetched(self) -> None:
        big = Pattern(30 << 20, bytes(65536))
        self.hub.add_image("library/big", "1", [big])
        self.hub.add_image("library/small", "1", LAYERS)
        await self.start(max_size=SizeSetting(bytes=20 << 20))
        ran = await self.run_("pull", "small:1", "big:1")
        self.assertEqual(ran.code, 1)
        self.assertIn("the 2 images take 30", ran.err)
        self.assertIn("holds at most 20MiB", ran.err)
        self.assertIn("Nothing was fetched", ran.err)
        self.assertEqual(self.blob_files(), [])

    async def test_an_offline_node_fetches_nothing_and_says_what_helps(self) -> None:
        await self.start(offline=True)
        ran = await self.run_("pull", "alpine:3")
        self.assertEqual(ran.code, 1)
        self.assertIn("nodecache import", ran.err)
        self.assertEqual(self.hub.requests, [])

    async def test_a_blob_that_upstream_breaks_off_is_asked_for_again(self) -> None:
        self.hub.add_image("library/alpine", "3", LAYERS)
        await self.start(timeouts=Timeouts(answer=2.0, resume_pause=0.05, stall_total=1.0))
        failing = self.hub.cdn.fault(answer(503), times=2)
        ran = await self.run_("pull", "alpine:3")
        self.assertEqual((ran.code, ran.err), (0, ""))
        self.assertEqual(failing.used, 2)

    async def test_a_blob_that_upstream_never_gives_fails_its_image(self) -> None:
        self.hub.add_image("library/alpine", "3", LAYERS)
        self.hub.add_image("library/other", "1", [b"other"])
        await self.start()
        self.hub.cdn.fault(corrupt, times=50)
        ran = await self.run_("pull", "alpine:3")
        self.assertEqual(ran.code, 1)
        self.assertIn("nodecache: alpine:3: ", ran.err)

    async def test_a_disk_that_has_no_room_above_its_floor_is_seen_before(self) -> None:
        self.hub.add_image("library/alpine", "3", LAYERS)
        await self.start(min_free=SizeSetting(bytes=1 << 60))
        await until(reactor, lambda: self.node._store.usage().disk_free > 0)
        ran = await self.run_("pull", "alpine:3")
        self.assertEqual(ran.code, 1)
        self.assertIn("holds at most 0B", ran.err)
        self.assertEqual(self.hub.cdn.requests, [])

    async def test_a_disk_that_fills_up_meanwhile_is_told_of(self) -> None:
        """The blob would be passed through to a client; a pull has none, and says so."""
        self.hub.add_image("library/alpine", "3", LAYERS)
        await self.start()
        self.node._store.set_limits(1 << 30, 1 << 60)
        ran = await self.run_("pull", "alpine:3")
        self.assertEqual(ran.code, 1)
        self.assertIn("no room", ran.err)

    async def test_whoever_leaves_in_the_middle_stops_nothing_that_was_begun(self) -> None:
        """Nothing more is begun, and the next pull goes on from there."""
        self.hub.add_image("library/big", "1", [Pattern(8 << 20, bytes(range(256)) * 256)])
        await self.start()
        events = self.control().run("warm", {"images": ["big:1"]})
        await deferToThread(next, events)
        await deferToThread(events.close)  # type: ignore[attr-defined]
        await until(reactor, lambda: len(self.blob_files()) + self.filling() >= 1)
        await until(reactor, lambda: not self.filling())
        ran = await self.run_("pull", "big:1")
        self.assertEqual(ran.code, 0)

    async def test_no_name_is_wrong_usage_and_no_node_is_told(self) -> None:
        ran = await self.run_("pull")
        self.assertEqual(ran.code, 2)
        ran = await self.run_("pull", "--file", str(self.folder / "nothing"))
        self.assertEqual(ran.code, 2)
        self.assertIn("can not be read", ran.err)
        ran = await self.run_("pull", "alpine")
        self.assertEqual(ran.code, 3)

    async def test_a_node_that_is_alone_says_that_there_are_no_others(self) -> None:
        self.hub.add_image("library/alpine", "3", LAYERS)
        await self.start()
        ran = await self.run_("pull", "alpine:3", "--all-nodes")
        self.assertEqual(ran.code, 0)
        self.assertIn("no other nodes", ran.err)

    async def test_an_order_that_is_none(self) -> None:
        await self.start()
        orders: tuple[dict[str, object], ...] = (
            {},
            {"images": "x"},
            {"images": []},
            {"images": ["x"], "platforms": ["a/b"] * 20},
        )
        for order in orders:
            self.assertTrue(await deferToThread(self.failing, order))

    def failing(self, order: dict[str, object]) -> str:
        try:
            self.control().done("warm", order)
        except CommandError as error:
            return error.problem
        return ""
