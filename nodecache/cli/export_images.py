"""``nodecache export``: images of this node as one archive or folder."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any, BinaryIO, Final, cast

import click

from nodecache.archives.tar import clean_name
from nodecache.cli.completion import images as complete
from nodecache.cli.console import json_option, print_json, progress, size, to_stderr
from nodecache.cli.problems import CommandError
from nodecache.cli.target import Target, node_options
from nodecache.cli.transfer import Draining, pipe_to

_STDOUT: Final = "-"
_ELSEWHERE: Final = "Name another file or folder with -o, or - for a pipe."


@click.command(name="export", short_help="Write images to an archive.")
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, shell_complete=complete)
@click.option(
    "--output", "-o", required=True, metavar="FILE|DIR|-", help="Where to; DIR/ is a new folder."
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["oci", "docker"]),
    default="oci",
    show_default=True,
    help="An OCI layout, or one that 'docker load' of any age reads too.",
)
@click.option("--platform", "platforms", metavar="OS/ARCH", multiple=True, help="Repeatable.")
@click.option("--all-platforms", "every", is_flag=True, help="All that the image has.")
@click.option("--offline", is_flag=True, help="Fetch nothing: fail if a blob is not here.")
@json_option
@node_options
def export_images(
    *,
    images: tuple[str, ...],
    output: str,
    kind: str,
    platforms: tuple[str, ...],
    every: bool,
    offline: bool,
    as_json: bool,
    target: Target,
) -> None:
    """Write images to one archive, for 'nodecache import', docker load, podman load and others.

    What is not here yet is fetched first. Of an image for several platforms,
    the one of this node is written unless others are named.
    """
    order = {
        "images": list(images),
        "format": kind,
        "platforms": list(platforms),
        "every": every,
        "offline": offline,
    }
    with _place(output) as write:
        done = write(lambda out: _export(order, out, target))
    if as_json and output != _STDOUT:
        print_json({"output": output, **done})
    else:
        names = ", ".join(done["images"])
        to_stderr().print(f"Exported {names} to {output}: {size(done['bytes'])}")


Write = Callable[[Callable[[BinaryIO], dict[str, Any]]], dict[str, Any]]


@contextmanager
def _place(output: str) -> Iterator[Write]:
    """Gives what is called with a function that writes an archive into an open file."""
    if not output:
        raise CommandError("--output: there is no name of a file", _ELSEWHERE, 2)
    if output == _STDOUT:
        if sys.stdout.isatty():
            raise CommandError(
                "an archive is not for a terminal", "Name a file with -o, or pipe it on.", 2
            )
        yield lambda export: export(cast(BinaryIO, sys.stdout.buffer))
    elif output.endswith("/") or os.path.isdir(output):
        with _folder(output.rstrip("/") or "/") as write:
            yield write
    else:
        with _file(output) as write:
            yield write


@contextmanager
def _file(output: str) -> Iterator[Write]:
    """A file that is there once it is whole, and not before."""
    if os.path.exists(output) and not os.path.isfile(output):
        # A pipe or device is not to be replaced.
        with _opened(output, "wb", output) as out:
            yield lambda export: export(out)
        return
    path = f"{output}.{secrets.token_hex(4)}.part"
    try:
        with _opened(path, "xb", output) as out:
            yield lambda export: export(out)
        try:
            os.replace(path, output)
        except OSError as error:
            raise _unwritable(output, error) from None
    finally:
        with suppress(OSError):
            os.unlink(path)


def _opened(path: str, mode: str, output: str) -> BinaryIO:
    try:
        return cast(BinaryIO, open(path, mode, buffering=0))
    except OSError as error:
        raise _unwritable(output, error) from None


def _unwritable(output: str, error: OSError) -> CommandError:
    return CommandError(f"{output} can not be written ({error.strerror})", _ELSEWHERE)


@contextmanager
def _folder(output: str) -> Iterator[Write]:
    """A folder that is there once it is whole, and not before."""
    if os.path.isdir(output) and os.listdir(output):
        raise CommandError(f"{output} is not empty", "Name a new folder.")
    part = f"{output}.{secrets.token_hex(4)}.part"

    def write(export: Callable[[BinaryIO], dict[str, Any]]) -> dict[str, Any]:
        os.mkdir(part)
        archive = os.path.join(part, "archive.tar")
        with open(archive, "xb") as out:
            done = export(cast(BinaryIO, out))
        _unpack(archive, part)
        os.unlink(archive)
        return done

    try:
        yield write
        if os.path.isdir(output):
            os.rmdir(output)
        os.rename(part, output)
    except OSError as error:
        raise _unwritable(output, error) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _unpack(archive: str, folder: str) -> None:
    with tarfile.open(archive, mode="r:") as tar:
        for member in tar:
            path = os.path.join(folder, clean_name(member.name))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            body = tar.extractfile(member)
            assert body is not None
            with open(path, "xb") as file:
                shutil.copyfileobj(body, file)


def _export(order: dict[str, Any], out: BinaryIO, target: Target) -> dict[str, Any]:
    with pipe_to(target) as path, progress() as bars:
        task = bars.add_task("exporting", total=None, visible=False)
        draining = Draining(path, out, lambda count: bars.update(task, completed=count))
        done: dict[str, Any] = {}
        try:
            with closing(cast(Any, target.control.run("export", {**order, "path": path}))) as told:
                for event in told:
                    if event["event"] == "ready":
                        bars.update(task, total=event["bytes"], visible=True)
                        draining.begin()
                    elif event["event"] == "fetch":
                        bars.console.print(
                            f"Fetching {size(event['bytes'])} of {event['image']} first"
                        )
                    elif event["event"] == "done":
                        done = event
        except CommandError as refused:
            draining.give_up()
            # The node is told only that nobody reads any more.
            raise draining.unwritten() or refused from None
        except BaseException:
            draining.give_up()
            raise
        count = draining.finish()
        if count != done["bytes"]:
            raise CommandError(f"{count} of {done['bytes']} bytes came", "Export it again.")
        return {key: value for key, value in done.items() if key != "event"}
