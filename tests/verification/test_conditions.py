"""The certificate follows from its conditions: where one of them says no, so does the whole.

The parts are stood in for here, and nothing is computed; `test_certificate.py` has them at work.
"""

from __future__ import annotations

import jax
import numpy as np
import pytest

import causalsim as cs
from causalsim.engine import compile, plan
from causalsim.kernels import CERTIFIED
from causalsim.testing import Statement
from causalsim.verification import certificate, lifetimes
from causalsim.verification.bench import Tally
from causalsim.verification.covering import covering
from causalsim.verification.executable_flow import Traced, traced, unsound
from causalsim.verification.target import Target
from causalsim.verification.trials import Form, forms
from tests.verification import test_soundness
from tests.verification.support import CAUGHT, MISSED, OTHERS, SAID, VALUES, said
from tests.verification.test_certificate import unpoisoned
from tests.verification.test_exploration import target

# -- the certificate -----------------------------------------------------------------------------------


@pytest.fixture
def sound(monkeypatch):
    """A certificate whose checks all find nothing."""
    whole = target(3, n_layers=1)
    tried = frozenset(form.executable for form, _ in forms(whole.graph, whole.kernels.buckets))
    nothing = {"_controls": (CAUGHT,), "traced": None, "unsound": (), "_steered": None, "_shared": None}
    nothing |= {"_unsteady": None, "poisoned_wrong": (1, None), "run_trials": (Tally(1, 1), tried)}
    nothing |= {"compare_in_one_call": (1, 2, None)}
    for name, value in nothing.items():
        monkeypatch.setattr(certificate, name, said(value))
    monkeypatch.setattr(Target, "refuted", said(None))
    monkeypatch.setattr(Target, "left_unrecorded", said(None))
    assert certificate.certificate_of(whole).holds
    return whole


@pytest.mark.parametrize(
    ("condition", "check", "finds"),
    [
        ("rows", "unsound", [("rows", "it broke")]),
        ("addresses", "unsound", [("addresses", "it broke")]),
        ("addresses", "_steered", SAID),
        ("garbage", "run_trials", Tally(wrong=SAID)),
        ("frame", "run_trials", Tally(changed=SAID)),
        ("lifetime", "_shared", SAID),
        ("lifetime", "poisoned_wrong", (1, SAID)),
        ("program", "_unfaithful", SAID),
        ("program", "compare_in_one_call", (1, 2, SAID)),
        ("determinism", "_unsteady", SAID),
    ],
)
def test_what_a_check_finds_breaks_its_condition_and_no_other(monkeypatch, sound, condition, check, finds):
    if check == "run_trials":
        finds = finds, certificate.run_trials()[1]
    monkeypatch.setattr(certificate, check, said(finds))
    for thorough in (True, False)[: 1 if check == "compare_in_one_call" else 2]:
        found = certificate.certificate_of(sound, thorough)
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
    thorough = [*certificate._Tried.of(whole, True, 0).orders]
    forms_that_occur = [name for name, _ in covering(whole.graph, whole.kernels.buckets)]
    assert thorough[: len(named)] == named and thorough[-len(forms_that_occur) :] == forms_that_occur
    assert len(thorough) == len(named) + certificate.RANDOM + len(forms_that_occur)
    assert [*certificate._Tried.of(whole, False, 0).orders] == [named[0], thorough[len(named)]]


def test_a_program_of_what_was_not_tried_and_one_that_diverges_are_unfaithful(monkeypatch):
    whole = target(2, n_layers=1)
    tried = certificate._Tried.of(whole, False, 0)
    forms_taken = frozenset().union(*(made.executables for made in tried.plans.values()))
    monkeypatch.setattr(Target, "refuted", said(None))
    monkeypatch.setattr(Target, "left_unrecorded", said(None))
    assert certificate._unfaithful(whole, tried, forms_taken) is None
    assert "was not tried" in str(certificate._unfaithful(whole, tried, frozenset()))
    for check in ("left_unrecorded", "refuted"):
        found = Statement(f"{check} said so")
        monkeypatch.setattr(Target, check, said(found))
        assert certificate._unfaithful(whole, tried, forms_taken) is found


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
    assert {((0, 0), (0, 1)), ((0, 0), (1, 1))} < {*tried} and {len(places) for places in tried} == {1, 2}
    monkeypatch.undo()
    assert lifetimes.poisoned_wrong(whole, 0) == (6, None)


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
    monkeypatch.setattr(certificate, "_steered", said(SAID))
    whole = target(2, n_layers=1)
    found = certificate._read_off(whole, certificate._Tried.of(whole, False, 0))
    assert {part.name: part.witness.reason for part in found} == {"addresses": "one", "rows": "two"}
