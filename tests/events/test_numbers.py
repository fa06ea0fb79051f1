"""Graphs as data, and whole numbers of NumPy wherever a whole number is asked for."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from causalsim import foliations, posets
from causalsim.errors import InputError
from causalsim.events import (
    Event,
    EventGraph,
    Wiring,
    branchial_graph,
    count_lattice_edges,
    parse_edge,
    parse_event,
    state_graph,
)
from causalsim.foliations import Foliation, Footprint
from causalsim.testing.strategies import graphs

KINDS_OF_NUMBER = [np.int8, np.int64, np.uint16, np.uint64, lambda number: np.array(number)]
numbers = pytest.mark.parametrize("of", KINDS_OF_NUMBER, ids=["int8", "int64", "uint16", "uint64", "array"])


@given(graphs())
def test_a_graph_is_read_back_from_its_dict_through_json(graph):
    assert EventGraph.from_dict(graph.to_dict()) == graph
    assert EventGraph.from_dict(json.loads(json.dumps(graph.to_dict()))) == graph


def test_sublayers_are_said_where_they_are_not_those_of_every_transformer():
    plain, bare = EventGraph(Wiring(2), 3), EventGraph(Wiring(2, sublayers=("kv", "attn")), 3)
    assert "sublayers" not in plain.to_dict() and bare.to_dict()["sublayers"] == ["kv", "attn"]
    assert EventGraph.from_dict(json.loads(json.dumps(bare.to_dict()))) == bare != plain


DATA = EventGraph(Wiring(2, windows=[1, None]), [3, 2], prompt=[2, 2]).to_dict()


@pytest.mark.parametrize("given", [None, 3, "n_layers", [], [DATA], {}, {**DATA, "colour": 1}], ids=str)
def test_what_is_no_dict_of_a_graph(given):
    with pytest.raises(InputError, match="a graph is built from what to_dict gave"):
        EventGraph.from_dict(given)


@given(
    st.sampled_from(sorted(DATA)), st.sampled_from([None, -1, 1.5, "a", [], [0], {"a": 1}, True, "missing"])
)
def test_a_dict_with_a_wrong_entry_is_refused_or_says_another_graph(entry, wrong):
    data = {**DATA, entry: wrong}
    if wrong == "missing":
        del data[entry]
    try:
        assert EventGraph.from_dict(data) != EventGraph.from_dict(DATA)
    except InputError:
        return
    # Full attention, a switch that is on, and a text that is all given.
    assert (entry, wrong) in {("windows", None), ("parallel_residual", True), ("prompts", None)}


def graph_of(of):
    wiring = Wiring(of(2), windows=[of(2), None])
    return EventGraph(wiring, [of(3), of(2)], prompt=of(2))


@numbers
def test_graphs_and_events_take_numbers_of_numpy(of):
    graph, plain = graph_of(of), graph_of(int)
    assert graph == plain and hash(graph) == hash(plain) and graph.to_dict() == plain.to_dict()
    json.dumps(graph.to_dict())
    one = EventGraph(Wiring(2, windows=of(2)), of(3), granularity="block")
    assert one == EventGraph(Wiring(2, windows=2), 3, granularity="block")
    event = Event("attn", of(1), of(2), of(0))
    assert event == Event("attn", 1, 2, 0) and {type(event.layer), type(event.position)} == {int}
    assert graph.index(event) == plain.index(event) and graph[of(5)] == plain[5]
    assert parse_event("unembed(1)", of(2)) == parse_event("unembed(1)", 2)
    assert parse_edge("embed(0) -> kv(0,0)", of(2)) == parse_edge("embed(0) -> kv(0,0)", 2)


@numbers
def test_limits_and_steps_take_numbers_of_numpy(of):
    graph = EventGraph(Wiring(2), 2, granularity="block")
    assert graph.count_down_sets(limit=of(100)) == graph.count_linear_extensions(limit=of(100)) + 3 == 8
    assert graph.explicit(of(100)) == graph.explicit() and count_lattice_edges(graph, limit=of(100)) == 10
    assert len(state_graph(graph, limit=of(100))) == 8
    views = [branchial_graph(graph, of(1), limit=of(100)), branchial_graph(graph, 1)]
    assert views[0].graph == views[1].graph == {"step": 1} and set(views[0]) == set(views[1])


@numbers
@pytest.mark.usefixtures("unchecked")
def test_foliations_take_numbers_of_numpy(of):
    graph, long = EventGraph(Wiring(2), 3, granularity="block"), EventGraph(Wiring(2), 4)
    times = [0, 1, 1, 2, 2, 3]
    assert Foliation(graph, [of(time) for time in times]) == Foliation(graph, times)
    assert Foliation(graph, np.array(times, np.uint8)) == Foliation(graph, times)
    by_event = {event: of(time) for event, time in zip(graph, times, strict=True)}
    assert Foliation(graph, by_event) == Foliation(graph, times)
    if of in KINDS_OF_NUMBER[:4]:  # Times and velocities are real numbers, and a small array is none.
        assert foliations.tilted(long, of(2)) == foliations.tilted(long, Fraction(2))
        assert foliations.from_time(graph, by_event.get) == Foliation(graph, times)
    assert foliations.chunked(long, of(2)) == foliations.chunked(long, 2)
    for draw in (foliations.random_linear_extension, foliations.random_foliation, foliations.random_down_set):
        assert draw(graph, of(3)) == draw(graph, 3)
    drawn = [foliations.random_orders(graph, seed, count) for seed, count in ((of(3), of(2)), (3, 2))]
    assert (drawn[0] == drawn[1]).all()
    wave = foliations.wavefront(long)
    assert (foliations.ticks(wave, of(1), of(0)) == foliations.ticks(wave, 1)).all()
    sizes = Footprint({"block": 8, "kv": 4, "embed": 8}, {"block": 100})
    assert foliations.least_peak(graph, sizes, limit=of(100)) == foliations.least_peak(graph, sizes)
    found = {"wave": foliations.costs(Foliation(graph, times), sizes)}
    for most in (1, 100):
        asked = foliations.admissible(found, token_budget=of(most), memory_cap=of(100))
        assert asked == foliations.admissible(found, token_budget=most, memory_cap=100)


@numbers
def test_posets_take_numbers_of_numpy(of):
    plain = [(), (), (0,), (0, 1), (2, 3)]
    given = [tuple(map(of, below)) for below in plain]
    for count in (posets.count_down_sets, posets.count_lattice_edges, posets.count_linear_extensions):
        assert count(given, limit=of(50)) == count(plain)
    for listed in (posets.down_sets, posets.linear_extensions, posets.maximal_antichains):
        assert list(listed(given)) == list(listed(plain))
    asked = (posets.closure, posets.covers, posets.levels, posets.longest_chain, posets.width)
    for ask in (*asked, posets.maximum_antichain, posets.minimum_chain_cover):
        assert ask(given) == ask(plain)
    for sampler in (posets.UniformSampler, posets.DownSetSampler):
        numbered, by_int = sampler(given, limit=of(50)), sampler(plain)
        assert [numbered.unrank(of(rank)) for rank in range(by_int.count)] == [
            by_int.unrank(rank) for rank in range(by_int.count)
        ]
    seeds = [np.random.default_rng(0) for _ in range(6)]
    assert posets.kahn_order(given, seeds[0]) == posets.kahn_order(plain, seeds[1])
    assert (posets.kahn_orders(given, seeds[2], of(3)) == posets.kahn_orders(plain, seeds[3], 3)).all()
    steps = of(100) if of is not np.int8 else of(127)
    assert posets.CoupledSampler(given, steps=10**6).sample(seeds[4]) == posets.CoupledSampler(plain).sample(
        seeds[5]
    )
    assert posets.CoupledSampler([(), (0,)], steps=steps).sample(seeds[4]) == [0, 1]
