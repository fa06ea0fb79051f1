"""One registration makes a family known everywhere; texts and names of families are read and written."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import causalsim as cs
from causalsim import scenario
from causalsim.cli import BAD_INPUT, HOLDS, main
from causalsim.errors import CausalityError, InputError, ScenarioError
from causalsim.events import EventGraph, Wiring
from causalsim.foliations import FAMILIES, Argument, Family, Foliation, costs, family_of, layer_major, tilted
from causalsim.foliations.registry import compared, family_named, parse, registered, verified
from causalsim.models import known_config
from causalsim.testing.strategies import graphs
from tests.models_for_tests import tiny

GRAPH = EventGraph(Wiring(2), 6)


def interleaved(graph: EventGraph, parts: int) -> Foliation:
    """Layer by layer, each slice in parts: every so many positions together."""
    positions = np.array([event.position for event in graph])
    return Foliation(graph, parts * layer_major(graph).times + positions % parts)


def _parts(foliation: Foliation) -> dict[str, int] | None:
    if foliation.graph.has_feedback:
        return None
    return {"parts": foliation.depth // layer_major(foliation.graph).depth}


def _check_parts(name: str, value: object) -> None:
    if not isinstance(value, int) or value < 1:
        raise InputError(f"{name} are counted", got=repr(value))


INTERLEAVED = Family(
    "interleaved",
    interleaved,
    (Argument("parts", _check_parts, int),),
    _parts,
    [{"parts": 2}],
    lambda graph: [{"parts": 4}],
)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def new():
    with registered(INTERLEAVED) as family:
        yield family


SCENARIO = """
title = "t"
about = "a"
lengths = [6]
[model]
layers = 2
[[foliation]]
family = "interleaved"
parts = 3
"""


@pytest.mark.usefixtures("new")
def test_a_new_family_is_used_by_a_scenario():
    (row,) = scenario.run(scenario.parse(SCENARIO)).foliations
    assert (row.name, row.slices, row.widest) == ("interleaved(parts=3)", 24, 2)
    with pytest.raises(ScenarioError, match="parts are counted: got 0") as caught:
        scenario.parse(SCENARIO.replace("= 3", "= 0"))
    assert caught.value.key == "foliation[1].parts"
    with pytest.raises(ScenarioError, match="wavefront takes no parts"):
        scenario.parse(SCENARIO.replace("interleaved", "wavefront"))


@pytest.mark.usefixtures("new")
@pytest.mark.parametrize("words", [["interleaved:3"], ["interleaved(3)"], ["interleaved", "--parts", "3"]])
def test_a_new_family_is_drawn(words, tmp_path, capsys):
    assert main(["draw", *words, "--layers", "2"]) == HOLDS
    assert capsys.readouterr().out.startswith("wrote interleaved.svg: 24 slices, widest 2;")
    assert (tmp_path / "interleaved.svg").exists()


@pytest.mark.usefixtures("new")
def test_a_new_family_is_costed(tmp_path):
    asked = ["plan", "gpt2", "--length", "8", "--json", "plan.json"]
    assert main(asked) == main([*asked, "--foliation", "interleaved:4"]) == HOLDS
    (row,) = json.loads((tmp_path / "plan.json").read_text())["foliations"]
    config = known_config("gpt2")
    found = costs(interleaved(EventGraph(config, 8), 4), config.footprint("bfloat16"))
    assert row == {"foliation": "interleaved:4", "verdict": "fits", **vars(found)}
    assert "interleaved:4" in compared(GRAPH)


@pytest.mark.usefixtures("new")
def test_a_new_family_is_recognised():
    assert family_of(interleaved(GRAPH, 3)) == "interleaved(3)"
    assert family_of(layer_major(GRAPH)) == "layer_major"


@pytest.mark.usefixtures("new")
def test_a_new_family_is_verified():
    report = cs.verify(tiny(), [3, 1, 4, 1], orders=1, events=1)
    assert report.holds, report.to_json()
    coverage = str(report.order_independence.coverage)
    assert ", interleaved(2), " in coverage and ", 1 random" in coverage


def test_what_is_registered_is_gone_afterwards(capsys):
    with registered(INTERLEAVED):
        assert list(FAMILIES)[-1] == "interleaved"
    assert "interleaved" not in FAMILIES
    with pytest.raises(ScenarioError, match="a scenario has no such key"):
        scenario.parse(SCENARIO)
    assert main(["draw", "interleaved:3"]) == BAD_INPUT
    assert "expected: layer_major, token_major" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["wavefront", "a family", "a:b", ""])
def test_names_that_no_new_family_can_have(name):
    with pytest.raises(InputError, match="a name of its own"), registered(Family(name, layer_major)):
        pass
    assert FAMILIES["wavefront"].make is cs.wavefront


@given(graphs(max_layers=2, max_length=4))
def test_names_of_what_is_verified_are_read_back(graph):
    for name, foliation in verified(graph).items():
        family, arguments = parse(name)
        assert family(graph, **arguments) == foliation
        assert family_of(foliation) is not None


@given(graphs(max_layers=2, max_length=4))
def test_whatever_is_compared_is_valid(graph):
    for text in compared(graph):
        family, arguments = parse(text)
        family(graph, **arguments)


@given(st.fractions(-1, 9, max_denominator=9))
def test_a_name_leads_back_to_the_foliation(velocity: Fraction):
    try:
        foliation = tilted(GRAPH, velocity)
    except CausalityError:
        return
    family, arguments = parse(family_of(foliation))
    assert family(GRAPH, **arguments) == foliation


TEXTS = [
    ("wavefront", "wavefront", {}),
    ("chunked:512", "chunked", {"size": 512}),
    ("chunked(4)", "chunked", {"size": 4}),
    ("chunked(size=4)", "chunked", {"size": 4}),
    ("tilted:-1/3", "tilted", {"velocity": "-1/3"}),
    (" tilted( 1/2 ) ", "tilted", {"velocity": "1/2"}),
    ("random_foliation:7", "random_foliation", {"seed": 7}),
    ("random_linear_extension(3, method=kahn)", "random_linear_extension", {"seed": 3, "method": "kahn"}),
]


@pytest.mark.parametrize(("text", "name", "arguments"), TEXTS)
def test_text_forms(text, name, arguments):
    family, found = parse(text)
    assert (family.name, found) == (name, arguments)


BAD_TEXTS = [
    ("", "a known family"),
    ("chunkd:4", "Did you mean 'chunked'"),
    ("chunked:", "chunked needs its size"),
    ("chunked(", "a known family"),
    ("chunked(4, 5)", "arguments after the first have names"),
    ("chunked(4, sise=5)", "Did you mean 'size'"),
    ("wavefront:3", "wavefront takes no argument"),
]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("text", "words"), BAD_TEXTS)
def test_texts_that_name_no_family(text, words):
    with pytest.raises((ScenarioError, InputError), match=words):
        parse(text)


def test_integers_of_numpy_are_numbers():
    for kind in (np.int8, np.int64, np.uint16):
        assert cs.chunked(GRAPH, kind(4)) == cs.chunked(GRAPH, 4)
        assert tilted(GRAPH, kind(2)) == tilted(GRAPH, 2)
        assert cs.random_foliation(GRAPH, kind(5)) == cs.random_foliation(GRAPH, 5)
        assert cs.random_linear_extension(GRAPH, kind(5)) == cs.random_linear_extension(GRAPH, 5)
        family_named("chunked").check({"size": kind(4)})
    assert tilted(GRAPH, np.float32(0.5)) == tilted(GRAPH, "1/2")
    with pytest.raises(InputError, match="a velocity is a finite number"):
        tilted(GRAPH, True)


def test_the_help_of_draw_names_every_family_that_a_command_line_can_write(capsys):
    main(["draw", "--help"])
    out = capsys.readouterr().out
    assert all(name in out for name in FAMILIES if name != "slices")
