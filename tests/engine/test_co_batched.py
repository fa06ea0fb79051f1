"""A request among others, a text with another end, a text of many pages: the same bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import causalsim as cs
from causalsim.engine.digests import digest_of
from tests.engine.support import architectures, bits, ids, reference_logits, texts
from tests.models_for_tests import glass, tiny, wide

SEEDS = st.integers(0, 99)


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize(
    ("model", "lengths"), [(tiny, (3,)), (tiny, (1, 1, 1)), (wide, (27,))], ids=["two", "four", "wide"]
)
def test_a_request_has_its_bits_beside_any_others_in_any_order(model, lengths, place):
    model = model()
    mine = ids(model, 5)
    alone = cs.run(model, mine)
    together = texts(model, lengths, seed=5)
    together.insert(place, mine)
    graph = cs.EventGraph(model.config, tuple(map(len, together)))
    orders = [cs.layer_major, cs.token_major, *[lambda g, s=s: cs.random_foliation(g, s) for s in range(5)]]
    for order in orders:
        found = cs.run(model, together, order(graph))
        assert found.digests[place] == alone.digest
        assert bits(found.requests[place].logits) == bits(alone.logits)
        assert found.requests[place].tokens.tolist() == mine


@settings(max_examples=20)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.booleans(), st.integers(0, 2), SEEDS)
def test_results_have_one_type_whatever_was_given(lengths, in_list, written, seed):
    model, (first, *others) = tiny(), texts(tiny(), lengths, seed)
    tokens = [first, *others] if others or in_list else first
    found = cs.generate(model, tokens, written) if written else cs.run(model, tokens)
    assert isinstance(found.requests, tuple) and len(found.requests) == len(lengths)
    total = sum(lengths) + written * len(lengths)
    assert (found.logits.shape, found.logits.dtype) == ((total, 40), np.float32)
    assert (found.tokens.shape, found.tokens.dtype) == ((total,), np.int32)
    assert bits(found.logits) == b"".join(bits(each.logits) for each in found.requests)
    assert bits(found.tokens) == b"".join(bits(each.tokens) for each in found.requests)
    for each, given_ids in zip(found.requests, [first, *others], strict=True):
        assert each.tokens[: len(given_ids)].tolist() == given_ids
        assert each.logits.shape == (len(given_ids) + written, 40)
    assert found.digest == digest_of(each.logits for each in found.requests)
    assert found.digests == tuple(digest_of([each.logits]) for each in found.requests)


def test_the_text_of_each_request_is_a_line():
    one, two = (cs.run(glass(), text) for text in ("The", "Once"))
    assert isinstance(one.text, str) and one.text == one.requests[0].text == "The"
    assert cs.run(glass(), ["The", "Once"]).text == "The\nOnce"
    assert cs.run(glass(), ["The"]).text == one.text
    assert cs.run(glass(), ["The", "Once"]).requests[1].digest == two.digest


def test_a_table_of_ids_is_a_request_each():
    alone = cs.run(tiny(), [1, 2])
    assert cs.run(tiny(), np.array([[1, 2], [1, 2]])).digests == (alone.digest,) * 2


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
    for mine, longer in zip(found.requests, padded, strict=True):
        assert bits(mine.logits) == bits(longer.logits[: len(mine.logits)])
