"""What is known against the packages that the image holds, and whether the lock can be trusted.

    make audit                  (or python .ci/audit.py)

Known vulnerabilities are asked of the services that pip-audit knows. A package that no service
has judged is named, and never counted as sound; where none could be reached that is said, and is
no failure, unless ``--must``: a build without a network has to work. What needs no network is
checked at any time: pins, hashes, the ranges of setup.py, licences, and that what is installed
fits together. ``--sbom FILE`` puts the licences into a bill of materials.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import pathlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = pathlib.Path(__file__).parent.parent
LOCKS: Final = ("requirements.lock", "requirements-build.lock")
SERVICES: Final = ("pypi", "osv")
#: Seconds for one service, all packages together.
PATIENCE: Final = 120
#: By their names in metadata and classifiers; what is copyleft for a whole program is not here.
ALLOWED: Final = re.compile(
    r"\b(MIT|BSD|Apache|PSF|Python Software Foundation|ISC|MPL|Mozilla|ZPL|Zope|Unlicense|CC0)\b",
    re.IGNORECASE,
)
_ENTRY: Final = re.compile(
    r"^(?P<name>[A-Za-z0-9][\w.-]*)(?P<pin>\S*)(?P<rest>(?: \\\n    \S+)*)", re.MULTILINE
)
_HASH: Final = re.compile(r"--hash=sha256:[0-9a-f]{64}")


@attrs.frozen
class Locked:
    """One entry of a lock; ``version`` is empty where it is not pinned to one."""

    name: str
    version: str
    hashes: int


def entries(text: str) -> list[Locked]:
    """Of a lock, in its order."""
    found = []
    for match in _ENTRY.finditer(text):
        pin = re.fullmatch(r"==([\w.!+-]+)", match["pin"])
        hashes = len(_HASH.findall(match["rest"]))
        found.append(Locked(canonicalize_name(match["name"]), pin[1] if pin else "", hashes))
    return found


def lock_problems(locked: Sequence[Locked], required: Sequence[str]) -> Iterator[str]:
    """Entries without a version or a hash, and what setup.py asks for and does not get."""
    for one in locked:
        if not one.version:
            yield f"{one.name} is not pinned to a version"
        if not one.hashes:
            yield f"{one.name} has no hash"
    held = {one.name: one.version for one in locked}
    for wanted in map(Requirement, required):
        version = held.get(canonicalize_name(wanted.name), "")
        if not version:
            yield f"{wanted.name} is asked for and not locked"
        elif not wanted.specifier.contains(version):
            yield f"{wanted} is asked for, {version} is locked"


def _told(metadata: importlib.metadata.PackageMetadata, field: str) -> str:
    return str(metadata[field]) if field in metadata else ""


def licence(name: str) -> str:
    """As the installed distribution tells it; empty where there is none, or it tells nothing."""
    try:
        told = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
    classified = [
        each.rpartition("::")[2].strip()
        for each in told.get_all("Classifier", [])
        if each.startswith("License ::")
    ]
    short = _told(told, "License").strip()
    words = _told(told, "License-Expression") or " AND ".join(classified)
    return words or ("" if "\n" in short else short)


def licence_problems(licences: Mapping[str, str]) -> Iterator[str]:
    for name, words in licences.items():
        if not words:
            yield f"{name} tells no licence"
        elif not ALLOWED.search(words):
            yield f"{name} has the licence {words}, which nobody has looked at"


@attrs.frozen
class Judged:
    """What services said: ``sound`` and ``skipped`` by name, ``broken`` in words."""

    sound: frozenset[str] = frozenset()
    skipped: frozenset[str] = frozenset()
    broken: tuple[str, ...] = ()


def judged(document: Mapping[str, Any], wanted: Sequence[str]) -> Judged:
    """Of pip-audit's JSON. What it does not speak of at all is skipped."""
    sound, broken, seen = set(), [], set()
    for one in document.get("dependencies", ()):
        name = canonicalize_name(one["name"])
        if "skip_reason" in one or "vulns" not in one:
            continue
        seen.add(name)
        if one["vulns"]:
            told = "; ".join(f"{each['id']}, mended in {_mended(each)}" for each in one["vulns"])
            broken.append(f"{name} {one['version']}: {told}")
        else:
            sound.add(name)
    return Judged(frozenset(sound), frozenset(set(wanted) - seen), tuple(broken))


def _mended(vulnerability: Mapping[str, Any]) -> str:
    return ", ".join(vulnerability.get("fix_versions", ())) or "no version"


def ask(service: str) -> Mapping[str, Any]:
    """pip-audit's document; empty where it has none."""
    words = [sys.executable, "-m", "pip_audit", "--vulnerability-service", service]
    words += [word for lock in LOCKS for word in ("--requirement", lock)]
    words += ["--require-hashes", "--disable-pip"]
    words += ["--format", "json", "--progress-spinner", "off"]
    try:
        done = subprocess.run(
            words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE
        )
        found = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def audit(wanted: Sequence[str], asked: Callable[[str], Mapping[str, Any]] = ask) -> Judged:
    """By the first service that judges everything, else by all of them together."""
    sound: set[str] = set()
    broken: dict[str, None] = {}
    missing = set(wanted)
    for service in SERVICES:
        told = judged(asked(service), wanted)
        sound |= told.sound
        broken |= dict.fromkeys(told.broken)
        missing &= told.skipped
        if not missing:
            break
    known_bad = {line.partition(" ")[0] for line in broken}
    return Judged(frozenset(sound - known_bad), frozenset(missing), tuple(broken))


def say(told: Judged, *, must: bool) -> int:
    """1 where something is known against a package, or ``must`` and not all are judged."""
    for line in told.broken:
        print(f"VULNERABLE: {line}")
    if told.skipped and not told.sound and not told.broken:
        print("NOT AUDITED: no service could be asked. Nothing is known of these packages.")
    elif told.skipped:
        print(f"NOT AUDITED: no service judged {', '.join(sorted(told.skipped))}.")
    if told.sound:
        print(f"Audited: nothing is known against {len(told.sound)} packages.")
    return 1 if told.broken or (must and told.skipped) else 0


def with_licences(bom: dict[str, Any], licences: Mapping[str, str]) -> dict[str, Any]:
    """A CycloneDX document whose components tell their licences."""
    components = [
        {**one, "licenses": [{"license": {"name": licences[canonicalize_name(one["name"])]}}]}
        if licences.get(canonicalize_name(one["name"]))
        else one
        for one in bom.get("components", ())
    ]
    return {**bom, "components": components}


def required() -> list[str]:
    """What setup.py asks for."""
    text = (ROOT / "setup.py").read_text(encoding="utf-8")
    listed = re.search(r"install_requires=\[(.*?)\]", text.replace("[tls]", ""), re.DOTALL)
    assert listed is not None
    return re.findall(r'"([^"]+)"', listed[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--must", action="store_true", help="fail unless everything was judged")
    parser.add_argument("--sbom", type=pathlib.Path, help="put the licences into this document")
    asked = parser.parse_args()
    locked = {name: entries((ROOT / name).read_text(encoding="utf-8")) for name in LOCKS}
    licences = {one.name: licence(one.name) for each in locked.values() for one in each}
    if asked.sbom:
        made = with_licences(json.loads(asked.sbom.read_text()), licences)
        asked.sbom.write_text(json.dumps(made, indent=2) + "\n")
        return 0
    problems = [*lock_problems(locked[LOCKS[0]], required()), *lock_problems(locked[LOCKS[1]], ())]
    problems += licence_problems(licences)
    fits = subprocess.run([sys.executable, "-m", "pip", "check"], cwd=ROOT, check=False)
    wrong = "\n".join(f"WRONG: {line}" for line in problems)
    print(wrong or "Pins, hashes, ranges and licences are right.", flush=True)
    told = audit([one.name for each in locked.values() for one in each])
    return say(told, must=asked.must) or int(bool(problems) or fits.returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
