from __future__ import annotations

from itertools import combinations, pairwise

import networkx as nx
import pytest
from hypothesis import given

from causalsim.posets import closure, levels, longest_chain, maximum_antichain, minimum_chain_cover, width

from .specimens import Poset, as_graph, below, blocks, disjoint, posets, rectangle, stacked, sublayers


def networkx_antichains(poset: Poset) -> list[list[int]]:
    return [sorted(antichain) for antichain in nx.antichains(as_graph(poset))]


@given(posets(max_size=9))
def test_levels_are_longest_paths(poset: Poset) -> None:
    graph = as_graph(poset)
    for i, level in enumerate(levels(poset)):
        ending_here = graph.subgraph(nx.ancestors(graph, i) | {i})
        assert level == nx.dag_longest_path_length(ending_here)


@given(posets(max_size=9))
def test_longest_chain_is_a_chain_as_long_as_networkx_finds(poset: Poset) -> None:
    chain = longest_chain(poset)
    assert set(pairwise(chain)) <= below(poset)
    assert len(chain) == len(nx.dag_longest_path(as_graph(poset))) == max(levels(poset), default=-1) + 1


@given(posets(max_size=8))
def test_maximum_antichain_is_one_and_as_large_as_any(poset: Poset) -> None:
    antichain = maximum_antichain(poset)
    assert antichain in networkx_antichains(poset)
    assert len(antichain) == width(poset) == max(map(len, networkx_antichains(poset)))


@given(posets(max_size=8))
def test_maximum_antichain_is_the_highest(poset: Poset) -> None:
    highest, past = maximum_antichain(poset), closure(poset)
    reach = sum(1 << i for i in highest)
    for i in highest:
        reach |= past[i]
    for other in networkx_antichains(poset):
        if len(other) == len(highest):
            assert all(reach >> i & 1 for i in other)


@given(posets(max_size=9))
def test_chain_cover_is_a_partition_into_chains_as_many_as_the_width(poset: Poset) -> None:
    chains, order = minimum_chain_cover(poset), below(poset)
    assert sorted(i for chain in chains for i in chain) == list(range(len(poset)))
    assert all(set(pairwise(chain)) <= order for chain in chains)
    assert len(chains) == width(poset)
    assert chains == sorted(chains)


@given(posets(max_size=4), posets(max_size=4))
def test_widths_add_side_by_side_and_the_larger_counts_when_stacked(one: Poset, two: Poset) -> None:
    assert width(disjoint(one, two)) == width(one) + width(two)
    assert width(stacked(one, two)) == max(width(one), width(two))
    assert len(longest_chain(stacked(one, two))) == len(longest_chain(one)) + len(longest_chain(two))


@pytest.mark.parametrize(("layers", "length"), [(1, 1), (1, 4), (3, 2), (4, 8), (6, 20)])
def test_depth_and_width_of_the_named_graphs(layers: int, length: int) -> None:
    assert len(longest_chain(blocks(layers, length))) == layers
    assert width(blocks(layers, length)) == length
    assert len(longest_chain(sublayers(layers, length))) == 3 * layers + 2
    assert width(sublayers(layers, length)) == length
    assert width(rectangle(layers, length)) == min(layers, length)


def test_a_graph_of_two_thousand_events_needs_augmenting_paths_and_no_recursion() -> None:
    # Zigzag fence with two chains hung on it: matchings must be undone along long alternating paths.
    fence: Poset = [()] * 1000 + [(i, i + 1) if i < 999 else (i,) for i in range(1000)]
    antichain = maximum_antichain(fence)
    assert len(antichain) == len(minimum_chain_cover(fence)) == 1000
    assert antichain == list(range(1000, 2000))


@pytest.mark.parametrize("size", [1, 2, 7])
def test_pairs_on_all_distinct_neighbours(size: int) -> None:
    # The standard example S_n: a_i < b_j iff i != j. Width n (2 at n = 1), levels 0 and 1.
    poset: Poset = [()] * size + [tuple(j for j in range(size) if j != i) for i in range(size)]
    assert width(poset) == max(size, 2)
    incomparable = set(combinations(range(2 * size), 2)) - below(poset)
    assert {(i, size + i) for i in range(size)} <= incomparable


def test_of_several_longest_chains_the_smallest_elements_from_the_top_count() -> None:
    assert longest_chain([(), (), (0, 1)]) == [0, 2]
    assert longest_chain([(), (), (1,), (0,), (2, 3), (2, 3)]) == [1, 2, 4]
