"""Where a runtime's programs come from: this system, or a folder with a newer Debian.

A newer Debian is entered through a mount namespace of its own: the folder bound
onto itself (layers fail to register without), the kernel's file systems, and the
tests' folder at its own path, so that sockets and files have one name in both.
The mounts end with the last process inside.
"""

from __future__ import annotations

import os
import pathlib
import platform
import shutil
import subprocess
from collections.abc import Sequence
from typing import Protocol

import attrs

from tests.system.parts.processes import MissingPart, need, need_root

_ENTER = """\
set -e
root=$1 shared=$2
shift 2
mount --bind "$root" "$root"
mount --rbind /proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mkdir -p "$root$shared"
mount --bind "$shared" "$root$shared"
exec chroot "$root" "$@"
"""

#: What the newer Debian is made of.
NEWER_SUITE = "forky"
NEWER_PACKAGES = (
    "ca-certificates",
    "containerd",
    "docker-cli",
    "docker.io",
    "iproute2",
    "iptables",
    "podman",
    "python3-venv",
    "runc",
    "skopeo",
    "uidmap",
)


class Userland(Protocol):
    @property
    def name(self) -> str: ...

    def argv(self, words: Sequence[str]) -> list[str]:
        """The command line that runs ``words`` inside."""
        ...

    def need(self, *programs: str) -> None:
        """MissingPart for the first program that is not there."""
        ...


@attrs.frozen
class System:
    """The machine's own programs."""

    name: str = "system"

    def argv(self, words: Sequence[str]) -> list[str]:
        return list(words)

    def need(self, *programs: str) -> None:
        need_root()
        need(*programs)


@attrs.frozen
class Newer:
    """Programs of the Debian in ``root``; ``shared`` is visible inside under its own path."""

    root: pathlib.Path
    shared: pathlib.Path
    name: str = "newest"

    def argv(self, words: Sequence[str]) -> list[str]:
        inside = ["sh", "-c", _ENTER, "enter", str(self.root), str(self.shared), *words]
        return ["unshare", "--mount", "--propagation", "private", "--", *inside]

    def need(self, *programs: str) -> None:
        need_root()
        need("unshare", "chroot", "mount")
        for program in programs:
            if not any((self.root / folder / program).exists() for folder in _PLACES):
                raise MissingPart(f"{program} of Debian {NEWER_SUITE} is not in {self.root}")


_PLACES = ("usr/bin", "usr/sbin", "bin", "sbin")


def cache_folder() -> pathlib.Path:
    """Where what is slow to make is kept between runs; ``NODECACHE_TEST_CACHE`` moves it."""
    named = os.environ.get("NODECACHE_TEST_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(named) if named else pathlib.Path(base) / "nodecache-tests"


def debian(suite: str, packages: Sequence[str]) -> pathlib.Path:
    """A folder with Debian ``suite`` and ``packages``, made by debootstrap where it is not kept.

    Takes about a minute and 800 MB the first time. MissingPart where it can
    not be made here.
    """
    root = cache_folder() / suite
    stamp = root / "made-of"
    recipe = " ".join(sorted(packages))
    if stamp.exists() and stamp.read_text() == recipe:
        return root
    need_root()
    need("debootstrap", "apt-get")
    if root.exists():
        shutil.rmtree(root)
    root.parent.mkdir(parents=True, exist_ok=True)
    unfinished = root.with_name(f"{suite}.unfinished-{os.getpid()}")
    _debootstrap(suite, recipe.replace(" ", ","), unfinished)
    (unfinished / "made-of").write_text(recipe)
    unfinished.rename(root)
    return root


def _debootstrap(suite: str, packages: str, into: pathlib.Path) -> None:
    words = ["debootstrap", "--variant=minbase", f"--include={packages}", suite, str(into)]
    scripts = pathlib.Path("/usr/share/debootstrap")
    # An older debootstrap does not know the suite's name; every one knows sid's script.
    script = scripts / "scripts" / suite
    rest = [mirror(), str(script if script.exists() else scripts / "scripts" / "sid")]
    done = subprocess.run([*words, *rest], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        shutil.rmtree(into, ignore_errors=True)
        raise MissingPart(f"Debian {suite} (debootstrap: {done.stdout[-300:]}{done.stderr[-300:]})")


def mirror() -> str:
    """The Debian mirror that this machine's apt is set up with."""
    release = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    listing = ["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)", "Created-By: Packages"]
    done = subprocess.run(listing, capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        site, _, suite = line.partition(" ")
        if suite == release:
            return site
    raise MissingPart(f"apt knows no mirror for Debian {release or '(not a Debian)'}")


def newer(shared: pathlib.Path) -> Newer:
    return Newer(debian(NEWER_SUITE, NEWER_PACKAGES), shared)


def main() -> None:
    """Make the newer Debian now, so that no test has to wait for it."""
    try:
        print(f"Debian {NEWER_SUITE}: {debian(NEWER_SUITE, NEWER_PACKAGES)}")
    except MissingPart as part:
        print(f"Cannot be had here: {part}")


if __name__ == "__main__":
    main()
