"""Ways to change bits by order that were once not seen: certificate and verdicts refuse each."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import causalsim as cs
from causalsim.engine import executor, many
from causalsim.engine.joining import deepest
from causalsim.engine.state import poisoned_again
from causalsim.kernels import CERTIFIED, PAGE
from causalsim.testing.findings import Finding
from causalsim.verification import (
    batch_invariance,
    causal_invariance,
    faults,
    many_orders,
    order_independence,
)
from causalsim.verification.bench import Bench, Tally, run_trials
from causalsim.verification.certificate import certificate_of
from causalsim.verification.many_orders import compare_in_one_call
from causalsim.verification.target import Target
from causalsim.verification.trials import forms, in_rotation
from tests.models_for_tests import tiny, wide
from tests.verification.test_exploration import target

LITTLE = 2.0**-18


def broken(whole: Target, thorough: bool) -> dict[str, str]:
    """The conditions that a certificate finds broken, and their witnesses."""
    found = certificate_of(whole, thorough)
    assert not found.holds
    return {part.name: str(part.witness) for part in found.parts if not part.holds}


def ordered(whole: Target) -> Finding:
    return order_independence.order_independence(whole, 2, 0, lambda *_: None)


def batched(whole: Target) -> Finding:
    return batch_invariance.batch_invariance(whole, 2, 0, lambda *_: None)


# -- what stands beside a row ----------------------------------------------------------------------


def two_apart(config, weights, x, positions, pages):
    """Other bits where the first rows' positions are two apart, as in every second position of a layer."""
    value = CERTIFIED.attn(config, weights, x, positions, pages)
    if len(positions) < 3:
        return value
    apart = (positions[1] - positions[0] == 2) & (positions[2] - positions[1] == 2)
    return jnp.where(apart, value * (1 + LITTLE), value)


def at_fourth(_config, _weights, x, mlp=CERTIFIED.mlp):
    value = mlp(_config, _weights, x)
    return value.at[3].multiply(1 + LITTLE) if len(value) > 3 else value


def by_iota(config, weights, x):
    place = jax.lax.broadcasted_iota(jnp.float32, (len(x), 1), 0)
    return CERTIFIED.mlp(config, weights, x) * (1 + LITTLE * (place == 5))


@pytest.mark.parametrize("thorough", [True, False])
@pytest.mark.parametrize(
    ("kind", "kernel"), [("attn", two_apart), ("mlp", at_fourth), ("mlp", by_iota)],
    ids=["rows two apart", "fourth row", "sixth row"],
)  # fmt: skip
def test_what_stands_beside_a_row_is_refused(kind, kernel, thorough):
    whole = target(9, n_layers=1, kernels=CERTIFIED.replaced("spoilt", **{kind: kernel}))
    assert "rows" in broken(whole, thorough)


@pytest.mark.parametrize("thorough", [True, False])
def test_trials_see_a_row_of_a_batch_that_the_reference_does_not_have(thorough):
    """Thorough ones, too: there an event is between others as well."""

    def at_fourth_of_eight(config, weights, x):
        return at_fourth(config, weights, x) if len(x) == 8 else CERTIFIED.mlp(config, weights, x)

    whole = target(9, n_layers=1, kernels=CERTIFIED.replaced("spoilt", mlp=at_fourth_of_eight))
    assert str(run_trials(whole, thorough)[0].wrong).startswith("other bits of")


@pytest.mark.parametrize(
    ("kind", "kernel"), [("attn", two_apart), ("mlp", at_fourth)], ids=["rows two apart", "fourth row"]
)
def test_batch_invariance_sees_what_stands_beside_a_row(kind, kernel):
    assert not batched(target(9, n_layers=1, kernels=CERTIFIED.replaced("spoilt", **{kind: kernel}))).holds


def test_an_attention_that_adds_a_page_number_is_refused():
    def attn(config, weights, x, positions, pages):
        value = CERTIFIED.attn(config, weights, x, positions, pages)
        return value + pages.table.reshape(-1)[0] * jnp.float32(LITTLE)

    spoilt = broken(target(3, n_layers=1, kernels=CERTIFIED.replaced("spoilt", attn=attn)), False)
    assert "a result is made of an address" in spoilt["addresses"]


# -- dispatches of several layers --------------------------------------------------------------------


@pytest.fixture
def wrong_from_other_layers(monkeypatch):
    """Several layers go wrong where the first is no multiple of their number."""
    layers = executor._layers

    def spoilt(dispatch, state, computation, keep):
        after, values = layers(dispatch, state, computation, keep)
        if dispatch.layers > 1 and dispatch.site.layer % dispatch.layers:
            after = replace(after, residual=after.residual * (1 + LITTLE))
        return after, values

    monkeypatch.setattr(executor, "_layers", spoilt)


@pytest.mark.usefixtures("wrong_from_other_layers")
@pytest.mark.parametrize("thorough", [True, False])
def test_layers_from_any_first_layer_are_tried(thorough):
    assert deepest(7) == 6
    assert "garbage" in broken(target(3, n_layers=7), thorough)


@pytest.mark.usefixtures("wrong_from_other_layers")
def test_orders_begin_dispatches_at_every_layer():
    assert not ordered(target(3, n_layers=7)).holds


def test_kv_that_several_sublayers_lose_is_seen(monkeypatch):
    """K/V that a whole layer has to write does not lie in memory before it."""
    layers = executor._layers

    def losing(dispatch, state, computation, keep):
        keys, values = (tuple(map(jnp.copy, cells)) for cells in (state.keys, state.values))
        after, made = layers(dispatch, state, computation, keep)
        return replace(after, keys=keys, values=values), made

    whole = target(3, n_layers=1)
    trials = [
        trial
        for form, group in forms(whole.graph, whole.kernels.buckets)
        if form.layers and form.rows == 1
        for trial in in_rotation(form, group, 0)
    ]
    assert Bench(whole).run(trials, Tally()).witness is None
    monkeypatch.setattr(executor, "_layers", losing)
    assert Bench(whole).run(trials, Tally()).wrong is not None


# -- many orders in one call -------------------------------------------------------------------------


def test_many_orders_in_one_call_are_compared(monkeypatch):
    """Their executable is none of the dispatches': nothing else sees a fault of its own."""
    planned = many.plan_of

    def one_position_off(graph, orders, rows):
        made = planned(graph, orders, rows)
        packed = made.packed.copy()
        # In one row of each batch.
        packed[:, 1, 0] = (packed[:, 1, 0] + 1) % graph.lengths[0]
        return made._replace(packed=packed)

    whole = target(3, n_layers=1)
    orders, *rest = compare_in_one_call(whole, 0)
    assert rest == [3, None] and many.TOGETHER // 2 < orders <= many.TOGETHER
    monkeypatch.setattr(many, "plan_of", one_position_off)
    assert list(found := broken(whole, True)) == ["program"]
    assert "orders in one call, order" in found["program"]
    assert certificate_of(whole, False).holds


def test_orders_in_one_call_are_several_or_none(monkeypatch):
    """Of one position there is but one order; what would take too much memory is not compared, and told."""
    whole = target(4, n_layers=1)
    weights = sum(part.nbytes for part in whole.model.params.values())
    position = 4 * many.TOGETHER * whole.model.config.vocab_size
    for positions in (4, 2):
        monkeypatch.setattr(many_orders, "MOST_BYTES", weights + position * positions)
        assert compare_in_one_call(whole, 0).positions == positions
        assert compare_in_one_call(whole, 0).orders > 1
    monkeypatch.setattr(many_orders, "MOST_BYTES", weights + 2 * position - 1)
    assert compare_in_one_call(whole, 0) == (0, 0, None)
    (program,) = (part for part in certificate_of(whole, True).parts if part.name == "program")
    assert program.holds and "not compared, for want of memory" in str(program.coverage)


# -- memory that serves again ------------------------------------------------------------------------


@pytest.fixture
def poisoning_all(monkeypatch):
    """All pages of a pool are poisoned as soon as one serves again."""

    def spoilt(state, places):
        keys, values = list(state.keys), list(state.values)
        for pool in {pool for pool, _ in places}:
            every = np.arange(state.layout.pages, dtype=np.int32)
            keys[pool], values[pool] = poisoned_again(keys[pool], values[pool], every, np.int32(len(every)))
        return replace(state, keys=tuple(keys), values=tuple(values))

    monkeypatch.setattr(executor, "_with_poison", spoilt)


@pytest.mark.usefixtures("poisoning_all")
def test_poisoning_too_much_is_refused():
    texts = [[1, 2, 3], [4, 5]]
    whole = Target.of(tiny(n_layers=2), texts)
    assert "are poisoned" in broken(whole, False)["lifetime"]


def test_poisoning_too_little_is_refused(monkeypatch):
    monkeypatch.setattr(executor, "_with_poison", lambda state, _: state)
    assert "are poisoned" in broken(target(3, n_layers=2), False)["lifetime"]


@pytest.mark.usefixtures("poisoning_all")
def test_orders_run_on_memory_that_serves_again():
    """A page of one layer is poisoned while another, in the same pool, is still read."""
    ids = np.arange(2 * PAGE + 20) % 40
    whole = Target.of(tiny(n_layers=2, n_heads=2, windows=(8, 8)), ids.tolist())
    assert whole.refuted("wavefront", cs.wavefront(whole.graph)) is not None


def test_nothing_is_refused_where_pages_are_poisoned_as_planned():
    """The check above can pass."""
    ids = np.arange(2 * PAGE + 20) % 40
    whole = Target.of(tiny(n_layers=2, n_heads=2, windows=(8, 8)), ids.tolist())
    assert whole.refuted("wavefront", cs.wavefront(whole.graph)) is None


# -- samples --------------------------------------------------------------------------------------------


def wrong_when_free(config, logits, positions, given, temperature, seed):
    """Another token in batches of several rows, where none is given."""
    ids = CERTIFIED.sample(config, logits, positions, given, temperature, seed)
    return jnp.where(given >= 0, ids, (ids + 1) % config.vocab_size) if len(given) > 1 else ids


def wrong_when_drawn(config, logits, positions, given, temperature, seed):
    ids = CERTIFIED.sample(config, logits, positions, given, temperature, seed)
    other = jnp.where((given < 0) & (temperature > 0), (ids + 1) % config.vocab_size, ids)
    return other if len(given) > 1 else ids


@pytest.mark.parametrize("sample", [wrong_when_free, wrong_when_drawn], ids=["free", "with temperature"])
@pytest.mark.parametrize("thorough", [True, False])
def test_free_samples_are_tried(sample, thorough):
    texts = [[1, 2, 3]] * 3
    whole = Target.of(tiny(n_layers=1), texts, prompt=2, kernels=CERTIFIED.replaced("spoilt", sample=sample))
    assert "garbage" in broken(whole, thorough)


@pytest.mark.parametrize("sample", [wrong_when_free, wrong_when_drawn], ids=["free", "with temperature"])
def test_batch_invariance_draws_samples(sample):
    assert not batched(target(2, n_layers=1, kernels=CERTIFIED.replaced("spoilt", sample=sample))).holds


@pytest.mark.parametrize("heat", [0.0, 1.0], ids=["likeliest", "drawn"])
def test_the_reads_of_free_samples_are_recorded(heat):
    """A sample that heeds its logits only where its id is given, or the temperature is another."""

    def heedless(config, logits, positions, given, temperature, seed):
        ids = CERTIFIED.sample(config, logits, positions, given, temperature, seed)
        return jnp.where((given < 0) & (temperature == heat), 0, ids)

    plain = Target.of(tiny(n_layers=1), [[1, 2, 3, 4]], prompt=3)
    assert causal_invariance.causal_invariance(plain, None, 0, lambda *_: None).holds
    spoilt = plain.with_kernels(CERTIFIED.replaced("spoilt", sample=heedless))
    found = causal_invariance.causal_invariance(spoilt, None, 0, lambda *_: None)
    assert str(found.witness).startswith(f"at temperature {heat:g}, sample(2) did not read unembed(2)")


def test_a_text_that_is_drawn_is_the_one_that_generate_writes():
    whole = target(6, 3)
    for temperature in (0.0, 1.0):
        drawn = whole.drawing(temperature, seed=3)
        run = cs.generate(whole.model, whole.ids[0][:3], 3, temperature=temperature, seed=3)
        assert drawn.ids[0].tolist() == run.tokens.tolist()


# -- what the certificate cannot look into -----------------------------------------------------------------


def test_it_does_not_apply_to_what_cannot_be_looked_into():
    whole = target(2, n_layers=1, kernels=faults.now_and_then(CERTIFIED, 0.0))
    words = broken(whole, False)["rows"]
    assert (
        words.startswith("the certificate does not apply") and "pure_callback cannot be looked into" in words
    )


@pytest.mark.slow
def test_a_wide_model_is_certified_from_end_to_end():
    found = certificate_of(Target.of(wide(), [1, 2, 3, 4], prompt=3), thorough=True)
    assert found.holds


# -- runs that keep no values ------------------------------------------------------------------------------


def test_a_run_that_keeps_no_values_is_compared_too(monkeypatch):
    run_dispatch = executor.run_dispatch

    def spoilt(dispatch, state, computation, *, keep=True):
        after, values = run_dispatch(dispatch, state, computation, keep=keep)
        return (after if keep else replace(after, residual=after.residual * (1 + LITTLE))), values

    monkeypatch.setattr(executor, "run_dispatch", spoilt)
    words = broken(target(2, n_layers=1), False)
    assert list(words) == ["program"] and words["program"].startswith("logits of unembed(")
