"""``nodecache config``: the settings that hold, and where each comes from."""

from __future__ import annotations

import os
from typing import Any

import click

from nodecache.cli.console import json_option, print_json, print_table, table, to_stderr
from nodecache.cli.problems import CommandError
from nodecache.cli.serve import read_settings, serve
from nodecache.cli.target import target_of
from nodecache.config import Origin
from nodecache.config.effective import effective
from nodecache.failures import EXIT_UNUSABLE, ConfigError


@click.command(short_help="Show the settings, and where each comes from.")
@click.option("--running", is_flag=True, help="Ask the node that runs, instead of reading them.")
@click.option("--all", "every", is_flag=True, help="Limits and timeouts too that are as usual.")
@click.option("--admin", metavar="URL", help="Its admin port, with --running.")
@json_option
def config(
    *, running: bool, every: bool, admin: str | None, as_json: bool, **flags: object
) -> None:
    """Show the settings that 'nodecache serve' has with these flags, variables and this file.

    With --running, those of the node that runs now: it may have been started
    with others. Secrets are not shown.
    """
    rows = _running(flags, admin) if running else _read(flags)
    if as_json:
        print_json({"settings": rows})
        return
    shown = table("SETTING", "VALUE", "FROM", folded=("VALUE",))
    for row in rows:
        tuned = "." not in row["key"] or row["origin"] != Origin.DEFAULT.value
        if tuned or every:
            shown.add_row(row["key"], row["value"], _where(row))
    print_table(shown)
    if not every:
        to_stderr().print("Limits and timeouts that are as usual are shown with --all.")


def _where(row: dict[str, Any]) -> str:
    if row["origin"] == Origin.ENVIRONMENT.value and row["environment"]:
        return str(row["environment"])
    if row["origin"] == Origin.FLAG.value:
        return f"--{row['key'].replace('_', '-')}"
    return str(row["origin"])


def _read(flags: dict[str, object]) -> list[dict[str, str]]:
    if not flags.get("upstream"):
        flags["upstream"] = None
    try:
        loaded = read_settings(flags, dict(os.environ))
    except ConfigError as error:
        raise CommandError(str(error), code=EXIT_UNUSABLE) from None
    for warning in loaded.warnings:
        click.echo(f"nodecache: {warning}", err=True)
    return [each.document() for each in effective(loaded.settings)]


def _running(flags: dict[str, object], admin: str | None) -> list[dict[str, str]]:
    names = {name: str(flags[name]) for name in ("data_dir", "config") if flags.get(name)}
    target = target_of(admin, names.get("data_dir"), names.get("config"), dict(os.environ))
    found = target.admin.get("/api/v1/config")
    rows: list[dict[str, str]] = found["settings"]
    return rows


config.params.extend(serve.params)
