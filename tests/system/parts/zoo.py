"""Every kind of image that the tests pull, made anew from a seed."""

from __future__ import annotations

from collections.abc import Callable

from tests.system.parts.images import (
    SCHEMA2,
    SCHEMA2_LIST,
    Layer,
    Manifest,
    artifact,
    empty_layer,
    huge_layer,
    image,
    index,
    layer,
    noise,
)

GIB = 1 << 30


def _layers(seed: object, compression: str = "gzip", count: int = 3) -> list[Layer]:
    return [
        layer({f"srv/file-{number}": noise(30_000, (seed, number))}, compression)
        for number in range(count)
    ]


def schema2(seed: object) -> Manifest:
    """The Docker form, one platform, as older tools push it."""
    return image(_layers(seed), media_type=SCHEMA2)


def oci_index(seed: object) -> Manifest:
    """Several platforms with an attestation for each, as buildkit pushes it."""
    arm = image(_layers((seed, "arm")), architecture="arm64")
    return index({"amd64": image(_layers(seed)), "arm64": arm}, attested=True)


def manifest_list(seed: object) -> Manifest:
    """Several platforms in the Docker form."""
    arm = image(_layers((seed, "arm")), architecture="arm64", media_type=SCHEMA2)
    mine = image(_layers(seed), media_type=SCHEMA2)
    return index({"arm64": arm, "amd64": mine}, media_type=SCHEMA2_LIST)


def zstd(seed: object) -> Manifest:
    return image(_layers(seed, "zstd"))


def uncompressed(seed: object) -> Manifest:
    return image(_layers(seed, "none"))


def empty_layers(seed: object) -> Manifest:
    """Instructions that changed nothing: one empty tar, twice, between others."""
    first, last = _layers(seed, count=2)
    return image([first, empty_layer(), empty_layer(), last], media_type=SCHEMA2)


def sixty_layers(seed: object) -> Manifest:
    return image([layer({f"etc/{n}": noise(2_000, (seed, n))}) for n in range(60)])


def unknown_types(seed: object) -> Manifest:
    """An artifact of media types that nobody registered, with no empty blob."""
    return artifact(
        "application/vnd.example.model.v7",
        [
            ("application/vnd.example.weights", noise(50_000, seed)),
            ("text/x-example; charset=utf-8", f"notes of {seed}".encode()),
        ],
    )


def empty_blob(seed: object) -> Manifest:
    """An artifact one of whose blobs has no bytes at all."""
    return artifact(
        "application/vnd.example.marker",
        [("text/plain", b""), ("text/plain", f"beside {seed}".encode())],
    )


def two_gib(seed: object) -> Manifest:
    """One layer of 2 GiB and a small one."""
    return image([huge_layer(2 * GIB, seed), *_layers(seed, count=1)])


def quarter_gib(seed: object) -> Manifest:
    """One layer of 256 MiB, which is 32 segments."""
    return image([huge_layer(GIB // 4, seed)])


Kind = Callable[[object], Manifest]

#: What any runtime can run.
RUNNABLE: tuple[Kind, ...] = (schema2, oci_index, manifest_list, uncompressed, empty_layers)
