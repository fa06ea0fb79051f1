"""Verdicts follow from their parts: where one part says no, so does the whole.

The parts are stood in for here, and next to nothing is computed; `test_verify.py` has them at work.
"""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest

import causalsim as cs
from causalsim.kernels import CERTIFIED
from causalsim.progress import silent
from causalsim.testing import Finding, Statement
from causalsim.testing.findings import diverging
from causalsim.verification import Report, batch_invariance, order_independence
from causalsim.verification.covering import covering
from causalsim.verification.exploration import Exploration, StateDivergence
from causalsim.verification.target import Target
from tests.verification.support import CAUGHT, MISSED, OTHERS, SAID, VALUES, said
from tests.verification.test_exploration import target

# -- the report ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", range(3))
def test_a_report_holds_if_all_of_its_verdicts_do(broken):
    verdicts = [Finding(f"verdict {n}", claim="all agree", controls=(CAUGHT,)) for n in range(3)]
    assert Report(*verdicts, {}).holds
    verdicts[broken] = Finding("another", witness=SAID, controls=(CAUGHT,))
    assert not Report(*verdicts, {}).holds and Report(*verdicts, {}).verdicts == tuple(verdicts)


@pytest.mark.parametrize("asked", [True, False])
def test_a_report_has_a_certificate_if_asked_for(monkeypatch, asked):
    verifier = import_module("causalsim.verification.verifier")
    proofs = []
    monkeypatch.setattr(verifier, "certificate_of", said("a proof"))
    monkeypatch.setattr(verifier, "order_independence", lambda *given: proofs.append(given[-1]))
    for name in ("causal_invariance", "batch_invariance"):
        monkeypatch.setattr(verifier, name, said(None))
    cs.verify(target(2).model, [1, 2], certificate=asked)
    assert proofs == ["a proof" if asked else None]


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
    assert sum(len(chosen) == 1 for chosen in asked) >= batch_invariance.ALONE
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


def test_samples_are_tried_likeliest_and_drawn(monkeypatch):
    monkeypatch.setattr(batch_invariance, "_sampling_bench", lambda _, temperature: temperature)
    assert list(batch_invariance._benches(target(2), "sample")) == [0.0, 1.0]


def test_neighbours_that_are_garbage_get_poison():
    bench = batch_invariance.bench_of(target(3, n_layers=1), cs.events.Site("mlp", 0))
    (value,) = bench.run(np.arange(3), np.array([True, False, True]))
    assert np.isnan(value).all(axis=1).tolist() == [True, False, True]
