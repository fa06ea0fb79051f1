"""SmolLM2-135M in many orders and many batches: one digest over the values of all events. Slow.

``pytest -m slow tests/engine/test_smollm2.py``, after ``causalsim models fetch smollm2``.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pytest

import causalsim as cs
from causalsim.kernels import CERTIFIED, STOCK, Kernels
from causalsim.models.fetching import find
from causalsim.testing.suite import named_foliations, random_orders
from tests.engine.faulty import summing_the_whole_buffer, unmasked
from tests.engine.serving import alone, prefill_then_decode, serve
from tests.engine.support import ids, texts

pytestmark = pytest.mark.slow

TEXT = "Once upon a time there was an old king who had three daughters,"
LENGTHS = (5, 9, 12, 3, 7, 16, 2, 10)


@pytest.fixture(scope="module")
def smollm2() -> cs.Model:
    if find("smollm2") is None:
        pytest.skip("needs causalsim models fetch smollm2")
    return cs.load("smollm2")


def _orders(graph: cs.EventGraph, prompt: int, count: int) -> Iterator[cs.Foliation]:
    """The named families, decoding after a prefill, and random orders of both kinds."""
    yield from named_foliations(graph).values()
    yield prefill_then_decode(graph, prompt)
    for _, foliation in random_orders(graph, count, seed=0):
        yield foliation


def _digests(model: cs.Model, tokens: list[int], orders, kernels: Kernels = CERTIFIED) -> list[str]:
    """The digest of every event's value, order by order; each ran as it was asked for."""
    found = []
    for foliation in orders:
        run = cs.run(model, tokens, foliation, record=True, kernels=kernels)
        assert run.program.refines(foliation) and np.isfinite(run.logits).all()
        found.append(run.values_digest)
    return found


def test_named_and_fifty_random_orders(smollm2):
    tokens = smollm2.encode(TEXT)
    graph = cs.EventGraph(smollm2.config, len(tokens))
    orders = list(_orders(graph, len(tokens) // 2, 50))
    assert len(set(orders)) >= 54  # the latest order of a plain text is layer by layer, too
    assert len(set(_digests(smollm2, tokens, orders))) == 1


def test_orders_of_a_text_longer_than_a_page(smollm2):
    """Positions 128 to 139 lie on a second page of K/V; decoding crosses the boundary, too."""
    tokens = ids(smollm2, 140)
    graph = cs.EventGraph(smollm2.config, len(tokens))
    orders = [*_orders(graph, 124, 4), cs.chunked(graph, 50)]
    assert len(set(_digests(smollm2, tokens, orders))) == 1


def test_generating_in_any_order(smollm2):
    """The tokens that it writes itself, and then the same ones read as a given text."""
    story = cs.generate(smollm2, TEXT, 8, record=True)
    for seed in range(5):
        foliation = cs.random_foliation(story.graph, seed)
        again = cs.generate(smollm2, TEXT, 8, foliation, record=True)
        assert again.program.refines(foliation) and again.values_digest == story.values_digest
    assert cs.run(smollm2, story.tokens).digest == story.digest


@pytest.mark.parametrize("waiting", [False, True], ids=["reading", "fed back"])
def test_eight_ragged_requests_in_random_batches(smollm2, waiting):
    """Random mixes, chunks and orders of arrival, counted in what ran; each request as if alone."""
    together = texts(smollm2, LENGTHS)
    prompts = tuple(max(1, length // 2) for length in LENGTHS) if waiting else LENGTHS
    found = serve(smollm2, cs.EventGraph(smollm2.config, LENGTHS, prompt=prompts), together, range(25))
    expected = [alone(smollm2, tokens, prompt) for tokens, prompt in zip(together, prompts, strict=True)]
    assert found.digests == [{digest} for digest in expected]
    assert found.met == {frozenset(pair) for pair in combinations(range(8), 2)}
    assert len(found.mixes) > 60 and len(found.splits) > 20 and len(found.arrivals) > 15


# -- and faults show ---------------------------------------------------------------------------


def test_stock_kernels_have_other_bits_in_other_orders(smollm2):
    tokens = smollm2.encode(TEXT)
    graph = cs.EventGraph(smollm2.config, len(tokens))
    orders = [cs.layer_major(graph), cs.token_major(graph), cs.chunked(graph, 4)]
    assert len(set(_digests(smollm2, tokens, orders, STOCK))) > 1


def test_an_attention_without_a_mask_has_other_bits_in_other_orders(smollm2):
    tokens = smollm2.encode(TEXT)
    graph = cs.EventGraph(smollm2.config, len(tokens))
    orders = [cs.layer_major(graph), cs.token_major(graph)]
    assert len(set(_digests(smollm2, tokens, orders, unmasked()))) == 2


def test_an_attention_over_the_whole_buffer_has_other_bits_beside_others(smollm2):
    together, kernels = texts(smollm2, (5, 9)), summing_the_whole_buffer()
    graph = cs.EventGraph(smollm2.config, (5, 9))
    found = serve(smollm2, graph, together, range(1), kernels)
    assert found.digests != [{alone(smollm2, tokens, len(tokens), kernels)} for tokens in together]
