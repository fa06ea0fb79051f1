"""Writes the measured figures of verification and draws the README's pictures: ``python -m tests.figures``.

Runs the long campaigns (200 random orders beside the named ones, every event compared in its
bits) on the trained model and on one of width 768, and replaces what stands between the markers.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

import numpy as np

import causalsim as cs
from causalsim.rendering import route_edges
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
    """One line of the table; a campaign that fails leaves what was there."""
    start = perf_counter()
    report = cs.verify(model, tokens, orders=ORDERS, **options)
    if not report.holds:
        raise SystemExit(report.to_json())
    seconds = perf_counter() - start
    found = report.order_independence.coverage
    caught = sum(len(verdict.controls) for verdict in report.verdicts)
    return f"| {name} | {found.orders:,} | {found.events:,} | 1 | {caught} of {caught} | {seconds:.0f} s |"


def table() -> str:
    """The table with the machine and versions that it was measured on."""
    lines = [
        "| model and text | orders | events, all compared | sets of bits | planted faults caught | time |",
        "|---|---|---|---|---|---|",
        *(row(*campaign) for campaign in campaigns()),
    ]
    return "\n".join([*lines, "", f"Measured with {markers.measured_with()}; seed 0.", ""])


def draw() -> None:
    """The three foliations at the head of the README, and the routes between two events."""
    graph = cs.EventGraph(cs.Wiring(2), 4)
    folder = markers.README.parent / ".readme"
    pictures = {
        "layer_major": (cs.layer_major(graph), "prefill: layer by layer"),
        "wavefront": (cs.wavefront(graph), "wavefront: diagonals"),
        "random": (cs.random_foliation(graph, 4), "random, and as good"),
    }
    for name, (foliation, title) in pictures.items():
        cs.render(cs.to_graphviz(foliation, title=title), folder / f"{name}.svg")
    small = cs.EventGraph(cs.Wiring(2), 3)
    ends = cs.Event("kv", 0, 0), cs.Event("attn", 1, 2)
    routes = [route_edges(small, *ends, rises) for rises in small.routes(*ends)]
    cs.render(cs.to_graphviz(small, highlight=routes), folder / "routes.svg")


if __name__ == "__main__":
    draw()
    measured = table()
    markers.write("figures", measured)
    print(measured)
