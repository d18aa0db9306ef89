"""A node, and the command line beside it in a thread, as a person would run it."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import attrs
from click.testing import CliRunner
from twisted.internet.threads import deferToThread

from nodecache.cli import main
from nodecache.cli.client import Control
from nodecache.reference import Repository
from tests.node_case import NodeCase


@attrs.frozen
class Ran:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


async def run(data_dir: pathlib.Path, *words: str, stdin: bytes | None = None) -> Ran:
    """``nodecache WORDS`` against the node of ``data_dir``."""
    return await deferToThread(_run, data_dir, words, stdin)


def _run(data_dir: pathlib.Path, words: tuple[str, ...], stdin: bytes | None) -> Ran:
    runner = CliRunner(env={"NODECACHE_DATA_DIR": str(data_dir), "COLUMNS": "80"})
    result = runner.invoke(main, list(words), input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ran(result.exit_code, result.stdout, result.stderr)


class MovingCase(NodeCase):
    """``await self.run_("pull", "alpine")`` runs a command against ``self.node``."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = self.data_dir.parent

    async def run_(self, *words: str, stdin: bytes | None = None) -> Ran:
        return await run(self.data_dir, *words, stdin=stdin)

    def write(self, name: str, data: bytes) -> str:
        path = self.folder / name
        path.write_bytes(data)
        return str(path)

    def control(self) -> Control:
        return Control(str(self.data_dir / "control.sock"))

    async def tags_of(self, name: str) -> list[str]:
        return await self.node._store.list_tags(Repository("docker.io", name))
