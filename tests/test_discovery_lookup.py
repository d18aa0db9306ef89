"""Resolving the name of the peers against a name server that does all that they do."""

from __future__ import annotations

import os
import random
from collections.abc import Awaitable
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor as installed
from twisted.internet.defer import CancelledError, Deferred
from twisted.names import dns
from twisted.trial.unittest import TestCase

from nodecache.discovery.lookup import Found, Lookup, NotResolved
from nodecache.discovery.question import Question
from nodecache.discovery.resolvconf import ResolvConf, ResolvConfFile, parse
from tests.fakes_client import until
from tests.fakes_dns import EMPTY, SERVFAIL, SILENT, FakeDns, Says, has

NAME = "peers.images.svc.cluster.local"
SEARCH = ("images.svc.cluster.local", "svc.cluster.local", "cluster.local")
#: As many as fit into one answer over TCP, compressed as servers do.
MOST_A = 4080
MOST_AAAA = 2300


@attrs.define
class Fixed:
    """Settings that a test changes as it likes."""

    now: ResolvConf

    def settings(self) -> ResolvConf:
        return self.now


class LookupCase(TestCase):
    timeout = 20

    def setUp(self) -> None:
        self.dns = FakeDns(installed)
        self.port = self.dns.start()
        self.addCleanup(self.dns.stop)
        self.settings = Fixed(ResolvConf(("127.0.0.1",)))

    def lookup(self, seconds: float = 5.0, port: int = 0) -> Lookup:
        rng = random.Random(1)
        return Lookup(installed, self.settings, seconds, rng, port or self.port)

    async def why_not(self, looking: Awaitable[Found]) -> str:
        try:
            found = await looking
        except NotResolved as problem:
            return str(problem)
        raise AssertionError(f"resolved to {found}")


class TestAnswers(LookupCase):
    async def test_both_families_are_found(self) -> None:
        self.dns.peers(NAME, ["10.0.0.1", "10.0.0.2"], ["fd00::1"])
        found = await self.lookup().lookup(NAME)
        self.assertEqual(found, Found(("10.0.0.1", "10.0.0.2", "fd00::1")))

    async def test_a_name_server_may_have_an_ipv6_address(self) -> None:
        number = self.dns.start(host="::1")
        self.settings = Fixed(ResolvConf(("::1",)))
        self.dns.peers(NAME, ["10.0.0.1"], ["fd00::1"])
        found = await self.lookup(port=number).lookup(NAME)
        self.assertEqual(found, Found(("10.0.0.1", "fd00::1")))
        many = [f"10.0.{index // 256}.{index % 256}" for index in range(400)]
        self.dns.peers(NAME, many)  # too many for a datagram: the rest comes over TCP
        self.assertEqual(len((await self.lookup(port=number).lookup(NAME)).hosts), 400)

    async def test_one_family_alone_is_a_whole_answer(self) -> None:
        self.dns.peers(NAME, ["10.0.0.1"])
        self.assertEqual(await self.lookup().lookup(NAME), Found(("10.0.0.1",)))
        self.dns.peers(NAME, [], ["fd00::1"])
        self.assertEqual(await self.lookup().lookup(NAME), Found(("fd00::1",)))

    async def test_a_family_that_fails_makes_the_answer_a_partial_one(self) -> None:
        self.dns.peers(NAME, ["10.0.0.1"])
        self.dns.zone[NAME, "AAAA"] = SERVFAIL
        self.assertEqual(await self.lookup().lookup(NAME), Found(("10.0.0.1",), partial=True))
        self.dns.zone[NAME, "AAAA"] = SILENT
        found = await self.lookup(0.2).lookup(NAME)
        self.assertEqual(found, Found(("10.0.0.1",), partial=True))

    async def test_addresses_that_no_node_can_have_are_passed_over(self) -> None:
        self.dns.peers(NAME, ["0.0.0.0", "224.0.0.1", "10.0.0.1", "10.0.0.1"], ["::"])
        self.assertEqual(await self.lookup().lookup(NAME), Found(("10.0.0.1",)))

    async def test_what_is_not_found_is_said(self) -> None:
        self.assertEqual(await self.why_not(self.lookup().lookup(NAME)), f"{NAME}: NXDOMAIN")
        self.dns.peers(NAME)
        self.assertEqual(await self.why_not(self.lookup().lookup(NAME)), f"{NAME}: no address")

    async def test_a_server_that_fails_is_said(self) -> None:
        for code in ("SERVFAIL", "REFUSED", "FORMERR"):
            self.dns.zone[NAME, "A"] = self.dns.zone[NAME, "AAAA"] = Says(code=code)
            self.assertEqual(await self.why_not(self.lookup().lookup(NAME)), f"{NAME}: {code}")

    async def test_what_is_no_answer_to_the_question_is_silence(self) -> None:
        for how in ("silent", "garbage", "another-number", "another-name", "short"):
            says = Says(("10.6.6.6",), how=how)
            self.dns.zone[NAME, "A"] = self.dns.zone[NAME, "AAAA"] = says
            why = await self.why_not(self.lookup(0.2).lookup(NAME))
            self.assertEqual(why, f"{NAME}: no answer in time", how)

    async def test_a_slow_server_is_waited_for(self) -> None:
        self.dns.zone[NAME, "A"] = self.dns.zone[NAME, "AAAA"] = has("10.0.0.1", delay=1.3)
        self.assertEqual((await self.lookup().lookup(NAME)).hosts, ("10.0.0.1",))
        self.assertEqual(len(self.dns.names()), 2)  # asked again, and answered in time

    async def test_a_lookup_that_is_cancelled_leaves_nothing_open(self) -> None:
        self.dns.zone[NAME, "A"] = self.dns.zone[NAME, "AAAA"] = SILENT
        looking = Deferred.fromCoroutine(self.lookup().lookup(NAME))
        await until(installed, lambda: len(self.dns.asked) == 2)
        looking.cancel()
        with self.assertRaises(CancelledError):
            await looking


class TestTruncation(LookupCase):
    async def test_an_answer_that_does_not_fit_is_asked_for_over_tcp(self) -> None:
        crowd = [f"10.0.{n >> 8}.{n & 255}" for n in range(1, 101)]
        self.dns.peers(NAME, crowd)
        found = await self.lookup().lookup(NAME)
        self.assertEqual(found, Found(tuple(crowd)))
        self.assertIn((NAME, "A", "tcp"), self.dns.asked)
        self.assertNotIn((NAME, "AAAA", "tcp"), self.dns.asked)

    async def test_the_largest_answers_there_can_be_are_read(self) -> None:
        """Twisted's parser takes 1,000 compressed names if it is not told otherwise."""
        a = [f"10.0.{n >> 8}.{n & 255}" for n in range(1, MOST_A + 1)]
        aaaa = [f"fd00::{n:x}" for n in range(1, MOST_AAAA + 1)]
        self.dns.peers(NAME, a, aaaa)
        found = await self.lookup().lookup(NAME)
        self.assertEqual(found, Found((*a, *aaaa)))

    async def test_without_tcp_what_came_over_udp_is_a_partial_answer(self) -> None:
        udp_only = FakeDns(installed)
        port = udp_only.start(tcp=False)
        self.addCleanup(udp_only.stop)
        udp_only.zone[NAME, "A"] = has("10.0.0.1", "10.0.0.2", cut=True)
        udp_only.zone[NAME, "AAAA"] = EMPTY
        found = await self.lookup(port=port).lookup(NAME)
        self.assertEqual(found, Found(("10.0.0.1", "10.0.0.2"), partial=True))

    async def test_without_tcp_an_answer_cut_off_before_its_beginning_is_none(self) -> None:
        udp_only = FakeDns(installed)
        port = udp_only.start(tcp=False)
        self.addCleanup(udp_only.stop)
        udp_only.zone[NAME, "A"] = Says(cut=True)
        udp_only.zone[NAME, "AAAA"] = EMPTY
        why = await self.why_not(self.lookup(port=port).lookup(NAME))
        self.assertIn("no connection", why)

    async def test_silence_garbage_and_a_cut_over_tcp_leave_the_partial_answer(self) -> None:
        self.dns.zone[NAME, "A"] = has("10.0.0.1", cut=True)
        self.dns.zone[NAME, "AAAA"] = EMPTY
        for says in (SILENT, Says(how="garbage"), has("10.0.0.9", how="short"), SILENT):
            self.dns.over_tcp[NAME, "A"] = says
            found = await self.lookup(0.3).lookup(NAME)
            self.assertEqual(found, Found(("10.0.0.1",), partial=True))

    async def test_a_failure_over_tcp_counts_as_one(self) -> None:
        self.dns.zone[NAME, "A"] = Says(cut=True)
        self.dns.zone[NAME, "AAAA"] = EMPTY
        self.dns.over_tcp[NAME, "A"] = SERVFAIL
        self.assertIn("SERVFAIL", await self.why_not(self.lookup().lookup(NAME)))

    async def test_an_answer_cut_off_over_tcp_as_well_is_partial(self) -> None:
        self.dns.zone[NAME, "A"] = has("10.0.0.1", cut=True)
        self.dns.zone[NAME, "AAAA"] = EMPTY
        self.dns.over_tcp[NAME, "A"] = has("10.0.0.1", "10.0.0.2", cut=True)
        found = await self.lookup().lookup(NAME)
        self.assertEqual(found, Found(("10.0.0.1", "10.0.0.2"), partial=True))


class TestServers(LookupCase):
    async def test_the_next_server_is_asked_when_one_fails_or_is_dead(self) -> None:
        second = FakeDns(installed)
        second.start(host="127.0.0.2", port=self.port, tcp=False)
        self.addCleanup(second.stop)
        second.peers(NAME, ["10.0.0.1"])
        self.dns.zone[NAME, "A"] = self.dns.zone[NAME, "AAAA"] = SERVFAIL
        for first in ("127.0.0.1", "127.0.0.3"):  # SERVFAIL; nobody listens
            self.settings.now = ResolvConf((first, "127.0.0.2"))
            self.assertEqual((await self.lookup().lookup(NAME)).hosts, ("10.0.0.1",))

    async def test_nobody_listens_anywhere(self) -> None:
        self.settings.now = ResolvConf(("127.0.0.3",))
        why = await self.why_not(self.lookup().lookup(NAME))
        self.assertEqual(why, f"{NAME}: refused")

    async def test_a_server_without_a_route_is_said(self) -> None:
        self.settings.now = ResolvConf(("240.0.0.1",))
        why = await self.why_not(self.lookup(0.3).lookup(NAME))
        self.assertIn(NAME, why)


class TestSearchList(LookupCase):
    def setUp(self) -> None:
        super().setUp()
        self.settings.now = ResolvConf(("127.0.0.1",), SEARCH, 5)

    async def test_a_short_name_is_found_in_the_pods_own_namespace(self) -> None:
        self.dns.peers(NAME, ["10.0.0.1"])
        self.dns.peers("peers.svc.cluster.local", ["10.9.9.9"])
        self.assertEqual((await self.lookup().lookup("peers")).hosts, ("10.0.0.1",))

    async def test_a_name_that_is_there_without_addresses_is_passed_over(self) -> None:
        self.dns.peers(NAME)
        self.dns.peers("peers.svc.cluster.local", ["10.0.0.2"])
        self.assertEqual((await self.lookup().lookup("peers")).hosts, ("10.0.0.2",))

    async def test_a_long_name_is_found_behind_the_whole_search_list(self) -> None:
        self.dns.peers(NAME, ["10.0.0.1"])
        self.settings.now = ResolvConf(("127.0.0.1",), (*SEARCH, "corp.example"), 5)
        self.dns.zone[f"{NAME}.corp.example", "A"] = SERVFAIL
        self.dns.zone[f"{NAME}.corp.example", "AAAA"] = SILENT
        self.assertEqual((await self.lookup(0.5).lookup(NAME)).hosts, ("10.0.0.1",))

    async def test_an_absolute_name_is_asked_alone(self) -> None:
        self.dns.peers(NAME, ["10.0.0.1"])
        self.assertEqual((await self.lookup().lookup(NAME + ".")).hosts, ("10.0.0.1",))
        self.assertEqual(self.dns.names(), [NAME])

    async def test_an_absolute_name_that_was_found_and_is_gone_is_said(self) -> None:
        self.dns.peers(NAME, ["10.0.0.1"])
        lookup = self.lookup()
        await lookup.lookup(NAME + ".")
        self.dns.zone.clear()
        self.assertEqual(await self.why_not(lookup.lookup(NAME + ".")), f"{NAME}: NXDOMAIN")

    async def test_the_name_that_was_found_is_asked_alone_while_it_exists(self) -> None:
        self.dns.peers(NAME, ["10.0.0.1"])
        lookup = self.lookup()
        await lookup.lookup("peers")
        self.dns.asked.clear()
        await lookup.lookup("peers")
        self.assertEqual(self.dns.names(), [NAME])
        del self.dns.zone[NAME, "A"], self.dns.zone[NAME, "AAAA"]
        self.dns.peers("peers", ["10.0.0.3"])
        self.assertEqual((await lookup.lookup("peers")).hosts, ("10.0.0.3",))

    async def test_a_failure_about_the_name_that_was_found_leads_to_no_other(self) -> None:
        self.dns.peers(NAME, ["10.0.0.1"])
        self.dns.peers("peers.cluster.local", ["10.9.9.9"])
        lookup = self.lookup()
        await lookup.lookup("peers")
        self.dns.zone[NAME, "A"] = self.dns.zone[NAME, "AAAA"] = SERVFAIL
        self.assertEqual(await self.why_not(lookup.lookup("peers")), f"{NAME}: SERVFAIL")

    async def test_a_name_found_behind_one_that_failed_is_not_held_to_be_the_right_one(
        self,
    ) -> None:
        self.dns.zone[NAME, "A"] = self.dns.zone[NAME, "AAAA"] = SERVFAIL
        self.dns.peers("peers.cluster.local", ["10.9.9.9"])
        lookup = self.lookup()
        self.assertEqual((await lookup.lookup("peers")).hosts, ("10.9.9.9",))
        self.dns.peers(NAME, ["10.0.0.1"])
        self.assertEqual((await lookup.lookup("peers")).hosts, ("10.0.0.1",))


CANDIDATES: list[tuple[str, int, list[str]]] = [
    ("peers", 5, ["peers.a.b", "peers.b", "peers"]),
    ("peers.x", 5, ["peers.x.a.b", "peers.x.b", "peers.x"]),
    ("peers.x", 1, ["peers.x", "peers.x.a.b", "peers.x.b"]),
    ("peers", 0, ["peers", "peers.a.b", "peers.b"]),
    ("peers.x.", 5, ["peers.x"]),
    ("y" * 251, 5, ["y" * 251 + ".b", "y" * 251]),
]


@pytest.mark.parametrize(("name", "ndots", "names"), CANDIDATES)
def test_the_search_list_is_gone_through_as_the_c_library_does(
    name: str, ndots: int, names: list[str]
) -> None:
    assert ResolvConf((), ("a.b", "b"), ndots).candidates(name) == tuple(names)


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("", ResolvConf()),
        (
            "search a.b b.\nnameserver 10.96.0.10\noptions ndots:5\n",
            ResolvConf(("10.96.0.10",), ("a.b", "b"), 5),
        ),
        ("nameserver fd00::a # ours\n; nothing\nnameserver nobody", ResolvConf(("fd00::a",))),
        ("search a\nsearch b\ndomain c d", ResolvConf(search=("c",))),
        ("domain c\nsearch a b", ResolvConf(search=("a", "b"))),
        ("options rotate ndots:99 timeout:2", ResolvConf(ndots=15)),
        ("options ndots:x\noptions ndots:", ResolvConf()),
        ("nameserver\nsearch\noptions\nsearch .", ResolvConf()),
        (
            "\n".join(f"nameserver 10.0.0.{n}" for n in range(1, 9)),
            ResolvConf(("10.0.0.1", "10.0.0.2", "10.0.0.3")),
        ),
    ],
)
def test_the_settings_are_read_as_the_c_library_does(text: str, settings: ResolvConf) -> None:
    assert parse(text) == settings


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    assert parse(text).servers


def test_the_file_is_read_again_when_it_changes_and_kept_when_it_goes(tmp_path: Any) -> None:
    path = str(tmp_path / "resolv.conf")
    file = ResolvConfFile(path)
    assert file.settings() == ResolvConf()
    (tmp_path / "resolv.conf").write_text("nameserver 10.0.0.1\n")
    assert file.settings().servers == ("10.0.0.1",)
    (tmp_path / "new").write_text("nameserver 10.0.0.2\n")
    os.replace(tmp_path / "new", path)
    assert file.settings().servers == ("10.0.0.2",)
    os.unlink(path)
    assert file.settings().servers == ("10.0.0.2",)


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_an_answer_or_none(junk: bytes, after_a_header: bool) -> None:
    question = Question(NAME, "A", 0x4142)
    raw = (b"AB\x80\0\0\1\0\1\0\0\0\0" if after_a_header else b"") + junk
    message = question.decode(raw)
    assert message is None or message.id == 0x4142


def test_an_answer_that_is_a_knot_of_pointers_is_none() -> None:
    question = Question(NAME, "A", 1)
    reply = dns.Message(1, answer=1, maxSize=0)
    reply.queries = [dns.Query(NAME, dns.A)]
    raw = reply.toStr()
    loop = b"\xc0" + bytes([len(raw)]) + b"\0\1\0\1\0\0\0\5\0\4\x0a\0\0\1"
    assert question.decode(raw) is not None
    assert question.decode(raw[:6] + b"\0\1" + raw[8:] + loop) is None
