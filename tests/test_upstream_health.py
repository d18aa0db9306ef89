"""An upstream that is down: found out once, back by a probe, and mirrors in order."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred

from nodecache.config import UpstreamSettings
from nodecache.events import UpstreamAnswered, UpstreamHealth
from nodecache.failures import UnknownNamespace, UpstreamKind
from nodecache.limits import Timeouts
from nodecache.upstream import Upstream
from tests.fakes_http import answer, black_hole, cut, html, stall
from tests.fakes_hub import FakeHub
from tests.fakes_site import ScriptedSite
from tests.upstream_kit import APP, LATEST, LAYER, Span, UpstreamCase, read, soon


class HealthCase(UpstreamCase):
    timeouts = Timeouts(answer=2.0, probe_first=0.05, probe_last=0.2)

    async def comes_back(self, upstream: Upstream) -> None:
        await self.until(lambda: upstream.down() is None)
        self.assertEqual((await upstream.head_manifest(APP, LATEST)).digest, self.digest)
        turns = [event.up for event in self.told(UpstreamHealth)]
        self.assertEqual(turns, [False, True])


class DownTests(HealthCase):
    """A probe is far off here: what fails at once does so because it is remembered."""

    timeouts = Timeouts(answer=2.0, probe_first=300)

    async def down_at_once(self, upstream: Upstream, *sites: ScriptedSite) -> None:
        before = [(site.accepted, site.count()) for site in sites]
        source = upstream.blob_source(APP, self.layer)
        for asking in (
            upstream.head_manifest(APP, LATEST),
            upstream.get_manifest(APP, LATEST),
            upstream.head_blob(APP, self.layer),
            upstream.tags(APP, None, None),
            upstream.referrers(APP, self.digest, None),
            source.fetch(None, soon()),
        ):
            failure = await self.refused(asking, UpstreamKind.DOWN)
            self.near(failure.retry_after, 300)
        down = upstream.down()
        assert down is not None
        self.assertEqual(down.kind, UpstreamKind.DOWN)
        self.assertEqual([(site.accepted, site.count()) for site in sites], before)

    async def test_a_refused_connection_is_found_out_once(self) -> None:
        upstream = self.upstream()
        await self.hub.registry.stop()
        await self.refused(upstream.head_manifest(APP, LATEST), UpstreamKind.UNREACHABLE)
        await self.down_at_once(upstream, *self.hub.sites)

    async def test_a_black_hole_is_found_out_once(self) -> None:
        upstream = self.upstream()
        self.hub.registry.fault(black_hole)
        await self.found_silent(lambda: upstream.head_manifest(APP, LATEST))
        await self.down_at_once(upstream, *self.hub.sites)

    async def test_a_5xx_is_found_out_once(self) -> None:
        upstream = self.upstream()
        self.hub.registry.fault(answer(503, b"busy", Retry_After="9"))
        failure = await self.refused(upstream.head_manifest(APP, LATEST), UpstreamKind.ERROR)
        self.assertEqual((failure.status, failure.retry_after), (503, 9.0))
        await self.down_at_once(upstream, *self.hub.sites)

    async def test_refusals_that_are_about_one_name_do_not_mark_it(self) -> None:
        for change, kind in (
            (answer(403), UpstreamKind.DENIED),
            (html(403), UpstreamKind.DENIED),
            (answer(404), UpstreamKind.NOT_FOUND),
            (answer(410), UpstreamKind.NOT_FOUND),
            (answer(429), UpstreamKind.LIMITED),
            (answer(400), UpstreamKind.ERROR),
        ):
            upstream = self.upstream()
            self.hub.registry.fault(change, times=1)
            await self.refused(upstream.head_manifest(APP, LATEST), kind)
            self.assertIsNone(upstream.down())
            await upstream.get_manifest(APP, LATEST)

    async def test_a_silent_token_server_is_found_out_once_and_good_tokens_go_on_serving(
        self,
    ) -> None:
        self.hub.add_image("library/other", "1", [])
        upstream = self.upstream()
        await upstream.head_manifest("library/other", LATEST)
        self.hub.tokens.fault(black_hole)
        await self.found_silent(lambda: upstream.head_manifest(APP, LATEST))
        asked = self.hub.tokens.count()
        await self.refused(upstream.head_manifest(APP, LATEST), UpstreamKind.DOWN)
        self.assertEqual(self.hub.tokens.count(), asked)
        await upstream.head_manifest("library/other", LATEST)
        self.assertIsNone(upstream.down())

    async def test_a_silent_cdn_is_found_out_once_and_manifests_go_on(self) -> None:
        upstream = self.upstream()
        self.hub.cdn.fault(black_hole)
        source = upstream.blob_source(APP, self.layer)
        await self.found_silent(lambda: source.fetch(None, soon(0.6)))
        asked = self.hub.cdn.count()
        for _ in range(2):
            source = upstream.blob_source(APP, self.layer)
            await self.refused(source.fetch(None, soon(0.6)), UpstreamKind.DOWN)
        self.assertEqual(self.hub.cdn.count(), asked)
        self.assertEqual((await upstream.get_manifest(APP, LATEST)).digest, self.digest)

    async def test_a_fill_that_has_begun_goes_on_asking(self) -> None:
        upstream = self.upstream()
        source = upstream.blob_source(APP, self.layer)
        await read(await source.fetch(Span(0, 50), soon()))
        fault = self.hub.cdn.fault(black_hole)
        await self.refused(source.fetch(Span(50, 100), soon(0.6)), UpstreamKind.TIMEOUT)
        fault.lift()
        body = await source.fetch(Span(50, 100), soon())
        self.assertEqual(await read(body), LAYER[50:])

    async def test_a_manifest_that_stalls_is_found_out_once(self) -> None:
        upstream = self.upstream()
        self.hub.registry.fault(stall(10), kind="manifest", method="GET", skip=1)
        await self.found_silent(lambda: upstream.get_manifest(APP, LATEST))
        await self.down_at_once(upstream, *self.hub.sites)

    async def test_a_body_that_breaks_does_not_mark_the_upstream(self) -> None:
        upstream = self.upstream()
        self.hub.cdn.fault(cut(10), times=1)
        body = await upstream.blob_source(APP, self.layer).fetch(None, soon())
        await self.refused(body.deliver(lambda _data: None), UpstreamKind.CUT)
        await read(await upstream.blob_source(APP, self.layer).fetch(None, soon()))

    async def test_little_time_left_blames_nobody(self) -> None:
        upstream = self.upstream()
        self.hub.registry.fault(black_hole)
        source = upstream.blob_source(APP, self.layer)
        await self.refused(source.fetch(None, soon(0.1)), UpstreamKind.TIMEOUT)
        await self.refused(source.fetch(None, soon(0)), UpstreamKind.TIMEOUT)
        self.assertIsNone(upstream.down())

    async def test_leaving_while_upstream_is_silent_blames_nobody(self) -> None:
        upstream = self.upstream()
        self.hub.registry.fault(black_hole)
        asking = Deferred.fromCoroutine(upstream.head_manifest(APP, LATEST))
        await self.until(self.hub.registry.count)
        asking.cancel()
        with self.assertRaises(CancelledError):
            await asking
        self.assertIsNone(upstream.down())
        await self.until(lambda: self.hub.registry.connected == 0)


class ProbeTests(HealthCase):
    async def test_a_refused_connection_comes_back(self) -> None:
        upstream = self.upstream()
        await self.hub.registry.stop()
        await self.refused(upstream.head_manifest(APP, LATEST), UpstreamKind.UNREACHABLE)
        self.hub.registry.start()
        await self.comes_back(upstream)

    async def test_a_black_hole_comes_back(self) -> None:
        upstream = self.upstream()
        fault = self.hub.registry.fault(black_hole)
        await self.found_silent(lambda: upstream.head_manifest(APP, LATEST))
        await self.until(lambda: self.hub.registry.count(kind="ping") == 1)
        fault.lift()
        await self.comes_back(upstream)
        self.assertEqual({e.leg for e in self.told(UpstreamAnswered)} & {"probe"}, {"probe"})

    async def test_a_5xx_comes_back_and_is_probed_as_long_as_it_lasts(self) -> None:
        upstream = self.upstream()
        fault = self.hub.registry.fault(answer(500))
        await self.refused(upstream.head_manifest(APP, LATEST), UpstreamKind.ERROR)
        await self.until(lambda: self.hub.registry.count(kind="ping") == 3)
        self.assertIsNotNone(upstream.down())
        fault.lift()
        await self.comes_back(upstream)

    async def test_a_cdn_comes_back_and_its_probe_knows_no_signature(self) -> None:
        upstream = self.upstream()
        fault = self.hub.cdn.fault(answer(502))
        source = upstream.blob_source(APP, self.layer)
        await self.refused(source.fetch(None, soon()), UpstreamKind.ERROR)
        fault.lift()
        await self.until(lambda: [event.up for event in self.told(UpstreamHealth)][-1])
        probes = [seen for seen in self.hub.cdn.requests if seen.kind == "other"]
        self.assertEqual({(seen.path, str(seen.query)) for seen in probes}, {("/", "{}")})
        source = upstream.blob_source(APP, self.layer)
        self.assertEqual(await read(await source.fetch(None, soon())), LAYER)

    async def test_a_token_server_comes_back_and_its_probe_knows_no_login(self) -> None:
        upstream = self.upstream()
        fault = self.hub.tokens.fault(answer(502))
        await self.refused(upstream.head_manifest(APP, LATEST), UpstreamKind.ERROR)
        fault.lift()
        await self.until(lambda: [event.up for event in self.told(UpstreamHealth)][-1])
        probe = self.hub.tokens.requests[-1]
        self.assertEqual(
            (probe.path, probe.query, probe.header("authorization")), ("/token", {}, None)
        )
        self.assertEqual((await upstream.head_manifest(APP, LATEST)).digest, self.digest)


class MirrorTests(HealthCase):
    timeouts = Timeouts(answer=2.0, probe_first=300)

    def setUp(self) -> None:
        super().setUp()
        self.mirror = self.start_hub()
        self.mirror.add_image(APP, "1", [LAYER])
        self.second = self.start_hub()

    def mirrored(self, *hubs: FakeHub) -> Upstream:
        return self.upstream(mirrors=tuple(hub.url for hub in hubs))

    async def test_a_mirror_that_has_it_is_enough(self) -> None:
        upstream = self.mirrored(self.mirror)
        await upstream.get_manifest(APP, LATEST)
        self.assertEqual(await upstream.head_blob(APP, self.layer), 100)
        self.assertEqual(self.hub.registry.count(), 0)

    async def test_what_mirrors_lack_comes_from_the_next_in_order(self) -> None:
        self.mirror.remove(APP)
        upstream = self.mirrored(self.mirror, self.second)
        self.assertEqual((await upstream.get_manifest(APP, LATEST)).digest, self.digest)
        order = [event.status for event in self.told(UpstreamAnswered) if event.leg == "manifest"]
        self.assertEqual(order, [401, 404, 401, 404, 401, 200])

    async def test_the_upstream_has_the_last_word(self) -> None:
        self.mirror.registry.fault(answer(429))
        self.hub.remove(APP)
        upstream = self.mirrored(self.mirror)
        await self.refused(upstream.get_manifest(APP, LATEST), UpstreamKind.NOT_FOUND)

    async def test_a_mirror_that_is_down_is_passed_over(self) -> None:
        await self.mirror.registry.stop()
        upstream = self.mirrored(self.mirror)
        for _ in range(2):
            self.assertEqual((await upstream.get_manifest(APP, LATEST)).digest, self.digest)
        self.assertIsNone(upstream.down())
        self.assertEqual(len(self.told(UpstreamHealth)), 1)

    async def test_a_silent_mirror_leaves_time_for_the_others(self) -> None:
        self.mirror.registry.fault(black_hole)
        upstream = self.mirrored(self.mirror)
        self.assertEqual((await upstream.get_manifest(APP, LATEST)).digest, self.digest)
        self.assertEqual((await upstream.get_manifest(APP, LATEST)).digest, self.digest)
        self.assertEqual(self.mirror.registry.count(), 1)

    async def test_a_mirror_with_wrong_bytes_is_passed_over(self) -> None:
        other = self.mirror.add_manifest(APP, "1", b'{"other": 1}')
        self.mirror.repository(APP).manifests[str(self.digest)] = other
        upstream = self.mirrored(self.mirror)
        self.assertEqual((await upstream.get_manifest(APP, self.digest)).digest, self.digest)

    async def test_a_fill_goes_on_elsewhere_when_its_mirror_goes_away(self) -> None:
        upstream = self.mirrored(self.mirror)
        source = upstream.blob_source(APP, self.layer)
        await read(await source.fetch(Span(0, 50), soon()))
        await self.mirror.stop()
        await self.refused(source.fetch(Span(50, 100), soon()), UpstreamKind.UNREACHABLE)
        body = await source.fetch(Span(50, 100), soon())
        self.assertEqual(await read(body), LAYER[50:])


class EndTests(HealthCase):
    async def test_an_offline_node_asks_nothing(self) -> None:
        upstream = self.upstream(offline=True)
        failure = await self.refused(upstream.head_manifest(APP, LATEST), UpstreamKind.DOWN)
        self.assertIn("offline", failure.message)
        source = upstream.blob_source(APP, self.layer)
        await self.refused(source.fetch(None, soon()), UpstreamKind.DOWN)
        self.assertEqual([site.accepted for site in self.hub.sites], [0, 0, 0])

    async def test_what_is_under_way_fails_when_all_ends(self) -> None:
        self.hub.tokens.fault(black_hole)
        self.hub.cdn.fault(stall(10))
        self.hub.add_image("library/other", "1", [])
        quiet = Timeouts()
        made = self.upstreams(UpstreamSettings("docker.io", self.hub.url), timeouts=quiet)
        upstream = made.get("docker.io")
        asking = Deferred.fromCoroutine(upstream.head_manifest(APP, LATEST))
        await self.until(lambda: self.hub.tokens.count() == 1)
        await made.close()
        await self.refused(asking, UpstreamKind.DOWN)
        await self.refused(upstream.head_manifest(APP, LATEST), UpstreamKind.DOWN)
        self.assertEqual(self.told(UpstreamHealth), [])
        await self.until(lambda: not any(site.connected for site in self.hub.sites))

    async def test_a_body_under_way_is_cut_when_all_ends(self) -> None:
        self.hub.cdn.fault(stall(10))
        made = self.upstreams(UpstreamSettings("docker.io", self.hub.url), timeouts=Timeouts())
        body = await made.get("docker.io").blob_source(APP, self.layer).fetch(None, soon())
        done = body.deliver(lambda _data: None)
        await made.close()
        await self.refused(done, UpstreamKind.CUT)

    async def test_a_probe_under_way_ends_when_all_ends(self) -> None:
        made = self.upstreams(UpstreamSettings("docker.io", self.hub.url))
        self.hub.registry.fault(black_hole)
        upstream = made.get("docker.io")
        await self.found_silent(lambda: upstream.head_manifest(APP, LATEST))
        await self.until(lambda: self.hub.registry.count(kind="ping") == 1)
        await made.close()
        await self.until(lambda: self.hub.registry.connected == 0)

    async def test_only_the_namespaces_of_the_settings_are_there(self) -> None:
        one = UpstreamSettings("docker.io", self.hub.url)
        other = UpstreamSettings("quay.io", self.start_hub().url)
        made = self.upstreams(one, other)
        self.assertEqual(made.namespaces, ("docker.io", "quay.io"))
        self.assertEqual(made.get("quay.io").namespace, "quay.io")
        with self.assertRaises(UnknownNamespace):
            made.get("ghcr.io")
