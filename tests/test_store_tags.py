"""Tags and listings on disk."""

from __future__ import annotations

import errno
import os
from unittest.mock import patch

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from nodecache.failures import NoRoom
from nodecache.freshness import TagEntry
from nodecache.limits import KIB
from nodecache.reference import Repository, Tag
from nodecache.store import StoredListing
from nodecache.store.tags import LAG, REREAD, listing_from_bytes, listing_to_bytes
from tests.store_case import MORNING, StoreCase, digest_of, some_bytes

ALPINE = Repository("docker.io", "library/alpine")
LATEST = Tag("latest")
ENTRY = TagEntry(str(digest_of(b"1")), "application/json", 1, MORNING)
OTHER = TagEntry(str(digest_of(b"2")), "application/json", 1, MORNING)


class TagTests(StoreCase):
    def write(self, entry: TagEntry, tag: Tag = LATEST, repository: Repository = ALPINE) -> None:
        self.run_now(self.store.write_tag(repository, tag, entry))

    def read(self, tag: Tag = LATEST, repository: Repository = ALPINE) -> TagEntry | None:
        return self.run_now(self.store.read_tag(repository, tag))

    def path(self) -> str:
        return os.path.join(self.folder, "v1/tags/docker.io/library/alpine/_tags/latest.json")

    def test_it_reads_back_also_after_a_restart(self) -> None:
        self.assertIsNone(self.read())
        self.write(ENTRY)
        self.assertEqual(self.read(), ENTRY)
        self.reopened()
        self.assertEqual(self.read(), ENTRY)
        self.assert_accounts_are_right()

    def test_it_is_known_for_a_moment_once_it_was_read(self) -> None:
        self.assertIsNone(self.store.known_tag(ALPINE, LATEST))
        self.write(ENTRY)
        self.assertIsNone(self.store.known_tag(ALPINE, LATEST))
        self.assertEqual(self.read(), ENTRY)
        self.assertEqual(self.store.known_tag(ALPINE, LATEST), ENTRY)
        self.assertIsNone(self.store.known_tag(ALPINE, Tag("other")))
        self.clock.advance(REREAD)
        self.assertIsNone(self.store.known_tag(ALPINE, LATEST))
        self.read()
        self.offset -= 1  # a clock that was set back tells no age
        self.assertIsNone(self.store.known_tag(ALPINE, LATEST))

    def test_what_was_written_or_dropped_since_is_not_known_any_more(self) -> None:
        self.write(ENTRY)
        for change in (self.write, lambda _: self.run_now(self.store.drop_tag(ALPINE, LATEST))):
            self.read()
            change(OTHER)
            self.assertIsNone(self.store.known_tag(ALPINE, LATEST))

    def test_one_that_is_gone_from_the_index_is_not_known(self) -> None:
        self.write(ENTRY)
        self.read()
        self.successResultOf(self.store._room.drop(self.store._tags.key(ALPINE, LATEST)))
        self.assertIsNone(self.store.known_tag(ALPINE, LATEST))

    def test_to_know_it_is_a_use(self) -> None:
        self.write(ENTRY)
        self.write(ENTRY, Tag("other"))
        self.read()
        self.clock.advance(REREAD / 2)
        key = self.store._tags.key(ALPINE, LATEST)
        with patch.object(self.store._accounts, "used") as used:
            self.store.known_tag(ALPINE, LATEST)
        used.assert_called_once_with(key)

    def test_a_read_that_a_write_overtook_is_not_believed(self) -> None:
        """It may have read what stood there before."""
        self.write(ENTRY)
        self.run_now(self.store.close())
        pool = self.open_held()
        self.addCleanup(pool.flush)
        reading = Deferred.fromCoroutine(self.store.read_tag(ALPINE, LATEST))
        writing = Deferred.fromCoroutine(self.store.write_tag(ALPINE, LATEST, OTHER))
        pool.flush()
        self.successResultOf(writing)
        self.successResultOf(reading)
        known = self.store.known_tag(ALPINE, LATEST)
        self.assertNotEqual(known, ENTRY)

    def test_it_lies_where_the_layout_says(self) -> None:
        self.write(ENTRY)
        with open(self.path(), "rb") as file:
            self.assertEqual(TagEntry.from_json(file.read()), ENTRY)

    def test_a_new_digest_is_durable_at_once(self) -> None:
        self.write(ENTRY)
        self.disk.calls.clear()
        self.write(OTHER)
        self.assertLess(self.disk.calls.index("fsync"), self.disk.calls.index("rename"))
        self.after_kill()
        self.assertEqual(self.read(), OTHER)

    def test_a_mere_check_does_not_write(self) -> None:
        self.write(ENTRY)
        self.disk.calls.clear()
        checked = attrs.evolve(ENTRY, checked_at=MORNING + 60)
        self.write(checked)
        self.assertEqual(self.disk.calls, [])
        self.assertEqual(self.read(), checked)

    def test_a_check_that_lags_too_far_is_written(self) -> None:
        self.write(ENTRY)
        checked = attrs.evolve(ENTRY, checked_at=MORNING + LAG)
        self.write(checked)
        self.reopened()
        self.assertEqual(self.read(), checked)

    def test_a_check_is_written_where_the_file_has_gone(self) -> None:
        self.write(ENTRY)
        os.unlink(self.path())
        self.assertIsNone(self.read())
        checked = attrs.evolve(ENTRY, checked_at=MORNING + 60)
        self.write(checked)
        self.reopened()
        self.assertEqual(self.read(), checked)

    def test_a_check_is_written_where_the_entry_was_evicted(self) -> None:
        self.write(ENTRY)
        self.store.set_limits(0, 0)
        self.store.set_limits(1 << 20, 0)
        self.write(attrs.evolve(ENTRY, checked_at=MORNING + 60))
        self.assertTrue(os.path.exists(self.path()))

    def test_a_file_changed_by_hand_is_believed(self) -> None:
        self.write(ENTRY)
        self.write(attrs.evolve(ENTRY, checked_at=MORNING + 60))
        with open(self.path(), "wb") as file:
            file.write(OTHER.to_json())
        self.assertEqual(self.read(), OTHER)

    def test_junk_is_a_miss_and_goes(self) -> None:
        for junk in (b"", b"{", b"\xff", b"[]", bytes(100_000)):
            self.write(ENTRY)
            with open(self.path(), "wb") as file:
                file.write(junk)
            self.assertIsNone(self.read())
            self.assertFalse(os.path.exists(self.path()))
            self.assert_accounts_are_right()

    def test_a_dropped_tag_is_gone(self) -> None:
        self.write(ENTRY)
        self.run_now(self.store.drop_tag(ALPINE, LATEST))
        self.assertIsNone(self.read())
        self.run_now(self.store.drop_tag(ALPINE, LATEST))
        self.assert_accounts_are_right()

    def test_tags_of_other_repositories_and_namespaces_are_others(self) -> None:
        quay = Repository("quay.io", "library/alpine")
        nested = Repository("docker.io", "library/alpine/more")
        self.write(ENTRY)
        self.write(OTHER, repository=quay)
        self.assertEqual(self.read(), ENTRY)
        self.assertEqual(self.read(repository=quay), OTHER)
        self.assertIsNone(self.read(repository=nested))

    def test_the_tags_of_a_repository_are_listed_in_order(self) -> None:
        for name in ("b", "a.json", "A", "1.0"):
            self.write(ENTRY, Tag(name))
        self.write(ENTRY, repository=Repository("docker.io", "library/alpine/more"))
        listed = self.run_now(self.store.list_tags(ALPINE))
        self.assertEqual(listed, ["1.0", "A", "a.json", "b"])
        self.assertEqual(self.run_now(self.store.list_tags(Repository("quay.io", "x"))), [])

    def test_the_longest_name_and_tag_fit(self) -> None:
        repository = Repository("registry.example.com:5000", "a" * 255)
        self.write(ENTRY, Tag("t" * 128), repository)
        self.assertEqual(self.read(Tag("t" * 128), repository), ENTRY)

    def test_a_full_disk_keeps_the_old_entry(self) -> None:
        self.write(ENTRY)
        self.disk.fail("pwritev", errno.ENOSPC)
        self.fails(self.store.write_tag(ALPINE, LATEST, OTHER), NoRoom)
        self.disk.mend()
        self.assertEqual(self.read(), ENTRY)
        self.assertEqual(self.store.usage().reserved, 0)
        self.assert_accounts_are_right()

    def test_tags_are_evicted_in_their_turn(self) -> None:
        self.write(ENTRY)
        self.clock.advance(60)
        self.store.set_limits(64 * KIB, 0)
        self.put_blob(some_bytes(64 * KIB))
        self.assertIsNone(self.read())
        self.assertEqual(
            [(e.kind, e.digest) for e in self.told("evict")],
            [("tag", "docker.io/library/alpine/_tags/latest.json")],
        )
        self.assert_accounts_are_right()


class ListingTests(StoreCase):
    listing = StoredListing(
        b'{"tags": []}', "application/json", '</v2/x?n=1>; rel="next"', MORNING, "artifactType"
    )

    def test_it_reads_back_also_after_a_restart(self) -> None:
        self.run_now(self.store.write_listing(ALPINE, "tags?n=1", self.listing))
        for _ in range(2):
            found = self.run_now(self.store.read_listing(ALPINE, "tags?n=1"))
            self.assertEqual(found, self.listing)
            self.assertIsNone(self.run_now(self.store.read_listing(ALPINE, "tags?n=2")))
            self.reopened()
        self.assert_accounts_are_right()

    def test_one_that_rotted_is_a_miss_and_goes(self) -> None:
        self.run_now(self.store.write_listing(ALPINE, "tags", self.listing))
        folder = os.path.join(self.folder, "v1/tags/docker.io/library/alpine/_listings")
        (name,) = os.listdir(folder)
        with open(os.path.join(folder, name), "r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"!")
        self.assertIsNone(self.run_now(self.store.read_listing(ALPINE, "tags")))
        self.assertFalse(os.path.exists(folder))
        self.assert_accounts_are_right()

    def test_listings_are_no_tags(self) -> None:
        self.run_now(self.store.write_listing(ALPINE, "tags", self.listing))
        self.assertEqual(self.run_now(self.store.list_tags(ALPINE)), [])


class ListingFormatTests(SynchronousTestCase):
    @settings(max_examples=100)
    @given(
        st.builds(
            StoredListing,
            body=st.binary(max_size=200),
            media_type=st.text(max_size=20),
            link=st.none() | st.text(max_size=20),
            fetched_at=st.floats(0, 1e10),
            filters=st.none() | st.text(max_size=20),
        ),
        st.data(),
    )
    def test_what_is_read_is_what_was_written_or_nothing(
        self, listing: StoredListing, data: st.DataObject
    ) -> None:
        written = listing_to_bytes(listing)
        self.assertEqual(listing_from_bytes(written), listing)
        cut = data.draw(st.integers(0, len(written) - 1))
        self.assertIn(listing_from_bytes(written[:cut]), (None, listing))

    @settings(max_examples=100)
    @given(st.binary(max_size=100))
    def test_any_bytes_can_be_read(self, junk: bytes) -> None:
        self.assertIsNone(listing_from_bytes(junk))
