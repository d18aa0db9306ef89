"""A whole node: start, readiness, reload, drain and stop."""

from __future__ import annotations

import os
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred

from nodecache.config import SizeSetting, UpstreamSettings
from nodecache.events import Reloaded, Started, Stopped, Stopping
from nodecache.failures import ConfigError, DataFolderError
from nodecache.limits import Timeouts
from tests.fakes_client import fetch, until
from tests.fakes_http import Gate, hold_at
from tests.node_case import NodeCase, reactor

APP = "library/app"
BIG = os.urandom(300_000)


class NodeLife(NodeCase):
    async def test_it_says_what_it_listens_on_and_where_it_stores(self) -> None:
        await self.start()
        [started] = self.told(Started)
        assert started.listen == f"127.0.0.1:{self.node.mirror_port}"
        assert started.admin == f"127.0.0.1:{self.node.admin_port}"
        assert started.data_dir == str(self.data_dir)
        assert (started.blobs, started.unclean) == (0, False)

    async def test_a_data_folder_in_use_is_refused_and_nothing_stays_open(self) -> None:
        await self.start()
        with pytest.raises(DataFolderError):
            await self.start()
        assert (await self.get("/v2/")).status == 200

    async def test_a_port_in_use_is_refused_and_gives_the_folder_back(self) -> None:
        await self.start()
        taken = f"127.0.0.1:{self.node.mirror_port}"
        elsewhere = str(self.data_dir) + "-2"
        with pytest.raises(ConfigError, match="listen"):
            await self.start(listen=taken, data_dir=elsewhere)
        await self.start(data_dir=elsewhere)
        assert (await self.get("/v2/")).status == 200

    async def test_it_is_ready_until_it_stops(self) -> None:
        node = await self.start()
        assert node.readiness() is None
        assert (await self.admin("/readyz")).status == 200
        assert (await self.admin("/healthz")).status == 200
        await node.stop("test")
        assert node.readiness() == "the node is stopping"

    async def test_neither_a_dead_upstream_nor_a_full_disk_makes_it_unready(self) -> None:
        await self.start(min_free=SizeSetting(percent=100), max_size=SizeSetting(bytes=0))
        await self.hub.stop()
        assert (await self.manifest(APP, "1")).status == 503
        assert (await self.admin("/readyz")).status == 200

    async def test_a_data_folder_that_can_not_be_used_any_more_makes_it_unready(self) -> None:
        node = await self.start(timeouts=attrs.evolve(Timeouts(), marker=0.05))
        """One that is removed is made again, where nothing stands in its place."""
        gone = str(self.data_dir) + "-gone"
        self.data_dir.rename(gone)
        self.data_dir.write_text("something else")
        self.addCleanup(os.rename, gone, self.data_dir)
        self.addCleanup(self.data_dir.unlink)
        await until(reactor, lambda: node.readiness() is not None)
        assert (await self.admin("/readyz")).status == 503

    async def test_metrics_are_scraped_from_the_admin_port(self) -> None:
        digest = self.hub.add_blob(APP, BIG)
        await self.start()
        await self.blob(APP, digest)
        await self.stored(1)
        text = (await self.admin("/metrics")).body.decode()
        assert f'nodecache_response_bytes_total{{kind="blob",source="fill"}} {len(BIG)}' in (
            text.replace(".0\n", "\n")
        )

    async def test_reload_takes_on_rules_and_names_what_needs_a_restart(self) -> None:
        self.hub.add_image(APP, "1", [b"x"])
        node = await self.start()
        assert (await self.manifest(APP, "1")).status == 200
        new = self.settings(upstream={"deny": (APP,)}, listen="127.0.0.1:1")
        node.reload(new)
        assert (await self.manifest(APP, "1")).status == 404
        [event] = self.told(Reloaded)
        assert event.changed == "upstreams.docker.io.deny"
        assert event.ignored == "listen"

    async def test_reload_to_offline_asks_upstream_no_more(self) -> None:
        image = self.hub.add_image(APP, "1", [b"x"])
        node = await self.start(tag_ttl=0.0)
        assert (await self.manifest(APP, "1")).status == 200
        for digest in (image.config, *image.layers):
            await self.blob(APP, digest)
        await self.stored(2)
        asked = self.hub.count()
        node.reload(self.settings(tag_ttl=0.0, offline=True))
        assert (await self.manifest(APP, "1")).body == image.manifest.body
        assert (await self.manifest(APP, "2")).status == 404
        assert self.hub.count() == asked

    async def test_stop_finishes_a_body_and_takes_no_new_connection(self) -> None:
        digest = self.hub.add_blob(APP, BIG)
        gate = Gate()
        self.hub.cdn.fault(hold_at(10, gate))
        node = await self.start()
        body = Deferred.fromCoroutine(self.blob(APP, digest))
        await until(reactor, lambda: gate.waiting)
        stopping = Deferred.fromCoroutine(node.stop("test"))
        await until(reactor, lambda: self.told(Stopping))
        with pytest.raises(Exception, match="refused"):
            await self.get("/v2/")
        gate.open()
        got = await body
        assert (got.body, got.broken) == (BIG, None)
        await stopping
        [stopped] = self.told(Stopped)
        assert stopped.aborted == 0

    async def test_a_drain_that_is_hurried_cuts_what_is_left(self) -> None:
        digest = self.hub.add_blob(APP, BIG)
        gate = Gate()
        self.hub.cdn.fault(hold_at(10, gate))
        node = await self.start()
        # A reset takes away what the client has not read yet, so its headers come first.
        body = await self.begin_blob(APP, digest)
        assert node.mirror.active_bodies
        stopping = Deferred.fromCoroutine(node.stop("test"))
        await until(reactor, lambda: self.told(Stopping))
        assert not stopping.called
        node.hurry()
        await stopping
        got = await body.whole()
        assert got.broken is not None

    async def test_who_stops_twice_waits_for_the_same_end(self) -> None:
        node = await self.start()
        first = Deferred.fromCoroutine(node.stop("one"))
        second = Deferred.fromCoroutine(node.stop("two"))
        third = Deferred.fromCoroutine(node.stop("three"))
        for each in (first, second, third):
            await each
        assert len(self.told(Stopped)) == 1

    async def test_a_ca_file_that_can_not_be_read_stops_the_start(self) -> None:
        upstream = UpstreamSettings("docker.io", self.hub.url, ca_file="/no/such/file")
        with pytest.raises(ConfigError, match="ca_file"):
            await self.start(upstreams=(upstream,))
        await self.start()  # the folder was given back

    async def admin(self, path: str) -> Any:
        return await fetch(reactor, f"http://127.0.0.1:{self.node.admin_port}{path}")
