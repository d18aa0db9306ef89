"""``nodecache node-config``: what a runtime needs to ask the mirror, printed or written."""

from __future__ import annotations

import functools
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import click

from nodecache.cli import beside
from nodecache.cli.nodefiles import Done, Outcome, Placed
from nodecache.cli.params import VERSION, Parsed
from nodecache.cli.problems import CommandError, fail
from nodecache.failures import EXIT_UNUSABLE
from nodecache.reference import DOCKER_HUB
from nodecache.runtimes import kops as kops_spec
from nodecache.runtimes.check_docker import mirror_flags
from nodecache.runtimes.daemon_json import MirrorsPart
from nodecache.runtimes.hosts_toml import DIAL_TIMEOUT, HostsPart, knows_dial_timeout
from nodecache.runtimes.names import (
    ANY_REGISTRY,
    DEFAULT_MIRROR,
    Version,
    parse_mirror,
    parse_registry,
)
from nodecache.runtimes.registries_conf import FILE_NAME, DropInPart

F = TypeVar("F", bound=Callable[..., Any])

_CERTS_DIR: Final = "/etc/containerd/certs.d"
_CONF_DIR: Final = "/etc/containers/registries.conf.d"
_DAEMON_JSON: Final = "/etc/docker/daemon.json"
_NEWEST_KOPS: Final = "1.36"


def _mirror(command: F) -> F:
    return click.option(
        "--mirror",
        type=Parsed("url", parse_mirror),
        metavar="URL",
        default=DEFAULT_MIRROR,
        show_default=True,
        help="Where the node answers.",
    )(command)


def _action(command: F) -> F:
    """Adds ``--write`` and ``--remove``; the command gets ``action``: one of them, or None."""

    @click.option("--write", is_flag=True, help="Write it; files that are there are merged.")
    @click.option("--remove", is_flag=True, help="Take it out: files are as they were.")
    @functools.wraps(command)
    def with_action(*args: Any, write: bool, remove: bool, **kwargs: Any) -> Any:
        if write and remove:
            raise click.UsageError("--write and --remove at once: which of the two?")
        action = "write" if write else "remove" if remove else None
        return command(*args, action=action, **kwargs)

    return with_action  # type: ignore[return-value]  # click's decorators keep the type


def _registries(command: F) -> F:
    return click.option(
        "--registry",
        "registries",
        type=Parsed("host", parse_registry),
        metavar="HOST",
        multiple=True,
        help="A registry to pull through the mirror; repeatable.  [docker.io]",
    )(command)


def _any_registry(command: F) -> F:
    text = "All registries that have no configuration of their own."
    return click.option("--default", "any_registry", is_flag=True, help=text)(command)


def _chosen(registries: Sequence[str], *, any_registry: bool) -> tuple[str, ...]:
    named = tuple(dict.fromkeys(registries))
    if any_registry:
        return (*named, ANY_REGISTRY)
    return named or (DOCKER_HUB,)


@click.group("node-config", short_help="Point a runtime of this node at the mirror.")
def node_config() -> None:
    """Point a container runtime of this node at the mirror.

    Prints what the runtime needs; --write writes it and --remove takes it out
    again. Files that others wrote are merged and kept beside, as
    NAME.nodecache-backup. Writing twice changes nothing.
    """


@node_config.command(short_help="hosts.toml files of containerd.")
@click.option("--certs-dir", metavar="DIR", default=_CERTS_DIR, show_default=True)
@_registries
@_any_registry
@_mirror
@click.option("--containerd-version", type=VERSION, metavar="X.Y.Z", help="Its release.")
@_action
def containerd(
    *,
    certs_dir: str,
    registries: Sequence[str],
    any_registry: bool,
    mirror: str,
    containerd_version: Version | None,
    action: str | None,
) -> None:
    """containerd: one hosts.toml for each registry. No restart is needed.

    --remove without a registry takes all out that --write wrote.
    """
    chosen = _chosen(registries, any_registry=any_registry)
    if action == "remove" and not registries and not any_registry:
        chosen = beside.written(certs_dir) or chosen
    timeout = DIAL_TIMEOUT if knows_dial_timeout(containerd_version) else None
    _carry_out([_hosts_toml(certs_dir, one, mirror, timeout) for one in chosen], action, "#")
    if action != "remove":
        _note(beside.config_path(certs_dir, containerd_version))
        hiding = beside.hiding(certs_dir, mirror) if any_registry else ""
        if hiding:
            _note(f"{hiding}: hides {ANY_REGISTRY} from its registry; name that with --registry.")


def _hosts_toml(certs_dir: str, registry: str, mirror: str, timeout: str | None) -> Placed:
    folder = beside.hosts_folder(certs_dir, registry)
    part = HostsPart(registry, mirror, timeout, beside.certificates(folder))
    return Placed(os.path.join(folder, "hosts.toml"), part, own_folder=True)


@node_config.command(short_help="registry-mirrors of dockerd's daemon.json.")
@click.option("--file", metavar="FILE", default=_DAEMON_JSON, show_default=True)
@_mirror
@_action
def docker(file: str, mirror: str, action: str | None) -> None:
    """dockerd: registry-mirrors of daemon.json, which is for Docker Hub only.

    dockerd reads the list at 'systemctl reload docker' (SIGHUP); no container
    stops.
    """
    flags = os.path.join(
        os.path.dirname(os.path.dirname(os.path.abspath(file))), "sysconfig/docker"
    )
    if action == "write" and mirror_flags(beside.words(flags)):
        fail(
            f"{flags} has --registry-mirror, and dockerd does not start with {file} saying it too",
            "Add the mirror there; on kops that is spec.docker.registryMirrors.",
        )
    changed = _carry_out([Placed(file, MirrorsPart(mirror))], action, None)
    if changed:
        _note("Now: systemctl reload docker (or kill -HUP the dockerd). No container stops.")


def _containers(name: str, after: str) -> click.Command:
    @node_config.command(name, short_help=f"A drop-in of registries.conf, for {name}.")
    @click.option("--conf-dir", metavar="DIR", default=_CONF_DIR, show_default=True)
    @_registries
    @_mirror
    @_action
    def command(conf_dir: str, registries: Sequence[str], mirror: str, action: str | None) -> None:
        chosen = _chosen(registries, any_registry=False)
        others = {} if action == "remove" else beside.registries(conf_dir, chosen)
        part = DropInPart(chosen, mirror, others)
        changed = _carry_out([Placed(os.path.join(conf_dir, FILE_NAME), part)], action, "#")
        if changed:
            _note(after)

    command.help = f"{name}: {FILE_NAME} in registries.conf.d. {after}"
    return command


podman = _containers("podman", "podman reads it each time that it runs.")
crio = _containers("crio", "Now: systemctl reload crio (SIGHUP). No container stops.")


@node_config.command(short_help="The part of a kops cluster's spec.")
@click.option("--kops-version", type=VERSION, metavar="X.Y", default=_NEWEST_KOPS)
@click.option(
    "--runtime",
    type=click.Choice([way.value for way in kops_spec.Way]),
    default=kops_spec.Way.MIRRORS.value,
    show_default=True,
    help="hosts-dir: containerd, where the DaemonSet writes the files.",
)
@click.option("--certs-dir", metavar="DIR", default=_CERTS_DIR, show_default=True)
@_registries
@_any_registry
@_mirror
@_action
def kops(
    *,
    kops_version: Version,
    runtime: str,
    certs_dir: str,
    registries: Sequence[str],
    any_registry: bool,
    mirror: str,
    action: str | None,
) -> None:
    """kops: what to paste with 'kops edit cluster'. docs/kops.md has the whole way."""
    if action is not None:
        raise CommandError(
            "the spec of a kops cluster is not on this node",
            "Print it, paste it with 'kops edit cluster', then 'kops update cluster --yes'.",
            EXIT_UNUSABLE,
        )
    chosen = _chosen(registries, any_registry=any_registry)
    if runtime == kops_spec.Way.DOCKER.value and chosen != (DOCKER_HUB,):
        fail("dockerd's mirrors are for docker.io only", "Leave --registry out.", EXIT_UNUSABLE)
    way = kops_spec.Way(runtime)
    click.echo(kops_spec.spec(way, mirror, chosen, kops_version, certs_dir), nl=False)


def _carry_out(files: Sequence[Placed], action: str | None, comment: str | None) -> bool:
    """Print, write or remove; whether something changed. All is merged before any is written."""
    previews = [(one, one.preview()) for one in files] if action != "remove" else []
    if action is None:
        for one, text in previews:
            click.echo(f"{comment or '#'} {one.path}", err=comment is None)
            click.echo(text, nl=not text.endswith("\n"))
        return False
    outcomes = [one.write() if action == "write" else one.remove() for one in files]
    for outcome in outcomes:
        click.echo(_told(outcome))
    return any(one.done not in {Done.UNCHANGED, Done.NOT_OURS} for one in outcomes)


def _told(outcome: Outcome) -> str:
    kept = f" (what was there is kept as {outcome.kept})" if outcome.kept else ""
    return f"{outcome.path} {outcome.done.value}{kept}"


def _note(text: str) -> None:
    """To stderr; in a terminal no word is broken at its edge."""
    if sys.stderr.isatty():
        columns = shutil.get_terminal_size().columns
        text = textwrap.fill(text, columns, break_long_words=False, break_on_hyphens=False)
    click.echo(text, err=True)


__all__ = ["node_config"]
