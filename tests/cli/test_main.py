"""Exit codes, messages and files of every command."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from causalsim.cli import BAD_INPUT, BUG, FAILS, HOLDS, INTERRUPTED, UNREAD, main
from causalsim.testing import PlantedFault
from causalsim.verification import Score
from tests.cli.reports import report

SCENARIOS = Path(__file__).parents[2] / "scenarios"
LONG = "word " * 300

WRONG_COUNT = """
title = "Wrong"
about = "A count that nobody would get."
lengths = [3]
[model]
layers = 2
[[route]]
from = "kv(0,0)"
to = "attn(1,2)"
count = 4
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


BAD = [
    (["demo", ""], "at least one token"),
    (["demo", LONG], "fits into the model's context"),
    (["demo", "Hello", "--tokens", "127"], "fits into the model's context"),
    (["demo", "Hello", "--tokens", "0"], "expected: >= 1"),
    (["demo", "--seed", "-1"], "expected: >= 0"),
    (["demo", "--out", __file__], "written to a folder"),
    (["demo", "--outt", "x"], "Did you mean '--out'?"),
    (["dmo"], "Did you mean 'demo'?"),
    (["demo", "two", "words"], "stands in quotation marks"),
    (["demo", "--tokens", "1.5"], "'1.5' is no whole number"),
    (["-x"], "expected: demo, run, verify, draw"),
    (["run"], "requires an argument"),
    (["run", str(SCENARIOS / "two-highways.toml"), "--json", "x", "--out", "x"], "a file of its own"),
    (["run", str(SCENARIOS / "two-highways.toml"), "--json", "graph.svg", "--out", "."], "a file of its own"),
    (["run", "none.toml"], "No such file"),
    (["run", str(SCENARIOS)], "Is a directory"),
    (["run", str(SCENARIOS / "two-highways.toml"), "--json", "no/such.json"], "whose folder is missing"),
    (["run", str(SCENARIOS / "two-highways.toml"), "--out", __file__], "which is a file"),
    (["verify", ""], "at least one token"),
    (["verify", LONG], "at most 128"),
    (["verify", "--model", "glas"], "neither a known name"),
    (["verify", "--orders", "0"], "expected: >= 1"),
    (["verify", "--dtype", "float16"], "expected: 'float32' or 'bfloat16'"),
    (["verify", "--mutate", "--orders", "3"], "faults are planted alone"),
    (["verify", "--mutate", "--certificate"], "faults are planted alone"),
    (["verify", "--mutate", "--campaign", "x"], "faults are planted alone"),
    (["verify", "--mutate", "--picture", "x.svg"], "faults are planted alone"),
    (["verify", "--mutate", "--processes", "2"], "processes share the orders"),
    (["verify", "a", "--mutate"], "show only beside a neighbour"),
    (["verify", "a" * 126, "--mutate"], "at most 1,000"),
    (["run", str(SCENARIOS / "stock-kernels.toml"), "--dtype", "half"], "model.dtype: a value of"),
    (["run", str(SCENARIOS / "two-highways.toml"), "--dtype", "bfloat16"], "goes with name or random"),
    (["draw", "wavefrnt"], "Did you mean 'wavefront'?"),
    (["draw", "tilted"], "tilted needs its velocity"),
    (["draw", "tilted", "--velocity", "-1/5"], "velocity > -1/5"),
    (["draw", "wavefront", "--size", "3"], "takes no size"),
    (["draw", "--size", "3"], "a graph alone takes no arguments"),
    (["draw", "--layers", "0"], "expected: >= 1"),
    (["draw", "--length", "2000"], "a person can look at"),
    (["draw", "random_foliation", "--length", "2000"], "a person can look at"),
    (["draw", "wavefront", "--length", "10000000000000"], "a person can look at"),
    (["draw", "wavefront", "--length", "1" + "0" * 30], "can be counted"),
    (["draw", "--granularity", "head"], "known granularities"),
    (["draw", "--model", "glass"], "--model without --text"),
    (["draw", "--model", "glass", "--text", "Hi", "--layers", "2"], "or of a model over a text"),
    (["draw", "--out", "picture.gif"], "the format that its suffix names"),
    (["draw", "--out", "no/picture.svg"], "whose folder is missing"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "words"), BAD, ids=[" ".join(a)[:40] for a, _ in BAD])
def test_bad_input(arguments, words, capsys, tmp_path):
    assert main(arguments) == BAD_INPUT
    out, err = capsys.readouterr()
    assert words in " ".join(err.split())
    assert out == ""
    assert "Traceback" not in err
    assert err.startswith("causalsim: ")
    assert err.count("causalsim: ") == 1
    assert left_in(tmp_path) == []


def test_a_message_has_a_line_for_every_clause(capsys):
    main(["demo", LONG])
    first, *rest = capsys.readouterr().err.splitlines()
    assert first == "causalsim: a text fits into the model's context"
    assert [line.split(":")[0].strip() for line in rest] == ["got", "expected", "hint"]


def test_a_misspelt_key(tmp_path, capsys):
    (tmp_path / "wrong.toml").write_text(WRONG_COUNT.replace("count", "cuont"))
    assert main(["run", "wrong.toml", "--json", "out.json"]) == BAD_INPUT
    assert "Did you mean 'count'?" in capsys.readouterr().err
    assert left_in(tmp_path) == ["wrong.toml"]


def test_a_scenario_that_fails(tmp_path, capsys):
    (tmp_path / "wrong.toml").write_text(WRONG_COUNT)
    assert main(["run", "wrong.toml", "--json", "out.json"]) == FAILS
    assert "FAILS  kv(0,0) to attn(1,2) by 4 routes: counted 3" in capsys.readouterr().out
    assert json.loads((tmp_path / "out.json").read_text())["holds"] is False


def test_run_writes_pictures_and_json(tmp_path, capsys):
    scenario = str(SCENARIOS / "two-highways.toml")
    assert main(["run", scenario, "--out", "deep/pictures", "--json", "whole.json"]) == HOLDS
    out = capsys.readouterr().out
    assert "holds  kv(0,0) to attn(1,2) by 3 routes" in out
    assert "routes-1-3.svg .png" in out
    assert (tmp_path / "deep/pictures/graph.png").exists()
    assert json.loads((tmp_path / "whole.json").read_text())["routes"][0]["count"] == 3


def test_the_folder_of_a_scenario_without_pictures_is_not_made(tmp_path):
    assert main(["run", str(SCENARIOS / "two-highways-deeper.toml")]) == HOLDS
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ([], "graph.svg"),
        (["wavefront"], "wavefront.svg"),
        (["tilted", "--velocity", "-1/6"], "tilted.svg"),
        (["chunked", "--size", "2", "--layers", "1", "--granularity", "block"], "chunked.svg"),
        (["random_linear_extension", "--seed", "1", "--method", "kahn", "--out", "r.png"], "r.png"),
        (["layer_major", "--model", "glass", "--text", "Hello, Alice"], "layer_major.svg"),
    ],
)
def test_draw(arguments, name, tmp_path, capsys):
    assert main(["draw", *arguments]) == HOLDS
    assert left_in(tmp_path) == [name]
    assert capsys.readouterr().out.startswith(f"wrote {name}: ")


@pytest.mark.parametrize(("witness", "code"), [(None, HOLDS), ("mlp(0,1) diverges", FAILS)])
def test_verify_says_what_the_report_says(witness, code, monkeypatch, tmp_path, capsys):
    asked = {}

    def verify(model, text, **options):
        asked.update(options, text=text, dtype=model.dtype)
        return report(witness)

    monkeypatch.setattr("causalsim.verification.verify", verify)
    assert main(["verify", "Hello", "--orders", "3", "--dtype", "bfloat16", "--json", "r.json"]) == code
    assert (asked["text"], asked["orders"], asked["seed"], asked["dtype"]) == ("Hello", 3, 0, "bfloat16")
    assert json.loads((tmp_path / "r.json").read_text())["holds"] is (witness is None)
    out = capsys.readouterr().out
    assert "order independence" in out
    assert ("Everything holds." if witness is None else "Something does not hold.") in out


@pytest.mark.parametrize(("witness", "code"), [("diverges", HOLDS), (None, FAILS)])
def test_verify_prints_the_score_of_mutations(witness, code, monkeypatch, tmp_path, capsys):
    asked = []

    def mutate(model, text, **_):
        asked.append((text, model.dtype))
        return Score((PlantedFault("an edge", {"order": witness}, "a cover dropped"),))

    monkeypatch.setattr("causalsim.verification.mutate", mutate)
    assert main(["verify", "--mutate", "--json", "r.json"]) == code
    main(["verify", "Hello", "--mutate", "--dtype", "bfloat16"])
    assert asked == [("The old", "float32"), ("Hello", "bfloat16")]
    assert json.loads((tmp_path / "r.json").read_text())["caught"] == (code == HOLDS)
    out = capsys.readouterr().out
    assert "a cover dropped" in out
    assert ("1 of 1 mutations caught" if witness else "0 of 1 mutations caught") in out


def test_what_the_model_has_no_token_for_is_said(monkeypatch, capsys):
    monkeypatch.setattr("causalsim.verification.verify", lambda *_, **__: report())
    main(["verify", "Déjà vu / 🙂"])
    assert "Note: the model has no token for 'é', 'à', '/', '🙂'" in capsys.readouterr().out
    main(["verify", "Hello"])
    assert "Note" not in capsys.readouterr().out


def test_glass_without_its_package(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("causalsim.models.formats.glass.find_spec", lambda name: None)
    assert main(["demo"]) == BAD_INPUT
    err = capsys.readouterr().err
    assert "read from the package glassllm" in err
    assert "pip install 'causalsim[demo]'" in err
    assert left_in(tmp_path) == []


def test_a_folder_where_a_picture_is_to_be(tmp_path, capsys):
    (tmp_path / "out" / "graph.svg").mkdir(parents=True)
    assert main(["run", str(SCENARIOS / "two-highways.toml"), "--out", "out"]) == BAD_INPUT
    assert "graph.svg, a folder" in capsys.readouterr().err
    assert left_in(tmp_path / "out") == ["graph.svg"]


def test_an_interruption_is_one_line(monkeypatch, capsys):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("causalsim.scenario.load", stop)
    assert main(["run", "any.toml"]) == INTERRUPTED
    assert capsys.readouterr() == ("", "causalsim: interrupted.\n")


def test_what_the_system_refuses_is_a_message(monkeypatch, capsys):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("causalsim.cli.run.write", full)
    assert main(["run", str(SCENARIOS / "two-highways.toml")]) == BAD_INPUT
    assert "No space left on device" in capsys.readouterr().err


def test_what_no_memory_holds_is_a_message(monkeypatch, capsys):
    def swollen(*_: object) -> None:
        raise MemoryError("Unable to allocate 72.8 TiB")

    monkeypatch.setattr("causalsim.scenario.load", swollen)
    assert main(["run", "any.toml"]) == BAD_INPUT
    first, *rest = capsys.readouterr().err.splitlines()
    assert first == "causalsim: what is asked for fits into memory"
    assert [line.split()[0] for line in rest] == ["got:", "hint:"]


def test_a_length_beyond_all_memory(tmp_path, capsys):
    text = WRONG_COUNT.replace("[3]", "[10000000000000]") + '[[foliation]]\nfamily = "latest"'
    (tmp_path / "huge.toml").write_text(text)
    assert main(["run", "huge.toml"]) == BAD_INPUT
    err = capsys.readouterr().err
    assert err.count("causalsim: ") == 1 and "Traceback" not in err


@pytest.mark.parametrize("shown", [False, True])
def test_a_bug_is_no_verdict(shown, monkeypatch, capsys):
    def buggy(*_: object) -> None:
        raise IndexError("list index\nout of range")

    monkeypatch.setattr("causalsim.scenario.load", buggy)
    monkeypatch.setenv("CAUSALSIM_TRACEBACK", "1" if shown else "")
    assert main(["run", "any.toml"]) == BUG == 70
    lines = capsys.readouterr().err.splitlines()
    assert "this is a bug of causalsim: IndexError: list index out of range" in lines[-1]
    assert ("CAUSALSIM_TRACEBACK=1" in lines[-1]) is not shown
    assert (len(lines) == 1) is not shown
    assert ("in buggy" in "".join(lines)) is shown


def test_a_file_that_fails_halfway_is_not_there(tmp_path):
    from causalsim.cli.results import write_text

    path = tmp_path / "report.json"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert path.read_text() == "old"
    assert left_in(tmp_path) == ["report.json"]


def test_progress_is_for_terminals():
    from causalsim.cli.terminal import progress

    for is_terminal in (False, True):
        stream = io.StringIO()
        with progress(Console(file=stream, force_terminal=is_terminal, width=80)) as watch:
            watch("orders", 1, 2)
        assert ("orders" in stream.getvalue()) is is_terminal


def test_output_in_a_pipe_has_no_escapes(capsys):
    main(["run", str(SCENARIOS / "two-highways-deeper.toml")])
    lines = capsys.readouterr().out.splitlines()
    assert not any("\x1b" in line for line in lines)
    assert max(map(len, lines)) <= 100


def test_a_reader_that_has_enough():
    read, written = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "causalsim", "run", str(SCENARIOS / "two-highways-deeper.toml")]
    done = subprocess.run(command, stdout=written, stderr=subprocess.PIPE, text=True, check=False)
    os.close(written)
    assert (done.returncode, done.stderr) == (UNREAD, "")


def test_help_imports_nothing_heavy():
    """Its time is measured, not asserted: ``time causalsim --help`` (below 0.15 s on a quiet machine)."""
    code = (
        "import sys; from causalsim.cli import main; main(['--help']);"
        "print(sorted({'jax', 'networkx', 'pydantic', 'numpy', 'cyclopts', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("[]")
    assert all(command in done.stdout for command in ("demo", "run", "verify", "draw", "paths", "plan"))


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_the_page_names_every_command_by_the_first_line_of_its_help(arguments, capsys):
    from causalsim.cli.app import app
    from causalsim.cli.overview import COMMANDS

    assert main(arguments) == HOLDS
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 100
    assert {name for name in app if not name.startswith("-")} == {*COMMANDS}
    for name, words in COMMANDS.items():
        assert f"  {name}" in out and words in out
        assert app[name].help.splitlines()[0] == words


def test_the_module_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "causalsim", "run", "none.toml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == BAD_INPUT
    assert done.stdout == ""
    assert done.stderr.startswith("causalsim: a scenario is a file")
