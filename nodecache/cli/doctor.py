"""``nodecache doctor``: is this node's mirror used, and is everything around it well?"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Sequence
from typing import Final

import click

from nodecache.cli.commands import EXIT_FAILED
from nodecache.cli.console import console, json_option, print_json
from nodecache.cli.doctoring.facts import Wanted, gather
from nodecache.cli.doctoring.files import Root
from nodecache.cli.doctoring.runtimes import RUNTIMES
from nodecache.cli.params import VERSION, Parsed
from nodecache.cli.problems import fail
from nodecache.cli.serve import read_settings
from nodecache.cli.target import target_of
from nodecache.config import Settings
from nodecache.failures import EXIT_UNUSABLE, ConfigError
from nodecache.runtimes.diagnosis import diagnose
from nodecache.runtimes.findings import Finding, Severity, needs_action
from nodecache.runtimes.names import DEFAULT_MIRROR, Version, parse_mirror, parse_registry

#: Columns in front of a finding.
_INDENT: Final = 11
_MARKS: Final = {
    Severity.OK: "ok",
    Severity.NOTE: "note",
    Severity.WARNING: "WARNING",
    Severity.PROBLEM: "PROBLEM",
}


@click.command(short_help="Check this node: runtime, port, fall-back, disk, clock.")
@click.option(
    "--runtime",
    "runtimes",
    type=click.Choice(RUNTIMES),
    multiple=True,
    help="Only these; repeatable.  [those that are there]",
)
@click.option(
    "--root",
    metavar="DIR",
    default="/",
    help="Where the node's files are mounted, when run in a pod.  [/]",
)
@click.option("--mirror", type=Parsed("url", parse_mirror), metavar="URL", default=DEFAULT_MIRROR)
@click.option(
    "--registry",
    "registries",
    type=Parsed("host", parse_registry),
    metavar="HOST",
    multiple=True,
    help="Registries that should go through it.  [the node's upstreams]",
)
@click.option("--runtime-version", type=VERSION, metavar="X.Y.Z", help="Its release, in a pod.")
@click.option("--containerd-config", metavar="FILE", help="Its config.toml, as on the node.")
@click.option("--admin", metavar="URL", help="The admin port.  [NODECACHE_ADMIN_URL]")
@click.option("--data-dir", metavar="DIR", help="The data folder.  [NODECACHE_DATA_DIR]")
@click.option("--config", metavar="FILE", help="The settings file.  [NODECACHE_CONFIG]")
@json_option
def doctor(
    *,
    runtimes: Sequence[str],
    root: str,
    mirror: str,
    registries: Sequence[str],
    runtime_version: Version | None,
    containerd_config: str | None,
    admin: str | None,
    data_dir: str | None,
    config: str | None,
    as_json: bool,
) -> None:
    """Check this node: is the mirror really used, and what stands in its way?

    Looks at the runtimes' files, asks the mirror's port, the admin port and the
    upstreams, and compares the disk with what the kubelet does. Changes
    nothing. Exits with 1 where something has to be done.
    """
    if not os.path.isdir(root):
        fail(f"--root: {root} is no folder", "Mount the node's / there.", EXIT_UNUSABLE)
    environ = dict(os.environ)
    settings = _settings(data_dir, config, environ)
    wanted = Wanted(
        root=Root(root),
        mirror=mirror,
        admin_url=target_of(admin, data_dir, config, environ).admin_url,
        runtimes=runtimes,
        registries=registries,
        version=runtime_version,
        containerd_config=containerd_config,
    )
    findings = diagnose(gather(wanted, settings))
    if as_json:
        well = not needs_action(findings)
        print_json({"well": well, "findings": [one.document() for one in findings]})
    else:
        _print(findings)
    sys.exit(EXIT_FAILED if needs_action(findings) else 0)


def _settings(data_dir: str | None, config: str | None, environ: dict[str, str]) -> Settings:
    try:
        return read_settings({"data_dir": data_dir, "config": config}, environ).settings
    except ConfigError as error:
        fail(str(error), code=EXIT_UNUSABLE)


def _print(findings: Sequence[Finding]) -> None:
    width = min(console().width, 100)
    told = ""
    for one in findings:
        if one.subject != told:
            click.echo(one.subject if not told else f"\n{one.subject}")
            told = one.subject
        _line(_MARKS[one.severity], one.what, width)
        for name, text in (("means", one.means), ("fix", one.fix)):
            if text:
                _line("", f"{name}: {text}", width)
    click.echo(f"\n{_summary(findings)}")


def _line(mark: str, text: str, width: int) -> None:
    first = f"  {mark:<{_INDENT - 2}}"
    lines = textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=" " * _INDENT, break_long_words=False
    )
    click.echo("\n".join(lines))


def _summary(findings: Sequence[Finding]) -> str:
    counts = dict.fromkeys(Severity, 0)
    for finding in findings:
        counts[finding.severity] += 1
    parts = [
        f"{counts[one]} {name}{'s' if counts[one] != 1 else ''}"
        for one, name in ((Severity.PROBLEM, "problem"), (Severity.WARNING, "warning"))
        if counts[one]
    ]
    if not parts:
        return f"All is well ({counts[Severity.OK]} checks)."
    return f"{', '.join(parts)}; {counts[Severity.OK]} checks are well."


__all__ = ["doctor"]
