"""Many clients at once, as processes that cost little: curl."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

import attrs

from tests.system.parts.processes import need


@attrs.frozen
class Fetched:
    """What one curl saw; ``exit_code`` is curl's own, 0 for a whole body."""

    exit_code: int
    status: int
    size: int


@attrs.define
class Curl:
    """One transfer under way; nothing of the body is kept."""

    process: subprocess.Popen[str]

    def wait(self, patience: float = 240) -> Fetched:
        out, _ = self.process.communicate(timeout=patience)
        status, size = out.split()[-2:]
        return Fetched(self.process.returncode, int(status), int(size))


def fetch(url: str, *options: str) -> Curl:
    """Start one curl."""
    need("curl")
    argv = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{size_download}", *options, url]
    return Curl(subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True))


def fetch_all(urls: Sequence[str], *options: str) -> list[Fetched]:
    """All of them at once; returns when the last one has ended."""
    running = [fetch(url, *options) for url in urls]
    return [one.wait() for one in running]
