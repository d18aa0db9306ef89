"""Clusters of 10 to 5,000 nodes that fetch one blob, simulated with the real core modules.

What decides is the project's own: the rendezvous ranking, the choice of the
next segment, the search among peers, and the admission of askers. What is
simulated are links, processors, upstream, and the nodes' knowledge of each
other. docs/simulation.md says how, and what came out.

    python -m bench.simulate [--nodes 10,50,100,500,1000,5000] [--seed 1] [--quick]
        [--scene mixed|told|calm|warm|slow] [--begin 0,1] [--plot FILE.svg]

Each scene is run twice: all nodes begin at the same moment, and spread over a
second. The same seed gives the same figures. 5,000 nodes take some minutes.
"""

from __future__ import annotations

import argparse
import pathlib
import time

import attrs

from bench.simulation.plot import svg
from bench.simulation.run import Figures, run
from bench.simulation.tags import Wave, wave
from bench.simulation.views import ANSWER, spread
from bench.simulation.world import Setting

SIZES = "10,50,100,500,1000,5000"
_CALM = attrs.evolve(Setting(1), slow=0.0, dying=0.0, joining=0.0)
#: By name; the number of nodes and the seed are put in.
SCENES = {
    "mixed": Setting(1),
    "told": attrs.evolve(Setting(1), told=True),
    "calm": _CALM,
    "warm": attrs.evolve(_CALM, warm=True),
    "slow": attrs.evolve(_CALM, link=12.5e6, upstream=25e6, connection=12.5e6, request=0.001),
}
HEAD = (
    f"{'nodes':>6} {'whole':>11} {'questions':>9} {'copies':>7} {'busiest':>7} "
    f"{'last':>8} {'by bound':>8} {'fast':>6} {'asked most':>10} {'took':>7}"
)


def setting(nodes: int, seed: int, scene: str, begin: float = 0.0) -> Setting:
    return attrs.evolve(SCENES[scene], nodes=nodes, seed=seed, begin=begin)


def row(figures: Figures, took: float) -> str:
    whole = f"{figures.whole}/{figures.living}"
    return (
        f"{figures.nodes:>6} {whole:>11} {figures.requests:>9.2f} {figures.copies:>7.3f} "
        f"{figures.busiest:>7.2f} {figures.last:>6.2f} s {figures.over:>8.2f} "
        f"{figures.fast:>6.2f} {figures.asked:>10} {took:>5.0f} s"
    )


def simulate(sizes: list[int], seed: int, scene: str, begin: float = 0.0) -> list[Figures]:
    when = f"within {begin:g} s" if begin else "at once"
    print(f"\nscene {scene}, all begin {when}, seed {seed}\n{HEAD}")
    runs = []
    for nodes in sizes:
        began = time.perf_counter()
        runs.append(run(setting(nodes, seed, scene, begin)))
        print(row(runs[-1], time.perf_counter() - began), flush=True)
    return runs


def print_tags(sizes: list[int]) -> None:
    """What a tag and its manifest cost upstream, and the node that is asked most."""
    print("\na tag and its manifest, all begin at once, upstream answers after 0.2 s and 1 s")
    print(
        f"{'nodes':>6} {'upstream':>8} {'heads':>6} {'gets':>5} {'questions':>9} "
        f"{'asked most':>10} {'at once':>8} {'last':>8}"
    )
    for nodes in sizes:
        for seconds in (0.2, 1.0):
            each = wave(Wave(nodes, upstream=seconds))
            print(
                f"{each.nodes:>6} {seconds:>6} s {each.heads:>6} {each.gets:>5} "
                f"{each.questions:>9.2f} {each.asked:>10} {each.at_once:>8} {each.last:>6.2f} s"
            )


def print_views(nodes: int, seed: int) -> None:
    """What nodes know of each other where one answer of DNS does not hold them all."""
    answer = ANSWER if nodes > ANSWER else nodes * 4 // 5
    print(f"\n{nodes} nodes, {answer} addresses in an answer of DNS")
    print(f"{'answer':>9} {'greetings':>9} {'known':>7} {'least':>7} {'owners':>7} {'agree':>7}")
    for shuffled in (False, True):
        for each in spread(nodes, seed, answer, shuffled=shuffled):
            print(
                f"{'shuffled' if shuffled else 'same':>9} {each.greetings:>9} {each.mean:>7.1%} "
                f"{each.least:>7.1%} {each.owners:>7.2f} {each.agree:>7.1%}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--nodes", default=SIZES, help="numbers of nodes, with commas")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scene", choices=SCENES, default="mixed")
    parser.add_argument("--begin", default="0,1", help="seconds within which all begin")
    parser.add_argument("--quick", action="store_true", help="100 nodes only")
    parser.add_argument("--plot", type=pathlib.Path, help="write the figures there, as SVG")
    options = parser.parse_args()
    sizes = [100] if options.quick else [int(size) for size in options.nodes.split(",")]
    runs = [
        simulate(sizes, options.seed, options.scene, float(begin))
        for begin in options.begin.split(",")
    ]
    if options.plot:
        options.plot.write_text(svg(runs[0]), encoding="utf-8")
    print_tags(sizes)
    print_views(sizes[-1], options.seed)


if __name__ == "__main__":
    main()
