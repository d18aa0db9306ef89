"""``nodecache status``: how this node is, and how the others are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import click
from rich.console import Console
from rich.text import Text

from nodecache.cli.console import (
    ago,
    bar,
    console,
    count,
    json_option,
    percent,
    print_json,
    print_table,
    size,
    table,
)
from nodecache.cli.target import Target, node_options

_STYLES: Final = {"ok": "green", "warn": "yellow", "bad": "red"}
#: Words for where bytes came from, in the order in which they are told.
_SOURCES: Final = {
    "disk": "disk",
    "flight": "a fetch under way",
    "fill": "a fetch begun for it",
    "stale": "disk, stale",
    "passed": "passed through",
}
#: Words for what a node that was not asked is to this one.
_STATES: Final = {"version": "other version", "leaving": "stopping"}
_ERRORS: Final = 5


@click.command(short_help="How this node is; --cluster: all of them.")
@click.option("--cluster", is_flag=True, help="Every node that this one knows.")
@json_option
@node_options
def status(*, cluster: bool, as_json: bool, target: Target) -> None:
    """Say how the node is: what it served and from where, its room, its upstreams.

    With --cluster every other node is asked, through this one; one that does not
    answer is shown as such.
    """
    path = "/api/v1/cluster" if cluster else "/api/v1/status"
    document = target.admin.get(path)
    if as_json:
        print_json(document)
    elif cluster:
        _show_cluster(document)
    else:
        _show(document, console())


def _show(found: dict[str, Any], out: Console) -> None:
    node = found["node_id"] or "this node"
    out.print(f"{node}: nodecache {found['version']}, up {ago(found['uptime_seconds'])}")
    for notice in found.get("notices") or [{"text": found["health"], "state": ""}]:
        out.print(Text(notice["text"], style=_STYLES.get(notice.get("state", ""), "")))
    out.print()
    for title, value in _facts(found):
        out.print(Text.assemble(f"{title:11}", value))
    _show_upstreams(found["upstreams"])
    errors = found["errors"][:_ERRORS]
    if errors:
        out.print("\nLast troubles")
        for error in errors:
            over = ", over" if error.get("over") else ""
            out.print(f"  {ago(error['last_seconds'])} ago{over}: {error['problem']}")
            if error.get("next"):
                out.print(f"    {error['next']}")


def _facts(found: dict[str, Any]) -> Iterator[tuple[str, str | Text]]:
    sources = found["bytes_by_source"]
    served = found["served_bytes"]
    yield "served", f"{size(served)}, {percent(found['hit_rate'])} of requests from here"
    parts = [f"{size(sources[key])} {word}" for key, word in _SOURCES.items() if sources.get(key)]
    if parts:
        yield "", ", ".join(parts)
    fetched = f"{size(sources['upstream'])} from upstream, {size(sources['peers'])} from peers"
    yield "fetched", f"{fetched}; saved {size(found['upstream_bytes_saved'])}"
    cache = found["cache"]
    part = cache["bytes"] / cache["cap"] if cache["cap"] else 0.0
    line = f" {percent(part)} of {size(cache['cap'])}: {size(cache['bytes'])}"
    yield "cache", Text.assemble(bar(part), line)
    free = f"{size(cache['disk_free'])} of the disk free"
    blobs, manifests = count(cache["blobs"], "blob"), count(cache["manifests"], "manifest")
    yield "", f"{blobs}, {manifests}; {free}"
    peers = found.get("peers")
    if peers is not None:
        aside = f", {peers['aside']} put aside" if peers["aside"] else ""
        off = "; none is asked for now" if peers["off"] else ""
        yield "peers", f"{peers['live']} of {peers['known']} live{aside}{off}"
    sent = f"{found.get('sending', 0)} being sent"
    yield "under way", f"{count(found['in_flight'], 'blob')} being fetched, {sent}"


def _show_upstreams(upstreams: list[dict[str, Any]]) -> None:
    columns = ("UPSTREAM", "STATE", "SINCE", "PULLS LEFT", "RESET IN")
    shown = table(*columns, right=("SINCE",), folded=("UPSTREAM", "STATE"))
    for each in upstreams:
        limit = each["rate_limit"]
        left = resets = "-"
        if limit is not None:
            left = f"{limit['remaining']} of {limit['limit']}"
            resets = ago(limit["resets_in_seconds"])
        state = {True: "up", False: f"down: {each['reason']}"}.get(each["up"], "not asked yet")
        shown.add_row(each["namespace"], state, ago(each["since_seconds"]), left, resets)
    console().print()
    print_table(shown)


def _show_cluster(document: dict[str, Any]) -> None:
    columns = ("NODE", "STATE", "VERSION", "SIZE", "HITS", "UPSTREAM", "BREAKERS", "UP")
    shown = table(*columns, right=("SIZE", "HITS", "UPSTREAM", "UP"))
    notes = []
    for node in document["nodes"]:
        name = node["id"] or "this node"
        told = node["status"] or {}
        shown.add_row(
            name + ("*" if node["self"] else ""),
            _state(node),
            told.get("release") or node.get("release") or "-",
            size(told.get("bytes")),
            percent(told.get("hit_rate")),
            size(told.get("upstream_bytes")),
            _breakers(told),
            ago(told.get("uptime_seconds")),
        )
        notes += [f"{name}: {note}" for note in _notes(node, told)]
    print_table(shown)
    for note in notes:
        console().print(note)


def _state(node: dict[str, Any]) -> str:
    state = str(node["state"])
    return state if node["status"] else _STATES.get(state, "no answer")


def _breakers(told: dict[str, Any]) -> str:
    """How many upstreams and peers a node does not ask for now; the notes name them."""
    if not told:
        return "-"
    upstreams, peers = len(told.get("upstreams_down", ())), told.get("peers_aside", 0)
    found = [count(n, what) for n, what in ((upstreams, "upstream"), (peers, "peer")) if n]
    return ", ".join(found) or "none"


def _notes(node: dict[str, Any], told: dict[str, Any]) -> Iterator[str]:
    """What is not well with a node."""
    if node["problem"]:
        yield node["problem"]
    if told.get("state", "ok") != "ok":
        yield told["health"]
    for upstream in told.get("upstreams_down", ()):
        yield f"{upstream} does not answer it"
    if told.get("peers_aside"):
        yield f"it has put {count(told['peers_aside'], 'peer')} aside"
