"""The cache over everything real but the Hub, which is a double on loopback."""

from __future__ import annotations

import shutil
import tempfile
import time
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from nodecache.cache import Cache, Platform, Policy
from nodecache.config import UpstreamSettings
from nodecache.events import Source
from nodecache.failures import BlobsMissing, UpstreamFailure, UpstreamKind
from nodecache.fill import Fills
from nodecache.limits import MIB, Timeouts
from nodecache.reference import Digest, Repository, Tag
from nodecache.rules import NameRules
from nodecache.seams import BlobSource
from nodecache.store import Store
from tests.fakes_disk import InlinePool
from tests.fakes_http import Change, answer, black_hole, hang_up, html, no_digest, no_length
from tests.upstream_kit import APP, UpstreamCase

REPOSITORY = Repository("docker.io", APP)
ONE = Tag("1")


class CacheCase(UpstreamCase):
    timeouts = Timeouts(answer=3.0)

    def setUp(self) -> None:
        super().setUp()
        self.later = 0.0
        self.folder = tempfile.mkdtemp(prefix="cache-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.parts: list[Any] = []
        self.addCleanup(lambda: Deferred.fromCoroutine(self.close_parts()))

    def wall(self) -> float:
        return time.time() + self.later

    async def node(self) -> Cache:
        """A node started on the folder; the one before is stopped."""
        await self.close_parts()
        pool = InlinePool()
        clock: Any = reactor
        observe = self.events.append
        store = await Store.open(
            self.folder, pool, clock, self.wall, observe, cap=64 * MIB, floor=0
        )
        upstreams = self.upstreams(UpstreamSettings("docker.io", self.hub.url))

        def source(repository: Repository, digest: Digest) -> BlobSource:
            return upstreams.get(repository.namespace).blob_source(repository.name, digest)

        fills = Fills(store, pool, source, clock, observe, self.limits, self.timeouts)
        policy = Policy({"docker.io": NameRules()}, 60.0, False, Platform("linux", "amd64"))
        cache = Cache(
            store,
            fills,
            upstreams,
            policy,
            clock=clock,
            wall=self.wall,
            observe=observe,
            limits=self.limits,
            timeouts=self.timeouts,
        )
        self.parts = [upstreams.close, fills.stop, store.close]
        return cache

    async def close_parts(self) -> None:
        parts, self.parts = self.parts, []
        for close in parts:
            await close()

    def spent(self) -> tuple[int, int]:
        """Manifest requests that the registry granted, by HEAD and by GET, since the last time."""
        seen = self.hub.registry.seen(kind="manifest", status=200)
        self.hub.registry.requests.clear()
        methods = [each.method for each in seen]
        return methods.count("HEAD"), methods.count("GET")

    async def pull(self, cache: Cache, reference: Tag | Digest = ONE) -> Any:
        """The manifest, and every blob of the image, read to the end."""
        result = await cache.manifest(REPOSITORY, reference, head=False)
        for digest in (self.image.config, *self.image.layers):
            await self.read(cache, Digest.parse(digest))
        return result

    async def read(self, cache: Cache, digest: Digest) -> tuple[int, Source]:
        """Wait for the whole blob; its size and where it came from."""
        result: Any = await cache.blob(REPOSITORY, digest, whole=True)
        reader, at = result.readable, 0
        while reader.total is None or at < reader.total:
            at += reader.available(at, held_back=True)
            if reader.total is None or at < reader.total:
                await reader.wait(at, held_back=True)
        reader.close()
        return at, result.source


class PullTests(CacheCase):
    async def test_a_cold_pull_costs_one_head_and_one_get_and_a_warm_one_nothing(self) -> None:
        cache = await self.node()
        head = await cache.manifest(REPOSITORY, ONE, head=True)
        result = await self.pull(cache)
        self.assertEqual(head.digest, self.digest)
        self.assertEqual(
            (result.body, result.media_type),
            (self.image.manifest.body, self.image.manifest.media_type),
        )
        self.assertEqual(self.spent(), (1, 1))
        result = await self.pull(await self.node())
        self.assertEqual((result.digest, result.source), (self.digest, Source.DISK))
        self.assertEqual(self.hub.requests[-1].site, "cdn", "nothing since the blobs")

    async def test_an_old_tag_costs_a_head_and_a_new_digest_a_get(self) -> None:
        cache = await self.node()
        await self.pull(cache)
        self.spent()
        self.later += 61
        await self.pull(cache)
        self.assertEqual(self.spent(), (1, 0))
        newer = self.hub.add_image(APP, "1", [b"another layer"])
        self.later += 61
        result = await cache.manifest(REPOSITORY, ONE, head=False)
        self.assertEqual(str(result.digest), newer.digest)
        self.assertEqual(self.spent(), (1, 1))

    async def test_a_hub_that_tells_no_digest_and_no_length_works(self) -> None:
        self.hub.registry.fault(no_digest, no_length)
        cache = await self.node()
        head = await cache.manifest(REPOSITORY, ONE, head=True)
        self.assertEqual(
            (head.digest, head.size, head.media_type),
            (self.digest, len(self.image.manifest.body), self.image.manifest.media_type),
        )
        self.assertEqual((await self.pull(cache)).digest, self.digest)

    async def test_twenty_clients_cost_as_much_as_one(self) -> None:
        big = Digest.parse(self.hub.add_pattern(APP, 3 * MIB))
        cache = await self.node()
        clients = [Deferred.fromCoroutine(self.pull(cache)) for _ in range(20)]
        await gatherResults(clients)
        self.assertEqual(self.spent(), (1, 1))
        readers = [Deferred.fromCoroutine(self.read(cache, big)) for _ in range(20)]
        self.assertEqual({size for size, _ in await gatherResults(readers)}, {3 * MIB})
        self.assertEqual(sum(seen.sent for seen in self.hub.cdn.seen(reference=str(big))), 3 * MIB)

    async def test_the_size_of_a_cold_blob_costs_no_download(self) -> None:
        big = Digest.parse(self.hub.add_pattern(APP, 3 * MIB))
        cache = await self.node()
        head = await cache.blob_head(REPOSITORY, big)
        self.assertEqual((head.size, head.source), (3 * MIB, Source.FILL))
        self.assertLessEqual(self.hub.cdn.sent, 1)

    async def test_pages_of_tags_lead_on_through_this_mirror(self) -> None:
        for tag in ("2", "3"):
            self.hub.add_manifest(APP, tag, self.image.manifest.body)
        cache = await self.node()
        page = await cache.tags(REPOSITORY, 2, None)
        self.assertIn(b'["1", "2"]', page.body)
        self.assertEqual(page.link, f'</v2/{APP}/tags/list?n=2&last=2&ns=docker.io>; rel="next"')
        page = await cache.tags(REPOSITORY, 2, "2")
        self.assertIn(b'["3"]', page.body)
        self.assertIsNone(page.link)

    async def test_referrers_pass_and_their_absence_too(self) -> None:
        cache = await self.node()
        with self.assertRaises(UpstreamFailure) as caught:
            await cache.referrers(REPOSITORY, self.digest, None)
        self.assertIs(caught.exception.kind, UpstreamKind.NOT_FOUND)
        other = Digest("sha256", "5" * 64)
        self.hub.add_referrers(APP, str(other), b'{"manifests":[]}')
        result = await cache.referrers(REPOSITORY, other, None)
        self.assertEqual(result.body, b'{"manifests":[]}')


class FailingHubTests(CacheCase):
    async def fails_stale(self, change: Change) -> None:
        """With what was pulled on disk, a node serves it with a warning while the Hub fails."""
        await self.pull(await self.node())
        fault = self.hub.registry.fault(change, kind="manifest")
        for head in (True, False):
            cache = await self.node()
            self.later += 61
            result = await cache.manifest(REPOSITORY, ONE, head=head)
            self.assertEqual((result.digest, result.source), (self.digest, Source.STALE))
            self.assertTrue(result.warning)
        self.assertGreater(fault.used, 0)

    async def test_404_serves_the_old_image(self) -> None:
        await self.fails_stale(answer(404))

    async def test_401_serves_the_old_image(self) -> None:
        await self.fails_stale(answer(401))

    async def test_403_html_serves_the_old_image(self) -> None:
        await self.fails_stale(html(403))

    async def test_429_serves_the_old_image(self) -> None:
        await self.fails_stale(answer(429, b"toomanyrequests"))

    async def test_500_serves_the_old_image(self) -> None:
        await self.fails_stale(answer(500))

    async def test_503_serves_the_old_image(self) -> None:
        await self.fails_stale(answer(503, b"<html>", "text/html"))

    async def test_200_html_serves_the_old_image(self) -> None:
        await self.fails_stale(html())

    async def test_broken_connection_serves_the_old_image(self) -> None:
        await self.fails_stale(hang_up)

    async def test_silence_serves_the_old_image(self) -> None:
        await self.pull(await self.node())
        self.timeouts = attrs.evolve(self.timeouts, answer=0.3)
        await self.fails_stale(black_hole)

    async def test_an_image_deleted_upstream_stays(self) -> None:
        cache = await self.node()
        await self.pull(cache)
        self.hub.remove(APP)
        self.later += 61
        self.assertEqual((await self.pull(cache)).source, Source.STALE)
        self.assertEqual((await self.pull(cache, self.digest)).source, Source.DISK)

    async def test_over_the_limit_the_old_image_is_served(self) -> None:
        self.hub.pull_limit = 1
        cache = await self.node()
        await self.pull(cache)
        self.hub.add_image(APP, "1", [b"another layer"])
        self.later += 61
        result = await self.pull(cache)
        self.assertEqual((result.digest, result.source), (self.digest, Source.STALE))

    async def test_a_hub_that_is_gone_is_found_out_once(self) -> None:
        cache = await self.node()
        await self.pull(cache)
        await self.hub.stop()
        self.later += 61
        for _ in range(3):
            self.assertEqual((await self.pull(cache)).source, Source.STALE)
        with self.assertRaises(UpstreamFailure):
            await self.read(cache, Digest("sha256", "a" * 64))

    async def test_an_image_whose_layer_is_gone_is_not_handed_out(self) -> None:
        """User report: the runtime takes the manifest here and then fails on the blob."""
        cache = await self.node()
        await cache.manifest(REPOSITORY, ONE, head=False)
        await self.read(cache, Digest.parse(self.image.config))
        await self.hub.stop()
        self.later += 61
        for _ in range(2):
            with self.assertRaises(BlobsMissing):
                await cache.manifest(REPOSITORY, ONE, head=False)

    async def test_an_index_that_is_pulled_whole_is_served_without_the_hub(self) -> None:
        other = self.hub.add_image(APP, None, [b"of another machine"], platform="arm64")
        index = self.hub.add_index(APP, "multi", {"arm64": other, "amd64": self.image})
        cache = await self.node()
        await cache.manifest(REPOSITORY, Tag("multi"), head=False)
        await self.pull(cache, self.digest)
        await self.hub.stop()
        self.later += 61
        result = await (await self.node()).manifest(REPOSITORY, Tag("multi"), head=False)
        self.assertEqual(
            (result.body, result.media_type, result.source),
            (index.body, index.media_type, Source.STALE),
        )
