"""``nodecache import``: images out of an archive or a folder, for nodes without a way out."""

from __future__ import annotations

import os
import sys
import tarfile
from collections.abc import Callable
from contextlib import closing
from typing import Any, BinaryIO, Final, cast

import click
from rich.progress import Progress

from nodecache.cli.commands import EXIT_FAILED
from nodecache.cli.console import json_option, print_json, progress, size, to_stderr
from nodecache.cli.list_images import short
from nodecache.cli.problems import CommandError
from nodecache.cli.target import Target, node_options
from nodecache.cli.transfer import Feeding, copy, pipe_to

_STDIN: Final = "-"


@click.command(name="import", short_help="Bring images in from an archive.")
@click.argument("archives", metavar="FILE|DIR|-...", nargs=-1, required=True)
@click.option("--name", metavar="IMAGE", help="Call it so, and not as the archive does.")
@json_option
@node_options
def import_images(
    *, archives: tuple[str, ...], name: str | None, as_json: bool, target: Target
) -> None:
    """Bring images in: from an OCI layout, or what docker save or podman save wrote.

    Archives may be compressed with gzip; - is standard input. Imported images
    are pinned, and stand for their tags until 'nodecache refresh', 'unpin' or
    'purge'.
    """
    found: list[dict[str, Any]] = []
    problem: CommandError | None = None
    for archive in archives:
        try:
            images = _import(archive, [name] if name else [], target)
        except CommandError as error:
            if len(archives) == 1:
                raise
            error.problem = f"{archive}: {error.problem}"
            error.show()
            problem = error
            continue
        found += images
        if not as_json:
            _print(images)
    if as_json:
        print_json({"images": found})
    if problem is not None:
        sys.exit(max(EXIT_FAILED, problem.exit_code))


def _print(images: list[dict[str, Any]]) -> None:
    for image in images:
        digest = short(image["digest"]) if sys.stdout.isatty() else image["digest"]
        for name in image["names"]:
            click.echo(f"Imported {name}  {size(image['bytes'])}  {digest}")
        if image["left_out"]:
            platforms = ", ".join(image["left_out"])
            to_stderr().print(f"  The archive lacks {platforms}: those can not be pulled here.")


def _import(archive: str, names: list[str], target: Target) -> list[dict[str, Any]]:
    if archive == _STDIN:
        if sys.stdin.isatty():
            raise CommandError(
                "an archive is not typed", "Like: docker save nginx | nodecache import -", 2
            )
        return _by_pipe(copy(cast(BinaryIO, sys.stdin.buffer)), names, target)
    path = os.path.abspath(archive)
    if not os.path.exists(path):
        raise CommandError(f"there is no {archive}", "Name a file or folder, or - for a pipe.")
    seen: list[str] = []
    try:
        return _told(target, {"path": path, "names": names}, seen.append)
    except CommandError:
        if "unreadable" not in seen:
            raise
    # The node may not read it, or sees other files than we do.
    if os.path.isdir(path):
        return _by_pipe(lambda pipe: _pack(path, pipe), names, target)
    try:
        with open(path, "rb") as file:
            return _by_pipe(copy(cast(BinaryIO, file)), names, target)
    except OSError as error:
        raise CommandError(f"{archive} can not be read ({error.strerror})") from None


def _pack(folder: str, pipe: BinaryIO) -> None:
    with tarfile.open(fileobj=pipe, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(os.listdir(folder)):
            tar.add(os.path.join(folder, name), arcname=name)


def _by_pipe(
    give: Callable[[BinaryIO], None], names: list[str], target: Target
) -> list[dict[str, Any]]:
    with pipe_to(target) as path, closing(Feeding(path, give)) as feeding:

        def hear(event: str) -> None:
            if event == "ready":
                feeding.begin()

        found = _told(target, {"path": path, "pipe": True, "names": names}, hear)
        if feeding.problem is not None:
            raise CommandError(f"the archive can not be read ({feeding.problem.strerror})")
        return found


def _told(
    target: Target, order: dict[str, Any], hear: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Give the order, and show how it goes; the images."""
    images: list[dict[str, Any]] = []
    with progress() as bars:
        for event in target.control.run("import", order):
            hear(event["event"])
            if event["event"] == "progress":
                _show(bars, event)
            elif event["event"] == "done":
                images = event["images"]
    return images


def _show(bars: Progress, event: dict[str, Any]) -> None:
    what = "reading" if "what" in event else "importing"
    task = next((task for task in bars.tasks if task.description == what), None)
    number = bars.add_task(what, total=None) if task is None else task.id
    bars.update(number, completed=event["bytes"], total=event.get("total"))
