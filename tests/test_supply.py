"""The audit of the locks (.ci/audit.py): it never calls sound what nobody has judged."""

from __future__ import annotations

import importlib.util
import json
import pathlib
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

import pytest

ROOT = pathlib.Path(__file__).parent.parent


def audit_script() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("ci_audit", ROOT / ".ci" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


SCRIPT = audit_script()
HASH = "--hash=sha256:" + "a" * 64
GOOD = (
    f"attrs==26.1.0 \\\n    {HASH} \\\n    {HASH}\n    # via klein\n"
    f"Twisted==26.10.0 \\\n    {HASH}\n"
)


def problems(lock: str, *required: str) -> str:
    return "; ".join(SCRIPT.lock_problems(SCRIPT.entries(lock), required))


def test_a_lock_with_pins_and_hashes_within_the_ranges_is_right() -> None:
    assert problems(GOOD, "attrs>=23.2", "Twisted[tls]>=24.7") == ""


@pytest.mark.parametrize(
    ("lock", "words"),
    [
        ("attrs==26.1.0\n", "attrs has no hash"),
        (f"attrs>=26.1.0 \\\n    {HASH}\n", "attrs is not pinned"),
        (f"attrs \\\n    {HASH}\n", "attrs is not pinned"),
        (f"attrs==1.0 \\\n    {HASH}\n", "attrs>=23.2 is asked for, 1.0 is locked"),
        (f"klein==24.8 \\\n    {HASH}\n", "attrs is asked for and not locked"),
        ("attrs==26.1.0 \\\n    --hash=md5:abc\n", "attrs has no hash"),
    ],
)
def test_a_lock_that_is_none_is_found(lock: str, words: str) -> None:
    assert words in problems(lock, "attrs>=23.2")


@pytest.mark.parametrize("name", SCRIPT.LOCKS)
def test_the_locks_of_the_image_are_right(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    required = SCRIPT.required() if name == "requirements.lock" else ()
    assert len(SCRIPT.entries(text)) == text.count("==")
    assert problems(text, *required) == ""


def test_what_setup_asks_for_is_read() -> None:
    assert [one for one in SCRIPT.required() if one.startswith("Twisted>=")]
    assert len(SCRIPT.required()) > 5


def test_a_licence_that_nobody_has_looked_at_is_found() -> None:
    given = {
        "good": "MIT",
        "both": "Apache-2.0 OR BSD-3-Clause",
        "none": "",
        "other": "GPL-3.0-only",
    }
    found = list(SCRIPT.licence_problems(given))
    assert [line.partition(" ")[0] for line in found] == ["none", "other"]


def test_the_licence_of_what_is_installed_is_read() -> None:
    assert "MIT" in SCRIPT.licence("attrs")
    assert SCRIPT.licence("no-such-distribution") == ""


def package(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "version": "1.0", **more}


SOUND: dict[str, Any] = {"vulns": []}
SKIPPED = {"skip_reason": "not found"}
BROKEN = {"vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"]}]}


def asked(**answers: Mapping[str, Any]) -> Callable[[str], Mapping[str, Any]]:
    return lambda service: answers.get(service, {})


def document(**packages: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"dependencies": [package(name, **told) for name, told in packages.items()]}


def said(
    capsys: pytest.CaptureFixture[str], *, must: bool = False, **answers: Mapping[str, Any]
) -> tuple[int, str]:
    code = SCRIPT.say(SCRIPT.audit(["one", "two"], asked(**answers)), must=must)
    return code, capsys.readouterr().out


def test_what_was_judged_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    code, words = said(capsys, must=True, pypi=document(one=SOUND, two=SOUND))
    assert (code, words) == (0, "Audited: nothing is known against 2 packages.\n")


@pytest.mark.parametrize("answer", [{}, {"dependencies": []}, document(one=SKIPPED, two=SKIPPED)])
def test_without_a_service_nothing_counts_as_audited(
    capsys: pytest.CaptureFixture[str], answer: Mapping[str, Any]
) -> None:
    """pip-audit itself ends well then, and says that no vulnerability is known."""
    code, words = said(capsys, pypi=answer)
    assert code == 0
    assert "NOT AUDITED: no service could be asked" in words
    assert "Audited:" not in words
    assert said(capsys, must=True, pypi=answer)[0] == 1


def test_what_one_service_does_not_know_another_is_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    half, other = document(one=SOUND, two=SKIPPED), document(two=SOUND)
    assert said(capsys, must=True, pypi=half, osv=other)[0] == 0
    code, words = said(capsys, pypi=half)
    assert code == 0
    assert "NOT AUDITED: no service judged two." in words
    assert "against 1 packages" in words


def test_what_is_vulnerable_fails_and_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    for pypi, osv in (
        (document(one=SOUND, two=BROKEN), {}),
        (document(one=SKIPPED, two=SKIPPED), document(two=BROKEN)),
    ):
        code, words = said(capsys, pypi=pypi, osv=osv)
        assert code == 1
        assert "VULNERABLE: two 1.0: PYSEC-1, mended in 1.1" in words


def test_a_program_that_says_no_json_judges_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    done = types.SimpleNamespace(stdout="No module named pip_audit")
    monkeypatch.setattr(SCRIPT.subprocess, "run", lambda *_, **__: done)
    assert SCRIPT.ask("pypi") == {}

    def late(*_: object, **__: object) -> None:
        raise SCRIPT.subprocess.TimeoutExpired("pip-audit", 1)

    monkeypatch.setattr(SCRIPT.subprocess, "run", late)
    assert SCRIPT.ask("pypi") == {}


def test_licences_are_put_into_the_bill_of_materials() -> None:
    bom = {"bomFormat": "CycloneDX", "components": [package("Attrs"), package("other")]}
    made = SCRIPT.with_licences(bom, {"attrs": "MIT"})
    first, second = made["components"]
    assert first["licenses"] == [{"license": {"name": "MIT"}}]
    assert "licenses" not in second
    assert json.dumps(made)


def test_the_audit_is_a_step_of_ci_and_fails_no_build_without_a_network() -> None:
    steps = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert "make audit" in steps
    assert "--must" not in "".join(steps)
