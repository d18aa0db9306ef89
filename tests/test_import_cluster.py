"""Imported tags stay on their node; peers get them when their own upstream has nothing to say."""

from __future__ import annotations

from tests.archive_kit import layout, made, name_of, tarred
from tests.cluster_case import ClusterCase
from tests.moving_case import run

IMAGE = made([b"imported", b"layer" * 1000])


class ImportClusterTests(ClusterCase):
    async def test_peers_get_an_imported_image_once_upstream_fails_and_not_before(self) -> None:
        pushed = self.hub.add_image("library/alpine", "3.20", [b"pushed"])
        one, two = await self.cluster(2)
        archive = tarred(layout((IMAGE, name_of("docker.io/library/alpine:3.20"))))
        ran = await run(one.data_dir, "import", "-", stdin=archive)
        self.assertEqual((ran.code, ran.err), (0, ""))
        got = await two.manifest("library/alpine", "3.20")
        self.assertEqual(got.header("docker-content-digest"), pushed.digest)
        got = await one.manifest("library/alpine", "3.20")
        self.assertEqual(got.header("docker-content-digest"), IMAGE.digest)

    async def test_an_image_that_upstream_has_not_got_is_had_from_the_node_that_imported_it(
        self,
    ) -> None:
        one, two = await self.cluster(2, offline=True)
        archive = tarred(layout((IMAGE, name_of("docker.io/library/alpine:3.20"))))
        ran = await run(one.data_dir, "import", "-", stdin=archive)
        self.assertEqual((ran.code, ran.err), (0, ""))
        got = await two.manifest("library/alpine", "3.20")
        self.assertEqual((got.status, got.body), (200, IMAGE.manifest))
        for digest, body in IMAGE.blobs.items():
            if digest != IMAGE.digest:
                blob = await two.blob("library/alpine", digest)
                self.assertEqual((blob.status, blob.body), (200, body))
        self.assertEqual(self.hub.requests, [])
