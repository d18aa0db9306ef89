"""The central cache as kubectl renders it: Deployment, volume, and an Ingress with TLS before it.

nginx is the ingress controller, made from the Ingress of the manifest.
"""

from __future__ import annotations

import pathlib
import subprocess
from collections.abc import Iterator

import attrs
import pytest

from tests.system.kube.docker import Docker
from tests.system.kube.image import USER
from tests.system.kube.land import Land, land, running
from tests.system.kube.manifests import Document, render
from tests.system.kube.pod import Machine, Pod
from tests.system.parts.certificates import server
from tests.system.parts.hub import REGISTRY
from tests.system.parts.images import image, layer, noise
from tests.system.parts.processes import Child, listens, need
from tests.system.parts.runtimes import Dockerd
from tests.system.parts.userlands import System

#: What ingress-nginx makes of the annotations and rules, in short.
_CONTROLLER = """\
daemon off;
user root;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 443 ssl;
        server_name {host};
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        location {path} {{
            proxy_pass http://{backend};
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_buffering {buffering};
            proxy_read_timeout {read_timeout}s;
            proxy_send_timeout {send_timeout}s;
        }}
    }}
}}
"""


@attrs.frozen
class Central:
    land: Land
    machine: Machine
    pod: Pod
    host: str
    address: str  # of the ingress controller


def controller(place: Land, machine: Machine, ingress: Document, pod: Pod) -> Child:
    """nginx as the Ingress has it, on the machine's own address."""
    need("nginx")
    (rule,) = ingress["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    told = {
        name.rpartition("/proxy-")[2].replace("-", "_"): value
        for name, value in ingress["metadata"]["annotations"].items()
    }
    folder = machine.folder / "ingress"
    pair = server(folder, place.upstream.hub.ca, [rule["host"]])
    text = _CONTROLLER.format(
        folder=folder,
        host=rule["host"],
        path=path["path"],
        certificate=pair.certificate_file,
        key=pair.key_file,
        backend=f"{pod.addresses[0]}:5000",
        **told,
    )
    (folder / "nginx.conf").write_text(text)
    words = ["nginx", "-c", f"{folder}/nginx.conf", "-e", f"{folder}/error.log"]
    return Child("ingress", machine.station.namespace.argv(words), folder)


@pytest.fixture(scope="module")
def central(the_image: Docker, world: pathlib.Path) -> Iterator[Central]:
    manifests = render("overlays/central")
    with land(world / "ce", the_image, manifests) as place:
        machine = place.machine("node-1")
        pod = place.pod("pod-1", machine)
        ingress = manifests.one("Ingress")
        with running(pod), controller(place, machine, ingress, pod) as child:
            address = machine.station.address
            with machine.station.namespace.entered():
                child.ready(lambda: listens(address, 443))
            (host,) = ingress["spec"]["tls"][0]["hosts"]
            # For the runtimes, whose way out is the proxy of the tests.
            place.upstream.hub.egress.routes[host, 443] = (address, 443)
            yield Central(place, machine, pod, host, address)


def test_curl_gets_200_of_the_v2_endpoint(central: Central) -> None:
    """As docs/kubernetes.md says it."""
    done = subprocess.run(
        central.machine.station.namespace.argv(
            [
                *("curl", "-sS", "-I", "--noproxy", "*"),
                *("--cacert", str(central.land.upstream.hub.ca.certificate_file)),
                *("--resolve", f"{central.host}:443:{central.address}"),
                f"https://{central.host}/v2/",
            ]
        ),
        capture_output=True,
        text=True,
        check=True,
    )
    status, *headers = done.stdout.lower().splitlines()
    assert status.split()[1] == "200"
    assert "docker-distribution-api-version: registry/2.0" in headers


def test_a_real_dockerd_pulls_through_https_and_not_from_docker_hub(central: Central) -> None:
    """With ``https://HOST`` in registry-mirrors; the second time from the volume."""
    place = central.land
    layers = [layer({f"file-{number}": noise(2_000_000, number)}) for number in range(2)]
    of = place.upstream.push("library/central", "latest", image(layers))
    setup = place.setup(central.machine, "d", System(), f"https://{central.host}")
    dockerd = Dockerd(setup)
    dockerd.start()
    try:
        dockerd.pull(of)
        dockerd.check(of)
        dockerd.remove(of)
        with place.upstream.down():
            dockerd.pull(of)
            dockerd.check(of)
    finally:
        dockerd.stop()
    assert (central.host, 443) in place.upstream.hub.egress.connects
    assert (REGISTRY, 443) not in place.upstream.hub.egress.connects


def test_the_volume_is_written_by_the_user_of_the_image(central: Central) -> None:
    (lock,) = central.machine.folder.rglob("data/lock")
    assert lock.stat().st_uid == USER
