"""The event graph against the families written out a second time, and against brute force."""

from __future__ import annotations

import pickle
from itertools import combinations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from causalsim import posets
from causalsim.errors import InputError, LimitError
from causalsim.events import Event, EventGraph, Wiring
from causalsim.events.vectorised import colevels, first_violation, levels
from causalsim.testing.strategies import graphs
from tests.graphs import events_with


def written_out(graph: EventGraph) -> set[tuple[Event, Event, str]]:
    """The edges of the design, in prose order, with no family table."""
    wiring, edges = graph.wiring, set()
    n_layers, parallel = wiring.n_layers, wiring.parallel_residual

    def sees(layer, p, q):
        reach = wiring.windows_by_layer[layer]
        return p <= q and (reach is None or q - p < reach)

    for r, (length, prompt) in enumerate(zip(graph.lengths, graph.prompts, strict=True)):
        for q in range(length):
            if graph.granularity == "block":
                for layer in range(1, n_layers):
                    here = Event("block", layer, q, r)
                    edges.add((Event("block", layer - 1, q, r), here, "residual"))
                    edges |= {
                        (Event("block", layer - 1, p, r), here, "kv")
                        for p in range(q + 1)
                        if sees(layer, p, q)
                    }
                continue
            stream = [Event("embed", -1, q, r)]
            for layer in range(n_layers):
                kv, attn, mlp = (Event(kind, layer, q, r) for kind in ("kv", "attn", "mlp"))
                edges |= {(s, kv, "residual") for s in stream} | {(s, attn, "residual") for s in stream}
                edges |= {(Event("kv", layer, p, r), attn, "kv") for p in range(q + 1) if sees(layer, p, q)}
                edges |= {(s, mlp, "residual") for s in (stream if parallel else [attn])}
                stream = [attn, mlp] if parallel else [mlp]
            edges |= {(s, Event("unembed", n_layers, q, r), "residual") for s in stream}
            if prompt - 1 <= q <= length - 2:
                sample = Event("sample", n_layers, q, r)
                edges.add((Event("unembed", n_layers, q, r), sample, "token"))
                edges.add((sample, Event("embed", -1, q + 1, r), "token"))
    return edges


@given(graphs())
def test_edges_are_those_of_the_design(graph):
    expected = written_out(graph)
    listed = [tuple(edge) for edge in graph.edges()]
    assert len(listed) == len(set(listed)) == graph.count_edges()
    assert set(listed) == expected
    from_sources = {tuple(edge) for event in graph for edge in graph.edges_from(event)}
    assert from_sources == expected


@given(graphs())
def test_canonical_order_is_a_linear_extension_and_index_inverts_it(graph):
    events = list(graph)
    assert len(events) == len(set(events)) == len(graph)
    assert [graph.index(event) for event in events] == list(range(len(graph)))
    assert all(graph.index(edge.source) < graph.index(edge.target) for edge in graph.edges())


@given(graphs())
def test_codes_and_lines_agree_with_the_events(graph):
    rank, position, request = graph.codes()
    sites = graph.sites
    assert [
        Event(*sites[k], int(p), int(r)) for k, p, r in zip(rank, position, request, strict=True)
    ] == list(graph)


@given(graphs(), st.data())
def test_cones_equal_reachability(graph, data):
    view = nx.DiGraph(graph.to_networkx())
    (event,) = events_with(graph, data, 1)
    past, future = graph.past(event), graph.future(event)
    assert set(past) == nx.ancestors(view, event) and len(past) == len(set(past))
    assert set(future) == nx.descendants(view, event) and len(future) == len(set(future))
    assert all((other in past) == nx.has_path(view, other, event) for other in graph if other != event)
    assert event not in past and event not in future


@given(graphs(), st.data())
def test_separation_is_symmetric_and_says_what_precedes_says(graph, data):
    a, b = events_with(graph, data, 2)
    kind = graph.separation(a, b)
    assert kind == graph.separation(b, a)
    comparable = graph.precedes(a, b) or graph.precedes(b, a)
    assert kind == ("identical" if a == b else "timelike" if comparable else "spacelike")


@given(graphs(max_layers=2, max_length=4))
def test_covers_are_the_transitive_reduction(graph):
    reduced = nx.transitive_reduction(nx.DiGraph(graph.to_networkx()))
    covers = list(graph.covers())
    assert {(edge.source, edge.target) for edge in covers} == set(reduced.edges)
    assert len(covers) == reduced.number_of_edges()


@given(graphs(max_layers=2, max_length=4))
def test_depth_and_width_equal_the_exact_ones(graph):
    explicit = graph.explicit()
    assert graph.depth == len(posets.longest_chain(explicit))
    assert graph.width == posets.width(explicit)


@given(graphs())
def test_levels_and_colevels_are_longest_chains(graph):
    up, down = {}, {}
    for event in graph:
        up[event] = max((up[source] + 1 for source in graph.predecessors(event)), default=0)
    for event in reversed(list(graph)):
        down[event] = max((down[target] + 1 for target in graph.successors(event)), default=0)
    for request, columns in enumerate(graph.requests):
        for site in graph.sites:
            for p in columns.positions(site):
                event = Event(*site, p, request)
                assert levels(columns, graph.edge_families)[site][p] == up[event]
                assert colevels(columns, graph.edge_families)[site][p] == down[event]


@given(graphs(), st.data())
def test_first_violation_finds_one_exactly_when_an_edge_runs_backwards(graph, data):
    times = np.array(data.draw(st.lists(st.integers(0, 9), min_size=len(graph), max_size=len(graph))))
    time = dict(zip(graph, times, strict=True))
    broken = {(e.source, e.target) for e in graph.edges() if time[e.source] >= time[e.target]}
    found = {}
    for request, columns in enumerate(graph.requests):
        if (violation := first_violation(columns, graph.edge_families, times)) is not None:
            family, p, q = violation
            found[Event(*family.source, p, request), Event(*family.target, q, request)] = True
    assert bool(found) == bool(broken)
    assert set(found) <= broken


@pytest.mark.parametrize(
    ("n_layers", "length", "edges", "down_sets", "extensions"),
    [(1, 1, 5, 6, 1), (1, 2, 11, 30, 186), (2, 2, 20, 60, 7_236), (3, 2, 29, 99, 318_144)],
)
def test_counts_of_the_sublayer_table(n_layers, length, edges, down_sets, extensions):
    graph = EventGraph(Wiring(n_layers), length)
    assert len(graph) == {(1, 1): 5, (1, 2): 10, (2, 2): 16, (3, 2): 22}[n_layers, length]
    assert graph.count_edges() == edges
    assert graph.depth == 3 * n_layers + 2
    assert graph.count_down_sets() == down_sets == len(set(graph.down_sets()))
    assert graph.count_linear_extensions() == extensions


@pytest.mark.parametrize(("size", "down_sets", "extensions"), [(2, 8, 5), (3, 38, 684), (4, 192, 6_563_518)])
def test_counts_of_the_block_table(size, down_sets, extensions):
    graph = EventGraph(Wiring(size), size, granularity="block")
    assert (graph.depth, graph.width) == (size, size)
    assert graph.count_down_sets() == down_sets
    assert graph.count_linear_extensions() == extensions


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize(("n_layers", "length", "prompt"), [(1, 1, 1), (2, 4, 4), (3, 6, 2), (4, 5, 1)])
def test_depth_in_closed_form(n_layers, length, prompt, parallel):
    """(T-P+1)(3L+3)-1 with feedback after a prompt of P; 3L+2 while reading; 2L+2 in parallel."""
    graph = EventGraph(Wiring(n_layers, parallel_residual=parallel), length, prompt=prompt)
    chain = (2 if parallel else 3) * n_layers + 2
    assert graph.depth == (length - prompt + 1) * (chain + 1) - 1


def test_linear_extensions_are_all_of_them():
    graph = EventGraph(Wiring(1), 2)
    orders = list(graph.linear_extensions())
    assert len(orders) == len(set(orders)) == 186
    place = [{event: i for i, event in enumerate(order)} for order in orders]
    assert all(at[e.source] < at[e.target] for at in place for e in graph.edges())


def test_a_long_graph_costs_nothing_until_asked():
    graph = EventGraph(Wiring(126), 131_072)
    assert len(graph) == 131_072 * (3 * 126 + 2)
    assert graph[len(graph) - 1] == Event("unembed", 126, 131_071)
    assert graph.index(Event("kv", 100, 77_777)) == 77_777 * 380 + 1 + 300
    assert len(graph.past(Event("attn", 0, 131_071))) == 131_072 * 2  # every embed and every kv of layer 0


def test_one_layer_that_sees_all_takes_no_window_from_another() -> None:
    assert Wiring(2, windows=[None, 4]).windows_by_layer == (None, 4)


def test_graphs_are_values():
    a = EventGraph(Wiring(2, windows=[None, None]), [2, 3])
    b = pickle.loads(pickle.dumps(EventGraph(Wiring(2), (2, 3))))
    assert a == b and hash(a) == hash(b)
    assert a != EventGraph(Wiring(2), (3, 2))
    assert EventGraph(Wiring(2), 3, prompt=3) == EventGraph(Wiring(2), 3)


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        (lambda: Wiring(np.int64(2)), Wiring(2)),
        (lambda: Wiring(2, windows=np.int64(4)), Wiring(2, windows=4)),
        (lambda: Wiring(2, windows=np.array([4, 5])), Wiring(2, windows=(4, 5))),
        (lambda: Wiring(2, parallel_residual=np.True_), Wiring(2, parallel_residual=True)),
        (lambda: Event("kv", np.int32(0), np.int64(1), np.int8(0)), Event("kv", 0, 1)),
        (lambda: EventGraph(Wiring(2), np.array(3), prompt=np.int32(2)), EventGraph(Wiring(2), 3, prompt=2)),
        (lambda: EventGraph(Wiring(2), [3, 4], prompt=np.array(2)), EventGraph(Wiring(2), [3, 4], prompt=2)),
        (lambda: EventGraph(Wiring(2), np.array([3, 4])), EventGraph(Wiring(2), (3, 4))),
    ],
)
def test_whole_numbers_of_any_type_are_plain_ones(given, plain):
    assert given() == plain and hash(given()) == hash(plain)
    assert "np." not in repr(given())


@pytest.mark.parametrize("name", ["wiring", "lengths", "prompts", "granularity"])
def test_what_a_graph_is_cannot_be_changed(name):
    graph = EventGraph(Wiring(2), 3)
    before = hash(graph)
    with pytest.raises(AttributeError):
        setattr(graph, name, getattr(EventGraph(Wiring(3), 5), name))
    assert hash(graph) == before and len(graph) == 3 * 8


def test_networkx_view_carries_streams_and_parallel_edges():
    view = EventGraph(Wiring(2), 1, granularity="block").to_networkx()
    below, above = Event("block", 0, 0), Event("block", 1, 0)
    assert set(view[below][above]) == {"residual", "kv"}
    assert view.nodes[above] == {"kind": "block", "layer": 1, "position": 0, "request": 0}


@given(graphs(max_layers=3, max_length=5))
def test_predecessors_have_their_canonical_indices(graph):
    for event in graph:
        assert graph.predecessor_indices(event) == tuple(map(graph.index, graph.predecessors(event)))


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (Event("block", 0, 0), "no kind 'block'"),
        (Event("attn", 0, 3), "position 3 lies outside"),
        (Event("attn", 2, 0), "attn has no layer 2"),
        (Event("embed", 0, 0), "embed has no layer 0"),
        (Event("sample", 2, 0), "next token"),
        (Event("attn", 0, 0, 1), "no request 1"),
    ],
)
def test_events_of_another_graph_are_named(event, words):
    graph = EventGraph(Wiring(2), 3)
    assert event not in graph
    with pytest.raises(InputError, match=words):
        graph.index(event)
    for asked in (graph.predecessors, graph.predecessor_indices):
        with pytest.raises(InputError, match=words):
            asked(event)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Event("relu", 0, 0),
        lambda: Wiring(0),
        lambda: Wiring(True),
        lambda: Wiring(2, windows=[3]),
        lambda: Wiring(2, windows=0),
        lambda: Wiring(2, windows=4.0),
        lambda: Wiring(2, windows="44"),
        lambda: Wiring(2, windows=[4, 4.0]),
        lambda: Wiring(2, windows={3, 4}),
        lambda: Wiring(2, windows=np.array(4.0)),
        lambda: Wiring(2, parallel_residual="no"),
        lambda: Wiring(2, parallel_residual=1),
        lambda: Event("kv", 0, 1.0),
        lambda: Event("kv", True, 1),
        lambda: Event("kv", 0, 1, None),
        lambda: EventGraph("glass", 3),
        lambda: EventGraph(Wiring(1), "3"),
        lambda: EventGraph(Wiring(1), np.array(2.0)),
        lambda: EventGraph(Wiring(1), [[1], [2, 3]]),
        lambda: EventGraph(Wiring(1), np.array([[1, 2]])),
        lambda: EventGraph(Wiring(1), 0),
        lambda: EventGraph(Wiring(1), []),
        lambda: EventGraph(Wiring(1), 2.5),
        lambda: EventGraph(Wiring(1), 3, prompt=0),
        lambda: EventGraph(Wiring(1), 3, prompt=4),
        lambda: EventGraph(Wiring(1), [3, 3], prompt=[1]),
        lambda: EventGraph(Wiring(1), 3, granularity="atom"),
        lambda: EventGraph(Wiring(1), 3, prompt=2, granularity="block"),
    ],
)
def test_bad_graphs_are_refused(build):
    with pytest.raises(InputError, match="got"):
        build()


def test_explicit_views_of_large_graphs_are_refused():
    graph = EventGraph(Wiring(8), 4096)
    with pytest.raises(LimitError) as caught:
        graph.explicit()
    assert caught.value.reached == graph.count_edges() > caught.value.bound
    with pytest.raises(LimitError):
        graph.to_networkx()
    with pytest.raises(LimitError, match="explicit list"):
        EventGraph(Wiring(1), 10**12, granularity="block").count_linear_extensions()


def test_arrays_over_more_events_than_fit_are_refused_at_once():
    graph = EventGraph(Wiring(2), 10**13)
    with pytest.raises(LimitError, match="80,000,000,000,000 events"):
        graph.codes()
    assert graph[len(graph) - 1].position == 10**13 - 1
    assert graph.count_edges() == 2 * (10**13 * (10**13 + 1) // 2) + 10**13 * 7
    with pytest.raises(LimitError, match="can be counted"):
        EventGraph(Wiring(2), 10**20)


@given(graphs(max_layers=2, max_length=3, max_requests=1))
def test_iteration_orders_agree_pairwise(graph):
    for a, b in combinations(graph, 2):
        assert not graph.precedes(b, a)
