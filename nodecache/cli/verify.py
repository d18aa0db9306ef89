"""``nodecache verify``: everything is read again and compared with its digest."""

from __future__ import annotations

import sys
from typing import Any

import click

from nodecache.cli.carrying import carry_out
from nodecache.cli.commands import EXIT_FAILED
from nodecache.cli.completion import images as complete
from nodecache.cli.console import console, count, json_option, size
from nodecache.cli.target import Target, node_options


@click.command(short_help="Read again and compare with the digests.")
@click.argument("images", metavar="[IMAGE]...", nargs=-1, shell_complete=complete)
@json_option
@node_options
def verify(*, images: tuple[str, ...], as_json: bool, target: Target) -> None:
    """Read IMAGE again (or all that is here) and compare it with its digests.

    What is rotten is removed, and fetched anew when it is next asked for. Exit
    code 1 if anything was.
    """
    order = {"images": list(images)}
    done = carry_out(target, "verify", order, _tell, title="reading", as_json=as_json, bytes_=True)
    if not as_json:
        read = f"{count(done['blobs'], 'blob')} and {count(done['manifests'], 'manifest')}"
        verdict = f"rotten: {len(done['rotten'])}" if done["rotten"] else "all good"
        console().print(f"{read}, {size(done['bytes'])}: {verdict}.")
        if images and done["missing"]:
            console().print(f"Not here, so not read: {count(done['missing'], 'blob')}.")
    if done["rotten"]:
        sys.exit(EXIT_FAILED)


def _tell(event: dict[str, Any]) -> None:
    of = f" of {', '.join(event['images'])}" if event["images"] else ""
    console().print(f"rotten, removed: {event['kind']} {event['digest']}{of}", soft_wrap=True)
