"""``nodecache serve``: read the settings, start the node, say in plain words what it does."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from typing import NoReturn

import click

from nodecache.config import KEYS, UPSTREAM, Key, Loaded, load
from nodecache.failures import EXIT_UNUSABLE, ConfigError
from nodecache.listing import begin, blobs_in

#: What stands for the value of a flag in the help.
_METAVARS = {
    "data_dir": "DIR",
    "listen": "HOST:PORT",
    "admin_listen": "HOST:PORT",
    "upstream": "NS=URL",
    "peer_listen": "HOST:PORT",
    "peers": "NAME[:PORT]",
    "node_id": "NAME",
    "node_address": "IP,IP",
    "zone": "NAME",
    "peer_secret_file": "FILE",
    "max_size": "SIZE",
    "min_free": "SIZE",
    "tag_ttl": "TIME",
    "log_format": "json|console",
    "log_level": "debug|info|warning|error",
}


def _option(key: Key) -> click.Option:
    """The flag of a setting, as the table of settings describes it."""
    text = f"{key.meaning.replace('`', '')}.  [{key.default}]"
    text = text[0].upper() + text[1:]
    if key.name == "offline":
        return click.Option(["--offline/--no-offline"], default=None, help=text)
    several = key is UPSTREAM
    return click.Option([key.flag], metavar=_METAVARS[key.name], multiple=several, help=text)


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
    # Of what is loaded and scanned now nothing is garbage; once the node serves it collects.
    gc.disable()
    # Where there are many blobs, others look at them while this process loads what follows.
    listing = begin(blobs_in(loaded.settings.data_dir))
    with listing or nullcontext():
        from nodecache.service import run  # the reactor is installed by this import

        again = partial(read_settings, flags, environ)
        sys.exit(run(loaded, again, environ, sys.stdout, listing))


def fail(message: str) -> NoReturn:
    """One clear line on stderr, exit code 2."""
    click.echo(f"nodecache: {message}", err=True)
    sys.exit(EXIT_UNUSABLE)


serve.params.extend(_option(key) for key in KEYS)

__all__ = ["fail", "read_settings", "serve"]
