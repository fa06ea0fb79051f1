"""Orders by which every form of dispatch occurs, and trials that cover what rotating ones do."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings

import causalsim as cs
from causalsim.engine import compile, plan
from causalsim.engine.joining import deepest
from causalsim.kernels import CERTIFIED_BUCKETS, FIXED_BUCKETS, Buckets
from causalsim.testing.strategies import graphs
from causalsim.verification.covering import covering, occurrences, possible
from causalsim.verification.trials import everywhere, forms, in_rotation

SMALL = {"max_layers": 4, "max_length": 12, "max_requests": 3}


def seen(graph, buckets):
    plans = (plan(compile(order), buckets) for _, order in covering(graph, buckets))
    return frozenset().union(*map(occurrences, plans))


@settings(max_examples=40)
@given(graphs(**SMALL, granularity="sublayer"))
def test_every_form_of_dispatch_occurs(graph):
    """But sublayers by themselves in texts so short that they always go with their layer."""
    assume(min(graph.prompts) > 1)
    missing = possible(graph, CERTIFIED_BUCKETS).keys() - seen(graph, CERTIFIED_BUCKETS)
    assert all(not key.layers and key.kind in graph.wiring.sublayers for key in missing)


@pytest.mark.parametrize("buckets", [FIXED_BUCKETS, Buckets((1, 4)), Buckets((2, 8))], ids=str)
def test_every_form_occurs_with_other_batch_sizes(buckets):
    graph = cs.EventGraph(cs.Wiring(3), [7, 5], prompt=[4, 5])
    assert seen(graph, buckets) >= possible(graph, buckets).keys()


@settings(max_examples=40)
@given(graphs(**SMALL, granularity="sublayer"))
def test_no_order_has_a_form_that_is_not_told(graph):
    told = {key[:4] for key in possible(graph, CERTIFIED_BUCKETS)}
    for order in (cs.earliest(graph), cs.token_major(graph)):
        made = plan(compile(order), CERTIFIED_BUCKETS, recycle=False)
        assert {key[:4] for key in occurrences(made)} <= told


def test_several_layers_start_at_every_layer():
    graph = cs.EventGraph(cs.Wiring(7), 3)
    deep = {key.first for key in possible(graph, CERTIFIED_BUCKETS) if key.layers == deepest(7)}
    assert deepest(7) == 6 and deep == {0, 1}


@pytest.mark.parametrize("turn", range(5))
def test_thorough_trials_have_all_that_rotating_ones_have(turn):
    graph = cs.EventGraph(cs.Wiring(2), [5, 4])
    for form, group in forms(graph, CERTIFIED_BUCKETS):
        assert {*in_rotation(form, group, turn)} <= {*everywhere(form, group, turn)}


def test_events_come_to_every_place_of_a_dispatch():
    graph = cs.EventGraph(cs.Wiring(1), 8)
    for form, group in forms(graph, CERTIFIED_BUCKETS):
        places = {trial.rows.index(row) for trial in everywhere(form, group, 1) for row in trial.tested}
        assert places == set(range(min(form.rows, len(group))))
