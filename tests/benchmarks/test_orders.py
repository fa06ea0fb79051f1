"""The order theory at its sizes, with networkx and rustworkx on the same job where they can do it.

Not part of the suite: ``pytest -m slow --dist no tests/benchmarks/test_orders.py``, with the extra
``bench`` (which measures nothing where tests are distributed).
Where the system tells it, the most memory that the process held is among each benchmark's extra facts.
"""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from causalsim.errors import CausalityError
from causalsim.events import Event, EventGraph, Wiring
from causalsim.foliations import (
    Foliation,
    Footprint,
    costs,
    earliest,
    layer_major,
    least_peak,
    peak_at_cuts,
    peak_during,
    random_linear_extension,
    token_major,
    wavefront,
)
from causalsim.foliations.sampling import sampler_for
from causalsim.models import known_config

pytestmark = pytest.mark.slow

LAYERS, LENGTH = 126, 131_072
SITES = 3 * LAYERS + 2
VALUES = {"embed": 32768, "kv": 4096, "attn": 32768, "mlp": 32768, "unembed": 256512, "sample": 4}
SIZES = Footprint(VALUES, {})


@pytest.fixture
def measure(request):
    """Time a call, and note the most memory that was held meanwhile."""
    pytest.importorskip("pytest_benchmark")

    def measured(call, *, rounds=3):
        benchmark = request.getfixturevalue("benchmark")
        _forget_peak()
        result = benchmark.pedantic(call, rounds=rounds)
        if (peak := _peak_gigabytes()) is not None:
            benchmark.extra_info["peak GB"] = peak
        return result

    return measured


def _forget_peak() -> None:
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")


def _peak_gigabytes() -> float | None:
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    found = [line.split()[1] for line in lines if line.startswith("VmHWM")]
    return round(int(found[0]) / 1e6, 2) if found else None


# -- 126 layers over 131,072 positions: 49,807,360 events -----------------------------------------


@pytest.fixture(scope="module")
def deployment() -> EventGraph:
    return EventGraph(Wiring(LAYERS), LENGTH)


@pytest.fixture(scope="module")
def times() -> np.ndarray:
    return np.tile(np.arange(SITES, dtype=np.int32), LENGTH)


def test_validating_the_deployment(measure, deployment, times):
    """At most 3 s and 3 GB."""
    assert measure(lambda: Foliation(deployment, times)).width == LENGTH


def test_naming_a_violation_at_its_far_end(measure, deployment, times):
    times = times.copy()
    times[-3] = 5

    def named():
        try:
            Foliation(deployment, times)
        except CausalityError as error:
            return str(error.edge)

    assert measure(named) == "mlp(124,131071) -> attn(125,131071) [residual]"


def test_earliest_slices_of_the_deployment(measure, deployment):
    assert measure(lambda: earliest(deployment), rounds=1).depth == SITES


@pytest.mark.parametrize(("peak", "expected"), [(peak_at_cuts, 4_831_838_208), (peak_during, 4_831_870_976)])
def test_peak_memory_of_the_deployment(measure, deployment, times, peak, expected):
    foliation = Foliation(deployment, times)
    assert measure(lambda: peak(foliation, SIZES)) == expected


@pytest.mark.parametrize("family", [layer_major, token_major, wavefront])
def test_planning_the_deployment(measure, family):
    """An order of a family and all its costs, as ``causalsim plan llama-3.1-405b --length 131072`` asks."""
    config = known_config("llama-3.1-405b")
    graph, footprint = EventGraph(config, LENGTH), config.footprint("bfloat16")
    found = measure(lambda: costs(family(graph), footprint), rounds=1)
    assert found.flops == costs(layer_major(EventGraph(config, 8)), footprint).flops + _more_flops(footprint)


def _more_flops(footprint):
    """Of positions 8 to the last: their weights, and all that their attentions see."""
    each = footprint.flops["unembed"] + LAYERS * sum(footprint.flops[kind] for kind in ("kv", "attn", "mlp"))
    seen = LENGTH * (LENGTH + 1) // 2 - 8 * 9 // 2
    return (LENGTH - 8) * each + LAYERS * seen * footprint.flops_per_read


# -- exact counts and uniform orders ----------------------------------------------------------------


def test_counting_orders_of_4_x_8_blocks(measure):
    """At most 5 s."""
    graph = EventGraph(Wiring(4), 8, granularity="block")
    assert measure(graph.count_linear_extensions) == 1_785_171_371_888_662_446_550


def test_a_hundred_uniform_orders_of_88_events(measure):
    """At most 1 s each, whatever is tabulated included."""
    graph = EventGraph(Wiring(3), 8)

    def draw():
        sampler_for.cache_clear()
        rng = np.random.default_rng(0)
        return {random_linear_extension(graph, rng) for _ in range(100)}

    assert len(measure(draw, rounds=1)) == 100


def test_the_least_peak_of_4_x_5_blocks(measure):
    graph = EventGraph(Wiring(4), 5, granularity="block")
    sizes = Footprint({"embed": 3, "block": 3, "kv": 2}, {})
    assert measure(lambda: least_peak(graph, sizes)[0], rounds=1) == 28


# -- beside networkx and rustworkx, at sizes that they hold ----------------------------------------


SMALL = EventGraph(Wiring(8), 64)
LAST = Event("unembed", 8, 63)


def _rustworkx_graph():
    rustworkx = pytest.importorskip("rustworkx")
    graph = rustworkx.PyDiGraph()
    graph.add_nodes_from(range(len(SMALL)))
    graph.add_edges_from_no_data([(j, i) for i, below in enumerate(SMALL.explicit()) for j in below])
    return rustworkx, graph


def test_validating_8_layers_over_64_positions(measure):
    times = np.tile(np.arange(26), 64)
    assert measure(lambda: Foliation(SMALL, times)).depth == 26


def test_validating_8_layers_over_64_positions_by_networkx(measure):
    view = SMALL.to_networkx()
    times = {event: index % 26 for index, event in enumerate(SMALL)}
    assert measure(lambda: all(times[a] < times[b] for a, b in view.edges()))


def test_the_past_of_an_event(measure):
    assert measure(lambda: len(SMALL.past(LAST))) == 64 + 7 * 3 * 64 + 64 + 2


def test_the_past_of_an_event_by_networkx(measure):
    view = SMALL.to_networkx()
    assert measure(lambda: len(nx.ancestors(view, LAST))) == len(SMALL.past(LAST))


def test_the_past_of_an_event_by_rustworkx(measure):
    rustworkx, view = _rustworkx_graph()
    last = SMALL.index(LAST)
    assert measure(lambda: len(rustworkx.ancestors(view, last))) == len(SMALL.past(LAST))


def test_counting_orders_of_3_x_3_blocks_by_networkx(measure):
    """One by one: 684. The count of 4 x 8 blocks above is out of its reach."""
    view = nx.DiGraph(EventGraph(Wiring(3), 3, granularity="block").to_networkx())
    assert measure(lambda: sum(1 for _ in nx.all_topological_sorts(view))) == 684


def test_longest_chain(measure):
    assert measure(lambda: SMALL.depth) == 26


def test_longest_chain_by_networkx(measure):
    view = nx.DiGraph(SMALL.to_networkx())
    assert measure(lambda: len(nx.dag_longest_path(view))) == 26


def test_longest_chain_by_rustworkx(measure):
    rustworkx, view = _rustworkx_graph()
    assert measure(lambda: len(rustworkx.dag_longest_path(view))) == 26
