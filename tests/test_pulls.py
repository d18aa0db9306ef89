"""Requests put together into pulls."""

from __future__ import annotations

import attrs
from hypothesis import given
from hypothesis import strategies as st

from nodecache.events import PullFinished, RequestFinished
from nodecache.pulls import Pulls

INDEX = "sha256:" + "11" * 32
CHILD = "sha256:" + "22" * 32
LAYER = "sha256:" + "33" * 32
CONFIG = "sha256:" + "44" * 32


@attrs.define
class Node:
    """A node and the clients that ask it, with a clock that is moved by hand."""

    pulls: Pulls = attrs.field(factory=Pulls)
    now: float = 100.0

    def start(
        self, reference: str, client: str = "pod", repository: str = "library/alpine"
    ) -> None:
        self.pulls.started(client, "docker.io", repository, reference, self.now)

    def finish(
        self,
        reference: str,
        kind: str = "manifest",
        *,
        client: str = "pod",
        repository: str = "library/alpine",
        status: int = 200,
        source: str = "disk",
        size: int = 10,
        outcome: str = "complete",
    ) -> None:
        event = RequestFinished(
            request_id="1",
            client=client,
            agent="containerd/2.1",
            method="GET",
            kind=kind,
            namespace="docker.io",
            repository=repository,
            reference=reference,
            status=status,
            source=source,
            bytes=size,
            seconds=0.1,
            outcome=outcome,
        )
        self.pulls.finished(event, self.now)

    def ask(self, reference: str, kind: str = "manifest", took: float = 0.1) -> None:
        self.start(reference)
        self.now += took
        self.finish(reference, kind)

    def due(self, after: float = 0.0) -> list[PullFinished]:
        self.now += after
        return self.pulls.due(self.now)


def test_a_pull_is_told_when_its_client_has_asked_nothing_for_a_second() -> None:
    node = Node()
    node.ask("3.20")
    node.ask(INDEX)
    node.ask(CHILD)
    node.start(CONFIG)
    node.start(LAYER)
    node.now += 2.0
    node.finish(CONFIG, "blob", source="fill", size=100)
    node.now += 0.5
    node.finish(LAYER, "blob", source="flight", size=1000)
    node.pulls.resolved("docker.io", "library/alpine", "3.20", INDEX)
    assert node.due(0.9) == []
    (pull,) = node.due(0.1)
    assert attrs.evolve(pull, seconds=round(pull.seconds, 6)) == PullFinished(
        client="pod",
        agent="containerd/2.1",
        namespace="docker.io",
        repository="library/alpine",
        reference="3.20",
        digest=INDEX,
        requests=5,
        bytes=1130,
        seconds=2.8,
        bytes_by_source={"disk": 30, "fill": 100, "flight": 1000},
        failed=0,
    )
    assert node.due(100) == []


def test_a_pull_with_a_request_open_is_not_over_however_long_it_takes() -> None:
    node = Node()
    node.ask("3.20")
    node.start(LAYER)
    assert node.due(3600) == []
    assert node.pulls.next_due() is None
    node.finish(LAYER, "blob")
    assert len(node.due(1.0)) == 1


def test_pulls_of_two_clients_and_of_two_repositories_are_apart() -> None:
    node = Node()
    for client, repository in (("a", "x/y"), ("b", "x/y"), ("a", "x/z")):
        node.start("1", client, repository)
        node.finish("1", client=client, repository=repository)
    found = {(pull.client, pull.repository) for pull in node.due(1.0)}
    assert found == {("a", "x/y"), ("b", "x/y"), ("a", "x/z")}


def test_another_tag_begins_another_pull_and_ends_the_first_at_once() -> None:
    node = Node()
    node.ask("3.19")
    node.ask("3.20")
    assert [pull.reference for pull in node.due()] == ["3.19"]
    assert [pull.reference for pull in node.due(1.0)] == ["3.20"]


def test_a_tag_that_is_asked_while_another_is_open_joins_its_pull() -> None:
    node = Node()
    node.start("3.19")
    node.start("3.20")
    node.finish("3.19")
    node.finish("3.20")
    (pull,) = node.due(1.0)
    assert (pull.reference, pull.requests) == ("3.19", 2)


def test_the_same_tag_again_after_blobs_is_another_pull() -> None:
    node = Node()
    node.ask("3.20")
    node.ask("3.20")
    node.ask(LAYER, "blob")
    node.ask("3.20")
    assert [pull.requests for pull in node.due()] == [3]
    assert [pull.requests for pull in node.due(1.0)] == [1]


def test_a_pull_by_digest_is_named_by_its_manifest() -> None:
    node = Node()
    node.ask(INDEX)
    node.ask(CHILD)
    node.ask(LAYER, "blob")
    (pull,) = node.due(1.0)
    assert (pull.reference, pull.digest) == (INDEX, INDEX)


def test_blobs_alone_are_named_by_the_first_of_them() -> None:
    node = Node()
    node.ask(LAYER, "blob")
    node.ask(CONFIG, "blob")
    (pull,) = node.due(1.0)
    assert (pull.reference, pull.digest) == (LAYER, "")


def test_the_meaning_of_another_tag_is_not_taken_for_this_pull() -> None:
    node = Node()
    node.start("3.20")
    for where in (("docker.io", "library/alpine", "3.19"), ("quay.io", "library/alpine", "3.20")):
        node.pulls.resolved(*where, INDEX)
    node.finish("3.20")
    assert node.due(1.0)[0].digest == ""


def test_failures_are_counted_but_not_clients_that_hang_up() -> None:
    node = Node()
    for status, outcome in (
        (400, "complete"),
        (503, "complete"),
        (200, "aborted"),
        (200, "stalled"),
        (206, "left"),
        (200, "complete"),
    ):
        node.start(LAYER)
        node.finish(LAYER, "blob", status=status, outcome=outcome)
    (pull,) = node.due(1.0)
    assert (pull.requests, pull.failed) == (6, 4)


def test_requests_that_are_no_part_of_a_pull_are_ignored() -> None:
    node = Node()
    for kind in ("base", "tags", "referrers", "other"):
        node.finish("", kind)
    assert node.due(10.0) == []


def test_a_request_that_nobody_announced_is_a_pull_as_well() -> None:
    node = Node()
    node.finish("3.20")
    assert [pull.requests for pull in node.due(1.0)] == [1]


def test_next_due_is_when_due_has_something() -> None:
    node = Node()
    assert node.pulls.next_due() is None
    node.ask("3.19")
    at = node.pulls.next_due()
    assert at == node.now + 1.0
    node.ask("3.20")
    assert node.pulls.next_due() == 0.0
    node.due()
    at = node.pulls.next_due()
    assert at is not None
    assert len(node.pulls.due(at)) == 1


@given(st.floats(0, 1e9), st.floats(0, 100))
def test_no_rounding_keeps_a_pull_from_being_over_when_it_is_due(at: float, idle: float) -> None:
    """Else its timer would fire again and again at the same time."""
    node = Node(Pulls(idle), at)
    node.ask("3.20")
    due = node.pulls.next_due()
    assert due is not None
    assert len(node.pulls.due(due)) == 1


def test_pulls_are_bounded_and_the_oldest_is_told_early() -> None:
    node = Node(Pulls(most=2))
    for client in ("a", "b", "c"):
        node.start("1", client)
        node.finish("1", client=client)
    assert [pull.client for pull in node.due()] == ["a"]
    assert [pull.client for pull in node.due(1.0)] == ["b", "c"]


def test_a_pull_that_was_told_early_can_still_end_its_requests() -> None:
    node = Node(Pulls(most=1))
    node.start("1", "a")
    node.start("1", "b")
    node.finish("1", client="a")
    node.finish("1", client="b")
    assert sorted(pull.client for pull in node.due(1.0)) == ["a", "b"]
    assert node.pulls.next_due() is None


def test_all_pulls_are_told_when_the_node_stops() -> None:
    node = Node()
    node.ask("3.20")
    node.start(LAYER)
    assert [pull.requests for pull in node.pulls.stop()] == [1]
    assert node.pulls.stop() == []
    assert node.pulls.next_due() is None
