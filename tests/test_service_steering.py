"""The control socket of a whole node, and what its admin port shows of images."""

from __future__ import annotations

import json
import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from nodecache.cli.client import Control
from nodecache.cli.problems import CommandError
from nodecache.events import SettingWarning, Unexpected
from nodecache.store import Census
from tests.fakes_client import begin, fetch, until
from tests.steering_case import NGINX, SteeringCase, reactor


class SocketOfANode(SteeringCase):
    def path(self) -> str:
        return str(self.data_dir / "control.sock")

    async def test_it_is_there_while_the_node_runs(self) -> None:
        await self.start()
        assert os.path.exists(self.path())
        await self.node.stop("test")
        assert not os.path.exists(self.path())

    async def test_a_folder_that_takes_no_socket_is_told_of_and_served_from(self) -> None:
        os.makedirs(self.path())
        await self.start()
        [warning] = self.told(SettingWarning)
        assert "no orders to this node" in warning.message
        image = self.hub.add_image(NGINX, "1", [b"x"])
        await self.pull(image, "1")
        await self.node.stop("test")
        assert os.path.isdir(self.path())

    async def test_an_order_under_way_is_given_up_when_the_node_stops(self) -> None:
        await self.start()
        held: Deferred[bool] = Deferred()

        async def wait(*_: Any) -> bool:
            return await held

        await self.pull(self.hub.add_image(NGINX, "1", [b"x"]), "1")
        self.patch(Census, "is_good", wait)
        control = Control(self.path())
        asking = deferToThread(lambda: list(control.run("verify", {})))
        site = self.node.steering.site
        await until(reactor, lambda: bool(site.active))
        await self.node.stop("test")
        try:
            await asking
        except CommandError as error:
            assert "stopping" in error.problem
        else:
            raise AssertionError


class ImagesOnTheAdminPort(SteeringCase):
    async def ask(self, path: str, method: str = "GET") -> tuple[int, Any]:
        url = f"http://127.0.0.1:{self.node.admin_port}/api/v1/{path}"
        got = await fetch(reactor, url, method)
        assert got.header("content-type") == "application/json; charset=utf-8"
        return got.status, json.loads(got.body) if got.body else None

    async def test_images_and_one_of_them(self) -> None:
        await self.start()
        await self.pull(self.hub.add_image(NGINX, "1", [b"x"]), "1")
        status, document = await self.ask("images")
        assert (status, len(document["images"])) == (200, 1)
        assert (await self.ask("images?match=redis*"))[1]["images"] == []
        status, document = await self.ask("image?ref=nginx:1")
        assert (status, document["name"]) == (200, "nginx:1")
        assert (await self.ask("images", "HEAD"))[0] == 200

    async def test_what_is_not_here_is_404_with_a_next_step(self) -> None:
        await self.start()
        await self.pull(self.hub.add_image(NGINX, "1", [b"x"]), "1")
        for path in (
            "image?ref=ngimx:1",
            "image?ref=Nginx",
            "image?ref=",
            "image",
            "images?match=a//b",
        ):
            status, document = await self.ask(path)
            assert status == 404, path
            assert document["problem"], path
        assert "nginx:1" in (await self.ask("image?ref=ngimx:1"))[1]["next"]

    async def test_nothing_is_changed_over_it(self) -> None:
        await self.start()
        url = f"http://127.0.0.1:{self.node.admin_port}/control/v1/purge"
        assert (await fetch(reactor, url, "POST")).status == 405
        assert (await fetch(reactor, url)).status == 404

    async def test_whoever_leaves_before_the_answer_is_no_trouble(self) -> None:
        await self.start()
        held: Deferred[None] = Deferred()
        looking = self.node.steering.images.looking

        async def wait(_: str | None) -> dict[str, Any]:
            await held
            return {}

        self.patch(type(looking), "images", lambda _self, pattern: wait(pattern))
        url = f"http://127.0.0.1:{self.node.admin_port}/api/v1/images"
        asking = Deferred.fromCoroutine(begin(reactor, url))
        asking.addErrback(lambda _: None)
        await until(reactor, lambda: bool(self.node.admin.active))
        asking.cancel()
        await until(reactor, lambda: not self.node.admin.active)
        if not held.called:
            held.callback(None)
        assert self.told(Unexpected) == []
        assert self.flushLoggedErrors() == []
