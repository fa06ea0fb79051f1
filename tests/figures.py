"""Writes the measured figures into the README and draws its pictures: ``python -m tests.figures``.

Runs the long campaigns (200 random orders beside the named ones, every event compared in its
bits) on the trained model and on one of width 768, and replaces what stands between the markers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from time import perf_counter

import numpy as np

import causalsim as cs
from tests import markers
from tests.models_for_tests import SENTENCE, glass, wide

ORDERS = 200


def campaigns() -> Iterator[tuple[str, cs.Model, object, dict[str, int]]]:
    """Name, model, tokens and options of each campaign."""
    ids = np.arange(20) * 7 % wide().config.vocab_size
    yield "glass, reading 21 tokens", glass(), SENTENCE, {}
    yield "glass, 15 of 21 tokens fed back", glass(), SENTENCE, {"prompt": 6}
    yield "random, width 768, 20 tokens", wide(), ids, {}


def row(name: str, model: cs.Model, tokens: object, options: dict[str, int]) -> str:
    """One line of the table; a campaign that fails leaves the README as it was."""
    start = perf_counter()
    report = cs.verify(model, tokens, orders=ORDERS, **options)
    if not report.holds:
        raise SystemExit(report.to_json())
    seconds = perf_counter() - start
    found = re.match(r"(\d+) orders .* of ([\d,]+) events", report.order_independence.coverage)
    assert found is not None
    caught = sum(len(verdict.controls) for verdict in report.verdicts)
    return f"| {name} | {found[1]} | {found[2]} | 1 | {caught} of {caught} | {seconds:.0f} s |"


def table() -> str:
    """The table with the machine and versions that it was measured on."""
    lines = [
        "| model and text | orders | events, all compared | sets of bits | planted faults caught | time |",
        "|---|---|---|---|---|---|",
        *(row(*campaign) for campaign in campaigns()),
    ]
    return "\n".join([*lines, "", f"Measured with {markers.measured_with()}; seed 0.", ""])


def draw() -> None:
    """The three foliations at the head of the README."""
    graph = cs.EventGraph(cs.Wiring(2), 4)
    pictures = {
        "layer_major": (cs.layer_major(graph), "prefill: layer by layer"),
        "wavefront": (cs.wavefront(graph), "wavefront: diagonals"),
        "random": (cs.random_foliation(graph, 4), "random, and as good"),
    }
    for name, (foliation, title) in pictures.items():
        cs.render(cs.to_graphviz(foliation, title=title), markers.README.parent / ".readme" / f"{name}.svg")


if __name__ == "__main__":
    draw()
    measured = table()
    markers.write("figures", measured)
    print(measured)
