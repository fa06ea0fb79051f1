"""Poison: cells not yet written spoil whoever reads them, and nothing writes where it should not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import causalsim as cs
from causalsim.engine import Values, compile, compile_unchecked
from causalsim.engine.executables import executable
from causalsim.engine.planning import IndexArrays
from causalsim.kernels import CERTIFIED
from tests.engine.support import architectures, bits, cells_of, execute, fresh, graphs_of, ids, step, texts
from tests.models_for_tests import tiny


def _adjacent(graph: cs.EventGraph, edge) -> list[cs.Event]:
    """A linear extension in which a covered event comes right before the one that covers it."""
    a, b = edge.source, edge.target
    before = [event for event in graph if event != a and (event in graph.past(a) or event in graph.past(b))]
    rest = [event for event in graph if event not in {a, b, *before}]
    return [*before, a, b, *rest]


def _inverted(graph: cs.EventGraph, edge) -> np.ndarray:
    order = _adjacent(graph, edge)
    at = order.index(edge.source)
    order[at], order[at + 1] = order[at + 1], order[at]
    times = np.empty(len(graph), np.int64)
    times[[graph.index(event) for event in order]] = np.arange(len(order))
    return times


def _covers() -> Iterator[tuple[int, cs.EventGraph, object]]:
    for number, model in enumerate(architectures()):
        for graph in (cs.EventGraph(model.config, 3), cs.EventGraph(model.config, 4, prompt=2)):
            for edge in graph.covers():
                yield number, graph, edge


def _values(model, graph, times, given) -> Values:
    _, outputs = execute(model, compile_unchecked(graph, times), fresh(model, graph, given))
    return Values.from_outputs(model.config, graph, outputs)


def test_every_cover_that_is_inverted_shows_in_the_value_of_its_target():
    reference: dict = {}
    models = architectures()
    seen = 0
    for number, graph, edge in _covers():
        model = models[number]
        given_texts = texts(model, graph.lengths)
        if (number, graph) not in reference:
            order = cs.token_major(graph).times
            reference[number, graph] = _values(model, graph, order, given_texts)
        plain = reference[number, graph]
        found = _values(model, graph, _inverted(graph, edge), given_texts)
        assert bits(found[edge.target]) != bits(plain[edge.target]), f"{edge} of {model}"
        parts = found[edge.target] if isinstance(found[edge.target], tuple) else (found[edge.target],)
        if edge.stream != "residual":
            poison = [np.isnan(part).any() or part.dtype == np.int32 for part in map(np.asarray, parts)]
            assert any(poison), f"{edge} read something that nobody wrote"
        # The source may find its own input overwritten by then; what lies apart from both must not change.
        untouched = [event for event in graph if event not in {edge.source, *graph.future(edge.source)}]
        assert all(bits(found[event]) == bits(plain[event]) for event in untouched), edge
        seen += 1
    assert seen > 150


def test_the_inversion_itself_breaks_one_edge_only():
    for _, graph, edge in _covers():
        times = _inverted(graph, edge)
        broken = [e for e in graph.edges() if times[graph.index(e.source)] >= times[graph.index(e.target)]]
        assert {(e.source, e.target) for e in broken} == {(edge.source, edge.target)}


@pytest.mark.parametrize("model", architectures())
def test_a_fresh_state_holds_nothing_but_the_prompts(model):
    graph = cs.EventGraph(model.config, (4, 3), prompt=(2, 3))
    state = fresh(model, graph, texts(model, (4, 3)))
    assert all(np.isnan(cells).all() for cells in (state.residual, state.logits, *state.keys, *state.values))
    first, second = texts(model, (4, 3))
    vocabulary = model.config.vocab_size
    expected = [*first[:2], vocabulary, vocabulary, *second]
    tokens = np.asarray(state.tokens)
    assert tokens[:7].tolist() == expected
    assert set(tokens[7:].tolist()) == {vocabulary}


def test_a_token_that_was_not_sampled_poisons_all_that_follows():
    model = tiny()
    graph = cs.EventGraph(model.config, 4, prompt=2)
    order = [event for event in graph if event.kind != "sample"]
    state = fresh(model, graph, [ids(model, 4)])
    for event in order:
        state, outputs = step(model, state, [event])
        value = jax.tree.leaves(outputs[0].value)[0][0]
        assert bool(np.isnan(value).all()) == (event.position >= 2), event


# -- nothing else is written ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["embed", "kv", "attn", "mlp", "layers", "unembed", "sample"])
@pytest.mark.parametrize("model", [tiny(), tiny(2, 4, 1, parallel_residual=True)], ids=["plain", "parallel"])
@pytest.mark.parametrize("off", [1000, -1, -66, 2**31 - 1])
def test_an_index_off_the_end_writes_nowhere(model, kind, off):
    graph = cs.EventGraph(model.config, 5)
    state = fresh(model, graph, [ids(model, 5)])
    state, _ = execute(model, compile(cs.layer_major(graph)), state)
    before = cells_of(state)
    at = IndexArrays(np.array([[off], [2], [off]], np.int32), np.int32(1))
    reading = at._replace(table=state.layout.tables()[0], window=np.int32(2**30))
    weights = model.weights()
    layer, run = weights["layers"][1], executable(model.config, CERTIFIED, kind)
    if kind == "embed":
        residual, _ = run(weights["embed"], state.residual, state.tokens, at)
        state = replace(state, residual=residual)
    elif kind == "kv":
        keys, values, _ = run(layer["kv"], state.keys[1], state.values[1], state.residual, at)
        state = replace(state, keys=(state.keys[0], keys), values=(state.values[0], values))
    elif kind == "layers":
        rows = np.array([[off], [2], [off], [off]], np.int32)
        both = IndexArrays(rows, *((part, part) for part in reading[1:]))
        cells = state.residual, list(state.keys), list(state.values)
        residual, keys, values, _ = run(weights["layers"], *cells, both)
        state = replace(state, residual=residual, keys=tuple(keys), values=tuple(values))
    elif kind == "attn":
        residual, _ = run(layer["attn"], state.residual, state.keys[1], state.values[1], reading)
        state = replace(state, residual=residual)
    elif kind == "mlp":
        residual, _ = run(layer["mlp"], state.residual, at)
        state = replace(state, residual=residual)
    elif kind == "unembed":
        state = replace(state, logits=run(weights["unembed"], state.logits, state.residual, at))
    else:
        tokens, _ = run(state.tokens, state.logits, state.sampling, at)
        state = replace(state, tokens=tokens)
    assert cells_of(state) == before


@settings(max_examples=10)
@given(st.data(), st.sampled_from(architectures()), st.integers(0, 99))
def test_the_state_after_any_order_is_the_same(data, model, seed):
    """Not only the values: every cell that anybody could still read."""
    graph = data.draw(graphs_of(model))
    given_texts = texts(model, graph.lengths)
    ends = []
    for foliation in (cs.token_major(graph), cs.random_foliation(graph, seed)):
        state, _ = execute(model, compile(foliation), fresh(model, graph, given_texts))
        ends.append(cells_of(state))
    assert ends[0] == ends[1]


@settings(max_examples=10)
@given(st.data(), st.sampled_from(architectures()), st.integers(0, 99))
def test_one_event_at_a_time_equals_a_run(data, model, seed):
    lengths = data.draw(st.sampled_from([(3,), (2, 3)]))
    graph = cs.EventGraph(model.config, lengths, prompt=[1] * len(lengths) if seed % 2 else None)
    given_texts = texts(model, lengths)
    order = cs.random_linear_extension(graph, seed, method="kahn")
    state, outputs = fresh(model, graph, given_texts), []
    for (event,) in order.slices():
        state, made = step(model, state, [event])
        outputs += made
    values = Values.from_outputs(model.config, graph, outputs)
    whole = cs.run(model, given_texts, order, record=True)
    assert values.digest() == whole.values_digest
    end, _ = execute(model, compile(order), fresh(model, graph, given_texts))
    assert cells_of(state) == cells_of(end)


def test_a_state_that_was_run_on_cannot_be_used_again():
    model = tiny()
    graph = cs.EventGraph(model.config, 3)
    program = compile(cs.layer_major(graph))
    state = fresh(model, graph, [ids(model, 3)])
    kept = state.copy()
    after, _ = execute(model, program, state)
    with pytest.raises((RuntimeError, ValueError), match=r"[Dd]onated|deleted"):
        execute(model, program, state)
    with pytest.raises((RuntimeError, ValueError), match=r"[Dd]onated|deleted"):
        np.asarray(state.residual)
    assert cells_of(execute(model, program, kept)[0]) == cells_of(after)


def test_steps_and_programs_of_another_graph_are_refused():
    model = tiny()
    graph, other = cs.EventGraph(model.config, 3), cs.EventGraph(model.config, 4)
    state = fresh(model, graph, [ids(model, 3)])
    with pytest.raises(cs.InputError, match=r"own graph: got .*, expected"):
        execute(model, compile(cs.layer_major(other)), state)
    with pytest.raises(cs.InputError, match="position 3 lies outside"):
        step(model, state, [cs.Event("embed", -1, 3)])
    blocks = cs.EventGraph(model.config, 3, granularity="block")
    with pytest.raises(cs.InputError, match="sublayer graphs: got a block graph"):
        step(model, fresh(model, blocks, [ids(model, 3)]), [cs.Event("block", 0, 0)])
    assert step(model, state, [])[1] == []
