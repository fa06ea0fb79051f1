"""The trained glass model against its own package: every value, and the same continuation."""

from __future__ import annotations

import glassllm
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import causalsim as cs
from tests.models_for_tests import SENTENCE, glass

ORACLE, _ = glassllm.load_pretrained("en")
TOLERANCE = 1e-4


def _traced(tokens: list[int]) -> glassllm.Tracer:
    tracer = glassllm.Tracer()
    with glassllm.no_grad():
        ORACLE(np.array(tokens), trace=tracer)
    return tracer


def _halves(heads: np.ndarray) -> np.ndarray:
    """(head, position, d_head) in adjacent pairs, as (position, head, d_head) in halves."""
    return np.moveaxis(np.concatenate([heads[..., 0::2], heads[..., 1::2]], axis=-1), 0, 1)


def _assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


@settings(max_examples=12)
@given(st.lists(st.integers(0, 1023), min_size=1, max_size=40), st.integers(0, 99))
@example(glass().encode(SENTENCE), 0)
def test_every_value_of_every_layer(tokens, seed):
    graph = cs.EventGraph(glass().config, len(tokens))
    run = cs.run(glass(), tokens, cs.random_foliation(graph, seed), record=True)
    trace = _traced(tokens)
    _assert_close(run.values["hook_embed"], trace.get("embed").value)
    for layer in range(4):

        def hook(name, layer=layer):
            return run.values[f"blocks.{layer}.{name}"]

        def theirs(step, layer=layer):
            return trace.get(step, layer).value

        _assert_close(hook("attn.hook_rot_k"), _halves(theirs("attn.rope_k")))
        _assert_close(hook("attn.hook_k"), _halves(theirs("attn.k")))
        _assert_close(hook("attn.hook_v"), np.moveaxis(theirs("attn.v"), 0, 1))
        _assert_close(hook("hook_resid_mid"), theirs("resid.attn"))
        _assert_close(hook("hook_resid_post"), theirs("resid.ffn"))
    _assert_close(run.values["logits"], trace.get("logits").value)
    _assert_close(run.logits, trace.get("logits").value)


def test_the_comparison_would_see_another_convention():
    """A negative control: keys in adjacent pairs are far from ours, so the tolerance means something."""
    tokens = glass().encode(SENTENCE)
    run = cs.run(glass(), tokens, record=True)
    theirs = np.moveaxis(_traced(tokens).get("attn.rope_k", 2).value, 0, 1)
    assert np.abs(run.values["blocks.2.attn.hook_rot_k"] - theirs).max() > 0.1
    ours = run.values["blocks.2.attn.hook_rot_k"]
    assert np.abs(ours - run.values["blocks.2.attn.hook_k"])[0].max() == 0  # position 0 is not turned
    assert np.abs(ours - run.values["blocks.2.attn.hook_k"])[1:].max() > 0.1


@pytest.mark.parametrize("prompt", ["Once upon a time", "The little dog", SENTENCE, "a"])
def test_the_same_greedy_continuation(prompt):
    tokens = glass().encode(prompt)
    theirs = [step.token for step in ORACLE.generate(tokens, 20, greedy=True)]
    assert cs.generate(glass(), prompt, 20).tokens[len(tokens) :].tolist() == theirs


def test_the_whole_context_and_no_more():
    tokens = np.random.default_rng(0).integers(1024, size=128).tolist()
    run = cs.run(glass(), tokens)
    with glassllm.no_grad():
        _assert_close(run.logits, ORACLE(np.array(tokens)).data[0])
    with pytest.raises(cs.InputError, match=r"got 129 tokens .* expected at most 128"):
        cs.run(glass(), [*tokens, 0])
