"""Writes measured ratios of time among the results: ``python -m tests.benchmarks.speed [repetitions]``.

The README gets the rows that set causalsim beside others.

Both sides of a row run in this process by turns, after they were seen to compute the same
logits. Needs ``causalsim models fetch smollm2``; the rows beside transformers need the extra
``oracle``. A busy machine shows in medians far from the minima.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from time import perf_counter

import numpy as np

import causalsim as cs
from causalsim.engine import run_orders
from causalsim.foliations import random_orders
from tests import markers
from tests.benchmarks.sides import Pair, Side, Sides, Sizes, pairs

LEAST = 5
OTHERS = ("plain JAX", "transformers")
HEAD = "| what | this | beside that | least, s | median, s | ratio of least | median ratio |"


@dataclass(frozen=True)
class Times:
    """Seconds of each turn: what was measured, and what stood beside it."""

    measured: np.ndarray
    beside: np.ndarray

    def cells(self) -> list[str]:
        """Least and median of both sides, the ratio of the least, the median of the turns' ratios."""
        both = self.measured, self.beside
        seconds = [" / ".join(f"{of(side):.3f}" for side in both) for of in (np.min, np.median)]
        ratios = self.measured.min() / self.beside.min(), np.median(self.measured / self.beside)
        return [*seconds, *(f"{ratio:.2f}" for ratio in ratios)]


def timed(side: Side) -> float:
    """Seconds of one run; what it consumes is made before."""
    given = side.fresh()
    start = perf_counter()
    side.run(given)
    return perf_counter() - start


def measure(pair: Pair, repetitions: int) -> Times:
    """Both sides by turns, after a check that also compiles what they need."""
    pair.check()
    turns = [(timed(pair.measured), timed(pair.beside)) for _ in range(repetitions)]
    return Times(*np.array(turns).T)


def row(pair: Pair, repetitions: int) -> str:
    """One line of the table."""
    cells = [pair.title, pair.measured.name, pair.beside.name, *measure(pair, repetitions).cells()]
    return f"| {' | '.join(cells)} |"


def all_pairs(sides: Sides) -> Iterator[Pair]:
    """Every row that this Python can measure."""
    yield from pairs(sides)
    if has_transformers():
        from tests.benchmarks import transformers_sides

        yield from transformers_sides.pairs(sides, threads())


def has_transformers() -> bool:
    return all(find_spec(name) for name in ("torch", "transformers"))


def threads() -> int:
    """As many as this process may use; XLA takes so many by itself, torch is told to."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def orders_a_second(repetitions: int, count: int = 1024) -> str:
    """Count the random orders of a small model that are drawn, run and compared in a second."""
    sizes = {"n_layers": 4, "n_heads": 4, "d_model": 64, "d_ff": 170, "vocab_size": 64, "max_length": 64}
    model, ids = cs.random_model(cs.ModelConfig(**sizes)), list(range(16))
    graph, expected = cs.EventGraph(model.config, len(ids)), {cs.run(model, ids).digest}
    seconds = []
    for seed in range(repetitions + 1):
        start = perf_counter()
        found = set(run_orders(model, ids, random_orders(graph, seed, count)).digests)
        seconds.append(perf_counter() - start)
        if found != expected:
            raise ValueError(f"random orders gave {len(found)} digests: got {found}, expected {expected}")
    most, median = count / min(seconds[1:]), count / float(np.median(seconds[1:]))
    return (
        f"A small model (4 layers, width 64, 16 positions, {len(graph)} events): {most:,.0f} random orders "
        f"a second at most, {median:,.0f} in the median, each drawn, run on memory of its own and compared "
        "with `cs.run` by the digest of its logits."
    )


def table(sides: Sides, repetitions: int) -> str:
    """The table, with what it was measured on; each row is shown as soon as it is known."""
    lines = [HEAD, "|---" * (HEAD.count("|") - 1) + "|"]
    for pair in all_pairs(sides):
        lines.append(row(pair, repetitions))
        print(lines[-1], flush=True)
    if not has_transformers():
        lines.append(f"| beside transformers | not measured here{' |' * (HEAD.count('|') - 2)}")
        print("beside transformers: not measured here; pip install '.[oracle]' adds it")
    facts = f"{markers.measured_with()}, {threads()} threads on both sides, {repetitions} turns"
    return "\n".join([*lines, "", orders_a_second(repetitions), "", f"Measured with {facts}{_torch()}.", ""])


def beside_others(whole: str) -> str:
    """Of a table, its head and the rows of causalsim beside plain JAX and transformers."""
    head, lines, *rows = (line for line in whole.splitlines() if line.startswith("|"))
    cells = {row: [cell.strip() for cell in row.split("|")] for row in rows}
    chosen = [row for row in rows if cells[row][3] in OTHERS and cells[row][2] not in OTHERS]
    return "\n".join([head, lines, *chosen, ""])


def _torch() -> str:
    if not has_transformers():
        return ""
    import torch
    import transformers

    return f"; torch {torch.__version__}, transformers {transformers.__version__}"


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else LEAST
    if count < LEAST:
        raise SystemExit(f"a row has at least {LEAST} repetitions: got {count}")
    whole = table(Sides(cs.load("smollm2"), Sizes()), count)
    markers.write("speed", whole)
    markers.write("beside others", beside_others(whole))
