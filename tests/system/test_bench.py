"""The measurements run: two rows of them, quickly, and what they say of themselves."""

from __future__ import annotations

import pathlib
import subprocess
import sys

from bench.core.report import Report
from tests.system.parts.processes import need, need_root

ROOT = pathlib.Path(__file__).parent.parent.parent


def test_two_rows_are_measured_and_no_bar_is_a_failure(tmp_path: pathlib.Path) -> None:
    """Requests beside docker-registry, and a cold blob over a cable that counts its bytes."""
    need_root()
    need("nginx", "docker-registry", "tc")
    found = tmp_path / "found.json"
    argv = [
        *(sys.executable, "-m", "bench", "--quick", "--rows", "manifests,link"),
        *("--json", str(found), "--folder", str(tmp_path)),
    ]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = Report.read(found.read_text())
    manifests, link = report.outcomes
    assert (manifests.failed, link.failed) == ("", "")
    assert {"nodecache", "registry"} <= set(manifests.figures)
    assert all(verdict.met is not None for verdict in (*manifests.verdicts, *link.verdicts))
    [copies] = link.figures["nodecache"]["upstream bytes / blob"]
    assert copies == 1
    assert "| cold blob, link of 100 Mbit/s | MB/s / direct | at least 0.97 |" in done.stdout
    assert list(tmp_path.glob("bench-*")) == []
