"""What ``nodecache doctor`` says: findings, and how bad each is."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Any

import attrs


class Severity(enum.Enum):
    """The worst last."""

    OK = "ok"  # looked at, and well
    NOTE = "note"  # worth knowing; nothing has to be done
    WARNING = "warning"  # works, and will not always
    PROBLEM = "problem"  # does not do what it is for

    @property
    def needs_action(self) -> bool:
        return self in {Severity.WARNING, Severity.PROBLEM}


@attrs.frozen
class Finding:
    """``code`` is stable; ``what`` was seen, ``means`` what comes of it, ``fix`` what to do."""

    code: str
    severity: Severity
    subject: str
    what: str
    means: str = ""
    fix: str = ""

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {**attrs.asdict(self), "severity": self.severity.value}


def ok(code: str, subject: str, what: str) -> Finding:
    """A finding that all is well."""
    return Finding(code, Severity.OK, subject, what)


def note(code: str, subject: str, what: str, means: str = "", fix: str = "") -> Finding:
    """One that asks for nothing."""
    return Finding(code, Severity.NOTE, subject, what, means, fix)


def warning(code: str, subject: str, what: str, means: str, fix: str) -> Finding:
    """One that asks for something before it hurts."""
    return Finding(code, Severity.WARNING, subject, what, means, fix)


def problem(code: str, subject: str, what: str, means: str, fix: str) -> Finding:
    """One that hurts."""
    return Finding(code, Severity.PROBLEM, subject, what, means, fix)


def needs_action(findings: Iterable[Finding]) -> bool:
    """Whether anything has to be done."""
    return any(one.severity.needs_action for one in findings)
