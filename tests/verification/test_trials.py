"""Trials, the orders that cover their forms, and memory of garbage: by hand, with next to no arithmetic."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import causalsim as cs
from causalsim.engine import compile, plan
from causalsim.engine.program import MANY_ROWS
from causalsim.events import Site
from causalsim.kernels import CERTIFIED
from causalsim.testing.suite import named_foliations
from causalsim.verification import bench, memory
from causalsim.verification.bench import Tally, run_trials
from causalsim.verification.covering import covering, occurrences, possible
from causalsim.verification.memory import FREE, GARBAGE, HUGE, KEPT, NAN, OTHER, OWN, WRITTEN
from causalsim.verification.target import Target
from causalsim.verification.trials import Form, Trial, everywhere, forms, in_rotation
from tests.models_for_tests import tiny
from tests.verification.support import SAID
from tests.verification.test_exploration import target

GRAPH = cs.EventGraph(cs.Wiring(2), (5, 4), prompt=(5, 2))
GROUP = tuple((position, 0) for position in range(9))
FORM = Form(Site("mlp", 0), 8)


# -- which trials there are ------------------------------------------------------------------------


def test_forms_are_every_site_layer_and_request_in_every_size():
    found = list(forms(cs.EventGraph(cs.Wiring(7), (3, 3)), CERTIFIED.buckets))
    alone = {(form.site, form.rows) for form, _ in found if not form.layers}
    assert {(Site("mlp", 6), 1), (Site("mlp", 6), 8), (Site("attn", 0), 8)} <= alone
    layers = {(form.layers, form.site.layer) for form, _ in found if form.layers}
    assert layers == {(1, layer) for layer in range(7)} | {(6, 0), (6, 1)}
    assert {form.rows for form, _ in found if form.layers == 6} == {1}
    assert {form.rows for form, _ in found if form.layers == 1} == {1, 8}


def test_attentions_are_tried_of_one_request_and_of_all_and_others_of_all():
    groups = {kind: [{request for _, request in group} for form, group in forms(GRAPH, CERTIFIED.buckets)
                     if form.site == Site(kind, 0) and not form.layers and form.rows == 8]
              for kind in ("attn", "mlp")}  # fmt: skip
    assert groups == {"attn": [{0}, {1}, {0, 1}], "mlp": [{0, 1}]}
    long = cs.EventGraph(cs.Wiring(1), (MANY_ROWS, MANY_ROWS))
    mixed = [group for form, group in forms(long, CERTIFIED.buckets) if form.site.kind == "attn"][-1]
    assert len(mixed) == 2 * (MANY_ROWS - 1)


def test_everywhere_is_first_last_alone_in_between_with_all_garbage_and_all_of_rotation():
    trials = list(everywhere(FORM, GROUP, 2))
    assert {*in_rotation(FORM, GROUP, 2)} < {*trials}
    places = set()
    for row in GROUP:
        for garbage in GARBAGE:
            mine = [each.rows for each in trials if (each.tested, each.garbage) == ((row,), garbage)]
            assert (row,) in mine and {0, 7} <= {rows.index(row) for rows in mine}
            places |= {rows.index(row) for rows in mine}
    assert places == {*range(8)}


def test_rotation_turns_steps_garbage_and_rows_to_spare():
    steps, first, sizes = set(), set(), set()
    for turn in range(4):
        trials = list(in_rotation(FORM, GROUP, turn))
        first.add(trials[0].garbage)
        steps.add((trials[0].rows[1][0] - trials[0].rows[0][0]) % len(GROUP))
        sizes.add(min(len(trial.rows) for trial in trials))
        assert [row for trial in trials for row in trial.tested[1:2]]
    assert first == {*GARBAGE} and len(steps) == 3 and len(sizes) == 2


def test_several_layers_are_tried_with_few_rows_where_planners_seldom_begin_them():
    for layer, rows in ((0, 9), (6, 9), (1, 2), (7, 2)):
        form = Form(Site("kv", layer), 1, layers=6)
        assert len({row for trial in in_rotation(form, GROUP, 0) for row in trial.tested}) == rows


# -- what came of them -----------------------------------------------------------------------------


def test_a_tally_keeps_the_first_of_each_and_counts_all():
    first, second = (Trial(FORM, GROUP[:2], GROUP[n : n + 1], "NaN") for n in (0, 1))
    tally = Tally()
    tally.note(first, FREE)
    assert (tally.trials, tally.event_runs, tally.witness) == (1, 1, None)
    tally.note(first, KEPT)
    tally.note(second, KEPT)
    assert tally.wrong is None and tally.witness is tally.changed and tally.changed.trial is first
    tally.note(second, WRITTEN)
    tally.note(first, WRITTEN | KEPT)
    assert tally.wrong.trial is second and tally.witness is tally.wrong and tally.trials == 5


@pytest.mark.parametrize(("thorough", "trials"), [(True, everywhere), (False, in_rotation)])
def test_samples_are_tried_given_likeliest_and_drawn(monkeypatch, thorough, trials):
    tried = {}

    class Stand:
        divergence = None

        def __init__(self, own):
            self.own = own

        def outcomes(self, its):
            tried[self.own.draw] = list(its)
            return ((trial, FREE) for trial in its)

    monkeypatch.setattr(bench, "Bench", Stand)
    monkeypatch.setattr(Target, "drawing", lambda self, heat: replace(self, draw=(heat, 0)))
    whole = target(3, 1, n_layers=1)
    tally, _ = run_trials(whole, thorough)
    assert list(tried) == [None, (0.0, 0), (1.0, 0)]
    assert {trial.form.site.kind for trial in tried[(1.0, 0)]} == {"sample"}
    each = [trials(form, group, form.site.layer + 1) for form, group in forms(whole.graph, CERTIFIED.buckets)]
    assert tried[None] == [trial for some in each for trial in some]
    assert tally.trials == sum(map(len, tried.values())) and tally.wrong is None
    Stand.divergence = SAID
    assert run_trials(whole, thorough)[0].wrong is SAID


@pytest.mark.parametrize(("count", "waiting"), [(3, 1), (20, 3)])
def test_every_trial_has_an_outcome(count, waiting):
    stand = bench.Bench.__new__(bench.Bench)
    runs = []
    stand._run = lambda trials: runs.append(len(trials)) or np.full(bench.BATCH, len(runs), np.int8)
    trials = [Trial(FORM, GROUP, GROUP[:1], "NaN")] * count
    assert len(list(stand.outcomes(trials))) == count and len(runs) == waiting


# -- orders that cover all forms -------------------------------------------------------------------


@pytest.mark.parametrize("graph", [GRAPH, cs.EventGraph(cs.Wiring(7), 9)], ids=["two texts", "seven layers"])
def test_orders_cover_every_form_that_is_possible_each_with_a_new_one(graph):
    seen = set()
    for _, order in covering(graph, CERTIFIED.buckets):
        new = occurrences(plan(compile(order), CERTIFIED.buckets))
        assert new - seen
        seen |= new
    assert possible(graph, CERTIFIED.buckets).keys() <= seen


def test_a_form_occurs_with_rows_to_spare_and_without():
    found = possible(cs.EventGraph(cs.Wiring(1), 9), CERTIFIED.buckets)
    assert {key.is_padded for key in found if key[:3] == ("mlp", 0, 8)} == {True, False}


@settings(max_examples=20)
@given(st.integers(0, 99), st.sampled_from([GRAPH, cs.EventGraph(cs.Wiring(7), 3)]))
def test_nothing_occurs_that_is_not_possible(seed, graph):
    orders = [cs.random_foliation(graph, seed=seed), *named_foliations(graph).values()]
    for order in orders:
        assert (
            occurrences(plan(compile(order), CERTIFIED.buckets)) <= possible(graph, CERTIFIED.buckets).keys()
        )


# -- memory of garbage -----------------------------------------------------------------------------


def test_every_kind_of_garbage_is_its_own():
    state = target(3, n_layers=1).fresh()
    cells, rng = memory.Plan.of(state), np.random.default_rng(0)
    marks = {kind: {*cells.garbage(kind, rng).tolist()} for kind in GARBAGE}
    assert marks == {"NaN": {NAN}, "huge": {HUGE}, "scrambled": {OTHER}, "mixed": {OWN, NAN, HUGE, OTHER}}


def over(marks: np.ndarray) -> memory.Spread:
    return memory.Spread.of([marks])


def filled(marks) -> np.ndarray:
    """A residual of four cells, two numbers each, of which some become garbage."""
    own = {"residual": jnp.arange(1.0, 9).reshape(1, 4, 2)}
    (found,) = memory.with_garbage(40, own, over(np.int8(marks).reshape(1, 1, 4, 1)))
    return np.asarray(found["residual"])[0]


def test_cells_become_what_their_marks_say():
    found = filled([OWN, NAN, HUGE, OTHER])
    assert found[0].tolist() == [1, 2] and np.isnan(found[1]).all()
    assert (found[2] == np.float32(memory.GREAT)).all() and found[3].tolist() == [5, 6]


@pytest.mark.parametrize(
    ("role", "left", "mark"),
    [
        (WRITTEN, [7.0, 8], FREE),  # what is expected
        (WRITTEN, [7.0, 7], WRITTEN),
        (KEPT, [5.0, 6], FREE),  # the garbage that was there
        (KEPT, [7.0, 8], KEPT),
        (FREE, [0.0, 0], FREE),
    ],
)
def test_marks_tell_what_a_cell_should_not_hold(role, left, mark):
    own = {"residual": jnp.arange(1.0, 9).reshape(1, 4, 2)}
    after = {"residual": jnp.asarray(filled([OTHER] * 4)[None]).at[0, 3].set(jnp.array(left))}
    garbage = over(np.full((1, 1, 4, 1), OTHER, np.int8))
    roles = over(np.int8([FREE, FREE, FREE, role]).reshape(1, 1, 4, 1))
    found = memory.divergences(40, own, own, garbage, roles, [after])
    assert jax.device_get(found).tolist() == [mark]


@pytest.mark.parametrize("wrong", ["residual", "logits"])
def test_one_of_several_arrays_is_enough(wrong):
    own = {"residual": jnp.ones((1, 3, 2)), "logits": jnp.ones((3, 4))}
    after = own | {wrong: own[wrong] * 2}
    marks, roles = (
        memory.Spread.of([np.full((1, 1, 3, 1), each, np.int8), np.full((1, 3, 1), each, np.int8)])
        for each in (OWN, WRITTEN)
    )
    assert jax.device_get(memory.divergences(40, own, own, marks, roles, [after])).tolist() == [WRITTEN]
    assert jax.device_get(memory.divergences(40, own, own, marks, roles, [own])).tolist() == [FREE]


def test_marks_of_several_cells_are_joined_and_bits_are_compared():
    own = {"residual": jnp.array([[[np.nan], [0.0], [1.0]]])}
    after = {"residual": jnp.array([[[np.nan], [-0.0], [2.0]]])}
    marks = over(np.full((2, 1, 3, 1), OWN, np.int8))
    roles = over(np.int8([[WRITTEN, KEPT, WRITTEN], [WRITTEN, FREE, FREE]]).reshape(2, 1, 3, 1))
    found = memory.divergences(40, own, own, marks, roles, [after, after])
    assert jax.device_get(found).tolist() == [WRITTEN | KEPT, FREE]


def test_the_cells_of_a_state_are_numbered_each_by_itself():
    model = tiny(n_layers=1, parallel_residual=True)
    whole = Target.of(model, [1, 2, 3])
    cells = memory.Plan.of(whole.fresh())
    written = [cell for event in whole.graph for cell in memory_cells(whole, event)]
    numbers = [cells.number(cell) for cell in dict.fromkeys(written)]
    assert len({*numbers}) == len(numbers) and max(numbers) < cells.starts["all"]
    assert not {*numbers} & {*cells.scratch}


def memory_cells(whole, event):
    return cs.engine.cells.cells_written(whole.fresh(), event)
