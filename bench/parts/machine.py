"""What the machine is, in words."""

from __future__ import annotations

import os
import pathlib
import platform


def machine(folder: pathlib.Path) -> dict[str, str]:
    """``folder`` is one of this run, in the folder where everything is made."""
    info = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in info if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.machine(),
        "cores": str(os.cpu_count()),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "folder": str(folder.parent),
    }
