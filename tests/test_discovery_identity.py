"""The node's own name: made once, kept, and made anew when it was damaged."""

from __future__ import annotations

import os
import pathlib

import pytest

from nodecache.discovery.identity import is_node_id, node_id


def test_an_id_is_made_once_and_kept(tmp_path: pathlib.Path) -> None:
    made = node_id(str(tmp_path))
    assert is_node_id(made)
    assert node_id(str(tmp_path)) == made
    assert os.listdir(tmp_path) == ["node-id"]


def test_two_nodes_have_two_ids(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert node_id(str(tmp_path / "a")) != node_id(str(tmp_path / "b"))


@pytest.mark.parametrize("kept", [b"worker-1.zone_a\n", b"worker-1", b"x" * 253])
def test_an_id_that_was_put_there_is_taken(tmp_path: pathlib.Path, kept: bytes) -> None:
    (tmp_path / "node-id").write_bytes(kept)
    assert node_id(str(tmp_path)) == kept.decode().strip()


@pytest.mark.parametrize(
    "damaged",
    [b"", b"\n", b"\0" * 20, b"-x", b".x", b"a b", b"a\nb\n", b"\xff\xfe", b"x" * 254, b"a\r\n"],
)
def test_a_damaged_file_is_replaced(tmp_path: pathlib.Path, damaged: bytes) -> None:
    (tmp_path / "node-id").write_bytes(damaged)
    made = node_id(str(tmp_path))
    assert is_node_id(made)
    assert node_id(str(tmp_path)) == made


def test_what_an_interrupted_write_left_does_not_matter(tmp_path: pathlib.Path) -> None:
    (tmp_path / "node-id.new").write_bytes(b"half")
    made = node_id(str(tmp_path))
    assert node_id(str(tmp_path)) == made != "half"


def test_a_folder_that_is_not_there_is_an_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(OSError):
        node_id(str(tmp_path / "nowhere"))
