"""A real docker-registry of the Debian package, as origin or as pull-through cache."""

from __future__ import annotations

import pathlib

import attrs

from tests.system.parts.processes import Child, free_port, listens, need

_ORIGIN = """\
version: 0.1
log: {{level: info, formatter: json, accesslog: {{disabled: false}}}}
storage:
  filesystem: {{rootdirectory: {storage}}}
  delete: {{enabled: true}}
http: {{addr: "{host}:{port}", relativeurls: true}}
middleware:
  storage: [{{name: redirect, options: {{baseurl: "{cdn}"}}}}]
auth:
  token:
    realm: {realm}
    service: {service}
    issuer: {issuer}
    rootcertbundle: {bundle}
"""

_PROXY = """\
version: 0.1
log: {{level: info}}
storage:
  filesystem: {{rootdirectory: {storage}}}
http: {{addr: "{host}:{port}"}}
proxy: {{remoteurl: {remote}}}
"""


@attrs.define
class DockerRegistry:
    """``docker-registry serve``; its files are in ``folder``."""

    folder: pathlib.Path
    text: str
    host: str
    port: int
    child: Child | None = None

    @property
    def storage(self) -> pathlib.Path:
        return self.folder / "storage"

    def start(self) -> None:
        need("docker-registry")
        self.storage.mkdir(parents=True, exist_ok=True)
        config = self.folder / "registry.yml"
        config.write_text(self.text)
        self.child = Child("registry", ["docker-registry", "serve", str(config)], self.folder)
        self.child.ready(lambda: listens(self.host, self.port))

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop()


def origin(
    folder: pathlib.Path, *, cdn: str, realm: str, service: str, issuer: str, bundle: pathlib.Path
) -> DockerRegistry:
    """With token authentication, and blobs redirected to ``cdn``, as Docker Hub does."""
    host, port = "127.0.0.1", free_port()
    text = _ORIGIN.format(
        storage=folder / "storage",
        host=host,
        port=port,
        cdn=cdn,
        realm=realm,
        service=service,
        issuer=issuer,
        bundle=bundle,
    )
    return DockerRegistry(folder, text, host, port)


def pull_through(folder: pathlib.Path, remote: str) -> DockerRegistry:
    """The usual pull-through cache: a second opinion on clients and harness."""
    host, port = "127.0.0.1", free_port()
    text = _PROXY.format(storage=folder / "storage", host=host, port=port, remote=remote)
    return DockerRegistry(folder, text, host, port)
