"""Expectations that do not hold must fail, each by itself."""

from __future__ import annotations

import json

import pytest

from causalsim import scenario
from causalsim.foliations import FAMILIES, peak_during

BASE = """
title = "t"
about = "a"
lengths = [4]
[model]
layers = 2
"""

SMALL = """
title = "t"
about = "a"
texts = [[1, 2, 3, 4], [5, 6]]
[model]
random = { n_layers = 1, n_heads = 2, d_model = 16, d_ff = 16, vocab_size = 20, max_length = 16 }
"""

ORDERS = '[[foliation]]\nfamily = "layer_major"\n[[foliation]]\nfamily = "token_major"\n'


def failing(text: str) -> list[str]:
    return [check.name for check in scenario.run(scenario.parse(text)).checks if not check.holds]


def test_a_refusal_that_does_not_come_fails():
    added = '[[foliation]]\nname = "legal"\nfamily = "tilted"\nvelocity = 1\nexpect = "refused"'
    assert failing(BASE + added) == ["legal: refused"]


def test_a_refusal_that_names_another_edge_fails():
    added = '[[foliation]]\nfamily = "tilted"\nvelocity = -1\nexpect = "refused"\nedge = "{}"'
    assert failing(BASE + added.format("kv(0,0) -> attn(0,1)")) == []
    assert failing(BASE + added.format("kv(0,0) -> attn(0,1) [kv]")) == []
    assert len(failing(BASE + added.format("kv(0,0) -> attn(0,2)"))) == 1


def test_a_wrong_count_fails():
    assert len(failing(BASE + '[[route]]\nfrom = "kv(0,0)"\nto = "attn(1,2)"\ncount = 4')) == 1
    assert failing(BASE + '[[route]]\nfrom = "kv(0,0)"\nto = "attn(1,2)"\ncount = 3') == []


def test_expectations_about_bits_can_fail():
    assert failing(SMALL + ORDERS + "[expect]\nsame_bits = true\nalone = true") == []
    assert len(failing(SMALL + ORDERS + "[expect]\nsame_bits = false\nalone = false")) == 2


def test_a_model_in_bfloat16_keeps_its_bits_and_takes_half_the_memory():
    text = SMALL + ORDERS + "[expect]\nsame_bits = true\nalone = true"
    narrow = scenario.prepare(scenario.parse(text, dtype="bfloat16"))
    assert (
        narrow.model.dtype == "bfloat16" and scenario.prepare(scenario.parse(text)).model.dtype == "float32"
    )
    found = scenario.run(narrow)
    assert found.holds
    # The tables price residuals and K/V; nothing here is a token that waits.
    assert [2 * row.peak_bytes for row in found.foliations] == [
        peak_during(entry.foliation, narrow.model.config.footprint()) for entry in narrow.foliations
    ]


def test_an_order_that_did_not_run_fails(monkeypatch):
    from causalsim.engine import Program

    monkeypatch.setattr(Program, "refines", lambda self, foliation: False)
    assert failing(SMALL + ORDERS) == ["the order that ran is the order asked for"]


def test_verification_joins_the_checks(monkeypatch):
    from causalsim import verification
    from tests.cli.reports import report

    monkeypatch.setattr(verification, "verify", lambda *_, **__: report(witness="mlp(0,1) diverges"))
    text = SMALL + ORDERS + "[expect.verify]\norders = 2"
    assert failing(text) == ["order independence"]
    rows = json.loads(scenario.run(scenario.parse(text)).to_json())["checks"]
    assert all(row.keys() == {"name", "holds", "found"} for row in rows)
    assert [row["holds"] for row in rows] == [True, False, True, True]
    assert rows[0]["found"] == "2 of 2"
    assert "but mlp(0,1) diverges" in rows[1]["found"]
    assert all(row["found"].endswith("planted faults caught.") for row in rows[1:])


@pytest.mark.slow
def test_verification_of_a_small_model():
    text = SMALL.replace(", [5, 6]", "") + ORDERS + "[expect.verify]\norders = 1\nseed = 5"
    result = scenario.run(scenario.parse(text))
    assert result.holds
    assert result.report is not None
    assert [check.name for check in result.checks[1:]] == [verdict.name for verdict in result.report.verdicts]


def test_generation_continues_every_text():
    text = SMALL + '[[foliation]]\nfamily = "token_major"\n[generate]\ntokens = 3'
    result = scenario.run(scenario.parse(text))
    assert result.graph.startswith("1 layers, 2 texts of 7, 5 positions (6 of them generated)")
    assert result.continuations == ()  # ids without a tokenizer are no text
    assert result.holds


def test_what_is_written_goes_on_where_the_prompt_ends():
    """A piece decoded by itself would lose the space in front of it."""
    glass = BASE.split("[model]")[0].replace("lengths = [4]", 'texts = ["The little fairy", "café"]')
    text = glass + '[model]\nname = "glass"\n[generate]\ntokens = 3\n[[foliation]]\nfamily = "token_major"'
    ready = scenario.prepare(scenario.parse(text))
    result = scenario.run(ready)
    assert result.unread == ("é",)
    assert result.continuations[0].startswith(" ")
    assert len(result.continuations) == 2


def test_generation_alone_and_together():
    text = SMALL + ORDERS.replace("layer_major", "random_foliation")
    text += "[generate]\ntokens = 3\ntemperature = 1\n[expect]\nsame_bits = true\nalone = true"
    assert failing(text) == []


@pytest.mark.parametrize("granularity", ["sublayer", "block"])
def test_both_granularities_run(granularity):
    text = SMALL.replace("[model]", f'granularity = "{granularity}"\n[model]') + ORDERS
    assert failing(text + "[expect]\nsame_bits = true") == []


def test_windows_per_layer():
    added = '[[route]]\nfrom = "kv(0,0)"\nto = "attn(1,3)"\ncount = {}'
    assert failing(BASE + 'windows = ["full", 2]\n' + added.format(2)) == []
    assert failing(BASE + "windows = 2\n" + added.format(0)) == []


def test_families_take_the_arguments_of_their_functions():
    assert {n: [a.name for a in family.arguments] for n, family in FAMILIES.items() if family.arguments} == {
        "chunked": ["size"],
        "tilted": ["velocity"],
        "random_linear_extension": ["seed", "method", "limit", "steps"],
        "random_foliation": ["seed"],
        "slices": ["slices"],
    }


def test_progress_is_told():
    told = []
    scenario.run(scenario.parse(SMALL + ORDERS), lambda stage, done, total: told.append((stage, done, total)))
    assert told == [("foliations", 0, 2), ("foliations", 1, 2)]
