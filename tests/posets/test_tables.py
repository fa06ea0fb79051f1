"""Two tables of one lattice: as arrays over chains, and by bitmasks."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causalsim.errors import LimitError
from causalsim.posets import UniformSampler
from causalsim.posets.chaintable import MOST_ELEMENTS, tabulate
from causalsim.posets.growth import Budget
from causalsim.posets.tables import MaskTable, table

from .specimens import Poset, blocks, brute_down_sets, brute_extensions, is_extension, posets, sublayers

PLENTY = 10**6


@given(posets(max_size=7))
def test_both_tables_hold_the_same_lattice_and_number_all_orders(poset: Poset) -> None:
    expected = brute_extensions(poset)
    for found in (tabulate(poset, Budget(PLENTY)), MaskTable(poset, Budget(PLENTY))):
        assert found is not None
        counts = found.counts()
        assert (counts.down_sets, counts.linear_extensions) == (len(brute_down_sets(poset)), len(expected))
        assert sorted(found.order(rank) for rank in range(len(expected))) == expected


@given(posets(max_size=9))
def test_both_tables_agree(poset: Poset) -> None:
    found = tabulate(poset, Budget(PLENTY))
    assert found is not None
    assert found.counts() == MaskTable(poset, Budget(PLENTY)).counts()
    assert all(level.codes.tolist() == sorted(set(level.codes.tolist())) for level in found.levels)


@pytest.mark.parametrize(
    "poset", [blocks(4, 8), sublayers(2, 5), [()] * 14], ids=["blocks", "sublayers", "apart"]
)
def test_both_tables_agree_on_counts_of_several_digits(poset: Poset) -> None:
    found, masks = tabulate(poset, Budget(PLENTY)), MaskTable(poset, Budget(PLENTY))
    assert found is not None and found.counts() == masks.counts()
    whole = found.counts().linear_extensions
    for rank in (0, 1, whole // 3, whole - 1):
        assert is_extension(poset, found.order(rank)) and is_extension(poset, masks.order(rank))
    assert all(low.ways.shape[1] <= high.ways.shape[1] for low, high in pairwise(found.levels))


def test_what_no_machine_integer_codes_is_tabulated_by_bitmasks() -> None:
    """Sixty-three chains of one element, all below or above a last one: two to the 63 codes."""
    poset: Poset = [()] * 62 + [tuple(range(61))]
    assert tabulate(poset, Budget(PLENTY)) is None
    with pytest.raises(LimitError):
        table(poset, Budget(1000))
    long: Poset = [()] + [(i,) for i in range(MOST_ELEMENTS)]
    assert tabulate(long, Budget(PLENTY)) is None
    assert UniformSampler(long).count == 1 == MaskTable(long, Budget(PLENTY)).counts().linear_extensions


@given(posets(max_size=8), st.integers(1, 20))
def test_both_tables_keep_one_budget(poset: Poset, limit: int) -> None:
    fits = len(brute_down_sets(poset)) <= limit
    for make in (tabulate, MaskTable):
        if fits:
            make(poset, Budget(limit))
        else:
            with pytest.raises(LimitError) as caught:
                make(poset, Budget(limit))
            assert (caught.value.reached, caught.value.bound) == (limit + 1, limit)


def test_a_table_of_a_hundred_thousand_down_sets() -> None:
    """As many as the closed form for full attention says: the sum over columns in `events.lattice`."""
    found = tabulate(sublayers(3, 6), Budget(134_712))
    assert found is not None and found.counts().down_sets == 134_712
