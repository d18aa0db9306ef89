"""``nodecache log-level`` against a running node."""

from __future__ import annotations

import io
import json
import time
from typing import Any

from click.testing import CliRunner, Result
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from nodecache.cli import main
from nodecache.events import Event, Level, LogLevelSet
from nodecache.logs import LogSwitch, LogWriter
from nodecache.service import Node, Surroundings
from tests.node_case import NodeCase, reactor


class LogLevelTests(NodeCase):
    async def start(self, **given: Any) -> Node:
        self.stream = io.StringIO()
        self.log = LogWriter(self.stream, level=Level.INFO)
        switch = LogSwitch(self.log, reactor, self.observe)
        self.addCleanup(switch.stop)
        around = Surroundings(reactor, time.time, self.observe, self.metrics, {}, switch)
        self.node = await Node.start(around, self.settings(**given))
        self.addCleanup(lambda: Deferred.fromCoroutine(self.node.stop("the test is over")))
        return self.node

    def observe(self, event: Event) -> None:
        super().observe(event)
        self.log.observe(event)

    async def say(self, *arguments: str) -> Result:
        given = ["log-level", *arguments, "--data-dir", str(self.data_dir)]
        return await deferToThread(CliRunner().invoke, main, given)

    def logged(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.stream.getvalue().splitlines()]

    async def test_requests_are_logged_once_it_is_asked_for(self) -> None:
        await self.start()
        await self.get("/v2/")
        assert "request" not in self.logged()
        said = await self.say("debug")
        assert (said.exit_code, said.output) == (
            0,
            "logs what is debug or worse; the settings say info\n",
        )
        await self.get("/v2/")
        assert "request" in self.logged()
        assert self.told(LogLevelSet) == [LogLevelSet(before="info", now="debug")]

    async def test_a_level_for_a_while_says_what_comes_then(self) -> None:
        await self.start()
        said = await self.say("debug", "--for", "10m")
        assert said.exit_code == 0
        assert said.output.startswith("logs what is debug or worse for ")
        assert said.output.endswith(", then info\n")
        found = json.loads((await self.say("--json")).output)
        assert (found["level"], found["usual"]) == ("debug", "info")
        assert 0 < found["seconds_left"] <= 600

    async def test_the_level_is_shown_without_a_change(self) -> None:
        await self.start()
        said = await self.say()
        assert (said.exit_code, said.output) == (0, "logs what is info or worse\n")
        assert self.told(LogLevelSet) == []

    async def test_what_is_no_level_and_no_time_is_refused(self) -> None:
        await self.start()
        for wrong in (("loud",), ("debug", "--for", "soon"), ("--for", "10m")):
            said = await self.say(*wrong)
            assert said.exit_code == 2, wrong
        assert self.told(LogLevelSet) == []

    async def test_a_node_that_is_down_is_said_to_be(self) -> None:
        await self.start()
        await self.node.stop("the test says so")
        said = await self.say("debug")
        assert said.exit_code == 3
        assert "nodecache serve" in said.output
