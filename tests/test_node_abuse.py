"""Requests that no client sends, on the mirror port of a whole node.

Each is answered as the table of answers says, leaves every file as it was,
and makes nobody ask upstream.
"""

from __future__ import annotations

import json
import os
from typing import Any

import attrs
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.python.failure import Failure

from nodecache.answers import Asked, Case
from nodecache.config import SizeSetting
from nodecache.events import RequestFinished, Unexpected
from nodecache.limits import Timeouts
from tests.fakes_client import Got, until
from tests.fakes_http import answer, black_hole, corrupt, cut, hang_up, html
from tests.fakes_hub import Image
from tests.node_case import NodeCase, reactor

APP = "library/app"
LAYER = os.urandom(5_000)
HEX = "a" * 64
DIGEST = f"sha256:{HEX}"

HASTY = Timeouts(answer=3.0, silence=0.4, stall_total=1.0)


class _Raw(Protocol):
    def __init__(self) -> None:
        self.received = b""
        self.ended: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        del reason
        self.ended.callback(None)


class _RawClient(ClientFactory):
    noisy = False

    def __init__(self, data: bytes) -> None:
        self.connection = _Raw()
        self._data = data

    def buildProtocol(self, addr: Any) -> Protocol:
        connection = self.connection

        def begin() -> None:
            connection.transport.write(self._data)  # type: ignore[union-attr]

        connection.connectionMade = begin  # type: ignore[method-assign]
        return connection


@attrs.frozen
class Raw:
    status: int
    headers: str
    body: bytes

    @property
    def code(self) -> str:
        return str(json.loads(self.body)["errors"][0]["code"])


class AbuseCase(NodeCase):
    async def raw(self, data: bytes) -> Raw:
        """What comes back until the node closes the connection."""
        client = _RawClient(data)
        reactor.connectTCP("127.0.0.1", self.node.mirror_port, client)
        await client.connection.ended
        head, _, body = client.connection.received.partition(b"\r\n\r\n")
        first, _, headers = head.decode("latin-1").partition("\r\n")
        return Raw(int(first.split()[1]), headers.lower(), body)

    async def ask(self, target: str, method: str = "GET", *lines: str) -> Raw:
        """A request for ``target``, byte for byte."""
        every = [f"{method} {target} HTTP/1.1", "Host: x", "Connection: close", *lines, "", ""]
        return await self.raw("\r\n".join(every).encode("latin-1"))

    def files(self) -> dict[str, tuple[int, int]]:
        """Every file of the data folder but the marker, which is rewritten now and then."""
        found = {}
        for folder, _, names in os.walk(self.data_dir):
            for name in names:
                status = os.stat(os.path.join(folder, name))
                found[os.path.join(folder, name)] = (status.st_size, status.st_mtime_ns)
        return {
            name: what for name, what in found.items() if "/v1/" in name and "/running" not in name
        }

    async def is_refused(self, case: Case, asked: Asked, target: str, *lines: str) -> None:
        before, count = self.files(), self.hub.count()
        assert before
        got = await self.ask(target, "GET", *lines)
        wanted = case.row.mirror[asked]
        assert (got.status, got.code) == (wanted.status, wanted.code), (target[:80], got)
        assert "www-authenticate" not in got.headers
        assert "content-type: application/json" in got.headers
        assert (self.files(), self.hub.count()) == (before, count), target[:80]


class Refused(AbuseCase):
    async def start_with_an_image(self) -> Image:
        image = self.hub.add_image(APP, "1", [LAYER])
        await self.start()
        assert (await self.manifest(APP, "1")).status == 200
        assert (await self.blob(APP, image.layers[0])).status == 200
        await self.stored(1)
        return image

    async def test_paths(self) -> None:
        await self.start_with_an_image()
        for target in (
            "/v2/library%2Fapp/manifests/1",
            "/v2/library/app/manifests/..%2f..%2f1",
            "/v2/../v2/library/app/manifests/1",
            "/v2/library/../app/manifests/1",
            "/v2/library/%2e%2e/app/manifests/1",
            "/v2/library/app/manifests/%2e",
            "/v2/library/app/blobs/..",
            "/v2/library/app%00/manifests/1",
            "/v2/library//app/manifests/1",
            "/v2/library/app/manifests/1%0d%0aSet-Cookie:a",
            "/v2/library/app/manifests/%zz",
            "/v2/library/app/manifests/%252e%252e",
            "/v2/library\\app/manifests/1",
            "/v2/library/" + "a" * 2000 + "/manifests/1",
            "//v2/library/app/manifests/1",
        ):
            got = await self.ask(target)
            assert got.status in (400, 404), target
            assert "library/app/manifests/1" not in got.headers
        await self.is_refused(Case.PATH, Asked.MANIFEST, "/v2/library/%2e%2e/app/manifests/1")
        await self.is_refused(Case.PATH, Asked.BLOB, f"/v2/library%2fapp/blobs/{DIGEST}")
        await self.is_refused(Case.PATH, Asked.LISTING, "/v2/a/../b/tags/list")
        await self.is_refused(Case.PATH, Asked.MANIFEST, "/v2/a%00/manifests/1")
        await self.is_refused(Case.PATH, Asked.MANIFEST, f"/v2/{'a/' * 600}b/manifests/1")

    async def test_names(self) -> None:
        await self.start_with_an_image()
        for name in ("Library/app", "library/-app", "library/app_", "a" * 256, "a..b", "~root"):
            await self.is_refused(Case.NAME, Asked.MANIFEST, f"/v2/{name}/manifests/1")
            await self.is_refused(Case.NAME, Asked.BLOB, f"/v2/{name}/blobs/{DIGEST}")
            await self.is_refused(Case.NAME, Asked.LISTING, f"/v2/{name}/tags/list")

    async def test_tags(self) -> None:
        await self.start_with_an_image()
        for tag in (".hidden", "-x", "a" * 129, "a+b", "a@b", "a=b", "*"):
            await self.is_refused(Case.TAG, Asked.MANIFEST, f"/v2/{APP}/manifests/{tag}")

    async def test_digests(self) -> None:
        await self.start_with_an_image()
        for digest in (
            f"sha256:{HEX.upper()}",
            f"sha256:{HEX[:-1]}",
            f"sha256:{HEX}0",
            f"SHA256:{HEX}",
            "sha256:",
            f":{HEX}",
            f"sha256:{HEX[:-1]}g",
            f"sha512:{HEX}",
        ):
            await self.is_refused(Case.DIGEST, Asked.BLOB, f"/v2/{APP}/blobs/{digest}")
            await self.is_refused(Case.DIGEST, Asked.MANIFEST, f"/v2/{APP}/manifests/{digest}")
            await self.is_refused(Case.DIGEST, Asked.REFERRERS, f"/v2/{APP}/referrers/{digest}")
        await self.is_refused(Case.DIGEST, Asked.BLOB, f"/v2/{APP}/blobs/latest")
        for digest in (f"sha512:{HEX * 2}", f"blake3:{HEX}", f"md5:{'0' * 32}"):
            case = Case.DIGEST_ALGORITHM
            await self.is_refused(case, Asked.BLOB, f"/v2/{APP}/blobs/{digest}")
            await self.is_refused(case, Asked.MANIFEST, f"/v2/{APP}/manifests/{digest}")

    async def test_endpoints(self) -> None:
        await self.start_with_an_image()
        for target in (
            "/",
            "/v1/",
            "/v2/_catalog",
            "/v2/library/app",
            "/v2/library/app/uploads/1",
            "/v2/library/app/tags/other",
            "/metrics",
            "/favicon.ico",
        ):
            await self.is_refused(Case.ENDPOINT, Asked.OTHER, target)

    async def test_methods(self) -> None:
        image = await self.start_with_an_image()
        before, asked = self.files(), self.hub.count()
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"):
            for path in ("/v2/", f"/v2/{APP}/manifests/1", f"/v2/{APP}/blobs/{image.layers[0]}"):
                got = await self.ask(path, method, "Content-Length: 0")
                assert (got.status, got.code) == (405, "UNSUPPORTED")
                assert "allow: get, head" in got.headers
        got = await self.ask(f"/v2/{APP}/blobs/uploads/", "POST", "Content-Length: 99999999")
        assert got.status == 405
        assert (self.files(), self.hub.count()) == (before, asked)

    async def test_queries_and_namespaces(self) -> None:
        await self.start_with_an_image()
        path = f"/v2/{APP}/manifests/2"
        for query in ("ns=a&ns=b", "ns=%00", "ns=" + "a" * 300, "ns=docker.io&" + "x" * 3000):
            await self.is_refused(Case.QUERY, Asked.MANIFEST, f"{path}?{query}")
        for query in ("n=-1", "n=x", "n=99999999999", "last=%0a"):
            await self.is_refused(Case.QUERY, Asked.LISTING, f"/v2/{APP}/tags/list?{query}")
        for namespace in (
            "ghcr.io",
            "127.0.0.1:22",
            "..",
            "docker.io/../x",
            "http://docker.io",
            "[::1]:80",
        ):
            await self.is_refused(Case.NAMESPACE, Asked.MANIFEST, f"{path}?ns={namespace}")
            await self.is_refused(
                Case.NAMESPACE, Asked.BLOB, f"/v2/{APP}/blobs/{DIGEST}?ns={namespace}"
            )

    async def test_headers(self) -> None:
        await self.start_with_an_image()
        many = [f"X-{n}: y" for n in range(10_000)]
        await self.is_refused(Case.HEADERS, Asked.OTHER, f"/v2/{APP}/manifests/1", *many)
        await self.is_refused(
            Case.HEADERS, Asked.OTHER, f"/v2/{APP}/manifests/1", "Accept: " + "a" * 100_000
        )
        before, asked = self.files(), self.hub.count()
        for data in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"GET\r\n\r\n"):
            got = await self.raw(data)
            assert (got.status, got.code) == (400, "UNSUPPORTED")
        lengths = b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"
        got = await self.raw(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n" + lengths + b"\r\n")
        assert (got.status, got.code) == (400, "UNSUPPORTED")
        assert (self.files(), self.hub.count()) == (before, asked)

    async def test_junk_in_headers_that_are_read_changes_no_answer(self) -> None:
        image = await self.start_with_an_image()
        asked = self.hub.count()
        path = f"/v2/{APP}/blobs/{image.layers[0]}"
        for value in (
            "bytes=a-b",
            "bytes=5-2",
            "bytes=0-1,3-4",
            "bytes=-",
            "bits=0-1",
            "bytes=" + "0-1," * 1000 + "5-6",
            "bytes=99999999999999999999999999-x",
        ):
            got = await self.ask(path, "GET", f"Range: {value}")
            assert (got.status, got.body) == (200, LAYER), value[:40]
        for value in ("bytes=5000-", "bytes=99999999999999999999999-", "bytes=-0"):
            await self.is_refused(Case.UNSATISFIABLE, Asked.BLOB, path, f"Range: {value}")
        for line in (
            "Accept: \xff\xfe",
            "Accept: ;;;,,,",
            "If-Range: junk",
            "Authorization: \x01",
            "Expect: 200-maybe",
            "Upgrade: h2c",
        ):
            got = await self.ask(path, "GET", line)
            assert (got.status, got.body) == (200, LAYER), line
        assert (await self.ask(path, "GET", "Host: a/../b")).status == 400
        assert self.hub.count() == asked

    async def test_many_refusals_at_once_leave_the_node_as_it_was(self) -> None:
        image = await self.start_with_an_image()
        targets = [f"/v2/{APP}/manifests/.{n}" for n in range(100)]
        tasks = [Deferred.fromCoroutine(self.ask(target)) for target in targets]
        assert {got.status for got in await gatherResults(tasks)} == {400}
        await until(reactor, lambda: not self.node.mirror.channels)
        assert (await self.blob(APP, image.layers[0])).body == LAYER

    def tearDown(self) -> None:
        assert self.told(Unexpected) == []
        for event in self.told(RequestFinished):
            assert len(event.agent) < 300
            assert len(event.repository) <= 255
            assert (event.agent + event.method + event.reference).isprintable()


class TheTable(NodeCase):
    """The rows that need an upstream, a disk or a setting, each caused once."""

    async def is_answered(self, case: Case, missing: str = "2", *, sole: bool = False) -> None:
        """By digest too: whatever is not here."""
        for asked, path in (
            (Asked.MANIFEST, f"manifests/{missing}"),
            (Asked.BLOB, f"blobs/{DIGEST}"),
            (Asked.LISTING, "tags/list"),
            (Asked.REFERRERS, f"referrers/{DIGEST}"),
        ):
            got = await self.get(f"/v2/{APP}/{path}")
            table = case.row.sole if sole and case.row.sole is not None else case.row.mirror
            wanted = table[asked]
            assert (got.status, self.code(got)) == (wanted.status, wanted.code), (path, got)
            assert got.header("WWW-Authenticate") is None
            assert got.header("Content-Type") == "application/json; charset=utf-8"

    def code(self, got: Got) -> str:
        return str(json.loads(got.body)["errors"][0]["code"])

    async def test_upstream_says_404(self) -> None:
        await self.start()
        await self.is_answered(Case.NOT_FOUND)

    async def test_upstream_says_401_or_403(self) -> None:
        for status in (401, 403):
            self.hub.registry.faults.clear()
            self.hub.registry.fault(answer(status))
            await self.start()
            await self.is_answered(Case.DENIED)
            await self.node.stop("next")

    async def test_upstream_says_429(self) -> None:
        self.hub.registry.fault(answer(429, Retry_After="7"))
        await self.start()
        await self.is_answered(Case.LIMITED)
        got = await self.manifest(APP, "2")
        assert 1 <= int(got.header("Retry-After") or 0) <= 7

    async def test_upstream_says_429_to_a_sole_registry(self) -> None:
        self.hub.registry.fault(answer(429, Retry_After="7"))
        await self.start(sole_registry=True)
        await self.is_answered(Case.LIMITED, sole=True)

    async def test_upstream_fails_in_every_other_way(self) -> None:
        for case, change in (
            (Case.ERROR, answer(502)),
            (Case.TIMEOUT, black_hole),
            (Case.UNREACHABLE, hang_up),
            (Case.WRONG, html()),
        ):
            for sole in (False, True):
                self.hub.registry.faults.clear()
                self.hub.registry.fault(change)
                await self.start(timeouts=HASTY, sole_registry=sole)
                await self.is_answered(case, sole=sole)
                await self.node.stop("next")

    async def test_upstream_ends_or_spoils_a_body(self) -> None:
        image = self.hub.add_image(APP, "1", [LAYER])
        for case, change in ((Case.CUT, cut(10)), (Case.WRONG, corrupt)):
            self.hub.registry.faults.clear()
            self.hub.registry.fault(change, method="GET", kind="manifest")
            await self.start(timeouts=HASTY)
            got = await self.manifest(APP, image.digest)
            wanted = case.row.mirror[Asked.MANIFEST]
            assert (got.status, self.code(got)) == (wanted.status, wanted.code)
            await self.node.stop("next")

    async def test_an_offline_node(self) -> None:
        await self.start(offline=True)
        await self.is_answered(Case.OFFLINE)
        assert self.hub.count() == 0

    async def test_no_room_for_a_range(self) -> None:
        digest = self.hub.add_blob(APP, LAYER)
        for sole in (False, True):
            await self.start(max_size=SizeSetting(bytes=0), sole_registry=sole)
            got = await self.blob(APP, digest, Range="bytes=5-")
            table = (Case.NO_ROOM.row.sole if sole else None) or Case.NO_ROOM.row.mirror
            assert (got.status, self.code(got)) == (
                table[Asked.BLOB].status,
                table[Asked.BLOB].code,
            )
            assert (await self.blob(APP, digest)).body == LAYER
            assert (await self.blob(APP, digest, Range="bytes=0-")).status == 200
            await self.node.stop("next")

    async def test_a_disk_that_fails_is_a_mirror_without_a_memory(self) -> None:
        image = self.hub.add_image(APP, "1", [LAYER])
        await self.start()
        (self.data_dir / "v1").rename(self.data_dir / "gone")
        (self.data_dir / "v1").write_bytes(b"no folder")
        self.addCleanup(lambda: (self.data_dir / "gone").rename(self.data_dir / "v1"))
        self.addCleanup((self.data_dir / "v1").unlink)
        assert (await self.manifest(APP, "1")).body == image.manifest.body
        assert (await self.blob(APP, image.layers[0])).body == LAYER
        assert (await self.get("/v2/")).status == 200
