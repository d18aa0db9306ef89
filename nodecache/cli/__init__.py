"""The command line. Each command lives in a module of its own, imported when it runs."""

from __future__ import annotations

import click

from nodecache import __version__
from nodecache.cli.serve import serve


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Settings, answers and metrics are described in README.md and docs/operations.md.",
)
@click.version_option(__version__, prog_name="nodecache")
def main() -> None:
    """A registry mirror on every node: from disk, or from Docker Hub."""


main.add_command(serve)

__all__ = ["main"]
