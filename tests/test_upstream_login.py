"""Logging in to an upstream, over real sockets: tokens, realms, and an account."""

from __future__ import annotations

import json
import os
import pathlib

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults

from nodecache.config import AccountSettings
from nodecache.events import Coalesced, SettingWarning, TokenFetched
from nodecache.failures import UpstreamKind
from nodecache.limits import Limits
from nodecache.reference import Digest
from tests.fakes_client import fetch
from tests.fakes_http import Gate, Plan, answer, cut, gzipped, hold, html
from tests.fakes_site import ScriptedSite
from tests.upstream_kit import APP, LATEST, LAYER, UpstreamCase, read, soon


class TokenTests(UpstreamCase):
    limits = Limits(token_bytes=4000)

    async def test_one_token_serves_all_requests_of_a_repository(self) -> None:
        upstream = self.upstream()
        await upstream.head_manifest(APP, LATEST)
        await upstream.get_manifest(APP, self.digest)
        await read(await upstream.blob_source(APP, self.layer).fetch(None, soon()))
        self.assertEqual(self.hub.tokens.count(), 1)
        self.assertEqual(self.hub.registry.count(status=401), 1)
        (token,) = self.told(TokenFetched)
        self.assertEqual((token.scope, token.host), (f"repository:{APP}:pull", "127.0.0.1"))
        self.assertEqual(token.life_seconds, 300)

    async def test_each_repository_has_its_own_token(self) -> None:
        self.hub.add_image("library/other", "1", [])
        upstream = self.upstream()
        await upstream.head_manifest(APP, LATEST)
        await upstream.head_manifest("library/other", LATEST)
        names = [seen.name for seen in self.hub.tokens.requests]
        self.assertEqual(names, [APP, "library/other"])
        asked = self.hub.tokens.requests[0].query
        self.assertEqual(asked["service"], ["registry.fake"])

    async def test_an_origin_that_is_known_to_want_a_token_is_not_asked_without(self) -> None:
        self.hub.add_image("library/other", "1", [])
        upstream = self.upstream()
        await upstream.head_manifest(APP, LATEST)
        await upstream.head_manifest("library/other", LATEST)
        self.assertEqual(self.hub.registry.count(status=401), 1)

    async def test_concurrent_requests_share_one_token_request(self) -> None:
        upstream = self.upstream()
        gate = Gate()
        self.hub.tokens.fault(hold(gate))
        asking = [Deferred.fromCoroutine(upstream.head_manifest(APP, LATEST)) for _ in range(10)]
        await self.until(lambda: len(self.told(Coalesced)) == 9)
        gate.open()
        heads = await gatherResults(asking)
        self.assertEqual({head.digest for head in heads}, {self.digest})
        self.assertEqual(self.hub.tokens.count(), 1)

    async def test_one_who_leaves_does_not_end_the_token_request_for_the_others(self) -> None:
        upstream = self.upstream()
        gate = Gate()
        self.hub.tokens.fault(hold(gate))
        first = Deferred.fromCoroutine(upstream.head_manifest(APP, LATEST))
        second = Deferred.fromCoroutine(upstream.head_manifest(APP, LATEST))
        await self.until(lambda: gate.waiting == 1 and self.told(Coalesced))
        first.cancel()
        with self.assertRaises(CancelledError):
            await first
        gate.open()
        self.assertEqual((await second).digest, self.digest)
        self.assertEqual(self.hub.tokens.count(), 1)

    async def test_a_token_that_upstream_no_longer_takes_is_renewed_once(self) -> None:
        upstream = self.upstream()
        await upstream.head_manifest(APP, LATEST)
        self.hub.expire_tokens()
        self.assertEqual((await upstream.head_manifest(APP, LATEST)).digest, self.digest)
        self.assertEqual(self.hub.tokens.count(), 2)

    async def test_a_401_without_end_ends(self) -> None:
        upstream = self.upstream()
        self.hub.registry.fault(
            answer(401, WWW_Authenticate=f'Bearer realm="{self.hub.tokens.url}/token"')
        )
        for _ in range(2):
            self.hub.registry.requests.clear()
            await self.refused(upstream.head_manifest(APP, LATEST), UpstreamKind.DENIED)
            self.assertEqual(self.hub.registry.count(), 2)
        self.assertIsNone(upstream.down())

    async def test_a_401_that_wants_nothing_we_know_is_denied(self) -> None:
        for challenge in ("Negotiate", 'Basic realm="x"', "", 'Bearer service="no realm"'):
            self.hub.registry.faults.clear()
            self.hub.registry.fault(answer(401, WWW_Authenticate=challenge))
            await self.refused(self.upstream().head_manifest(APP, LATEST), UpstreamKind.DENIED)

    async def test_a_private_repository_is_denied_without_an_account(self) -> None:
        self.hub.make_private(APP, "me")
        await self.refused(self.upstream().head_manifest(APP, LATEST), UpstreamKind.DENIED)

    async def test_a_token_servers_refusal_is_told_by_its_kind(self) -> None:
        upstream = self.upstream()
        for status, kind in (
            (401, UpstreamKind.DENIED),
            (403, UpstreamKind.DENIED),
            (429, UpstreamKind.LIMITED),
            (302, UpstreamKind.ERROR),
            (404, UpstreamKind.NOT_FOUND),
        ):
            fault = self.hub.tokens.fault(answer(status))
            await self.refused(upstream.head_manifest(APP, LATEST), kind)
            fault.lift()
        self.assertEqual((await upstream.head_manifest(APP, LATEST)).digest, self.digest)

    async def test_junk_from_a_token_server_is_refused(self) -> None:
        upstream = self.upstream()
        for change in (
            html(),
            answer(200, b"{}"),
            answer(200, b'{"token": "a b"}'),
            answer(200, b"x" * 5000),
        ):
            fault = self.hub.tokens.fault(change)
            await self.refused(upstream.head_manifest(APP, LATEST), UpstreamKind.WRONG)
            fault.lift()
        self.hub.tokens.fault(cut(10), times=1)
        await self.refused(upstream.head_manifest(APP, LATEST), UpstreamKind.CUT)

    async def test_a_zipped_token_is_read(self) -> None:
        self.hub.tokens.fault(gzipped)
        self.assertEqual((await self.upstream().head_manifest(APP, LATEST)).digest, self.digest)

    async def test_an_upstream_without_logins_is_asked_without(self) -> None:
        hub = self.start_hub(token_auth=False)
        hub.add_image(APP, "1", [LAYER])
        await self.upstream(hub.url).head_manifest(APP, LATEST)
        self.assertEqual(hub.tokens.count(), 0)


class RealmTests(UpstreamCase):
    def evil(self) -> ScriptedSite:
        token = Plan(media_type="application/json")
        site = ScriptedSite(reactor, "evil", lambda _seen: token, host="127.0.0.2")
        site.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(site.stop()))
        return site

    async def test_a_realm_elsewhere_is_never_dialled(self) -> None:
        evil = self.evil()
        self.hub.realm = f"{evil.url}/token"
        upstream = self.upstream()
        failure = await self.refused(upstream.head_manifest(APP, LATEST), UpstreamKind.WRONG)
        self.assertIn("127.0.0.2", failure.message)
        self.assertEqual(evil.accepted, 0)

    async def test_a_realm_elsewhere_is_asked_where_the_settings_say_so(self) -> None:
        evil = self.evil()
        self.hub.realm = f"{evil.url}/token"
        upstream = self.upstream(realm_hosts=(f"127.0.0.2:{evil.port}",))
        await self.refused(upstream.head_manifest(APP, LATEST), UpstreamKind.WRONG)  # no token
        self.assertEqual(evil.accepted, 1)

    async def test_junk_for_a_realm_is_never_dialled(self) -> None:
        for realm in ("", "token", "file:///etc/passwd", "http://127.0.0.1@127.0.0.2/", "http://["):
            self.hub.registry.faults.clear()
            self.hub.registry.fault(answer(401, WWW_Authenticate=f'Bearer realm="{realm}"'))
            kind = UpstreamKind.WRONG if realm else UpstreamKind.DENIED
            await self.refused(self.upstream().head_manifest(APP, LATEST), kind)

    async def test_a_realms_redirect_is_not_followed(self) -> None:
        evil = self.evil()
        self.hub.tokens.fault(answer(307, Location=f"{evil.url}/token"))
        await self.refused(self.upstream().head_manifest(APP, LATEST), UpstreamKind.ERROR)
        self.assertEqual(evil.accepted, 0)


class AccountTests(UpstreamCase):
    def setUp(self) -> None:
        super().setUp()
        self.hub.accounts = {"me": "pass:word"}
        self.hub.make_private(APP, "me")
        self.file = pathlib.Path(self.mktemp())
        self.write("me:pass:word\n")
        self.account = AccountSettings(str(self.file), (APP,))

    def write(self, text: str) -> None:
        fresh = self.file.with_name("fresh")
        fresh.write_text(text)
        os.replace(fresh, self.file)

    async def test_the_account_opens_its_repositories(self) -> None:
        upstream = self.upstream(account=self.account)
        self.assertEqual((await upstream.get_manifest(APP, LATEST)).digest, self.digest)
        body = await upstream.blob_source(APP, self.layer).fetch(None, soon())
        self.assertEqual(await read(body), LAYER)
        self.assertIsNone(self.hub.cdn.requests[-1].header("authorization"))

    async def test_the_account_is_used_for_no_other_repository(self) -> None:
        self.hub.add_image("library/other", "1", [])
        self.hub.make_private("library/secret", "me")
        upstream = self.upstream(account=self.account)
        await upstream.head_manifest("library/other", LATEST)
        await self.refused(upstream.head_manifest("library/secret", LATEST), UpstreamKind.DENIED)
        self.assertTrue(all(s.header("authorization") is None for s in self.hub.tokens.requests))

    async def test_an_accounts_token_is_never_asked_for_another_scope(self) -> None:
        greedy = f'Bearer realm="{self.hub.tokens.url}/token",scope="repository:library/other:pull"'
        self.hub.registry.fault(answer(401, WWW_Authenticate=greedy), times=1)
        upstream = self.upstream(account=self.account)
        await upstream.head_manifest(APP, LATEST)
        self.assertEqual([seen.name for seen in self.hub.tokens.requests], [APP])

    async def test_a_changed_file_is_read_again(self) -> None:
        self.write("me:old\n")
        upstream = self.upstream(account=self.account)
        await self.refused(upstream.head_manifest(APP, LATEST), UpstreamKind.DENIED)
        self.write("me:pass:word\n")
        self.assertEqual((await upstream.head_manifest(APP, LATEST)).digest, self.digest)

    async def test_a_changed_file_ends_the_use_of_the_old_accounts_token(self) -> None:
        upstream = self.upstream(account=self.account)
        await upstream.head_manifest(APP, LATEST)
        self.hub.accounts = {"you": "new"}
        self.hub.make_private(APP, "you")
        self.write("you:new\n")
        await upstream.head_manifest(APP, LATEST)
        self.assertEqual(self.hub.registry.count(status=401), 1)

    async def test_without_a_good_file_the_repositories_are_asked_for_anonymously(self) -> None:
        upstream = self.upstream(account=self.account)
        for spoil in (self.file.unlink, lambda: self.write("a\nb\n"), lambda: self.write("")):
            spoil()
            for _ in range(2):
                await self.refused(upstream.head_manifest(APP, LATEST), UpstreamKind.DENIED)
        warnings = [event.message for event in self.told(SettingWarning)]
        self.assertEqual(len(warnings), 2, warnings)

    async def test_an_account_is_for_the_upstream_and_not_for_its_mirrors(self) -> None:
        mirror = self.start_hub()
        upstream = self.upstream(mirrors=(mirror.url,), account=self.account)
        self.assertEqual((await upstream.head_manifest(APP, LATEST)).digest, self.digest)
        for seen in mirror.tokens.requests:
            self.assertIsNone(seen.header("authorization"))

    async def test_a_registry_that_wants_the_password_itself_gets_it(self) -> None:
        site = ScriptedSite(
            reactor,
            "basic",
            lambda seen: (
                Plan(headers={"Docker-Content-Digest": str(self.digest)})
                if seen.header("authorization") == "Basic bWU6cGFzczp3b3Jk"
                else answer(401, WWW_Authenticate='Basic realm="x"')(Plan())
            ),
        )
        site.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(site.stop()))
        upstream = self.upstream(site.url, account=self.account)
        for _ in range(2):
            self.assertEqual((await upstream.head_manifest(APP, LATEST)).digest, self.digest)
        self.assertEqual(site.count(), 3)
        await self.refused(upstream.head_manifest("library/other", LATEST), UpstreamKind.DENIED)

    async def test_a_plain_token_goes_to_the_registry_as_it_is(self) -> None:
        got = await fetch(
            reactor,
            f"{self.hub.tokens.url}/token?scope=repository:{APP}:pull",
            headers={"Authorization": "Basic bWU6cGFzczp3b3Jk"},
        )
        self.write(json.loads(got.body)["token"])
        asked = self.hub.tokens.count()
        upstream = self.upstream(account=self.account)
        self.assertEqual((await upstream.head_manifest(APP, LATEST)).digest, self.digest)
        self.assertEqual(self.hub.tokens.count(), asked)
        self.write("wrong-token")
        await self.refused(upstream.head_manifest(APP, LATEST), UpstreamKind.DENIED)

    async def test_no_event_tells_a_secret(self) -> None:
        upstream = self.upstream(account=self.account)
        await upstream.get_manifest(APP, LATEST)
        self.write("me:wrong-pass:word\n")
        await self.refused(upstream.get_manifest(APP, LATEST), UpstreamKind.DENIED)
        told = repr(self.events)
        for secret in ("pass:word", "bWU6cGFzczp3b3Jk", "token-1", "token-2"):
            self.assertNotIn(secret, told)


class AbsentTests(UpstreamCase):
    async def test_an_absent_repository_is_not_found_and_costs_one_token(self) -> None:
        absent = Digest("sha256", "0" * 64)
        upstream = self.upstream()
        for _ in range(2):
            await self.refused(
                upstream.get_manifest("library/nothing", absent), UpstreamKind.NOT_FOUND
            )
        self.assertEqual(self.hub.tokens.count(), 1)
