"""Requests put together into pulls."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodecache.agents import OTHER, RUNTIMES, runtime_of
from nodecache.events import FillFinished, PullFinished, RequestFinished
from nodecache.pulls import REMEMBERED, Pulls
from nodecache.traces import Trace

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
        runtime="containerd",
        namespace="docker.io",
        repository="library/alpine",
        reference="3.20",
        digest=INDEX,
        requests=5,
        bytes=1130,
        seconds=2.8,
        bytes_by_source={"disk": 30, "fill": 100, "flight": 1000},
        source="flight",
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


# What peers brought.


def fill(
    digest: str, fetched: int, from_peers: int, senders: dict[str, int] | None = None
) -> FillFinished:
    return FillFinished(
        digest=digest,
        namespace="docker.io",
        repository="library/alpine",
        outcome="stored",
        total=fetched,
        fetched=fetched,
        seconds=1.0,
        connections=1,
        resumes=0,
        from_peers=from_peers,
        senders=senders or {},
    )


@pytest.mark.parametrize("before", [True, False], ids=["known first", "known last"])
def test_bytes_that_peers_brought_are_told_apart_from_those_of_upstream(before: bool) -> None:
    """Also where the fetch is over only after the client has its last byte."""
    node = Node()
    if before:
        node.pulls.fetched(fill(LAYER, 1000, 750))
    node.start(LAYER)
    node.finish(LAYER, "blob", source="fill", size=1000)
    node.start(CONFIG)
    node.finish(CONFIG, "blob", source="flight", size=100)
    if not before:
        node.pulls.fetched(fill(LAYER, 1000, 750))
    (pull,) = node.due(1.0)
    assert pull.bytes_by_source == {"fill": 250, "flight": 100, "peer": 750}
    assert (pull.bytes, pull.source) == (1100, "peer")


def test_the_nodes_that_gave_most_are_named() -> None:
    node = Node()
    node.pulls.fetched(fill(LAYER, 1000, 800, {"node-1": 600, "node-2": 200}))
    node.pulls.fetched(fill(CONFIG, 100, 100, {"node-2": 100}))
    for digest, size in ((LAYER, 1000), (CONFIG, 100)):
        node.start(digest)
        node.finish(digest, "blob", source="fill", size=size)
    (pull,) = node.due(1.0)
    assert pull.senders == {"node-1": 600, "node-2": 300}
    assert sum(pull.senders.values()) == pull.bytes_by_source["peer"]


def test_of_a_pull_from_disk_nobody_is_named_as_sender() -> None:
    node = Node()
    node.pulls.fetched(fill(LAYER, 1000, 800, {"node-1": 800}))
    node.start(LAYER)
    node.finish(LAYER, "blob", source="disk", size=1000)
    assert node.due(1.0)[0].senders == {}


def test_only_so_many_senders_are_named() -> None:
    """A line of the log stays short in a cluster of thousands."""
    node = Node()
    node.pulls.fetched(fill(LAYER, 500, 500, {f"node-{each}": 2 * each for each in range(1, 21)}))
    node.start(LAYER)
    node.finish(LAYER, "blob", source="fill", size=500)
    (pull,) = node.due(1.0)
    assert list(pull.senders) == [f"node-{each}" for each in range(20, 12, -1)]


def test_a_blob_that_was_fetched_again_from_upstream_is_no_longer_the_peers() -> None:
    node = Node()
    node.pulls.fetched(fill(LAYER, 10, 10))
    node.pulls.fetched(fill(LAYER, 10, 0))
    node.start(LAYER)
    node.finish(LAYER, "blob", source="fill", size=10)
    assert node.due(1.0)[0].bytes_by_source == {"fill": 10}


def test_what_is_remembered_of_fetches_is_bounded() -> None:
    node = Node()
    for number in range(REMEMBERED + 10):
        node.pulls.fetched(fill(f"sha256:{number}", 10, 10))
    for number in (0, REMEMBERED + 9):
        node.start(f"sha256:{number}")
        node.finish(f"sha256:{number}", "blob", source="fill", size=10)
    assert node.due(1.0)[0].bytes_by_source == {"fill": 10, "peer": 10}


def test_a_pull_of_which_nothing_came_has_no_source() -> None:
    node = Node()
    node.start("3.20")
    node.finish("3.20", status=404, source="none", size=99)
    assert node.due(1.0)[0].source == "none"


# Traces.

A, B = "a" * 32, "b" * 32
OWN = "0" * 15


def test_the_requests_of_a_pull_share_its_trace() -> None:
    pulls = Pulls()
    where = ("pod", "docker.io", "library/alpine")
    first = pulls.started(*where, "3.20", 1.0, Trace(A, OWN + "1"), "f" * 16)
    second = pulls.started(*where, LAYER, 1.1, Trace(B, OWN + "2"), "e" * 16)
    assert first == Trace(A, OWN + "1", "f" * 16)
    assert second == Trace(A, OWN + "2", "f" * 16)


def test_a_client_that_traces_keeps_its_own_trace() -> None:
    pulls = Pulls()
    theirs = Trace(A, OWN + "1", "c" * 16)
    assert pulls.started("pod", "n", "r", "3.20", 1.0, theirs, "f" * 16) == theirs
    node = Node(pulls, 1.0)
    pulls.finished(
        RequestFinished(
            request_id="1",
            client="pod",
            agent="",
            method="GET",
            kind="manifest",
            namespace="n",
            repository="r",
            reference="3.20",
            status=200,
            source="disk",
            bytes=1,
            seconds=0.1,
            outcome="complete",
        ),
        1.0,
    )
    (pull,) = node.due(1.0)
    assert (pull.trace_id, pull.span_id, pull.parent_id) == (A, "f" * 16, "c" * 16)


def test_a_request_without_a_trace_has_none() -> None:
    assert Pulls().started("pod", "n", "r", "3.20", 1.0) is None


# Who pulls.


@pytest.mark.parametrize(
    ("agent", "runtime"),
    [
        (
            "docker/28.5.0 go/go1.24 os/linux UpstreamClient(Docker-Client/28.5.0 \\(linux\\))",
            "docker",
        ),
        ("containerd/2.1.4", "containerd"),
        ("containerd/v1.7.23-k3s2", "containerd"),
        ("cri-o/1.30.0 go/go1.22 os/linux arch/amd64", "cri-o"),
        ("libpod/4.3.1", "podman"),
        ("podman/5.8.0", "podman"),
        ("skopeo/1.9.3", "skopeo"),
        ("Buildah/1.28.2", "buildah"),
        ("containers/5.23.1 (github.com/containers/image)", "containers"),
        ("buildkit/v0.12", "buildkit"),
        ("go-containerregistry/v0.20.2", "crane"),
        ("oras-go", "oras"),
        ("Helm/3.16.2", "helm"),
        ("  nodecache/0.1.0", "nodecache"),
        ("dockery/1", OTHER),
        ("Mozilla/5.0 docker/28", OTHER),
        ("", OTHER),
    ],
)
def test_a_runtime_is_known_by_the_first_word_of_its_agent(agent: str, runtime: str) -> None:
    assert runtime_of(agent) == runtime


@given(st.text())
def test_whatever_a_client_says_of_itself_comes_out_as_one_of_few_words(agent: str) -> None:
    assert runtime_of(agent) in RUNTIMES
