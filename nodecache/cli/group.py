"""``nodecache``: finds a command by its name, and says what there is on one screen."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator
from typing import Any, Final

import click

from nodecache import __version__
from nodecache.cli.commands import COMMANDS, TOGETHER, Entry, named
from nodecache.cli.problems import Interrupted

#: Columns of the help in front of a command's name, and in front of its summary.
_SECTION: Final = 8
_NAME: Final = 17

_EPILOG: Final = """
  nodecache COMMAND --help tells more, docs/command-line.md all of it.
  Exit codes: 0 done, 1 failed, 2 usage, 3 node not reached, 130 interrupted.
"""


class Commands(click.Group):
    """A group that imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's call
        return [entry.name for entry in COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        entry = named(cmd_name)
        return None if entry is None else load(entry)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """A name that is no command: the nearest one is offered."""
        if args and not args[0].startswith("-") and named(args[0]) is None:
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            meant = f" Did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"There is no command {args[0]!r}.{meant}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted from None

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(ctx.command_path, "COMMAND [OPTIONS] ...")

    def format_options(
        self,
        ctx: click.Context,  # noqa: ARG002 -- click's call
        formatter: click.HelpFormatter,
    ) -> None:
        """Sections stand beside their commands: so all of them fit on a screen of 24 lines."""
        formatter.write("\n")
        told = ""
        for section, names, summary in rows():
            title = section if section != told else ""
            told = section
            formatter.write(f"  {title:{_SECTION}}{names:{_NAME}}{summary}\n")

    def format_epilog(
        self,
        ctx: click.Context,  # noqa: ARG002 -- click's call
        formatter: click.HelpFormatter,
    ) -> None:
        formatter.write(_EPILOG)


def rows() -> Iterator[tuple[str, str, str]]:
    """Section, names and summary of each line of the help."""
    for entry in COMMANDS:
        if TOGETHER.get(entry.name) is None:
            partners = [name for name, first in TOGETHER.items() if first == entry.name]
            names = [entry.name, *(name for name in partners if named(name))]
            yield entry.section, ", ".join(names), entry.summary


def load(entry: Entry) -> click.Command:
    """The command itself."""
    module = importlib.import_module(f"nodecache.cli.{entry.module}")
    found = getattr(module, entry.attribute)
    assert isinstance(found, click.Command)
    return found


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="nodecache")
def main() -> None:
    """A registry mirror on every node: from disk, or from Docker Hub."""
