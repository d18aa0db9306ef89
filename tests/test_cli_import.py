"""``nodecache import``: what comes in is served, pinned and kept; what is wrong changes nothing."""

from __future__ import annotations

import gzip
import json
import os
import pathlib
import tarfile
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from nodecache.archives.tar import padding
from nodecache.cli.problems import CommandError
from nodecache.config import SizeSetting
from nodecache.failures import StoreFailure
from nodecache.reference import Digest, Repository, Tag
from nodecache.steering import Refused
from nodecache.steering.importing import Importing
from tests.archive_kit import (
    Made,
    indexed,
    layout,
    made,
    member,
    name_of,
    saved,
    sha,
    tarred,
    unpacked,
)
from tests.fakes_client import until
from tests.fakes_http import Gate, hold_at
from tests.moving_case import MovingCase
from tests.node_case import reactor

ALPINE = "docker.io/library/alpine:3.20"
IMAGE = made([b"one", os.urandom(3 << 20)])


class ImportTests(MovingCase):
    async def served(self, image: Made, tag: str = "3.20", name: str = "library/alpine") -> None:
        """All of the image comes from disk, byte for byte."""
        got = await self.manifest(name, tag)
        self.assertEqual((got.status, got.header("nodecache-source")), (200, "disk"))
        self.assertEqual(got.header("docker-content-digest"), image.digest)
        for digest, body in image.blobs.items():
            if digest != image.digest and not body.startswith(b'{"schemaVersion"'):
                blob = await self.blob(name, digest)
                self.assertEqual((blob.status, blob.body), (200, body))

    async def entry(self, tag: str = "3.20"):  # type: ignore[no-untyped-def]
        return await self.node._store.read_tag(Repository("docker.io", "library/alpine"), Tag(tag))

    async def test_a_layout_is_imported_and_served_offline_also_after_a_restart(self) -> None:
        await self.start(offline=True)
        path = self.write("image.tar", tarred(layout((IMAGE, name_of(ALPINE, "3.20")))))
        ran = await self.run_("import", path)
        self.assertEqual((ran.code, ran.err), (0, ""))
        self.assertIn("Imported alpine:3.20", ran.out)
        await self.served(IMAGE)
        await self.restart(offline=True)
        await self.served(IMAGE)
        self.assertEqual(self.hub.requests, [])

    async def test_an_imported_tag_is_pinned_and_upstream_is_not_asked_about_it(self) -> None:
        self.hub.add_image("library/alpine", "3.20", [b"another"])
        await self.start(tag_ttl=0.0)
        path = self.write("image.tar", tarred(layout((IMAGE, name_of(ALPINE)))))
        self.assertEqual((await self.run_("import", path)).code, 0)
        entry = await self.entry()
        self.assertTrue(entry.pinned and entry.imported)
        await self.served(IMAGE)
        self.assertEqual(self.hub.requests, [])

    async def test_it_takes_the_place_of_what_upstream_said(self) -> None:
        old = self.hub.add_image("library/alpine", "3.20", [b"another"])
        await self.start()
        got = await self.manifest("library/alpine", "3.20")
        self.assertEqual(got.header("docker-content-digest"), old.digest)
        path = self.write("image.tar", tarred(layout((IMAGE, name_of(ALPINE)))))
        self.assertEqual((await self.run_("import", path)).code, 0)
        await self.served(IMAGE)

    async def test_from_standard_input_compressed_and_in_two_pieces(self) -> None:
        await self.start()
        whole = tarred(layout((IMAGE, name_of(ALPINE))))
        half = len(whole) // 2
        zipped = gzip.compress(whole[:half]) + gzip.compress(whole[half:])
        ran = await self.run_("import", "-", "--json", stdin=zipped)
        self.assertEqual((ran.code, ran.err), (0, ""))
        self.assertEqual(ran.json["images"][0]["digest"], IMAGE.digest)
        self.assertEqual(ran.json["images"][0]["names"], ["alpine:3.20"])
        await self.served(IMAGE)
        self.assertEqual(os.listdir(self.data_dir / "v1" / "tmp"), [])

    async def test_a_compressed_file_and_a_folder(self) -> None:
        await self.start()
        files = layout((IMAGE, name_of(ALPINE)))
        zipped = self.write("image.tar.gz", gzip.compress(tarred(files)))
        other = made([b"other"])
        folder = unpacked(self.folder / "folder", layout((other, name_of("docker.io/x/y:1"))))
        ran = await self.run_("import", zipped, str(folder))
        self.assertEqual((ran.code, ran.err), (0, ""))
        await self.served(IMAGE)
        await self.served(other, "1", "x/y")

    async def test_what_the_node_can_not_read_comes_through_a_pipe(self) -> None:
        await self.start()

        async def unreadable(_, path, tell):  # type: ignore[no-untyped-def]
            tell({"event": "unreadable"})
            raise Refused("it may not")

        self.patch(Importing, "_must_be_unpacked", unreadable)
        path = self.write("image.tar", tarred(layout((IMAGE, name_of(ALPINE)))))
        ran = await self.run_("import", path)
        self.assertEqual((ran.code, ran.err), (0, ""))
        await self.served(IMAGE)
        other = made([b"other"])
        folder = unpacked(self.folder / "folder", layout((other, name_of("docker.io/x/y:1"))))
        ran = await self.run_("import", str(folder))
        self.assertEqual((ran.code, ran.err), (0, ""))
        await self.served(other, "1", "x/y")

    async def test_a_saved_image_gets_a_manifest(self) -> None:
        await self.start(offline=True)
        plain = made([b"one", b"two"], zipped=False)
        path = self.write("saved.tar", tarred(saved(plain, "alpine:3.20", "x/y:1")))
        ran = await self.run_("import", path, "--json")
        self.assertEqual((ran.code, ran.err), (0, ""))
        self.assertEqual(ran.json["images"][0]["names"], ["alpine:3.20", "x/y:1"])
        got = await self.manifest("library/alpine", "3.20")
        self.assertEqual(
            got.header("content-type"), "application/vnd.docker.distribution.manifest.v2+json"
        )
        manifest = json.loads(got.body)
        for layer, body in zip(manifest["layers"], plain.layers, strict=True):
            self.assertEqual((await self.blob("x/y", layer["digest"])).body, body)

    async def test_a_saved_image_with_compressed_layers_is_hashed_first(self) -> None:
        await self.start(offline=True)
        plain = made([b"one"], zipped=False)
        files = saved(plain, "alpine:3.20")
        zipped = gzip.compress(plain.layers[0])
        files[f"{0:064x}/layer.tar"] = zipped
        ran = await self.run_("import", self.write("saved.tar", tarred(files)))
        self.assertEqual((ran.code, ran.err), (0, ""))
        self.assertEqual((await self.blob("library/alpine", sha(zipped))).body, zipped)

    async def test_an_index_with_a_platform_that_is_not_there_says_so(self) -> None:
        await self.start(offline=True)
        arm = made([b"arm"], arch="arm64")
        files = layout((indexed({"linux/amd64": IMAGE, "linux/arm64": arm}), name_of(ALPINE)))
        del files[f"blobs/sha256/{arm.digest[7:]}"]
        ran = await self.run_("import", self.write("image.tar", tarred(files)))
        self.assertEqual(ran.code, 0)
        self.assertIn("lacks linux/arm64", ran.err)

    async def test_a_name_may_be_given_and_must_be_where_there_is_none(self) -> None:
        await self.start(offline=True)
        path = self.write("image.tar", tarred(layout((IMAGE, name_of("", "3.20")))))
        ran = await self.run_("import", path)
        self.assertEqual(ran.code, 1)
        self.assertIn("gives the image the tag '3.20' and no name", ran.err)
        self.assertIn("--name", ran.err)
        ran = await self.run_("import", path, "--name", "alpine")
        self.assertEqual((ran.code, ran.err), (0, ""))
        await self.served(IMAGE)
        ran = await self.run_("import", path, "--name", "x/y:7")
        await self.served(IMAGE, "7", "x/y")

    async def test_a_name_is_for_one_image(self) -> None:
        await self.start(offline=True)
        two = layout((IMAGE, name_of(ALPINE)), (made([b"2"]), name_of("docker.io/x/y:1")))
        ran = await self.run_("import", self.write("two.tar", tarred(two)), "--name", "z")
        self.assertEqual(ran.code, 1)
        self.assertIn("holds 2 images", ran.err)

    async def test_names_that_this_node_does_not_serve_are_refused(self) -> None:
        await self.start(upstream={"deny": ("secret/*",)})
        for name, words in (
            ("localhost/mine:1", "'localhost' is not served here"),
            ("docker.io/secret/x:1", "denied by this node's rules"),
            ("docker.io/Bad:1", "lower-case"),
        ):
            path = self.write("image.tar", tarred(layout((IMAGE, name_of(name)))))
            ran = await self.run_("import", path)
            self.assertEqual((name, ran.code), (name, 1))
            self.assertIn(words, ran.err)
            self.assertIn("--name", ran.err)
        self.assertEqual(self.blob_files(), [])

    # What is wrong.

    async def refused(self, archive: bytes, words: str, *more: str) -> None:
        """In one clear line, and nothing of it is here then."""
        for name, stdin in ((self.write("bad.tar", archive), None), ("-", archive)):
            ran = await self.run_("import", name, *more, stdin=stdin)
            self.assertEqual((ran.code, ran.out), (1, ""))
            self.assertIn(words, ran.err)
            self.assertLessEqual(len(ran.err.splitlines()), 2, ran.err)
        self.assertEqual(self.blob_files(), [])
        self.assertEqual(await self.tags_of("library/alpine"), [])
        self.assertEqual(list((self.data_dir / "v1" / "segments").iterdir()), [])
        self.assertEqual(list((self.data_dir / "v1" / "tmp").iterdir()), [])

    async def test_a_layer_whose_bytes_are_not_its_digests_takes_the_others_with_it(self) -> None:
        await self.start()
        files = layout((IMAGE, name_of(ALPINE)))
        path = f"blobs/sha256/{sha(IMAGE.layers[1])[7:]}"
        files[path] = files[path][:-1] + b"!"
        await self.refused(tarred(files), "are not those of its digest")

    async def test_a_saved_layer_that_is_not_what_its_configuration_says(self) -> None:
        await self.start()
        files = saved(made([b"one", b"two"], zipped=False), "alpine:3.20")
        path = f"{1:064x}/layer.tar"
        files[path] = files[path].replace(b"two", b"owt")
        await self.refused(tarred(files), "are not those of its digest")

    async def test_archives_of_all_bad_kinds(self) -> None:
        await self.start()
        good = layout((IMAGE, name_of(ALPINE)))
        whole = tarred(good)
        await self.refused(whole[: len(whole) // 2], "cut off")
        await self.refused(gzip.compress(whole)[:-9], "cut off")
        await self.refused(gzip.compress(whole)[:-8] + bytes(8), "damaged")
        await self.refused(b"hello", "no tar archive")
        await self.refused(b"\x28\xb5\x2f\xfd" + whole, "zstd -dc")
        await self.refused(tarred({**good, "../evil": b"x"}), "outside of it")
        await self.refused(tarred(good, member("null", tarfile.CHRTYPE)), "a device")
        await self.refused(tarred(good, member("l", tarfile.SYMTYPE, "/etc/shadow")), "outside")
        once = whole.rstrip(b"\0")
        await self.refused(once + padding(len(once)) + whole, "twice")
        del good[f"blobs/sha256/{sha(IMAGE.layers[1])[7:]}"]
        await self.refused(tarred(good), "is not in the archive")

    async def test_more_than_the_cache_holds_is_refused_with_sizes(self) -> None:
        await self.start(max_size=SizeSetting(bytes=2 << 20))
        path = self.write("image.tar", tarred(layout((IMAGE, name_of(ALPINE)))))
        ran = await self.run_("import", path)
        self.assertEqual(ran.code, 1)
        self.assertIn("and the cache at most 2MiB", ran.err)

    async def test_a_few_bytes_that_grow_without_end_fill_no_disk(self) -> None:
        await self.start(max_size=SizeSetting(bytes=70 << 20))
        bomb = gzip.compress(bytes(200 << 20))
        ran = await self.run_("import", self.write("bomb.tar.gz", bomb))
        self.assertEqual(ran.code, 1)
        self.assertIn("takes more room than the cache has", ran.err)
        self.assertEqual(self.node._store.usage().reserved, 0)

    async def test_a_blob_that_a_client_is_fetching_is_waited_for(self) -> None:
        """Whether that fetch ends well or not."""
        for ends_well in (True, False):
            image = made([b"wanted", os.urandom(1 << 20)])
            digest, body = sha(image.layers[1]), image.layers[1]
            self.hub.add_blob("library/alpine", body)
            gate = Gate()
            fault = self.hub.cdn.fault(hold_at(1000, gate))
            await self.start()
            begun = await self.begin_blob("library/alpine", digest)
            path = self.write("image.tar", tarred(layout((image, name_of(ALPINE)))))
            importing = Deferred.fromCoroutine(self.run_("import", path))
            await until(reactor, lambda: len(self.blob_files()) == 2)  # config and first layer
            self.assertFalse(importing.called)
            if ends_well:
                gate.open()
                self.assertEqual((await begun.whole()).body, body)
            else:
                begun.leave()
                self.node._fills._fills[Digest.parse(digest)].stop()
                gate.open()
            ran = await importing
            self.assertEqual((ran.code, ran.err), (0, ""))
            await self.served(image)
            fault.left = 0
            await self.node.stop("the next case")
            self.data_dir = self.folder / "another"

    async def test_a_tag_that_can_not_be_written_takes_all_with_it(self) -> None:
        await self.start()

        async def fail(*_: object) -> None:
            raise StoreFailure("the disk is broken")

        self.patch(self.node._store, "write_tag", fail)
        path = self.write("image.tar", tarred(layout((IMAGE, name_of(ALPINE)))))
        ran = await self.run_("import", path)
        self.assertEqual(ran.code, 1)
        self.assertIn("the disk is broken", ran.err)
        usage = self.node._store.usage()
        self.assertEqual((usage.blobs, usage.manifests, usage.reserved), (0, 0, 0))

    async def test_what_was_here_before_stays_when_an_import_fails(self) -> None:
        await self.start()
        whole = layout((IMAGE, name_of(ALPINE)))
        self.assertEqual((await self.run_("import", "-", stdin=tarred(whole))).code, 0)
        other = made([b"one", b"!"])
        files = layout((other, name_of(ALPINE)))
        path = f"blobs/sha256/{sha(other.layers[1])[7:]}"
        files[path] = bytes(len(files[path]))
        ran = await self.run_("import", "-", stdin=tarred(files))
        self.assertEqual(ran.code, 1)
        await self.served(IMAGE)

    async def test_whoever_hangs_up_in_the_middle_leaves_nothing_behind(self) -> None:
        await self.start()
        whole = tarred(layout((IMAGE, name_of(ALPINE))))
        path = str(self.folder / "pipe")
        os.mkfifo(path)
        holder = os.open(path, os.O_RDWR)
        self.addCleanup(os.close, holder)
        events = self.control().run("import", {"path": path, "pipe": True})
        told = await deferToThread(next, events)
        self.assertEqual(told["event"], "ready")
        os.write(holder, whole[:4096])
        await deferToThread(next, events)
        await deferToThread(events.close)  # type: ignore[attr-defined]
        await self.node.steering.moving._lasting.idle()
        self.assertEqual(self.blob_files(), [])
        self.assertEqual(self.node._store.usage().reserved, 0)

    async def test_a_node_that_stops_ends_an_import_and_says_so(self) -> None:
        await self.start()
        path = str(self.folder / "pipe")
        os.mkfifo(path)
        holder = os.open(path, os.O_RDWR)
        self.addCleanup(os.close, holder)
        events = self.control().run("import", {"path": path, "pipe": True})
        await deferToThread(next, events)
        await self.node.stop("the test says so")
        failed: Any = await self.assertFailure(deferToThread(list, events), CommandError)
        self.assertIn("stopping", failed.problem)

    async def test_there_is_no_such_file_and_no_such_node(self) -> None:
        ran = await self.run_("import", str(self.folder / "nothing.tar"))
        self.assertEqual(ran.code, 1)
        self.assertIn("there is no", ran.err)
        path = self.write("image.tar", tarred(layout((IMAGE, name_of(ALPINE)))))
        ran = await self.run_("import", path)
        self.assertEqual(ran.code, 3)
        self.assertIn("no node answers", ran.err)
        ran = await self.run_("import", "-", stdin=b"x")
        self.assertEqual(ran.code, 3)

    async def test_a_pipe_that_a_command_left_is_gone_with_the_next_start(self) -> None:
        await self.start()
        os.mkfifo(self.data_dir / "v1" / "tmp" / "pipe-left")
        await self.restart()
        self.assertEqual(list((self.data_dir / "v1" / "tmp").iterdir()), [])

    async def test_one_of_several_that_is_bad_is_named_and_the_others_come_in(self) -> None:
        await self.start()
        good = self.write("good.tar", tarred(layout((IMAGE, name_of(ALPINE)))))
        bad = self.write("bad.tar", b"hello")
        ran = await self.run_("import", bad, good)
        self.assertEqual(ran.code, 1)
        self.assertIn(f"{bad}: this is no tar archive", ran.err)
        await self.served(IMAGE)
        self.assertTrue(pathlib.Path(good).exists())
