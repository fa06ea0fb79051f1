"""Every scenario that is shipped runs and holds, and shows what its title says."""

from __future__ import annotations

import json
from functools import cache
from math import comb
from pathlib import Path

import pytest

from causalsim import scenario
from causalsim.scenario.pictures import figures, write

FOLDER = Path(__file__).parents[2] / "scenarios"
SHIPPED = sorted(path.stem for path in FOLDER.glob("*.toml"))


@cache
def ready(name: str) -> scenario.Experiment:
    return scenario.prepare(scenario.load(FOLDER / f"{name}.toml"))


@cache
def outcome(name: str) -> scenario.Outcome:
    return scenario.run(ready(name))


def test_the_folder_holds_scenarios_and_nothing_else():
    assert sorted(path.stem for path in FOLDER.iterdir()) == SHIPPED
    assert len(SHIPPED) >= 4


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_scenario_holds(name):
    result = outcome(name)
    assert result.holds, [check for check in result.checks if not check.holds]
    assert result.checks, "a scenario that could not fail shows nothing"


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_scenario_says_how_to_run_it(name):
    text = (FOLDER / f"{name}.toml").read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert f"causalsim run scenarios/{name}.toml" in text


def test_routes_are_the_binomials():
    assert [row.count for row in outcome("two-highways").routes] == [comb(3, 1), 1]
    assert outcome("two-highways-deeper").routes[0].count == comb(22, 12) == 646_646


def test_three_routes_are_drawn_orange(tmp_path):
    write(figures(ready("two-highways")), tmp_path)
    drawn = sorted(path.name for path in tmp_path.glob("routes-*.svg"))
    assert drawn == ["routes-1-1.svg", "routes-1-2.svg", "routes-1-3.svg"]
    for name in drawn:
        assert "#f97316" in (tmp_path / name).read_text()
    assert all(path.with_suffix(".png").exists() for path in tmp_path.glob("*.svg"))


def test_orders_agree_in_bits_and_differ_in_shape():
    for name in ("prefill-decode-chunked", "alone-or-batched", "tilted-to-the-limit"):
        rows = outcome(name).foliations
        assert len({row.digest for row in rows}) == 1
        assert len({(row.slices, row.widest) for row in rows}) > 2


def test_stock_kernels_do_not():
    assert len({row.digest for row in outcome("stock-kernels").foliations}) > 1


def test_the_continuation_is_text():
    (text,) = outcome("prefill-decode-chunked").continuations
    assert len(text.split()) > 3


def test_refusals_are_the_expected_results():
    refused = [check for check in outcome("tilted-to-the-limit").checks if "refused" in check.name]
    assert len(refused) == 2
    assert "kv(0,0) -> attn(0,7)" in str(refused[0].coverage)


@pytest.mark.parametrize("name", SHIPPED)
def test_outcomes_are_json(name):
    read = json.loads(outcome(name).to_json())
    assert read["holds"] is True
    assert len(read["checks"]) == len(outcome(name).checks)
