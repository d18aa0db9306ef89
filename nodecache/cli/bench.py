"""``nodecache bench``: is this node's cache as fast as it should be?"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Final, cast

import attrs
import click

from nodecache.cli.commands import EXIT_FAILED
from nodecache.cli.console import json_option, print_json, print_table, size, table, to_stderr
from nodecache.cli.measuring import (
    Mirror,
    measure_blob,
    measure_disk,
    measure_loopback,
    measure_requests,
)
from nodecache.cli.problems import CommandError
from nodecache.cli.target import Target, node_options
from nodecache.config import parse_listen

_MIB: Final = 1 << 20
#: Seconds for each measurement of the network, and connections of those with several.
_SECONDS: Final = 2.0
_LINES: Final = 4
#: Shares of what the machine does without us, and answers a second, below which it is slow.
_ENOUGH: Final = 0.33
_REQUESTS: Final = 200.0
#: The least that is worth measuring.
_SMALLEST: Final = 4 * _MIB

_ANYWHERE: Final = frozenset({"", "0.0.0.0", "::", "localhost"})


@attrs.frozen
class Measured:
    """Bytes a second, and answers a second."""

    blob: float
    blobs: float
    manifests: float
    loopback: float
    write: float
    read: float | None

    @property
    def share(self) -> float:
        """Of what the loopback does without us."""
        return self.blob / self.loopback

    def faults(self) -> list[str]:
        """What is slower than it should be, each in one line."""
        found = []
        if self.share < _ENOUGH:
            found.append(
                f"one pull gets {self.share:.0%} of what this machine's loopback does:"
                " is the node short of CPU (a limit of its pod?), or busy?"
            )
        if self.blobs < self.blob * 0.8:
            found.append(f"{_LINES} pulls at a time are slower than one: is the node short of CPU?")
        if self.manifests < _REQUESTS:
            found.append(f"it answers only {self.manifests:.0f} manifests a second")
        if self.read is not None and self.read < 50 * _MIB:
            found.append(
                f"the disk reads only {size(self.read)}/s: layers that are not in memory"
                " come no faster"
            )
        return found


@click.command(short_help="Is this node's cache as fast as it should be?")
@click.option(
    "--size",
    "amount",
    type=click.IntRange(1, 1024),
    default=128,
    show_default=True,
    metavar="MIB",
    help="Of the test blob.",
)
@click.option("--mirror", metavar="HOST:PORT", help="The mirror port, where the node can not say.")
@json_option
@node_options
def bench(*, amount: int, mirror: str | None, as_json: bool, target: Target) -> None:
    """Measure for some seconds how fast a pull from the cache is, beside disk and loopback.

    A test blob is put into the cache, and removed again whatever happens;
    nothing is evicted for it. Exit code 1 says that something is slow.
    """
    port = _mirror(mirror, target)
    with _subject(target, amount * _MIB) as subject:
        if not as_json:
            to_stderr().print(f"Measuring with a blob of {size(subject['bytes'])} ...")
        measured = _measure(port, subject, target)
    faults = measured.faults()
    if as_json:
        print_json({**attrs.asdict(measured), "share": measured.share, "slow": faults})
    else:
        _print(measured, faults)
    if faults:
        sys.exit(EXIT_FAILED)


def _mirror(given: str | None, target: Target) -> Mirror:
    text = given
    if text is None:
        rows = target.admin.get("/api/v1/config")["settings"]
        text = next(row["value"] for row in rows if row["key"] == "listen")
    try:
        address = parse_listen(text)
    except ValueError as error:
        raise CommandError(f"--mirror: {text!r} {error}", code=2) from None
    return Mirror("127.0.0.1" if address.host in _ANYWHERE else address.host, address.port)


@contextmanager
def _subject(target: Target, amount: int) -> Iterator[dict[str, Any]]:
    """What to ask for: a blob of noise, or, where there is no room, the biggest that is here."""
    with closing(cast(Any, target.control.run("bench", {"bytes": amount}))) as told:
        try:
            subject = next(told)
        except CommandError as refused:
            found = None if refused.exit_code != EXIT_FAILED else _biggest(target)
            if found is None:
                raise
            subject = found
        yield subject


def _biggest(target: Target) -> dict[str, Any] | None:
    rows = target.admin.get("/api/v1/images")["images"]
    best: dict[str, Any] | None = None
    for row in sorted(rows, key=lambda row: -row["bytes_here"])[:5]:
        if not row["repository"]:
            continue
        name = f"{row['namespace']}/{row['repository']}@{row['digest']}"
        tree = target.admin.get("/api/v1/image", ref=name)["manifest"]
        for node in [tree, *tree["children"]]:
            for blob in node["blobs"]:
                whole = blob["bytes"] and blob["bytes_here"] == blob["bytes"]
                if whole and blob["bytes"] > (best["bytes"] if best else _SMALLEST):
                    best = {
                        "digest": blob["digest"],
                        "bytes": blob["bytes"],
                        "manifest": node["digest"],
                        "name": row["repository"],
                        "namespace": row["namespace"],
                    }
    return best


def _measure(port: Mirror, subject: dict[str, Any], target: Target) -> Measured:
    named = (subject["namespace"], subject["name"])
    blob = port.target(*named, "blobs", subject["digest"])
    manifest = port.target(*named, "manifests", subject["manifest"])
    folder = os.path.join(os.path.abspath(target.data_dir), "v1", "tmp")
    amount = min(subject["bytes"], 128 * _MIB)
    try:
        disk = measure_disk(folder, amount)
        loopback = measure_loopback(folder, amount, _SECONDS)
    except OSError as error:
        raise CommandError(f"{folder} can not be written ({error.strerror})") from None
    measure_blob(port, blob, 0.0, 1)
    return Measured(
        blob=measure_blob(port, blob, _SECONDS, 1),
        blobs=measure_blob(port, blob, _SECONDS, _LINES),
        manifests=measure_requests(port, manifest, _SECONDS, _LINES),
        loopback=loopback,
        write=disk.write,
        read=disk.read,
    )


def _print(measured: Measured, faults: list[str]) -> None:
    shown = table("MEASURED", "RATE", "OF THE LOOPBACK", right=("RATE", "OF THE LOOPBACK"))
    rows = (
        ("one pull of a warm blob", measured.blob),
        (f"{_LINES} pulls at a time", measured.blobs),
        ("loopback without the cache", measured.loopback),
        ("disk, written and synced", measured.write),
        ("disk, read", measured.read),
    )
    for what, rate in rows:
        if rate is not None:
            shown.add_row(what, f"{size(rate)}/s", f"{rate / measured.loopback:.0%}")
    shown.add_row("manifests", f"{measured.manifests:.0f}/s", "")
    print_table(shown)
    if not faults:
        click.echo("This node's cache is as fast as it should be.")
        return
    click.echo("This node's cache is slower than it should be:")
    for fault in faults:
        click.echo(f"  {fault}")
