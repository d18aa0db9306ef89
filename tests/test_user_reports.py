"""What users of other pull-through caches reported, each caused on a whole node.

The numbers are only an order. Each test stands for a family; its other members
are with the room whose business they are.
"""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults
from twisted.web.client import Agent

from nodecache.config import SizeSetting
from nodecache.events import CorruptionFound, PassedThrough, ServedStale
from nodecache.limits import Timeouts
from tests.fakes_client import fetch, until
from tests.fakes_http import (
    Gate,
    answer,
    black_hole,
    cut,
    gzipped,
    hold_at,
    html,
    no_length,
    no_range,
    without_header,
)
from tests.fakes_hub import DOCKER_LIST, DOCKER_MANIFEST, INDEX, MANIFEST
from tests.node_case import NodeCase, reactor

APP = "library/app"
SMALL = b"0123456789"
BIG = os.urandom(300_000)

#: Short enough for a test, long enough for a loaded machine.
HASTY = Timeouts(answer=3.0, silence=0.5, stall_total=2.0)


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def together(*tasks: Any) -> Deferred[Any]:
    return gatherResults([Deferred.fromCoroutine(task) for task in tasks], consumeErrors=True)


class PullThroughReports(NodeCase):
    async def test_01_a_range_of_an_uncached_blob_is_206_the_first_time_too(self) -> None:
        digest = self.hub.add_blob(APP, SMALL)
        await self.start()
        for _ in range(2):
            got = await self.blob(APP, digest, Range="bytes=2-5")
            assert (got.status, got.body) == (206, SMALL[2:6])
            assert got.header("Content-Range") == "bytes 2-5/10"
            await self.stored(1)

    async def test_02_a_blob_whose_file_is_gone_or_short_is_fetched_again(self) -> None:
        digest = self.hub.add_blob(APP, BIG)
        await self.start()
        assert (await self.blob(APP, digest)).body == BIG
        await self.stored(1)
        [file] = self.blob_files()
        for damage in (file.unlink, lambda: os.truncate(file, 0), lambda: os.truncate(file, 7)):
            damage()
            got = await self.blob(APP, digest)
            assert (got.status, got.body, got.broken) == (200, BIG, None)
            await self.stored(1)
        assert {event.digest for event in self.told(CorruptionFound)} == {digest}

    async def test_03_what_is_evicted_gives_its_bytes_back_to_the_disk(self) -> None:
        digests = [self.hub.add_blob(APP, BIG + bytes([n])) for n in range(3)]
        await self.start()
        for digest in digests:
            await self.blob(APP, digest)
        await self.stored(3)
        before = self.disk_bytes()
        self.node.reload(self.settings(max_size=SizeSetting(bytes=400_000)))
        await until(reactor, lambda: len(self.blob_files()) == 1)
        assert self.disk_bytes() < before / 2

    async def test_04_it_starts_and_serves_what_it_has_while_upstream_is_refused(self) -> None:
        image = self.hub.add_image(APP, "1", [BIG])
        await self.start()
        await self.pull_all(image.digest, image.config, *image.layers)
        await self.node.stop("restart")
        await self.hub.stop()
        await self.start(tag_ttl=0.0)
        got = await self.manifest(APP, "1")
        assert (got.status, got.body) == (200, image.manifest.body)
        assert got.header("Nodecache-Source") == "stale"
        assert (await self.blob(APP, image.layers[0])).body == BIG

    async def test_05_twenty_clients_of_a_cold_blob_are_one_fetch(self) -> None:
        digest = self.hub.add_blob(APP, BIG)
        gate = Gate()
        self.hub.cdn.fault(hold_at(100_000, gate))
        await self.start()
        pulls = together(*(self.blob(APP, digest) for _ in range(20)))
        await until(reactor, lambda: gate.waiting)
        gate.open()
        assert {got.body for got in await pulls} == {BIG}
        assert self.hub.cdn.count(method="GET") == 1

    async def test_06_a_cached_manifest_is_no_blob(self) -> None:
        image = self.hub.add_image(APP, "1", [SMALL])
        await self.start()
        assert (await self.manifest(APP, image.digest)).status == 200
        for method in ("HEAD", "GET"):
            assert (await self.blob(APP, image.digest, method)).status == 404

    async def test_07_a_cached_tag_survives_the_rate_limit(self) -> None:
        image = await self.pulled()
        limited = answer(429, b"You have reached your pull rate limit.", "text/plain")
        self.hub.registry.fault(limited)
        got = await self.manifest(APP, "1")
        assert (got.status, got.body) == (200, image.manifest.body)
        assert (got.header("Warning") or "").startswith("299 ")
        assert self.told(ServedStale)

    async def test_08_a_challenge_page_does_not_hide_what_is_cached(self) -> None:
        image = await self.pulled()
        self.hub.registry.fault(answer(403, b"<html>are you human?</html>", "text/html"))
        got = await self.manifest(APP, "1")
        assert (got.status, got.body) == (200, image.manifest.body)
        missing = await self.manifest("library/other", "1")
        assert missing.status == 404
        assert b'"MANIFEST_UNKNOWN"' in missing.body
        assert b"<html>" not in missing.body

    async def test_09_a_page_in_place_of_a_blob_is_never_handed_out_whole_nor_kept(self) -> None:
        digest = self.hub.add_blob(APP, BIG)
        self.hub.cdn.fault(html())
        await self.start()
        got = await self.blob(APP, digest)
        assert got.status == 404 or got.broken is not None
        assert self.blob_files() == []

    async def test_10_an_image_that_upstream_deleted_stays_served(self) -> None:
        image = await self.pulled()
        self.hub.remove(APP)
        got = await self.manifest(APP, "1")
        assert (got.status, got.body) == (200, image.manifest.body)
        assert (await self.blob(APP, image.layers[0])).body == BIG

    async def test_11_the_media_type_stays_with_the_bytes(self) -> None:
        image = self.hub.add_image(APP, None, [SMALL])
        kinds = {}
        for tag, media_type in (("oci", INDEX), ("docker", DOCKER_LIST)):
            self.hub.add_index(APP, tag, {"amd64": image}, media_type=media_type)
            kinds[tag] = media_type
        await self.start()
        for _ in range(2):
            for tag, media_type in kinds.items():
                got = await self.manifest(APP, tag, Accept=DOCKER_LIST)
                assert got.header("Content-Type") == media_type
        await self.restart()
        for tag, media_type in kinds.items():
            assert (await self.manifest(APP, tag)).header("Content-Type") == media_type

    async def test_12_upstream_is_always_asked_with_the_full_list_of_types(self) -> None:
        self.hub.add_image(APP, "1", [SMALL], media_type=DOCKER_MANIFEST)
        await self.start()
        got = await self.manifest(APP, "1", Accept=MANIFEST)
        assert (got.status, got.header("Content-Type")) == (200, DOCKER_MANIFEST)
        for seen in self.hub.registry.requests:
            if seen.kind == "manifest":
                accepted = seen.header("accept") or ""
                for media_type in (MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_LIST):
                    assert media_type in accepted

    async def test_13_a_cut_blob_is_resumed_and_a_200_is_never_taken_for_the_tail(self) -> None:
        digest = self.hub.add_blob(APP, BIG)
        self.hub.cdn.fault(cut(5), times=1)
        self.hub.cdn.fault(no_range)
        await self.start()
        got = await self.blob(APP, digest)
        assert (got.body, got.broken) == (BIG, None)
        assert self.hub.cdn.count(method="GET") == 2

    async def test_14_headers_go_out_with_upstreams_and_the_fill_outlives_its_client(self) -> None:
        digest = self.hub.add_blob(APP, BIG)
        gate = Gate()
        self.hub.cdn.fault(hold_at(10, gate))
        await self.start()
        response: Any = await Agent(reactor).request(
            b"GET", self.url(f"/v2/{APP}/blobs/{digest}").encode()
        )
        assert (response.code, response.length) == (200, len(BIG))  # the gate is still shut
        response._transport.loseConnection()
        gate.open()
        await self.stored(1)
        assert (await self.blob(APP, digest)).header("Nodecache-Source") == "disk"

    @pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tmpfs needs root")
    async def test_15_a_full_disk_truncates_nobodys_layer(self) -> None:
        size = 8 << 20
        digest = self.hub.add_pattern(APP, size)
        self.data_dir.mkdir()
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(self.data_dir)], check=True
        )
        self.addCleanup(lambda: subprocess.run(["umount", "-l", str(self.data_dir)], check=True))
        await self.start()
        for change in (None, no_length):  # no room from the start, and room that ends
            if change is not None:
                self.hub.cdn.fault(change)
            got = await self.blob(APP, digest)
            assert (sha256(got.body), got.broken) == (digest, None)
            await until(reactor, lambda: not self.filling())
        assert self.told(PassedThrough)
        assert self.blob_files() == []

    async def test_16_a_head_without_a_digest_and_an_upstream_fond_of_gzip(self) -> None:
        image = self.hub.add_image(APP, "1", [BIG])
        self.hub.registry.fault(without_header("Docker-Content-Digest"))
        await self.start()
        assert (await self.manifest(APP, "1", "HEAD")).header("Docker-Content-Digest") == (
            image.digest
        )
        assert (await self.manifest(APP, "1")).body == image.manifest.body
        got = await self.blob(APP, image.layers[0], Accept_Encoding="gzip, zstd")
        assert (got.body, got.header("Content-Encoding")) == (BIG, None)
        for seen in self.hub.requests:
            assert "gzip" not in (seen.header("accept-encoding") or "")

    async def test_16_a_body_that_is_encoded_all_the_same_is_not_taken_for_the_blob(self) -> None:
        digest = self.hub.add_blob(APP, bytes(300_000))
        self.hub.cdn.fault(gzipped)
        await self.start()
        got = await self.blob(APP, digest)
        assert got.status == 404 or got.broken is not None
        assert self.blob_files() == []

    async def test_17_a_silent_upstream_costs_the_deadline_and_then_the_cache_answers(self) -> None:
        image = await self.pulled(timeouts=HASTY)
        self.hub.registry.fault(black_hole)
        got = await self.manifest(APP, "1")
        assert (got.status, got.body) == (200, image.manifest.body)
        asked = self.hub.registry.count()
        again = await self.manifest(APP, "1")  # found out once
        assert again.status == 200
        assert self.hub.registry.count(kind="manifest") <= asked

    async def test_18_a_range_from_the_start_is_206_on_blobs_and_manifests(self) -> None:
        image = self.hub.add_image(APP, "1", [BIG])
        await self.start()
        for _ in range(2):
            got = await self.blob(APP, image.layers[0], Range="bytes=0-")
            assert (got.status, got.body) == (206, BIG)
            assert got.header("Content-Range") == f"bytes 0-{len(BIG) - 1}/{len(BIG)}"
            got = await self.manifest(APP, "1", Range="bytes=0-")
            size = len(image.manifest.body)
            assert (got.status, got.body) == (206, image.manifest.body)
            assert got.header("Content-Range") == f"bytes 0-{size - 1}/{size}"

    async def test_19_one_accept_line_for_each_type_is_understood(self) -> None:
        image = self.hub.add_image(APP, "1", [SMALL])
        lines = [
            "application/vnd.docker.distribution.manifest.v1+json",
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            DOCKER_LIST,
            DOCKER_MANIFEST,
            INDEX,
            MANIFEST,
        ]
        await self.start()
        got = await fetch(reactor, self.url(f"/v2/{APP}/manifests/1"), headers={"Accept": lines})
        assert (got.status, got.body) == (200, image.manifest.body)

    async def test_20_chunked_blobs_and_manifests_are_taken(self) -> None:
        image = self.hub.add_image(APP, "1", [BIG])
        self.hub.registry.fault(no_length)
        self.hub.cdn.fault(no_length)
        await self.start()
        assert (await self.manifest(APP, "1")).body == image.manifest.body
        got = await self.blob(APP, image.layers[0])
        assert (got.body, got.broken) == (BIG, None)
        assert got.length == len(BIG)  # the manifest named it

    async def test_21_credentials_stay_where_they_belong(self) -> None:
        """The mirror never challenges, and forwards no Authorization."""
        image = self.hub.add_image(APP, "1", [BIG])
        await self.start()
        for path in ("/v2/", f"/v2/{APP}/manifests/1", f"/v2/{APP}/blobs/{image.layers[0]}"):
            got = await self.get(path, Authorization="Basic c2VjcmV0OnNlY3JldA==")
            assert got.status == 200
            assert got.header("WWW-Authenticate") is None
        for seen in self.hub.requests:
            assert "c2VjcmV0" not in (seen.header("authorization") or "")

    async def test_21_a_realm_of_a_stranger_is_never_dialled(self) -> None:
        with socket.create_server(("127.0.0.2", 0)) as stranger:
            stranger.setblocking(False)
            self.hub.realm = f"http://127.0.0.2:{stranger.getsockname()[1]}/token"
            self.hub.add_image(APP, "1", [BIG])
            await self.start()
            assert (await self.manifest(APP, "1")).status >= 400
            with pytest.raises(BlockingIOError):
                stranger.accept()

    async def test_22_authorization_is_dropped_on_the_way_to_the_cdn(self) -> None:
        """The CDN answers 400 to a request that carries it."""
        digest = self.hub.add_blob(APP, BIG)
        await self.start()
        assert (await self.blob(APP, digest)).body == BIG
        assert self.hub.cdn.requests
        assert {seen.header("authorization") for seen in self.hub.cdn.requests} == {None}

    async def test_23_a_manifest_whose_blobs_can_not_be_had_is_not_handed_out(self) -> None:
        image = await self.pulled()
        for file in self.blob_files():
            file.unlink()
        for digest in (image.config, *image.layers):  # the index learns that they are gone
            self.hub.registry.fault(answer(404), times=1, kind="blob")
            await self.blob(APP, digest)
        await self.hub.stop()
        first = await self.manifest(APP, "1")
        by_digest = await self.manifest(APP, image.digest)
        assert (first.status, by_digest.status) == (503, 503)

    async def test_24_a_head_stays_a_head_and_costs_no_counted_get(self) -> None:
        image = self.hub.add_image(APP, "1", [SMALL])
        await self.start(tag_ttl=0.0)
        for _ in range(3):
            got = await self.manifest(APP, "1", "HEAD")
            assert (got.status, got.header("Docker-Content-Digest")) == (200, image.digest)
        assert self.hub.registry.count(kind="manifest", method="GET") == 0
        assert (await self.manifest(APP, image.digest)).body == image.manifest.body
        assert (await self.manifest(APP, "1")).body == image.manifest.body
        assert self.hub.registry.count(kind="manifest", method="GET") == 1

    async def test_25_the_cap_holds_and_the_least_recently_used_goes(self) -> None:
        bodies = [bytes([n]) * 10 for n in range(4)]
        digests = [self.hub.add_blob(APP, body) for body in bodies]
        await self.start(max_size=SizeSetting(bytes=3 * 4096))
        for count, digest in enumerate(digests, 1):
            assert (await self.blob(APP, digest)).status == 200
            await until(reactor, lambda: not self.filling())
            assert len(self.blob_files()) <= min(count, 3)
            assert self.disk_bytes() <= 3 * 4096
        names = {file.name for file in self.blob_files()}
        assert names == {digest.partition(":")[2] for digest in digests[1:]}

    async def pulled(self, **settings: Any) -> Any:
        """An image that is in the cache, behind a tag that is asked again each time."""
        image = self.hub.add_image(APP, "1", [BIG])
        await self.start(tag_ttl=0.0, **settings)
        await self.pull_all(image.digest, image.config, *image.layers)
        return image

    async def pull_all(self, *digests: str) -> None:
        assert (await self.manifest(APP, "1")).status == 200
        for digest in digests[1:]:
            assert (await self.blob(APP, digest)).status == 200
        await self.stored(len(digests) - 1)
