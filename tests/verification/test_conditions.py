"""Verdicts and the certificate follow from their parts: where one part says no, so does the whole.

The parts are stood in for here, and nothing is computed; `test_certificate.py` has them at work.
"""

from __future__ import annotations

from types import SimpleNamespace

import jax
import numpy as np
import pytest

import causalsim as cs
from causalsim.engine import compile, plan
from causalsim.kernels import CERTIFIED
from causalsim.progress import silent
from causalsim.testing import Finding, PlantedFault, Statement
from causalsim.testing.findings import diverging
from causalsim.verification import Report, batch_invariance, certificate, lifetimes, order_independence
from causalsim.verification.bench import Tally
from causalsim.verification.covering import covering
from causalsim.verification.executable_flow import Traced, traced, unsound
from causalsim.verification.exploration import Exploration, StateDivergence
from causalsim.verification.target import Target
from causalsim.verification.trials import Form, forms
from tests.verification import test_soundness
from tests.verification.test_certificate import unpoisoned
from tests.verification.test_exploration import target

SAID = Statement("it broke")
CAUGHT, MISSED = (PlantedFault("a fault", {"a check": said}) for said in (SAID, None))
EVENT = cs.Event("mlp", 0, 1)
VALUES, OTHERS = {EVENT: np.float32([1])}, {EVENT: np.float32([2])}


def said(value):
    """A function that always says the same."""
    return lambda *_, **__: value


# -- the certificate -----------------------------------------------------------------------------------


@pytest.fixture
def sound(monkeypatch):
    """A certificate whose checks all find nothing."""
    whole = target(3, n_layers=1)
    tried = frozenset(form.executable for form, _ in forms(whole.graph, whole.kernels.buckets))
    nothing = {"_controls": (CAUGHT,), "_read_off": {}, "_steered": None, "_shared": None, "_unsteady": None}
    nothing |= {"poisoned_wrong": (1, None), "run_trials": (Tally(1, 1), tried)}
    for name, value in nothing.items():
        monkeypatch.setattr(certificate, name, said(value))
    monkeypatch.setattr(Target, "refuted", said(None))
    assert certificate.certificate_of(whole).holds
    return whole


@pytest.mark.parametrize(
    ("condition", "check", "finds"),
    [
        ("rows", "_read_off", {"rows": SAID}),
        ("addresses", "_read_off", {"addresses": SAID}),
        ("addresses", "_steered", SAID),
        ("garbage", "run_trials", Tally(wrong=SAID)),
        ("frame", "run_trials", Tally(changed=SAID)),
        ("lifetime", "_shared", SAID),
        ("lifetime", "poisoned_wrong", (1, SAID)),
        ("program", "_unfaithful", SAID),
        ("determinism", "_unsteady", SAID),
    ],
)
def test_what_a_check_finds_breaks_its_condition_and_no_other(monkeypatch, sound, condition, check, finds):
    if check == "run_trials":
        finds = finds, certificate.run_trials()[1]
    monkeypatch.setattr(certificate, check, said(finds))
    found = certificate.certificate_of(sound)
    assert [part.name for part in found.parts if not part.holds] == [condition] and not found.holds


@pytest.mark.parametrize("controls", [(), (MISSED,), (CAUGHT, MISSED)])
def test_a_certificate_needs_its_controls(monkeypatch, sound, controls):
    monkeypatch.setattr(certificate, "_controls", said(controls))
    assert not certificate.certificate_of(sound).holds


def test_small_graphs_are_tried_thoroughly_unless_told_otherwise(monkeypatch, sound):
    asked = []
    result = certificate.run_trials()
    monkeypatch.setattr(certificate, "run_trials", lambda _, thorough, __: asked.append(thorough) or result)
    for thorough in (None, True, False):
        certificate.certificate_of(sound, thorough)
    monkeypatch.setattr(certificate, "SMALL", len(sound.graph) - 1)
    certificate.certificate_of(sound)
    assert asked == [True, True, False, False]


def test_its_controls_are_three_kernels_and_what_is_seen_of_each(monkeypatch):
    monkeypatch.setattr(certificate, "first_fault", said(SAID))
    assert [control.caught for control in certificate._controls(target(3))] == [True] * 3
    monkeypatch.setattr(certificate, "first_fault", said(None))
    assert [control.caught for control in certificate._controls(target(3))] == [False] * 3


def test_programs_that_are_looked_at():
    whole = target(3, n_layers=1)
    named = list(cs.verification.certificate.named_foliations(whole.graph))
    thorough = [name for name, _ in certificate._foliations(whole, True, 0)]
    forms_that_occur = [name for name, _ in covering(whole.graph, whole.kernels.buckets)]
    assert thorough[: len(named)] == named and thorough[-len(forms_that_occur) :] == forms_that_occur
    assert len(thorough) == len(named) + certificate.RANDOM + len(forms_that_occur)
    assert len(list(certificate._foliations(whole, False, 0))) == 2


def test_a_program_of_what_was_not_tried_and_one_that_diverges_are_unfaithful(monkeypatch):
    whole = target(2, n_layers=1)
    orders = {"layer_major": cs.layer_major(whole.graph)}
    plans = {name: plan(compile(order), whole.kernels.buckets) for name, order in orders.items()}
    monkeypatch.setattr(Target, "refuted", said(None))
    tried = plans["layer_major"].executables
    assert certificate._unfaithful(whole, orders, plans, tried) is None
    assert "was not tried" in str(certificate._unfaithful(whole, orders, plans, frozenset()))
    monkeypatch.setattr(Target, "refuted", said(SAID))
    assert certificate._unfaithful(whole, orders, plans, tried) is SAID


def test_other_values_the_second_time_are_unsteady(monkeypatch):
    monkeypatch.setattr(Target, "reference", VALUES)
    monkeypatch.setattr(Target, "values", said(VALUES))
    assert certificate._unsteady(target(2)) is None
    monkeypatch.setattr(Target, "values", said(OTHERS))
    assert certificate._unsteady(target(2)) is not None


def test_pages_that_are_not_poisoned_are_told_of_the_program():
    whole = target(5, n_layers=3)
    made = plan(compile(cs.layer_major(whole.graph)), whole.kernels.buckets)
    assert certificate._shared(whole, {"as planned": made}) is None
    assert str(certificate._shared(whole, {"spoilt": unpoisoned(made)})).startswith("spoilt: page 0")


def test_places_are_poisoned_one_by_one_and_together(monkeypatch):
    whole = cs.verification.target.Target.of(target(2).model, [[1, 2, 3], [4, 5]])
    tried = []
    monkeypatch.setattr(lifetimes, "_poisoned", lambda _, __, places: tried.append(places))
    count, _ = lifetimes.poisoned_wrong(whole, 0)
    assert count == len(tried) == 6
    assert {((0, 0), (0, 1)), ((0, 0), (1, 0))} < {*tried} and {len(places) for places in tried} == {1, 2}


@pytest.mark.parametrize(
    ("kind", "kernel", "condition"),
    [
        ("attn", test_soundness.two_apart, "rows"),
        ("mlp", test_soundness.at_fourth, "rows"),
        ("mlp", test_soundness.by_iota, "rows"),
        ("mlp", lambda _config, _weights, x: x[x.argmax() % len(x)] + x, "addresses"),
        ("attn", lambda *given: CERTIFIED.attn(*given) + given[-1].table.reshape(-1)[0], "addresses"),
    ],
)
@pytest.mark.parametrize("several", [False, True])
def test_the_program_of_a_kernel_is_read(kind, kernel, condition, several):
    spoilt = target(9, n_layers=1, kernels=CERTIFIED.replaced("spoilt", **{kind: kernel}))
    form = Form(cs.events.Site(kind, 0), 8)
    assert condition in {broken for broken, _ in unsound(traced(spoilt, form, several))}
    assert not list(unsound(traced(spoilt.with_kernels(CERTIFIED), form, several)))


def test_a_result_that_mixes_rows_is_enough():
    for function, found in ((lambda x: x[::-1], ["rows"]), (lambda x: x * 2, [])):
        closed = jax.make_jaxpr(function)(np.zeros(8))
        program = Traced(Form(cs.events.Site("mlp", 0), 8), closed, ("rows[1]",), (np.zeros(8),))
        assert [condition for condition, _ in unsound(program)] == found


def test_what_is_read_off_is_told_by_condition(monkeypatch):
    monkeypatch.setattr(certificate, "traced", said(None))
    monkeypatch.setattr(
        certificate, "unsound", said([("addresses", "one"), ("rows", "two"), ("rows", "three")])
    )
    form = Form(cs.events.Site("mlp", 0), 8)
    found = certificate._read_off(target(2), {(form.executable, False): form})
    assert {condition: witness.reason for condition, witness in found.items()} == {
        "addresses": "one",
        "rows": "two",
    }


# -- the report ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", range(3))
def test_a_report_holds_if_all_of_its_verdicts_do(broken):
    verdicts = [Finding(f"verdict {n}", claim="all agree", controls=(CAUGHT,)) for n in range(3)]
    assert Report(*verdicts, {}).holds
    verdicts[broken] = Finding("another", witness=SAID, controls=(CAUGHT,))
    assert not Report(*verdicts, {}).holds and Report(*verdicts, {}).verdicts == tuple(verdicts)


# -- order independence ---------------------------------------------------------------------------------


@pytest.fixture
def orders(monkeypatch):
    """The names of the orders that are tried, in all of which nothing is found."""
    tried = []
    monkeypatch.setattr(Target, "refuted", lambda _, name, __: tried.append(name))
    monkeypatch.setattr(order_independence, "_control", said(CAUGHT))
    monkeypatch.setattr(order_independence, "counterexample", said(None))
    return tried


def ordered(whole, **more) -> Finding:
    return order_independence.order_independence(whole, 4, 0, silent, **more)


def test_named_random_and_covering_orders_are_tried(orders):
    whole = target(3, n_layers=1)
    assert ordered(whole).holds
    forms_that_occur = [name for name, _ in covering(whole.graph, whole.kernels.buckets)]
    assert {"layer_major", "token_major", "random foliation 0", *forms_that_occur} < {*orders}
    assert forms_that_occur


@pytest.mark.parametrize("failing", ["layer_major", "random foliation 0", "random linear extension 3"])
@pytest.mark.usefixtures("orders")
def test_one_order_that_diverges_refutes(monkeypatch, failing):
    monkeypatch.setattr(Target, "refuted", lambda _, name, __: SAID if name == failing else None)
    found = ordered(target(3, n_layers=1))
    assert found.witness is SAID and not found.holds


@pytest.mark.usefixtures("orders")
def test_a_certificate_that_fails_refutes_what_follows_from_it():
    proof = Finding("certificate", coverage=Statement("all", {"event_runs": 3}), witness=SAID)
    assert not ordered(target(3, n_layers=1), proof=proof).holds


@pytest.mark.usefixtures("orders")
def test_what_exploration_finds_refutes(monkeypatch):
    whole = target(3, n_layers=1)
    first = whole.graph[0]
    found = StateDivergence(first, (first,), (first,), "residual")
    monkeypatch.setattr(order_independence, "_explored", said(Exploration(0, 1, found)))
    assert "residual" in str(ordered(whole, exhaustive=1).witness)


@pytest.mark.usefixtures("orders")
def test_it_needs_every_control(monkeypatch):
    whole = target(3, n_layers=1)
    assert len(ordered(whole).controls) == 3
    monkeypatch.setattr(
        order_independence, "_control", lambda _, name, __: MISSED if "[kv]" in name else CAUGHT
    )
    assert not ordered(whole).holds


def test_a_control_is_caught_by_other_values(monkeypatch):
    monkeypatch.setattr(Target, "reference", VALUES)
    for values, caught in ((VALUES, False), (OTHERS, True)):
        monkeypatch.setattr(Target, "values", said(values))
        assert order_independence._control(target(2), "a fault", None).caught is caught
    assert diverging(VALUES, OTHERS, "{event}") is not None


# -- batch invariance ------------------------------------------------------------------------------------


class Rows:
    """A bench of twenty rows that keeps what is asked of it."""

    target = SimpleNamespace(kernels=CERTIFIED)

    def __init__(self):
        self.asked = []

    def __len__(self):
        return 20

    def run(self, rows, garbage):
        self.asked.append((tuple(rows.tolist()), garbage.any()))
        return (np.float32(rows),)


def test_rows_are_tried_alone_side_by_side_apart_at_random_and_beside_garbage():
    rows = Rows()
    batch_invariance._tried(rows, 2, 0)
    asked = [chosen for chosen, _ in rows.asked[1:]]
    assert {1, 8, 20} <= {len(chosen) for chosen in asked}
    gaps = [{*np.diff(chosen).tolist()} for chosen in asked]
    assert all({step} in gaps for step in batch_invariance.STEPS)
    assert any(len(each) > 1 for each in gaps) and any(garbage for _, garbage in rows.asked)


def test_a_longer_texts_buffer_and_every_control_count(monkeypatch):
    whole = target(2)
    stand_ins = {"_benches": [Rows()], "_fault_in_buffer": None, "_controls": (CAUGHT,)}
    for name, value in stand_ins.items():
        monkeypatch.setattr(batch_invariance, name, said(value))
    assert batch_invariance.batch_invariance(whole, 2, 0, silent).holds
    for name, value in {"_fault_in_buffer": SAID, "_controls": (MISSED,), "_witness": SAID}.items():
        with monkeypatch.context() as inside:
            inside.setattr(batch_invariance, name, said(value))
            assert not batch_invariance.batch_invariance(whole, 2, 0, silent).holds


def test_each_control_is_what_is_seen_of_its_kernel(monkeypatch):
    for name in ("_mlp_bench", "_sampling_bench"):
        monkeypatch.setattr(batch_invariance, name, said(Rows()))
    for witness in (SAID, None):
        monkeypatch.setattr(batch_invariance, "_witness", said(witness))
        found = list(batch_invariance._controls(target(2), 2, 0))
        assert len(found) == 3 and {control.caught for control in found} == {witness is SAID}


def test_a_row_that_diverges_is_told_as_its_event():
    graph = target(3, n_layers=1).graph
    bench = SimpleNamespace(before=SimpleNamespace(graph=graph), batch=SimpleNamespace(events=[3, 8, 13]))
    told = batch_invariance._witness(bench, SimpleNamespace(divergence=(1, 2, 8)))
    assert told.event == graph[8] and str(told).endswith("as row 2 of a batch of 8 events")
    assert batch_invariance._witness(bench, SimpleNamespace(divergence=None)) is None


def test_neighbours_that_are_garbage_get_poison():
    bench = batch_invariance.bench_of(target(3, n_layers=1), cs.events.Site("mlp", 0))
    (value,) = bench.run(np.arange(3), np.array([True, False, True]))
    assert np.isnan(value).all(axis=1).tolist() == [True, False, True]
