"""Verification holds on healthy kernels, fails on every planted fault, and says what it covers."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from rich.console import Console

import causalsim as cs
from causalsim.engine import Program, compile, plan
from causalsim.foliations import layer_major
from causalsim.kernels import CERTIFIED, FIXED, STOCK
from causalsim.progress import silent
from causalsim.testing import Finding, PlantedFault, Statement
from causalsim.verification import Report
from causalsim.verification.batch_invariance import batch_invariance
from causalsim.verification.causal_invariance import causal_invariance
from causalsim.verification.faults import (
    forgetting,
    overlooking,
    sampling_for_neighbour,
    seeing_too_far,
    with_batch_size,
    with_neighbour,
    writing_elsewhere,
)
from causalsim.verification.order_independence import order_independence
from causalsim.verification.target import Target
from tests.models_for_tests import glass, tiny, wide

IDS = [3, 1, 4, 1, 5, 9, 2, 6]


def small_verify(kernels=CERTIFIED, model=None, tokens=IDS, **options) -> Report:
    effort = {"orders": 2, "events": 5, **options}
    return cs.verify(model or tiny(), tokens, kernels=kernels, **effort)


@pytest.fixture(scope="module")
def healthy() -> Report:
    return small_verify()


def test_glass_holds():
    report = cs.verify(glass(), "The old man went down", orders=4, events=10)
    assert report.holds, report.to_json()


@pytest.mark.parametrize(
    ("model", "tokens", "options"),
    [
        pytest.param(
            lambda: tiny(parallel_residual=True, windows=(3, None)), IDS, {}, marks=pytest.mark.slow
        ),
        pytest.param(tiny, [7], {}, marks=pytest.mark.slow),
        (tiny, [IDS, IDS[:3]], {"prompt": [2, 1]}),
        pytest.param(tiny, IDS, {"prompt": 3}, marks=pytest.mark.slow),
        pytest.param(tiny, IDS, {"prompt": 1}, marks=pytest.mark.slow),
        pytest.param(tiny, [IDS, [7], [2, 2, 2]], {}, marks=pytest.mark.slow),
        pytest.param(tiny, [[1], [2], [3]], {}, marks=pytest.mark.slow),
        pytest.param(lambda: tiny(n_layers=1, n_kv_heads=1), IDS * 17, {}, marks=pytest.mark.slow),
    ],
    ids=[
        "parallel",
        "one token",
        "ragged feedback",
        "feedback",
        "decode",
        "co-batched",
        "single tokens",
        "pages",
    ],
)
def test_other_wirings_feedback_and_co_batched_requests_hold(model, tokens, options):
    report = small_verify(model=model(), tokens=tokens, **options)
    assert report.holds, report.to_json()


def test_all_orders_of_a_small_graph_are_covered():
    graph = cs.EventGraph(tiny().config, 2)
    target = Target(tiny(), graph, (np.array([3, 1]),), CERTIFIED)
    verdict = order_independence(target, 1, 0, silent, exhaustive=102)
    assert verdict.holds and verdict.method == "exhaustive"
    assert str(verdict.coverage).startswith("all 7,236 orders by 102 event runs, and 11 orders")
    assert order_independence(target, 1, 0, silent, exhaustive=101).method == "sampled"
    faulty = target.with_kernels(seeing_too_far(CERTIFIED))
    failed = order_independence(faulty, 1, 0, silent, exhaustive=102)
    assert "the same" in str(failed.witness) and failed.counterexample.is_swap
    told = json.loads(Report(failed, verdict, verdict, {}).to_json())
    assert told["order_independence"]["counterexample"]["token"] == failed.counterexample.token
    assert told["batch_invariance"]["counterexample"] is None


def test_all_events_of_a_small_graph_are_recorded(monkeypatch):
    target = Target(tiny(), cs.EventGraph(tiny().config, 3), (np.array([3, 1, 4]),), CERTIFIED)
    whole = causal_invariance(target, None, 0, silent)
    assert whole.holds and str(whole.coverage).startswith("all 24 events, each with all 12 cells")
    assert "not sampled" not in " ".join(whole.excludes) and len(whole.controls) == 3
    monkeypatch.setattr("causalsim.verification.causal_invariance.WHOLE", 23)
    monkeypatch.setattr("causalsim.verification.causal_invariance.SAMPLE", 2)
    part = causal_invariance(target, None, 0, silent)
    assert (
        part.holds
        and str(part.coverage).startswith("2 of 24 events")
        and "events not sampled" in part.excludes
    )
    assert causal_invariance(target, 24, 0, silent).coverage == whole.coverage


def test_report_is_json_and_a_table(healthy):
    found = json.loads(healthy.to_json())
    assert found["holds"] is True
    for name in ("order_independence", "causal_invariance", "batch_invariance"):
        assert found[name]["holds"] and found[name]["coverage"] and found[name]["excludes"]
        assert all(control["caught"] and all(control["seen"].values()) for control in found[name]["controls"])
    assert found["environment"]["jaxlib"] and found["environment"]["calibration"] == "none"
    shown = io.StringIO()
    Console(width=120, file=shown).print(healthy)
    text = shown.getvalue()
    assert "causal invariance" in text and "[kv]" in text
    # By which method, over what, what was planted, and what all that says nothing about: of each verdict.
    for verdict, method in zip(healthy.verdicts, ("sampled", "recorded", "measured"), strict=True):
        assert verdict.method == found[verdict.name.replace(" ", "_")]["method"] == method
        assert f"({method})" in text
    controls = sum(len(verdict.controls) for verdict in healthy.verdicts)
    assert (text.count("Not covered: "), text.count("caught: ")) == (3, controls)


@pytest.mark.parametrize(
    ("fault", "verdict"),
    [
        (sampling_for_neighbour, lambda target: batch_invariance(target, 2, 0, silent)),
        (with_batch_size, lambda target: batch_invariance(target, 2, 0, silent)),
        (with_neighbour, lambda target: batch_invariance(target, 2, 0, silent)),
        (with_batch_size, lambda target: order_independence(target, 2, 0, silent)),
        (with_neighbour, lambda target: order_independence(target, 2, 0, silent)),
        (seeing_too_far, lambda target: causal_invariance(target, 30, 0, silent)),
        (overlooking, lambda target: causal_invariance(target, 30, 0, silent)),
        (writing_elsewhere, lambda target: causal_invariance(target, 30, 0, silent)),
        (forgetting, lambda target: causal_invariance(target, 30, 0, silent)),
    ],
)
def test_faulty_kernels_fail_the_verdict_that_they_break(fault, verdict):
    graph = cs.EventGraph(tiny().config, len(IDS))
    found = verdict(Target(tiny(), graph, (np.array(IDS),), fault(CERTIFIED)))
    assert found.witness, found
    assert not found.holds


def test_stock_kernels_fail_at_a_width_that_real_models_have():
    ids = np.arange(20) * 7 % 512
    graph = cs.EventGraph(wide().config, len(ids))
    verdict = order_independence(Target(wide(), graph, (ids,), STOCK), 2, 0, silent)
    assert "ULP" in str(verdict.witness)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (lambda graph, program: compile(layer_major(graph)), "another order"),
        (lambda graph, program: Program(graph, program.batches[:-1]), "another order"),
        (lambda graph, program: Program(graph, (*program.batches, program.batches[0])), "another order"),
    ],
    ids=["a fixed order", "one batch left out", "one batch twice"],
)
def test_an_engine_that_does_as_it_likes_is_caught(monkeypatch, asked, words):
    graph = cs.EventGraph(tiny().config, len(IDS))
    target = Target(tiny(), graph, (np.array(IDS),), CERTIFIED)
    assert target.reference

    def disobedient(program, *arguments, **options):
        return plan(asked(graph, program), *arguments, **options)

    monkeypatch.setattr("causalsim.verification.target.plan", disobedient)
    assert words in str(target.refuted("token_major", cs.token_major(graph)))


def test_a_run_tells_what_was_executed(monkeypatch):
    monkeypatch.setattr(
        "causalsim.engine.runs.plan",
        lambda program, *arguments: plan(compile(layer_major(program.graph)), *arguments),
    )
    graph = cs.EventGraph(tiny().config, len(IDS))
    assert not cs.run(tiny(), IDS, cs.token_major(graph)).program.refines(cs.token_major(graph))


def test_fixed_rows_hold_and_need_no_batch_size_control(healthy):
    graph = cs.EventGraph(tiny().config, len(IDS))
    verdict = batch_invariance(Target(tiny(), graph, (np.array(IDS),), FIXED), 2, 0, silent)
    assert verdict.holds, verdict
    assert (len(verdict.controls), len(healthy.batch_invariance.controls)) == (2, 3)


def test_a_failed_verdict_does_not_state_its_claim(healthy):
    verdict = healthy.batch_invariance
    assert verdict.claim in verdict.summary
    failed = replace(verdict, witness=Statement.of("{event} differs", event="mlp(0,0)"))
    assert verdict.claim not in failed.summary and "mlp(0,0) differs" in failed.summary
    blind = replace(verdict, controls=(PlantedFault("a fault", {"check": None}),))
    assert "did not see a planted fault: a fault" in blind.summary


def test_a_verdict_needs_its_controls():
    seen, missed = (PlantedFault("fault", {"check": said}) for said in (Statement("seen"), None))
    sound = Finding("x", "sampled", "all agree", Statement("all"), controls=(seen,))
    assert sound.holds and not missed.caught and not PlantedFault("fault", {}).caught
    assert not replace(sound, controls=()).holds
    assert not replace(sound, controls=(missed,)).holds
    assert not replace(sound, witness=Statement("it broke")).holds
    # A part has its controls as part of the whole; what refutes it or was missed by it refutes the whole.
    part = Finding("y")
    assert part.holds and replace(sound, parts=(part,)).holds
    for broken in (replace(part, witness=Statement("it broke")), replace(part, controls=(missed,))):
        assert not replace(sound, parts=(broken,)).holds
    assert (
        str(replace(sound, parts=(replace(part, witness=Statement("it broke")),)).refutation) == "y: it broke"
    )


def test_progress_is_told():
    calls = []
    small_verify(progress=lambda *call: calls.append(call))
    assert {stage for stage, _, _ in calls} == {"orders", "reads", "rows"}
    assert all(0 < done <= total for _, done, total in calls)


@pytest.mark.parametrize(
    "options", [{"orders": 0}, {"events": 0}, {"draws": 1}, {"draws": True}, {"seed": -1}]
)
def test_bad_counts_are_refused(options):
    with pytest.raises(cs.InputError, match="got"):
        cs.verify(tiny(), IDS, **options)


def test_bad_tokens_are_refused():
    with pytest.raises(cs.InputError, match="empty"):
        cs.verify(tiny(), [])


def test_a_report_prints_a_line_a_verdict(healthy):
    lines = str(healthy).splitlines()
    names = ("order independence", "causal invariance", "batch invariance")
    assert [line.startswith(f"{name} holds: ") for line, name in zip(lines, names, strict=True)] == [True] * 3
    assert len(str(healthy)) < 2000


def test_debug_flags_of_jax_change_no_verdict():
    """Memory that is not written is NaN on purpose, which JAX would take for an error."""
    with jax.debug_nans(True), jax.debug_infs(True), jax.numpy_rank_promotion("raise"):
        small = tiny(n_layers=1)
        assert small_verify(model=small, tokens=[3, 1], orders=1, events=1, exhaustive=0).holds
        assert cs.verification.certify(small, [3, 1], thorough=False).holds
