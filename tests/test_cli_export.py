"""``nodecache export``: what goes out comes in again; what can not go out says why."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import tarfile
from typing import Any

from twisted.internet.threads import deferToThread

from nodecache.archives import open_source, read_layout, read_saved
from nodecache.cli.problems import CommandError
from tests.archive_kit import indexed, layout, made, name_of, sha, tarred
from tests.fakes_client import until
from tests.moving_case import MovingCase
from tests.node_case import reactor

MOST = 4 << 20
IMAGE = made([b"one", os.urandom(3 << 20)])
ARM = made([b"arm"], arch="arm64")
INDEX = indexed({"linux/amd64": IMAGE, "linux/arm64": ARM})


class ExportTests(MovingCase):
    async def imported(self) -> None:
        """A node that has ``multi:1`` of two platforms."""
        await self.start(offline=True)
        files = layout((INDEX, name_of("docker.io/library/multi:1")))
        ran = await self.run_("import", "-", stdin=tarred(files))
        self.assertEqual((ran.code, ran.err), (0, ""))

    def out(self, name: str) -> str:
        return str(self.folder / name)

    async def test_a_file_holds_the_platform_of_this_node_under_the_digest_of_the_index(
        self,
    ) -> None:
        await self.imported()
        ran = await self.run_("export", "multi:1", "-o", self.out("x.tar"), "--json")
        self.assertEqual((ran.code, ran.err), (0, ""))
        self.assertEqual(ran.json["bytes"], os.path.getsize(self.out("x.tar")))
        source = open_source(self.out("x.tar"))
        (found,) = read_layout(source, MOST)
        source.close()
        self.assertEqual(found.names, ("docker.io/library/multi:1",))
        self.assertEqual(str(found.top.digest), INDEX.digest)
        self.assertEqual(found.left_out, ("linux/arm64",))

    async def test_all_platforms_into_a_folder_and_in_again(self) -> None:
        await self.imported()
        folder = self.out("folder") + "/"
        ran = await self.run_("export", "multi:1", "--all-platforms", "-o", folder)
        self.assertEqual(ran.code, 0)
        self.assertIn("Exported multi:1", ran.err)
        self.assertEqual(
            {path.name for path in pathlib.Path(folder, "blobs", "sha256").iterdir()},
            {digest[7:] for digest in INDEX.blobs},
        )
        await self.node.stop("the test says so")
        self.data_dir = self.folder / "another"
        await self.start(offline=True)
        ran = await self.run_("import", folder, "--json")
        self.assertEqual((ran.code, ran.json["images"][0]["left_out"]), (0, []))
        for digest in (IMAGE.digest, ARM.digest):
            got = await self.manifest("library/multi", digest)
            self.assertEqual(got.body, INDEX.blobs[digest])

    async def test_another_platform_and_dockers_own_format(self) -> None:
        await self.imported()
        words = ("export", "multi:1", "--platform", "linux/arm64", "--format", "docker")
        ran = await self.run_(*words, "-o", self.out("x.tar"))
        self.assertEqual(ran.code, 0)
        source = open_source(self.out("x.tar"))
        (saved,) = read_saved(source, MOST)
        source.close()
        self.assertEqual(saved.names, ("multi:1",))
        self.assertEqual(saved.config_body, ARM.config)
        self.assertEqual([str(each.digest) for each in saved.layers], [sha(ARM.layers[0])])

    async def test_standard_output(self) -> None:
        await self.imported()
        path = self.out("stdout.tar")
        await deferToThread(self.to_stdout, path)
        with tarfile.open(path) as tar:
            self.assertIn("index.json", tar.getnames())

    def to_stdout(self, path: str) -> None:
        words = [sys.executable, "-m", "nodecache", "export", "multi:1", "-o", "-"]
        with open(path, "wb") as out:
            env = {**os.environ, "NODECACHE_DATA_DIR": str(self.data_dir)}
            subprocess.run(words, stdout=out, env=env, check=True, timeout=30)

    async def test_what_is_missing_is_fetched_first(self) -> None:
        image = self.hub.add_image("library/alpine", "3", [b"layer" * 1000])
        await self.start()
        ran = await self.run_("export", "alpine:3", "-o", self.out("x.tar"))
        self.assertEqual(ran.code, 0)
        source = open_source(self.out("x.tar"))
        (found,) = read_layout(source, MOST)
        source.close()
        self.assertEqual(str(found.top.digest), image.digest)

    async def test_offline_nothing_is_fetched(self) -> None:
        image = self.hub.add_image("library/alpine", "3", [b"layer" * 1000])
        await self.start()
        ran = await self.run_("export", "alpine:3", "--offline", "-o", self.out("x.tar"))
        self.assertEqual(ran.code, 1)
        self.assertIn("is not here", ran.err)
        self.assertEqual(self.hub.requests, [])
        await self.manifest("library/alpine", "3")
        ran = await self.run_("export", "alpine:3", "--offline", "-o", self.out("x.tar"))
        self.assertEqual(ran.code, 1)
        self.assertIn("2 of its blobs are not here", ran.err)
        await self.blob("library/alpine", image.config)
        await self.blob("library/alpine", image.layers[0])
        await self.stored(2)
        ran = await self.run_("export", "alpine:3", "--offline", "-o", self.out("x.tar"))
        self.assertEqual(ran.code, 0, ran.err)

    async def test_what_is_not_there_or_not_allowed(self) -> None:
        await self.start(upstream={"deny": ("secret/*",)})
        for name, words in (
            ("nothing:1", "Is the name right?"),
            ("secret/x", "denied"),
            ("BAD", "lower-case"),
            ("ghcr.io/x/y", "--upstream"),
        ):
            ran = await self.run_("export", name, "-o", self.out("x.tar"))
            self.assertEqual((name, ran.code), (name, 1))
            self.assertIn(name, ran.err)
            self.assertIn(words, ran.err)
        self.assertEqual(sorted(os.listdir(self.folder)), ["data"])

    async def test_a_platform_that_the_image_lacks_is_told_with_those_that_it_has(self) -> None:
        await self.imported()
        ran = await self.run_(
            "export", "multi:1", "--platform", "linux/s390x", "-o", self.out("x.tar")
        )
        self.assertEqual(ran.code, 1)
        self.assertIn("it has: linux/amd64, linux/arm64", ran.err)
        ran = await self.run_("export", "multi:1", "--platform", "arm", "-o", self.out("x.tar"))
        self.assertIn("is no platform like linux/amd64", ran.err)

    async def test_a_place_that_can_not_be_written(self) -> None:
        await self.imported()
        ran = await self.run_("export", "multi:1", "-o", self.out("no/such/x.tar"))
        self.assertEqual(ran.code, 1)
        self.assertIn("can not be written", ran.err)
        os.mkdir(self.out("full"))
        pathlib.Path(self.out("full/file")).touch()
        ran = await self.run_("export", "multi:1", "-o", self.out("full"))
        self.assertIn("is not empty", ran.err)

    async def test_a_disk_that_is_full_is_what_is_told_of(self) -> None:
        """Also where the node only saw that nobody reads any more."""
        self.hub.add_image("library/big", "1", [os.urandom(2 << 20)])
        await self.start()
        ran = await self.run_("export", "big:1", "-o", "/dev/full")
        self.assertEqual(ran.code, 1, ran.err)
        self.assertIn("can not be written (No space left on device)", ran.err)
        self.assertIn("with -o", ran.err)

    async def test_a_blob_that_rotted_is_not_exported_and_removed(self) -> None:
        await self.imported()
        """What rots does not tell: its file's time stays as it was."""
        rotten = max(self.blob_files(), key=lambda path: path.stat().st_size)
        times = rotten.stat()
        body = bytearray(rotten.read_bytes())
        body[len(body) // 2] ^= 1
        rotten.write_bytes(bytes(body))
        os.utime(rotten, ns=(times.st_atime_ns, times.st_mtime_ns))
        ran = await self.run_("export", "multi:1", "-o", self.out("x.tar"))
        self.assertEqual(ran.code, 1)
        self.assertIn("is damaged on disk, and was removed", ran.err)
        self.assertFalse(rotten.exists())
        self.assertFalse(os.path.exists(self.out("x.tar")))

    async def test_a_reader_that_leaves_in_the_middle_is_no_harm(self) -> None:
        await self.imported()
        path = self.out("pipe")
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        order = {"images": ["multi:1"], "format": "oci", "path": path}
        events = self.control().run("export", order)
        self.assertEqual((await deferToThread(next, events))["event"], "ready")
        await until(reactor, lambda: bool(_read(reader)))
        os.close(reader)
        failed: Any = await self.assertFailure(deferToThread(list, events), CommandError)
        self.assertIn("whoever reads the archive is gone", failed.problem)

    async def test_a_node_that_stops_while_nobody_reads(self) -> None:
        await self.imported()
        path = self.out("pipe")
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        order = {"images": ["multi:1"], "format": "oci", "path": path}
        events = self.control().run("export", order)
        await deferToThread(next, events)
        await self.node.stop("the test says so")
        await self.assertFailure(deferToThread(list, events), CommandError)

    async def test_what_is_no_pipe_is_not_written_to(self) -> None:
        await self.imported()
        path = self.write("file", b"precious")
        order = {"images": ["multi:1"], "format": "oci", "path": path}
        failing = deferToThread(self.control().done, "export", order)
        failed: Any = await self.assertFailure(failing, CommandError)
        self.assertIn("is no pipe", failed.problem)
        self.assertEqual(pathlib.Path(path).read_bytes(), b"precious")


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 100)
    except BlockingIOError:
        return b""
