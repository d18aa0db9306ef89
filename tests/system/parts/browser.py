"""A headless Chromium, and what it noticed on a page: complaints, and whom it asked."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import attrs

from tests.system.parts.processes import MissingPart

#: Widths and heights of windows, in CSS pixels.
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
SCHEMES = ("light", "dark")


@attrs.define
class View:
    """One open page."""

    page: Any  # playwright's
    complaints: list[str] = attrs.Factory(list)
    requests: list[str] = attrs.Factory(list)

    def text(self, selector: str) -> str:
        return str(self.page.locator(selector).inner_text())

    def words(self, selector: str) -> str:
        """As ``text``, with plain spaces for those that keep a number and its unit together."""
        return self.text(selector).replace("\N{NO-BREAK SPACE}", " ")

    def hosts(self) -> set[str]:
        """Whom it asked."""
        return {urlsplit(url).netloc for url in self.requests if not url.startswith("data:")}

    def fits(self) -> bool:
        """Whether nothing sticks out to the side of the window."""
        script = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        return bool(self.page.evaluate(script))

    def faults(self) -> list[str]:
        """What axe-core finds that is serious or critical."""
        self.page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text())
        found = self.page.evaluate("axe.run()")["violations"]
        return [
            f"{each['id']} ({each['impact']}): {node['html'][:200]} {node['failureSummary']}"
            for each in found
            if each["impact"] in {"serious", "critical"}
            for node in each["nodes"]
        ]


@attrs.frozen
class Browser:
    chromium: Any

    @contextmanager
    def view(
        self, url: str, size: str = "desktop", scheme: str = "light", *, javascript: bool = True
    ) -> Iterator[View]:
        """Open ``url`` in a window of its own."""
        width, height = SIZES[size]
        context = self.chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            java_script_enabled=javascript,
            bypass_csp=False,
        )
        try:
            view = View(context.new_page())
            view.page.on(
                "console",
                lambda said: (
                    view.complaints.append(said.text) if said.type in {"error", "warning"} else None
                ),
            )
            view.page.on("pageerror", lambda error: view.complaints.append(str(error)))
            view.page.on("request", lambda request: view.requests.append(request.url))
            view.page.goto(url)
            yield view
        finally:
            context.close()


@contextmanager
def browser() -> Iterator[Browser]:
    """Raises MissingPart."""
    program = shutil.which("chromium")
    if program is None:
        raise MissingPart("chromium is not installed")
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415 - a part
    except ImportError as error:
        raise MissingPart(f"playwright: {error}") from None
    with sync_playwright() as playwright:
        # Its sandbox can not be had as root.
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield Browser(chromium)
        finally:
            chromium.close()
