"""``nodecache refresh``: what does a tag mean upstream, now?"""

from __future__ import annotations

import sys
from typing import Any

import click

from nodecache.cli.carrying import carry_out
from nodecache.cli.commands import EXIT_FAILED
from nodecache.cli.completion import images as complete
from nodecache.cli.console import console, json_option
from nodecache.cli.list_images import short
from nodecache.cli.target import Target, node_options


@click.command(short_help="Ask upstream now what a tag means.")
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, shell_complete=complete)
@json_option
@node_options
def refresh(*, images: tuple[str, ...], as_json: bool, target: Target) -> None:
    """Ask upstream now what the tags of IMAGE mean, however fresh they are.

    A name without a tag means all of its tags that are here. What a tag means
    anew is pulled by the next pull, or by 'nodecache pull'. An imported image
    gives way once upstream has answered. Exit code 1 if an answer did not come.
    """
    done = carry_out(
        target, "refresh", {"images": list(images)}, _tell, title="refreshing", as_json=as_json
    )
    if done["failed"]:
        sys.exit(EXIT_FAILED)


def _tell(event: dict[str, Any]) -> None:
    name = event["name"]
    if "problem" in event:
        line = f"{name}: no answer, it stays as it was: {event['problem']}"
    elif event["changed"]:
        line = f"{name}: {short(event['digest'])} now, {short(event['before'])} before"
    else:
        line = f"{name}: unchanged, {short(event['digest'])}"
    console().print(line, soft_wrap=True)
