"""Is the mirror really used by this containerd, and is there a way around it?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from nodecache.runtimes import containerd
from nodecache.runtimes.check_hosts import check_hosts, missing
from nodecache.runtimes.containerd import CriConfig, folders
from nodecache.runtimes.facts import ContainerdFacts
from nodecache.runtimes.findings import Finding, note, ok, problem, warning
from nodecache.runtimes.names import Version, same_url, shown

_SUBJECT: Final = "containerd"
_CERTS: Final = "/etc/containerd/certs.d"
_TABLE_ANY: Final = "*"


def check_containerd(
    facts: ContainerdFacts, mirror: str, registries: tuple[str, ...]
) -> list[Finding]:
    """Findings on the file, on where it looks for mirrors, and on what is there."""
    if facts.problem:
        means = "What containerd does can not be told."
        return [problem("containerd-unreadable", _SUBJECT, facts.problem, means, "Run as root.")]
    config = CriConfig() if facts.config is None else facts.config
    if config.off:
        what = f"{facts.file} turns the CRI plug-in off"
        return [note("containerd-cri-off", _SUBJECT, what, "No kubelet pulls with it.")]
    if config.mirrors and config.config_path:
        return [_both(facts.file)]
    if config.mirrors:
        return [*_table(facts, config), *_endpoints(config, mirror, registries)]
    found = _no_folder(facts, config) or _list_ignored(facts, config)
    if found is not None:
        return [found]
    listed = list(_listed(facts, config))
    return [*listed, *check_hosts(facts, mirror, registries)]


def _both(file: str) -> Finding:
    return problem(
        "containerd-both",
        _SUBJECT,
        f"{file} sets config_path and the deprecated table registry.mirrors",
        "containerd refuses to load its CRI plug-in: the node pulls and starts nothing "
        "after its next restart.",
        "Take the table out (on kops: registryMirrors, or the configAdditions that set "
        "config_path) and restart containerd.",
    )


def _table(facts: ContainerdFacts, config: CriConfig) -> Iterator[Finding]:
    what = f"{facts.file} names mirrors in the deprecated table registry.mirrors"
    move = (
        f"Set config_path = {_CERTS!r} under [plugins.'{config.plugin}'.registry] in place of the "
        "table, restart containerd, and run 'nodecache node-config containerd --write'. On kops: "
        "1.36 and newer write hosts.toml files."
    )
    if facts.version is not None and facts.version in containerd.REFUSES_TABLE:
        means = (
            f"containerd {shown(facts.version)} sets a config_path of its own and "
            "refuses to load its CRI plug-in: the node starts no pod."
        )
        yield problem("containerd-table-refused", _SUBJECT, what, means, f"{move} 2.2.2 takes it.")
    elif facts.version is None and config.schema > 1:
        means = "containerd 2.2.0 and 2.2.1 refuse to load their CRI plug-in with it."
        yield note("containerd-table", _SUBJECT, f"{what}; its version is not known", means, move)
    else:
        means = "It works with this release, and is to be removed from a later one."
        yield note("containerd-table", _SUBJECT, what, means, move)


def _endpoints(config: CriConfig, mirror: str, registries: tuple[str, ...]) -> Iterator[Finding]:
    """The table's own rules: a registry without an entry takes that of ``*``."""
    for registry in registries:
        endpoints = config.mirrors.get(registry, config.mirrors.get(_TABLE_ANY, ()))
        if not any(same_url(one, mirror) for one in endpoints):
            yield missing(registry, mirror, "the table registry.mirrors does not name it")
        elif not same_url(endpoints[0], mirror):
            what = f"{registry}: {endpoints[0]} is asked before {mirror}"
            yield note("containerd-not-first", _SUBJECT, what, "It is used when that one fails.")
        else:
            yield ok("containerd-used", _SUBJECT, f"{registry} is pulled through {mirror}")
            fallback = f"{registry} itself is asked when the mirror fails"
            yield ok("containerd-fallback", _SUBJECT, fallback)


def _no_folder(facts: ContainerdFacts, config: CriConfig) -> Finding | None:
    if folders(config, facts.version):
        return None
    there = f"sets no config_path under [plugins.'{config.plugin}'.registry]"
    what = f"{facts.file} {there}" if facts.config is not None else f"there is no {facts.file}"
    if config.misplaced:
        what = (
            f"{facts.file} sets config_path under [plugins.'{config.misplaced}'.registry], which "
            f"a file of version {config.schema} is not read for"
        )
    return problem(
        "containerd-no-config-path",
        _SUBJECT,
        what,
        "containerd reads no hosts.toml: every pull goes to the registries themselves.",
        f"Set config_path = {_CERTS!r} under [plugins.'{config.plugin}'.registry] and restart "
        "containerd (on kops: configAdditions; 'nodecache node-config kops' prints them).",
    )


def _list_ignored(facts: ContainerdFacts, config: CriConfig) -> Finding | None:
    """From 2.1 on, a list of folders finds nothing; 2.2 has such a list by default."""
    named = folders(config, facts.version)
    if len(named) < 2 or not _by_transfer(facts.version, config):
        return None
    whose = "config_path" if config.config_path else "config_path, not set, is then"
    return problem(
        "containerd-list-ignored",
        _SUBJECT,
        f"{whose} the list {':'.join(named)}",
        f"containerd {shown(facts.version or (0, 0, 0))} takes it for the name of one folder, "
        "finds no hosts.toml, and says nothing: every pull goes to the registries themselves.",
        f"Name one folder: config_path = {_CERTS!r} under [plugins.'{config.plugin}'.registry], "
        "and restart containerd.",
    )


def _by_transfer(version: Version | None, config: CriConfig) -> bool:
    return version is not None and version >= containerd.TRANSFER_SINCE and not config.local_pull


def _listed(facts: ContainerdFacts, config: CriConfig) -> Iterator[Finding]:
    if facts.version is None and ":" in config.config_path and not config.local_pull:
        yield warning(
            "containerd-list",
            _SUBJECT,
            f"config_path is the list {config.config_path}, and the version is not known",
            "containerd 2.1 and newer take it for the name of one folder, and read no hosts.toml.",
            f"Name one folder, {_CERTS!r}, and restart containerd; or say which release it is "
            "with --runtime-version.",
        )
