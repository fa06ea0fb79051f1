"""The demo on a model less wide and a shorter sentence; what it verifies is tested where that is made."""

from __future__ import annotations

import json

import pytest

from causalsim import verification
from causalsim.cli import FAILS, HOLDS, demo, main
from causalsim.cli.terminal import console
from causalsim.events import Event
from causalsim.models import ModelConfig
from causalsim.testing import Divergence
from tests.cli.reports import report

NARROW = ModelConfig(n_layers=1, n_heads=2, d_model=32, d_ff=48, vocab_size=64, max_length=16)


@pytest.fixture
def _small(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "WIDE", NARROW)
    monkeypatch.setattr(demo, "WIDE_LENGTH", 3)
    monkeypatch.setattr(demo, "VERIFIED_ORDERS", 2)


@pytest.mark.usefixtures("_small")
def test_the_demo_holds(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(verification, "verify", lambda *_, **__: report())
    assert main(["demo", "Once upon a time", "--tokens", "3", "--out", "out"]) == HOLDS
    text = capsys.readouterr().out
    for part in ("The problem", "The answer", "It writes on", "The verdict", "The pictures"):
        assert part in text
    assert "Once upon a time" in text
    assert "Everything holds." in text
    assert " ".join(text.split()).count("planted faults caught") == 3
    pictures = {path.suffix for path in (tmp_path / "out").iterdir()}
    assert pictures == {".svg", ".png", ".json"}
    assert len(list((tmp_path / "out").glob("*.svg"))) == 7


@pytest.mark.usefixtures("_small")
def test_the_report_holds_what_was_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(verification, "verify", lambda *_, **__: report())
    assert main(["demo", "Hello", "--tokens", "2"]) == HOLDS
    found = json.loads((tmp_path / "causalsim-demo" / "report.json").read_text())
    assert len({row["digest"] for row in found["reading"]["foliations"]}) == 1
    assert len(found["reading"]["foliations"]) >= 6
    assert found["reading"]["report"]["batch_invariance"]["holds"] is True
    assert len({row["digest"] for row in found["writing"]["foliations"]}) == 1
    assert len({row["certified"] for row in found["wide"]}) == 1
    assert len(found["wide"]) == 5


@pytest.mark.usefixtures("_small")
def test_a_verdict_that_fails_is_the_exit_code(monkeypatch, capsys):
    monkeypatch.setattr(verification, "verify", lambda *_, **__: report("mlp(0,1) diverges"))
    assert main(["demo", "Hello", "--tokens", "2"]) == FAILS
    out = capsys.readouterr().out
    assert "FAILS  order independence: Two orders: but mlp(0,1) diverges." in out
    assert "Something does not hold." in out


def test_the_problem_is_there_at_its_real_width(capsys):
    """Nothing replaced: XLA's kernels change the bits with the order, causalsim's do not."""
    assert demo.WIDE.d_model == 768
    rows = demo.batching_problem(console(), seed=14)
    assert demo.distinct_results(rows, "stock") > 1
    assert demo.distinct_results(rows, "certified") == 1
    diverged = [row.divergence for row in rows if row.divergence is not None]
    assert diverged and {row.stock for row in rows if row.divergence is None} == {rows[0].stock}
    shown = capsys.readouterr().out
    assert all(str(divergence.event) in shown for divergence in diverged)


@pytest.mark.parametrize(("ulps", "shown"), [(None, "NaN"), (0, "0"), (12345, "12,345")])
def test_a_divergence_says_how_far_it_is(ulps, shown):
    divergence = Divergence(Event("attn", 0, 1), ulps, 1)
    assert demo.divergence_cells(demo.Contrast("x", 1, "a", divergence, "b")) == ("attn(0,1)", shown)
    assert demo.divergence_cells(demo.Contrast("x", 1, "a", None, "b")) == ("-", "-")


def test_the_default_sentence_is_long_enough():
    from causalsim import scenario

    reading, _ = demo.prepared(demo.SENTENCE, 18, 14)
    assert isinstance(reading, scenario.Experiment)
    assert reading.graph.lengths[0] >= 16
    assert len(reading.foliations) >= 6
