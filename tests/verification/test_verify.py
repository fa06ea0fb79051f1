"""Verification holds on healthy kernels, fails on every planted fault, and says what it covers."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

import causalsim as cs
from causalsim.engine import Program, compile
from causalsim.foliations import layer_major
from causalsim.kernels import CERTIFIED, STOCK
from causalsim.verification.faults import overlooking, seeing_too_far, with_lane_count, with_neighbour
from causalsim.verification.orders import order_independence
from causalsim.verification.progress import silent
from causalsim.verification.report import Control, Report, Verdict
from causalsim.verification.subject import Subject
from tests.models_for_tests import SENTENCE, glass, tiny, wide

IDS = [3, 1, 4, 1, 5, 9, 2, 6]


def small_verify(kernels=CERTIFIED, model=None, tokens=IDS, **options) -> Report:
    effort = {"orders": 4, "events": 10, "draws": 2, **options}
    return cs.verify(model or tiny(), tokens, kernels=kernels, **effort)


@pytest.fixture(scope="module")
def healthy() -> Report:
    return small_verify()


def test_glass_holds():
    report = cs.verify(glass(), SENTENCE, orders=6, events=12, draws=2)
    assert report.holds, report.to_json()


@pytest.mark.parametrize(
    ("model", "tokens", "options"),
    [
        (lambda: tiny(parallel_residual=True, windows=(3, None)), IDS, {}),
        (tiny, IDS, {"prompt": 3}),
        (tiny, [IDS, [7], [2, 2, 2]], {}),
        # Past one page of K/V.
        (lambda: tiny(n_layers=1, n_kv_heads=1), IDS * 17, {"orders": 1, "events": 4, "draws": 1}),
    ],
)
def test_other_wirings_feedback_and_crowds_hold(model, tokens, options):
    report = small_verify(model=model(), tokens=tokens, **options)
    assert report.holds, report.to_json()


def test_report_is_json_and_a_table(healthy):
    found = json.loads(healthy.to_json())
    assert found["holds"] is True
    for name in ("order_independence", "causal_invariance", "lane_rule"):
        assert found[name]["holds"] and found[name]["coverage"] and found[name]["excludes"]
        assert all(control["caught"] and control["witness"] for control in found[name]["controls"])
    assert found["environment"]["jaxlib"]
    shown = io.StringIO()
    Console(width=120, file=shown).print(healthy)
    text = shown.getvalue()
    assert "causal invariance" in text and "[kv]" in text


@pytest.mark.parametrize(
    ("fault", "failing"),
    [
        (with_lane_count, {"order independence", "lane rule"}),
        (with_neighbour, {"order independence", "lane rule"}),
        (seeing_too_far, {"causal invariance", "order independence"}),
        (overlooking, {"causal invariance"}),
    ],
)
def test_faulty_kernels_fail_the_verdicts_that_they_break(fault, failing):
    report = small_verify(fault(CERTIFIED))
    found = {verdict.name for verdict in report.verdicts if verdict.witness}
    assert failing <= found, report.to_json()
    assert not report.holds


def test_stock_kernels_fail_at_a_width_that_real_models_have():
    ids = np.arange(20) * 7 % 512
    graph = cs.EventGraph(wide().config, len(ids))
    verdict = order_independence(Subject(wide(), graph, (ids,), STOCK), 2, 0, silent)
    assert verdict.witness and "ULP" in verdict.witness


def test_an_engine_that_ignores_the_foliation_is_caught(monkeypatch):
    graph = cs.EventGraph(tiny().config, len(IDS))
    subject = Subject(tiny(), graph, (np.array(IDS),), CERTIFIED)
    fixed = compile(layer_major(graph))
    monkeypatch.setattr("causalsim.verification.orders.compile", lambda foliation: fixed)
    verdict = order_independence(subject, 2, 0, silent)
    assert verdict.witness and "another order" in verdict.witness


def test_a_program_that_forgets_an_event_is_caught(monkeypatch):
    graph = cs.EventGraph(tiny().config, len(IDS))
    subject = Subject(tiny(), graph, (np.array(IDS),), CERTIFIED)
    cut = lambda foliation: Program(graph, compile(foliation).launches[:-1])
    monkeypatch.setattr("causalsim.verification.orders.compile", cut)
    assert order_independence(subject, 1, 0, silent).witness


def test_a_verdict_needs_its_controls():
    sound = Verdict("x", "sampled", "all", (), (Control("fault", True, "seen"),))
    assert sound.holds
    assert not replace(sound, controls=()).holds
    assert not replace(sound, controls=(Control("fault", False, ""),)).holds
    assert not replace(sound, witness="it broke").holds


def test_progress_is_told():
    calls = []
    small_verify(progress=lambda *call: calls.append(call))
    assert {stage for stage, _, _ in calls} == {"orders", "reads", "lanes"}
    assert all(0 < done <= total for _, done, total in calls)


@pytest.mark.parametrize("options", [{"orders": 0}, {"events": 0}, {"draws": True}])
def test_bad_counts_are_refused(options):
    with pytest.raises(cs.InputError, match="got"):
        cs.verify(tiny(), IDS, **options)


def test_bad_tokens_are_refused():
    with pytest.raises(cs.InputError, match="empty"):
        cs.verify(tiny(), [])
