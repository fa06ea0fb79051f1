"""A request among others, a text with another end, a text of many pages: the same bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import causalsim as cs
from tests.engine.support import architectures, bits, ids, reference_logits, texts
from tests.models_for_tests import tiny, wide


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize(
    ("model", "lengths"), [(tiny, (3,)), (tiny, (1, 1, 1)), (wide, (27,))], ids=["two", "four", "wide"]
)
def test_a_request_has_its_bits_in_any_company_and_order(model, lengths, place):
    model = model()
    mine = ids(model, 5)
    alone = cs.run(model, mine)
    crowd = texts(model, lengths, seed=5)
    crowd.insert(place, mine)
    graph = cs.EventGraph(model.config, tuple(map(len, crowd)))
    orders = [cs.layer_major, cs.token_major, *[lambda g, s=s: cs.random_foliation(g, s) for s in range(5)]]
    for order in orders:
        found = cs.run(model, crowd, order(graph))
        assert found.digests[place] == alone.digest
        assert bits(found.logits[place]) == bits(alone.logits)
        assert found.tokens[place].tolist() == mine
        assert len(found.tokens) == len(found.logits) == len(crowd)


def test_requests_of_a_list_stay_a_list():
    model = tiny()
    one, several = cs.run(model, [1, 2]), cs.run(model, [[1, 2]])
    assert one.logits.shape == (2, 40)
    assert [part.shape for part in several.logits] == [(2, 40)]
    assert one.digest == several.digest == several.digests[0]
    assert cs.run(model, np.array([[1, 2], [1, 2]])).digests == (one.digest,) * 2


@settings(max_examples=15)
@given(st.sampled_from(architectures()), st.integers(1, 4), st.integers(1, 4), st.integers(0, 99))
def test_what_follows_a_position_changes_nothing(model, kept, more, seed):
    first, second = ids(model, kept + more, seed), ids(model, kept + more, seed + 1)
    second[:kept] = first[:kept]
    short = cs.run(model, first[:kept], record=True)
    for tokens in (first, second):
        longer = cs.run(model, tokens, record=True)
        assert bits(longer.logits[:kept]) == bits(short.logits)
        assert all(bits(longer.values[event]) == bits(short.values[event]) for event in short.graph)


def _long() -> cs.Model:
    """Page boundaries lie at 128 and 256; a window of 130 reaches over one."""
    return tiny(windows=(None, 130))


@pytest.mark.parametrize("length", [257, 300])
def test_texts_longer_than_a_page(length):
    model = _long()
    tokens = ids(model, length)
    graph = cs.EventGraph(model.config, length)
    plain = cs.run(model, tokens, record=True)
    np.testing.assert_allclose(plain.logits, reference_logits(model, tokens), atol=2e-5)
    for foliation in (cs.chunked(graph, 50), cs.random_foliation(graph, length), cs.wavefront(graph)):
        assert cs.run(model, tokens, foliation, record=True).values_digest == plain.values_digest
    blocks = cs.EventGraph(model.config, length, granularity="block")
    for foliation in (cs.token_major(blocks), *(cs.random_foliation(blocks, seed) for seed in range(3))):
        assert cs.run(model, tokens, foliation).digest == plain.digest
    # The same positions in a text of one page, in a buffer of another size.
    short = cs.run(model, tokens[:8], record=True)
    assert all(bits(plain.values[event]) == bits(short.values[event]) for event in short.graph)


@pytest.mark.parametrize("lengths", [(200, 129), (130, 128)])
def test_long_texts_beside_each_other(lengths):
    model = _long()
    given_texts = texts(model, lengths)
    graph = cs.EventGraph(model.config, lengths, prompt=(lengths[0] - 9, 2))
    found = cs.run(model, given_texts, cs.random_foliation(graph, 0))
    padded = [cs.run(model, tokens + ids(model, 257 - len(tokens))) for tokens in given_texts]
    for mine, longer in zip(found.logits, padded, strict=True):
        assert bits(mine) == bits(longer.logits[: len(mine)])
