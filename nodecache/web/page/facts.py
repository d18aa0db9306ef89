"""The same as plain text: for curl, and for whoever reads in a terminal."""

from __future__ import annotations

from typing import Any, Final

from nodecache.web.page.units import GLUE, ago, percent, size, span

_PATHS: Final = """\
/metrics            for Prometheus
/healthz            alive
/readyz             ready to serve
/api/v1/status      how the node is, as JSON; also history, transfers, errors
/                   the status page, for a browser
"""
#: Transfers and errors that are told.
MOST: Final = 10


def facts(status: dict[str, Any], transfers: dict[str, Any]) -> str:
    """A few lines. What came from outside stands on one line each."""
    name = status["node_id"] or "this node"
    sources, cache = status["bytes_by_source"], status["cache"]
    lines = [
        f"nodecache {status['version']}, {name}, up {span(status['uptime_seconds'])}",
        *(line["text"] for line in status["notices"]),
        "",
        f"hit rate       {percent(status['hit_rate'])}",
        f"clients got    {size(status['served_bytes'])}",
        f"from upstream  {size(sources['upstream'])}",
        f"from peers     {size(sources['peers'])}",
        f"saved          {size(status['upstream_bytes_saved'])}",
        f"cache          {size(cache['bytes'])} of {size(cache['cap'])}",
        f"disk free      {size(cache['disk_free'])}, floor {size(cache['floor'])}",
        *(_upstream(each) for each in status["upstreams"]),
        *(_flight(each) for each in transfers["transfers"][:MOST]),
        *(_error(each) for each in status["errors"][:MOST]),
        "",
    ]
    return "\n".join(lines).replace(GLUE, " ") + "\n" + _PATHS


def _upstream(seen: dict[str, Any]) -> str:
    state = {None: "not asked yet", True: "answers", False: f"down: {seen['reason']}"}[seen["up"]]
    limit = seen["rate_limit"]
    left = f", {limit['remaining']} of {limit['limit']} pulls left" if limit else ""
    return f"upstream       {seen['namespace']} {state}{left}"


def _flight(flight: dict[str, Any]) -> str:
    total = flight["total_bytes"]
    share = percent(flight["present_bytes"] / total) if total else "size unknown"
    return f"in flight      {flight['image']} {flight['digest'][:19]} {share}"


def _error(error: dict[str, Any]) -> str:
    return f"error          {ago(error['last_seconds'])}: {error['problem']}"
