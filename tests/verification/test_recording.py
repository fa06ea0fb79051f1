"""The recorded causal graph is the declared one, and shows races and edges that nobody needs."""

from __future__ import annotations

from dataclasses import replace

import networkx as nx
import pytest

import causalsim as cs
from causalsim.errors import InputError
from causalsim.kernels import CERTIFIED
from causalsim.verification import recorded_graph
from causalsim.verification.faults import overlooking, remembering, seeing_too_far
from tests.engine.support import architectures, ids
from tests.models_for_tests import tiny


@pytest.mark.parametrize("prompt", [None, 2])
def test_the_whole_graph_is_the_declared_one(prompt):
    found = recorded_graph(tiny(), ids(tiny(), 4), prompt=prompt)
    assert found.holds and found.is_whole, str(found)
    declared = nx.DiGraph(found.graph.to_networkx())
    assert set(found.to_networkx().edges) == set(declared.edges)
    assert "what is declared" in str(found)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(architectures())))
def test_it_is_so_for_every_wiring(number):
    model = architectures()[number]
    for given in (ids(model, 7), [ids(model, 5), ids(model, 3)]):
        found = recorded_graph(model, given)
        assert found.holds and found.is_whole, str(found)


def test_a_sample_goes_round_the_slots_and_says_so():
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


def test_events_that_depend_on_what_else_has_run_are_restless():
    plain = recorded_graph(tiny(), ids(tiny(), 3))
    assert replace(plain, restless=(cs.Event("attn", 0, 0),)).holds is False
    assert "with other bits, attn(0,0)" in str(replace(plain, restless=(cs.Event("attn", 0, 0),)))


@pytest.mark.parametrize("events", [0, -1, 1.5, "all"])
def test_wrong_numbers_of_events_are_refused(events):
    with pytest.raises(InputError, match="at least 1 events"):
        recorded_graph(tiny(), [1, 2], events=events)
