"""What every ring of the tests shares: what to do when a part is missing.

On a developer's machine a test whose real parts cannot be had is skipped by
name. With ``CI=true`` a missing part is a failure: a green run there means that
everything ran.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import NoReturn

import pytest


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def missing(part: str) -> NoReturn:
    """Skip the test, naming ``part``; fail it where nothing may be missing."""
    if in_ci():
        pytest.fail(f"missing part: {part}", pytrace=False)
    pytest.skip(f"missing part: {part}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With ``CI=true`` no test may be skipped, whoever skipped it."""
    report = yield
    if in_ci() and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report
