"""``nodecache pin`` and ``unpin``: what eviction leaves alone."""

from __future__ import annotations

from typing import Any

import click

from nodecache.cli.carrying import carry_out
from nodecache.cli.completion import images as complete
from nodecache.cli.console import console, json_option, size
from nodecache.cli.target import Target, node_options


@click.command(short_help="Keep images from eviction.")
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, shell_complete=complete)
@json_option
@node_options
def pin(*, images: tuple[str, ...], as_json: bool, target: Target) -> None:
    """Keep IMAGE from eviction, also across restarts, until 'unpin' or 'purge --pinned'.

    A pin belongs to a tag: it keeps what the tag means, manifests and blobs,
    also after it means another image. A name without a tag means all of its
    tags that are here. Pins may take 90% of the cap.
    """
    done = _order("pin", images, target, as_json=as_json)
    if not as_json:
        taken = f"{size(done['pinned_bytes'])} of {size(done['cap'])} are pinned"
        console().print(f"{taken}.")
        missing = done["bytes"] - done["bytes_here"]
        if missing > 0:
            console().print(
                f"{size(missing)} of it are not here yet: 'nodecache pull' fetches them."
            )


@click.command(short_help="Let images go again when room is short.")
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, shell_complete=complete)
@json_option
@node_options
def unpin(*, images: tuple[str, ...], as_json: bool, target: Target) -> None:
    """Let IMAGE go again when room is short, the least recently used first.

    A name without a tag means all of its tags that are here.
    """
    _order("unpin", images, target, as_json=as_json)


def _order(verb: str, images: tuple[str, ...], target: Target, *, as_json: bool) -> dict[str, Any]:
    def tell(event: dict[str, Any]) -> None:
        was = "" if event["changed"] else " already"
        console().print(f"{event['name']}: {verb}ned{was}", soft_wrap=True)

    return carry_out(target, verb, {"images": list(images)}, tell, title=verb, as_json=as_json)
