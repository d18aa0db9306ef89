"""The control socket: orders, what is told of them, and who may give them."""

from __future__ import annotations

import http.client
import json
import os
import pathlib
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from nodecache.body import Tools
from nodecache.cli import client
from nodecache.cli.client import Control
from nodecache.cli.commands import EXIT_UNREACHABLE
from nodecache.cli.problems import CommandError
from nodecache.events import Event, OrderFinished, TurnedAway, Unexpected
from nodecache.failures import StoreFailure
from nodecache.limits import ORDER_BYTES, Limits, Timeouts
from nodecache.service.control_socket import ControlSocket, open_control_socket
from nodecache.steering import Document, Refused, Tell, Verb
from nodecache.web import control_site
from nodecache.web.control_site import CONNECTIONS, ControlSite
from tests.fakes_client import until

reactor = cast(Any, _reactor)
T = TypeVar("T")


async def greet(document: dict[str, Any], tell: Tell) -> dict[str, Any]:
    tell({"event": "progress", "done": 1})
    tell({"event": "found", "name": Document(document).text("name")})
    return {"count": 2}


async def refuse(document: dict[str, Any], tell: Tell) -> dict[str, Any]:
    raise Refused("that is not here", "Pull it first.")


async def fail(document: dict[str, Any], tell: Tell) -> dict[str, Any]:
    raise StoreFailure("the disk is broken")


async def break_down(document: dict[str, Any], tell: Tell) -> dict[str, Any]:
    raise ZeroDivisionError("a defect")


class ControlCase(TestCase):
    timeout = 30

    def setUp(self) -> None:
        self.events: list[Event] = []
        self.given_up = 0
        self.waiting: list[Deferred[None]] = []
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.site = self.make_site()
        self.opened = self.open(self.folder)

    def make_site(self) -> ControlSite:
        verbs = [Verb("greet", greet), Verb("refuse", refuse), Verb("fail", fail)]
        verbs += [Verb("break", break_down), Verb("wait", self.wait), Verb("talk", self.talk)]
        tools = Tools(clock=reactor, observe=self.events.append, stall=30.0)
        return ControlSite(verbs, tools, time.time, Timeouts(), Limits())

    def open(self, folder: str) -> ControlSocket:
        opened = open_control_socket(reactor, folder, self.site)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.close(opened)))
        return opened

    async def close(self, opened: ControlSocket) -> None:
        await opened.close()
        self.site.stop()
        await until(reactor, lambda: not self.site.channels)

    async def wait(self, document: dict[str, Any], tell: Tell) -> dict[str, Any]:
        """Until it is given up."""
        tell({"event": "begun"})
        self.waiting.append(Deferred())
        try:
            await self.waiting[-1]
        except CancelledError:
            self.given_up += 1
            raise
        return {}

    async def talk(self, document: dict[str, Any], tell: Tell) -> dict[str, Any]:
        """More than a socket holds."""
        for number in range(20_000):
            tell({"event": "progress", "filler": "x" * 100, "number": number})
        tell({"event": "said"})
        return {}

    async def run_in_thread(self, work: Callable[[], T]) -> T:
        return await deferToThread(work)

    async def told(self, verb: str, **document: Any) -> list[dict[str, Any]]:
        control = Control(self.opened.path)
        return await self.run_in_thread(lambda: list(control.run(verb, document)))

    async def problem(self, verb: str, **document: Any) -> CommandError:
        try:
            found = await self.told(verb, **document)
        except CommandError as error:
            return error
        raise AssertionError(found)

    async def raw(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Whatever comes of any request."""

        def ask() -> tuple[int, bytes]:
            connection = http.client.HTTPConnection("localhost", timeout=10)
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.connect(self.opened.path)
            try:
                connection.request(method, path, body)
                answer = connection.getresponse()
                return answer.status, answer.read()
            finally:
                connection.close()

        return await self.run_in_thread(ask)

    def begin(self, verb: str, length: int = 2) -> socket.socket:
        """An order, given and not waited for."""
        given = socket.socket(socket.AF_UNIX)
        given.connect(self.opened.path)
        head = f"POST /control/v1/{verb} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
        given.sendall(head.encode() + b"{}")
        self.addCleanup(given.close)
        return given


class OrderTests(ControlCase):
    async def test_what_happens_is_told_line_by_line_and_the_end_last(self) -> None:
        self.assertEqual(
            await self.told("greet", name="nginx"),
            [
                {"event": "progress", "done": 1},
                {"event": "found", "name": "nginx"},
                {"event": "done", "count": 2},
            ],
        )

    async def test_an_order_that_is_refused_names_the_problem_and_the_next_step(self) -> None:
        error = await self.problem("refuse")
        self.assertEqual(error.problem, "that is not here")
        self.assertEqual(error.next_step, "Pull it first.")
        self.assertEqual(error.exit_code, 1)

    async def test_one_connection_too_many_is_told_so_and_what_to_do(self) -> None:
        def taken() -> socket.socket:
            each = socket.socket(socket.AF_UNIX)
            each.connect(self.opened.path)
            self.addCleanup(each.close)
            return each

        first, *_ = await self.run_in_thread(lambda: [taken() for _ in range(CONNECTIONS)])
        await until(reactor, lambda: len(self.site.channels) == CONNECTIONS)
        error = await self.problem("greet", name="nginx")
        self.assertIn("has as many connections as it may have", error.problem)
        self.assertIn("Try again in a moment", error.next_step)
        self.assertEqual(error.exit_code, EXIT_UNREACHABLE)
        told = [event for event in self.events if isinstance(event, TurnedAway)]
        self.assertEqual(
            [(each.port, each.limit, each.status) for each in told], [("control", "all", 503)]
        )
        first.close()
        await until(reactor, lambda: len(self.site.channels) < CONNECTIONS)
        self.assertEqual((await self.told("greet", name="nginx"))[-1]["count"], 2)

    async def test_a_failure_is_told_in_its_words(self) -> None:
        self.assertEqual((await self.problem("fail")).problem, "the disk is broken")

    async def test_what_is_missing_in_an_order_is_named(self) -> None:
        self.assertIn("'name'", (await self.problem("greet")).problem)

    async def test_a_defect_is_told_to_the_log_and_not_to_the_client(self) -> None:
        error = await self.problem("break")
        self.assertNotIn("defect", error.problem)
        [event] = [event for event in self.events if isinstance(event, Unexpected)]
        self.assertIn("a defect", event.error)

    async def test_orders_are_told_of_with_what_became_of_them(self) -> None:
        await self.told("greet", name="nginx")
        await self.problem("refuse")
        given = self.begin("wait")
        await until(reactor, lambda: bool(self.waiting))
        given.close()
        await until(reactor, lambda: self.given_up == 1)
        orders = [event for event in self.events if isinstance(event, OrderFinished)]
        self.assertEqual(
            [(order.verb, order.outcome, order.reason) for order in orders],
            [
                ("greet", "done", ""),
                ("refuse", "failed", "that is not here"),
                ("wait", "given_up", "whoever gave it hung up"),
            ],
        )
        self.assertEqual(orders[0].given, '{"name": "nginx"}')

    async def test_an_order_that_nobody_knows_is_refused_with_those_that_are(self) -> None:
        error = await self.problem("dance")
        self.assertIn("no such order", error.problem)
        self.assertIn("greet", error.next_step)

    async def test_reading_is_no_order(self) -> None:
        status, body = await self.raw("GET", "/control/v1/greet")
        self.assertEqual(status, 405)
        self.assertEqual(json.loads(body)["event"], "failed")

    async def test_other_paths_are_nothing(self) -> None:
        for path in ("/", "/control/v1/", "/control/v2/greet", "/control/v1/greet/x", "/metrics"):
            self.assertEqual((await self.raw("POST", path))[0], 404, path)

    async def test_an_order_has_to_be_a_json_object(self) -> None:
        for body in (b"{", b"[]", b"1", b"\xff", b"[" * 100_000):
            status, answer = await self.raw("POST", "/control/v1/greet", body)
            self.assertEqual(status, 400, body[:20])
            self.assertEqual(json.loads(answer)["event"], "failed")

    async def test_an_order_that_is_too_long_is_not_read(self) -> None:
        given = self.begin("greet", ORDER_BYTES + 1)
        given.settimeout(10)
        self.assertIn(b" 413 ", await self.run_in_thread(lambda: given.recv(100)))

    async def test_an_order_as_long_as_may_be_is_read(self) -> None:
        name = "x" * (ORDER_BYTES - 100)
        [_, found, _] = await self.told("greet", name=name)
        self.assertEqual(found["name"], name)

    async def test_whoever_hangs_up_gives_the_order_up(self) -> None:
        given = self.begin("wait")
        await until(reactor, lambda: bool(self.waiting))
        given.close()
        await until(reactor, lambda: self.given_up == 1)
        await until(reactor, lambda: not self.site.channels)

    async def test_shutting_one_side_is_hanging_up(self) -> None:
        given = self.begin("wait")
        await until(reactor, lambda: bool(self.waiting))
        given.shutdown(socket.SHUT_WR)
        await until(reactor, lambda: self.given_up == 1)

    async def test_a_node_that_stops_says_so(self) -> None:
        asking = Deferred.fromCoroutine(self.problem("wait"))
        await until(reactor, lambda: bool(self.waiting))
        self.site.stop()
        self.assertIn("stopping", (await asking).problem)
        self.assertEqual(self.given_up, 1)

    async def test_a_node_that_dies_is_not_a_node_that_is_done(self) -> None:
        asking = Deferred.fromCoroutine(self.problem("wait"))
        await until(reactor, lambda: bool(self.waiting))
        self.site.abort_all()
        error = await asking
        self.assertIn("went away", error.problem)
        self.assertEqual(error.exit_code, 3)

    async def test_a_node_that_works_says_that_it_is_alive(self) -> None:
        self.patch(control_site, "ALIVE", 0.02)
        given = self.begin("wait")
        given.settimeout(10)

        def read() -> bytes:
            got = b""
            while got.count(b'"alive"') < 4:
                got += given.recv(1000)
            return got

        self.assertIn(b'"begun"', await self.run_in_thread(read))

    async def test_a_node_that_stands_still_is_not_waited_for(self) -> None:
        control = Control(self.opened.path, silence=0.2)
        asking = self.run_in_thread(lambda: list(control.run("wait", {})))
        error = await self.failureResultOf_(asking)
        self.assertIn("says nothing", error.problem)
        self.assertEqual(error.exit_code, 3)

    async def failureResultOf_(self, asking: Any) -> CommandError:
        try:
            await asking
        except CommandError as error:
            return error
        raise AssertionError

    async def test_progress_is_left_out_for_a_slow_reader_and_nothing_else_is(self) -> None:
        given = self.begin("talk")
        await until(reactor, lambda: any(channel.congested for channel in self.site.channels))
        given.settimeout(10)

        def read() -> bytes:
            got = b""
            while b'"done"' not in got[-100:]:
                got += given.recv(1 << 20)
            return got

        got = await self.run_in_thread(read)
        self.assertIn(b'"said"', got)
        self.assertLess(got.count(b'"progress"'), 20_000)


class SocketTests(ControlCase):
    def mode(self) -> int:
        return stat.S_IMODE(os.stat(self.opened.path).st_mode)

    async def test_only_its_owner_may_open_it(self) -> None:
        self.assertEqual(self.mode(), 0o600)

    async def test_the_file_is_gone_when_it_is_closed(self) -> None:
        await self.opened.close()
        self.assertEqual(os.listdir(self.folder), [])
        error = await self.problem("greet", name="x")
        self.assertEqual(error.exit_code, 3)
        self.assertIn("nodecache serve", error.next_step)

    async def test_a_file_that_somebody_removed_does_not_hinder_the_end(self) -> None:
        os.unlink(self.opened.path)
        await self.opened.close()

    async def test_what_a_killed_process_left_is_replaced(self) -> None:
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        left = socket.socket(socket.AF_UNIX)
        left.bind(os.path.join(folder, "control.sock"))
        left.close()
        error = await self.run_in_thread(lambda: self.refused(folder))
        self.assertEqual(error.exit_code, 3)
        self.opened = self.open(folder)
        self.assertEqual((await self.told("greet", name="x"))[-1]["event"], "done")

    def refused(self, folder: str) -> CommandError:
        try:
            Control(os.path.join(folder, "control.sock")).done("greet", {})
        except CommandError as error:
            return error
        raise AssertionError

    async def test_what_is_no_socket_is_left_alone(self) -> None:
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        file = pathlib.Path(folder) / "control.sock"
        file.write_text("mine")
        with self.assertRaises(OSError):
            open_control_socket(reactor, folder, self.site)
        self.assertEqual(file.read_text(), "mine")

    async def test_a_path_longer_than_a_sockets_address_works_on_both_sides(self) -> None:
        folder = os.path.join(self.folder, *["a-folder-with-a-long-name"] * 8)
        os.makedirs(folder)
        self.opened = self.open(folder)
        self.assertGreater(len(self.opened.path), 150)
        self.assertEqual((await self.told("greet", name="x"))[-1]["event"], "done")
        self.assertEqual(self.mode(), 0o600)
        await self.opened.close()
        self.assertEqual(os.listdir(folder), [])

    async def test_a_socket_that_may_not_be_opened_says_who_may(self) -> None:
        def connect(self: Any) -> None:
            raise PermissionError(13, "Permission denied")

        self.patch(client._OverUnix, "connect", connect)
        error = await self.problem("greet", name="x")
        self.assertIn("user that runs the node", error.next_step)
        self.assertEqual(error.exit_code, 3)
