"""The image, built by the Dockerfile under a dockerd of the tests.

Docker Hub cannot be reached from the tests, so the base is a Debian folder that
the system ring keeps anyway, without what is there for its runtimes.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping

import attrs

import nodecache
from tests.system.parts.processes import need, need_root, run
from tests.system.parts.userlands import NEWER_PACKAGES, NEWER_SUITE, debian

SOURCE = pathlib.Path(__file__).parents[3]
BASE = "base-of-the-tests:latest"
NAME = "nodecache:of-the-tests"
#: The user of the image, as the Dockerfile names it.
USER = 65532

#: Of the folder's packages, those that a slim Python does not have.
_NOT_SLIM = (
    *("aardvark-dns", "containerd", "crun", "docker-cli", "docker.io", "iptables", "netavark"),
    *("podman", "runc", "skopeo", "systemd", "gnupg", "gnupg-l10n", "libc-gconv-modules-extra"),
)
_NOT_WANTED = (
    # A slim Python has nothing compiled.
    "*.pyc",
    *("./usr/share/doc", "./usr/share/man", "./usr/share/locale", "./var/lib/apt/lists"),
    *("./var/cache/apt", "./proc/*", "./sys/*", "./dev/*", "./tmp/*", "./var/tmp/*", "./run/*"),
)
_CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"


@attrs.frozen
class Built:
    """Bytes with the base, and of the base alone."""

    size: int
    base_size: int


def build(docker: str) -> Built:
    """Build the image on the dockerd at ``docker`` (its -H); MissingPart where that can not be."""
    need_root()
    need("docker", "tar")
    words = ["docker", "-H", docker]
    _import_base(words)
    arguments = [word for argument in _arguments() for word in ("--build-arg", argument)]
    # The classic builder comes with every docker; it needs the machine's network for packages.
    building = [*words, "build", "--network", "host", "--tag", NAME, *arguments, str(SOURCE)]
    run(building, env={"DOCKER_BUILDKIT": "0"}, patience=280)
    return Built(_size(words, NAME), _size(words, BASE))


def _size(words: list[str], name: str) -> int:
    return int(run([*words, "image", "inspect", "--format", "{{.Size}}", name]))


def _arguments() -> Iterator[str]:
    """The base, and where this machine's pip finds its packages."""
    yield f"BASE_IMAGE={BASE}"
    yield f"VERSION={nodecache.__version__}"
    yield "REVISION=0123456789abcdef"
    names = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_DEFAULT_TIMEOUT")
    yield from (f"{name}={os.environ[name]}" for name in names if name in os.environ)
    if pathlib.Path("/", _CERTIFICATES).exists():
        yield f"PIP_CERT=/{_CERTIFICATES}"
    yield from _proxies(os.environ)


def _proxies(environ: Mapping[str, str]) -> Iterator[str]:
    names = ("http_proxy", "https_proxy", "no_proxy")
    for name in (*names, *map(str.upper, names)):
        if name in environ:
            yield f"{name}={environ[name]}"


def _import_base(words: list[str]) -> None:
    """``docker import`` of the folder, with this machine's certificates in place of its own."""
    root = debian(NEWER_SUITE, NEWER_PACKAGES)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        listed = folder / "not-slim"
        listed.write_text("\n".join((*_NOT_WANTED, *_files_of(root, _NOT_SLIM))))
        packing = ["tar", "-c", "--one-file-system", f"--exclude-from={listed}", "-C", str(root)]
        mine = pathlib.Path("/", _CERTIFICATES)
        if mine.exists():
            shutil.copy(mine, folder / "certificates")
            # No path may come twice.
            packing += [f"--exclude=./{_CERTIFICATES}", "."]
            packing += [f"--transform=s,^certificates$,{_CERTIFICATES},", "-C", name]
            packing += ["certificates"]
        else:
            packing += ["."]
        with subprocess.Popen(packing, stdout=subprocess.PIPE) as packer:
            taking = [*words, "import", "-", BASE]
            subprocess.run(taking, stdin=packer.stdout, stdout=subprocess.DEVNULL, check=True)
        assert packer.returncode == 0


def _files_of(root: pathlib.Path, packages: tuple[str, ...]) -> Iterator[str]:
    """Paths of the plain files of those ``packages`` that are installed in ``root``."""
    asking = ["dpkg-query", f"--admindir={root}/var/lib/dpkg", "--listfiles", *packages]
    told = subprocess.run(asking, capture_output=True, text=True, check=False).stdout
    for path in set(told.split("\n")):
        inside = root / path.removeprefix("/")
        if path.startswith("/") and inside.is_file() and not inside.is_symlink():
            yield f".{path}"
