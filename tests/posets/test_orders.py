"""Orders that are drawn side by side are linear extensions, whatever the poset."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from causalsim.posets import kahn_orders

from .specimens import Poset, posets


@given(posets(max_size=8), st.integers(0, 99))
def test_every_row_has_each_element_after_all_below_it(poset: Poset, seed: int) -> None:
    for order in kahn_orders(poset, np.random.default_rng(seed), 3).tolist():
        assert sorted(order) == list(range(len(poset)))
        assert all(order.index(j) < order.index(i) for i, below in enumerate(poset) for j in below)
