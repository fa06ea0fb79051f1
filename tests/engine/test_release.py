"""K/V is given up when its last reader has run, and what is given up is poison again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import causalsim as cs
from causalsim.engine import Program, compile, execute
from causalsim.engine.state import State
from tests.engine.support import architectures, fresh, graphs_of, ids, texts
from tests.models_for_tests import tiny

MODEL = tiny(n_layers=4)
GRAPH = cs.EventGraph(MODEL.config, 6)


def _bare() -> State:
    """Fresh memory in which no K/V is reserved."""
    return State.fresh(MODEL, GRAPH, [np.asarray(ids(MODEL, 6), np.int32)], reserve=False)


def _kv_layers(run: cs.Run) -> float:
    """How many layers' K/V a run had memory for."""
    without = _bare().peak_bytes
    whole = State.fresh(MODEL, GRAPH, [np.zeros(6, np.int32)]).peak_bytes
    return (run.state_bytes - without) / (whole - without) * MODEL.config.n_layers


@pytest.mark.parametrize(
    ("family", "layers"),
    [
        (cs.layer_major, 1),
        (cs.token_major, 4),
        (lambda g: cs.chunked(g, 3), 4),
        (lambda g: cs.chunked(g, 6), 1),
    ],
)
def test_memory_follows_the_order(family, layers):
    assert _kv_layers(cs.run(MODEL, ids(MODEL, 6), family(GRAPH))) == layers


def test_memory_is_ordered_as_the_predicted_peaks_are():
    """Where one order is predicted to need less than another, it takes no more."""
    orders = [cs.layer_major(GRAPH), cs.token_major(GRAPH), cs.wavefront(GRAPH)]
    orders += [cs.random_foliation(GRAPH, seed) for seed in range(5)]
    footprint = MODEL.config.footprint()
    taken = [cs.run(MODEL, ids(MODEL, 6), order).state_bytes for order in orders]
    least = int(np.argmin([cs.peak_during(order, footprint) for order in orders]))
    assert taken[least] == min(taken)


def test_a_recorded_run_keeps_all():
    assert _kv_layers(cs.run(MODEL, ids(MODEL, 6), record=True)) == 4


@settings(max_examples=15)
@given(st.data(), st.sampled_from(architectures()), st.integers(0, 99))
def test_releasing_changes_no_bits(data, model, seed):
    graph = data.draw(graphs_of(model))
    given_texts, order = texts(model, graph.lengths), cs.random_foliation(graph, seed)
    kept, _ = execute(compile(order), fresh(model, graph, given_texts))
    assert cs.run(model, given_texts, order).digest == cs.run(model, given_texts, order, record=True).digest
    freed, _ = execute(compile(order), fresh(model, graph, given_texts), release=True)
    assert np.array_equal(np.asarray(kept.logits), np.asarray(freed.logits), equal_nan=True)
    assert freed.keys == freed.values == [None] * model.config.n_layers


def test_what_is_given_up_is_poison_for_the_next():
    """All of the first layer, then one position of the second, in the memory of the first."""
    launches = compile(cs.layer_major(GRAPH)).launches
    second = next(n for n, launch in enumerate(launches) if launch.slot == ("kv", 1))
    alone = [launch.restricted(slice(2, 3)) for launch in launches[second : second + 2]]
    state, outputs = execute(Program(GRAPH, (*launches[:second], *alone)), _bare(), release=True)
    assert state.reserved == 1
    assert np.isnan(np.asarray(outputs[-1].value)).all()  # it sees positions that nobody wrote


def test_a_program_that_reads_what_was_given_up_gets_poison():
    launches = compile(cs.layer_major(GRAPH)).launches
    late = next(n for n, launch in enumerate(launches) if launch.slot == ("attn", 0))
    state, _ = execute(Program(GRAPH, launches[: late + 1]), _bare(), release=True)
    _, outputs = execute(Program(GRAPH, (launches[late],)), state)
    assert np.isnan(np.asarray(outputs[0].value)[: len(launches[late])]).all()
