"""Tokens as time goes by: sharing, renewal, and a renewal that fails."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nodecache.challenge import Token
from nodecache.events import Event
from nodecache.failures import UpstreamFailure, UpstreamKind
from nodecache.upstream.account import Credentials
from nodecache.upstream.realms import token_url
from nodecache.upstream.tokens import MOST, TokenKey, Tokens, Want


def want(scope: str = "repository:a/b:pull", account: str = "") -> Want:
    return Want(TokenKey("https://auth.example/token", "service", scope, account), None)


class TokensTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.events: list[Event] = []
        self.tokens = Tokens(self.clock, self.events.append, margin=10.0)
        self.asked: list[Deferred[Token]] = []

    async def fetch(self, wanted: Want) -> Token:
        answer: Deferred[Token] = Deferred()
        self.asked.append(answer)
        return await answer

    def get(self, wanted: Want | None = None) -> Deferred[str]:
        return Deferred.fromCoroutine(self.tokens.get(wanted or want(), self.fetch))

    def answer(self, value: str, life: float) -> None:
        self.asked.pop(0).callback(Token(value, self.clock.seconds() + life))

    def have(self, value: str, life: float) -> None:
        getting = self.get()
        self.answer(value, life)
        self.assertEqual(self.successResultOf(getting), value)

    def test_a_token_serves_until_its_margin(self) -> None:
        self.have("one", 60)
        self.clock.advance(49.9)
        self.assertEqual(self.successResultOf(self.get()), "one")
        self.clock.advance(0.1)
        renewed = self.get()
        self.answer("two", 60)
        self.assertEqual(self.successResultOf(renewed), "two")

    def test_a_short_token_serves_half_its_life(self) -> None:
        self.have("one", 8)
        self.clock.advance(3.9)
        self.assertEqual(self.successResultOf(self.get()), "one")
        self.clock.advance(0.2)
        self.assertNoResult(self.get())

    def test_while_its_renewal_fails_a_token_serves_until_it_expires(self) -> None:
        self.have("one", 60)
        self.clock.advance(55)
        getting = self.get()
        self.asked.pop().errback(UpstreamFailure(UpstreamKind.TIMEOUT, "silent"))
        self.assertEqual(self.successResultOf(getting), "one")
        self.clock.advance(5)
        getting = self.get()
        self.asked.pop().errback(UpstreamFailure(UpstreamKind.TIMEOUT, "silent"))
        self.failureResultOf(getting, UpstreamFailure)

    def test_all_who_wait_share_one_request_and_one_failure(self) -> None:
        waiting = [self.get() for _ in range(3)]
        self.assertEqual(len(self.asked), 1)
        self.assertEqual(len(self.events), 2)
        self.asked.pop().errback(UpstreamFailure(UpstreamKind.ERROR, "broken"))
        for getting in waiting:
            self.failureResultOf(getting, UpstreamFailure)
        self.assertNoResult(self.get())
        self.assertEqual(len(self.asked), 1)

    def test_other_scopes_and_accounts_have_other_tokens(self) -> None:
        for wanted in (want(), want("repository:c/d:pull"), want(account="me")):
            self.assertNoResult(self.get(wanted))
        self.assertEqual(len(self.asked), 3)

    def test_a_refused_token_is_asked_for_anew_and_a_newer_one_is_not_dropped(self) -> None:
        self.have("one", 60)
        self.tokens.refuse(want().key, "one")
        self.have("two", 60)
        self.tokens.refuse(want().key, "one")
        self.assertEqual(self.successResultOf(self.get()), "two")

    def test_one_who_leaves_leaves_the_others(self) -> None:
        first, second = self.get(), self.get()
        first.cancel()
        self.failureResultOf(first)
        self.answer("one", 60)
        self.assertEqual(self.successResultOf(second), "one")

    def test_all_may_leave_and_the_token_is_still_kept(self) -> None:
        first = self.get()
        first.cancel()
        self.failureResultOf(first)
        self.answer("one", 60)
        self.assertEqual(self.successResultOf(self.get()), "one")

    def test_a_waiter_whose_end_cancels_another_is_no_trouble(self) -> None:
        first, second, third = self.get(), self.get(), self.get()
        first.addCallback(lambda _value: second.cancel())
        self.answer("one", 60)
        self.successResultOf(first)
        self.failureResultOf(second)
        self.assertEqual(self.successResultOf(third), "one")

    def test_when_all_ends_those_who_wait_are_told_so(self) -> None:
        getting = self.get()
        self.tokens.close()
        failure = self.failureResultOf(getting, UpstreamFailure)
        self.assertEqual(failure.value.kind, UpstreamKind.DOWN)

    def test_only_so_many_tokens_are_kept(self) -> None:
        for number in range(MOST + 1):
            getting = self.get(want(f"repository:a/{number}:pull"))
            self.answer("one", 600)
            self.successResultOf(getting)
        self.successResultOf(self.get(want("repository:a/1:pull")))
        self.assertNoResult(self.get(want("repository:a/0:pull")))


class TokenUrlTests(SynchronousTestCase):
    def url(self, realm: str, scope: str, user: str | None = None) -> str:
        credentials = Credentials(user, "secret", "label") if user else None
        return token_url(Want(TokenKey(realm, "registry.docker.io", scope, ""), credentials))

    def test_service_and_scope_are_the_query(self) -> None:
        self.assertEqual(
            self.url("https://auth.docker.io/token", "repository:library/alpine:pull"),
            "https://auth.docker.io/token?service=registry.docker.io"
            "&scope=repository:library/alpine:pull",
        )

    def test_a_query_of_the_realm_is_kept_and_scopes_are_repeated(self) -> None:
        self.assertEqual(
            self.url("https://a.example/t?x=1", "repository:a:pull repository:b:pull", "me"),
            "https://a.example/t?x=1&service=registry.docker.io"
            "&scope=repository:a:pull&scope=repository:b:pull&account=me",
        )
