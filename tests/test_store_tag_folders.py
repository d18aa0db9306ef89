"""Folders of tags go with their last tag: a node that runs for months keeps none for each name."""

from __future__ import annotations

import errno
import os
import pathlib
import threading
from unittest.mock import patch

from nodecache.freshness import TagEntry
from nodecache.limits import KIB
from nodecache.reference import Repository, Tag
from nodecache.store import StoredListing
from nodecache.store.disk import Disk
from nodecache.store.records import Drafts
from tests.store_case import MORNING, StoreCase, digest_of, some_bytes

ENTRY = TagEntry(str(digest_of(b"1")), "application/json", 1, MORNING)
LATEST = Tag("latest")


class FolderTests(StoreCase):
    def write(self, name: str, tag: Tag = LATEST) -> None:
        self.run_now(self.store.write_tag(Repository("docker.io", name), tag, ENTRY))

    def drop(self, name: str, tag: Tag = LATEST) -> None:
        self.run_now(self.store.drop_tag(Repository("docker.io", name), tag))

    def folders(self) -> list[str]:
        tags = os.path.join(self.folder, "v1/tags")
        return sorted(os.path.relpath(folder, tags) for folder, _, _ in os.walk(tags))[1:]

    def test_the_last_tag_takes_its_folders_along_and_no_others(self) -> None:
        self.write("library/a")
        self.write("library/a", Tag("1"))
        self.write("library/a/b")
        self.drop("library/a")
        self.assertIn("docker.io/library/a/_tags", self.folders())
        self.drop("library/a", Tag("1"))
        rest = ["docker.io", "docker.io/library", "docker.io/library/a", "docker.io/library/a/b"]
        self.assertEqual(self.folders(), [*rest, "docker.io/library/a/b/_tags"])
        self.drop("library/a/b")
        self.assertEqual(self.folders(), [])
        self.assertTrue(os.path.isdir(os.path.join(self.folder, "v1/tags")))
        self.write("library/a")
        self.assert_accounts_are_right()

    def test_a_listing_keeps_the_folder_of_its_name(self) -> None:
        alpine = Repository("docker.io", "alpine")
        listing = StoredListing(b"{}", "application/json", None, MORNING)
        self.run_now(self.store.write_listing(alpine, "tags", listing))
        self.write("alpine")
        self.drop("alpine")
        self.assertEqual(
            self.folders(), ["docker.io", "docker.io/alpine", "docker.io/alpine/_listings"]
        )

    def test_as_many_names_as_ever_come_leave_no_more_than_fit(self) -> None:
        self.store.set_limits(64 * KIB, 0)
        for number in range(100):
            self.clock.advance(1)
            self.write(f"library/name-{number}")
        self.assertLess(len(self.folders()), 2 * 16 + 3)
        self.put_blob(some_bytes(60 * KIB))
        self.assertLess(len(self.folders()), 5)
        self.assert_accounts_are_right()

    def test_a_folder_that_can_not_be_removed_hinders_nothing(self) -> None:
        self.write("library/a")
        with patch.object(Disk, "rmdir", side_effect=OSError(errno.EIO, "it fails")):
            self.drop("library/a")
        self.assertEqual(self.told("disk_failed"), [])
        self.assertIn("docker.io/library/a/_tags", self.folders())
        self.assert_accounts_are_right()


class RaceTests(StoreCase):
    def test_a_writer_and_a_remover_at_once_lose_no_tag(self) -> None:
        folder = pathlib.Path(self.folder)
        (folder / "drafts").mkdir()
        drafts, tags = Drafts(Disk(), str(folder / "drafts")), folder / "tags"
        over = threading.Event()

        def remove() -> None:
            while not over.is_set():
                drafts.remove_empty(str(tags / "a" / "_tags"), str(tags))

        remover = threading.Thread(target=remove)
        remover.start()
        try:
            for number in range(50):
                path = tags / "a" / "_tags" / f"{number}.json"
                drafts.write(str(path), b"new", MORNING)
                self.assertEqual(path.read_bytes(), b"new")
                path.unlink()
        finally:
            over.set()
            remover.join()
