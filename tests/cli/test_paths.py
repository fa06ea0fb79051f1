"""The command ``paths``: counts against the graph's own, what is listed, pictures, files and refusals."""

from __future__ import annotations

import json
from html import unescape

import pytest

from causalsim.cli import BAD_INPUT, HOLDS, main
from causalsim.cli.paths import every_digit
from causalsim.events import Event, EventGraph, Wiring, diamond


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


def printed(arguments, capsys) -> str:
    assert main(["paths", *arguments]) == HOLDS
    return capsys.readouterr().out


def test_counts_routes_and_a_picture(capsys, tmp_path):
    sizes = ["--layers", "4", "--length", "6"]
    out = printed(["kv(0,0)", "attn(3,5)", *sizes, "--json", "ways.json", "--out", "ways.png"], capsys)
    graph, a, b = EventGraph(Wiring(4), 6), Event("kv", 0, 0), Event("attn", 3, 5)
    assert "From kv(0,0) to attn(3,5): timelike, 54 events between." in out
    assert "the first 10 of 56 routes" in out and " 0 ↑↑ → 1 ↑ → 5\n" in out
    found = json.loads((tmp_path / "ways.json").read_text())
    assert found["routes"] == graph.count_routes(a, b) == 56
    assert found["paths"] == graph.count_paths(a, b)
    assert found["paths_with_bypass"] == graph.count_paths(a, b, bypass=True) == 2096
    assert found["between"] == len(diamond(graph, a, b)) == 54
    assert found["first_routes"][0][:4] == ["kv(0,0)", "attn(0,0)", "mlp(0,0)", "kv(1,0)"]
    assert (tmp_path / "ways.png").read_bytes().startswith(b"\x89PNG")


def test_windows_and_parallel_residuals(capsys):
    wired = ["--layers", "3", "--length", "6", "--window", "3", "--parallel"]
    out = printed(["kv(0,0)", "attn(2,5)", *wired], capsys)
    graph = EventGraph(Wiring(3, windows=3, parallel_residual=True), 6)
    assert f"  {graph.count_paths(Event('kv', 0, 0), Event('attn', 2, 5))}  paths" in out
    assert "3 routes: " in out and "0 → 2 ↑ → 4 ↑ → 5" in out


def test_paths_are_listed_where_there_are_no_routes(capsys):
    out = printed(["embed(0)", "attn(0,0)", "--layers", "1", "--length", "1"], capsys)
    assert "2 paths: their events" in out and "routes" not in out
    assert "1   embed(0) kv(0,0) attn(0,0)" in out
    fed_back = printed(["kv(0,0)", "attn(0,2)", "--prompt", "1", "--layers", "1", "--length", "3"], capsys)
    assert "routes" not in fed_back and "sample(0) embed(1)" in fed_back


def test_the_picture_holds_what_lies_between_and_the_ways_that_are_listed(capsys, tmp_path):
    printed(["embed(1)", "unembed(3)", "--show", "1", "--out", "one.svg"], capsys)
    drawn = unescape((tmp_path / "one.svg").read_text())
    assert 'class="node event attn layer-0 position-1 request-0 marked"' in drawn
    assert 'class="node event attn layer-0 position-0 request-0 faded"' in drawn
    assert drawn.count('class="edge residual marked"') + drawn.count('class="edge kv marked"') == 10


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        (("mlp(1,0)", "mlp(1,4)"), "spacelike."),
        (("mlp(1,4)", "mlp(0,0)"), "timelike, but mlp(0,0) comes first."),
        (("kv(0,3)", "kv(0,3)"), "identical."),
    ],
)
def test_what_no_way_leads_to_is_said(ends, words, capsys, tmp_path):
    assert words in printed([*ends, "--out", "none.svg"], capsys)
    assert (tmp_path / "none.svg").exists()


def test_the_routes_of_a_deployment(capsys):
    """Far too many paths to count; the routes have a closed form."""
    size = ["--model", "llama-3.1-405b", "--length", "131072", "--show", "2"]
    out = printed(["kv(0,0)", "attn(125,131071)", *size], capsys)
    assert "about 2.75e430  routes" in out and "too many events lie between" in out
    assert "0 ↑(125) → 131071" in out


def test_windows_of_a_configuration(capsys):
    out = printed(["kv(0,0)", "attn(0,5000)", "--model", "mistral-7b", "--length", "5001"], capsys)
    assert "spacelike" in out


def test_counts_of_more_digits_than_python_writes(capsys, tmp_path):
    size = ["--layers", "2", "--length", "4000", "--prompt", "1", "--show", "0", "--json", "long.json"]
    out = printed(["embed(0)", "unembed(3500)", *size], capsys)
    assert "about " in out
    with every_digit():
        assert len(str(json.loads((tmp_path / "long.json").read_text())["paths_with_bypass"])) > 4300
    with pytest.raises(ValueError, match="limit"):
        str(10**5000)


BAD = [
    (["kv(0,0)"], "requires an argument"),
    (["kv(0,0)", "attn"], "an event is written kind(layer,position)"),
    (["kv(0,0)", "attn(3,5)"], "attn has no layer 3"),
    (["kv(0,0)", "attn(1,6)"], "position 6 lies outside"),
    (["kv(0,0)", "attn(1,1)@1"], "no request 1"),
    (["block(0,0)", "attn(1,1)"], "no kind 'block'"),
    (["kv(0,0)", "attn(1,1)", "--granularity", "block"], "no kind 'kv'"),
    (["kv(0,0)", "attn(1,1)", "--granularity", "head"], "known granularities"),
    (["kv(0,0)", "attn(1,1)", "--layers", "0"], "expected: >= 1"),
    (["kv(0,0)", "attn(1,1)", "--window", "0"], "expected: >= 1"),
    (["kv(0,0)", "attn(1,1)", "--show", "-1"], "expected: >= 0"),
    (["kv(0,0)", "attn(1,1)", "--prompt", "7"], "no longer than its text"),
    (["kv(0,0)", "attn(1,1)", "--model", "gpt2", "--layers", "2"], "--model and n_layers"),
    (["kv(0,0)", "attn(1,1)", "--model", "gpt5"], "neither a known name"),
    (["kv(0,0)", "attn(1,1)", "--out", "ways.gif"], "the format that its suffix names"),
    (["kv(0,0)", "attn(1,1)", "--out", "no/ways.svg"], "whose folder is missing"),
    (["kv(0,0)", "attn(1,1)", "--out", "a.svg", "--json", "a.svg"], "a file of its own"),
    (["kv(0,0)", "attn(1,1)", "--length", "2000", "--out", "a.svg"], "a person can look at"),
    (["embed(0)", "unembed(131071)", "--layers", "126", "--length", "131072"], "a count of paths"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "words"), BAD, ids=[" ".join(a)[-40:] for a, _ in BAD])
def test_bad_input(arguments, words, capsys, tmp_path):
    assert main(["paths", *arguments]) == BAD_INPUT
    out, err = capsys.readouterr()
    assert words in " ".join(err.split())
    assert out == "" and err.count("causalsim: ") == 1 and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []
