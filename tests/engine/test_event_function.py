"""An event as a function of its predecessors' values: the executed event's bits, and derivatives."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import causalsim as cs
from causalsim.engine import event_function
from causalsim.events import KINDS
from causalsim.kernels import KV, STOCK
from tests.engine.support import architectures, ids
from tests.models_for_tests import tiny, wide

GOLDEN = Path(__file__).parents[1] / "golden"
FAMILIES = sorted(path.parent.name for path in GOLDEN.glob("*/config.json"))
# One of each family in the fast suite, in both types; all of them when asked for.
FEW = {"gpt2": "float32", "gemma2_grouped": "bfloat16"}


def bits(value) -> list[bytes]:
    return [np.ascontiguousarray(part).tobytes() for part in jax.tree.leaves(value)]


def given_ids(graph: cs.EventGraph, event: cs.Event, tokens: list[int]):
    """Ids that no event of the graph makes."""
    if event.kind == "block":
        return tokens[: event.position + 1] if event.layer == 0 else None
    if event.kind == "sample":
        return tokens[event.position + 1]
    before = graph.predecessors(event) if event.kind == "embed" else [None]
    return None if list(before) else tokens[event.position]


def check(model: cs.Model, graph: cs.EventGraph, tokens: list[int], events=None) -> None:
    run = cs.run(model, tokens, cs.earliest(graph), record=True)
    for event in graph if events is None else events:
        function = event_function(model.config, model.weights(), event, dtype=model.dtype)
        found = function(run.values, ids=given_ids(graph, event, tokens))
        assert bits(found) == bits(run.values[event]), event
        assert jax.tree.map(np.shape, found) == jax.tree.map(np.shape, run.values[event])


@settings(max_examples=8)
@given(
    st.sampled_from(architectures()),
    st.integers(1, 6),
    st.sampled_from(["reading", "fed back", "block"]),
    st.integers(0, 9),
)
def test_it_has_the_bits_of_the_executed_event(model, length, how, seed):
    kept = {"prompt": max(1, length // 2)} if how == "fed back" else {}
    granularity = "block" if how == "block" else "sublayer"
    graph = cs.EventGraph(model.config, length, granularity=granularity, **kept)
    check(model, graph, ids(model, length, seed))


@pytest.mark.parametrize(("family", "dtype"), FEW.items())
def test_every_kind_of_a_family(family, dtype):
    model = cs.load(GOLDEN / family, dtype=dtype)
    check(model, cs.EventGraph(model.config, 4, prompt=3), ids(model, 4))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_kind_of_every_family(family, dtype):
    model = cs.load(GOLDEN / family, dtype=dtype)
    check(model, cs.EventGraph(model.config, 12, prompt=9), ids(model, 12))
    check(model, cs.EventGraph(model.config, 6, granularity="block"), ids(model, 6))


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_at_a_width_of_768(dtype):
    model = wide(dtype)
    check(model, cs.EventGraph(model.config, 4, prompt=3), ids(model, 4))


def test_over_the_boundary_of_a_page():
    for windows in (None, (4,), (131,)):
        model = tiny(1, 2, 1, windows=windows)
        graph = cs.EventGraph(model.config, 132)
        check(model, graph, ids(model, 132), [cs.Event("attn", 0, p) for p in (0, 127, 128, 129, 131)])


def test_of_another_request():
    model = tiny()
    graph = cs.EventGraph(model.config, (3, 4))
    texts = [ids(model, 3), ids(model, 4)]
    run = cs.run(model, texts, record=True)
    event = cs.Event("attn", 1, 2, request=1)
    assert event in graph
    function = event_function(model.config, model.weights(), event)
    assert bits(function(run.values)) == bits(run.values[event])


def test_a_free_sample_is_drawn_as_the_executed_one():
    model = tiny()
    for temperature in (0.0, 0.7):
        story = cs.generate(model, ids(model, 3), 4, temperature=temperature, seed=5, record=True)
        for event in story.graph:
            if event.kind == "sample":
                function = event_function(model.config, model.weights(), event)
                assert function(story.values, temperature=temperature, seed=5) == story.values[event]


# -- derivatives ---------------------------------------------------------------------------------


@pytest.fixture
def doubles():
    """Arithmetic in double precision, for finite differences."""
    with jax.enable_x64(True):
        yield


def wide_as_doubles(tree):
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), tree)


def smooth_inputs(model: cs.Model, event: cs.Event, rng: np.random.Generator):
    """Random values of an event's predecessors, in double precision."""
    config = model.config
    sizes = {"residual": (config.d_model,), "kv": (config.n_kv_heads, config.d_head)}

    def drawn(source: cs.Event):
        shape = sizes[KINDS[source.kind].writes]
        if source.kind == "kv":
            return KV(jnp.asarray(rng.standard_normal(shape)), jnp.asarray(rng.standard_normal(shape)))
        return jnp.asarray(rng.standard_normal(shape))

    function = event_function(config, wide_as_doubles(model.weights(STOCK)), event, kernels=STOCK)
    return function, {source: drawn(source) for source in function.predecessors}


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("kind", ["kv", "attn", "mlp", "unembed"])
@pytest.mark.parametrize("model", architectures()[1:], ids=lambda model: repr(model.config.wiring))
def test_derivatives_are_those_of_finite_differences(model, kind):
    rng = np.random.default_rng(0)
    layer = {"unembed": model.config.n_layers}.get(kind, model.config.n_layers - 1)
    function, values = smooth_inputs(model, cs.Event(kind, layer, 4), rng)
    direction = jax.tree.map(lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape)), values)

    def moved(step: float):
        return function(jax.tree.map(lambda a, b: a + step * b, values, direction))

    _, along = jax.jvp(function, (values,), (direction,))
    # Traced, so that all arithmetic is the same on both sides and in double precision.
    ends = [jax.jit(moved)(step) for step in (1e-5, -1e-5)]
    for found, plus, minus in zip(*map(jax.tree.leaves, (along, *ends)), strict=True):
        expected = (plus - minus) / 2e-5
        assert found.dtype == jnp.float64 and np.abs(found).max() > 1e-3
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)
    back = jax.vjp(function, values)[1](jax.tree.map(jnp.ones_like, function(values)))[0]
    forward = sum(float(jnp.sum(leaf)) for leaf in jax.tree.leaves(along))
    pairs = zip(jax.tree.leaves(back), jax.tree.leaves(direction), strict=True)
    assert np.isclose(sum(float(jnp.vdot(a, b)) for a, b in pairs), forward, rtol=1e-9)


def test_a_bfloat16_has_the_derivative_of_the_number_that_was_rounded():
    model = tiny(dtype="bfloat16")
    event = cs.Event("mlp", 0, 0)
    function = event_function(model.config, model.weights(STOCK), event, kernels=STOCK, dtype="bfloat16")
    (source,) = function.predecessors
    x = jnp.asarray(np.random.default_rng(0).standard_normal(model.config.d_model), jnp.float32)
    _, along = jax.jvp(lambda x: function({source: x}), (x,), (jnp.ones_like(x),))
    assert np.abs(np.asarray(along)).min() > 0


# -- refusals ------------------------------------------------------------------------------------


def test_what_is_missing_is_named():
    model = tiny()
    attention = event_function(model.config, model.weights(), cs.Event("attn", 0, 1))
    with pytest.raises(cs.InputError, match=r"got no value of embed\(1\) for attn\(0,1\)"):
        attention({})
    embedding = event_function(model.config, model.weights(), cs.Event("embed", -1, 2))
    with pytest.raises(cs.InputError, match="an embedding reads a token: got neither ids nor"):
        embedding({})
    block = event_function(model.config, model.weights(), cs.Event("block", 0, 2))
    with pytest.raises(cs.InputError, match=r"reads the ids of its text: got ids of shape \(2,\)"):
        block({}, ids=[1, 2])
