"""``nodecache serve``: read the settings, start the node, say in plain words what it does."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import NoReturn

import click

from nodecache.config import Loaded, load
from nodecache.failures import ConfigError

#: Exit code for a setting, a data folder or a port that can not be used.
EXIT_UNUSABLE = 2

_FLAGS = (
    ("--data-dir", "DIR", "Everything on disk lives here.  [./nodecache-data]"),
    ("--listen", "HOST:PORT", "The mirror, for this node's runtime.  [localhost:5000]"),
    ("--admin-listen", "HOST:PORT", "Metrics and health, read-only.  [localhost:5002]"),
    ("--max-size", "SIZE", "Cap of the cache, e.g. 20GiB or 10%.  [smaller of 20% and 100GiB]"),
    ("--min-free", "SIZE", "Floor of free disk, always kept.  [20%]"),
    ("--tag-ttl", "TIME", "A tag is asked again upstream after this.  [60s]"),
    ("--log-format", "json|console", "One event a line.  [json; console on a terminal]"),
)


def _with_flags(command: click.Command) -> click.Command:
    for name, metavar, text in reversed(_FLAGS):
        command.params.insert(0, click.Option([name], metavar=metavar, help=text))
    return command


def read_settings(flags: Mapping[str, object], environ: Mapping[str, str]) -> Loaded:
    """Flags win over environment wins over file. Raises ConfigError in one line."""
    name = str(flags.get("config") or environ.get("NODECACHE_CONFIG") or "")
    given = {key: value for key, value in flags.items() if key != "config" and value is not None}
    return load(given, environ, _read_file(name) if name else None, name)


def _read_file(name: str) -> str:
    try:
        with open(name, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"config: cannot read {name}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


@click.command(short_help="Start the mirror on this node.")
@click.option("--config", metavar="FILE", help="TOML file; flags and environment win over it.")
@click.option(
    "--upstream",
    multiple=True,
    metavar="NS=URL",
    help="Repeatable; the closed list of ?ns= values.  [docker.io=https://registry-1.docker.io]",
)
@click.option("--offline/--no-offline", default=None, help="Never ask upstream.")
def serve(**flags: object) -> None:
    """Start the mirror on this node.

    Each setting is a flag, an environment variable (NODECACHE_ and the flag's
    name in capitals; --upstream is NODECACHE_UPSTREAMS) or a key of the file.
    """
    if not flags.get("upstream"):
        flags["upstream"] = None
    environ = dict(os.environ)
    try:
        loaded = read_settings(flags, environ)
    except ConfigError as error:
        fail(str(error))
    from nodecache.service import run  # the reactor is installed by this import

    sys.exit(run(loaded, lambda: read_settings(flags, environ), environ, sys.stdout))


def fail(message: str) -> NoReturn:
    """One clear line on stderr, exit code 2."""
    click.echo(f"nodecache: {message}", err=True)
    sys.exit(EXIT_UNUSABLE)


_with_flags(serve)

__all__ = ["EXIT_UNUSABLE", "fail", "read_settings", "serve"]
