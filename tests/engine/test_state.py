"""The state is a pytree of arrays of known shapes, and the executor a pure function of plan and state."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import causalsim as cs
from causalsim.engine import Layout, Planner, Sampling, State, compile, plan, run_dispatch
from causalsim.engine import execute as follow
from causalsim.engine.executor import with_cells
from causalsim.engine.placement import Placement
from causalsim.events import Site
from causalsim.kernels import CERTIFIED_BUCKETS, PAGE
from tests.engine.support import architectures, bits, cells_of, fresh, fresh_for, graphs_of, ids, texts
from tests.models_for_tests import tiny

MODEL = tiny(n_layers=4)
GRAPH = cs.EventGraph(MODEL.config, 6)
IDS = [np.asarray(ids(MODEL, 6), np.int32)]


def _made(**options) -> State:
    return State.fresh(MODEL.config, MODEL.dtype, GRAPH, IDS, **options)


@given(st.sets(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=1).map(sorted))
def test_pages_that_serve_again_are_poison_and_no_others(places):
    """A dispatch of padding that takes over some places of memory in which nothing is poison."""
    lengths = (3 * PAGE + 1,)
    graph = cs.EventGraph(MODEL.config, lengths)
    blank = State.fresh(MODEL.config, MODEL.dtype, graph, [np.zeros(lengths, np.int32)])
    full = replace(blank, **jax.tree.map(jnp.ones_like, blank.cells()))
    placement = Placement.apart(MODEL.config.n_layers, full.layout)
    planner = Planner(graph.wiring, full.layout, placement, CERTIFIED_BUCKETS)
    padding = replace(planner.scratch(Site("mlp", 0), 1), recycled=tuple(places))
    after, _ = run_dispatch(padding, full, MODEL.computation())
    for pool, page in np.ndindex(len(after.keys), full.layout.pages):
        for cells in (after.keys, after.values):
            found = np.isnan(np.asarray(cells[pool][page]))
            assert found.all() if (pool, page) in places else not found.any()


@pytest.mark.parametrize("name", ["tokens", "residual", "keys", "values", "logits"])
def test_the_fast_way_to_change_a_state_is_that_of_dataclasses(name):
    state, other = _made(), _made()
    before = dict(vars(state))
    fast, plain = (way(state, **{name: getattr(other, name)}) for way in (with_cells, replace))
    assert list(vars(fast)) == list(vars(plain)) and vars(state).keys() == before.keys()
    assert all(getattr(fast, each) is getattr(plain, each) for each in vars(plain))
    assert getattr(fast, name) is getattr(other, name)
    assert all(getattr(state, each) is value for each, value in before.items())


@pytest.mark.parametrize("model", [*architectures(), tiny(dtype="bfloat16")])
@pytest.mark.parametrize("lengths", [(3,), (200, 70)])
def test_fields_have_the_shapes_that_are_documented(model, lengths):
    config, graph = model.config, cs.EventGraph(model.config, lengths)
    layout = Layout(lengths, spare=1)
    given_ids = [np.asarray(text, np.int32) for text in texts(model, lengths)]
    state = State.fresh(config, model.dtype, graph, given_ids, pools=2, layout=layout)
    tokens, pages, heads = layout.tokens + 1, layout.pages + 1, (config.n_kv_heads, config.d_head)
    assert layout.tokens >= sum(lengths) and layout.pages > sum(-(-length // PAGE) for length in lengths)
    planes = 4 if config.parallel_residual else 1
    assert state.tokens.shape == state.sampling.given.shape == (tokens,)
    assert state.residual.shape == (planes, tokens, config.d_model)
    assert [keys.shape for keys in state.keys] == [(pages, *heads, PAGE)] * 2
    assert [values.shape for values in state.values] == [(pages, heads[0], PAGE, heads[1])] * 2
    assert state.logits.shape == (tokens, config.vocab_size)
    cells = jax.tree.leaves(state.cells())
    assert len(cells) == 7 and state.nbytes == sum(leaf.nbytes for leaf in cells)
    width = {"float32": 4, "bfloat16": 2}[model.dtype]
    assert {leaf.dtype.itemsize for leaf in cells if leaf is not state.tokens} == {width}


def test_a_state_is_a_pytree_that_keeps_its_graph_and_layout():
    state = _made(sampling=Sampling(np.full(65, -1, np.int32), 0.5, 7))
    leaves, structure = jax.tree.flatten(state)
    assert len(leaves) == 3 + 2 * 4 + 3
    again = jax.tree.unflatten(structure, leaves)
    assert isinstance(again, State) and all(
        a is b for a, b in zip(leaves, jax.tree.leaves(again), strict=True)
    )
    assert again.graph is state.graph and again.layout is state.layout
    assert (again.sampling.temperature, again.sampling.seed) == (0.5, 7)
    doubled = jax.tree.map(lambda leaf: leaf * 2, state)
    assert doubled.graph == GRAPH and doubled.layout == state.layout
    assert np.array_equal(doubled.tokens, 2 * np.asarray(state.tokens))
    assert (doubled.sampling.temperature, doubled.sampling.seed) == (1.0, 14)
    names = {jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(state)}
    assert {".tokens", ".residual", ".keys[3]", ".values[0]", ".logits", ".sampling.given"} <= names


def test_states_of_other_graphs_or_layouts_have_other_structures():
    other = cs.EventGraph(MODEL.config, 6, prompt=3)
    structures = [jax.tree.structure(state) for state in (_made(), _made(), _made(layout=Layout((6,), 1)))]
    assert structures[0] == structures[1] != structures[2]
    assert jax.tree.structure(replace(_made(), graph=other)) != structures[0]


def test_a_state_goes_through_jit():
    traced: list[State] = []

    @jax.jit
    def written(state: State) -> State:
        traced.append(state)
        return replace(state, residual=jnp.zeros_like(state.residual))

    found = written(_made())
    assert traced[0].graph == found.graph == GRAPH and traced[0].layout == found.layout
    assert not np.asarray(found.residual).any()
    written(_made())
    assert len(traced) == 1, "the same structure is not traced again"


@pytest.mark.parametrize(
    "change",
    [
        {"tokens": jnp.zeros(65)},
        {"tokens": jnp.zeros((65, 1), jnp.int32)},
        {"residual": jnp.zeros((65, 32))},
        {"keys": jnp.zeros((2, 2, 8, 128))},
        {"logits": jnp.zeros(65)},
    ],
)
def test_arrays_of_other_shapes_are_refused(change):
    with pytest.raises(jaxtyping.TypeCheckError):
        replace(_made(), **change)


# -- the executor ------------------------------------------------------------------------------------


def _bits(outputs) -> list:
    return [[bits(leaf) for leaf in jax.tree.leaves(jax.device_get(output.value))] for output in outputs]


@settings(max_examples=8)
@given(st.data(), st.sampled_from(architectures()), st.integers(0, 99), st.booleans())
def test_the_same_plan_on_copies_of_a_state_gives_the_same_bits(data, model, seed, recycle):
    graph = data.draw(graphs_of(model))
    made = plan(compile(cs.random_foliation(graph, seed)), CERTIFIED_BUCKETS, recycle=recycle)
    state = fresh_for(model, made, texts(model, graph.lengths))
    before, ends = cells_of(state), []
    for keep in (True, True, False):
        end, outputs = follow(made, state.copy(), model.computation(), keep=keep)
        ends.append((cells_of(end), _bits(outputs)))
        assert end.graph is state.graph and end.layout is state.layout and end.sampling is state.sampling
        assert keep or not any(ends[-1][1])
    assert ends[0] == ends[1] and ends[0][0] == ends[2][0]
    assert cells_of(state) == before


@pytest.mark.usefixtures("unchecked")
def test_states_that_are_not_the_plans_are_refused_before_anything_runs():
    recycling = plan(compile(cs.token_major(GRAPH)), CERTIFIED_BUCKETS)
    keeping = plan(compile(cs.layer_major(GRAPH)), CERTIFIED_BUCKETS, recycle=False)
    assert recycling.placement.pools == 4
    other = cs.EventGraph(MODEL.config, 6, prompt=3)
    refused = {
        "own graph: got": fresh(MODEL, other, IDS),
        "own layout: got .*spare=1.* with 4 pools, expected .*spare=0.* with 4": _made(
            layout=Layout((6,), 1)
        ),
        "own layout: got .* with 3 pools, expected .* with 4": _made(pools=3),
    }
    for made in (recycling, keeping):
        for words, state in refused.items():
            before = cells_of(state)
            with pytest.raises(cs.InputError, match=words):
                follow(made, state, MODEL.computation())
            assert cells_of(state) == before


def test_pools_that_a_plan_does_not_need_stay_as_they_are():
    made = plan(compile(cs.layer_major(GRAPH)), CERTIFIED_BUCKETS)
    assert made.placement.pools == 1
    end, _ = follow(made, _made(), MODEL.computation())
    assert np.isfinite(np.asarray(end.keys[0])).any()
    assert all(np.isnan(np.asarray(pool)).all() for pool in (*end.keys[1:], *end.values[1:]))
