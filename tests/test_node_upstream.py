"""Upstreams as they behave, asked by a whole node: what is sent to whom, and how often."""

from __future__ import annotations

import os
from typing import Any

import attrs
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from nodecache.config import AccountSettings, UpstreamSettings
from nodecache.events import FillFinished, RateLimitSeen, TokenFetched, UpstreamHealth
from nodecache.limits import Timeouts
from tests.fakes_client import fetch, until
from tests.fakes_http import Gate, answer, black_hole, corrupt, hold, hold_at, no_length, no_range
from tests.fakes_hub import DOCKER_MANIFEST, INDEX, FakeHub, Image
from tests.node_case import NodeCase, reactor

APP = "library/app"
LAYER = os.urandom(5_000)

#: Short enough for a test, long enough for a loaded machine.
HASTY = Timeouts(answer=3.0, silence=0.4, stall_total=1.0)


def together(*tasks: Any) -> Deferred[Any]:
    return gatherResults([Deferred.fromCoroutine(task) for task in tasks], consumeErrors=True)


class UpstreamCase(NodeCase):
    def another_hub(self, **how: Any) -> FakeHub:
        hub = FakeHub(reactor, **how).start()
        self.addCleanup(lambda: Deferred.fromCoroutine(hub.stop()))
        return hub

    async def pull(self, name: str, image: Image, tag: str = "1") -> None:
        """All that a runtime asks for, whole."""
        got = await self.manifest(name, tag, "HEAD")
        assert (got.status, got.header("Docker-Content-Digest")) == (200, image.digest)
        assert (await self.manifest(name, image.digest)).body == image.manifest.body
        answers = await together(
            *(self.blob(name, digest) for digest in (image.config, *image.layers))
        )
        assert {(got.status, got.broken) for got in answers} == {(200, None)}

    async def metrics_text(self) -> str:
        got = await fetch(reactor, f"http://127.0.0.1:{self.node.admin_port}/metrics")
        return got.body.decode()


class Tokens(UpstreamCase):
    async def test_a_whole_pull_costs_one_token_and_one_counted_get(self) -> None:
        image = self.hub.add_image(APP, "1", [LAYER, LAYER + b"2", LAYER + b"3"])
        await self.start()
        await self.pull(APP, image)
        assert self.hub.tokens.count(kind="token") == 1
        assert self.hub.registry.count(kind="manifest", method="GET") == 1
        assert self.hub.registry.count(status=401) == 1  # the first request of all
        [token] = self.told(TokenFetched)
        assert token.scope == f"repository:{APP}:pull"

    async def test_each_repository_has_its_own(self) -> None:
        images = {name: self.hub.add_image(name, "1", [LAYER]) for name in (APP, "library/b")}
        await self.start()
        for name, image in images.items():
            await self.pull(name, image)
        scopes = [seen.query["scope"] for seen in self.hub.tokens.seen(kind="token")]
        assert scopes == [["repository:library/app:pull"], ["repository:library/b:pull"]]

    async def test_those_who_ask_at_once_share_one(self) -> None:
        images = [self.hub.add_image(APP, f"{n}", [LAYER + bytes([n])]) for n in range(8)]
        gate = Gate()
        self.hub.tokens.fault(hold(gate))
        await self.start()
        answers = together(*(self.manifest(APP, f"{n}") for n in range(8)))
        await until(reactor, lambda: self.hub.registry.count(status=401) == 8)
        gate.open()
        assert [got.body for got in await answers] == [image.manifest.body for image in images]
        assert self.hub.tokens.count(kind="token") == 1

    async def test_it_is_renewed_before_it_expires(self) -> None:
        """Asked again, upstream never sees a token that is about to end."""
        self.hub.token_life = 1.9  # and it says 1
        self.hub.add_image(APP, "1", [LAYER])
        await self.start(tag_ttl=0.0, timeouts=attrs.evolve(Timeouts(), token_margin=0.5))
        while self.hub.tokens.count(kind="token") < 3:
            assert (await self.manifest(APP, "1")).header("Nodecache-Source") != "stale"
            await deferLater(reactor, 0.02)
        assert self.hub.registry.count(status=401) == 1

    async def test_one_that_upstream_takes_no_more_is_renewed_once(self) -> None:
        image = self.hub.add_image(APP, "1", [LAYER])
        await self.start(tag_ttl=0.0)
        await self.pull(APP, image)
        self.hub.expire_tokens()
        assert (await self.manifest(APP, "1")).header("Nodecache-Source") != "stale"
        assert self.hub.tokens.count(kind="token") == 2

    async def test_a_link_that_expired_is_asked_for_again(self) -> None:
        digest = self.hub.add_pattern(APP, (8 << 20) + 1000)
        self.hub.link_life = 0.0
        live = self.hub.cdn.fault(answer(403), times=1)
        live.lift()
        await self.start()
        got = await self.blob(APP, digest)
        assert got.status == 404  # every link is refused at once
        self.hub.link_life = 3600.0
        gate = Gate()
        self.hub.cdn.fault(hold_at(5, gate), times=1)
        await self.restart()
        body = await self.begin_blob(APP, digest)
        await until(reactor, lambda: gate.waiting)
        self.hub.expire_links()
        gate.open()
        assert len((await body.whole()).body) == (8 << 20) + 1000
        assert self.hub.cdn.count(status=403) >= 2


class WhatIsAsked(UpstreamCase):
    async def test_every_question_is_our_own_whoever_asks_us(self) -> None:
        image = self.hub.add_image(APP, "1", [LAYER], media_type=DOCKER_MANIFEST)
        await self.start()
        headers = {
            "Accept": "text/html",
            "Accept_Encoding": "gzip, zstd",
            "Authorization": "Basic bm9ib2R5OnNlY3JldA==",
            "Cookie": "a=b",
            "X_Forwarded_For": "10.0.0.1",
            "User_Agent": "docker/27.0",
            "Range": "bytes=0-",
        }
        got = await self.manifest(APP, "1", **headers)
        assert (got.status, got.header("Content-Type")) == (206, DOCKER_MANIFEST)
        assert (await self.blob(APP, image.layers[0], **headers)).body == LAYER
        for seen in self.hub.requests:
            assert seen.header("accept-encoding") == "identity"
            assert (seen.header("user-agent") or "").startswith("nodecache/")
            assert seen.header("cookie") is None
            assert seen.header("x-forwarded-for") is None
            assert "Basic" not in (seen.header("authorization") or "")
            if seen.kind == "manifest":
                assert INDEX in (seen.header("accept") or "")

    async def test_one_part_names_are_of_the_library(self) -> None:
        image = self.hub.add_image(APP, "1", [LAYER])
        await self.start()
        await self.pull("app", image)
        await self.pull(APP, image)
        assert {seen.name for seen in self.hub.registry.seen(kind="manifest")} == {APP}
        assert self.hub.registry.count(kind="manifest", method="GET") == 1

    async def test_a_blob_without_its_length_anywhere_is_chunked_and_checked(self) -> None:
        digest = self.hub.add_blob(APP, LAYER)
        self.hub.cdn.fault(no_length, no_range)
        await self.start()
        gate = Gate()
        held = self.hub.cdn.fault(hold_at(100, gate))
        body = await self.begin_blob(APP, digest)
        gate.open()
        got = await body.whole()
        assert (got.status, got.body, got.length, got.broken) == (200, LAYER, None, None)
        held.lift()
        self.hub.cdn.fault(corrupt)
        other = self.hub.add_blob(APP, LAYER[::-1])
        assert (await self.blob(APP, other)).broken is not None

    async def test_an_upstream_without_logins_and_without_a_cdn(self) -> None:
        hub = self.another_hub(token_auth=False, cdn_host=None)
        image = hub.add_image("team/app", "1", [LAYER])
        await self.start(upstreams=(UpstreamSettings("registry.example", hub.url),))
        await self.pull("team/app", image)
        assert hub.tokens.count() == 0


class Mirrors(UpstreamCase):
    async def test_they_are_asked_in_their_order_and_the_upstream_last(self) -> None:
        first, second = self.another_hub(), self.another_hub()
        lacking = self.hub.add_image(APP, "1", [LAYER])
        held = second.add_image(APP, "2", [LAYER + b"2"])
        await self.start(upstream={"mirrors": (first.url, second.url)})
        await self.pull(APP, held, tag="2")
        assert first.registry.count(kind="manifest") > 0
        assert self.hub.count() == 0
        await self.pull(APP, lacking)
        assert second.registry.count(kind="manifest", reference="1") > 0

    async def test_one_that_is_down_is_passed_over_and_costs_its_time_once(self) -> None:
        silent = self.another_hub()
        silent.registry.fault(black_hole)
        image = self.hub.add_image(APP, "1", [LAYER, LAYER + b"2"])
        await self.start(upstream={"mirrors": (silent.url,)}, timeouts=HASTY)
        await self.pull(APP, image)
        assert silent.registry.count(kind="manifest") + silent.registry.count(kind="blob") == 1

    async def test_one_that_sends_wrong_bytes_does_not_spoil_the_pull_for_ever(self) -> None:
        wrong = self.another_hub()
        wrong.add_image(APP, "1", [LAYER])
        image = self.hub.add_image(APP, "1", [LAYER])
        wrong.registry.fault(corrupt, kind="manifest", method="GET")
        await self.start(upstream={"mirrors": (wrong.url,)})
        assert (await self.manifest(APP, image.digest)).body == image.manifest.body


class Accounts(UpstreamCase):
    async def started(self, *repositories: str, **upstream: Any) -> str:
        file = f"{self.data_dir}-account"
        with open(file, "w") as written:
            written.write("robot:pass-word\n")
        self.hub.accounts["robot"] = "pass-word"
        account = AccountSettings(file, repositories)
        await self.start(upstream={"account": account, **upstream})
        return file

    async def test_it_opens_the_repositories_of_its_list_and_no_other(self) -> None:
        images = {name: self.hub.add_image(name, "1", [LAYER]) for name in ("team/a", "team/b")}
        for name in images:
            self.hub.make_private(name, "robot")
        await self.started("team/a")
        await self.pull("team/a", images["team/a"])
        got = await self.manifest("team/b", "1")
        assert (got.status, b"MANIFEST_UNKNOWN" in got.body) == (404, True)
        for seen in self.hub.tokens.requests:
            listed = seen.query["scope"] == ["repository:team/a:pull"]
            assert (seen.header("authorization") is not None) == listed

    async def test_its_file_is_read_again_when_it_changes(self) -> None:
        image = self.hub.add_image("team/a", "1", [LAYER])
        self.hub.make_private("team/a", "other")
        file = await self.started("team/a")
        assert (await self.manifest("team/a", "1")).status == 404
        self.hub.accounts["other"] = "word"
        with open(file, "w") as written:
            written.write("other:word")
        assert (await self.manifest("team/a", image.digest)).body == image.manifest.body

    async def test_a_mirror_never_sees_it(self) -> None:
        mirror = self.another_hub()
        mirror.accounts["robot"] = "pass-word"
        image = self.hub.add_image("team/a", "1", [LAYER])
        self.hub.make_private("team/a", "robot")
        await self.started("team/a", mirrors=(mirror.url,))
        await self.pull("team/a", image)
        assert mirror.requests
        for seen in mirror.requests:
            assert not (seen.header("authorization") or "").startswith("Basic")


class Rules(UpstreamCase):
    async def test_what_is_not_allowed_is_refused_and_nobody_is_asked(self) -> None:
        self.hub.add_image(APP, "1", [LAYER])
        await self.start(upstream={"allow": ("team/*", "library/app"), "deny": ("team/secret",)})
        assert (await self.manifest("app", "1")).status == 200
        asked = self.hub.count()
        for name in ("library/other", "team/secret", "rival/app"):
            for path in ("manifests/1", f"blobs/sha256:{'a' * 64}", "tags/list"):
                got = await self.get(f"/v2/{name}/{path}")
                assert got.status == 404
        assert self.hub.count() == asked

    async def test_a_denied_name_is_refused_whatever_is_on_disk(self) -> None:
        image = self.hub.add_image(APP, "1", [LAYER])
        await self.start()
        await self.pull(APP, image)
        await self.stored(2)
        await self.restart(upstream={"deny": (APP,)})
        for path in ("manifests/1", f"manifests/{image.digest}", f"blobs/{image.layers[0]}"):
            for method in ("GET", "HEAD"):
                assert (await self.get(f"/v2/{APP}/{path}", method)).status == 404


class Namespaces(UpstreamCase):
    async def both(self) -> FakeHub:
        quay = self.another_hub()
        await self.start(
            upstreams=(
                UpstreamSettings("docker.io", self.hub.url),
                UpstreamSettings("quay.io", quay.url),
            )
        )
        return quay

    async def test_each_has_its_tags_and_a_digest_is_one(self) -> None:
        quay = await self.both()
        ours = self.hub.add_image("team/app", "1", [LAYER])
        theirs = quay.add_image("team/app", "1", [LAYER + b"theirs"])
        assert quay.add_blob("team/app", LAYER) == ours.layers[0]
        await self.pull("team/app", ours)
        got = await self.get("/v2/team/app/manifests/1?ns=quay.io")
        assert (got.body, got.header("OCI-Namespace")) == (theirs.manifest.body, "quay.io")
        await self.stored(2)
        got = await self.get(f"/v2/team/app/blobs/{ours.layers[0]}?ns=quay.io")
        assert (got.body, got.header("Nodecache-Source")) == (LAYER, "disk")
        assert quay.registry.count(kind="blob") == 0

    async def test_the_three_names_of_docker_hub_are_one(self) -> None:
        await self.both()
        image = self.hub.add_image(APP, "1", [LAYER])
        for namespace in ("docker.io", "index.docker.io", "registry-1.docker.io"):
            got = await self.get(f"/v2/{APP}/manifests/1?ns={namespace}")
            assert (got.body, got.header("OCI-Namespace")) == (image.manifest.body, namespace)
        assert self.hub.registry.count(kind="manifest", method="GET") == 1

    async def test_one_that_is_not_listed_is_404_and_never_dialled(self) -> None:
        quay = await self.both()
        stranger = self.another_hub()
        for namespace in ("ghcr.io", f"127.0.0.1:{stranger.registry.port}", "localhost"):
            got = await self.get(f"/v2/{APP}/manifests/1?ns={namespace}")
            assert (got.status, b"NAME_UNKNOWN" in got.body) == (404, True)
        assert stranger.registry.accepted == 0
        assert self.hub.count() == quay.count() == 0

    async def test_one_that_is_down_does_not_keep_the_other_from_being_asked(self) -> None:
        quay = await self.both()
        image = self.hub.add_image(APP, "1", [LAYER])
        await quay.stop()
        assert (await self.get("/v2/team/app/manifests/1?ns=quay.io")).status == 503
        await self.pull(APP, image)


class DownAndBack(UpstreamCase):
    async def test_a_pull_of_twenty_layers_finds_out_once_and_ends(self) -> None:
        """No probe goes out meanwhile."""
        image = self.hub.add_image(APP, "1", [LAYER + bytes([n]) for n in range(20)])
        await self.start(timeouts=attrs.evolve(HASTY, probe_first=60.0, probe_last=60.0))
        assert (await self.manifest(APP, "1")).body == image.manifest.body
        self.hub.registry.fault(black_hole)
        asked = self.hub.registry.count()
        for digest in image.layers:
            assert (await self.blob(APP, digest)).status == 404
        assert self.hub.registry.count() == asked + 1
        assert self.hub.cdn.count() == 0

    async def test_it_is_found_again_by_a_probe_that_no_client_waits_for(self) -> None:
        image = self.hub.add_image(APP, "1", [LAYER])
        await self.start(timeouts=attrs.evolve(HASTY, probe_first=0.05, probe_last=0.1))
        await self.hub.registry.stop()
        assert (await self.manifest(APP, "1")).status == 503
        text = await self.metrics_text()
        assert f'nodecache_upstream_up{{origin="{self.hub.registry.url}"}} 0.0' in text
        self.hub.registry.start()
        await until(reactor, lambda: self.hub.registry.count(kind="ping"))
        await until(reactor, lambda: [event.up for event in self.told(UpstreamHealth)][-1])
        await self.pull(APP, image)
        text = await self.metrics_text()
        assert f'nodecache_upstream_up{{origin="{self.hub.registry.url}"}} 1.0' in text

    async def test_an_error_of_a_cdn_does_not_keep_manifests_from_being_asked_for(self) -> None:
        image = self.hub.add_image(APP, "1", [LAYER])
        self.hub.cdn.fault(answer(500))
        await self.start()
        assert (await self.blob(APP, image.layers[0])).status == 404
        assert (await self.manifest(APP, "1")).body == image.manifest.body

    async def test_one_deadline_spans_token_mirrors_and_cdn(self) -> None:
        """Whatever is silent, the answer comes before clients give up, and is counted once."""
        image = self.hub.add_image(APP, "1", [LAYER])
        for site in (self.hub.tokens, self.hub.registry, self.hub.cdn):
            fault = site.fault(black_hole)
            await self.start(timeouts=HASTY)
            got = await self.blob(APP, image.layers[0])
            assert (got.status, b"BLOB_UNKNOWN" in got.body) == (404, True)
            await until(reactor, lambda: not self.filling())
            await self.node.stop("next")
            fault.lift()
        assert [event.outcome for event in self.told(FillFinished)] == ["failed"] * 3


class RateLimits(UpstreamCase):
    async def test_they_are_read_and_shown(self) -> None:
        self.hub.pull_limit = 100
        self.hub.add_image(APP, "1", [LAYER])
        await self.start()
        await self.manifest(APP, "1")
        event = self.told(RateLimitSeen)[-1]
        assert (event.limit, event.remaining, event.window_seconds) == (100, 99, 21600)
        assert (event.namespace, event.source) == ("docker.io", "127.0.0.1")
        text = await self.metrics_text()
        assert 'nodecache_upstream_rate_limit{namespace="docker.io"} 100.0' in text
        assert 'nodecache_upstream_rate_limit_remaining{namespace="docker.io"} 99.0' in text

    async def test_a_limit_on_manifests_lets_blobs_pass(self) -> None:
        image = self.hub.add_image(APP, "1", [LAYER])
        await self.start()
        assert (await self.manifest(APP, "1")).status == 200
        self.hub.add_image(APP, "2", [LAYER + b"2"])
        self.hub.pull_limit = 0
        assert (await self.manifest(APP, "2")).status == 503
        assert (await self.blob(APP, image.layers[0])).body == LAYER

    async def test_a_sole_registry_tells_its_clients_the_truth(self) -> None:
        self.hub.pull_limit = 0
        self.hub.add_image(APP, "1", [LAYER])
        await self.start(sole_registry=True)
        for _ in range(2):
            got = await self.manifest(APP, "1")
            assert (got.status, b"TOOMANYREQUESTS" in got.body) == (429, True)
            assert int(got.header("Retry-After") or 0) > 0
