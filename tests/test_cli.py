"""The command line up to the point where the node takes over."""

from __future__ import annotations

import pathlib

import pytest
from click.testing import CliRunner

import nodecache
from nodecache.cli import main
from nodecache.cli.serve import read_settings
from nodecache.config import KEYS, Origin
from nodecache.failures import ConfigError


def test_the_version_is_told() -> None:
    result = CliRunner().invoke(main, ["--version"])
    assert result.exit_code == 0
    assert nodecache.__version__ in result.output


def test_help_names_every_setting() -> None:
    result = CliRunner().invoke(main, ["serve", "--help"])
    assert result.exit_code == 0
    missing = [key.flag for key in KEYS if key.flag not in result.output]
    assert missing == []


def test_help_of_the_command_fits_on_one_screen() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert "serve" in result.output
    assert len(result.output.splitlines()) <= 24


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--tag-ttl", "soon"], "tag-ttl"),
        (["--listen", "nowhere"], "listen"),
        (["--max-size", "many"], "max-size"),
        (["--upstream", "docker.io"], "upstream"),
        (["--config", "no-such-file.toml"], "no-such-file.toml"),
    ],
)
def test_a_wrong_flag_is_one_line_that_names_it_and_exit_code_2(
    arguments: list[str], named: str
) -> None:
    result = CliRunner().invoke(main, ["serve", *arguments])
    assert result.exit_code == 2
    [line] = result.output.splitlines()
    assert named in line


def test_an_unknown_flag_is_exit_code_2() -> None:
    result = CliRunner().invoke(main, ["serve", "--no-such-flag"])
    assert result.exit_code == 2
    assert "--no-such-flag" in result.output


def test_a_wrong_variable_is_one_line_that_names_it() -> None:
    runner = CliRunner(env={"NODECACHE_TAG_TTL": "soon"})
    result = runner.invoke(main, ["serve"])
    assert result.exit_code == 2
    [line] = result.output.splitlines()
    assert "NODECACHE_TAG_TTL" in line


def test_flags_win_over_environment_and_that_over_the_file(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "nodecache.toml"
    file.write_text("tag_ttl = '1s'\nlisten = 'localhost:1'\ndata_dir = '/file'\n")
    environ = {"NODECACHE_CONFIG": str(file), "NODECACHE_TAG_TTL": "2s", "NODECACHE_LISTEN": ":2"}
    settings = read_settings({"tag_ttl": "3s", "offline": None}, environ).settings
    assert (settings.tag_ttl, settings.listen, settings.data_dir) == (3.0, ":2", "/file")
    assert settings.origins["tag_ttl"] is Origin.FLAG
    assert settings.origins["listen"] is Origin.ENVIRONMENT
    assert settings.origins["data_dir"] is Origin.FILE
    assert settings.origins["offline"] is Origin.DEFAULT


def test_the_flag_names_the_file_even_if_the_environment_names_another(
    tmp_path: pathlib.Path,
) -> None:
    file = tmp_path / "flag.toml"
    file.write_text("tag_ttl = '7s'\n")
    environ = {"NODECACHE_CONFIG": str(tmp_path / "missing.toml")}
    assert read_settings({"config": str(file)}, environ).settings.tag_ttl == 7.0


@pytest.mark.parametrize("content", [b"\xff\xfe", b"tag_ttl = "])
def test_a_file_that_is_no_toml_is_one_line_that_names_it(
    tmp_path: pathlib.Path, content: bytes
) -> None:
    file = tmp_path / "broken.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        read_settings({"config": str(file)}, {})
    assert "\n" not in str(raised.value)
    assert "broken.toml" in str(raised.value)
