"""``nodecache log-level``: what a running node logs."""

from __future__ import annotations

from typing import Any

import click

from nodecache.cli.console import console, json_option, print_json
from nodecache.cli.kinds import ParamType
from nodecache.cli.target import Target, node_options
from nodecache.config import format_duration, parse_duration

LEVELS = ("debug", "info", "warning", "error")


class Time(ParamType[float]):
    """A duration as the settings have it; the value is in seconds."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, ctx)


@click.command(short_help="Show or set what the running node logs.")
@click.argument("level", metavar="[LEVEL]", type=click.Choice(LEVELS), required=False)
@click.option("--for", "time", metavar="TIME", type=Time(), help="Then as before, like 10m.")
@json_option
@node_options
def log_level(*, level: str | None, time: float | None, as_json: bool, target: Target) -> None:
    """Show what the running node logs, or set it to LEVEL and what is worse.

    LEVEL is debug (each request), info (each pull), warning or error. Without
    --for it stays until it is set anew, the settings are read again, or the
    node restarts.
    """
    if time is not None and level is None:
        raise click.UsageError("--for is for a LEVEL that is set")
    order: dict[str, Any] = {} if level is None else {"level": level, "seconds": time or 0.0}
    last = target.control.done("log-level", order)
    if as_json:
        print_json({name: last[name] for name in ("level", "usual", "seconds_left")})
        return
    line = f"logs what is {last['level']} or worse"
    if last["seconds_left"] is not None:
        left = format_duration(round(last["seconds_left"]))
        line += f" for {left}, then {last['usual']}"
    elif last["level"] != last["usual"]:
        line += f"; the settings say {last['usual']}"
    console().print(line)
