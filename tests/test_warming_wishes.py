"""What peers wish a node to fetch: within its rules and bounds, and told of when asked again."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nodecache.archives import Child, Piece
from nodecache.archives.documents import read_document
from nodecache.events import Event, WishFinished
from nodecache.failures import NameDenied, UpstreamFailure, UpstreamKind
from nodecache.peerwire.wishes import Fulfilment, Stage, Wish
from nodecache.reference import Digest, Repository, Tag
from nodecache.warming import (
    Asked,
    NothingFits,
    Plan,
    TooBig,
    Wishes,
    bytes_of,
    check_platform,
    matches,
    pick,
    refuse_too_big,
)
from tests.archive_kit import made

ALPINE = Repository("docker.io", "library/alpine")
IMAGE = made([b"one", b"two"])


def plan(name: str = "3") -> Plan:
    document = read_document(IMAGE.manifest, Digest.parse(IMAGE.digest))
    blobs = {piece.digest: piece.size for piece in document.blobs}
    return Plan(ALPINE, Tag(name), (document,), blobs)


@attrs.define
class FakeWarming:
    """Plans and fetches when it is told to."""

    planning: list[Deferred[Plan]] = attrs.Factory(list)
    fetching: list[tuple[Deferred[int], Any]] = attrs.Factory(list)
    asked: list[Asked] = attrs.Factory(list)

    async def plan(self, asked: Asked) -> Plan:
        self.asked.append(asked)
        self.planning.append(Deferred())
        return await self.planning[-1]

    def missing(self, plan: Plan) -> dict[Digest, int]:
        return dict(plan.blobs)

    async def fetch(self, plan: Plan, progress: Any) -> int:
        self.fetching.append((Deferred(), progress))
        return await self.fetching[-1][0]


class WishesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.warming = FakeWarming()
        self.clock = Clock()
        self.events: list[Event] = []
        self.offline = False
        self.cap = 1 << 30
        self.wishes = Wishes(
            self.warming,  # type: ignore[arg-type]  # as much of it as is needed
            2,
            permit=self.permit,
            platform=lambda: "linux/amd64",
            cap=lambda: self.cap,
            offline=lambda: self.offline,
            clock=self.clock,
            observe=self.events.append,
        )
        self.addCleanup(self.wishes.stop)

    def permit(self, repository: Repository) -> None:
        if repository.name.startswith("secret/"):
            raise NameDenied(repository.name)

    def wish(self, tag: str = "3", asker: str = "n2", job: str = "1", **more: Any) -> Fulfilment:
        return self.wishes.wish(Wish(ALPINE, Tag(tag), job=job, **more), asker)

    def test_a_wish_is_taken_up_once_and_its_state_told_until_it_is_done(self) -> None:
        self.assertEqual(self.wish(), Fulfilment(Stage.FETCHING))
        self.assertEqual(self.wish(), Fulfilment(Stage.FETCHING))
        self.assertEqual(len(self.warming.planning), 1)
        self.assertEqual(self.warming.asked[0].platforms, ("linux/amd64",))
        one = plan()
        self.warming.planning[0].callback(one)
        manifest = len(IMAGE.manifest)
        self.assertEqual(self.wish(), Fulfilment(Stage.FETCHING, manifest, one.bytes))
        done, progress = self.warming.fetching[0]
        digest, size = next(iter(one.blobs.items()))
        progress(digest, 5, size)
        self.assertEqual(self.wish().bytes, manifest + 5)
        self.assertEqual(self.events, [])
        self.clock.advance(3)
        done.callback(one.bytes)
        self.assertEqual(self.wish(), Fulfilment(Stage.DONE, one.bytes, one.bytes))
        told = WishFinished(
            peer="n2",
            image="docker.io/library/alpine:3",
            outcome="done",
            bytes=one.bytes,
            seconds=3.0,
        )
        self.assertEqual(self.events, [told])

    def test_another_job_and_another_asker_are_other_wishes(self) -> None:
        self.wish(job="1")
        self.wish(job="2")
        self.assertEqual(len(self.warming.planning), 2)

    def test_more_than_it_does_at_a_time_is_put_off_and_nothing_is_begun_for_it(self) -> None:
        self.wish("1"), self.wish("2")
        self.assertEqual(self.wish("3"), Fulfilment(Stage.BUSY))
        self.assertEqual(len(self.warming.planning), 2)
        self.warming.planning[0].errback(UpstreamFailure(UpstreamKind.NOT_FOUND, "no such tag"))
        self.assertEqual(self.wish("3"), Fulfilment(Stage.FETCHING))

    def test_failures_are_told(self) -> None:
        self.wish()
        self.warming.planning[0].errback(UpstreamFailure(UpstreamKind.NOT_FOUND, "no such tag"))
        self.assertEqual(self.wish(), Fulfilment(Stage.FAILED, words="no such tag"))

    def test_the_nodes_own_rules_come_first(self) -> None:
        told = self.wishes.wish(Wish(Repository("docker.io", "secret/x"), Tag("1")), "n2")
        self.assertEqual(told.stage, Stage.REFUSED)
        self.assertIn("denied", told.words)
        self.offline = True
        self.assertEqual(self.wish(), Fulfilment(Stage.REFUSED, words="this node is offline"))
        self.assertEqual(self.warming.planning, [])

    def test_what_does_not_fit_is_refused_before_it_is_fetched(self) -> None:
        self.cap = 100
        self.wish()
        self.warming.planning[0].callback(plan())
        told = self.wish()
        self.assertEqual((told.stage, self.warming.fetching), (Stage.REFUSED, []))
        self.assertIn("holds at most 100", told.words)

    def test_a_node_that_stops_ends_them_and_takes_no_more(self) -> None:
        self.wish()
        self.wishes.stop()
        self.assertEqual(self.wish().stage, Stage.FAILED)
        self.assertEqual(self.wish("4").stage, Stage.BUSY)

    def test_no_more_than_so_many_outcomes_are_remembered(self) -> None:
        for number in range(600):
            self.wish(str(number))
            self.warming.planning[-1].errback(UpstreamFailure(UpstreamKind.NOT_FOUND, "no"))
        self.assertLessEqual(len(self.wishes._known), 257)


# Plans.


def child(platform: str, **annotations: str) -> Child:
    piece = Piece(Digest("sha256", "a" * 64), 1, "")
    return Child(piece, platform, {key.replace("_", "."): v for key, v in annotations.items()})


CHILDREN = (
    child("linux/amd64"),
    child("linux/arm/v6"),
    child("linux/arm/v7"),
    child("linux/arm64/v8"),
    child("unknown/unknown"),
)


@pytest.mark.parametrize(
    ("wanted", "every", "platforms"),
    [
        (("linux/amd64",), False, ["linux/amd64"]),
        (("linux/arm64",), False, ["linux/arm64/v8"]),
        (("linux/arm",), False, ["linux/arm/v6", "linux/arm/v7"]),
        (("linux/arm/v7", "linux/amd64"), False, ["linux/amd64", "linux/arm/v7"]),
        (("linux/s390x",), True, [each.platform for each in CHILDREN]),
    ],
)
def test_of_an_index_what_is_wanted_is_picked(
    wanted: tuple[str, ...], every: bool, platforms: list[str]
) -> None:
    assert [each.platform for each in pick(CHILDREN, wanted, every=every)] == platforms


@pytest.mark.parametrize("wanted", ["linux/s390x", "linux/arm64/v9", "linux/ar", "windows/amd64"])
def test_a_platform_that_is_not_there_is_told_with_those_that_are(wanted: str) -> None:
    with pytest.raises(NothingFits, match="linux/arm64/v8"):
        pick(CHILDREN, (wanted,), every=False)


def test_children_without_a_platform_are_always_had() -> None:
    children = (child(""), child("linux/amd64"))
    assert pick(children, ("linux/s390x",), every=False) == (children[0],)


@pytest.mark.parametrize(
    ("wanted", "platform", "yes"),
    [
        ("linux/arm", "linux/arm/v7", True),
        ("linux/arm", "linux/arm64", False),
        ("a/b", "a/b", True),
    ],
)
def test_a_platform_without_a_variant_means_all_of_them(
    wanted: str, platform: str, yes: bool
) -> None:
    assert matches(wanted, platform) is yes


@pytest.mark.parametrize(
    "text", ["", "linux", "linux/", "/amd64", "Linux/amd64", "a/b/c/d", "a/b\n"]
)
def test_what_is_no_platform(text: str) -> None:
    with pytest.raises(ValueError, match="no platform"):
        check_platform(text)


def test_bytes_of_several_images_are_counted_once_for_each_blob() -> None:
    assert bytes_of([plan("1"), plan("2")]) == plan().bytes


def test_what_fits_exactly_fits() -> None:
    refuse_too_big([plan()], plan().bytes)
    with pytest.raises(TooBig, match="library/alpine:3"):
        refuse_too_big([plan()], plan().bytes - 1)
