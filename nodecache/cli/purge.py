"""``nodecache purge``: images go, with what no other image needs."""

from __future__ import annotations

from typing import Any, Final

import click

from nodecache.cli.carrying import carry_out
from nodecache.cli.completion import images as complete
from nodecache.cli.console import confirm, console, count, json_option, print_line, size
from nodecache.cli.target import Target, node_options
from nodecache.config import parse_duration

#: Names that are shown before the question.
_SHOWN: Final = 20


def _age(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    try:
        return parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} {error}; days are like 30d") from None


@click.command(short_help="Remove images by name, pattern or age.")
@click.argument("images", metavar="[PATTERN]...", nargs=-1, shell_complete=complete)
@click.option("--older-than", metavar="AGE", callback=_age, help="Not used for so long, like 30d.")
@click.option("--pinned", is_flag=True, help="Pinned ones too.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@node_options
def purge(
    *,
    images: tuple[str, ...],
    older_than: float | None,
    pinned: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    target: Target,
) -> None:
    """Remove images, and the blobs that no other image needs.

    A name without a tag means all of its tags; a glob like 'ghcr.io/*' or the
    beginning of a digest will do; '*' is everything. With --older-than, those of
    them that were not used for so long. Pinned images stay without --pinned.
    Pulls under way are not disturbed, and what goes can be pulled again.
    """
    if not images and older_than is None:
        raise click.UsageError("Name images, or an age with --older-than, or '*' for all.")
    order = {"images": list(images), "pinned": pinned, "older_than": older_than}
    plan = target.control.done("purge", {**order, "dry_run": True})
    if not as_json:
        _show(plan)
    if dry_run or not plan["images"]:
        if as_json:
            print_line(plan)
        return
    confirm(f"Remove {_count(plan)}?", yes=yes)
    done = carry_out(target, "purge", order, lambda _event: None, title="removing", as_json=as_json)
    if not as_json:
        console().print(f"Removed {_count(done)}; {size(done['bytes'])} are free.")


def _count(plan: dict[str, Any]) -> str:
    return count(len(plan["images"]), "image")


def _show(plan: dict[str, Any]) -> None:
    out = console()
    for name in plan["images"][:_SHOWN]:
        out.print(name, soft_wrap=True)
    if len(plan["images"]) > _SHOWN:
        out.print(f"... and {len(plan['images']) - _SHOWN} more")
    blobs = count(plan["blobs"], "blob")
    freed = f"{blobs} that no other image needs, {size(plan['bytes'])}"
    out.print(f"{_count(plan)}; {freed}." if plan["images"] else "Nothing is to go.")
    if plan["pinned"]:
        out.print(f"Pinned, so they stay: {', '.join(plan['pinned'])}. (--pinned takes them too.)")
    if plan["in_flight"]:
        out.print(f"Being fetched, so not touched: {count(plan['in_flight'], 'blob')}.")
