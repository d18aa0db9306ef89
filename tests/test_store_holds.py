"""Pinned tags keep their image."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nodecache.freshness import TagEntry
from nodecache.limits import KIB, MIB
from nodecache.reference import Digest, Repository, Tag
from nodecache.store.holds import named_digests
from tests.store_case import StoreCase, digest_of, some_bytes

APP = Repository("docker.io", "library/app")
V1 = Tag("v1")


def named(digest: Digest) -> dict[str, object]:
    return {"digest": str(digest), "size": 1, "mediaType": "a/b"}


class NamedDigestsTests(SynchronousTestCase):
    def test_an_image_names_its_config_and_layers(self) -> None:
        config, first, second = (digest_of(b"%d" % number) for number in range(3))
        body = json.dumps({"config": named(config), "layers": [named(first), named(second)]})
        self.assertEqual(named_digests(body.encode()), [config, first, second])

    def test_an_index_names_its_manifests(self) -> None:
        child = digest_of(b"1")
        body = json.dumps({"manifests": [named(child), {"digest": "sha512:ab"}, 1, None]})
        self.assertEqual(named_digests(body.encode()), [child])

    def test_an_old_image_names_its_layers_by_blob_sum(self) -> None:
        layer = digest_of(b"1")
        body = json.dumps({"fsLayers": [{"blobSum": str(layer)}]})
        self.assertEqual(named_digests(body.encode()), [layer])

    @settings(max_examples=100)
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["config", "layers", "digest"]), inner)
            ),
            max_leaves=10,
        )
    )
    def test_any_json_can_be_read(self, document: object) -> None:
        self.assertEqual(named_digests(json.dumps(document).encode()), [])

    def test_what_is_no_json_names_nothing(self) -> None:
        for junk in (b"", b"{", b"\xff", b"[" * 100_000):
            self.assertEqual(named_digests(junk), [])


class PinTests(StoreCase):
    cap = 1 * MIB

    def put_image(self) -> tuple[Digest, Digest, Digest]:
        """An index of one image of one layer: (index, image, layer)."""
        layer = self.put_blob(some_bytes(200 * KIB, 1))
        image = self.put_manifest(json.dumps({"layers": [named(layer)]}).encode())
        index = self.put_manifest(json.dumps({"manifests": [named(image)]}).encode())
        return index, image, layer

    def write_tag(self, digest: Digest, *, pinned: bool) -> None:
        entry = TagEntry(str(digest), "application/json", 1, self.wall(), pinned=pinned)
        self.run_now(self.store.write_tag(APP, V1, entry))

    def crowd_out(self) -> None:
        """Use every byte that can be had."""
        self.put_blobs(20, 100 * KIB)

    def is_here(self, image: tuple[Digest, Digest, Digest]) -> bool:
        tag = self.run_now(self.store.read_tag(APP, V1))
        here = {
            tag is not None,
            self.store.has_manifest(image[0]),
            self.store.has_manifest(image[1]),
            self.store.blob_size(image[2]) is not None,
        }
        self.assertEqual(len(here), 1, "all or nothing")
        return here.pop()

    def test_an_image_that_is_not_pinned_goes(self) -> None:
        image = self.put_image()
        self.write_tag(image[0], pinned=False)
        self.crowd_out()
        self.assertFalse(self.is_here(image))

    def test_a_pinned_image_stays_with_all_that_it_names(self) -> None:
        image = self.put_image()
        self.write_tag(image[0], pinned=True)
        self.crowd_out()
        self.assertTrue(self.is_here(image))

    def test_a_pin_outlasts_a_restart(self) -> None:
        image = self.put_image()
        self.write_tag(image[0], pinned=True)
        self.reopened()
        self.crowd_out()
        self.assertTrue(self.is_here(image))

    def test_what_arrives_after_the_pin_is_kept_too(self) -> None:
        layer = digest_of(some_bytes(200 * KIB, 1))
        body = json.dumps({"layers": [named(layer)]}).encode()
        index = self.put_manifest(json.dumps({"manifests": [named(digest_of(body))]}).encode())
        self.write_tag(index, pinned=True)
        image = self.put_manifest(body)
        self.put_blob(some_bytes(200 * KIB, 1))
        self.crowd_out()
        self.assertTrue(self.is_here((index, image, layer)))

    def test_an_unpinned_image_goes(self) -> None:
        image = self.put_image()
        self.write_tag(image[0], pinned=True)
        self.write_tag(image[0], pinned=False)
        self.crowd_out()
        self.assertFalse(self.is_here(image))

    def test_a_dropped_tag_keeps_nothing(self) -> None:
        image = self.put_image()
        self.write_tag(image[0], pinned=True)
        self.run_now(self.store.drop_tag(APP, V1))
        self.crowd_out()
        self.assertFalse(self.is_here(image))

    def test_a_tag_that_moves_lets_its_old_image_go(self) -> None:
        image = self.put_image()
        self.write_tag(image[0], pinned=True)
        self.write_tag(self.put_manifest(b"{}"), pinned=True)
        self.crowd_out()
        self.assertIsNone(self.store.blob_size(image[2]))
        self.assertIsNotNone(self.run_now(self.store.read_tag(APP, V1)))

    def test_what_two_pins_share_stays_until_both_are_gone(self) -> None:
        image = self.put_image()
        self.write_tag(image[0], pinned=True)
        other = TagEntry(str(image[1]), "application/json", 1, self.wall(), pinned=True)
        self.run_now(self.store.write_tag(APP, Tag("other"), other))
        self.run_now(self.store.drop_tag(APP, V1))
        self.crowd_out()
        self.assertIsNotNone(self.store.blob_size(image[2]))
        self.run_now(self.store.drop_tag(APP, Tag("other")))
        self.crowd_out()
        self.assertIsNone(self.store.blob_size(image[2]))
