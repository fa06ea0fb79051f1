"""Many requests in random batches, chunks and orders of arrival: each has the bits that it has alone."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import causalsim as cs
from causalsim.engine import compile
from causalsim.kernels import CERTIFIED, STOCK, Kernels
from tests.engine.faulty import summing_the_whole_buffer, unmasked
from tests.engine.serving import Served, alone, buckets, mixes, prefill_then_decode, serve
from tests.engine.support import ids, texts
from tests.models_for_tests import tiny, wide

LENGTHS = (5, 9, 12, 3, 7, 16, 2, 10)
PAIRS = {frozenset(pair) for pair in combinations(range(8), 2)}
GOLDEN = Path(__file__).parents[1] / "golden"
FAMILIES = sorted(path.parent.name for path in GOLDEN.glob("*/config.json"))


def prompts_of(waiting: bool, lengths: tuple[int, ...] = LENGTHS) -> tuple[int, ...]:
    """The whole texts, or a first part of each, as ragged."""
    return tuple(max(1, length // 2) for length in lengths) if waiting else lengths


def campaign(model: cs.Model, waiting: bool, schedules: int, lengths: tuple[int, ...] = LENGTHS) -> Served:
    """Ragged requests on random schedules, each with one digest: the one that it has alone."""
    prompts, together = prompts_of(waiting, lengths), texts(model, lengths)
    graph = cs.EventGraph(model.config, lengths, prompt=prompts)
    found = serve(model, graph, together, range(schedules))
    expected = [alone(model, tokens, prompt) for tokens, prompt in zip(together, prompts, strict=True)]
    assert found.digests == [{digest} for digest in expected]
    return found


@pytest.mark.parametrize("waiting", [False, True], ids=["reading", "fed back"])
def test_a_request_has_one_digest_in_every_batch(waiting):
    found = campaign(tiny(), waiting, 10)
    assert found.met == PAIRS
    assert len(found.mixes) > 40 and len(found.splits) > 8 and len(found.arrivals) > 5
    assert found.buckets >= buckets_of(prompts_of(waiting))
    assert not waiting or found.buckets >= {("sample", 1), ("sample", 8)}


def buckets_of(prompts: tuple[int, ...]) -> set[tuple[str, int]]:
    """Every batch size that batches of prompts can have; those of attention are of one request."""
    most = {kind: sum(prompts) for kind in ("embed", "kv", "mlp", "unembed")} | {"attn": max(prompts)}
    return {(kind, count) for kind, rows in most.items() for count in CERTIFIED.buckets.up_to(rows)}


@pytest.mark.slow
def test_batches_in_batches_of_every_batch_size_that_there_is():
    lengths = (300, 130, 9)
    found = campaign(tiny(), False, 24, lengths)
    assert found.buckets >= buckets_of(lengths)
    assert {count for _, count in found.buckets} == {*CERTIFIED.buckets.sizes}
    assert len(found.mixes) > 4 and len(found.splits) > 8 and len(found.arrivals) > 2


# Compiling a family takes seconds: one with every switch here, all the others in the long campaigns.
@pytest.mark.parametrize(
    "name",
    [name if name == "gemma2_grouped" else pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES],
)
def test_every_family_in_random_batches(name):
    found = campaign(cs.load(GOLDEN / name), True, 6)
    assert found.met == PAIRS and len(found.mixes) > 20 and len(found.splits) > 4


# -- the counts count --------------------------------------------------------------------------


def test_requests_in_turn_share_no_batch():
    graph = cs.EventGraph(tiny().config, (2, 3))
    in_turn = cs.Foliation(graph, np.arange(len(graph)))
    assert mixes(compile(in_turn)) == {frozenset([0]), frozenset([1])}
    assert mixes(compile(cs.layer_major(graph))) == {frozenset([0, 1])}


def test_batch_sizes_are_told_by_kind():
    graph = cs.EventGraph(tiny().config, 11)
    alone = {(event.kind, 1) for event in graph}
    assert buckets(compile(cs.token_major(graph)), CERTIFIED.buckets) == alone
    assert buckets(compile(cs.layer_major(graph)), CERTIFIED.buckets) == {(kind, 16) for kind, _ in alone}
    assert {count for kind, count in buckets_of((7, 3)) if kind == "attn"} == {1, 8}
    assert {count for kind, count in buckets_of((7, 3)) if kind == "mlp"} == {1, 8, 16}


def test_prefill_then_decode_is_what_it_says():
    graph = cs.EventGraph(cs.Wiring(1), 4)
    sizes = prefill_then_decode(graph, 2).slice_sizes
    assert sizes.tolist() == [2] * 5 + [1] * 10


# -- and faults show ---------------------------------------------------------------------------


def _caught(model: cs.Model, kernels: Kernels, lengths: tuple[int, ...], schedules: int) -> bool:
    together = texts(model, lengths)
    found = serve(model, cs.EventGraph(model.config, lengths), together, range(schedules), kernels)
    expected = [{alone(model, tokens, len(tokens), kernels)} for tokens in together]
    return found.digests != expected


def test_stock_kernels_at_a_width_of_768_are_caught():
    assert _caught(wide(), STOCK, (3, 9), 1)


@pytest.mark.parametrize("fault", [summing_the_whole_buffer, unmasked])
def test_a_wrong_attention_is_caught(fault):
    assert _caught(tiny(), fault(), (9, 5, 14), 3)


def test_the_sum_over_the_buffer_diverges_by_the_buffer_alone():
    """One order, one set of rows, all masks in place: only how much room there is differs."""
    model, kernels = tiny(), summing_the_whole_buffer()
    mine = ids(model, 20)
    short = cs.run(model, mine, kernels=kernels)
    again = cs.run(model, mine, cs.token_major(short.graph), kernels=kernels)
    assert again.digest == short.digest
    longer = cs.run(model, mine + ids(model, 280), kernels=kernels)
    np.testing.assert_allclose(longer.logits[:20], short.logits, atol=1e-5)
    assert longer.logits[:20].tobytes() != short.logits.tobytes()
