"""The port, the peers, the upstreams and the clock."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from nodecache.runtimes.facts import Answer, NodeFacts, PortFacts, UpstreamFacts
from nodecache.runtimes.findings import Finding, note, ok, problem, warning

#: Seconds that this clock may differ: tokens and certificates live by it.
SKEW: Final = 30.0
#: Seconds after which an answer of a port on the same node is worth a word.
SLOW: Final = 1.0

_LOGS: Final = "See 'kubectl -n nodecache logs' of its pod, or the log of 'nodecache serve'."


def check_port(port: PortFacts) -> Iterator[Finding]:
    """Who answers where the runtime asks."""
    asked = "from within this pod" if port.in_pod else "from here"
    if port.answer is Answer.OURS:
        yield ok("port-ours", "port", f"{port.mirror} is answered by nodecache, asked {asked}")
        if port.seconds > SLOW:
            what = f"{port.mirror} took {port.seconds:.1f} s to answer"
            fix = "Look at the node's load and disk."
            yield warning("port-slow", "port", what, "Every pull waits for it.", fix)
        return
    told = f" ({port.detail})" if port.detail else ""
    if port.answer is Answer.OTHER:
        yield problem(
            "port-other",
            "port",
            f"{port.mirror} is answered by somebody else{told}",
            "Pulls go to whatever that is.",
            "Find it with 'ss -ltnp', and give one of the two another port.",
        )
    elif port.answer is Answer.REFUSED:
        yield problem(
            "port-refused",
            "port",
            f"nobody listens at {port.mirror}, asked {asked}",
            "Runtimes go on to the registries at once: pulls work, nothing is cached.",
            f"Start the node, or look at why its pod does not run. {_LOGS}",
        )
    else:
        yield problem(
            "port-silent" if port.answer is Answer.SILENT else "port-failed",
            "port",
            f"{port.mirror} does not answer{told}",
            "A runtime waits for it before it goes on: up to 30 s for each request.",
            f"A hostPort without its pod, a firewall, or a process that hangs. {_LOGS}",
        )


def check_admin(node: NodeFacts) -> Iterator[Finding]:
    """The admin port, and the view of the cluster that it shows."""
    if node.problem:
        yield warning(
            "admin-unreachable",
            "node",
            node.problem,
            "Peers and the state of the upstreams can not be told.",
            "Name the admin port with --admin URL; in the pod it is http://localhost:5002.",
        )
        return
    if node.unasked_seconds is not None:
        what = (
            f"nobody asked for an image in the {node.unasked_seconds / 3600:.1f} h since its start"
        )
        yield note("node-unasked", "node", what, "Nothing was pulled here, or nothing through it.")
    if node.peers is None:
        yield note("peers-none", "peers", "this node has no peers", "It fetches for itself alone.")
    else:
        yield from _peers(node.peers)


def _peers(seen: Any) -> Iterator[Finding]:
    known, live = int(seen.get("known") or 0), int(seen.get("live") or 0)
    if seen.get("off_seconds") is not None:
        yield problem(
            "peers-off",
            "peers",
            "most peers failed, and for a while none is asked",
            "This node fetches everything upstream for itself.",
            "Is port 5001 open between the nodes, and the secret the same on all? "
            "/api/v1/peers on the admin port says what each did.",
        )
    elif known == 0:
        yield warning(
            "peers-unknown",
            "peers",
            "no other node is known",
            "Nothing is shared. That is right for a cluster of one node only.",
            "Look the headless service up from the pod; event discovery_failed says why not.",
        )
    elif live * 2 < known:
        yield warning(
            "peers-few",
            "peers",
            f"{live} of {known} other nodes are asked",
            "Much is fetched upstream more than once.",
            "/api/v1/peers on the admin port says what is wrong with each of the rest.",
        )
    else:
        yield ok("peers-live", "peers", f"{live} of {known} other nodes are asked")
    versions = [one for one in seen.get("peers", ()) if one.get("state") == "version"]
    if versions:
        what = f"{len(versions)} nodes speak another version of the wire"
        means = "They are not asked, nor ask us, until the rollout is done."
        yield note("peers-version", "peers", what, means)


def check_upstreams(
    upstreams: tuple[UpstreamFacts, ...], node: NodeFacts, *, peers: bool
) -> Iterator[Finding]:
    """Each registry, asked from here, and as the node sees it. ``peers``: others may have it."""
    if node.offline:
        means = "Only what is cached, here or on peers, is served; runtimes ask for the rest."
        yield note("offline", "upstream", "the node is told to be offline", means)
        return
    for one in upstreams:
        if one.status is None:
            rest = "cache and peers serve what they hold" if peers else "what is cached is served"
            yield problem(
                "upstream-unreachable",
                "upstream",
                f"{one.url} ({one.namespace}) can not be reached from here: {one.problem}",
                f"What is not cached can not be pulled; {rest}.",
                "Look at DNS, the egress rules of the node and of the pod, and the proxy settings.",
            )
        elif one.status in {200, 401}:
            what = f"{one.url} ({one.namespace}) answers from here"
            yield ok("upstream-reached", "upstream", what)
        else:
            yield warning(
                "upstream-strange",
                "upstream",
                f"{one.url} ({one.namespace}) answers {one.status} to /v2/",
                "A registry answers 200 or 401: a proxy, a rate limit or an outage may be between.",
                "Open it from the node: curl -sI " + one.url + "/v2/",
            )
    for origin in node.down:
        yield warning(
            "upstream-down",
            "upstream",
            f"the node takes {origin} for down, and probes it",
            "Until it answers, only what is cached is served; all else falls back.",
            "The log's event upstream_failed says what it did.",
        )


def check_clock(upstreams: tuple[UpstreamFacts, ...], node: NodeFacts) -> Iterator[Finding]:
    """This clock against the others: the smallest difference counts, since one may be wrong."""
    skews = [one.skew for one in upstreams if one.skew is not None] or list(node.peer_skews)
    if not skews:
        yield note("clock-unknown", "clock", "nobody could be asked for the time")
        return
    skew = min(skews, key=abs)
    if abs(skew) <= SKEW:
        yield ok("clock", "clock", f"the clock is right to {max(1, round(abs(skew)))} s")
        return
    side = "ahead" if skew > 0 else "behind"
    yield problem(
        "clock-skew",
        "clock",
        f"the clock is {abs(skew):.0f} s {side}",
        "Tokens and certificates are taken for expired or not yet valid; tags live too long or "
        "too short.",
        "Look at chrony or systemd-timesyncd on the node.",
    )
