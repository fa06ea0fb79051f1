"""The certificate: it holds where no order matters, and each condition refuses what breaks it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import causalsim as cs
from causalsim.engine import compile, plan
from causalsim.engine.joining import deepest
from causalsim.engine.placement import live_ranges
from causalsim.errors import InputError
from causalsim.kernels import CERTIFIED, FIXED
from causalsim.verification import certificate, faults, lifetimes
from causalsim.verification.bench import Bench, Tally, misses, run_trials
from causalsim.verification.certificate import certificate_of, certify
from causalsim.verification.exploration import explore, lattice_of
from causalsim.verification.lifetimes import misplaced_pages, overwritten_early
from causalsim.verification.memory import GARBAGE
from causalsim.verification.target import Target
from causalsim.verification.trials import Trial, everywhere, forms, in_rotation
from tests.engine.faulty import unmasked
from tests.foliations.support import graphs_with_foliation
from tests.models_for_tests import tiny, wide
from tests.verification.test_exploration import counting_what_is_written, target

TURNED = {"n_layers": 3, "windows": (2, None, 3), "n_heads": 2, "n_kv_heads": 2, "parallel_residual": True}
CONDITIONS = ["rows", "addresses", "garbage", "frame", "lifetime", "program", "determinism"]


# -- where it holds ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "prompt", "switches"),
    [
        (3, 1, {}),
        pytest.param((3, 2), None, TURNED, marks=pytest.mark.slow),
    ],
    ids=["feedback", "two texts, parallel, windows"],
)
def test_it_holds_for_every_wiring(length, prompt, switches):
    found = certificate_of(target(length, prompt, **switches))
    assert found.holds and found.witness is None
    assert [condition.name for condition in found.parts] == CONDITIONS
    assert len(found.controls) == 3 and all(control.caught for control in found.controls)


def test_it_holds_for_wide_models_in_rotation_and_says_so():
    found = certify(wide(), [1, 2, 3], thorough=False)
    assert found.holds
    tried = next(condition for condition in found.parts if condition.name == "garbage")
    assert "in rotation" in str(tried.coverage) and f"{found.coverage.event_runs:,} event runs" in str(
        tried.coverage
    )
    content = json.loads(found.to_json())
    assert content["holds"] is True and [each["name"] for each in content["parts"]] == CONDITIONS


def test_verify_takes_it_as_the_argument_for_all_orders():
    plain = target(3)
    report = cs.verify(plain.model, plain.ids, orders=1, events=1, certificate=True, exhaustive=0)
    verdict = report.order_independence
    assert verdict.holds and verdict.method == "certificate"
    assert verdict.summary.startswith("every order, by a certificate of ")
    assert not any("orders not drawn" in words for words in verdict.excludes)
    assert json.loads(report.to_json())["order_independence"]["parts"][0]["holds"] is True


def test_it_holds_for_a_text_of_one_position():
    found = certificate_of(target(1, n_layers=1))
    assert found.holds and all(control.caught for control in found.controls)


# -- what it refuses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "faulty",
    [
        lambda: faults.seeing_too_far(CERTIFIED),
        counting_what_is_written,
        pytest.param(unmasked, marks=pytest.mark.slow),
    ],
    ids=["too far", "counting", "unmasked"],
)
def test_it_refuses_what_exploration_refuses(faulty):
    whole = target(2, n_layers=1, kernels=faulty())
    assert explore(whole, lattice_of(whole.graph, 1000)).divergence is not None
    tally, _ = run_trials(whole, thorough=True)
    assert tally.wrong is not None


@pytest.mark.parametrize(
    "spoil",
    [faults.writing_elsewhere, faults.forgetting, faults.adding_up, faults.counting, faults.remembering],
)
def test_it_refuses_kernels_that_write_or_remember_what_they_should_not(spoil):
    whole = target(3, n_layers=1, kernels=spoil(CERTIFIED))
    tally, _ = run_trials(whole, thorough=True)
    assert (tally.changed if spoil is faults.writing_elsewhere else tally.wrong) is not None


def test_every_edge_is_needed():
    whole = target(3, 1, n_layers=1)
    assert all(misses(whole, edge) for edge in whole.graph.edges())


def test_nothing_is_missed_that_nobody_reads():
    """The other side of the check above: an edge that is none changes nothing when it is dropped."""
    whole = target(3, n_layers=1)
    edge = next(whole.graph.edges())._replace(source=cs.Event("mlp", 0, 0), target=cs.Event("attn", 0, 1))
    assert misses(whole, edge) is None


def test_dispatches_that_go_wrong_now_and_then_are_seen():
    """With a chance of q each, r dispatches all go well with (1 - q)^r: here less than one in a thousand."""
    whole = target(2, n_layers=1, kernels=faults.now_and_then(FIXED, 0.2))
    tally, _ = run_trials(whole, thorough=True)
    assert tally.trials > 30 and tally.wrong is not None


def refused(whole, **more) -> dict[str, str]:
    """The conditions that a certificate in rotation finds broken, and their witnesses."""
    found = certificate_of(whole, thorough=False, **more)
    assert not found.holds
    return {part.name: str(part.witness) for part in found.parts if not part.holds}


def test_a_program_that_is_not_the_same_twice_is_refused(monkeypatch):
    whole = target(2, n_layers=1)
    other = replace(whole, ids=(whole.ids[0] + 1,)).values(whole.program)
    assert whole.reference
    monkeypatch.setattr(Target, "values", lambda *_: other)
    words = "the same program diverges at embed(0)"
    (broken,) = refused(whole).items()
    assert broken[0] == "determinism" and broken[1].startswith(words)


def test_an_engine_that_ignores_the_order_is_refused(monkeypatch):
    whole, run = target(2, n_layers=1), Target.run
    assert whole.reference
    monkeypatch.setattr(Target, "run", lambda self, _: run(self, compile(cs.layer_major(self.graph))))
    (broken,) = refused(whole).items()
    assert broken[0] == "program" and "in another order" in broken[1]


def test_a_dispatch_that_was_not_tried_is_refused(monkeypatch):
    def fewer(*arguments):
        return run_trials(*arguments)[0], frozenset()

    monkeypatch.setattr(certificate, "run_trials", fewer)
    broken = refused(target(2, n_layers=1))
    assert list(broken) == ["program"] and "was not tried" in broken["program"]


def test_a_host_that_looks_at_memory_is_refused(monkeypatch):
    execute = Target.execute

    def looking(self, program, state, **options):
        assert np.asarray(state.residual).size
        return execute(self, program, state, **options)

    monkeypatch.setattr(Target, "execute", looking)
    assert refused(target(2, n_layers=1)) == {"addresses": "layer_major: the host reads a cell"}


def test_a_kernel_that_branches_on_memory_is_refused():
    def mlp(_config, _weights, x):
        return x[x.argmax() % len(x)] + x

    broken = refused(target(2, n_layers=1, kernels=replace(CERTIFIED, mlp=mlp)))
    assert "takes an address from a cell" in broken["addresses"]


@pytest.mark.parametrize(
    ("condition", "spoil"),
    [("garbage", faults.seeing_too_far), ("frame", faults.writing_elsewhere)],
)
def test_a_kernel_that_breaks_one_condition_is_refused_by_that_one(condition, spoil):
    assert condition in refused(target(2, n_layers=1, kernels=spoil(CERTIFIED)))


# -- lifetimes -----------------------------------------------------------------------------------------


def test_one_plane_for_a_parallel_residual_is_refused(monkeypatch):
    """In place, a layer's MLP would overwrite what its attention has still to read."""
    whole = target(3, n_layers=2, parallel_residual=True)
    assert not list(overwritten_early(whole.graph, whole.fresh()))
    written = lifetimes.cells_written

    def one_plane(state, event):
        cells = written(state, event)
        return tuple(cell._replace(place=(0, *cell.place[1:])) for cell in cells if cell.array == "residual")

    monkeypatch.setattr(lifetimes, "cells_written", one_plane)
    words = "attn(0,0) may overwrite residual of embed(0) while mlp(0,0) may still read it"
    assert words in map(str, overwritten_early(whole.graph, whole.fresh()))
    assert list(refused(target(2, n_layers=1, parallel_residual=True))) == ["lifetime"]


def moved(made, **changes):
    """A plan whose pages lie elsewhere than its dispatches were made for."""
    return replace(made, placement=replace(made.placement, **changes))


def poisoned_at(made, number, places):
    """A plan in which some places are poison again before one of its dispatches."""
    spoilt = replace(made.dispatches[number], recycled=tuple(places))
    return replace(made, dispatches=(*made.dispatches[:number], spoilt, *made.dispatches[number + 1 :]))


def unpoisoned(made):
    return replace(made, dispatches=tuple(replace(each, recycled=()) for each in made.dispatches))


@pytest.mark.parametrize(
    ("family", "spoil", "words"),
    [
        (cs.wavefront, lambda made: moved(made, pool=np.zeros(3, np.int64), pools=1), "takes the place of"),
        (cs.layer_major, unpoisoned, "finds what page 0 of layer 0 left"),
    ],
)
def test_pages_that_are_given_away_early_or_unpoisoned_are_refused(family, spoil, words):
    whole = target(5, n_layers=3)
    made = plan(compile(family(whole.graph)), CERTIFIED.buckets)
    assert not list(misplaced_pages(made))
    assert any(words in str(each) for each in misplaced_pages(spoil(made)))


def test_two_pages_of_one_dispatch_have_two_places():
    whole = target(1, n_layers=2)
    made = plan(compile(cs.token_major(whole.graph)), CERTIFIED.buckets)
    assert max(each.layers for each in made.dispatches) == 2 and not list(misplaced_pages(made))
    together = moved(made, pool=np.zeros(2, np.int64), pools=1)
    assert any("takes the place of" in str(each) for each in misplaced_pages(together))


@given(graphs_with_foliation())
def test_a_page_may_be_poison_before_it_is_needed_and_after_but_not_meanwhile(foliation):
    graph = foliation.graph
    if graph.granularity == "block":
        return
    made = plan(compile(foliation), CERTIFIED.buckets, recycle=False)
    groups = [each.batches for each in made.dispatches]
    first, last = live_ranges(groups, graph.wiring, made.layout)
    layer, page = np.argwhere(last >= 0)[0].tolist()
    place = int(made.placement.pool[layer]), int(made.placement.place[layer, page])
    for number in range(len(made.dispatches)):
        found = misplaced_pages(poisoned_at(made, number, [place]))
        assert bool(list(found)) == (first[layer, page] < number <= last[layer, page])


# -- what is tried -------------------------------------------------------------------------------------


@given(graphs_with_foliation(), st.sampled_from([CERTIFIED.buckets, FIXED.buckets]))
def test_whatever_a_program_dispatches_is_tried(foliation, rows):
    graph = foliation.graph
    if graph.granularity == "block":
        return
    tried = {form.executable for form, _ in forms(graph, rows)}
    assert plan(compile(foliation), rows).executables <= tried


GRAPH = cs.EventGraph(cs.Wiring(2), (5, 4), prompt=(5, 2))


@pytest.mark.parametrize("number", range(0, len(list(forms(GRAPH, CERTIFIED.buckets))), 3))
def test_every_event_stands_first_and_last_with_every_kind_of_garbage(number):
    form, group = list(forms(GRAPH, CERTIFIED.buckets))[number]
    trials = list(everywhere(form, group, 1))
    assert {len(trial.rows) for trial in trials} == {1, min(form.rows, len(group))}
    for row in group:
        mine = [trial for trial in trials if trial.tested == (row,)]
        for at in (0, -1):
            assert {trial.garbage for trial in mine if trial.rows[at] == row} == {*GARBAGE}


@settings(max_examples=20)
@given(st.sampled_from(list(forms(GRAPH, CERTIFIED.buckets))), st.integers(0, 9))
def test_in_rotation_every_event_is_tried_in_every_form(form_and_group, turn):
    form, group = form_and_group
    trials = list(in_rotation(form, group, turn))
    assert {row for trial in trials for row in trial.tested} == {*group}
    assert all({*trial.tested} <= {*trial.rows} and len(trial.rows) <= form.rows for trial in trials)
    assert len({trial.garbage for trial in trials}) == min(len(trials), len(GARBAGE))
    size = min(len(group), form.rows)
    assert any(len(trial.rows) < size for trial in trials) == (size > 1 and turn % 2 == 0)


@pytest.mark.parametrize("garbage", GARBAGE)
def test_an_event_whose_predecessor_is_garbage_is_seen(garbage):
    """The check itself can fail: with one cell too few it does."""
    whole = target(3, n_layers=1)
    form, group = next(each for each in forms(whole.graph, whole.kernels.buckets) if each[0].kind == "mlp")
    tally, bench = Tally(), Bench(whole)
    bench.reads = lambda _: {}
    # One cell of a mixture may be its own by chance: not in ten draws.
    bench.run([Trial(form, group[:1], group[:1], garbage)] * 10, tally)
    assert tally.wrong is not None


def test_what_cannot_be_certified_is_refused():
    graph = cs.EventGraph(tiny().config, 3, granularity="block")
    blocks = Target(tiny(), graph, (np.arange(3, dtype=np.int32),), CERTIFIED)
    with pytest.raises(InputError, match="sublayer"):
        certificate_of(blocks)
    with pytest.raises(InputError):
        certify(tiny(), [])


def test_deep_dispatches_are_tried():
    graph = cs.EventGraph(cs.Wiring(7), 2)
    layers = {form.layers for form, _ in forms(graph, CERTIFIED.buckets)}
    assert layers == {0, 1, deepest(7)}
