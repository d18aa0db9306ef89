"""What docs/security.md says of the process: modes of files, no program but one, secret files."""

from __future__ import annotations

import ast
import contextlib
import os
import pathlib
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nodecache.config import AccountSettings
from nodecache.config.values import exposed
from nodecache.events import Event, SettingWarning
from nodecache.limits import Timeouts
from nodecache.peers.secrets import Secrets
from nodecache.upstream.account import AccountFile
from tests.cluster_case import free_port
from tests.fakes_disk import InlinePool

ROOT = pathlib.Path(__file__).parent.parent
PEERS = "secret-of-the-cluster-in-its-file"
PASSWORD = "password-of-the-account"
PROXY = "password-of-the-proxy"

# Programs and code from outside.

#: The one place that starts a program: `nodecache doctor`, on the node that it looks at.
STARTS_ONE = {"nodecache/cli/doctoring/runtimes.py", "nodecache/listing/crew.py"}
FORBIDDEN_MODULES = {"subprocess", "pty", "pickle", "marshal", "shelve", "multiprocessing"}
FORBIDDEN_CALLS = {
    "os.system", "os.popen", "os.fork", "os.forkpty", "eval", "exec", "compile", "__import__",
    "yaml.load", "yaml.unsafe_load", "yaml.full_load", "reactor.spawnProcess",
    "utils.getProcessOutput", "tarfile.extractall",
}  # fmt: skip
FORBIDDEN_PREFIXES = ("os.exec", "os.spawn", "os.posix_spawn")


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((ROOT / "nodecache").rglob("*.py")):
        yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
    return found


def called(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield dotted(node.func).removeprefix("self._").removeprefix("self."), node


def dotted(node: ast.expr) -> str:
    """``a.b.c``; what is no name has none."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def faults(name: str, tree: ast.Module) -> list[str]:
    found = []
    if name not in STARTS_ONE:
        found += [f"{name} imports {each}" for each in imported(tree) & FORBIDDEN_MODULES]
    for words, call in called(tree):
        if words in FORBIDDEN_CALLS or words.startswith(FORBIDDEN_PREFIXES):
            found.append(f"{name}:{call.lineno} calls {words}")
        if any(each.arg == "shell" for each in call.keywords):
            found.append(f"{name}:{call.lineno} names a shell")
        started = words.startswith("subprocess.")
        if started and not (call.args and isinstance(call.args[0], ast.List)):
            found.append(f"{name}:{call.lineno} starts what is no list of words")
    return found


def test_no_program_is_started_but_by_two_modules_and_no_shell_at_all() -> None:
    assert [fault for name, tree in sources() for fault in faults(name, tree)] == []
    assert {name for name, tree in sources() if "subprocess" in imported(tree)} >= STARTS_ONE


@pytest.mark.parametrize(
    "code",
    [
        "import subprocess",
        "from subprocess import run",
        "import os\nos.system('x')",
        "import os\nos.execvp('x', [])",
        "self._reactor.spawnProcess(None, 'x')",
        "eval('1')",
        "run('x', shell=True)",
        "import pickle",
        "yaml.load(text)",
    ],
)
def test_each_way_to_start_one_is_found(code: str) -> None:
    assert faults("nodecache/somewhere.py", ast.parse(code))


def test_what_is_started_has_to_be_a_list() -> None:
    for name in STARTS_ONE:
        assert faults(name, ast.parse("import subprocess\nsubprocess.run('a b')"))
    assert not faults(name, ast.parse("import subprocess\nsubprocess.run(['a', 'b'])"))


# Files of secrets.


@pytest.mark.parametrize(("mode", "told"), [(0o600, False), (0o440, False), (0o644, True)])
def test_a_file_of_secrets_that_all_can_read_is_told_of(mode: int, told: bool) -> None:
    assert bool(exposed("it", mode)) == told


class TestFilesOfSecrets:
    def test_that_of_the_cluster_once_and_again_when_it_was_closed_and_opened(
        self, tmp_path: pathlib.Path
    ) -> None:
        path = tmp_path / "secret"
        path.write_text(PEERS)
        path.chmod(0o644)
        seen: list[Event] = []
        clock = Clock()
        secrets = Secrets(str(path), InlinePool(), clock, seen.append, Timeouts())
        Deferred.fromCoroutine(secrets.start())
        for mode in (0o644, 0o640, 0o644, 0o644):
            path.chmod(mode)
            clock.advance(Timeouts().peer_secrets)
        secrets.stop()
        words = [event.message for event in seen if isinstance(event, SettingWarning)]
        assert len(words) == 2
        assert words[0].startswith(f"peer_secret_file: {path} can be read by every user")
        assert PEERS not in "".join(words)

    def test_that_of_an_account_once_for_each_change(self, tmp_path: pathlib.Path) -> None:
        path = tmp_path / "account"
        path.write_text(f"robot:{PASSWORD}")
        path.chmod(0o644)
        seen: list[Event] = []
        account = AccountFile(AccountSettings(str(path), ("team/app",)), seen.append)
        for _ in range(3):
            assert account.credentials_for("team/app") is not None
        words = [event.message for event in seen if isinstance(event, SettingWarning)]
        assert [f"account file {path} can be read by every user" in each for each in words] == [
            True
        ]
        path.chmod(0o600)
        assert account.credentials_for("team/app") is not None
        assert len(seen) == 1
        assert PASSWORD not in repr(seen)


# The process.


@contextlib.contextmanager
def with_cores() -> Iterator[None]:
    """What is started may leave a core as large as may be, as some service managers allow."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)


class Served:
    """A node as `nodecache serve` runs it, started with the most open umask there is."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.data = folder / "data"
        self.data.mkdir(mode=0o755)
        secret, account, toml = (folder / each for each in ("secret", "account", "nodecache.toml"))
        for path, text in ((secret, PEERS), (account, f"robot:{PASSWORD}")):
            path.write_text(text + "\n")
            path.chmod(0o600)
        toml.write_text(
            f'[upstreams."docker.io"]\nproxy = "http://user:{PROXY}@127.0.0.1:9"\n'
            f'[upstreams."docker.io".account]\nfile = "{account}"\nrepositories = ["team/app"]\n'
        )
        self.port, self.admin, peers = free_port(), free_port(), free_port()
        words = [sys.executable, "-m", "nodecache", "serve", "--config", str(toml)]
        words += ["--data-dir", str(self.data), "--listen", f"127.0.0.1:{self.port}"]
        words += ["--admin-listen", f"127.0.0.1:{self.admin}", "--log-level", "debug"]
        words += ["--peers", f"127.0.0.1:{peers}", "--peer-listen", f"127.0.0.1:{peers}"]
        words += ["--peer-secret-file", str(secret), "--min-free", "0", "--log-format", "json"]
        self.said = folder / "said"
        with self.said.open("wb") as said, with_cores():
            self.process = subprocess.Popen(words, cwd=ROOT, stdout=said, stderr=said, umask=0)

    def ready(self) -> None:
        give_up = time.monotonic() + 60
        while True:
            assert self.process.poll() is None, self.said.read_text()
            assert time.monotonic() < give_up, "it is not ready in time"
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/readyz"):
                    return
            except urllib.error.HTTPError as error:
                error.close()
            except OSError:
                pass
            time.sleep(0.05)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with tempfile.TemporaryDirectory() as folder:
        node = Served(pathlib.Path(folder))
        try:
            node.ready()
            yield node
        finally:
            node.stop()


@pytest.mark.timeout(120)
class TestProcess:
    def test_nobody_else_can_open_what_it_makes_whatever_the_umask(self, served: Served) -> None:
        seen = {path: path.lstat().st_mode for path in served.data.rglob("*")}
        assert any(stat.S_ISSOCK(mode) for mode in seen.values())
        assert any(stat.S_ISREG(mode) for mode in seen.values())
        assert [str(path) for path, mode in seen.items() if mode & 0o077] == []

    def test_the_list_of_processes_shows_no_secret(self, served: Served) -> None:
        words = pathlib.Path(f"/proc/{served.process.pid}/cmdline").read_text()
        assert "--peer-secret-file" in words
        for secret in (PEERS, PASSWORD, PROXY):
            assert secret not in words

    def test_nor_does_its_log_when_upstream_can_not_be_reached(self, served: Served) -> None:
        for name in ("team/app", "library/other"):
            url = f"http://127.0.0.1:{served.port}/v2/{name}/manifests/1?ns=docker.io"
            with pytest.raises(urllib.error.HTTPError, match="503") as told:
                urllib.request.urlopen(url)
            told.value.close()
        said = served.said.read_text()
        assert '"event": "upstream_failed"' in said
        for secret in (PEERS, PASSWORD, PROXY):
            assert secret not in said

    def test_it_leaves_no_core_with_the_secrets_of_its_memory(self, served: Served) -> None:
        limits = pathlib.Path(f"/proc/{served.process.pid}/limits").read_text()
        [core] = [line for line in limits.splitlines() if line.startswith("Max core file size")]
        assert core.split()[4] == "0"

    def test_it_has_no_child_and_hands_no_descriptor_on(self, served: Served) -> None:
        folder = pathlib.Path(f"/proc/{served.process.pid}")
        assert (folder / f"task/{served.process.pid}/children").read_text() == ""
        for number in os.listdir(folder / "fd"):
            info = (folder / "fdinfo" / number).read_text()
            flags = int(next(line for line in info.splitlines() if "flags:" in line).split()[1], 8)
            assert int(number) <= 2 or flags & os.O_CLOEXEC, os.readlink(folder / "fd" / number)
