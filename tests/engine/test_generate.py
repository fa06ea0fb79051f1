"""Continuing a text: the same tokens in every order and beside any others, drawn as the design says."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import causalsim as cs
from tests.engine.support import architectures, bits, ids, reference_logits
from tests.models_for_tests import glass, tiny, wide


def _feedback(model: cs.Model, prompts, n: int) -> cs.EventGraph:
    return cs.EventGraph(model.config, [prompt + n for prompt in prompts], prompt=prompts)


@settings(max_examples=15)
@given(
    st.sampled_from(architectures()), st.integers(1, 4), st.integers(1, 4),
    st.sampled_from([0.0, 0.7, 3]), st.integers(0, 2**31 - 1),
)  # fmt: skip
def test_the_order_does_not_matter_and_the_text_reproduces_itself(model, prompt, n, temperature, seed):
    start = ids(model, prompt, seed % 7)
    plain = cs.generate(model, start, n, temperature=temperature, seed=seed, record=True)
    tokens = plain.tokens.tolist()
    assert tokens[:prompt] == start
    assert len(tokens) == prompt + n
    graph = _feedback(model, (prompt,), n)
    for foliation in (cs.token_major(graph), cs.earliest(graph), cs.random_foliation(graph, seed)):
        again = cs.generate(model, start, n, foliation, temperature=temperature, seed=seed, record=True)
        assert (again.digest, again.values_digest) == (plain.digest, plain.values_digest)
        assert again.tokens.tolist() == tokens
        forced = cs.run(model, tokens, foliation, record=True)
        assert (forced.digest, forced.values_digest) == (plain.digest, plain.values_digest)
    assert cs.run(model, tokens).digest == plain.digest
    for p in range(prompt - 1, prompt + n - 1):
        assert tokens[p + 1] == _chosen(plain.logits[p], p, temperature, seed)
        assert plain.values[cs.Event("sample", model.config.n_layers, p)] == tokens[p + 1]


def _chosen(logits: np.ndarray, position: int, temperature: float, seed: int) -> int:
    if temperature == 0:
        return int(np.flatnonzero(logits == logits.max())[0])
    key = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), position)
    return int(
        jnp.argmax(logits / jnp.float32(temperature) + jax.random.gumbel(key, logits.shape, jnp.float32))
    )


def test_greedy_follows_a_plain_transformer():
    model = tiny()
    tokens = ids(model, 3)
    for _ in range(6):
        tokens.append(int(reference_logits(model, tokens)[-1].argmax()))
    assert cs.generate(model, tokens[:3], 6).tokens.tolist() == tokens


@pytest.mark.parametrize("model", [tiny, wide])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_requests_are_continued_as_if_alone(model, temperature):
    model = model()
    prompts = [ids(model, length, 3) for length in (2, 5, 1)]
    graph = _feedback(model, (2, 5, 1), 4)
    alone = [cs.generate(model, prompt, 4, temperature=temperature, seed=9) for prompt in prompts]
    for foliation in (None, cs.token_major(graph), *(cs.random_foliation(graph, s) for s in range(4))):
        together = cs.generate(model, prompts, 4, foliation, temperature=temperature, seed=9)
        assert [each.tokens.tolist() for each in together.requests] == [one.tokens.tolist() for one in alone]
        assert list(together.digests) == [one.digest for one in alone]


def test_a_seed_and_a_temperature_matter():
    texts = {
        cs.generate(glass(), "The", 12, temperature=temperature, seed=seed).text
        for temperature, seed in [(0.0, 0), (0.0, 1), (1.0, 0), (1.0, 1), (0.5, 0)]
    }
    assert len(texts) == 4
    assert all(text.startswith("The") for text in texts)


def test_texts_of_several_prompts():
    run = cs.generate(glass(), ["The", "Once"], 1)
    lengths = [len(glass().encode(prompt)) + 1 for prompt in ("The", "Once")]
    assert [len(each.tokens) for each in run.requests] == lengths
    assert run.requests[1].text == cs.generate(glass(), "Once", 1).text


def test_up_to_the_end_of_the_context():
    tokens = ids(glass(), 127)
    assert len(cs.generate(glass(), tokens, 1).tokens) == 128
    with pytest.raises(cs.InputError, match=r"got 129 tokens .* expected at most 128"):
        cs.generate(glass(), tokens, 2)


def test_the_prompt_of_a_generation_is_the_run_of_the_prompt():
    model = tiny()
    start = ids(model, 4)
    assert bits(cs.generate(model, start, 3).logits[:4]) == bits(cs.run(model, start).logits)
