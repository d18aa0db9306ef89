"""A real Prometheus: it scrapes nodes every second, and is asked as Grafana asks it."""

from __future__ import annotations

import http.client
import json
import pathlib
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import attrs
import yaml

from tests.system.parts.processes import Child, need

#: Seconds.
SCRAPE = 1
JOB = "nodecache"


@attrs.define
class Prometheus:
    """``targets`` are ``HOST:PORT`` by what the node is called."""

    folder: pathlib.Path
    targets: Mapping[str, str]
    rules: Mapping[str, Any]
    port: int
    child: Child | None = None

    def start(self) -> None:
        """Raises MissingPart."""
        need("prometheus", "promtool")
        self.folder.mkdir(parents=True)
        (self.folder / "rules.yml").write_text(yaml.safe_dump(dict(self.rules)))
        scraped = [
            {"targets": [address], "labels": {"node": node}}
            for node, address in self.targets.items()
        ]
        config = {
            "global": {"scrape_interval": f"{SCRAPE}s", "evaluation_interval": f"{SCRAPE}s"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [{"job_name": JOB, "static_configs": scraped}],
        }
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self.child = Child("prometheus", self._argv(), self.folder)
        self.child.ready(self._is_ready)

    def _argv(self) -> list[str]:
        return [
            "prometheus",
            f"--config.file={self.folder}/prometheus.yml",
            f"--storage.tsdb.path={self.folder}/data",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--enable-feature=exemplar-storage",
            "--log.level=warn",
        ]

    def _is_ready(self) -> bool:
        try:
            return self._get("/-/ready")[0] == 200
        except OSError:
            return False

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop()

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The series of an instant query, now. Raises AssertionError for a query that is wrong."""
        found: list[dict[str, Any]] = self.api("query", query=expr)["result"]
        return found

    def exemplars(self, expr: str) -> list[dict[str, Any]]:
        found = self.api("query_exemplars", query=expr, start="0", end="9999999999")
        return [each for series in found for each in series["exemplars"]]

    def firing(self) -> set[str]:
        """Names of the alerts that fire now."""
        alerts = self.api("alerts")["alerts"]
        return {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"}

    def api(self, what: str, **query: str) -> Any:
        status, body = self._get(f"/api/v1/{what}?{urlencode(query)}")
        document = json.loads(body)
        assert (status, document["status"]) == (200, "success"), document
        return document["data"]

    def _get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def promtool(
    arguments: Sequence[str], given: bytes = b"", folder: pathlib.Path | None = None
) -> None:
    """Raises AssertionError with what it complains about, MissingPart."""
    need("promtool")
    done = subprocess.run(
        ["promtool", *arguments], input=given, capture_output=True, check=False, cwd=folder
    )
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
