"""Findings become sentences, tables and JSON of the same facts."""

from __future__ import annotations

import copy
import io
import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

import causalsim as cs
from causalsim.testing import Finding, PlantedFault, Statement
from causalsim.testing.findings import diverging

EVENT = cs.Event("mlp", 0, 1)
LOST = Statement.of("{order} diverges at {event}", order="wavefront", event=EVENT, ulps=3, error=np.nan)


def printed(thing) -> str:
    out = io.StringIO()
    Console(file=out, width=120).print(thing)
    return out.getvalue()


def test_a_sentence_is_made_of_its_facts():
    assert str(LOST) == "wavefront diverges at mlp(0,1)"
    assert (LOST.event, LOST.ulps) == (EVENT, 3)
    assert LOST.to_dict() == {
        "text": str(LOST), "order": "wavefront", "event": "mlp(0,1)", "ulps": 3, "error": None,
    }  # fmt: skip
    with pytest.raises(AttributeError, match="no such fact: edge; there are order, event"):
        _ = LOST.edge
    assert copy.copy(LOST).event == EVENT and pickle.loads(pickle.dumps(LOST)).order == "wavefront"


def test_facts_with_braces_are_told_as_they_are():
    assert str(Statement.of("{order} failed", order="{0}")) == "{0} failed"


def test_a_finding_is_json_and_a_table():
    seen, missed = (
        PlantedFault("a fault", {"order": LOST}),
        PlantedFault("another", {"order": None}, "spoilt"),
    )
    part = Finding("reads", coverage=Statement.of("{n:,} programs", n=2000), witness=LOST)
    alone = Finding("order independence", "sampled", "all agree", LOST, ("others",), controls=(seen, missed))
    whole = replace(alone, parts=(part,))
    told = json.loads(whole.to_json())
    assert (told["holds"], told["parts"][0]["holds"], told["witness"]) == (False, False, None)
    assert [each["caught"] for each in told["controls"]] == [True, False]
    assert told["controls"][0]["seen"]["order"]["ulps"] == 3 and told["parts"][0]["coverage"]["n"] == 2000
    assert "reads" in printed(whole) and "FAILS" in printed(whole) and "2,000 programs" in printed(whole)
    for words in (
        "(sampled)",
        "caught: a fault",
        "MISSED: another: not seen by order",
        "Not covered: others",
    ):
        assert words in printed(alone)


def test_a_divergence_is_told_only_where_there_is_one():
    values = {EVENT: np.float32([1, 2])}
    assert diverging(values, values, "at {event}") is None
    found = diverging(values, {EVENT: np.float32([1, 3])}, "at {event}, {divergence.ulps:,} ULP", order="x")
    assert str(found) == "at mlp(0,1), 4,194,304 ULP" and found.order == "x"


def test_a_findings_own_witness_is_told_before_those_of_its_parts():
    part = Finding("reads", witness=Statement("another"))
    assert Finding("whole", witness=LOST, parts=(part,)).refutation is LOST
    assert str(Finding("whole", parts=(part,)).refutation) == "reads: another"
