"""Writes what certificates cost among the results: ``python -m tests.benchmarks.certificates``.

A certificate and the ``token_major`` run of the same text take turns, after one of each that
compiles what they need. Needs ``causalsim models fetch smollm2``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import median
from time import perf_counter

import numpy as np

import causalsim as cs
from causalsim.calibration import measured
from causalsim.verification import certify
from tests import markers
from tests.models_for_tests import SENTENCE, glass, wide

TURNS = 5
HEAD = (
    "| model and text | events | event runs | places and garbage | certificate | token_major "
    "| ratio of least | of medians |"
)


def targets() -> Iterator[tuple[str, cs.Model, object, bool]]:
    """Name, model, tokens, and whether every place and all garbage is tried."""
    yield "glass, 21 tokens", glass(), SENTENCE, True
    yield "random, width 768, 20 tokens", wide(), np.arange(20) * 7 % wide().config.vocab_size, True
    model = cs.load("smollm2")
    yield "SmolLM2-135M, 32 tokens", model, np.arange(32) * 37 % model.config.vocab_size, False


def seconds(work: Callable[[], object]) -> float:
    """Seconds that it takes, once."""
    start = perf_counter()
    work()
    return perf_counter() - start


def in_turn(*works: Callable[[], object]) -> list[list[float]]:
    """The times of each, one after the other again and again: the machine is not always as fast."""
    for work in works:
        work()
    turns = [[seconds(work) for work in works] for _ in range(TURNS)]
    return [list(times) for times in zip(*turns, strict=True)]


def row(name: str, model: cs.Model, tokens: object, thorough: bool) -> str:
    """One line of the table; a certificate that fails leaves what was there."""
    found = certify(model, tokens, thorough=thorough)
    if not found.holds:
        raise SystemExit(found.to_json())
    order = cs.token_major(cs.run(model, tokens).graph)
    took, alone = in_turn(
        lambda: certify(model, tokens, thorough=thorough), lambda: cs.run(model, tokens, order)
    )
    how = "all" if thorough else "in rotation"
    cells = (
        f"{found.coverage.events:,}",
        f"{found.coverage.event_runs:,}",
        how,
        f"{min(took):.1f} s",
        f"{min(alone):.3f} s",
        f"{min(took) / min(alone):.1f}",
        f"{median(took) / median(alone):.1f}",
    )
    return f"| {name} | {' | '.join(cells)} |"


def table() -> str:
    """The table, what it was measured on, and what calibration takes beside it."""
    lines = [HEAD, "|---" * (HEAD.count("|") - 1) + "|"]
    for target in targets():
        lines.append(row(*target))
        print(lines[-1], flush=True)
    start = perf_counter()
    holds = measured(cs.load("smollm2")).holds
    beside = (
        f"{TURNS} turns. Calibrating SmolLM2-135M took {perf_counter() - start:.0f} s, compilation included"
    )
    found = "and every batch size kept its bits" if holds else "and dropped batch sizes"
    return "\n".join([*lines, "", f"{beside}, {found}. Measured with {markers.measured_with()}.", ""])


if __name__ == "__main__":
    markers.write("certificates", table())
