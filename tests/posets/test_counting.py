from __future__ import annotations

import time
from math import comb, factorial, prod

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from causalsim.errors import InputError, LimitError
from causalsim.posets import (
    LatticeCounts,
    UniformSampler,
    count_down_sets,
    count_lattice_edges,
    count_linear_extensions,
    down_sets,
    lattice_counts,
    linear_extensions,
)
from causalsim.posets.decomposition import decompose
from causalsim.posets.downsets import ranks
from causalsim.posets.sizes import tally

from .specimens import (
    Poset,
    as_graph,
    block_down_sets,
    blocks,
    brute_down_sets,
    brute_extensions,
    disjoint,
    hook_length_count,
    is_extension,
    posets,
    rectangle,
    stacked,
    sublayers,
)

SUBLAYERS = [  # layers, length, events, edges, down-sets, edges of the lattice, linear extensions
    (1, 1, 5, 5, 6, 5, 1),
    (1, 2, 10, 11, 30, 48, 186),
    (2, 2, 16, 20, 60, 102, 7_236),
    (3, 2, 22, 29, 99, 174, 318_144),
]
BLOCKS = [(2, 2, 8, 5), (3, 3, 38, 684), (4, 4, 192, 6_563_518)]


@given(posets(max_size=7))
def test_linear_extensions_are_all_permutations_that_obey_in_lexicographic_order(poset: Poset) -> None:
    expected = brute_extensions(poset)
    assert list(linear_extensions(poset)) == expected
    assert count_linear_extensions(poset) == len(expected)


@given(posets(max_size=6))
def test_linear_extensions_are_networkx_topological_sorts(poset: Poset) -> None:
    assert sorted(linear_extensions(poset)) == sorted(nx.all_topological_sorts(as_graph(poset)))


@given(posets(max_size=8))
def test_down_sets_are_all_closed_subsets_by_size_and_value(poset: Poset) -> None:
    expected = brute_down_sets(poset)
    assert list(down_sets(poset)) == expected
    assert count_down_sets(poset) == len(expected)


@given(posets(max_size=8))
def test_down_sets_are_as_many_as_antichains(poset: Poset) -> None:
    assert count_down_sets(poset) == sum(1 for _ in nx.antichains(as_graph(poset)))


@given(posets(max_size=8))
def test_lattice_edges_join_down_sets_one_element_apart(poset: Poset) -> None:
    found = brute_down_sets(poset)
    here = set(found)
    edges = sum(mask | 1 << i in here for mask in found for i in range(len(poset)) if not mask >> i & 1)
    assert count_lattice_edges(poset) == edges


@given(posets(max_size=9))
def test_the_table_without_decomposition_agrees(poset: Poset) -> None:
    assert lattice_counts(poset) == tally(ranks(poset))


@given(
    st.lists(posets(max_size=3), min_size=1, max_size=3), st.lists(posets(max_size=3), min_size=1, max_size=3)
)
def test_series_of_parallel_parts_agree_with_the_whole_table(lower: list[Poset], upper: list[Poset]) -> None:
    poset = stacked(disjoint(*lower), disjoint(*upper, [()]))
    assert lattice_counts(poset) == tally(ranks(poset))
    assert lattice_counts(disjoint(poset, lower[0])) == tally(ranks(disjoint(poset, lower[0])))


@given(posets(max_size=9))
def test_decomposition_partitions_and_its_prime_parts_fall_no_further(poset: Poset) -> None:
    parts = decompose(poset)
    assert parts[0].members == tuple(range(len(poset)))
    for part in parts:
        children = [parts[child] for child in part.children]
        assert (len(children) > 1) == (part.kind != "prime")
        if children:
            assert sorted(i for child in children for i in child.members) == list(part.members)
        else:
            assert len(decompose(part.predecessors)) == 1
            assert len(part.members) == len(part.predecessors)


@pytest.mark.parametrize(("layers", "length", "events", "edges", "lower", "lattice", "orders"), SUBLAYERS)
def test_sublayer_table(
    layers: int, length: int, events: int, edges: int, lower: int, lattice: int, orders: int
) -> None:
    poset = sublayers(layers, length)
    assert (len(poset), sum(map(len, poset))) == (events, edges)
    assert lattice_counts(poset) == LatticeCounts(events, lower, lattice, orders)


@pytest.mark.parametrize(("layers", "length", "lower", "orders"), BLOCKS)
def test_block_table(layers: int, length: int, lower: int, orders: int) -> None:
    assert count_down_sets(blocks(layers, length)) == lower
    assert count_linear_extensions(blocks(layers, length)) == orders


def test_three_by_five_blocks() -> None:
    assert count_linear_extensions(blocks(3, 5)) == 16_740_520
    assert count_lattice_edges(blocks(3, 5)) == 840


@given(st.integers(1, 6), st.integers(1, 7))
def test_block_down_sets_have_the_closed_form(layers: int, length: int) -> None:
    assert count_down_sets(blocks(layers, length)) == block_down_sets(layers, length)


@given(st.integers(1, 6), st.integers(1, 6))
def test_rectangles_have_the_hook_length_formula(layers: int, length: int) -> None:
    assert count_linear_extensions(rectangle(layers, length)) == hook_length_count(layers, length)
    assert count_down_sets(rectangle(layers, length)) == comb(layers + length, layers)


def test_four_by_four_rectangle() -> None:
    assert lattice_counts(rectangle(4, 4)).linear_extensions == 24_024
    assert lattice_counts(rectangle(4, 4)).down_sets == 70


@given(posets(max_size=8))
def test_turning_a_poset_upside_down_changes_no_count(poset: Poset) -> None:
    last = len(poset) - 1
    dual: list[list[int]] = [[] for _ in poset]
    for i, lower in enumerate(poset):
        for j in lower:
            dual[last - j].append(last - i)
    assert lattice_counts(dual) == lattice_counts(poset)


def test_far_beyond_sixty_four_bits() -> None:
    assert count_linear_extensions([()] * 100) == factorial(100)
    assert count_down_sets([()] * 100) == 2**100
    assert count_lattice_edges([()] * 100) == 100 * 2**99
    two = disjoint(blocks(4, 4), blocks(4, 4))
    assert count_linear_extensions(two) == 6_563_518**2 * comb(32, 16)


def test_a_deeply_nested_decomposition_needs_no_recursion() -> None:
    poset: Poset = [()]
    for _ in range(300):
        poset = [*poset, (), tuple(range(len(poset) + 1))]
    # In round k a free element goes anywhere among 2k - 1 others, and a top closes the round.
    assert count_linear_extensions(poset) == prod(2 * k for k in range(1, 301))
    assert is_extension(poset, UniformSampler(poset).unrank(12_345))


def test_generators_are_lazy() -> None:
    wide: Poset = [()] * 200
    assert next(linear_extensions(wide)) == list(range(200))
    lower = down_sets(wide)
    assert [next(lower) for _ in range(3)] == [0, 1, 2]


def test_linear_extensions_do_not_share_their_lists() -> None:
    orders = linear_extensions([(), ()])
    next(orders).append(99)
    assert next(orders) == [1, 0]


def tabulated(poset: Poset) -> int:
    """The limit counts the empty down-set, and the others of each prime part."""
    primes = [part.predecessors for part in decompose(poset) if part.kind == "prime"]
    return 1 + sum(len(brute_down_sets(list(prime))) - 1 for prime in primes)


@given(posets(max_size=8), st.integers(1, 30))
def test_a_limit_fires_at_once_or_changes_nothing(poset: Poset, limit: int) -> None:
    whole = count_down_sets(poset)
    if tabulated(poset) <= limit:
        assert count_down_sets(poset, limit=limit) == whole
        return
    with pytest.raises(LimitError) as caught:
        count_down_sets(poset, limit=limit)
    assert (caught.value.reached, caught.value.bound) == (limit + 1, limit)
    assert whole > limit


@pytest.mark.parametrize("poset", [blocks(3, 3), rectangle(3, 4), sublayers(2, 2), stacked([()], [()], [()])])
def test_a_limit_is_exact_where_no_parts_are_side_by_side(poset: Poset) -> None:
    whole = count_down_sets(poset)
    assert count_down_sets(poset, limit=whole) == whole
    with pytest.raises(LimitError):
        count_down_sets(poset, limit=whole - 1)


@pytest.mark.parametrize(
    "function",
    [count_down_sets, count_lattice_edges, count_linear_extensions, lattice_counts, UniformSampler],
)
def test_the_limit_comes_at_once_where_the_table_would_not_fit(function: object) -> None:
    start = time.perf_counter()
    with pytest.raises(LimitError, match=r"at least 1,001, expected at most 1,000") as caught:
        function(blocks(12, 40), limit=1000)  # type: ignore[operator]
    assert time.perf_counter() - start < 2
    assert (caught.value.reached, caught.value.bound) == (1001, 1000)
    assert caught.value.hint


def test_parts_share_one_limit() -> None:
    one = count_down_sets(blocks(3, 3))
    two = disjoint(blocks(3, 3), blocks(3, 3))
    assert count_down_sets(two, limit=2 * one - 1) == one**2
    with pytest.raises(LimitError):
        count_down_sets(two, limit=2 * one - 2)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_without_room_for_the_empty_down_set_is_refused(limit: int) -> None:
    with pytest.raises(InputError, match="empty down-set"):
        count_down_sets([()], limit=limit)


def test_four_by_eight_blocks_in_seconds() -> None:
    start = time.perf_counter()
    assert lattice_counts(blocks(4, 8)) == LatticeCounts(32, 10_496, 51_584, 1_785_171_371_888_662_446_550)
    assert time.perf_counter() - start < 5
