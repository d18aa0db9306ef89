"""Tags and listings of a whole node: fresh, asked for again, stale, offline."""

from __future__ import annotations

import json
import os
from typing import Any

import attrs
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from nodecache.events import Coalesced, ServedStale, TagResolved
from nodecache.limits import Timeouts
from tests.fakes_client import Got, until
from tests.fakes_http import (
    Bytes,
    Change,
    Gate,
    answer,
    black_hole,
    corrupt,
    cut,
    gzipped,
    hang_up,
    hold,
    html,
    raw,
    stall,
    truncated,
    with_headers,
)
from tests.fakes_hub import INDEX, Image, sha256
from tests.node_case import NodeCase, reactor

APP = "library/app"
LAYER = os.urandom(5_000)

#: Short enough for a test, long enough for a loaded machine.
HASTY = Timeouts(answer=3.0, silence=0.4, stall_total=1.0)
#: No failure is remembered.
FORGETFUL = attrs.evolve(HASTY, absent=0.0, absent_signature=0.0)


def together(*tasks: Any) -> Deferred[Any]:
    return gatherResults([Deferred.fromCoroutine(task) for task in tasks], consumeErrors=True)


def is_stale(got: Got) -> bool:
    warned = (got.header("Warning") or "").startswith('299 - "')
    return got.status == 200 and warned and got.header("Nodecache-Source") == "stale"


class TagCase(NodeCase):
    async def cached(self, **settings: Any) -> Image:
        """A whole image in the cache; its tag is looked up again at each request."""
        image = self.hub.add_image(APP, "1", [LAYER])
        await self.start(**{"tag_ttl": 0.0, "timeouts": HASTY, **settings})
        assert (await self.manifest(APP, "1")).status == 200
        for digest in (image.config, *image.layers):
            assert (await self.blob(APP, digest)).status == 200
        await self.stored(2)
        return image

    async def is_served_stale(self, image: Image) -> None:
        for method in ("GET", "HEAD"):
            got = await self.manifest(APP, "1", method)
            assert is_stale(got), (got.status, got.headers)
            assert got.header("Docker-Content-Digest") == image.digest
            assert got.header("Content-Type") == image.manifest.media_type
            length = got.length if method == "GET" else int(got.header("Content-Length") or -1)
            assert length == len(image.manifest.body)
            assert got.body == (image.manifest.body if method == "GET" else b"")
        event = self.told(ServedStale)[-1]
        assert (event.namespace, event.repository, event.reference) == ("docker.io", APP, "1")
        # What a client asks for next is there too.
        assert (await self.manifest(APP, image.digest)).status == 200
        assert (await self.blob(APP, image.layers[0])).body == LAYER


def _on_head(*changes: Change) -> Any:
    """The old image is served while upstream fails so, whatever is asked of it."""

    async def test(self: LookFails) -> None:
        image = await self.cached()
        self.hub.registry.fault(*changes)
        await self.is_served_stale(image)

    return test


class LookFails(TagCase):
    """The question for the tag's digest fails."""

    test_by_400 = _on_head(answer(400))
    test_by_401 = _on_head(answer(401))
    test_by_403_with_a_page = _on_head(html(403))
    test_by_404 = _on_head(answer(404))
    test_by_405_also_to_a_get = _on_head(answer(405))
    test_by_418 = _on_head(answer(418))
    test_by_429_with_a_time = _on_head(answer(429, Retry_After="30"))
    test_by_429_without_a_time = _on_head(answer(429))
    test_by_500 = _on_head(answer(500))
    test_by_503 = _on_head(answer(503, Retry_After="1"))
    test_by_200_with_a_page = _on_head(html())
    test_by_silence = _on_head(black_hole)
    test_by_a_closed_connection = _on_head(hang_up)
    test_by_what_is_no_http = _on_head(raw(b"SSH-2.0-OpenSSH_9.2\r\n"))
    test_by_a_redirect_to_nowhere = _on_head(answer(307))
    test_by_a_redirect_to_a_closed_port = _on_head(answer(307, Location="http://127.0.0.1:9/"))
    test_by_a_redirect_without_end = _on_head(
        answer(307, Location="/v2/library/app/manifests/1"),
    )
    test_by_a_challenge_of_an_unknown_kind = _on_head(answer(401, WWW_Authenticate="Negotiate"))
    test_by_a_realm_that_is_junk = _on_head(answer(401, WWW_Authenticate='Bearer realm="x"'))

    async def test_by_refused_connections(self) -> None:
        image = await self.cached()
        await self.hub.stop()
        await self.is_served_stale(image)


def _on_token(*changes: Change) -> Any:
    async def test(self: LoginFails) -> None:
        image = await self.cached()
        self.hub.expire_tokens()
        self.hub.tokens.fault(*changes)
        await self.is_served_stale(image)

    return test


class LoginFails(TagCase):
    """A new token is needed, and can not be had."""

    test_by_401 = _on_token(answer(401))
    test_by_429 = _on_token(answer(429))
    test_by_500 = _on_token(answer(500))
    test_by_a_page = _on_token(html())
    test_by_silence = _on_token(black_hole)
    test_by_a_closed_connection = _on_token(hang_up)
    test_by_half_a_token = _on_token(truncated(7))


def _on_get(*changes: Change) -> Any:
    """HEAD tells of a new image, whose manifest can not be had."""

    async def test(self: FetchFails) -> None:
        old = await self.cached()
        new = self.hub.add_image(APP, "1", [LAYER + b"new"])
        fault = self.hub.registry.fault(*changes, method="GET", kind="manifest")
        await self.is_served_stale(old)
        fault.lift()
        while (got := await self.manifest(APP, "1")).body != new.manifest.body:
            assert got.status == 200
            await deferLater(reactor, 0.02)

    return test


class FetchFails(TagCase):
    """The new manifest can not be fetched; once it can be, it is what the tag means."""

    async def cached(self, **settings: Any) -> Image:
        # Time for a disk that others keep busy: the new manifest is synced before it is given.
        hasty = attrs.evolve(
            HASTY, answer=5.0, absent=0.05, absent_signature=0.05, probe_first=0.05
        )
        return await super().cached(timeouts=hasty)

    test_by_404 = _on_get(answer(404))
    test_by_403 = _on_get(answer(403))
    test_by_500 = _on_get(answer(500))
    test_by_429 = _on_get(answer(429, Retry_After="1"))
    test_by_a_page = _on_get(html())
    test_by_wrong_bytes = _on_get(corrupt)
    test_by_a_body_that_is_cut = _on_get(cut(20))
    test_by_a_body_that_ends_early = _on_get(truncated(20))
    test_by_a_body_that_stalls = _on_get(stall(20))
    test_by_a_body_over_the_limit = _on_get(
        lambda plan: attrs.evolve(plan, body=Bytes(b"{" + b" " * 5_000_000))
    )


class Fresh(TagCase):
    async def test_a_zipped_manifest_is_read_or_the_old_one_served(self) -> None:
        old = await self.cached()
        new = self.hub.add_image(APP, "1", [LAYER + b"new"])
        self.hub.registry.fault(gzipped, method="GET", kind="manifest")
        got = await self.manifest(APP, "1")
        assert got.header("Content-Encoding") is None
        assert got.body in (old.manifest.body, new.manifest.body)
        assert sha256(got.body) == got.header("Docker-Content-Digest")

    async def test_within_its_time_a_tag_costs_nothing_and_then_one_head(self) -> None:
        image = await self.cached(tag_ttl=300.0)
        asked = self.hub.count()
        for _ in range(3):
            got = await self.manifest(APP, "1")
            assert (got.body, got.header("Nodecache-Source")) == (image.manifest.body, "disk")
            assert got.header("Warning") is None
        assert self.hub.count() == asked
        self.node.reload(self.settings(tag_ttl=0.0, timeouts=HASTY))
        assert (await self.manifest(APP, "1")).body == image.manifest.body
        assert self.hub.count() == asked + 1
        assert self.hub.registry.requests[-1].method == "HEAD"

    async def test_one_look_at_a_time_for_all_who_ask(self) -> None:
        old = await self.cached()
        new = self.hub.add_image(APP, "1", [LAYER + b"new"])
        gate = Gate()
        self.hub.registry.fault(hold(gate))
        heads = self.hub.registry.count(method="HEAD", kind="manifest")
        gets = self.hub.registry.count(method="GET", kind="manifest")
        answers = together(*(self.manifest(APP, "1") for _ in range(20)))
        await until(reactor, lambda: len(self.told(Coalesced)) >= 19)
        gate.open()
        assert {got.body for got in await answers} == {new.manifest.body}
        assert self.hub.registry.count(method="HEAD", kind="manifest") == heads + 1
        assert self.hub.registry.count(method="GET", kind="manifest") == gets + 1
        assert self.told(TagResolved)[-1].outcome == "changed"
        assert old.digest != new.digest

    async def test_an_old_image_stays_pullable_by_digest_once_its_tag_has_moved(self) -> None:
        old = await self.cached()
        self.hub.add_image(APP, "1", [LAYER + b"new"])
        assert (await self.manifest(APP, "1")).body != old.manifest.body
        asked = self.hub.count()
        assert (await self.manifest(APP, old.digest)).body == old.manifest.body
        assert self.hub.count() == asked

    async def test_stale_survives_a_restart_and_says_how_it_failed(self) -> None:
        image = await self.cached()
        self.hub.registry.fault(answer(503))
        await self.restart(tag_ttl=0.0, timeouts=HASTY)
        got = await self.manifest(APP, "1")
        assert is_stale(got)
        assert got.body == image.manifest.body
        assert "503" in (got.header("Warning") or "")

    async def test_stale_ends_with_the_failure(self) -> None:
        image = await self.cached(timeouts=attrs.evolve(FORGETFUL, probe_first=0.05))
        fault = self.hub.registry.fault(answer(500))
        assert is_stale(await self.manifest(APP, "1"))
        fault.lift()
        while is_stale(got := await self.manifest(APP, "1")):
            await deferLater(reactor, 0.02)
        assert (got.status, got.body) == (200, image.manifest.body)
        assert got.header("Warning") is None

    async def test_not_found_is_remembered_for_seconds_and_then_forgotten(self) -> None:
        await self.start(timeouts=attrs.evolve(HASTY, absent=0.3))
        for _ in range(5):
            got = await self.manifest(APP, "1")
            assert (got.status, b"MANIFEST_UNKNOWN" in got.body) == (404, True)
        assert self.hub.registry.count(kind="manifest") <= 2  # one without a token, one with it
        image = self.hub.add_image(APP, "1", [LAYER])
        while (got := await self.manifest(APP, "1")).status == 404:
            await deferLater(reactor, 0.02)
        assert (got.status, got.body) == (200, image.manifest.body)

    async def test_a_limit_that_is_known_costs_no_further_get(self) -> None:
        self.hub.add_image(APP, "1", [LAYER])
        self.hub.add_image(APP, "2", [LAYER + b"2"])
        self.hub.pull_limit = 0
        await self.start()
        for tag in ("1", "2", "1", "2"):
            got = await self.manifest(APP, tag)
            assert (got.status, b"UNAVAILABLE" in got.body) == (503, True)
            assert got.header("Retry-After") is not None
        assert self.hub.registry.count(method="GET", kind="manifest") == 1

    async def test_an_index_is_served_stale_with_the_images_that_are_whole(self) -> None:
        image = self.hub.add_image(APP, None, [LAYER])
        index = self.hub.add_index(APP, "multi", {"amd64": image, "arm64": image})
        await self.start(tag_ttl=0.0, timeouts=HASTY)
        assert (await self.manifest(APP, "multi")).body == index.body
        self.hub.registry.fault(answer(500), kind="manifest")
        got = await self.manifest(APP, "multi")
        assert got.status == 503  # its images are not here
        await self.restart(tag_ttl=0.0, timeouts=FORGETFUL)
        self.hub.registry.faults.clear()
        await self.manifest(APP, image.digest)
        for digest in (image.config, *image.layers):
            await self.blob(APP, digest)
        await self.stored(2)
        self.hub.registry.fault(answer(500))
        got = await self.manifest(APP, "multi")
        assert is_stale(got)
        assert got.header("Content-Type") == INDEX


class Offline(TagCase):
    async def test_it_never_asks(self) -> None:
        image = await self.cached()
        self.hub.add_referrers(APP, image.digest, b'{"manifests":[]}')
        assert (await self.get(f"/v2/{APP}/tags/list")).status == 200
        asked = self.hub.count()
        await self.restart(offline=True, tag_ttl=0.0, timeouts=HASTY)
        got = await self.manifest(APP, "1")
        assert is_stale(got)
        assert got.body == image.manifest.body
        assert (await self.manifest(APP, image.digest)).body == image.manifest.body
        assert (await self.blob(APP, image.layers[0])).body == LAYER
        assert (await self.blob(APP, image.layers[0], "HEAD")).status == 200
        assert (await self.get(f"/v2/{APP}/tags/list")).status == 200
        missing = sha256(b"missing")
        for path, code in (
            ("manifests/2", b"MANIFEST_UNKNOWN"),
            (f"manifests/{missing}", b"MANIFEST_UNKNOWN"),
            (f"blobs/{missing}", b"BLOB_UNKNOWN"),
            (f"referrers/{image.digest}", b"MANIFEST_UNKNOWN"),
            ("tags/list?n=3", b"NAME_UNKNOWN"),
        ):
            got = await self.get(f"/v2/{APP}/{path}")
            assert (got.status, code in got.body) == (404, True), path
        assert self.hub.count() == asked

    async def test_a_running_node_that_is_taken_offline_probes_no_more_either(self) -> None:
        image = await self.cached(timeouts=attrs.evolve(HASTY, probe_first=0.05, probe_last=0.05))
        self.hub.registry.fault(answer(500))
        assert is_stale(await self.manifest(APP, "1"))
        probes = lambda: self.hub.registry.count(kind="ping")  # noqa: E731
        await until(reactor, probes)
        self.node.reload(self.settings(offline=True, tag_ttl=0.0))
        asked = self.hub.count()
        for _ in range(5):
            await deferLater(reactor, 0.05)
            assert (await self.manifest(APP, "1")).body == image.manifest.body
        assert self.hub.count() == asked
        self.node.reload(self.settings(offline=False, tag_ttl=0.0))
        self.hub.registry.faults.clear()
        while is_stale(await self.manifest(APP, "1")):
            await deferLater(reactor, 0.02)


class Listings(TagCase):
    #: Old at once, so that upstream is asked each time.
    OLD = attrs.evolve(FORGETFUL, listing_ttl=0.0)

    async def tagged(self, **settings: Any) -> None:
        for tag in ("a", "b", "c"):
            self.hub.add_image(APP, tag, [LAYER])
        await self.start(**{"timeouts": self.OLD, **settings})

    async def test_pages_lead_on_through_this_node(self) -> None:
        await self.tagged()
        tags, path = [], f"/v2/{APP}/tags/list?n=1&ns=docker.io"
        while path:
            got = await self.get(path)
            assert got.status == 200
            tags += json.loads(got.body)["tags"]
            link = got.header("Link")
            assert link is None or link.endswith('>; rel="next"')
            path = link.partition(">")[0].removeprefix("<") if link else ""
        assert tags == ["a", "b", "c"]

    async def test_they_are_kept_for_a_short_time(self) -> None:
        await self.tagged(timeouts=attrs.evolve(FORGETFUL, listing_ttl=60.0))
        first = await self.get(f"/v2/{APP}/tags/list")
        self.hub.add_image(APP, "d", [LAYER])
        again = await self.get(f"/v2/{APP}/tags/list")
        assert (again.body, again.header("Nodecache-Source")) == (first.body, "disk")
        assert self.hub.registry.count(kind="tags") <= 2

    async def test_while_upstream_fails_the_old_ones_are_served(self) -> None:
        await self.tagged()
        image = self.hub.add_image(APP, "d", [LAYER])
        paths = (f"/v2/{APP}/tags/list", f"/v2/{APP}/referrers/{image.digest}")
        body = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).encode()
        self.hub.add_referrers(APP, image.digest, body)
        bodies = [(await self.get(path)).body for path in paths]
        assert bodies[1] == body
        for change in (answer(401), answer(403), answer(429), html(), answer(500), black_hole):
            fault = self.hub.registry.fault(change)
            for path, body in zip(paths, bodies, strict=True):
                got = await self.get(path)
                assert is_stale(got), (path, got.status, got.body)
                assert got.body == body
            fault.lift()
            await self.restart(timeouts=self.OLD)

    async def test_referrers_that_upstream_does_not_know_are_404_and_never_an_empty_list(
        self,
    ) -> None:
        image = await self.cached()
        got = await self.get(f"/v2/{APP}/referrers/{image.digest}")
        assert (got.status, b"MANIFEST_UNKNOWN" in got.body) == (404, True)

    async def test_a_filter_that_upstream_applied_is_told(self) -> None:
        image = await self.cached()
        self.hub.add_referrers(APP, image.digest, b'{"schemaVersion":2,"manifests":[]}')
        self.hub.registry.fault(with_headers(OCI_Filters_Applied="artifactType"))
        path = f"/v2/{APP}/referrers/{image.digest}?artifactType=application/x%2Bjson"
        for _ in range(2):
            got = await self.get(path)
            assert got.header("OCI-Filters-Applied") == "artifactType"
        [seen] = self.hub.registry.seen(kind="referrers", status=200)
        assert seen.query["artifactType"] == ["application/x+json"]
