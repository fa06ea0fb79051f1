"""Small models of every architecture: right against plain NumPy, and one set of bits for all orders."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import causalsim as cs
from causalsim.testing.strategies import configs, foliations, graphs
from tests.engine.support import architectures, bits, graphs_of, ids, reference_logits, texts
from tests.models.textbook import forward

MODELS = architectures()
NAMES = ["llama", "multi-query", "windows", "parallel"]
several_models = pytest.mark.parametrize("model", MODELS, ids=NAMES)


@several_models
@pytest.mark.parametrize("length", [1, 2, 8])
def test_logits_are_those_of_a_plain_transformer(model, length):
    tokens = ids(model, length)
    np.testing.assert_allclose(cs.run(model, tokens).logits, reference_logits(model, tokens), atol=2e-5)


def _values(run: cs.Run) -> dict:
    return {event: bits(run.values[event]) for event in run.graph if event.kind != "sample"}


@settings(max_examples=20)
@given(st.data(), st.sampled_from(MODELS), st.integers(0, 2**32))
def test_every_foliation_of_every_graph_gives_the_same_bits(data, model, seed):
    """Against the plainest run: each text alone, layer by layer, no feedback."""
    graph = data.draw(graphs_of(model))
    given_texts = texts(model, graph.lengths, seed % 5)
    named = st.sampled_from([cs.earliest(graph), cs.latest(graph), cs.token_major(graph)])
    foliation = data.draw(named | foliations(graph))
    found = cs.run(model, given_texts, foliation, record=True)
    assert found.program.refines(foliation)
    for request, tokens in enumerate(given_texts):
        alone = cs.run(model, tokens, record=True)
        assert found.digests[request] == alone.digest
        for event in graph:
            if event.request != request:
                continue
            value = found.values[event]
            if event.kind == "sample":
                assert value == tokens[event.position + 1]
            else:
                assert bits(value) == _expected(model, alone, event), event


def _expected(model: cs.Model, alone: cs.Run, event: cs.Event):
    def value(kind):
        return alone.values[cs.Event(kind, event.layer, event.position)]

    if event.kind != "block":
        return bits(value(event.kind))
    if model.config.parallel_residual:
        return bits(value("attn") + value("mlp"))
    return bits(value("mlp"))


@pytest.mark.slow
@settings(max_examples=40)
@given(st.data(), configs(max_width=70, max_length=12), st.integers(0, 2**32))
def test_architectures_that_nobody_chose(data, config, seed):
    model = cs.random_model(config, seed)
    graph = data.draw(graphs(config, max_length=min(8, config.max_length), max_positions=8))
    given_texts = texts(model, graph.lengths)
    reference = cs.run(model, given_texts, cs.token_major(graph), record=True)
    for tokens, each in zip(given_texts, reference.requests, strict=True):
        expected = forward(config, model.params, np.array(tokens))["logits"]
        np.testing.assert_allclose(each.logits, expected, atol=1e-3 * max(1, np.abs(expected).max()))
    for _ in range(5):
        found = cs.run(model, given_texts, data.draw(foliations(graph)), record=True)
        assert found.values_digest == reference.values_digest


@pytest.mark.parametrize(
    "sizes",
    [
        {"n_heads": 1, "d_model": 6, "d_head": 2, "d_ff": 1, "vocab_size": 1},
        {"n_heads": 3, "d_model": 8, "d_head": 6, "d_ff": 9, "vocab_size": 17, "parallel_residual": True},
    ],
)
def test_models_narrower_than_a_vector(sizes):
    """Loops over what is left of a vector differ with the rows; the smallest models are all left-over."""
    model = cs.random_model(cs.ModelConfig(n_layers=2, max_length=12, **sizes))
    tokens = ids(model, 9)
    reference = cs.run(model, tokens, record=True)
    np.testing.assert_allclose(reference.logits, reference_logits(model, tokens), atol=1e-4)
    for seed in range(20):
        foliation = cs.random_foliation(reference.graph, seed)
        assert cs.run(model, tokens, foliation, record=True).values_digest == reference.values_digest


@several_models
def test_block_values_are_the_residual_after_both_adds(model):
    """DESIGN: the value of a block is the residual that the block above reads."""
    tokens = ids(model, 5)
    blocks = cs.run(
        model, tokens, cs.layer_major(cs.EventGraph(model.config, 5, granularity="block")), record=True
    )
    plain = cs.run(model, tokens, record=True)
    for event in blocks.graph:
        assert bits(blocks.values[event]) == _expected(model, plain, event)
    assert blocks.digest == plain.digest


@pytest.mark.parametrize("d_model", [3, 7, 31, 63])
def test_layer_norm_of_an_odd_width_keeps_the_bits_in_every_order(d_model):
    """The mean of an odd width was not rounded in all batches before it was subtracted."""
    sizes = {"n_heads": 2, "d_model": d_model, "d_head": 80, "d_ff": 24, "vocab_size": 20}
    config = cs.ModelConfig(n_layers=1, max_length=64, norm="layer", positions="learned", **sizes)
    model, graph = cs.random_model(config), cs.EventGraph(config, 9)
    orders = cs.layer_major(graph), cs.token_major(graph), cs.random_foliation(graph, 1)
    assert len({cs.run(model, list(range(9)), order, record=True).values_digest for order in orders}) == 1


WIDE = configs(max_layers=2, max_width=130, d_head=st.integers(1, 130), max_length=16)


def _keeps_its_bits(config: cs.ModelConfig, seed: int) -> None:
    """One set of bits of all events in batches of a row, of some rows, and of all."""
    length = min(config.max_length, 9)
    tokens, graph = np.arange(length) % config.vocab_size, cs.EventGraph(config, length)
    orders = cs.layer_major(graph), cs.token_major(graph), cs.random_foliation(graph, seed)
    model = cs.random_model(config, seed % 7)
    assert len({cs.run(model, tokens, order, record=True).values_digest for order in orders}) == 1


@settings(max_examples=4)
@given(WIDE, st.integers(0, 99))
def test_any_widths_keep_their_bits(config, seed):
    """Both norms, odd and even widths of model, heads and MLP up to 130, with every switch."""
    _keeps_its_bits(config, seed)


@pytest.mark.slow
@settings(max_examples=100)
@given(WIDE, st.integers(0, 99))
def test_many_widths_keep_their_bits(config, seed):
    _keeps_its_bits(config, seed)
