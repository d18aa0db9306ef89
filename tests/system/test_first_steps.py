"""What a newcomer does first, as README.md says it."""

from __future__ import annotations

import functools
import os
import pathlib
import signal
import socket
import subprocess

import pytest

from tests.system.conftest import NodeMaker, Shop
from tests.system.parts.hub import Hub
from tests.system.parts.node import Node
from tests.system.parts.processes import Child, MissingPart, free_port, listens, run, until
from tests.system.parts.runtimes import Dockerd, Setup
from tests.system.parts.userlands import System
from tests.system.parts.zoo import oci_index

ROOT = pathlib.Path(__file__).parent.parent.parent


def test_curl_of_the_base_shows_exactly_the_promised_answer(node: Node) -> None:
    text = run(["curl", "--silent", "--show-error", "--head", f"{node.url}/v2/"])
    status, *lines = text.strip().splitlines()
    headers = dict(line.split(": ", 1) for line in lines)
    assert status.strip() == "HTTP/1.1 200 OK"
    assert "GMT" in headers.pop("Date")
    assert {name: value.strip() for name, value in headers.items()} == {
        "Content-Length": "2",
        "Content-Type": "application/json; charset=utf-8",
        "Docker-Distribution-Api-Version": "registry/2.0",
        "X-Content-Type-Options": "nosniff",
    }
    assert node.ask("/v2/").body == b"{}"


@pytest.mark.parametrize("address", ["127.0.0.1", "[::1]"])
def test_localhost_answers_on_both_address_families(make_node: NodeMaker, address: str) -> None:
    if not listens_on_v6():
        raise MissingPart("IPv6 on loopback")
    node = make_node()
    node.flags["listen"] = f"localhost:{node.port}"
    node.start()
    run(["curl", "--silent", "--show-error", "--fail", f"http://{address}:{node.port}/v2/"])


def listens_on_v6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def test_docker_pull_by_the_mirrors_own_name_comes_from_disk_the_second_time(
    make_node: NodeMaker, shop: Shop, hub: Hub, world: pathlib.Path
) -> None:
    """Under ``library/`` and without it; the terminal shows one line for each pull."""
    image = shop.make(oci_index)
    node = make_node(flags={"log-format": "console"}).start()
    docker = Dockerd(Setup(world / "first-steps", System(), "", hub.client_env()))
    names = [
        f"127.0.0.1:{node.port}/{image.name}",
        f"127.0.0.1:{node.port}/{image.name.removeprefix('library/')}",
    ]
    try:
        docker.start()
        for number, name in enumerate([*names, *names]):
            mark = hub.plain.mark()
            docker.pull_name(f"{name}:latest")
            docker.check_name(f"{name}:latest", image)
            docker.remove_name(f"{name}:latest")
            asked = hub.plain.asked(mark)
            if number == 0:
                assert asked.fetched_bytes > 0
            else:
                assert asked.blobs == []
                assert asked.manifest_gets == 0
            until(functools.partial(has_pulls, node, number + 1), "a line for the pull")
    finally:
        docker.stop()
    lines = pull_lines(node)
    assert len(lines) == 4
    assert "all fetched" in lines[0]
    assert all("all from disk" in line for line in lines[1:])


def has_pulls(node: Node, count: int) -> bool:
    return len(pull_lines(node)) >= count


def pull_lines(node: Node) -> list[str]:
    """Lines of the terminal that tell of a pull."""
    return [line for line in node.process.out.read_text().splitlines() if "pulled " in line]


def test_make_run_in_a_fresh_clone_starts_the_mirror_and_says_how_to_try_it(
    world: pathlib.Path,
) -> None:
    clone = world / "clone"
    run(["git", "clone", "--quiet", str(ROOT), str(clone)])
    port, admin = free_port(), free_port()
    args = f"--listen 127.0.0.1:{port} --admin-listen 127.0.0.1:{admin} --log-format console"
    made = Child("make-run", ["make", "-C", str(clone), "run", f"ARGS={args}"], world / "make")
    try:
        made.ready(lambda: listens("127.0.0.1", port), patience=240)
        until(lambda: f"127.0.0.1:{port}" in made.out.read_text(), "it says where it listens")
        words = made.out.read_text() + made.err.read_text()
        assert str(clone / "nodecache-data") in words
        assert f"docker pull localhost:{port}/library/alpine" in words
        assert (clone / "nodecache-data").is_dir()
        clean = ["git", "-C", str(clone), "status", "--porcelain"]
        assert subprocess.run(clean, capture_output=True, check=True).stdout == b""
        # As Ctrl-C does: the whole group of the terminal's job.
        os.killpg(made.pid, signal.SIGINT)
        made.wait()
        assert not listens("127.0.0.1", port)
    finally:
        made.stop()
