"""Secrets that are planted wherever a node meets some, and looked for wherever it speaks."""

from __future__ import annotations

import base64
import io
import os
from typing import Any

import attrs
from twisted.internet.task import deferLater

from nodecache.config import AccountSettings
from nodecache.events import Event, Level, RequestFinished, TokenFetched
from nodecache.limits import Timeouts
from nodecache.logs import LogWriter
from tests.fakes_client import Got, fetch, until
from tests.fakes_http import (
    Bytes,
    Change,
    Plan,
    answer,
    black_hole,
    corrupt,
    cut,
    hang_up,
    html,
    raw,
    with_headers,
)
from tests.fakes_hub import Image
from tests.node_case import NodeCase, reactor

APP = "team/app"
LAYER = os.urandom(5_000)
PASSWORD = "hunter2-of-the-account"
INBOUND = "inbound-password"
PLANTED = "planted-secret"

HASTY = Timeouts(
    answer=3.0, silence=0.3, stall_total=0.6, resume_pause=0.01, absent=0.0,
    absent_signature=0.0, probe_first=0.02, probe_last=0.02,
)  # fmt: skip


def login(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


class Secrets(NodeCase):
    def setUp(self) -> None:
        super().setUp()
        self.answers: list[Got] = []
        self.lines = {form: io.StringIO() for form in ("json", "console")}
        self.logs = [LogWriter(to, form, level=Level.DEBUG) for form, to in self.lines.items()]
        self.issued: list[str] = []
        self.hub.tokens.fault(self.remember_token)
        self.hub.registry.fault(self.remember_link)

    def observe(self, event: Event) -> None:
        super().observe(event)
        for log in self.logs:
            log.observe(event)

    # What the double hands out that nobody else may see.

    def remember_token(self, plan: Plan) -> Plan:
        body = plan.body.read(0, plan.body.size)
        if b'"token"' in body:
            self.issued.append(body.split(b'"')[3].decode())
        return plan

    def remember_link(self, plan: Plan) -> Plan:
        """A signature that can be told from everything else."""
        link = plan.headers.get("Location", "")
        if "verify=" not in link:
            return plan
        return with_headers(Location=f"{link}&X-Amz-Signature={PLANTED}")(plan)

    async def begun(self, **settings: Any) -> Image:
        image = self.hub.add_image(APP, "1", [LAYER, LAYER + b"2"])
        self.hub.make_private(APP, "robot")
        self.hub.accounts["robot"] = PASSWORD
        file = f"{self.data_dir}-account"
        with open(file, "w") as written:
            written.write(f"robot:{PASSWORD}\n")
        account = AccountSettings(file, (APP,))
        await self.start(upstream={"account": account}, timeouts=HASTY, tag_ttl=0.0, **settings)
        return image

    async def ask(self, path: str, method: str = "GET") -> Got:
        got = await self.get(
            f"{path}?ns=docker.io&access_token={INBOUND}",
            method,
            Authorization=f"Basic {login('me', INBOUND)}",
            Cookie=f"session={INBOUND}",
            X_Registry_Auth=login("me", INBOUND),
        )
        self.answers.append(got)
        return got

    async def ask_all(self, image: Image) -> None:
        """Once each way, whatever comes of it."""
        for method in ("HEAD", "GET"):
            await self.ask(f"/v2/{APP}/manifests/1", method)
            for digest in image.layers:
                await self.ask(f"/v2/{APP}/blobs/{digest}", method)
        await self.ask(f"/v2/{APP}/tags/list")
        await self.ask(f"/v2/{APP}/referrers/{image.digest}")

    async def spoken(self) -> dict[str, str]:
        """All that left the node but for the bodies of images, by way."""
        metrics = await fetch(reactor, f"http://127.0.0.1:{self.node.admin_port}/metrics")
        refused = b"\n".join(got.body for got in self.answers if got.status >= 400)
        return {
            "events": "\n".join(repr(event) for event in self.events),
            "json": self.lines["json"].getvalue(),
            "console": self.lines["console"].getvalue(),
            "metrics": metrics.body.decode(),
            "errors": refused.decode(),
            "headers": "\n".join(
                repr(list(got.headers.getAllRawHeaders())) for got in self.answers
            ),
        }

    async def nothing_is_told(self) -> None:
        await until(reactor, lambda: not self.filling())
        secrets = [
            PASSWORD,
            login("robot", PASSWORD),
            INBOUND,
            login("me", INBOUND),
            PLANTED,
            "verify=",
            *self.issued,
        ]
        for way, text in (await self.spoken()).items():
            for secret in secrets:
                assert secret not in text, (way, secret, _around(text, secret))

    async def test_a_pull_that_works_tells_none(self) -> None:
        image = await self.begun()
        await self.ask_all(image)
        await self.stored(2)
        assert {got.status for got in self.answers[:6]} == {200}
        assert self.told(TokenFetched)
        assert self.told(RequestFinished)
        assert len(self.issued) > 0
        assert any(seen.query.get("X-Amz-Signature") for seen in self.hub.cdn.requests)
        await self.nothing_is_told()

    async def test_no_request_of_a_client_goes_on_to_upstream(self) -> None:
        image = await self.begun()
        await self.ask_all(image)
        for seen in self.hub.requests:
            assert INBOUND not in repr(seen)
            assert login("me", INBOUND) not in repr(seen)

    async def through(self, site: str, *changes: Change, **fields: str) -> None:
        image = await self.begun()
        self.hub.add_image(APP, "0", [LAYER])
        await self.ask(f"/v2/{APP}/manifests/0")  # so that there is something stale as well
        self.hub.expire_tokens()
        getattr(self.hub, site).fault(*changes, **fields)
        await self.ask_all(image)
        await self.ask(f"/v2/{APP}/manifests/0")
        await deferLater(reactor, 0.05)  # probes
        await self.nothing_is_told()

    async def test_a_cdn_that_fails_tells_none(self) -> None:
        page = f"<html>{PLANTED}</html>".encode()
        for change in (
            answer(403, page, "text/xml"),
            answer(500, page),
            black_hole,
            hang_up,
            cut(10),
            corrupt,
            raw(b"junk " + PLANTED.encode() + b"\r\n\r\n"),
            html(),
            answer(307, Location=f"http://me:{PLANTED}@127.0.0.1/x?key={PLANTED}"),
            answer(307, Location=f"ftp://127.0.0.1/{PLANTED}"),
            answer(307, Location=f"http://127.0.0.1:9/x?key={PLANTED}"),
            answer(307, Location=f"http://no-such-host.invalid/x?key={PLANTED}"),
            answer(307, Location=f"http://[::zz/{PLANTED}"),
            with_headers(Content_Range=f"bytes {PLANTED}"),
        ):
            with self.subTest(change=change):
                await self.through("cdn", change)
                assert any(got.status != 200 or got.broken for got in self.answers)
            await self.again()

    async def again(self) -> None:
        await self.node.stop("next")
        self.events.clear()
        self.answers.clear()
        for site in self.hub.sites:
            site.faults.clear()
        self.hub.tokens.fault(self.remember_token)
        self.hub.registry.fault(self.remember_link)

    async def test_a_token_server_that_fails_tells_none(self) -> None:
        def half_a_token(plan: Plan) -> Plan:
            whole = plan.body.read(0, plan.body.size)
            return attrs.evolve(plan, body=Bytes(whole[:-5]))

        for change in (
            half_a_token,
            answer(401, PLANTED.encode()),
            answer(200, b'{"token": 17, "access_token": ["' + PLANTED.encode() + b'"]}'),
            answer(200, b'{"token": "' + PLANTED.encode() + b'\\r\\nX: y"}'),
            answer(200, b'{"token": "ok", "expires_in": "' + PLANTED.encode() + b'"}'),
            answer(302, Location=f"http://127.0.0.1:9/?key={PLANTED}"),
            answer(500, PLANTED.encode()),
            black_hole,
            hang_up,
        ):
            with self.subTest(change=change):
                await self.through("tokens", change)
            await self.again()

    async def test_a_registry_that_fails_tells_none(self) -> None:
        realm = f'Bearer realm="http://127.0.0.9:9/token?key={PLANTED}",service="{PLANTED}"'
        for change in (
            answer(401, PLANTED.encode(), WWW_Authenticate=realm),
            answer(401, WWW_Authenticate=f'Bearer realm="http://x:{PLANTED}@127.0.0.1/"'),
            answer(401, WWW_Authenticate=f'Basic realm="{PLANTED}"'),
            answer(403, PLANTED.encode(), "text/html"),
            answer(404, PLANTED.encode()),
            answer(429, PLANTED.encode(), Retry_After=PLANTED),
            answer(500, PLANTED.encode()),
            answer(307, Location=f"http://127.0.0.1:9/x?key={PLANTED}"),
            answer(200, PLANTED.encode(), "application/json"),
            with_headers(Docker_Content_Digest=PLANTED),
        ):
            with self.subTest(change=change):
                await self.through("registry", change)
            await self.again()

    async def test_an_account_file_that_is_no_good_is_not_quoted(self) -> None:
        image = await self.begun()
        for junk in (f"{PLANTED} {PLANTED}\n{PLANTED}", f":{PLANTED}", f"{PLANTED}\n{PLANTED}\n"):
            with open(f"{self.data_dir}-account", "w") as written:
                written.write(junk)
            await self.ask_all(image)
        await self.nothing_is_told()


def _around(text: str, secret: str) -> str:
    at = text.index(secret)
    return text[max(0, at - 300) : at + 200]
