"""What a kubelet asks of containerd: the one CRI call that pulls, spoken by curl.

The message is a protobuf of one nested string, so that neither a gRPC library
nor a kubelet is needed: ``PullImageRequest { ImageSpec { string image } }``.
"""

from __future__ import annotations

import struct
import subprocess

from tests.system.parts.processes import CommandFailed, need

_METHOD = "http://localhost/runtime.v1.ImageService/PullImage"


def pull_image(socket: str, reference: str) -> None:
    """Pull over the CRI socket; CommandFailed with the words of the runtime."""
    need("curl")
    argv = [
        *("curl", "--silent", "--show-error", "--dump-header", "-", "--output", "-"),
        *("--http2-prior-knowledge", "--unix-socket", socket),
        *("--header", "content-type: application/grpc", "--header", "te: trailers"),
        *("--data-binary", "@-", _METHOD),
    ]
    message = _field(_field(reference.encode()))
    frame = b"\0" + struct.pack(">I", len(message)) + message
    done = subprocess.run(argv, input=frame, capture_output=True, timeout=120, check=False)
    if done.returncode != 0 or b"grpc-status: 0" not in done.stdout:
        words = (
            done.stdout.decode(errors="replace"),
            done.stderr.decode(errors="replace"),
        )
        shown = ["PullImage", reference]
        raise CommandFailed(shown, subprocess.CompletedProcess(shown, done.returncode or 1, *words))


def _field(value: bytes) -> bytes:
    """Field 1 of a message, of the kind that has a length (under 128 here)."""
    return bytes([1 << 3 | 2, len(value)]) + value
