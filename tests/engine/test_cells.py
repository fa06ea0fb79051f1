"""Cells: an event changes those that it is said to write; a difference in any array is seen where it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import causalsim as cs
from causalsim.engine.cells import Cell, cells_changed, cells_written, with_garbage
from causalsim.kernels import PAGE
from tests.engine.support import architectures, fresh, step, texts

LENGTHS = PAGE + 2, 3


@pytest.mark.parametrize("model", architectures())
@settings(max_examples=10)
@given(st.data())
def test_an_event_changes_the_cells_that_it_is_said_to_write(model, data):
    graph = cs.EventGraph(model.config, LENGTHS, prompt=[PAGE + 1, 2])
    blank = fresh(model, graph, texts(model, LENGTHS))
    before = with_garbage(blank, np.random.default_rng(data.draw(st.integers(0, 9))))
    last = st.sampled_from([event for event in graph if event.position >= PAGE - 1])
    event = data.draw(last | st.sampled_from(list(graph)))
    after, _ = step(model, before.copy(), [event])
    changed = {*cells_changed(before, after)}
    # A sample may draw the very token that was there.
    assert changed == {*cells_written(before, event)} or (event.kind == "sample" and not changed)


@pytest.mark.parametrize(
    ("array", "index", "cell"),
    [
        ("tokens", (1,), Cell("tokens", (1,))),
        ("residual", (0, 2, 3), Cell("residual", (0, 2))),
        ("logits", (2, 5), Cell("logits", (2,))),
        ("keys", (1, 0, 3, 7), Cell("kv", (1, 1, 7))),
        ("values", (1, 0, 7, 3), Cell("kv", (1, 1, 7))),
    ],
)
def test_a_difference_is_seen_in_its_cell(array, index, cell):
    model = architectures()[0]
    graph = cs.EventGraph(model.config, LENGTHS)
    before = fresh(model, graph, texts(model, LENGTHS))
    if array in ("keys", "values"):
        pools = list(getattr(before, array))
        pools[1] = pools[1].at[index].set(1)
        after = replace(before, **{array: tuple(pools)})
    else:
        after = replace(before, **{array: getattr(before, array).at[index].set(1)})
    assert list(cells_changed(before, before)) == []
    assert list(cells_changed(before, after)) == [cell]
