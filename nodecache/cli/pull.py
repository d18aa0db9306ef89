"""``nodecache pull``: images fetched before anybody asks for them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol, Self, TextIO

import click
from rich.progress import TaskID

from nodecache.cli.commands import EXIT_FAILED
from nodecache.cli.console import json_option, print_line, progress, size
from nodecache.cli.problems import CommandError
from nodecache.cli.target import Target, node_options

_STDIN: Final = "-"
#: Characters of a digest that tell it from others for a person.
_SHORT: Final = 12


@click.command(short_help="Fetch images before they are asked for.")
@click.argument("images", metavar="IMAGE|-...", nargs=-1)
@click.option("--file", "files", metavar="FILE", multiple=True, help="A name on each line.")
@click.option("--platform", "platforms", metavar="OS/ARCH", multiple=True, help="Repeatable.")
@click.option("--all-platforms", "every", is_flag=True, help="All that the image has.")
@click.option("--all-nodes", is_flag=True, help="On the other nodes of the cluster as well.")
@json_option
@node_options
def pull(
    *,
    images: tuple[str, ...],
    files: tuple[str, ...],
    platforms: tuple[str, ...],
    every: bool,
    all_nodes: bool,
    as_json: bool,
    target: Target,
) -> None:
    """Fetch images into the cache: those named, those in FILE, or with - those on stdin.

    They go the way of every pull, so rules, limits and sharing hold. What is
    here already costs nothing. Of an image for several platforms, the one of
    this node is fetched unless others are named. With --json, each event is a line.
    """
    names = list(dict.fromkeys(_names(images, files)))
    if not names:
        raise click.UsageError("Name an image, or a --file with names.")
    order = {
        "images": names,
        "platforms": list(platforms),
        "every": every,
        "all_nodes": all_nodes,
    }
    with Lines() if as_json else Bars() as shown:
        done: dict[str, Any] = {}
        for event in target.control.run("warm", order):
            shown.show(event)
            done = event
    if done.get("failed") or done.get("nodes_failed"):
        sys.exit(EXIT_FAILED)


def _names(images: Sequence[str], files: Sequence[str]) -> Iterator[str]:
    for image in images:
        if image == _STDIN:
            yield from _listed(sys.stdin)
        elif image.strip():
            yield image
        else:
            raise click.UsageError("The name of an image is empty.")
    for path in files:
        if path == _STDIN:
            yield from _listed(sys.stdin)
            continue
        try:
            with open(path, encoding="utf-8") as file:
                yield from _listed(file)
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise CommandError(f"--file: {path} can not be read ({reason})", code=2) from None


def _listed(file: TextIO) -> Iterator[str]:
    for line in file:
        name = line.partition("#")[0].strip()
        if name:
            yield name


class Shown(AbstractContextManager["Shown"], Protocol):
    """What is shown of a pull."""

    def show(self, event: dict[str, Any]) -> None: ...


class Lines(Shown):
    """Every event as a line of JSON."""

    def show(self, event: dict[str, Any]) -> None:
        print_line(event)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class Bars(Shown):
    """A bar for each layer under way and one for all; a line for each image that is over."""

    def __init__(self) -> None:
        self._bars = progress()
        self._on_terminal = sys.stderr.isatty()
        self._total = self._bars.add_task("total", total=None, visible=False)
        self._layers: dict[str, TaskID] = {}
        self._present: dict[str, int] = {}
        self._sizes: dict[str, int] = {}
        self._last_step = ""

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def show(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "image":
            self._image(event)
        elif kind == "progress":
            self._layer(event["digest"], event["bytes"], event["total"])
        elif kind == "node":
            self._node(event)
        elif kind == "done":
            self._done(event)

    def _image(self, event: dict[str, Any]) -> None:
        if event["state"] == "planned":
            for blob in event["blobs"]:
                if not blob["here"]:
                    self._sizes[blob["digest"]] = blob["bytes"]
            self._bars.update(self._total, total=sum(self._sizes.values()), visible=True)
        elif event["state"] == "failed":
            self._fail(f"{event['image']}: {event['problem']}", event["next"])
        else:
            fetched = event["fetched_bytes"]
            how = f"fetched {size(fetched)}" if fetched else "was here"
            digest = event["digest"]
            if sys.stdout.isatty():
                digest = digest[: len("sha256:") + _SHORT]
            self._say(f"{event['image']}  {size(event['bytes'])}  {how}  {digest}")

    def _layer(self, digest: str, present: int, total: int) -> None:
        self._present[digest] = present
        self._bars.update(self._total, completed=sum(self._present.values()))
        task = self._layers.get(digest)
        if task is None:
            name = digest.partition(":")[2][:_SHORT]
            task = self._layers[digest] = self._bars.add_task(name, total=total)
        # The bars of what is under way are enough for a screen.
        self._bars.update(task, completed=present, total=total, visible=present < total)

    def _node(self, event: dict[str, Any]) -> None:
        where = f"{event['node']}: {event['image']}"
        if event["state"] in ("refused", "failed"):
            self._fail(f"{where}: {event['problem']}", "See 'nodecache status --cluster'.")
        elif event["state"] == "done":
            self._say(f"{where}  done")

    def _done(self, event: dict[str, Any]) -> None:
        self._bars.update(self._total, visible=False)
        if event["nodes"] == 0 and not event["nodes_failed"]:
            self._fail("there are no other nodes to tell", "See 'nodecache status --cluster'.")
        elif event["nodes"]:
            well = event["nodes"]
            self._say(f"{well} other {'node was' if well == 1 else 'nodes were'} told")

    def _say(self, line: str) -> None:
        """To stdout; on one terminal with the bars, above them."""
        if self._on_terminal and sys.stdout.isatty():
            self._bars.console.print(line, soft_wrap=True)
        else:
            click.echo(line)

    def _fail(self, problem: str, next_step: str) -> None:
        # Of many that fail in the same way, the first says what helps.
        if next_step == self._last_step:
            next_step = ""
        else:
            self._last_step = next_step
        if not self._on_terminal:
            CommandError(problem, next_step).show()
            return
        self._bars.console.print(f"nodecache: {problem}", soft_wrap=True)
        if next_step:
            self._bars.console.print(f"  {next_step}", soft_wrap=True)
