from __future__ import annotations

from typing import cast

import networkx as nx
import numpy as np
import pytest
from hypothesis import given

from causalsim.errors import InputError
from causalsim.posets import (
    UniformSampler,
    closure,
    count_linear_extensions,
    covers,
    down_sets,
    kahn_order,
    levels,
    linear_extensions,
    longest_chain,
    maximum_antichain,
    minimum_chain_cover,
)

from .specimens import Poset, as_graph, below, posets, rectangle, sublayers


@given(posets(max_size=9))
def test_closure_is_networkx_transitive_closure(poset: Poset) -> None:
    got = {(j, i) for i, past in enumerate(closure(poset)) for j in range(len(poset)) if past >> j & 1}
    assert got == below(poset)


@given(posets(max_size=9))
def test_covers_are_networkx_transitive_reduction(poset: Poset) -> None:
    assert covers(poset) == sorted(nx.transitive_reduction(as_graph(poset)).edges)


def test_sublayer_edges_are_covers_but_for_those_that_pass_a_kv() -> None:
    # embed(p) -> attn(0, p) is implied by embed(p) -> kv(0, p) -> attn(0, p); so 20 - 4 in 2 x 2.
    assert sum(map(len, sublayers(2, 2))) == 20
    assert len(covers(sublayers(2, 2))) == 16


def test_masks_wider_than_a_machine_word() -> None:
    past = closure([()] + [(i,) for i in range(199)])
    assert past[199] == (1 << 199) - 1


def test_numpy_integers_do_not_overflow() -> None:
    poset = cast(Poset, [[], *([np.int64(i)] for i in range(99))])
    assert closure(poset)[99] == (1 << 99) - 1
    assert covers(poset) == [(i, i + 1) for i in range(99)]
    assert all(type(i) is int for i in longest_chain(poset))


@pytest.mark.parametrize("bad", [[(0,)], [(), (2,), ()], [(), (-1,)], [(), (0.0,)], [(), (None,)]])
@pytest.mark.parametrize(
    "function",
    [
        closure,
        covers,
        levels,
        longest_chain,
        maximum_antichain,
        minimum_chain_cover,
        count_linear_extensions,
        linear_extensions,
        down_sets,
        UniformSampler,
        lambda poset: kahn_order(poset, np.random.default_rng(0)),
    ],
)
def test_a_numbering_against_the_order_is_refused_at_the_call(function: object, bad: object) -> None:
    with pytest.raises(InputError, match="linear extension") as caught:
        function(bad)  # type: ignore[operator]
    assert "predecessor of" in str(caught.value.got)
    assert "range(" in str(caught.value.expected)
    assert caught.value.hint


def test_the_empty_poset_has_one_of_everything() -> None:
    functions = (closure, covers, levels, longest_chain, maximum_antichain, minimum_chain_cover)
    assert all(function([]) == [] for function in functions)
    assert list(down_sets([])) == [0]
    assert list(linear_extensions([])) == [[]]
    assert count_linear_extensions([]) == 1
    assert UniformSampler([]).sample(np.random.default_rng(0)) == []
    assert kahn_order([], np.random.default_rng(0)) == []


def test_input_is_left_alone() -> None:
    poset = rectangle(3, 3)
    before = [tuple(below) for below in poset]
    count_linear_extensions(poset)
    maximum_antichain(poset)
    assert poset == before
