"""One target of ``fuzz`` under atheris, which says at its end how many runs there were.

python -m tests.trust.coverage --target paths --seconds 20
"""

from __future__ import annotations

import argparse
import importlib
import pathlib
import sys
import tempfile
from typing import Any


def main() -> None:
    atheris: Any = importlib.import_module("atheris")  # an optional part of ``make trust``
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with atheris.instrument_imports(include=["nodecache"]):
        fuzz = importlib.import_module("tests.trust.fuzz")
    [target] = [each for each in fuzz.TARGETS if each.name == asked.target]
    with tempfile.TemporaryDirectory(prefix="fuzz-") as corpus:
        for number, seed in enumerate(target.seeds):
            target.check(seed)
            (pathlib.Path(corpus) / f"{number}").write_bytes(seed)
        argv = [sys.argv[0], corpus, f"-max_total_time={asked.seconds}", f"-seed={asked.seed}"]
        argv += ["-max_len=4096", "-rss_limit_mb=1024", "-timeout=20", "-print_final_stats=1"]
        argv += [f"-artifact_prefix={corpus}/"]
        atheris.Setup(argv, target.check)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
