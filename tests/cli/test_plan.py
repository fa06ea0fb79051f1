"""The command ``plan``: figures against the costs of the same foliations, verdicts, and refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict

import pytest

from causalsim.cli import BAD_INPUT, FAILS, HOLDS, main
from causalsim.events import EventGraph
from causalsim.foliations import chunked, costs, layer_major, random_foliation, tilted, token_major
from causalsim.models import known_config
from causalsim.models.known import KNOWN

GPT2 = known_config("gpt2")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


def planned(arguments, tmp_path, code=HOLDS) -> dict:
    assert main(["plan", *arguments, "--json", "plan.json"]) == code
    return json.loads((tmp_path / "plan.json").read_text())


def families(*names: str) -> list[str]:
    return [word for name in names for word in ("--foliation", name)]


def test_figures_are_the_costs_of_the_foliations(tmp_path):
    names = ("layer_major", "chunked:5", "tilted:1/2", "random_foliation:3")
    found = planned(["gpt2", "--length", "12", "--dtype", "float32", *families(*names)], tmp_path)
    graph, sizes = EventGraph(GPT2, 12), GPT2.footprint("float32")
    built = (layer_major(graph), chunked(graph, 5), tilted(graph, "1/2"), random_foliation(graph, 3))
    for row, name, foliation in zip(found["foliations"], names, built, strict=True):
        assert row == {"foliation": name, "verdict": "fits", **asdict(costs(foliation, sizes))}
    assert found["parameters"] == 124_439_808 and found["dtype"] == "float32"


def test_the_usual_schedules_are_compared(tmp_path, capsys):
    assert [row["foliation"] for row in planned(["gpt2"], tmp_path)["foliations"]] == [
        "layer_major", "token_major", "chunked:256", "wavefront",
    ]  # fmt: skip
    out = capsys.readouterr().out
    assert "gpt2: 124,439,808 parameters, 237.4 MiB in bfloat16; K/V of a position: 36.0 KiB" in out
    assert "1024 positions" in out and "verdict" not in out
    assert "Of these, layer_major reads the fewest bytes." in out


def test_the_usual_schedules_of_a_text_that_is_written_on(tmp_path):
    found = planned(["gpt2", "--length", "20", "--prompt", "8"], tmp_path)
    assert [row["foliation"] for row in found["foliations"]] == ["token_major", "chunked:8", "chunked:2"]
    assert found["graph"]["prompts"] == [8]


def test_several_texts_share_batches(tmp_path):
    one = planned(["gpt2", "--length", "9"], tmp_path)["foliations"]
    four = planned(["gpt2", "--length", "9", "--requests", "4"], tmp_path)["foliations"]
    assert [row["batches"] for row in four] == [row["batches"] for row in one]
    assert [row["tokens"] for row in four] == [4 * row["tokens"] for row in one]


def test_limits_decide_and_say_why(tmp_path, capsys):
    graph, sizes = EventGraph(GPT2, 40), GPT2.footprint("bfloat16")
    cap = costs(token_major(graph), sizes).peak_during - 1
    limits = ["--token-budget", "10", "--memory-cap", str(cap)]
    names = families("layer_major", "chunked:10", "token_major", "tilted:-1/2")
    found = planned(["gpt2", "--length", "40", *limits, *names], tmp_path)
    verdicts = {row["foliation"]: row["verdict"] for row in found["foliations"]}
    assert verdicts == {
        "layer_major": "token_budget", "chunked:10": "fits", "token_major": "memory_cap",
        "tilted:-1/2": "refused",
    }  # fmt: skip
    assert found["admissible"] == ["chunked:10"]
    assert found["foliations"][3]["edge"] == "kv(0,0) -> attn(0,2) [kv]"
    out = capsys.readouterr().out
    assert "layer_major: batches of 40 tokens, over the budget of 10." in out
    assert f"token_major: {cap + 1:,} bytes live at once, over the cap of {cap:,}." in out
    assert "tilted:-1/2: refused, kv(0,0) -> attn(0,2) [kv] runs backwards." in out
    assert "Of those that fit, chunked:10 reads the fewest bytes." in out


def test_nothing_that_fits_is_a_failure(tmp_path, capsys):
    assert planned(["gpt2", "--length", "9", "--memory-cap", "1KiB"], tmp_path, FAILS)["admissible"] == []
    assert "None of these fits." in capsys.readouterr().out
    planned(["gpt2", "--length", "9", "--prompt", "3", *families("layer_major")], tmp_path, FAILS)


def test_a_configuration_and_a_foliation_from_files(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(dict(KNOWN["gpt2"].keys)))
    (tmp_path / "mine.json").write_text(chunked(EventGraph(GPT2, 12), 5).to_json())
    own, known = (
        planned([name, "--length", "12", *families("mine.json", "chunked:5")], tmp_path)["foliations"]
        for name in (str(tmp_path), "gpt2")
    )
    assert own == known and own[0] == {**own[1], "foliation": "mine.json"}


def test_a_table_in_a_pipe_keeps_to_its_width(capsys):
    limits = ["--token-budget", "512", "--memory-cap", "1GiB"]
    assert main(["plan", "llama-3.1-8b", "--length", "3000", *limits]) == HOLDS
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 100


def test_the_names_are_listed(capsys):
    assert main(["plan"]) == HOLDS
    out = capsys.readouterr().out
    assert all(name in out and known.source in out for name, known in KNOWN.items())
    assert "405,853,388,800" in out and max(map(len, out.splitlines())) <= 100


def test_a_plan_imports_no_jax():
    code = "import sys; from causalsim.cli import main; main(['plan', 'gpt2']); print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


BAD = [
    (["gpt5"], "neither a known name nor an existing path"),
    (["gpt2", "--length", "1025"], "fits into the model's context"),
    (["gpt2", "--length", "0"], "expected: >= 1"),
    (["gpt2", "--requests", "0"], "expected: >= 1"),
    (["gpt2", "--prompt", "2000"], "no longer than its text"),
    (["gpt2", "--dtype", "float16"], "expected: 'float32' or 'bfloat16'"),
    (["gpt2", "--memory-cap", "lots"], "no number of bytes such as 80GB"),
    (["gpt2", "--memory-cap", "-1"], "no number of bytes"),
    (["gpt2", "--token-budget", "1.5"], "no whole number"),
    (["gpt2", *families("wavefrnt")], "Did you mean 'wavefront'?"),
    (["gpt2", *families("wavefront:3")], "wavefront takes no argument"),
    (["gpt2", *families("chunked")], "chunked needs its size"),
    (["gpt2", *families("chunked:0")], "the size of a chunk is a whole number"),
    (["gpt2", *families("chunked:x")], "the size of a chunk is a whole number"),
    (["gpt2", *families("tilted:x")], "a velocity is a finite number"),
    (["gpt2", *families("none.json")], "No such file"),
    (["gpt2", *families("damaged.json")], "read from JSON"),
    (["gpt2", *families("other.json")], "for the graph that it was written for"),
    (["gpt2", *families("random_linear_extension")], "for small graphs"),
    (["gpt2", "--json", "no/plan.json"], "whose folder is missing"),
]  # fmt: skip


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("arguments", "words"), BAD, ids=[" ".join(a)[-40:] for a, _ in BAD])
def test_bad_input(arguments, words, capsys, tmp_path):
    (tmp_path / "damaged.json").write_bytes(b"\xff{")
    (tmp_path / "other.json").write_text(token_major(EventGraph(GPT2, 3)).to_json())
    assert main(["plan", *arguments]) == BAD_INPUT
    out, err = capsys.readouterr()
    assert words in " ".join(err.split())
    assert out == "" and err.count("causalsim: ") == 1 and "Traceback" not in err
    assert {path.name for path in tmp_path.iterdir()} == {"damaged.json", "other.json"}
