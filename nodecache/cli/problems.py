"""How a command fails: the problem in one line, the next step in another, and its exit code."""

from __future__ import annotations

from typing import IO, Any, NoReturn

import click

from nodecache.cli.commands import EXIT_FAILED, EXIT_INTERRUPTED


class CommandError(click.ClickException):
    """``problem`` says what is wrong, ``next_step`` what to do about it (empty: nothing)."""

    def __init__(self, problem: str, next_step: str = "", code: int = EXIT_FAILED) -> None:
        super().__init__(problem)
        self.problem = problem
        self.next_step = next_step
        self.exit_code = code  # type: ignore[misc]  # click's is the class's

    def show(self, file: IO[Any] | None = None) -> None:
        """To stderr, where whoever reads the answer from a pipe still sees it."""
        click.echo(f"nodecache: {self.problem}", file=file, err=file is None)
        if self.next_step:
            click.echo(f"  {self.next_step}", file=file, err=file is None)


class Interrupted(CommandError):
    """Ctrl-C, or SIGINT."""

    def __init__(self) -> None:
        super().__init__("interrupted", code=EXIT_INTERRUPTED)


def fail(problem: str, next_step: str = "", code: int = EXIT_FAILED) -> NoReturn:
    """End the command. ``problem`` is one line; ``next_step`` a sentence that helps."""
    raise CommandError(problem, next_step, code)
