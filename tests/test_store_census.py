"""Looking through the store: everything is found, and nothing is used by it."""

from __future__ import annotations

import os

from nodecache.freshness import TagEntry
from nodecache.reference import Digest, Repository, Tag
from tests.store_case import MORNING, StoreCase, digest_of, some_bytes

APP = Repository("ghcr.io", "team/app")
ALPINE = Repository("docker.io", "library/alpine")


def entry_of(digest: Digest, checked_at: float = MORNING) -> TagEntry:
    return TagEntry(str(digest), "application/json", 5, checked_at)


class CensusTests(StoreCase):
    def tag(self, repository: Repository, tag: str, entry: TagEntry) -> None:
        self.run_now(self.store.write_tag(repository, Tag(tag), entry))

    def tags(self) -> list[tuple[str, str]]:
        seen = self.run_now(self.store.census.tags())
        return [(str(each.repository), str(each.tag)) for each in seen]

    def test_all_tags_are_found_in_the_order_of_their_names(self) -> None:
        for repository, tag in ((APP, "b"), (ALPINE, "3"), (APP, "a")):
            self.tag(repository, tag, entry_of(digest_of(tag.encode())))
        wanted = [
            ("docker.io/library/alpine", "3"),
            ("ghcr.io/team/app", "a"),
            ("ghcr.io/team/app", "b"),
        ]
        self.assertEqual(self.tags(), wanted)
        self.reopened()
        self.assertEqual(self.tags(), wanted)

    def test_many_tags_are_read_in_few_jobs(self) -> None:
        for number in range(600):
            self.tag(ALPINE, f"t{number:03}", entry_of(digest_of(b"x")))
        self.assertEqual(len(self.tags()), 600)

    def test_a_check_that_waits_in_memory_is_seen(self) -> None:
        digest = digest_of(b"x")
        self.tag(ALPINE, "3", entry_of(digest))
        self.tag(ALPINE, "3", entry_of(digest, MORNING + 60))
        [seen] = self.run_now(self.store.census.tags())
        self.assertEqual(seen.entry.checked_at, MORNING + 60)

    def test_looking_is_no_use(self) -> None:
        digest = self.put_manifest(b"{}")
        self.tag(ALPINE, "3", entry_of(digest))
        self.clock.advance(5000)
        [seen] = self.run_now(self.store.census.tags())
        self.assertEqual(seen.used_at, MORNING)
        assert self.run_now(self.store.census.manifest(digest)) is not None
        self.assertEqual(self.store.census.manifest_used_at(digest), MORNING)
        self.run_now(self.store.read_manifest(digest))
        self.assertEqual(self.store.census.manifest_used_at(digest), MORNING + 5000)

    def test_what_is_no_tag_is_left_out(self) -> None:
        self.tag(ALPINE, "3", entry_of(digest_of(b"x")))
        self.run_now(self.store.close())
        folder = os.path.join(self.folder, "v1/tags/docker.io/library/alpine/_tags")
        for name, text in (("4.json", "no json"), ("no tag!.json", "{}"), ("5", "{}")):
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(text)
        self.store = self.opened()
        self.assertEqual(self.tags(), [("docker.io/library/alpine", "3")])

    def test_blobs_and_manifests_are_told_apart(self) -> None:
        blob, manifest = self.put_blob(b"blob"), self.put_manifest(b"{}")
        census = self.store.census
        self.assertEqual(list(census.blobs()), [blob])
        self.assertEqual(list(census.manifests()), [manifest])
        self.assertEqual(census.blob_size(blob), 4)
        self.assertIsNone(census.blob_size(manifest))
        self.assertTrue(census.has_manifest(manifest))

    def test_a_manifest_is_dropped_with_its_sidecar(self) -> None:
        digest = self.put_manifest(b"{}")
        self.run_now(self.store.census.drop_manifest(digest))
        self.assertFalse(self.store.has_manifest(digest))
        self.assertEqual(self.on_disk(), 0)
        self.assert_accounts_are_right()

    def test_a_good_blob_is_read_to_its_end(self) -> None:
        data = some_bytes(9 << 20)
        digest = self.put_blob(data)
        read: list[int] = []
        self.assertTrue(self.run_now(self.store.census.is_good(digest, read.append)))
        self.assertEqual(sum(read), len(data))
        self.assertGreater(len(read), 1)

    def test_a_rotten_blob_is_dropped_and_told_of(self) -> None:
        digest = self.put_blob(b"right")
        self.overwrite(digest, b"wrong")
        self.assertFalse(self.run_now(self.store.census.is_good(digest, lambda _: None)))
        self.assertIsNone(self.store.blob_size(digest))
        [event] = self.told("corrupt")
        self.assertEqual(event.found_by, "verify")

    def test_a_blob_that_is_evicted_meanwhile_is_not_rotten(self) -> None:
        digest = self.put_blob(some_bytes(9 << 20))

        def drop(_: int) -> None:
            if self.store.blob_size(digest) is not None:
                self.run_now(self.store.drop_blob(digest))

        self.assertTrue(self.run_now(self.store.census.is_good(digest, drop)))
        self.assertEqual(self.told("corrupt"), [])

    def test_what_is_left_of_a_fill_has_a_size(self) -> None:
        digest = digest_of(b"half")
        reservation = self.run_now(self.store.reserve(100))
        partial = self.run_now(self.store.open_partial(digest))
        partial.set_total(100)
        partial.keep()
        reservation.release()
        self.store.usage()  # books it
        self.assertGreater(self.store.census.partial_size(digest), 0)
        self.assertEqual(self.store.census.partial_size(digest_of(b"other")), 0)
