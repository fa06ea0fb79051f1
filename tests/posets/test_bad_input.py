"""Refusals in one form by every function: of no poset, no limit, no generator and no rank."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import pytest

from causalsim import posets
from causalsim.errors import InputError, LimitError

CHAIN = [(), (0,)]
NO_POSETS = [
    None,
    -1,
    1.5,
    "a",
    b"x",
    {"a": 3},
    {0},
    [None],
    [5],
    ["a"],
    [{}],
    (1, 2),
    [(), (1,)],
    [(), (0.0,)],
]
NO_COUNTS = [None, -1, 1.5, True, "a", [1], float("nan")]
NO_GENERATORS = [None, 0, "a", np.random.RandomState(0)]

OF_A_POSET: list[Callable[[Any], object]] = [
    posets.width,
    posets.maximum_antichain,
    posets.minimum_chain_cover,
    posets.levels,
    posets.longest_chain,
    posets.closure,
    posets.covers,
    posets.count_down_sets,
    posets.count_lattice_edges,
    posets.count_linear_extensions,
    posets.lattice_counts,
    posets.UniformSampler,
    posets.CoupledSampler,
    posets.DownSetSampler,
    lambda given: list(posets.down_sets(given)),
    lambda given: list(posets.linear_extensions(given)),
    lambda given: list(posets.maximal_antichains(given)),
    lambda given: posets.kahn_order(given, np.random.default_rng(0)),
    lambda given: posets.kahn_orders(given, np.random.default_rng(0), 1),
]


@pytest.mark.parametrize("given", NO_POSETS, ids=repr)
def test_what_is_no_poset(given: object) -> None:
    for function in OF_A_POSET:
        with pytest.raises(InputError, match=r"got .*expected"):
            function(given)


@pytest.mark.parametrize("given", NO_COUNTS, ids=repr)
def test_what_is_no_limit_and_no_number_of_steps(given: Any) -> None:
    for count in (posets.count_down_sets, posets.count_lattice_edges, posets.count_linear_extensions):
        with pytest.raises(InputError, match="a limit is a whole number of at least 1"):
            count(CHAIN, limit=given)
    for sampler in (posets.UniformSampler, posets.DownSetSampler):
        with pytest.raises(InputError, match="a limit is a whole number"):
            sampler(CHAIN, limit=given)
    with pytest.raises(InputError, match="a number of steps is a whole number"):
        posets.CoupledSampler(CHAIN, steps=given)
    with pytest.raises(InputError, match="a count of orders is a whole number"):
        posets.kahn_orders(CHAIN, np.random.default_rng(0), given)


@pytest.mark.parametrize("given", NO_GENERATORS, ids=lambda given: type(given).__name__)
def test_what_is_no_generator(given: Any) -> None:
    for sampler in (posets.UniformSampler, posets.CoupledSampler, posets.DownSetSampler):
        with pytest.raises(InputError, match="a generator must be of type Generator"):
            sampler(CHAIN).sample(given)
    with pytest.raises(InputError, match="default_rng"):
        posets.kahn_order(CHAIN, given)
    with pytest.raises(InputError, match="default_rng"):
        posets.kahn_orders(CHAIN, given, 1)


@pytest.mark.parametrize("given", [*NO_COUNTS, 3], ids=repr)
def test_what_is_no_rank(given: Any) -> None:
    for sampler in (posets.UniformSampler(CHAIN), posets.DownSetSampler(CHAIN)):
        with pytest.raises(InputError, match=f"expected 0 to {sampler.count - 1}"):
            sampler.unrank(given)


def test_arrays_and_integers_of_any_kind_are_taken() -> None:
    assert posets.count_down_sets(np.array([[], []]), limit=np.int8(9)) == 4  # type: ignore[arg-type]
    assert posets.count_down_sets([np.array([], int), np.array([0])]) == 3  # type: ignore[list-item]
    assert list(islice(posets.down_sets([(), range(1)]), 3)) == [0, 1, 3]


def test_more_orders_than_memory_holds() -> None:
    with pytest.raises(LimitError, match="drawn side by side") as caught:
        posets.kahn_orders(CHAIN, np.random.default_rng(0), 10**30)
    assert caught.value.reached == 2 * 10**30
