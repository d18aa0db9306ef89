"""``nodecache show``: one image in full."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import click

from nodecache.cli.completion import images as complete
from nodecache.cli.console import (
    ago,
    console,
    json_option,
    percent,
    print_json,
    print_table,
    size,
    table,
)
from nodecache.cli.list_images import marks, short
from nodecache.cli.target import Target, node_options

_FROM: Final = {
    "disk": "disk",
    "flight": "being fetched",
    "peer": "a peer",
    "upstream": "upstream",
}
_FRESHNESS: Final = {
    "digest": "never: it has no tag, and a digest means the same for ever",
    "imported": "imported: upstream is asked by 'nodecache refresh' only",
    "fresh": "fresh: served without asking upstream",
    "due": "upstream is asked at the next pull",
    "offline": "served as it is: this node is offline",
}


@click.command(short_help="One image: its manifests and blobs, what is here.")
@click.argument("image", shell_complete=complete)
@click.option("--digests", is_flag=True, help="Whole digests, and all peers that have a blob.")
@json_option
@node_options
def show(*, image: str, digests: bool, as_json: bool, target: Target) -> None:
    """Show IMAGE: its manifests and blobs, and where each of them comes from.

    Without a tag, it is the only one that is here, or latest. FROM says where
    the next pull would get a blob: from this disk, from the fetch under way,
    from a peer that has all of it (named by its id), or from upstream.
    """
    found = target.admin.get("/api/v1/image", ref=image)
    if as_json:
        print_json(found)
        return
    out = console()
    for title, value in _facts(found):
        out.print(f"{title:9}{value}", soft_wrap=True)
    out.print()
    shown = table("", "DIGEST", "SIZE", "HERE", "FROM", right=("SIZE", "HERE"))
    for cells in _lines(found["manifest"], 0, whole=digests):
        shown.add_row(*cells)
    print_table(shown)


def _facts(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    namespace, repository = found["namespace"], found["repository"]
    yield "image", found["name"]
    if repository is not None:
        yield "upstream", f"{namespace}, as {repository}"
    yield "digest", found["digest"]
    yield "type", found["media_type"]
    whole, here = found["bytes"], found["bytes_here"]
    yield "here", f"{size(here)} of {size(whole)} ({percent(here / whole if whole else 1.0)})"
    yield "used", f"{ago(found['last_used_seconds'])} ago"
    freshness = _FRESHNESS.get(found["freshness"], found["freshness"])
    when = "" if found["checked_seconds"] is None else f"{ago(found['checked_seconds'])} ago; "
    yield "checked", when + freshness
    if kept := marks(found):
        yield "kept", kept


def _lines(node: dict[str, Any], depth: int, *, whole: bool) -> Iterator[tuple[str, ...]]:
    """A manifest, what it is made of, and below it the manifests that are here."""
    margin = "  " * depth
    kind = "index" if node["children"] else "manifest"
    name = node["platform"] or kind
    here = "100%" if node["here"] else "-"
    digest = node["digest"] if whole else short(node["digest"])
    where = "disk" if node["here"] else "upstream"
    yield margin + name, digest, size(node["bytes"]), here, where
    for blob in node["blobs"]:
        yield _blob(blob, f"{margin}  ", whole=whole)
    for child in node["children"]:
        if child["here"]:
            yield from _lines(child, depth + 1, whole=whole)
    away = [child["platform"] or "manifest" for child in node["children"] if not child["here"]]
    for platform in dict.fromkeys(away):
        count = away.count(platform)
        times = f" ({count} times)" if count > 1 else ""
        yield f"{margin}  {platform}{times}", "", "", "-", "upstream"


def _blob(blob: dict[str, Any], margin: str, *, whole: bool) -> tuple[str, ...]:
    total, here = blob["bytes"], blob["bytes_here"]
    part = "-" if not here else percent(here / total if total else 1.0)
    digest = blob["digest"] if whole else short(blob["digest"])
    return margin + blob["role"], digest, size(total), part, _source(blob, whole=whole)


def _source(blob: dict[str, Any], *, whole: bool) -> str:
    """Of several peers that have it the first one is named, or with ``whole`` each."""
    peers: list[str] = blob.get("peers", [])
    if not peers:
        return _FROM.get(blob["from"], str(blob["from"]))
    if whole:
        return f"peers {', '.join(peers)}" if len(peers) > 1 else f"peer {peers[0]}"
    more = f" and {len(peers) - 1} more" if len(peers) > 1 else ""
    return f"peer {peers[0]}{more}"
