"""Orders are data: after ``Model.warm`` nothing compiles."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import jax
import pytest

import causalsim as cs
from tests.engine.support import ids, texts

COMPILED = "/jax/core/compile/backend_compile_duration"
_counts: list[list[str]] = []


def _listen(event: str, _: float, **__: object) -> None:
    if event == COMPILED:
        for count in _counts:
            count.append(event)


@pytest.fixture(scope="module", autouse=True)
def _listening() -> None:
    jax.monitoring.register_event_duration_secs_listener(_listen)


@contextmanager
def compilations() -> Iterator[list[str]]:
    """Every compilation inside the block, one entry each."""
    count: list[str] = []
    _counts.append(count)
    try:
        yield count
    finally:
        _counts.remove(count)


def _new_model(vocab_size: int, dtype: str = "float32", **switches) -> cs.Model:
    """A model of a vocabulary that no other test has, so that nothing of it is compiled yet."""
    config = cs.ModelConfig(
        n_layers=2,
        n_heads=2,
        n_kv_heads=1,
        d_model=16,
        d_ff=24,
        vocab_size=vocab_size,
        max_length=64,
        **switches,
    )
    return cs.random_model(config, dtype=dtype)


@pytest.mark.parametrize(
    "switches",
    [{}, {"parallel_residual": True, "windows": 3, "dtype": "bfloat16"}],
    ids=["plain", "parallel in bfloat16"],
)
def test_after_warm_no_foliation_compiles_anything(switches):
    model, length = _new_model(101 if switches else 102, **switches), 8
    tokens = ids(model, length)
    graphs = [
        cs.EventGraph(model.config, length),
        cs.EventGraph(model.config, length, granularity="block"),
        cs.EventGraph(model.config, length, prompt=4),
    ]
    with compilations() as first:
        model.warm(length)
    with compilations() as count:
        for graph in graphs:
            orders = [cs.token_major, cs.earliest, cs.latest, lambda g: cs.chunked(g, 4)]
            orders += [lambda g, s=s: cs.random_foliation(g, s) for s in range(5)]
            for order in orders:
                cs.run(model, tokens, order(graph))
                cs.run(model, tokens, order(graph), record=True).values_digest  # noqa: B018
        cs.generate(model, tokens[:4], 4)
        cs.generate(model, tokens[:4], 4, temperature=0.7, seed=3)
        model.warm(length)
    assert first
    assert not count


def test_after_warm_no_batch_of_these_lengths_compiles_anything():
    model, lengths = _new_model(103), (4, 3)
    model.warm(lengths)
    given_texts = texts(model, lengths)
    with compilations() as count:
        for graph in (
            cs.EventGraph(model.config, lengths),
            cs.EventGraph(model.config, lengths, granularity="block"),
            cs.EventGraph(model.config, lengths, prompt=(2, 3)),
        ):
            for order in (cs.token_major, cs.latest, lambda g: cs.random_foliation(g, 0)):
                cs.run(model, given_texts, order(graph))
    assert not count


def test_another_model_of_the_same_configuration_shares_what_is_compiled():
    config = _new_model(102).config
    model = cs.random_model(config, seed=5)
    model.warm(8)
    with compilations() as count:
        cs.run(model, ids(model, 8))
    assert not count


def test_the_count_sees_a_compilation():
    with compilations() as count:
        cs.run(_new_model(104), [1, 2, 3])
    assert len(count) >= 5
