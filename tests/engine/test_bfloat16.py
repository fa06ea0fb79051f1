"""Models in bfloat16: one set of bits for every order, each value the rounding of what it was made from."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import causalsim as cs
from causalsim.engine import Program, Values, compile, event_values, many, run_orders
from causalsim.engine.digests import digest_of
from causalsim.engine.executables import Bodies
from causalsim.engine.planning import IndexArrays
from causalsim.events import Edge
from causalsim.foliations import random_orders
from causalsim.kernels import CERTIFIED, FIXED, STOCK
from causalsim.kernels.precision import from_storage, to_storage
from causalsim.testing import same_bits, ulps_apart
from causalsim.verification.faults import one_edge_inverted, with_batch_size, with_neighbour
from tests.engine.support import (
    execute,
    fresh,
    graphs_of,
    ids,
    normed,
    recycled,
    reference_logits,
    texts,
    turned,
)
from tests.models_for_tests import glass, tiny, wide

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
NARROW = tiny(n_heads=8, n_kv_heads=4, dtype="bfloat16")  # 64 wide.
PARALLEL = tiny(3, 2, 2, windows=(2, None, 3), parallel_residual=True, dtype="bfloat16")
WIDE = wide("bfloat16")
both = pytest.mark.parametrize("model", [NARROW, WIDE], ids=["narrow", "wide"])
LENGTH = 8  # Batches have 1 or 8 rows then: others cost seconds of compilation each.


@lru_cache(maxsize=3)
def _recorded(model: cs.Model) -> cs.Run:
    return cs.run(model, ids(model, LENGTH), record=True)


# -- one set of bits -------------------------------------------------------------------------------


lengths_together = st.tuples(st.integers(1, 8)) | st.tuples(st.integers(1, 4), st.integers(1, 4))


@settings(max_examples=10)
@given(
    lengths_together, st.integers(0, 2**32), st.sampled_from([cs.earliest, cs.latest, cs.token_major, None])
)
def test_orders_and_co_batched_requests_leave_every_value_its_bits(lengths, seed, family):
    _check_values(NARROW, cs.EventGraph(NARROW.config, lengths), seed, family)


@pytest.mark.slow
@settings(max_examples=40)
@given(st.data(), st.sampled_from([NARROW, PARALLEL]), st.integers(0, 2**32))
def test_orders_of_every_graph_leave_every_value_its_bits(data, model, seed):
    _check_values(model, data.draw(graphs_of(model)), seed)


def _check_values(model: cs.Model, graph: cs.EventGraph, seed: int, family=None) -> None:
    """Against each text alone, layer by layer."""
    given_texts = texts(model, graph.lengths, seed % 5)
    foliation = family(graph) if family else cs.random_foliation(graph, seed)
    found = cs.run(model, given_texts, foliation, record=True)
    for request, tokens in enumerate(given_texts):
        alone = cs.run(model, tokens, record=True)
        assert found.digests[request] == alone.digest
        for event in graph:
            if event.request == request and event.kind in ("embed", "kv", "attn", "mlp", "unembed"):
                assert same_bits(found.values[event], alone.values[replace(event, request=0)]), event


def _digests(model: cs.Model, length: int, seeds: int) -> set[str]:
    graph = cs.EventGraph(model.config, length)
    orders = [cs.chunked(graph, size) for size in (1, 3, 5, 13)]
    orders += [cs.random_linear_extension(graph, seed, method="kahn") for seed in range(seeds)]
    return {cs.run(model, ids(model, length), order, record=True).values_digest for order in orders}


@both
def test_chunks_and_random_orders_give_one_digest(model):
    assert _digests(model, LENGTH, 10) == {_recorded(model).values_digest}


@pytest.mark.slow
@pytest.mark.parametrize("length", [20, 40, 150])
@both
def test_chunks_and_random_orders_of_longer_texts_give_one_digest(model, length):
    if length <= model.config.max_length:
        assert len(_digests(model, length, 20)) == 1


def test_stock_kernels_at_width_768_are_caught():
    """The negative control, although rounding hides most of what goes wrong in the last bits."""
    tokens, graph = ids(WIDE, LENGTH), cs.EventGraph(WIDE.config, LENGTH)
    orders = cs.layer_major(graph), cs.token_major(graph)
    runs = [cs.run(WIDE, tokens, order, kernels=STOCK, record=True) for order in orders]
    assert runs[0].values_digest != runs[1].values_digest


@pytest.mark.slow
def test_batches_of_a_fixed_number_of_rows_give_the_same_bits():
    run = _recorded(NARROW)
    for order in (cs.layer_major(run.graph), cs.token_major(run.graph)):
        assert cs.run(NARROW, run.tokens, order, kernels=FIXED).digest == run.digest


def test_many_orders_in_one_call_give_the_same_bits(monkeypatch):
    monkeypatch.setattr(many, "TOGETHER", 16)
    monkeypatch.setattr(many, "ROWS", 8)
    run = _recorded(NARROW)
    found = run_orders(NARROW, run.tokens, random_orders(run.graph, 0, 16))
    many.executor_for.cache_clear()
    assert found.logits.dtype == BFLOAT16
    assert set(found.digests) == {run.digest}


@pytest.mark.slow
def test_a_trained_model_keeps_its_bits():
    model = cs.load("glass", dtype="bfloat16")
    tokens = model.encode("The little fairy flew over the wall")
    run = cs.run(model, tokens)
    assert cs.run(model, tokens, cs.token_major(run.graph)).digest == run.digest
    agree = (run.logits.argmax(axis=1) == cs.run(glass(), tokens).logits.argmax(axis=1)).mean()
    assert agree > 0.8


@pytest.mark.slow
@pytest.mark.parametrize(("model", "prompt"), [(NARROW, None), (WIDE, None), (PARALLEL, 2)])
def test_verification_holds(model, prompt):
    """Its planted faults included: each is as large as values of this type can show."""
    report = cs.verify(model, ids(model, 9), prompt=prompt, orders=4, events=8)
    assert report.holds, report.to_json()
    assert report.environment["dtype"] == "bfloat16"


@pytest.mark.parametrize("fault", [with_batch_size, with_neighbour])
def test_planted_faults_are_as_large_as_downcast_values_can_show(fault):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((8, NARROW.config.d_model), dtype=np.float32))
    weights = NARROW.weights()["layers"][0]["mlp"]
    sound, faulty = (
        kernels.mlp(NARROW.config, weights, x) for kernels in (CERTIFIED, fault(CERTIFIED, NARROW.dtype))
    )
    assert np.mean(np.asarray(sound.astype(BFLOAT16)) == np.asarray(faulty.astype(BFLOAT16))) < 0.1


# -- what the numbers are --------------------------------------------------------------------------


@both
def test_values_are_bfloat16_storage_and_in_hand(model):
    run = _recorded(model)
    parts = [part for event in run.graph for part in _parts(run.values[event])]
    assert {part.dtype for part in parts} == {run.logits.dtype} == {BFLOAT16}
    for name in ("hook_embed", "blocks.1.attn.hook_k", "blocks.1.attn.hook_rot_k", "logits"):
        assert run.values[name].dtype == BFLOAT16
    assert {array.dtype for array in model.params.values()} == {BFLOAT16}
    assert model.dtype == "bfloat16" and "bfloat16" in repr(model)
    leaves = jax.tree_util.tree_leaves_with_path(model.weights())
    large = [leaf for path, leaf in leaves if path[-1].key in ("matrix", "table")]
    assert len(large) == 2 + 5 * model.config.n_layers
    assert {leaf.dtype.itemsize for leaf in large} == {2}


def _parts(value) -> tuple[np.ndarray, ...]:
    return value if isinstance(value, tuple) else (value,)


def test_cells_take_half_the_bytes():
    graph = cs.EventGraph(NARROW.config, 30)
    narrow, plain = (
        fresh(model, graph, [[0] * 30]) for model in (NARROW, cs.Model(NARROW.config, NARROW.params))
    )
    assert narrow.tokens.nbytes == plain.tokens.nbytes
    ids_bytes = plain.tokens.nbytes
    assert plain.nbytes - ids_bytes == 2 * (narrow.nbytes - ids_bytes)


@both
def test_a_value_is_the_nearest_bfloat16_to_what_its_event_makes_of_what_it_reads(model):
    """Each event by itself, in double precision, from the recorded values that it reads.

    Float32 decides otherwise where the exact number lies within its own error of a tie.
    """
    exact = dict(_events_in_double_precision(model, _recorded(model)))
    assert len(exact) == 2 + 4 * model.config.n_layers
    for name, (found, expected) in exact.items():
        nearest = expected.astype(np.float32).astype(BFLOAT16)
        error = np.abs(found.astype(np.float64) - expected)
        assert (error <= 2.0**-8 * np.abs(expected) + 1e-5).all(), name
        assert np.mean(found == nearest) > 0.995, name


def _events_in_double_precision(model: cs.Model, run: cs.Run):
    config, values = model.config, run.values
    params = {name: array.astype(np.float64) for name, array in model.params.items()}

    def stack(name: str) -> np.ndarray:
        return values[name].astype(np.float64)

    yield "embed", (values["hook_embed"], params["embed"][run.tokens])
    for layer in range(config.n_layers):
        own = {name.split(".", 2)[2]: a for name, a in params.items() if name.startswith(f"layers.{layer}.")}
        at = f"blocks.{layer}"
        x = stack(f"{at}.hook_resid_pre")
        hidden = normed(config, x, own["attn.norm"])
        keys, queries = (
            turned(config, _heads(config, hidden @ own[f"attn.{name}"]).swapaxes(0, 1)).swapaxes(0, 1)
            for name in "kq"
        )
        yield f"{at} keys", (values[f"{at}.attn.hook_rot_k"], keys)
        yield f"{at} values", (values[f"{at}.attn.hook_v"], _heads(config, hidden @ own["attn.v"]))
        mixed = _mixed(queries, stack(f"{at}.attn.hook_rot_k"), stack(f"{at}.attn.hook_v"))
        yield f"{at} attn", (values[f"{at}.hook_resid_mid"], x + mixed @ own["attn.o"])
        middle = stack(f"{at}.hook_resid_mid")
        hidden = normed(config, middle, own["mlp.norm"])
        gate = hidden @ own["mlp.gate"]
        inner = gate / (1 + np.exp(-gate)) * (hidden @ own["mlp.up"])
        yield f"{at} mlp", (values[f"{at}.hook_resid_post"], middle + inner @ own["mlp.down"])
    last = normed(config, stack(f"{at}.hook_resid_post"), params["final_norm"])
    yield "unembed", (run.logits, last @ params["unembed"])


def _heads(config: cs.ModelConfig, x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), -1, config.d_head)


def _mixed(queries: np.ndarray, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    group = queries.shape[1] // keys.shape[1]
    keys, values = np.repeat(keys, group, axis=1), np.repeat(values, group, axis=1)
    scores = np.einsum("qhd,khd->hqk", queries, keys) / np.sqrt(keys.shape[2])
    shares = np.exp(np.where(np.tri(len(keys), dtype=bool), scores, -np.inf))
    shares /= shares.sum(axis=-1, keepdims=True)
    return np.einsum("hqk,khd->qhd", shares, values).reshape(len(queries), -1)


@both
def test_logits_are_near_those_of_the_same_parameters_in_float32(model):
    """Each of the 3 L + 2 roundings on the way up adds a part of the size of half a unit, 2**-8.

    Independent parts add up as their squares do; a uniform one is 1 / sqrt(3) of the greatest.
    """
    run = _recorded(model)
    narrow = run.logits.astype(np.float64)
    exact = reference_logits(cs.Model(model.config, model.params), run.tokens)
    error = np.sqrt(((narrow - exact) ** 2).mean() / (exact**2).mean())
    expected = 2.0**-8 * np.sqrt((3 * model.config.n_layers + 2) / 3)
    assert expected / 8 < error < 2 * expected


def test_the_sum_that_a_parallel_residual_leaves_is_downcast_as_all_its_readers_see_it():
    numbers = np.random.default_rng(0).standard_normal((4, 8, 16)).astype(BFLOAT16)
    at = IndexArrays(np.arange(24, dtype=np.int32).reshape(3, 8) % 8, 2)
    found = Bodies(PARALLEL.config, "stream", {}).stream(jnp.asarray(to_storage(numbers)), at)
    # Layer 1 left its attention in plane 1 and its MLP in plane 3.
    assert same_bits(from_storage(np.asarray(found)), numbers[1] + numbers[3])


@pytest.mark.slow
def test_blocks_of_a_parallel_residual_have_that_sum_as_their_value():
    plain = _recorded(PARALLEL)
    graph = cs.EventGraph(PARALLEL.config, LENGTH, granularity="block")
    blocks = cs.run(PARALLEL, plain.tokens, cs.layer_major(graph), record=True)
    for event in graph:
        attn, mlp = (plain.values[replace(event, kind=kind)] for kind in ("attn", "mlp"))
        assert same_bits(blocks.values[event], attn + mlp)
    assert blocks.digest == plain.digest


# -- tokens ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_samples_are_drawn_in_float32_from_the_downcast_logits(temperature):
    run = cs.generate(NARROW, ids(NARROW, 3), 5, temperature=temperature, seed=5)
    for position in range(2, 7):
        logits = run.logits[position].astype(np.float32)
        key = jax.random.fold_in(jax.random.key(5, impl="threefry2x32"), position)
        noise = jax.random.gumbel(key, logits.shape, jnp.float32)
        score = logits / np.float32(temperature) + noise if temperature else logits
        assert run.tokens[position + 1] == np.flatnonzero(score == score.max())[0]
    orders = [cs.token_major(run.graph), cs.random_foliation(run.graph, 1)]
    for order in orders:
        again = cs.generate(NARROW, ids(NARROW, 3), 5, order, temperature=temperature, seed=5)
        assert again.digest == run.digest


def test_ties_go_to_the_lowest_id():
    """Two words alike to the last bit, the greater of them first in nobody's favour."""
    params = {name: np.array(array) for name, array in NARROW.params.items()}
    best = cs.run(NARROW, [1, 2, 3]).logits[-1].argmax()
    params["unembed"][:, [7, 31]] = params["unembed"][:, [best]] * 2
    model = cs.Model(NARROW.config, params, dtype="bfloat16")
    run = cs.generate(model, [1, 2, 3], 1)
    assert run.logits[2][7] == run.logits[2][31] == run.logits[2].max()
    assert run.tokens[3] == 7


# -- poison ----------------------------------------------------------------------------------------


def test_what_runs_too_early_is_nan():
    model, plain = NARROW, _recorded(NARROW)
    graph = plain.graph
    edge = Edge(cs.Event("kv", 0, 0), cs.Event("attn", 0, 1), "kv")
    program = one_edge_inverted(graph, edge)
    _, outputs = execute(model, program, fresh(model, graph, [plain.tokens]))
    found = Values.from_outputs(model.config, graph, outputs)
    assert np.isnan(found[edge.target]).all() and found[edge.target].dtype == BFLOAT16
    assert same_bits(found[cs.Event("attn", 0, 0)], plain.values[cs.Event("attn", 0, 0)])


def test_fresh_memory_is_nan_and_released_memory_is_nan_again():
    graph = cs.EventGraph(NARROW.config, 3)
    state = fresh(NARROW, graph, texts(NARROW, (3,)))
    cells = [state.residual, state.logits, *state.keys, *state.values]
    assert all(np.isnan(np.asarray(part).view(BFLOAT16)).all() for part in cells)
    program = compile(cs.layer_major(graph))
    made, _, outputs = recycled(NARROW, program, texts(NARROW, (3,)))
    assert made.placement.pools == 1
    assert all(np.isfinite(np.concatenate([p.ravel() for p in _parts(rows)])).all()
               for _, _, rows in event_values(outputs))  # fmt: skip
    # The second layer at one position alone: it sees the others where the first layer's were.
    second = next(n for n, batch in enumerate(program.batches) if batch.site == ("kv", 1))
    alone = [batch.restricted(slice(2, 3)) for batch in program.batches[second : second + 2]]
    made, _, outputs = recycled(
        NARROW, Program(graph, (*program.batches[:second], *alone)), texts(NARROW, (3,))
    )
    ((site, _, rows),) = list(event_values(outputs))[-1:]
    assert made.placement.pools == 1 and site == ("attn", 1)
    assert np.isnan(rows).all() and rows.dtype == BFLOAT16


# -- digests, distances, refusals ------------------------------------------------------------------


def test_digests_and_comparisons_tell_types_apart():
    ones = np.ones(4, BFLOAT16)
    others = [ones.view(np.uint16), ones.astype(np.float32), ones.view(np.float16), -ones]
    assert len({digest_of([array]) for array in (ones, *others)}) == 5
    assert not any(same_bits(ones, other) for other in others)
    zero, nan = np.zeros(2, BFLOAT16), np.full(2, np.nan, BFLOAT16)
    assert not same_bits(zero, -zero) and ulps_apart(zero, -zero) == 0
    assert ulps_apart(zero, nan) is None and same_bits(nan, nan.copy())


@given(st.integers(0, 0x7F00), st.integers(0, 127), st.booleans())
def test_ulps_count_bfloat16_numbers(pattern, steps, below):
    x, y = (np.array([number], np.uint16).view(BFLOAT16) for number in (pattern, pattern + steps))
    assert ulps_apart(-x if below else x, -y if below else y) == steps
    assert ulps_apart(x, -y) == 2 * pattern + steps


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("dtype", ["float16", "Float32", "", "int8", np.float64, None, 3, [], {"a": 1}])
def test_other_types_are_refused(dtype):
    config, params = NARROW.config, NARROW.params
    makers = (
        lambda: cs.Model(config, params, dtype=dtype),
        lambda: cs.random_model(config, dtype=dtype),
        lambda: cs.load("nobody", dtype=dtype),
    )
    for make in makers:
        with pytest.raises(cs.InputError, match=r"known type: got dtype=.*expected 'float32' or 'bfloat16'"):
            make()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, BFLOAT16, ml_dtypes.bfloat16, np.float32, "float32"])
def test_types_are_known_by_any_of_their_names(dtype):
    assert cs.random_model(NARROW.config, dtype=dtype).dtype in ("float32", "bfloat16")


def test_the_type_is_given_by_name():
    with pytest.raises(TypeError, match="positional"):
        cs.random_model(NARROW.config, 0, "bfloat16")


def test_parameters_that_bfloat16_cannot_hold_are_refused():
    """The greatest float32 numbers round to infinity."""
    params = {name: np.array(array, np.float32) for name, array in NARROW.params.items()}
    params["final_norm"][3] = np.finfo(np.float32).max
    assert cs.Model(NARROW.config, params).dtype == "float32"
    with pytest.raises(cs.CheckpointError, match="final_norm: parameters are finite in bfloat16: got 1"):
        cs.Model(NARROW.config, params, dtype="bfloat16")


def test_parameters_are_downcast_and_nobody_elses():
    plain = tiny(n_heads=8, n_kv_heads=4)
    assert all(same_bits(NARROW.params[name], array.astype(BFLOAT16)) for name, array in plain.params.items())
    params = {name: np.array(array) for name, array in NARROW.params.items()}
    model = cs.Model(NARROW.config, params, dtype="bfloat16")
    params["embed"][:] = 0
    assert same_bits(model.params["embed"], NARROW.params["embed"])
    with pytest.raises(ValueError, match="read-only"):
        model.params["embed"][0, 0] = 1
