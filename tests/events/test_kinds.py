"""Graphs with kinds that no table but one has heard of, against the edges written out by hand."""

from __future__ import annotations

import ast
import pickle
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from itertools import pairwise, permutations, product
from pathlib import Path

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import causalsim
from causalsim import posets
from causalsim.errors import InputError
from causalsim.events import (
    KINDS,
    Event,
    EventGraph,
    Kind,
    Wiring,
    chain_cover,
    count_lattice_edges,
    largest_antichain,
    parse_event,
)
from causalsim.events.kinds import kinds_at, kinds_that_attend, registered
from causalsim.foliations import earliest, latest, layer_major, tilted, token_major, wavefront
from tests.graphs import events_with

ADAPTER = Kind("adapter", "layer", ("residual",), "residual", (("d_model",),), "adapter", "ad", "#b45309")
SECOND = Kind("second", "layer", ("residual", "kv"), "residual", (("d_model",),), "second", "2nd", "#0f766e")
NEW = {row.name: row for row in (ADAPTER, SECOND)}


@contextmanager
def new_kinds():
    with ExitStack() as stack:
        for row in NEW.values():
            stack.enter_context(registered(row))
        yield


def is_sound(sublayers):
    attends = [place for place, kind in enumerate(sublayers) if kind in ("attn", "second")]
    return "kv" in sublayers and attends and sublayers.index("kv") == attends[0] - 1


EVERY = [
    sublayers
    for size in (2, 3, 4, 5)
    for sublayers in permutations(("kv", "attn", "mlp", "adapter", "second"), size)
    if is_sound(sublayers)
]


@st.composite
def graphs_of_new_kinds(draw, feedback=True):
    n_layers = draw(st.integers(1, 2))
    windows = draw(st.none() | st.lists(st.none() | st.integers(1, 3), min_size=n_layers, max_size=n_layers))
    parallel, sublayers = draw(st.booleans()), draw(st.sampled_from(EVERY))
    parallel = parallel and sublayers[0] == "kv"
    wiring = Wiring(n_layers, windows=windows, parallel_residual=parallel, sublayers=sublayers)
    lengths = draw(st.lists(st.integers(1, 3), min_size=1, max_size=2))
    prompts = [draw(st.integers(1, length)) if feedback else length for length in lengths]
    return EventGraph(wiring, lengths, prompt=prompts)


def written_out(graph):
    """Readers and read, by walking up every column with the writers of its residual in hand."""
    wiring, edges = graph.wiring, set()
    for r, (length, prompt) in enumerate(zip(graph.lengths, graph.prompts, strict=True)):
        for q in range(length):
            stream = [Event("embed", -1, q, r)]
            for layer in range(wiring.n_layers):
                added = []
                for kind in wiring.sublayers:
                    here = Event(kind, layer, q, r)
                    edges |= {(source, here, "residual") for source in stream}
                    if kind in ("attn", "second"):
                        window = wiring.windows_by_layer[layer] or length
                        seen = range(max(0, q - window + 1), q + 1)
                        edges |= {(Event("kv", layer, p, r), here, "kv") for p in seen}
                    if kind != "kv":
                        added.append(here)
                        stream = stream if wiring.parallel_residual else [here]
                stream = added if wiring.parallel_residual else stream
            top = Event("unembed", wiring.n_layers, q, r)
            edges |= {(source, top, "residual") for source in stream}
            if prompt - 1 <= q < length - 1:
                sample = Event("sample", wiring.n_layers, q, r)
                edges |= {(top, sample, "token"), (sample, Event("embed", -1, q + 1, r), "token")}
    return edges


def order_of(graph):
    return nx.DiGraph([(source, target) for source, target, _ in written_out(graph)])


def test_the_table_of_kinds_has_every_kind_once():
    assert set(KINDS) == {"embed", "kv", "attn", "mlp", "unembed", "sample", "block"}
    assert kinds_at("layer") == ("kv", "attn", "mlp") and kinds_that_attend() == {"attn", "block"}
    with new_kinds():
        assert kinds_at("layer")[3:] == ("adapter", "second") and "second" in kinds_that_attend()
    assert not NEW.keys() & KINDS.keys()


@given(st.data())
def test_edges_cones_and_covers_follow_from_the_table(data):
    with new_kinds():
        graph = data.draw(graphs_of_new_kinds())
        edges, order = written_out(graph), order_of(graph)
        assert {tuple(edge) for edge in graph.edges()} == edges
        assert graph.count_edges() == len(edges) and set(order) == set(graph)
        assert {(e.source, e.target) for e in graph.covers()} == set(nx.transitive_reduction(order).edges)
        for event in events_with(graph, data, 3):
            assert set(graph.predecessors(event)) == set(order.predecessors(event))
            assert set(graph.successors(event)) == set(order.successors(event))
            assert graph.past(event) == nx.ancestors(order, event)
            assert graph.future(event) == nx.descendants(order, event)
            assert graph[graph.index(event)] == event == parse_event(str(event), graph.wiring.n_layers)


@given(st.data())
def test_depth_heights_and_width_follow_from_the_table(data):
    with new_kinds():
        graph = data.draw(graphs_of_new_kinds())
        sources = graph.explicit()
        assert graph.depth == nx.dag_longest_path_length(order_of(graph)) + 1
        assert graph.width == posets.width(sources)
        antichain, chains = list(largest_antichain(graph)), [list(chain) for chain in chain_cover(graph)]
        assert len(antichain) == len(chains) == graph.width
        assert all(graph.separation(a, b) == "spacelike" for a in antichain for b in antichain if a != b)
        assert all(graph.precedes(a, b) for chain in chains for a, b in pairwise(chain))
        assert sorted(event for chain in chains for event in chain) == sorted(graph)
        assert earliest(graph).times.tolist() == posets.levels(sources)
        assert latest(graph).depth == graph.depth


@given(st.data())
def test_counts_and_foliations_follow_from_the_table(data):
    with new_kinds():
        graph = data.draw(graphs_of_new_kinds(feedback=False))
        counts = posets.lattice_counts(graph.explicit())
        assert graph.count_down_sets() == counts.down_sets
        assert count_lattice_edges(graph) == counts.lattice_edges
        for made in (layer_major, token_major, wavefront, lambda graph: tilted(graph, 2)):
            assert made(graph).width >= 1


@settings(max_examples=40)
@given(st.data())
def test_paths_and_routes_follow_from_the_table(data):
    with new_kinds():
        graph = data.draw(graphs_of_new_kinds(feedback=False))
        order, wiring = order_of(graph), graph.wiring
        carriers = [kind for kind in wiring.sublayers if kind != "kv"][: 1 if wiring.parallel_residual else 9]
        residual = {(a, b) for a, b, stream in written_out(graph) if stream == "residual"}

        def ways(a, b, bypass):
            @cache
            def up_to(event):
                if event == a:
                    return 1
                twice = [
                    event.kind in carriers and (source, event) in residual for source in order.pred[event]
                ]
                found = [up_to(source) for source in order.pred[event]]
                return sum(n * (1 + (bypass and two)) for n, two in zip(found, twice, strict=True))

            return up_to(b)

        a, b = sorted(events_with(graph, data, 2), key=graph.index)
        assert graph.count_paths(a, b) == ways(a, b, False) == len(list(graph.paths(a, b)))
        assert graph.count_paths(a, b, bypass=True) == ways(a, b, True)
        length, top = graph.lengths[0], wiring.n_layers - 1
        goal = next(kind for kind in wiring.sublayers[::-1] if kind in ("attn", "second"))
        start, end = Event("kv", 0, 0), Event(goal, top, length - 1)
        hops = [list(pairwise((0, *rises, length - 1))) for rises in product(range(length), repeat=top)]
        windows = [window or length for window in wiring.windows_by_layer]
        seen = [way for way in hops if all(0 <= q - p < w for (p, q), w in zip(way, windows, strict=True))]
        routes = [tuple(q for _, q in way[:-1]) for way in seen]
        assert list(graph.routes(start, end)) == routes and graph.count_routes(start, end) == len(routes)


def test_a_wiring_has_what_its_names_meant_when_it_was_made():
    names = ("kv", "attn", "adapter")
    with registered(ADAPTER):
        plain = Wiring(1, sublayers=names)
        assert len(EventGraph(plain, 2).predecessors(Event("adapter", 0, 1))) == 1
    with registered(replace(ADAPTER, reads=("residual", "kv"))):
        reading = Wiring(1, sublayers=names)
        assert reading != plain
        assert len(EventGraph(reading, 2).predecessors(Event("adapter", 0, 1))) == 3


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (replace(ADAPTER, name="mlp"), "a name of its own"),
        (replace(ADAPTER, name="an adapter"), "a name of its own"),
        (replace(ADAPTER, place="above"), "reads the residual stream and adds to it"),
        (replace(ADAPTER, writes="kv"), "reads the residual stream and adds to it"),
        (replace(ADAPTER, reads=("kv",)), "reads the residual stream and adds to it"),
        (replace(ADAPTER, reads=("residual", "token")), "reads the residual stream and adds to it"),
    ],
    ids=["known", "spaces", "place", "writes", "reads", "token"],
)
def test_a_row_that_is_no_sublayer_is_refused(row, rule):
    with pytest.raises(InputError, match=rule), registered(row):
        pass


@pytest.mark.parametrize(
    "sublayers",
    [
        ("kv", "mlp", "attn"),
        ("attn", "kv"),
        ("kv",),
        ("kv", "attn", "attn"),
        ("kv", "attn", "adapter"),
        "kv",
        3,
    ],
    ids=str,
)
def test_sublayers_that_make_no_layer_are_refused(sublayers):
    with pytest.raises(InputError, match="each kind of event once"):
        Wiring(2, sublayers=sublayers)
    with pytest.raises(InputError, match="K/V first"):
        Wiring(2, sublayers=("mlp", "kv", "attn"), parallel_residual=True)


def test_rows_are_values():
    with registered(ADAPTER):
        wiring = Wiring(2, sublayers=("kv", "attn", "mlp", "adapter"))
        assert pickle.loads(pickle.dumps(wiring)) == wiring


# -- no second table --------------------------------------------------------------------------------

PACKAGES = ("events", "posets", "foliations", "rendering")
# A block graph's K/V and embeddings are values, though they are no events of it.
MAY_NAME_KINDS = {
    "events/kinds.py": set(KINDS),
    "events/wiring.py": {"block"},  # the granularity
    "foliations/accounts.py": {"attn", "block", "embed"},
    "foliations/costs.py": {"embed"},
    "foliations/memory.py": {"block", "embed"},
}


def named(side):
    return getattr(side, "attr", getattr(side, "id", ""))


def names_of_kinds(tree):
    """Kinds that are compared with, listed, keys of a dictionary, or of an event that is made."""
    for node in ast.walk(tree):
        found = []
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            # Streams, granularities and places have names that kinds have, too.
            found = [] if {*map(named, sides)} & {"stream", "granularity", "writes", "place"} else sides
        elif isinstance(node, ast.Dict):
            found = node.keys
        elif isinstance(node, ast.Call) and named(node.func) == "Event":
            found = node.args[:1]
        elif isinstance(node, ast.Tuple | ast.List | ast.Set):
            found = node.elts
        yield from (side.value for side in found if isinstance(side, ast.Constant) and side.value in KINDS)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_other_table_knows_the_kinds(package):
    root = Path(causalsim.__file__).parent
    for file in sorted((root / package).rglob("*.py")):
        name = file.relative_to(root).as_posix()
        found = set(names_of_kinds(ast.parse(file.read_text(encoding="utf-8"))))
        assert found <= MAY_NAME_KINDS.get(name, set()), name


@pytest.mark.parametrize(
    "text",
    ['event.kind == "kv"', 'site.kind in ("attn", "block")', '{"mlp": 1}', 'Event("embed", -1, 0)'],
)
def test_a_second_table_would_be_seen(text):
    assert list(names_of_kinds(ast.parse(text)))
