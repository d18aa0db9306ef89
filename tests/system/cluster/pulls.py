"""Pulls in nodes: each a program in the node's namespace, begun together or one by one."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import attrs

from tests.system.cluster.network import Station
from tests.system.parts.images import Image

_PROGRAM = pathlib.Path(__file__).with_name("puller.py")
#: Seconds in which any pull of the tests ends.
PATIENCE = 180.0


@attrs.frozen
class Pulled:
    """How one pull went; ``error`` is empty where every byte was right."""

    error: str
    digest: str
    began: float  # of the machine's monotonic clock
    ended: float
    blobs: tuple[dict[str, Any], ...]
    fallbacks: tuple[dict[str, str], ...]

    @property
    def seconds(self) -> float:
        return self.ended - self.began

    @property
    def bytes(self) -> int:
        return sum(blob["size"] for blob in self.blobs)

    def whole(self, image: Image) -> bool:
        """Everything of the image came, whoever gave it."""
        wanted = sorted(blob.digest for blob in image.platform().blobs)
        got = sorted(blob["digest"] for blob in self.blobs)
        return not self.error and self.digest == image.digest and got == wanted

    def check(self, image: Image, *, mirror_alone: bool = True) -> None:
        """Fail unless all bytes are right; and, if asked, unless the mirror gave them all."""
        assert self.whole(image), self
        assert not (mirror_alone and self.fallbacks), self.fallbacks


@attrs.define
class Pull:
    """One under way. ``go`` lets it begin."""

    process: subprocess.Popen[str]

    def is_ready(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    @property
    def over(self) -> bool:
        return self.process.poll() is not None

    def result(self, patience: float = PATIENCE) -> Pulled:
        out, _ = self.process.communicate(timeout=patience)
        told = json.loads(out)
        for name in ("blobs", "fallbacks"):
            told[name] = tuple(told[name])
        return Pulled(**told)

    def end(self) -> None:
        """Whatever it is at. Idempotent."""
        if not self.over:
            self.process.kill()
        if self.process.stdout is not None and not self.process.stdout.closed:
            self.process.communicate()


def prepare(station: Station, image: Image, hosts: Sequence[str], parallel: int = 3) -> Pull:
    """A pull in the station's namespace that waits for ``go``."""
    argv = [sys.executable, "-I", str(_PROGRAM), "--name", image.name, "--tag", image.tag]
    argv += [word for host in hosts for word in ("--host", host)]
    with station.namespace.entered():
        process = subprocess.Popen(
            [*argv, "--parallel", str(parallel)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    return Pull(process)


def begin(pulls: Sequence[Pull]) -> None:
    """All of them at once."""
    for pull in pulls:
        pull.is_ready()
    for pull in pulls:
        pull.go()
