"""node-config as a person runs it: what it prints, writes, keeps and takes out again."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tomllib

import pytest
import yaml
from click.testing import CliRunner, Result

from nodecache.cli import main
from nodecache.cli.nodefiles import BACKUP, EDITED
from nodecache.runtimes.hosts_toml import parse

ROOT = pathlib.Path(__file__).parent.parent
MIRROR = "http://127.0.0.1:5000"
THEIRS = '# mine\n[host."https://mirror.example.com"]\n  capabilities = ["pull", "resolve"]'


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["node-config", *words])


def done(*words: str) -> Result:
    result = run(*words)
    assert result.exit_code == 0, result.output
    return result


def tree(folder: pathlib.Path) -> dict[str, str | None]:
    """Every file with its text, and every folder with None."""
    return {
        str(path.relative_to(folder)): path.read_text() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


class Certs:
    """A folder of hosts.toml files, and the command for it."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder / "certs.d"
        self.folder.mkdir()
        self.file = self.folder / "docker.io" / "hosts.toml"

    def theirs(self, text: str) -> None:
        self.file.parent.mkdir(exist_ok=True)
        self.file.write_text(text)

    def __call__(self, *words: str) -> Result:
        return done("containerd", "--certs-dir", str(self.folder), *words)


@pytest.fixture
def certs(tmp_path: pathlib.Path) -> Certs:
    return Certs(tmp_path)


# Printing.


def test_it_prints_and_touches_nothing(certs: Certs) -> None:
    result = certs("--registry", "docker.io", "--registry", "ghcr.io")
    assert f"# {certs.file}" in result.stdout
    assert 'server = "https://ghcr.io"' in result.stdout
    assert tree(certs.folder) == {}


def test_what_is_printed_is_a_file_as_it_is(certs: Certs) -> None:
    assert [host.url for host in parse(certs().stdout).hosts] == [MIRROR]
    assert json.loads(done("docker", "--file", "/nowhere/daemon.json").stdout) == {
        "registry-mirrors": [MIRROR]
    }
    assert yaml.safe_load(done("kops").stdout)["spec"]["kubelet"]


def test_an_older_containerd_gets_no_dial_timeout(certs: Certs) -> None:
    assert "dial_timeout" in certs("--containerd-version", "2.1.0").stdout
    assert "dial_timeout" not in certs("--containerd-version", "1.7.28").stdout


# hosts.toml.


def test_writing_and_removing_leaves_nothing(certs: Certs) -> None:
    certs("--write", "--registry", "docker.io", "--registry", "quay.io", "--default")
    assert set(tree(certs.folder)) == {
        name for one in ("docker.io", "quay.io", "_default") for name in (one, f"{one}/hosts.toml")
    }
    certs("--remove", "--registry", "docker.io", "--registry", "quay.io", "--default")
    assert tree(certs.folder) == {}


def test_writing_twice_changes_nothing_and_never_backs_up_our_own(certs: Certs) -> None:
    certs("--write")
    before, changed = tree(certs.folder), certs.file.stat().st_mtime_ns
    result = certs("--write")
    assert "is right as it is" in result.stdout
    assert tree(certs.folder) == before
    assert certs.file.stat().st_mtime_ns == changed
    certs("--write", "--mirror", "http://127.0.0.1:6000")
    assert not certs.file.with_name(certs.file.name + BACKUP).exists()


def test_a_file_of_others_is_kept_merged_and_restored_exactly(certs: Certs) -> None:
    certs.theirs(THEIRS)
    certs.file.chmod(0o640)
    before = tree(certs.folder)
    certs("--write")
    assert [host.url for host in parse(certs.file.read_text()).hosts] == [
        MIRROR,
        "https://mirror.example.com",
    ]
    assert certs.file.with_name(certs.file.name + BACKUP).read_text() == THEIRS
    certs("--write")
    assert certs.file.with_name(certs.file.name + BACKUP).read_text() == THEIRS
    certs("--remove")
    assert tree(certs.folder) == before
    assert certs.file.stat().st_mode & 0o777 == 0o640


def test_removing_keeps_what_a_person_added_since(certs: Certs) -> None:
    certs.theirs(THEIRS)
    certs("--write")
    certs.file.write_text(certs.file.read_text() + "\n  # since then\n")
    result = certs("--remove")
    assert "without nodecache's part" in result.stdout
    assert certs.file.read_text().rstrip() == THEIRS + "\n  # since then"


def test_what_a_person_changed_of_ours_is_kept_beside(certs: Certs) -> None:
    certs("--write")
    changed = certs.file.read_text().replace('"1s"', '"9s"')
    certs.file.write_text(changed)
    result = certs("--write")
    kept = certs.file.with_name(certs.file.name + EDITED)
    assert str(kept) in result.stdout
    assert kept.read_text() == changed
    assert '"1s"' in certs.file.read_text()


def test_a_file_that_its_owner_wrote_anew_is_merged_anew(certs: Certs) -> None:
    """As kops does at every boot of a node."""
    certs.theirs(THEIRS)
    certs("--write")
    newer = THEIRS.replace("example.com", "example.org")
    certs.file.write_text(newer)
    certs("--write")
    certs("--remove")
    assert certs.file.read_text() == newer


def test_removing_where_nothing_of_ours_is_changes_nothing(certs: Certs) -> None:
    certs.theirs(THEIRS)
    before = tree(certs.folder)
    assert "holds nothing" in certs("--remove").stdout
    certs("--remove", "--registry", "ghcr.io")
    assert tree(certs.folder) == before


def test_a_link_stays_one(certs: Certs, tmp_path: pathlib.Path) -> None:
    real = tmp_path / "elsewhere.toml"
    real.write_text(THEIRS)
    certs.file.parent.mkdir()
    certs.file.symlink_to(real)
    certs("--write")
    assert certs.file.is_symlink()
    assert MIRROR in real.read_text()
    certs("--remove")
    assert real.read_text() == THEIRS


def test_nothing_is_written_when_one_of_several_files_can_not_be_merged(certs: Certs) -> None:
    certs.theirs("[host")
    before = tree(certs.folder)
    result = run(
        *("containerd", "--certs-dir", str(certs.folder), "--write"),
        *("--registry", "ghcr.io", "--registry", "docker.io"),
    )
    assert result.exit_code == 1
    assert f"{certs.file} is no TOML" in result.stderr
    assert "left as it is" in result.stderr
    assert tree(certs.folder) == before


def test_it_says_when_containerd_does_not_look_there(certs: Certs) -> None:
    config = certs.folder.parent / "config.toml"
    assert "if its config_path names this one folder" in certs("--write").stderr
    config.write_text("version = 2\n")
    assert "has to set config_path" in certs("--write").stderr
    config.write_text(
        "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\n"
        "config_path = '/etc/containerd/certs.d'\n"
    )
    assert "no restart is needed" in certs("--write").stderr
    config.write_text(config.read_text().replace("certs.d", "certs.d:/etc/docker/certs.d"))
    assert "io.containerd.cri.v1.images" in certs("--write").stderr
    config.write_text("[")
    assert "could not be read" in certs("--write").stderr


def test_it_says_which_folders_hide_the_default(certs: Certs) -> None:
    certs.theirs(THEIRS)
    (certs.folder / "quay.io").mkdir()
    told = certs("--write", "--default").stderr
    assert "docker.io, quay.io: hides _default" in told
    certs("--write", "--registry", "docker.io")
    assert "docker.io" not in certs("--default").stderr


def test_certificates_beside_the_file_stay_in_force(certs: Certs) -> None:
    """containerd looks at them only where no hosts.toml is."""
    folder = certs.folder / "harbor.corp"
    folder.mkdir()
    for name in ("ca.crt", "b.crt", "me.cert", "me.key", "lost.cert", "notes.txt"):
        (folder / name).write_text("")
    before = tree(certs.folder)
    certs("--write", "--registry", "harbor.corp")
    document = tomllib.loads((folder / "hosts.toml").read_text())
    assert document["server"] == "https://harbor.corp"
    assert document["ca"] == ["b.crt", "ca.crt"]
    assert document["client"] == [["me.cert", "me.key"]]
    assert "is right" in certs("--write", "--registry", "harbor.corp").stdout
    certs("--remove", "--registry", "harbor.corp")
    assert tree(certs.folder) == before


def test_the_other_spelling_of_a_port_is_kept(certs: Certs) -> None:
    (certs.folder / "harbor.corp_8443_").mkdir()
    certs("--write", "--registry", "harbor.corp:8443", "--registry", "quay.io:1")
    assert set(tree(certs.folder)) == {
        *("harbor.corp_8443_", "harbor.corp_8443_/hosts.toml", "quay.io:1", "quay.io:1/hosts.toml")
    }


def test_removing_without_a_registry_removes_all(certs: Certs) -> None:
    certs("--write", "--registry", "ghcr.io", "--registry", "h.corp:1", "--default")
    certs("--remove")
    assert tree(certs.folder) == {}


# daemon.json.


def test_a_daemon_json_keeps_its_keys_and_is_restored_exactly(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "docker" / "daemon.json"
    file.parent.mkdir()
    before = '{ "data-root": "/srv",\n  "registry-mirrors": ["https://other.example"] }'
    file.write_text(before)
    result = done("docker", "--file", str(file), "--write")
    assert "systemctl reload docker" in result.stderr
    assert json.loads(file.read_text()) == {
        "data-root": "/srv",
        "registry-mirrors": [MIRROR, "https://other.example"],
    }
    assert "is right" in done("docker", "--file", str(file), "--write").stdout
    done("docker", "--file", str(file), "--remove")
    assert tree(file.parent) == {"daemon.json": before}


def test_a_daemon_json_that_was_not_there_is_gone_again(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "daemon.json"
    done("docker", "--file", str(file), "--write")
    done("docker", "--file", str(file), "--remove")
    assert tree(tmp_path) == {}


def test_a_key_that_was_added_since_stays_in_daemon_json(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "daemon.json"
    file.write_text('{"debug": true}')
    done("docker", "--file", str(file), "--write")
    document = {**json.loads(file.read_text()), "log-level": "warn"}
    file.write_text(json.dumps(document))
    done("docker", "--file", str(file), "--remove")
    assert json.loads(file.read_text()) == {"debug": True, "log-level": "warn"}


def test_a_dockerd_that_has_the_flag_is_not_broken(tmp_path: pathlib.Path) -> None:
    """dockerd does not start with a mirror in its flags and in its file."""
    (tmp_path / "sysconfig").mkdir()
    (tmp_path / "docker").mkdir()
    flags = tmp_path / "sysconfig" / "docker"
    flags.write_text("DOCKER_OPTS=--iptables=false --registry-mirror=https://other\n")
    result = run("docker", "--file", str(tmp_path / "docker" / "daemon.json"), "--write")
    assert result.exit_code == 1
    assert "--registry-mirror" in result.stderr
    assert "spec.docker.registryMirrors" in result.stderr
    assert tree(tmp_path / "docker") == {}


# registries.conf.


@pytest.mark.parametrize("runtime", ["podman", "crio"])
def test_a_drop_in_is_written_and_removed(runtime: str, tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "registries.conf.d"
    words = (runtime, "--conf-dir", str(folder))
    result = done(*words, "--write", "--registry", "docker.io", "--registry", "quay.io")
    assert ("reload crio" in result.stderr) == (runtime == "crio")
    assert list(tree(folder)) == ["nodecache.conf"]
    assert (
        "is right"
        in done(*words, "--write", "--registry", "docker.io", "--registry", "quay.io").stdout
    )
    done(*words, "--remove")
    assert tree(folder) == {}


def test_a_drop_in_repeats_what_registries_conf_says(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "registries.conf.d"
    (tmp_path / "registries.conf").write_text(
        '[[registry]]\nprefix = "docker.io"\nlocation = "hub.corp"\n'
    )
    assert 'location = "hub.corp"' in done("podman", "--conf-dir", str(folder)).stdout


def test_a_drop_in_that_would_win_over_ours_is_named(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "registries.conf.d"
    folder.mkdir()
    (folder / "zz.conf").write_text('[[registry]]\nlocation = "docker.io"\n')
    result = run("podman", "--conf-dir", str(folder), "--write")
    assert result.exit_code == 1
    assert "zz.conf" in result.stderr
    assert list(tree(folder)) == ["zz.conf"]
    done("podman", "--conf-dir", str(folder), "--write", "--registry", "ghcr.io")


# Wrong input.


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("containerd", "--mirror", "127.0.0.1:5000"), "no URL of a mirror"),
        (("containerd", "--registry", "https://ghcr.io"), "is no registry"),
        (("containerd", "--containerd-version", "new"), "is no version"),
        (("docker", "--registry", "ghcr.io"), "--registry"),
        (("containerd", "--write", "--remove"), "at once"),
        (("kops", "--write"), "kops edit cluster"),
        (("kops", "--runtime", "docker", "--registry", "ghcr.io"), "docker.io only"),
        (("kops", "--runtime", "rkt"), "rkt"),
        (("rkt",), "rkt"),
    ],
)
def test_wrong_input_is_named_and_is_exit_code_2(words: tuple[str, ...], told: str) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert told in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("runtime", "option", "name", "text", "told"),
    [
        ("docker", "--file", "daemon.json", "{", "no JSON"),
        ("docker", "--file", "daemon.json", '{"registry-mirrors": 3}', "no list"),
        ("podman", "--conf-dir", "nodecache.conf", "[[registry]", "no TOML"),
    ],
)
def test_a_file_that_is_broken_is_left_as_it_is(
    runtime: str, option: str, name: str, text: str, told: str, tmp_path: pathlib.Path
) -> None:
    file = tmp_path / name
    file.write_text(text)
    where = str(file) if option == "--file" else str(tmp_path)
    for action in ("--write", "--remove"):
        result = run(runtime, option, where, action)
        if action == "--write" or runtime == "docker":
            assert result.exit_code == 1
            assert f"{file} " in result.stderr
            assert told in result.stderr
        assert tree(tmp_path) == {name: text}


def test_a_file_that_is_no_text_is_left_as_it_is(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "daemon.json"
    file.write_bytes(b"\xff\xfe")
    result = run("docker", "--file", str(file), "--write")
    assert result.exit_code == 1
    assert "is no text" in result.stderr
    assert file.read_bytes() == b"\xff\xfe"


def test_a_folder_that_is_a_file_is_said_plainly(tmp_path: pathlib.Path) -> None:
    (tmp_path / "certs.d").write_text("")
    result = run("containerd", "--certs-dir", str(tmp_path / "certs.d"), "--write")
    assert result.exit_code == 1
    assert "not a directory" in result.stderr


def test_it_runs_as_a_person_runs_it(tmp_path: pathlib.Path) -> None:
    """In a process of its own, which may not write: one line says so, and no traceback."""
    folder = tmp_path / "certs.d"
    argv = [sys.executable, "-m", "nodecache", "node-config", "containerd"]
    argv += ["--certs-dir", str(folder), "--write"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(argv, env=env, check=True, capture_output=True)
    assert MIRROR in (folder / "docker.io" / "hosts.toml").read_text()
    argv[-2] = "/proc/nodecache/certs.d"
    failed = subprocess.run(argv, env=env, check=False, capture_output=True, text=True)
    assert failed.returncode == 1
    assert failed.stderr.startswith("nodecache: /proc/nodecache/certs.d/docker.io/hosts.toml: ")
    assert "Traceback" not in failed.stderr
