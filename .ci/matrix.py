"""Run the test matrix: tox here, and in folders of newer Debians what has no interpreter here.

Each version ends in one line: what ran, or why it could not be run.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import tempfile

from tests.system.parts.processes import MissingPart
from tests.system.parts.userlands import NEWER_PACKAGES, NEWER_SUITE, Newer, debian

ROOT = pathlib.Path(__file__).parent.parent
#: Which Debian carries which Python.
SUITES = {
    "3.13": ("trixie", ("ca-certificates", "python3-venv")),
    "3.14": (NEWER_SUITE, NEWER_PACKAGES),
}
VERSIONS = ("3.11", "3.12", "3.13", "3.14")


def environments(version: str) -> str:
    number = version.replace(".", "")
    return f"py{number}-oldest,py{number}-newest"


def interpreter(version: str) -> str | None:
    """An interpreter that runs and can make environments; a shim that leads nowhere does not."""
    pyenv = pathlib.Path(os.environ.get("PYENV_ROOT") or pathlib.Path.home() / ".pyenv")
    kept = sorted(pyenv.glob(f"versions/{version}.*/bin/python"))
    for candidate in (f"python{version}", *map(str, kept)):
        try:
            argv = [candidate, "-c", "import ensurepip, sys; print(sys.executable)"]
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
        except OSError:
            continue
        if done.returncode == 0:
            return done.stdout.strip()
    return None


def run_here(names: str, found: str = sys.executable) -> bool:
    argv = [sys.executable, "-m", "tox", "run", "-e", names, "--discover", found, *sys.argv[1:]]
    return subprocess.run(argv, cwd=ROOT, check=False).returncode == 0


_INSIDE = """\
set -e
cd "$1/source"
python3 -m venv ../work/tox
../work/tox/bin/python -m pip install --quiet tox
exec ../work/tox/bin/python -m tox run --workdir ../work/envs -e "$2"
"""


def run_in_debian(version: str) -> bool:
    """tox within a Debian that has the interpreter; it works on a copy of the checkout."""
    suite, packages = SUITES[version]
    with tempfile.TemporaryDirectory(prefix="nodecache-matrix-", dir="/var/tmp") as name:
        shared = pathlib.Path(name)
        root = debian(suite, packages)
        (shared / "work").mkdir()
        copy = ["git", "clone", "--quiet", str(ROOT), str(shared / "source")]
        subprocess.run(copy, check=True)
        lend_network(root)
        inside = Newer(root, shared, suite)
        argv = inside.argv(["bash", "-c", _INSIDE, "matrix", name, environments(version)])
        return subprocess.run(argv, check=False).returncode == 0


def lend_network(root: pathlib.Path) -> None:
    """Names and certificates as this machine has them."""
    for name in ("etc/resolv.conf", "etc/hosts", "etc/ssl/certs/ca-certificates.crt"):
        mine = pathlib.Path("/") / name
        if mine.exists():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(mine.read_bytes())


def outcome(version: str) -> str:
    found = interpreter(version)
    if found is not None:
        return "passed" if run_here(environments(version), found) else "FAILED"
    if version not in SUITES:
        return "not run: no interpreter here"
    suite = SUITES[version][0]
    try:
        return f"passed (Debian {suite})" if run_in_debian(version) else f"FAILED (Debian {suite})"
    except MissingPart as part:
        return f"not run: no interpreter here, and no {part}"


def main() -> int:
    lines = [f"Python {version}: {outcome(version)}" for version in VERSIONS]
    lines.append(f"lint and types: {'passed' if run_here('lint,types') else 'FAILED'}")
    print("\n".join(["", *lines]))
    return int(any("FAILED" in line for line in lines))


if __name__ == "__main__":
    sys.exit(main())
