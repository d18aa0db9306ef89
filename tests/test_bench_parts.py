"""The clients and clocks of the measurements: they count what came, and see what is wrong."""

from __future__ import annotations

import contextlib
import hashlib
import pathlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from bench.parts.asking import ask
from bench.parts.clocks import Others, forget_peak, peak_memory, settled, used_by
from bench.parts.ground import Loopback, loopback
from bench.parts.load import NotWhole, content_length, pull
from bench.parts.named_timers import name_of
from bench.parts.nginx import Nginx
from bench.parts.origin import Origin, Shelf, origin
from bench.parts.peers import Cache, bare, nodecache, registry
from bench.parts.pinger import pinging
from bench.rows.connections import Burst
from bench.rows.idle import named
from nodecache.service.lag import LoopLag
from tests.system.parts.images import Blob, image, layer, noise
from tests.system.parts.processes import Child, free_port

BODY = noise(300_000, "body")
NAME = f"sha256:{hashlib.sha256(BODY).hexdigest()}"
Answer = Callable[[int], bytes]


def whole(body: bytes = BODY, *, status: str = "200 OK", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\n\r\n".encode() + body


def serve_one(line: socket.socket, answer: Answer, count: list[int]) -> None:
    with line, contextlib.suppress(OSError):
        asked = b""
        while data := line.recv(65536):
            asked += data
            while b"\r\n\r\n" in asked:
                head, _, asked = asked.partition(b"\r\n\r\n")
                count[0] += 1
                said = answer(count[0])
                line.sendall(said)
                if not said or b"Connection: close" in head:
                    return


@contextlib.contextmanager
def server(answer: Answer) -> Iterator[str]:
    """Answers each request with what ``answer`` makes of its number; nothing is a hang-up."""
    threads, count = [], [0]
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    line, _ = listener.accept()
                    one = threading.Thread(target=serve_one, args=(line, answer, count))
                    threads.append(one)
                    one.start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for one in threads:
                one.join()


def address(url: str) -> tuple[str, int]:
    return "127.0.0.1", int(url.rpartition(":")[2])


@pytest.mark.parametrize("options", [{}, {"unread": True}, {"checked": True}])
def test_every_body_is_pulled_whole(options: dict[str, bool]) -> None:
    with server(lambda _: whole()) as url:
        got = pull([f"{url}/{NAME}"] * 5, **options)
    assert [one.size for one in got] == [len(BODY)] * 5
    assert all(0 < one.first <= one.last for one in got)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (whole(BODY[:-1], length=len(BODY)), "broken off after 299999 of 300000"),
        (whole(status="404 Not Found"), "404 Not Found"),
        (b"", "hung up before an answer"),
        (whole()[:10], "hung up before an answer"),
    ],
)
@pytest.mark.parametrize("unread", [False, True])
def test_a_body_that_is_not_whole_is_found(said: bytes, words: str, unread: bool) -> None:
    with server(lambda _: said) as url, pytest.raises(NotWhole, match=words):
        pull([f"{url}/{NAME}"], unread=unread)


def test_wrong_bytes_of_the_right_length_are_found() -> None:
    wrong = bytes([BODY[0] ^ 1]) + BODY[1:]
    with server(lambda _: whole(wrong)) as url, pytest.raises(NotWhole, match="its digest is"):
        pull([f"{url}/{NAME}"], checked=True)


def test_a_server_that_is_not_there_is_found() -> None:
    with pytest.raises((NotWhole, OSError)):
        pull([f"http://127.0.0.1:{free_port()}/{NAME}"])


def test_the_length_is_found_however_it_is_written() -> None:
    assert content_length(b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-LENGTH: 12") == 12


def test_requests_are_counted_and_timed() -> None:
    """Headers may grow from one answer to the next."""
    with server(lambda number: whole(b"x" * 50).replace(b"OK", b"O" * number)) as url:
        asked = ask(f"{url}/v2/", 3, 1.0, {"Accept": "x"})
    assert len(asked.waits) > 3
    assert asked.rate == pytest.approx(len(asked.waits) / asked.seconds)
    figures = asked.figures("x")
    assert set(figures) == {"x, requests/s", "x, p50 ms", "x, p99 ms"}
    assert figures["x, p50 ms"] <= figures["x, p99 ms"]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"", "hung up"),
        (whole(b"x" * 50, status="500 Oh"), "500 Oh"),
        (whole(b"x" * 60), "HTTP/1.1 200"),
    ],
)
def test_an_answer_that_differs_ends_the_asking(said: bytes, words: str) -> None:
    def answer(number: int) -> bytes:
        return whole(b"x" * 50) if number < 5 else said

    with server(answer) as url, pytest.raises(NotWhole, match=words):
        ask(f"{url}/v2/", 1, 30, {})


def test_the_pinger_tells_what_each_answer_took() -> None:
    with server(lambda _: whole(b"{}")) as url:
        with pinging(*address(url)) as waits:
            assert waits == []
        assert waits
        assert all(wait > 0 for wait in waits)


def test_a_pinger_that_is_not_answered_well_says_so() -> None:
    with (
        server(lambda _: whole(b"{}", status="503 No")) as url,
        pytest.raises(AssertionError, match="was not answered"),
        pinging(*address(url)),
    ):
        pass


def test_a_burst_counts_who_was_refused() -> None:
    with server(lambda number: whole(b"{}") if number % 2 else b"") as url:
        burst = Burst(address(url))
        for _ in range(10):
            burst.begin()
            burst.turn(0)
        burst.finish()
    assert (len(burst.waits), burst.refused) == (5, 5)
    assert burst.open == {}


def test_a_burst_to_nobody_is_refused_whole() -> None:
    burst = Burst(("127.0.0.1", free_port()))
    for _ in range(3):
        burst.begin()
    burst.finish()
    assert (burst.waits, burst.refused) == ([], 3)


def python(folder: pathlib.Path, words: str) -> Child:
    return Child("python", [sys.executable, "-c", words], folder)


BUSY = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"


def test_processor_time_is_that_of_the_child_and_its_children(tmp_path: pathlib.Path) -> None:
    words = f"import os, time\nos.fork()\n{BUSY}time.sleep(60)"
    with python(tmp_path, words) as child:
        child.ready(lambda: used_by(child) > 0.6)


def test_a_child_is_settled_once_it_rests_and_its_file_is_there(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "file"
    words = f"import time\n{BUSY}open({str(file)!r}, 'w').close()\ntime.sleep(60)"
    began = time.monotonic()
    with python(tmp_path, words) as child:
        moved = settled(child, file)
        assert file.exists()
        assert began < moved <= time.monotonic() - 1
        assert used_by(child) >= 0.3


def test_the_peak_of_memory_is_forgotten(tmp_path: pathlib.Path) -> None:
    words = "import time\nx = b'1' * 50_000_000\ndel x\nprint('done', flush=True)\ntime.sleep(60)"
    with python(tmp_path, words) as child:
        child.ready(lambda: "done" in child.out.read_text())
        before = peak_memory(child.pid)
        forget_peak(child.pid)
        assert before > 50_000_000
        assert peak_memory(child.pid) < before - 40_000_000


def test_what_our_own_children_use_is_not_others(tmp_path: pathlib.Path) -> None:
    with python(tmp_path, f"{BUSY}time.sleep(60)") as child:
        with_it, without = Others([child]), Others([])
        with_it.begin()
        without.begin()
        child.ready(lambda: used_by(child) >= 0.3)
        assert with_it.share() <= without.share()


def test_a_shelf_holds_what_a_registry_would(tmp_path: pathlib.Path) -> None:
    shelf = Shelf(tmp_path)
    made = image([layer({"a": b"b"})])
    of = shelf.add("library/one", made)
    assert shelf.tags == {"/v2/library/one/manifests/latest": of.digest}
    hexes = of.digest.partition(":")[2]
    assert (tmp_path / "manifests" / hexes).read_bytes() == made.body
    assert (tmp_path / "tags/library/one/latest").read_bytes() == made.body
    for blob in made.blobs:
        assert shelf.path(blob.digest).read_bytes() == b"".join(blob.chunks())
    zeros = shelf.sparse(5_000_000)
    assert zeros.digest == f"sha256:{hashlib.sha256(bytes(5_000_000)).hexdigest()}"
    assert shelf.path(zeros.digest).stat().st_size == zeros.size
    assert shelf.path(zeros.digest).stat().st_blocks == 0


class Still(Nginx):
    """Nothing runs."""

    def quiet(self) -> None:
        pass


def test_an_origin_counts_the_bytes_of_bodies(tmp_path: pathlib.Path) -> None:
    """Read from its log as nginx writes it."""
    made = origin(tmp_path, Shelf(tmp_path / "shelf"), rate=1000)
    assert "limit_rate 1000;" in made.part.servers
    made = Origin(Still(tmp_path, "127.0.0.1", 9, ""), made.log)
    mark = made.mark()
    made.log.write_text(
        "GET /v2/library/a/blobs/sha256:aa 200 100\n"
        "GET /v2/library/a/blobs/sha256:aa 206 10\n"
        "HEAD /v2/library/a/blobs/sha256:aa 200 0\n"
        "GET /v2/library/a/blobs/sha256:bb 200 1\n"
        "GET /v2/library/a/manifests/latest 200 1000\n"
    )
    assert made.sent(mark) == 111
    assert made.sent(mark, "sha256:aa") == 110


def test_where_each_cache_keeps_a_blob(tmp_path: pathlib.Path) -> None:
    ours, theirs = nodecache(tmp_path / "a", "http://x"), registry(tmp_path / "b", "http://x")
    assert ours.file_of("sha256:abcd") == tmp_path / "a/data/v1/blobs/sha256/ab/abcd"
    kept = tmp_path / "b/storage/docker/registry/v2/blobs/sha256/ab/abcd/data"
    assert theirs.file_of("sha256:abcd") == kept
    assert Cache("none", ours.part).file_of("sha256:abcd") is None


def test_the_bare_program_passes_a_blob_on_and_keeps_it(tmp_path: pathlib.Path) -> None:
    with server(lambda _: whole()) as upstream:
        one = bare(tmp_path, upstream)
        one.start()
        try:
            (got,) = pull([f"{one.url}/v2/a/blobs/{NAME}"], checked=True)
            assert got.size == len(BODY)
            kept = one.file_of(NAME)
            assert kept is not None
            one.child.ready(kept.exists)
            assert kept.read_bytes() == BODY
        finally:
            one.stop()


def test_the_bare_program_holds_the_end_of_wrong_bytes_back(tmp_path: pathlib.Path) -> None:
    wrong = f"sha256:{'0' * 64}"
    with server(lambda _: whole()) as upstream:
        one = bare(tmp_path, upstream)
        one.start()
        try:
            with pytest.raises((NotWhole, OSError)):
                pull([f"{one.url}/v2/a/blobs/{wrong}"])
        finally:
            one.stop()
    assert not (tmp_path / wrong.partition(":")[2]).exists()


def test_on_loopback_nothing_is_between(tmp_path: pathlib.Path) -> None:
    with loopback(tmp_path) as ground, ground.upstream():
        assert ground == Loopback()
        assert ground.received() == 0


def test_a_timer_is_named_by_what_it_calls() -> None:
    lag = LoopLag.__new__(LoopLag)
    assert name_of(lag._tick) == "nodecache.service.lag:LoopLag._tick"
    assert name_of(partial(lag._tick)) == "nodecache.service.lag:LoopLag._tick"
    assert name_of(Blob.of) == "tests.system.parts.images:Blob.of"


def test_turns_within_are_counted_by_name() -> None:
    turns = [(0.5, ["early"]), (1.0, ["a", "b"]), (1.5, []), (1.9, ["a"]), (2.0, ["late"])]
    count, names, nothing = named(turns, 1.0, 2.0)
    assert (count, dict(names), nothing) == (3, {"a": 2, "b": 1}, 1)


def test_the_turns_of_a_real_loop_are_written_down(tmp_path: pathlib.Path) -> None:
    """The wrapper runs nodecache as it is, here to say its version."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.parts.named_timers", "--version"],
        env={"TURNS_FILE": str(tmp_path / "turns"), "PYTHONPATH": str(pathlib.Path.cwd())},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "nodecache" in done.stdout
    assert (tmp_path / "turns").read_text() == "[]"
