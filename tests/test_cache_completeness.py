from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from nodecache.cache.completeness import candidates
from nodecache.cache.descriptors import Blob, Child, Named, clean_media_type, named
from nodecache.cache.hints import SizeHints
from nodecache.cache.policy import Platform
from nodecache.events import Source
from nodecache.failures import BlobsMissing, UpstreamFailure, UpstreamKind
from nodecache.reference import Digest
from tests.fakes_cache import (
    ALPINE,
    FULL,
    LATEST,
    CacheTestCase,
    FakeFlight,
    Manifest,
    digest_of,
    image,
    index,
)

OURS = image("ours", b"layer")
OTHER = image("other", b"other layer")
BOTH = index((OTHER, "arm64"), (OURS, "amd64"))
DOWN = UpstreamFailure(UpstreamKind.DOWN, "failed a moment ago")
HEX = "0123456789abcdef" * 4
A = Digest("sha256", HEX)
AMD64 = Platform("linux", "amd64")


class IncompleteImageTests(CacheTestCase):
    """A manifest is not handed out when its blobs can not be had."""

    def setUp(self) -> None:
        super().setUp()
        self.hub.has(ALPINE, LATEST, BOTH, OURS, OTHER)
        self.store.fill_with(BOTH, OURS)
        self.have(b"ours", b"layer")
        self.now(self.manifest())

    def have(self, *blobs: bytes) -> None:
        self.store.blobs.update({digest_of(blob): blob for blob in blobs})

    def lack(self, *blobs: bytes) -> None:
        for blob in blobs:
            self.store.blobs.pop(digest_of(blob), None)

    def lack_manifest(self, manifest: Manifest) -> None:
        self.store.manifests.pop(manifest.digest, None)
        self.cache = self.make_cache()

    def while_down(self, *, tag: bool = True, head: bool = False) -> Any:
        self.hub.remembered = DOWN
        return self.manifest(LATEST if tag else OURS.digest, head=head)

    def test_while_upstream_answers_missing_blobs_do_not_matter(self) -> None:
        self.lack(b"ours", b"layer")
        self.assertEqual(self.now(self.manifest()).body, BOTH.body)
        self.assertEqual(self.now(self.manifest(OURS.digest)).body, OURS.body)

    def test_a_complete_one_is_handed_out_while_upstream_is_down(self) -> None:
        self.assertEqual(self.now(self.while_down()).source, Source.DISK)
        self.assertEqual(self.now(self.while_down(tag=False)).source, Source.DISK)
        self.clock.advance(self.tag_ttl)
        self.assertEqual(self.now(self.while_down()).source, Source.STALE)

    def test_one_whose_layer_or_config_is_gone_is_not(self) -> None:
        for gone in (b"layer", b"ours"):
            for tag in (True, False):
                for head in (True, False):
                    with self.subTest(gone, tag=tag, head=head):
                        self.have(b"ours", b"layer")
                        self.lack(gone)
                        self.refused(self.while_down(tag=tag, head=head), BlobsMissing)

    def test_neither_is_it_handed_out_stale(self) -> None:
        self.lack(b"layer")
        self.clock.advance(self.tag_ttl)
        for failure in (
            DOWN,
            UpstreamFailure(UpstreamKind.NOT_FOUND, "no", status=404),
            UpstreamFailure(UpstreamKind.DENIED, "no", status=403),
            UpstreamFailure(UpstreamKind.WRONG, "a page of HTML"),
        ):
            with self.subTest(failure.kind):
                self.cache = self.make_cache()
                self.hub.failures["HEAD"] = failure
                self.refused(self.manifest(), BlobsMissing)

    def test_nor_offline(self) -> None:
        self.lack(b"layer")
        self.go_offline()
        self.refused(self.manifest(), BlobsMissing)
        self.refused(self.manifest(OURS.digest), BlobsMissing)

    def test_a_blob_in_flight_counts_as_there(self) -> None:
        self.lack(b"layer")
        digest = digest_of(b"layer")
        self.fills.flights[digest] = FakeFlight(self.fills, digest)
        self.assertEqual(self.now(self.while_down()).source, Source.DISK)

    def test_a_limit_on_manifests_lets_blobs_pass(self) -> None:
        self.lack(b"layer")
        self.clock.advance(self.tag_ttl)
        self.hub.failures["HEAD"] = UpstreamFailure(UpstreamKind.LIMITED, "limit", status=429)
        self.assertEqual(self.now(self.manifest()).source, Source.STALE)
        self.lack_manifest(OURS)
        self.refused(self.manifest(), BlobsMissing)

    def test_an_index_needs_the_manifest_of_this_machine(self) -> None:
        self.store.fill_with(OTHER)
        self.have(b"other", b"other layer")
        self.lack_manifest(OURS)
        self.refused(self.while_down(), BlobsMissing)

    def test_other_machines_do_not_matter(self) -> None:
        self.lack_manifest(OTHER)
        self.assertEqual(self.now(self.while_down()).body, BOTH.body)

    def test_an_index_for_other_machines_needs_any_of_them(self) -> None:
        foreign = index((OURS, "s390x"), (OTHER, "arm64"))
        self.store.fill_with(foreign)
        self.hub.remembered = DOWN
        self.assertEqual(self.now(self.manifest(foreign.digest)).body, foreign.body)
        self.lack(b"layer")
        self.refused(self.manifest(foreign.digest), BlobsMissing)

    def test_an_index_of_indexes_is_looked_through(self) -> None:
        outer = index((BOTH, "amd64"))
        self.store.fill_with(outer)
        self.hub.remembered = DOWN
        self.assertEqual(self.now(self.manifest(outer.digest)).body, outer.body)
        self.lack(b"layer")
        self.refused(self.manifest(outer.digest), BlobsMissing)

    def test_indexes_without_end_are_not_followed(self) -> None:
        deep = OURS
        for _ in range(6):
            deep = index((deep, "amd64"))
            self.store.fill_with(deep)
        self.hub.remembered = DOWN
        self.refused(self.manifest(deep.digest), BlobsMissing)

    def test_one_with_digests_that_are_not_served_is_not(self) -> None:
        config = {"digest": str(digest_of(b"ours"))}
        layer = {"digest": "sha512:" + HEX * 2}
        mixed = Manifest(json.dumps({"config": config, "layers": [layer]}).encode())
        self.store.fill_with(mixed)
        self.assertEqual(self.now(self.manifest(mixed.digest)).body, mixed.body)
        self.hub.remembered = DOWN
        self.refused(self.manifest(mixed.digest), BlobsMissing)

    def test_what_names_nothing_is_handed_out(self) -> None:
        unknown = Manifest(b'{"mediaType":"some/thing","subject":{}}', "some/thing")
        self.store.fill_with(unknown)
        self.hub.remembered = DOWN
        self.assertEqual(self.now(self.manifest(unknown.digest)).body, unknown.body)

    def test_an_older_one_that_is_complete_is_served_instead(self) -> None:
        old = image("old")
        self.store.fill_with(old)
        self.have(b"old")
        self.hub.has(ALPINE, LATEST, old)
        self.clock.advance(self.tag_ttl)
        self.now(self.manifest())
        self.clock.advance(self.tag_ttl)
        # The new one is in memory alone, and its blobs are nowhere.
        self.hub.has(ALPINE, LATEST, image("new", b"new layer"))
        self.store.broken["write_manifest"] = FULL
        self.now(self.manifest())
        result = self.now(self.while_down())
        self.assertEqual((result.body, result.source), (old.body, Source.STALE))


class DescriptorTests(SynchronousTestCase):
    """What manifests of every kind name."""

    def read(self, manifest: object) -> Named:
        return named(json.dumps(manifest).encode())

    def test_an_image_names_its_config_and_layers(self) -> None:
        found = self.read(
            {
                "config": {"digest": f"sha256:{HEX}", "size": 7},
                "layers": [{"digest": f"sha256:{HEX[::-1]}", "size": 9}],
            }
        )
        self.assertEqual(found.blobs, (Blob(A, 7), Blob(Digest("sha256", HEX[::-1]), 9)))

    def test_an_artifact_names_its_blobs(self) -> None:
        found = self.read({"blobs": [{"digest": f"sha256:{HEX}", "size": 7}]})
        self.assertEqual(found.blobs, (Blob(A, 7),))

    def test_a_schema_1_image_names_its_layers_without_sizes(self) -> None:
        found = self.read({"schemaVersion": 1, "fsLayers": [{"blobSum": f"sha256:{HEX}"}]})
        self.assertEqual(found.blobs, (Blob(A, None),))

    def test_a_layer_with_links_of_its_own_is_not_asked_here(self) -> None:
        layer = {"digest": f"sha256:{HEX}", "size": 7, "urls": ["https://elsewhere.example"]}
        self.assertEqual(self.read({"layers": [layer]}), Named())

    def test_an_index_names_its_children_and_their_platforms(self) -> None:
        found = self.read(
            {
                "manifests": [
                    {"digest": f"sha256:{HEX}", "platform": {"os": "linux", "architecture": "arm"}},
                    {"digest": f"sha256:{HEX}"},
                ]
            }
        )
        self.assertEqual(found.children, (Child(A, "linux", "arm"), Child(A)))

    def test_what_it_calls_itself_is_told(self) -> None:
        self.assertEqual(self.read({"mediaType": "a/b"}).media_type, "a/b")
        self.assertEqual(self.read({"mediaType": 7}).media_type, "")

    def test_junk_names_nothing(self) -> None:
        for junk in (b"", b"[]", b"7", b"<html>", b"\xff\xfe", b"[" * 100_000, b'{"layers":7}'):
            with self.subTest(junk[:20]):
                self.assertEqual(named(junk), Named())
        shapes: list[object] = [{"layers": [7, None]}, {"config": []}, {"manifests": {"a": 1}}]
        for manifest in shapes:
            with self.subTest(manifest):
                self.assertEqual(self.read(manifest), Named())

    def test_sizes_that_are_none_are_not_told(self) -> None:
        for size in (-1, 1.5, "7", True, None):
            with self.subTest(size):
                layer = {"digest": f"sha256:{HEX}", "size": size}
                self.assertEqual(self.read({"layers": [layer]}).blobs, (Blob(A, None),))

    def test_digests_that_are_not_served_make_it_unservable(self) -> None:
        other = {"digest": "sha512:" + HEX + HEX}
        ours = {"digest": f"sha256:{HEX}"}
        self.assertTrue(self.read({"layers": [other]}).unservable)
        self.assertTrue(self.read({"layers": [ours], "config": {}}).unservable)
        self.assertTrue(self.read({"manifests": [other]}).unservable)
        self.assertFalse(self.read({"manifests": [other, ours]}).unservable)
        self.assertFalse(self.read({"layers": [ours]}).unservable)

    def test_media_types_are_cleaned_of_spaces_and_of_what_is_none(self) -> None:
        self.assertEqual(clean_media_type("a/b; c=d"), "a/b;c=d")
        self.assertEqual(clean_media_type("a/b\r\nX: y"), "a/bX:y")
        for text in ("", " ", "ä/b", "a" * 256, "a\x00b"):
            with self.subTest(text):
                self.assertEqual(clean_media_type(text), "")


class PlatformTests(SynchronousTestCase):
    def test_machines_are_named_as_indexes_name_them(self) -> None:
        for machine, architecture in (
            ("x86_64", "amd64"),
            ("aarch64", "arm64"),
            ("armv7l", "arm"),
            ("s390x", "s390x"),
            ("riscv64", "riscv64"),
        ):
            with self.subTest(machine):
                self.assertEqual(Platform.of_machine(machine), Platform("linux", architecture))

    def test_every_variant_of_the_platform_is_a_candidate(self) -> None:
        ours = (Child(A, "linux", "amd64"), Child(A, "linux", "amd64"))
        others = (Child(A, "windows", "amd64"), Child(A, "linux", "arm64"), Child(A))
        self.assertEqual(candidates(ours + others, AMD64), ours)

    def test_without_any_all_are(self) -> None:
        others = (Child(A, "windows", "amd64"), Child(A))
        self.assertEqual(candidates(others, AMD64), others)


class SizeHintTests(SynchronousTestCase):
    def test_the_latest_are_kept(self) -> None:
        hints = SizeHints(most=2)
        digests = [digest_of(bytes([number])) for number in range(3)]
        for number, digest in enumerate(digests):
            hints.learn(digest, number)
        self.assertEqual([hints.get(digest) for digest in digests], [None, 1, 2])
        self.assertEqual(len(hints), 2)

    def test_a_manifest_teaches_what_it_says(self) -> None:
        hints = SizeHints()
        hints.learn_from(Named(blobs=(Blob(A, 7), Blob(digest_of(b""), None))))
        self.assertEqual((hints.get(A), hints.get(digest_of(b""))), (7, None))
