"""``nodecache list``: the images that are here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import click

from nodecache.cli.completion import images as complete
from nodecache.cli.console import (
    ago,
    count,
    fail,
    json_option,
    percent,
    print_json,
    print_table,
    size,
    table,
    to_stderr,
)
from nodecache.cli.target import Target, node_options
from nodecache.reference import nearest

#: Characters of a digest that tell it from others for a person.
SHORT: Final = 12

_ORDERS: Final[dict[str, Callable[[dict[str, Any]], Any]]] = {
    "name": lambda row: row["name"],
    "size": lambda row: -row["bytes_here"],
    "used": lambda row: row["last_used_seconds"],
}


@click.command("list", short_help="Images that are here, sizes, last use.")
@click.argument("pattern", required=False, shell_complete=complete)
@click.option(
    "--sort", type=click.Choice(list(_ORDERS)), default="name", help="Biggest, or last used, first."
)
@click.option("--pinned", is_flag=True, help="Only those that are pinned.")
@json_option
@node_options
def list_images(
    *, pattern: str | None, sort: str, pinned: bool, as_json: bool, target: Target
) -> None:
    """List the images that are here: size, how much of it is here, last use.

    PATTERN is a name (without a tag: all its tags), a glob like 'ghcr.io/*' or
    '*:1.2*', or the beginning of a digest. Of an image for several platforms,
    those count that were pulled.
    """
    document = target.admin.get("/api/v1/images", match=pattern)
    rows = [row for row in document["images"] if row["pinned"] or not pinned]
    if pattern and not document["images"]:
        _nothing_like(pattern, target)
    rows.sort(key=_ORDERS[sort])
    if as_json:
        print_json({**document, "images": rows})
        return
    shown = table("IMAGE", "DIGEST", "SIZE", "HERE", "USED", "", right=("SIZE", "HERE", "USED"))
    for row in rows:
        shown.add_row(*_cells(row))
    if rows:
        print_table(shown)
    here = f"{size(document['bytes_here'])} here, shared layers counted once"
    to_stderr().print(f"{count(len(rows), 'image')}; {here}.")


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    untagged = row["repository"] is None
    whole = row["bytes"]
    return (
        "(no tag)" if untagged else row["name"],
        short(row["digest"]),
        size(whole),
        percent(row["bytes_here"] / whole if whole else 1.0),
        ago(row["last_used_seconds"]),
        marks(row),
    )


def marks(row: dict[str, Any]) -> str:
    """What sets an image apart."""
    return ", ".join(word for word in ("pinned", "imported") if row[word])


def short(digest: str) -> str:
    """The part of a digest that a person reads; ``list`` and ``purge`` take it as a pattern."""
    algorithm, _, encoded = digest.partition(":")
    return f"{algorithm}:{encoded[:SHORT]}"


def _nothing_like(pattern: str, target: Target) -> None:
    names = [row["name"] for row in target.admin.get("/api/v1/images")["images"]]
    near = nearest(pattern, {*names, *(name.rpartition(":")[0] for name in names)})
    hint = f"Did you mean {' or '.join(near)}?" if near else "'nodecache list' shows all."
    fail(f"no image here matches {pattern!r}", hint)
