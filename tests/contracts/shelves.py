"""What the cache relies on in a store: run on the fake of its tests and on the real one."""

from __future__ import annotations

from typing import Any

import attrs

from nodecache.cache.ports import Shelves
from nodecache.freshness import TagEntry
from nodecache.reference import Tag
from nodecache.store import StoredListing
from tests.fakes_cache import ALPINE, EPOCH, LATEST, QUAY, digest_of, image

IT = image("it")
ENTRY = TagEntry(str(IT.digest), IT.media_type, len(IT.body), EPOCH)
LISTING = StoredListing(b"{}", "application/json", '</x>; rel="next"', EPOCH, "artifactType")


class ShelvesContract:
    """Mixed into a test case that has ``shelves`` and ``now``."""

    shelves: Shelves
    now: Any
    assertEqual: Any
    assertIsNone: Any
    assertTrue: Any
    assertFalse: Any

    def test_a_manifest_comes_back_byte_for_byte(self) -> None:
        self.assertFalse(self.shelves.has_manifest(IT.digest))
        self.assertIsNone(self.now(self.shelves.read_manifest(IT.digest)))
        self.now(self.shelves.write_manifest(IT.stored))
        self.assertTrue(self.shelves.has_manifest(IT.digest))
        self.assertEqual(self.now(self.shelves.read_manifest(IT.digest)), IT.stored)
        self.shelves.touch_manifest(IT.digest)

    def test_touching_a_manifest_that_is_gone_is_no_trouble(self) -> None:
        self.shelves.touch_manifest(IT.digest)
        self.assertFalse(self.shelves.has_manifest(IT.digest))

    def test_a_manifest_is_no_blob(self) -> None:
        self.now(self.shelves.write_manifest(IT.stored))
        self.assertIsNone(self.shelves.blob_size(IT.digest))
        self.assertIsNone(self.now(self.shelves.open_blob(IT.digest)))

    def test_a_tag_comes_back_as_it_was_written_last(self) -> None:
        self.now(self.shelves.write_manifest(IT.stored))
        self.assertIsNone(self.now(self.shelves.read_tag(ALPINE, LATEST)))
        for checked_at in (EPOCH, EPOCH + 1):
            entry = attrs.evolve(ENTRY, checked_at=checked_at)
            self.now(self.shelves.write_tag(ALPINE, LATEST, entry))
            self.assertEqual(self.now(self.shelves.read_tag(ALPINE, LATEST)), entry)

    def test_a_tag_that_was_just_read_is_known(self) -> None:
        self.assertIsNone(self.shelves.known_tag(ALPINE, LATEST))
        self.now(self.shelves.write_manifest(IT.stored))
        self.now(self.shelves.write_tag(ALPINE, LATEST, ENTRY))
        self.now(self.shelves.read_tag(ALPINE, LATEST))
        self.assertEqual(self.shelves.known_tag(ALPINE, LATEST), ENTRY)
        self.assertIsNone(self.shelves.known_tag(QUAY, LATEST))

    def test_tags_are_kept_by_namespace_name_and_case(self) -> None:
        self.now(self.shelves.write_manifest(IT.stored))
        self.now(self.shelves.write_tag(ALPINE, LATEST, ENTRY))
        self.assertIsNone(self.now(self.shelves.read_tag(QUAY, LATEST)))
        self.assertIsNone(self.now(self.shelves.read_tag(ALPINE, Tag("Latest"))))

    def test_a_listing_comes_back_by_its_key(self) -> None:
        self.assertIsNone(self.now(self.shelves.read_listing(ALPINE, "tags n=1")))
        self.now(self.shelves.write_listing(ALPINE, "tags n=1", LISTING))
        self.assertEqual(self.now(self.shelves.read_listing(ALPINE, "tags n=1")), LISTING)
        self.assertIsNone(self.now(self.shelves.read_listing(ALPINE, "tags n=2")))
        self.assertIsNone(self.now(self.shelves.read_listing(QUAY, "tags n=1")))

    def test_a_blob_that_is_not_there_has_no_size(self) -> None:
        self.assertIsNone(self.shelves.blob_size(digest_of(b"none")))
        self.assertIsNone(self.now(self.shelves.open_blob(digest_of(b"none"))))
