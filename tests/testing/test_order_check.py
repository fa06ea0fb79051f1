"""Engines that are not ours, in every order of a small graph; order dependence planted and found."""

from __future__ import annotations

import json

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import causalsim as cs
from causalsim.errors import InputError
from causalsim.testing import check_orders
from causalsim.testing.order_check import countable
from causalsim.testing.strategies import graphs
from causalsim.testing.suite import named_foliations

SMALL = cs.EventGraph(cs.Wiring(2), 3, granularity="block")
ORDERS = 57


def adder(graph, forgets=None):
    """An engine that adds up what events read, in the order of the graph; or in order of arrival at one."""

    def run(foliation):
        values, clock = {}, []
        for event in (event for events in foliation.slices() for event in events):
            sources = graph.predecessors(event)
            if event == forgets:
                sources = [event for event in clock if event in sources]
            values[event] = sum((values[source] for source in sources), np.float32(event.position + 1) / 3)
            clock.append(event)
        return values

    return run


def test_every_order_of_a_small_graph_is_tried():
    seen = []

    def engine(foliation):
        seen.append(foliation)
        return adder(SMALL)(foliation)

    check = check_orders(SMALL, engine)
    assert check.holds and check.extensions == ORDERS == SMALL.count_linear_extensions()
    assert {tuple(f.refine().times) for f in seen if f.width == 1} == {
        tuple(np.argsort([SMALL.index(event) for event in order])) for order in SMALL.linear_extensions()
    }
    # The first one twice, whatever else stands for itself once.
    assert len(seen) == check.orders + 1 == len(set(seen)) + 1
    assert f"{check.orders} orders of 6 events, all of its 57 linear extensions among them" in str(check)


def test_random_orders_of_a_graph_with_too_many():
    graph = cs.EventGraph(cs.Wiring(2), 5)
    seen = []
    check = check_orders(graph, lambda f: seen.append(f) or adder(graph)(f), orders=12, seed=4)
    assert check.holds and check.extensions is None
    assert check.orders == len({*seen}) == len({*named_foliations(graph).values()}) + 12
    assert "all of its" not in str(check)
    again = []
    check_orders(graph, lambda f: again.append(f) or adder(graph)(f), orders=12, seed=4)
    assert again == seen


@settings(max_examples=25)
@given(graphs(max_layers=2, max_length=3), st.integers(1, 40))
def test_as_many_as_are_asked_for_are_counted(graph, most):
    sources = nx.DiGraph()
    sources.add_nodes_from(graph)
    sources.add_edges_from((edge.source, edge.target) for edge in graph.edges())
    orders = sum(1 for order, _ in zip(nx.all_topological_sorts(sources), range(most + 1), strict=False))
    assert countable(graph, most) == (orders if orders <= most else None)


def test_values_that_follow_the_order_of_arrival_are_found_one_swap_apart():
    graph = cs.EventGraph(cs.Wiring(1), 3)
    wrong = cs.Event("attn", 0, 2)
    check = check_orders(graph, adder(graph, forgets=wrong), orders=60)
    assert not check.holds and check.extensions is None
    one, other = check.divergence.orders
    assert np.abs(one.times - other.times).sum() == 2
    differing = {graph[int(n)] for n in np.flatnonzero(one.times != other.times)}
    assert differing <= {*graph.predecessors(wrong)}
    # attn(0,2) is the causally first of those that diverge; mlp and unembed after it diverge, too.
    assert check.divergence.where.startswith("first at element [] of attn(0,2): ")
    assert "an adjacent swap away" in str(check) and f"cs.Foliation(graph, {one.times.tolist()})" in str(
        check
    )
    values = [adder(graph, forgets=wrong)(order)[wrong] for order in (one, other)]
    assert values[0] != values[1]


def test_a_fault_of_wide_slices_alone_is_told_as_it_is():
    check = check_orders(SMALL, lambda foliation: foliation.width)
    assert not check.holds and check.divergence.expected_in == "layer_major"
    assert check.divergence.orders[0].width != check.divergence.orders[1].width


def test_an_engine_that_changes_from_run_to_run():
    calls = iter(range(99))
    check = check_orders(SMALL, lambda foliation: next(calls))
    assert check.orders == 1 and check.divergence.found_in == "layer_major, run again,"
    assert "of the result: 1 for 0" in str(check)


def test_orders_far_apart_are_told_as_they_are(monkeypatch):
    monkeypatch.setattr("causalsim.testing.order_check.MOST_SWAPS", 0)
    check = check_orders(SMALL, lambda foliation: foliation.times.tobytes(), exhaustive=0, orders=1)
    assert check.divergence.found_in in ("token_major", "chunked(4)", "wavefront", "latest")
    assert check.divergence.where.startswith("the result is b'")


RESULTS = [
    (lambda late: ("a", "b" if late else "a"), "part 1 of the result is 'b' and not 'a'"),
    (
        lambda late: {"x": [np.zeros(2), np.arange(2) * late]},
        "first at element [1] of part 1 of x: 1 for 0, 1",
    ),
    (lambda late: np.zeros(2 + late), "the result is float64 of shape (3,) and not float64 of shape (2,)"),
    (lambda late: np.zeros(2, "f4" if late else "f8"), "is float32 of shape (2,) and not float64"),
    (lambda late: {"x": 1, "y": 2} if late else {"x": 1}, "y has a value in one of them only"),
    (
        lambda late: np.float32(-0.0 if late else 0.0),
        "first at element [] of the result: -0.0 for 0.0, 0 ULP",
    ),
    (lambda late: {SMALL[3]: 1 + late, SMALL[1]: 1 + late}, f"first at element [] of {SMALL[1]}: 2 for 1"),
]


@pytest.mark.parametrize(("result", "words"), RESULTS, ids=[words[:30] for _, words in RESULTS])
def test_what_differs_is_named(result, words):
    check = check_orders(SMALL, lambda foliation: result(foliation.width == 1))
    assert not check.holds and words in str(check)
    assert json.dumps(str(check))


def test_equal_results_of_every_kind_hold():
    def engine(_):
        return {"array": np.array([np.nan, -0.0]), "digest": "ab", "tuple": (1, 2.5, [True]), "bytes": b"x"}

    assert check_orders(SMALL, engine).holds


def test_what_an_engine_raises_tells_the_order():
    def engine(_):
        raise RuntimeError("no such request")

    with pytest.raises(RuntimeError) as caught:
        check_orders(SMALL, engine)
    order = "cs.Foliation(graph, [0, 1, 0, 1, 0, 1])"
    assert caught.value.__notes__ == [f"causalsim: in the order layer_major: {order}"]
    large = cs.EventGraph(cs.Wiring(3), 60)
    with pytest.raises(RuntimeError) as caught:
        check_orders(large, engine)
    assert caught.value.__notes__[0].endswith(f"layer_major: {cs.layer_major(large)!r}")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((SMALL, lambda _: None), "an engine returns what it computed: got None"),
        ((SMALL, lambda _: {}), "an engine returns what it computed: got nothing"),
        ((SMALL, lambda _: (1, None)), "an engine returns what it computed: got None"),
        ((SMALL, lambda _: object()), "results are arrays of real numbers: got object"),
        ((SMALL, lambda _: np.zeros(0)), "returns what it computed: got arrays without elements"),
        ((SMALL, lambda _: {"logits": np.zeros((0, 5)), "digest": ""}), "got arrays without elements"),
        (("graph", len), "a graph must be of type EventGraph"),
        ((SMALL, "engine"), "an engine is a function of a foliation: got 'engine'"),
    ],
)
def test_bad_engines(arguments, words):
    with pytest.raises(InputError) as caught:
        check_orders(*arguments)
    assert words in str(caught.value)


@pytest.mark.parametrize("options", [{"orders": -1}, {"seed": 0.5}, {"exhaustive": True}])
def test_bad_counts(options):
    with pytest.raises(InputError, match=f"{next(iter(options))} is a whole number of at least 0"):
        check_orders(SMALL, adder(SMALL), **options)
