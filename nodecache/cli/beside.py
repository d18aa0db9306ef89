"""What stands beside the files that node-config writes, and decides what they are good for."""

from __future__ import annotations

import os
from collections.abc import Sequence

from nodecache.cli.problems import fail
from nodecache.runtimes.containerd import folders, read
from nodecache.runtimes.hosts_toml import Certificates
from nodecache.runtimes.names import Unusable, Version
from nodecache.runtimes.registries_conf import FILE_NAME, Registry, in_force
from nodecache.runtimes.toml import read_toml
from nodecache.runtimes.words import environment_words


def config_path(certs_dir: str, version: Version | None) -> str:
    """Whether containerd reads the files in ``certs_dir``, in words."""
    folder = os.path.abspath(certs_dir)
    config = os.path.join(os.path.dirname(folder), "config.toml")
    try:
        with open(config, encoding="utf-8") as file:
            found = read([read_toml(file.read())])
    except FileNotFoundError:
        return (
            "containerd reads this at its next pull, if its config_path names this one folder "
            f"(there is no {config} here to see it); 'nodecache doctor' checks it on the node."
        )
    except (OSError, UnicodeDecodeError, Unusable) as error:
        return f"{config} could not be read ({error}): see 'nodecache doctor'."
    named = folders(found, version)
    # Only the last part is compared: the node's files may be mounted elsewhere here.
    if len(named) == 1 and os.path.basename(named[0]) == os.path.basename(folder):
        return "containerd reads this at its next pull; no restart is needed."
    return (
        f"{config} has to set config_path, to this one folder, under "
        f"[plugins.'{found.plugin}'.registry]; restart containerd then. "
        "'nodecache doctor' checks it."
    )


def hiding(certs_dir: str, mirror: str) -> str:
    """The folders of registries that hide ``_default`` and do not name the mirror; "" for none."""
    try:
        with os.scandir(certs_dir) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir())
    except OSError:
        return ""
    files = ((name, os.path.join(certs_dir, name, "hosts.toml")) for name in names)
    return ", ".join(
        name for name, path in files if not (os.path.isfile(path) and mirror in _read(path))
    )


def hosts_folder(certs_dir: str, registry: str) -> str:
    """The folder of a registry: of the two spellings of a port, the one that is there."""
    host, colon, port = registry.rpartition(":")
    other = os.path.join(certs_dir, f"{host}_{port}_")
    return other if colon and os.path.isdir(other) else os.path.join(certs_dir, registry)


def certificates(folder: str) -> Certificates:
    """What containerd takes from the folder while no hosts.toml is in it."""
    try:
        return Certificates.among(os.listdir(folder))
    except OSError:
        return Certificates()


def written(certs_dir: str) -> tuple[str, ...]:
    """The registries in whose files our part is."""
    found = []
    for name in sorted(os.listdir(certs_dir)) if os.path.isdir(certs_dir) else ():
        path = os.path.join(certs_dir, name, "hosts.toml")
        if os.path.isfile(path) and "# begin nodecache" in _read(path):
            found.append(name)
    return tuple(found)


def words(path: str) -> tuple[str, ...]:
    """The words of an environment file of a service; none where it can not be read."""
    try:
        with open(path, encoding="utf-8") as file:
            return environment_words(file.read())
    except (OSError, UnicodeDecodeError):
        return ()


def registries(conf_dir: str, chosen: Sequence[str]) -> dict[str, Registry]:
    """What other files than ours say of these registries. Ends the command where one would win."""
    try:
        counted = in_force(registries_conf(conf_dir))
    except Unusable as error:
        fail(str(error), "Nothing was written. Mend the file, and try again.")
    found = {one: counted[one] for one in chosen if one in counted}
    for registry, (path, _) in found.items():
        if os.path.dirname(path) == os.path.abspath(conf_dir) and _name(path) > FILE_NAME:
            fail(
                f"{path} names {registry} too, and wins over {FILE_NAME}",
                f"Rename it to something before {FILE_NAME} in the alphabet.",
            )
    return {registry: there for registry, (_, there) in found.items()}


def _name(path: str) -> str:
    return os.path.basename(path)


def registries_conf(conf_dir: str) -> list[tuple[str, str]]:
    """registries.conf and its drop-ins but for ours, in the order in which they are read."""
    folder = os.path.abspath(conf_dir)
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    drop_ins = [os.path.join(folder, one) for one in names if one.endswith(".conf")]
    paths = (folder.removesuffix(".d"), *(one for one in drop_ins if _name(one) != FILE_NAME))
    return [(path, _read(path)) for path in paths if os.path.isfile(path)]


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{path} could not be read ({error})", "Run as root.")
