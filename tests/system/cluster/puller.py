"""A runtime's pull in small, run as a program: what containerd asks, in its order.

    python puller.py --host URL [--host URL] --name NAME --tag TAG [--parallel 3]

Hosts are tried in turn, as in hosts.toml: the mirror, then the Hub itself. A
body that breaks off is taken up again by Range, from the first host on; three
such breaks without a byte between them fail the pull. Every body is checked
against its digest, and none is kept. It says ``ready``, begins at the first
line of its input, and prints one line of JSON in the end.

Of the standard library alone: it starts quickly, and eight at once cost little.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import hashlib
import http.client
import json
import re
import sys
import threading
import time
import urllib.parse
from typing import Any

ACCEPT = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        "docker.distribution.manifest.v2",
        "docker.distribution.manifest.list.v2",
        "oci.image.manifest.v1",
        "oci.image.index.v1",
    )
)
CHUNK = 1 << 18
TRIES = 3


class Refused(Exception):
    """An answer that is no 200 or 206; the next host may do better."""


class Wrong(Exception):
    """A complete body of other bytes: what a mirror must never give."""


class Host:
    """One registry: connections as needed, one token a repository."""

    def __init__(self, url: str, patience: float) -> None:
        self.url = url
        self.patience = patience
        self.token = ""
        self.lock = threading.Lock()

    def open(self, method: str, path: str, start: int = 0) -> http.client.HTTPResponse:
        """The answer's headers are in; redirects and one challenge are followed."""
        headers = {"Accept": ACCEPT, "User-Agent": "puller"}
        if start:
            headers["Range"] = f"bytes={start}-"
        answer = self._once(method, self.url + path, self._signed(headers))
        if answer.status == 401:
            self._challenged(answer)
            answer = self._once(method, self.url + path, self._signed(headers))
        while answer.status in {301, 302, 307, 308}:
            place = answer.headers["Location"]
            answer.close()
            answer = self._once(method, urllib.parse.urljoin(self.url, place), headers)
        if answer.status not in {200, 206}:
            answer.close()
            raise Refused(f"{answer.status} of {self.url}")
        return answer

    def _signed(self, headers: dict[str, str]) -> dict[str, str]:
        return {**headers, **({"Authorization": f"Bearer {self.token}"} if self.token else {})}

    def _once(self, method: str, url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
        parts = urllib.parse.urlsplit(url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=self.patience)
        connection.request(
            method, url.partition(parts.netloc)[2], headers={**headers, "Connection": "close"}
        )
        return connection.getresponse()

    def _challenged(self, answer: http.client.HTTPResponse) -> None:
        challenge = dict(re.findall(r'(\w+)="([^"]*)"', answer.headers["WWW-Authenticate"] or ""))
        answer.close()
        with self.lock:
            if self.token:
                return
            query = urllib.parse.urlencode(
                {"service": challenge["service"], "scope": challenge["scope"]}
            )
            told = self._once("GET", f"{challenge['realm']}?{query}", {})
            self.token = json.loads(told.read())["token"]


class Pull:
    def __init__(self, given: argparse.Namespace) -> None:
        self.hosts = [Host(url, given.patience) for url in given.host]
        self.base = f"/v2/{given.name}"
        self.tag = given.tag
        self.parallel = given.parallel
        self.fallbacks: list[dict[str, str]] = []
        self.blobs: list[dict[str, Any]] = []

    def fell(self, host: Host, what: str, why: Exception) -> None:
        self.fallbacks.append({"host": host.url, "what": what, "why": repr(why)})

    def manifest(self, method: str, reference: str) -> tuple[str, bytes]:
        """Digest and body of the first host that gives it."""
        for host in self.hosts:
            try:
                answer = host.open(method, f"{self.base}/manifests/{reference}?ns=docker.io")
                body = answer.read()
                return answer.headers["Docker-Content-Digest"], body
            except (OSError, http.client.HTTPException, Refused) as why:
                self.fell(host, f"{method} {reference}", why)
        raise Refused(f"nobody answers {method} {reference}")

    def resolved(self) -> tuple[str, list[dict[str, Any]]]:
        digest, _ = self.manifest("HEAD", self.tag)
        top = digest
        while True:
            _, body = self.manifest("GET", digest)
            if f"sha256:{hashlib.sha256(body).hexdigest()}" != digest:
                raise Wrong(f"manifest {digest}")
            told = json.loads(body)
            if "layers" in told:
                return top, [told["config"], *told["layers"]]
            digest = next(
                one["digest"]
                for one in told["manifests"]
                if one.get("platform", {}).get("architecture") == "amd64"
            )

    def blob(self, of: dict[str, Any]) -> None:
        began, offset, breaks = time.monotonic(), 0, 0
        seen: dict[str, Any] = {"digest": of["digest"], "size": of["size"], "first": None}
        digest = hashlib.sha256()
        while offset < of["size"]:
            before = offset
            host, answer = self.source(of["digest"], offset)
            try:
                with answer:
                    while chunk := answer.read(CHUNK):
                        if seen["first"] is None:
                            seen["first"] = time.monotonic() - began
                        offset += len(chunk)
                        digest.update(chunk)
            except (OSError, http.client.HTTPException) as why:
                self.fell(host, f"{of['digest']} at {offset}", why)
            if offset < of["size"]:
                breaks = 0 if offset > before else breaks + 1
                if breaks >= TRIES:
                    raise Refused(f"{of['digest']}: no progress at {offset}")
            seen["host"] = host.url
        if f"sha256:{digest.hexdigest()}" != of["digest"]:
            raise Wrong(f"blob {of['digest']} of {seen.get('host')}")
        self.blobs.append({**seen, "seconds": time.monotonic() - began})

    def source(self, digest: str, offset: int) -> tuple[Host, http.client.HTTPResponse]:
        for host in self.hosts:
            try:
                answer = host.open("GET", f"{self.base}/blobs/{digest}?ns=docker.io", offset)
                if offset and answer.status != 206:
                    answer.close()
                    raise Refused("no range")
                return host, answer
            except (OSError, http.client.HTTPException, Refused) as why:
                self.fell(host, f"{digest} at {offset}", why)
        raise Refused(f"nobody has {digest}")

    def run(self) -> dict[str, Any]:
        began = time.monotonic()
        told: dict[str, Any] = {"error": "", "digest": ""}
        try:
            told["digest"], blobs = self.resolved()
            with concurrent.futures.ThreadPoolExecutor(self.parallel) as pool:
                list(pool.map(self.blob, blobs))
        except Exception as why:
            told["error"] = repr(why)
        ended = time.monotonic()
        return {
            **told,
            "began": began,
            "ended": ended,
            "blobs": self.blobs,
            "fallbacks": self.fallbacks,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", action="append", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--tag", required=True)
    parser.add_argument("--parallel", type=int, default=3)
    parser.add_argument("--patience", type=float, default=60.0)
    pull = Pull(parser.parse_args())
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(pull.run()), flush=True)


if __name__ == "__main__":
    main()
