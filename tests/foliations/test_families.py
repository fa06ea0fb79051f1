"""Named families: valid where the design says so, refused with an edge elsewhere, and of known depth."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causalsim.errors import CausalityError, InputError
from causalsim.events import Event, EventGraph, Wiring
from causalsim.foliations import (
    Foliation,
    chunked,
    earliest,
    latest,
    layer_major,
    tilted,
    token_major,
    wavefront,
)  # fmt: skip
from causalsim.testing.strategies import foliations, graphs
from tests.foliations.support import backwards, dense, height

ALWAYS = [token_major, earliest, latest, lambda graph: chunked(graph, 1), lambda graph: chunked(graph, 3)]


@pytest.mark.parametrize("family", ALWAYS, ids=["token_major", "earliest", "latest", "chunked1", "chunked3"])
@given(graph=graphs())
def test_families_that_are_valid_on_every_graph(family, graph):
    assert not backwards(graph, family(graph).times)


@given(graphs())
def test_layer_major_and_wavefront_are_refused_exactly_where_tokens_are_fed_back(graph):
    for family in (layer_major, wavefront):
        if not graph.has_feedback:
            assert not backwards(graph, family(graph).times)
            continue
        with pytest.raises(CausalityError) as caught:
            family(graph)
        edge = caught.value.edge
        assert edge in set(graph.edges()) and (edge.source.kind, edge.target.kind) == ("sample", "embed")


def test_a_velocity_of_one_outruns_feedback_in_no_model():
    """The wavefront needs v > 3L+2 where tokens are fed back, so it is refused for every depth."""
    with pytest.raises(CausalityError, match=r"velocity > 5"):
        wavefront(EventGraph(Wiring(1), 3, prompt=2))


@given(graphs())
def test_layer_major_and_token_major_by_their_meaning(graph):
    order = [(event.position, height(graph, event)) for event in graph]
    assert token_major(graph).times.tolist() == dense(order).tolist()
    if not graph.has_feedback:
        assert layer_major(graph).times.tolist() == dense([h for _, h in order]).tolist()


@given(graphs(), st.integers(1, 6))
def test_chunked_reads_the_prompt_in_chunks_and_then_decodes(graph, size):
    def slab(event: Event) -> int:
        prompt = graph.prompts[event.request]
        if event.position < prompt:
            return event.position // size
        return -(-prompt // size) + event.position - prompt

    expected = [(slab(event), height(graph, event)) for event in graph]
    assert chunked(graph, size).times.tolist() == dense(expected).tolist()


@given(graphs())
def test_the_extremes_of_chunking(graph):
    assert chunked(graph, 1) == token_major(graph)
    if not graph.has_feedback:
        assert chunked(graph, max(graph.lengths)) == layer_major(graph) == tilted(graph, 0)


@pytest.mark.parametrize(("n_layers", "length"), [(1, 1), (1, 5), (4, 32), (7, 3)])
def test_the_table_of_schedules_at_block_granularity(n_layers, length):
    graph = EventGraph(Wiring(n_layers), length, granularity="block")

    def slices(f):
        return Foliation(graph, [f(event.layer, event.position) for event in graph])

    assert layer_major(graph) == slices(lambda layer, p: layer)
    assert (layer_major(graph).depth, layer_major(graph).width) == (n_layers, length)
    assert token_major(graph) == slices(lambda layer, p: p * n_layers + layer)
    assert (token_major(graph).depth, token_major(graph).width) == (n_layers * length, 1)
    for size in (1, 2, 3, length, length + 1):
        chunks = -(-length // size)
        assert chunked(graph, size) == slices(lambda layer, p: p // size * n_layers + layer)
        assert (chunked(graph, size).depth, chunked(graph, size).width) == (
            n_layers * chunks,
            min(size, length),
        )
    assert wavefront(graph) == slices(lambda layer, p: layer + p)
    assert (wavefront(graph).depth, wavefront(graph).width) == (n_layers + length - 1, min(n_layers, length))


@pytest.mark.parametrize("size", [0, -1, True, 1.5, "2", None])
@pytest.mark.usefixtures("unchecked")
def test_a_chunk_has_positions(size):
    with pytest.raises(InputError, match="the size of a chunk is a whole number of at least 1: got"):
        chunked(EventGraph(Wiring(1), 2), size)


# -- earliest and latest ----------------------------------------------------------------------


@st.composite
def tightest(draw: st.DrawFn, graph: EventGraph) -> Foliation:
    """Any foliation of the least depth: each event somewhere between its sources and its deadline."""
    deadline: dict[Event, int] = {}
    for event in reversed(list(graph)):
        deadline[event] = (
            min((deadline[reader] for reader in graph.successors(event)), default=graph.depth) - 1
        )
    times: dict[Event, int] = {}
    for event in graph:
        first = max((times[source] + 1 for source in graph.predecessors(event)), default=0)
        times[event] = draw(st.integers(first, deadline[event]))
    return Foliation(graph, list(times.values()))


@given(graphs(max_length=4), st.data())
def test_earliest_and_latest_enclose_every_foliation_of_least_depth(graph, data):
    between = data.draw(tightest(graph))
    first, last = earliest(graph), latest(graph)
    assert first.depth == between.depth == last.depth == graph.depth
    assert (first.times <= between.times).all() and (between.times <= last.times).all()


@given(graphs(max_length=4), st.data())
def test_no_foliation_at_all_has_an_event_before_the_earliest(graph, data):
    assert (earliest(graph).times <= data.draw(foliations(graph)).times).all()


@given(graphs(max_length=4))
def test_earliest_and_latest_cannot_be_pushed_further(graph):
    """An event stands right behind its latest source, or right before its first reader."""
    first, last = earliest(graph), latest(graph)
    for event in graph:
        sources, readers = graph.predecessors(event), graph.successors(event)
        assert first.time(event) == max((first.time(source) + 1 for source in sources), default=0)
        assert last.time(event) == min((last.time(reader) for reader in readers), default=graph.depth) - 1


def test_a_long_graph_has_its_families_in_no_time():
    graph = EventGraph(Wiring(28), 10_000)
    assert earliest(graph).depth == layer_major(graph).depth == 86
    assert wavefront(graph).depth == 86 + 9_999
