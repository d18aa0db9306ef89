"""Which node a command speaks to: options, variables and settings, in this order.

The defaults are those of ``nodecache serve`` with the same environment, so that
within the node's own container no option is needed.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import attrs
import click

from nodecache.cli.client import Admin, Control
from nodecache.cli.problems import CommandError
from nodecache.cli.serve import read_settings
from nodecache.config import parse_listen
from nodecache.failures import EXIT_UNUSABLE, ConfigError

F = TypeVar("F", bound=Callable[..., Any])

#: The socket of a node in its data folder.
SOCKET: Final = "control.sock"
#: Where a node listens on all addresses, it is asked on this one.
_ANYWHERE: Final = frozenset({"", "0.0.0.0", "::"})


@attrs.frozen
class Target:
    """``admin_url`` is where it is read, ``data_dir`` holds the socket where it is steered."""

    admin_url: str
    data_dir: str

    @property
    def admin(self) -> Admin:
        """Reads."""
        return Admin(self.admin_url)

    @property
    def control(self) -> Control:
        """Changes what is there."""
        return Control(os.path.join(self.data_dir, SOCKET))


def target_of(
    admin: str | None, data_dir: str | None, config: str | None, environ: Mapping[str, str]
) -> Target:
    """Raises CommandError where a setting is wrong."""
    try:
        settings = read_settings({"data_dir": data_dir, "config": config}, environ).settings
    except ConfigError as error:
        raise CommandError(str(error), code=EXIT_UNUSABLE) from None
    url = admin or environ.get("NODECACHE_ADMIN_URL") or _url_of(settings.admin_listen)
    return Target(url.rstrip("/"), settings.data_dir)


def _url_of(listen: str) -> str:
    address = parse_listen(listen)
    host = "localhost" if address.host in _ANYWHERE else address.host
    return f"http://[{host}]:{address.port}" if ":" in host else f"http://{host}:{address.port}"


def node_options(command: F) -> F:
    """Adds ``--admin``, ``--data-dir`` and ``--config``; the command gets ``target``."""

    @click.option("--admin", metavar="URL", help="Its admin port.  [NODECACHE_ADMIN_URL]")
    @click.option("--data-dir", metavar="DIR", help="Its data folder.  [NODECACHE_DATA_DIR]")
    @click.option("--config", metavar="FILE", help="Its settings file.  [NODECACHE_CONFIG]")
    @functools.wraps(command)
    def with_target(
        *args: Any, admin: str | None, data_dir: str | None, config: str | None, **kwargs: Any
    ) -> Any:
        target = target_of(admin, data_dir, config, dict(os.environ))
        return command(*args, target=target, **kwargs)

    return with_target  # type: ignore[return-value]  # click's decorators keep the type
