"""The recorded causal graph is the declared one, and shows races and edges that nobody needs."""

from __future__ import annotations

from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import causalsim as cs
from causalsim.engine.cells import Cell, cells_changed, cells_written, poisoned, with_garbage
from causalsim.errors import InputError
from causalsim.kernels import CERTIFIED
from causalsim.verification import recorded_graph
from causalsim.verification.faults import (
    forgetting,
    overlooking,
    remembering,
    seeing_too_far,
    writing_elsewhere,
)
from tests.engine.support import architectures, fresh, ids
from tests.engine.test_serving import FAMILIES, GOLDEN
from tests.models_for_tests import tiny

LONG = fresh(tiny(), cs.EventGraph(tiny().config, (3, 130), prompt=(1, 129)), [[1] * 3, [2] * 130])


@pytest.mark.parametrize("prompt", [None, 2])
def test_the_whole_graph_is_the_declared_one(prompt):
    found = recorded_graph(tiny(), ids(tiny(), 4), prompt=prompt)
    assert found.holds and found.is_whole, str(found)
    declared = nx.DiGraph(found.graph.to_networkx())
    assert set(found.to_networkx().edges) == set(declared.edges)
    assert "what is declared" in str(found)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_it_is_so_for_every_family(name):
    model = cs.load(GOLDEN / name)
    for given_ids, prompt in ((ids(model, 5), None), ([ids(model, 4), ids(model, 2)], [2, 1])):
        found = recorded_graph(model, given_ids, prompt=prompt)
        assert found.holds and found.is_whole, str(found)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(architectures())))
def test_it_is_so_for_every_wiring(number):
    model = architectures()[number]
    for texts in (ids(model, 7), [ids(model, 5), ids(model, 3)]):
        found = recorded_graph(model, texts)
        assert found.holds and found.is_whole, str(found)


def test_a_sample_goes_round_the_sites_and_says_so():
    found = recorded_graph(tiny(), ids(tiny(), 5), events=9)
    assert found.holds and not found.is_whole
    assert str(found).startswith("9 of 40 events")
    assert len({(event.kind, event.layer) for event in found.watched}) == 8


def test_a_race_is_an_undeclared_read():
    """An unembedding that looks at the position before: with feedback that is in the past, and no edge."""
    found = recorded_graph(tiny(), ids(tiny(), 3), prompt=1, kernels=remembering(CERTIFIED))
    above = [pair for pair in found.undeclared if pair[1].kind == "unembed"]
    assert (cs.Event("unembed", 2, 0), cs.Event("unembed", 2, 1)) in above
    assert not found.holds and "not declared" in str(found)


def test_reads_beyond_the_past_and_edges_for_nothing_are_told():
    far = recorded_graph(tiny(), ids(tiny(), 3), kernels=seeing_too_far(CERTIFIED))
    assert (cs.Event("kv", 0, 1), cs.Event("attn", 0, 0)) in far.elsewhere and "not in the past" in str(far)
    idle = recorded_graph(tiny(), ids(tiny(), 3), kernels=overlooking(CERTIFIED))
    assert (cs.Event("kv", 0, 1), cs.Event("attn", 0, 1)) in idle.unread and "not read" in str(idle)


def test_writes_elsewhere_and_forgotten_ones_are_told():
    top = cs.Event("unembed", 2, 1)
    stray = recorded_graph(tiny(), ids(tiny(), 3), kernels=writing_elsewhere(CERTIFIED))
    assert (top, Cell("logits", (2,))) in stray.strays and not stray.unkept and not stray.holds
    assert "3 written and not its own, unembed(0) -> logits[1]" in str(stray)
    idle = recorded_graph(tiny(), ids(tiny(), 3), kernels=forgetting(CERTIFIED))
    assert (top, Cell("logits", (1,))) in idle.unkept and not idle.strays and not idle.holds
    assert "3 its own and not written, unembed(0) -> logits[0]" in str(idle)


@given(st.data())
@settings(max_examples=15)
def test_what_changes_is_what_is_changed(data):
    """Any cells of a state of two texts, one of them longer than a page; the scratch cells are none."""
    state = with_garbage(LONG, np.random.default_rng(0))
    owned = [cell for event in LONG.graph for cell in cells_written(LONG, event)]
    chosen = data.draw(st.sets(st.sampled_from(owned), max_size=5))
    assert {*cells_changed(state, poisoned(state, chosen))} == chosen
    layout = LONG.layout
    behind = [Cell("tokens", (layout.tokens,)), Cell("residual", (0, layout.tokens))]
    behind += [Cell("logits", (layout.tokens,)), Cell("kv", (1, layout.pages, 7))]
    assert not {*cells_changed(state, poisoned(state, behind))}


def test_events_that_depend_on_what_else_has_run_are_restless():
    plain = recorded_graph(tiny(), ids(tiny(), 3))
    assert replace(plain, restless=(cs.Event("attn", 0, 0),)).holds is False
    assert "with other bits, attn(0,0)" in str(replace(plain, restless=(cs.Event("attn", 0, 0),)))


@pytest.mark.parametrize("events", [0, -1, 1.5, "all"])
def test_wrong_numbers_of_events_are_refused(events):
    with pytest.raises(InputError, match="watched events is a whole number of at least 1"):
        recorded_graph(tiny(), [1, 2], events=events)
