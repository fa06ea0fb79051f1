"""The command ``invariance``: the classes that it shows, what it fails at, and what it does not take."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import count

import pytest

from causalsim.cli import BAD_INPUT, FAILS, HOLDS, main

NUMBER = count()

MODULE = """
import numpy as np

calls = iter(range(10_000))
ROWS = np.arange(6, dtype=np.int32)
TABLE = np.linspace(0, 1, 8)

def square(x):
    return x * x

class Kernels:
    @staticmethod
    def lookup(ids):
        return TABLE[ids]

def by_count(x):
    return x * np.float32(1 + (len(x) > 3) * 2**-20)

def read(x, buffer, filled):
    return x + buffer[:filled].mean() * (1 + len(buffer) % 2)

def examples():
    return {"rows": np.ones((3, 2)), "buffer": np.ones((4, 2, 2))}

def whole(x):
    return x.sum()

def unsteady(x):
    return x + next(calls)
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    """A module in the current folder; of another name each time, since Python keeps modules."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys, "path", [*sys.path])
    name = f"kernels_of_others_{next(NUMBER)}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    return name


def shown(capsys) -> str:
    out, err = capsys.readouterr()
    assert err == ""
    return " ".join(out.split())


def test_a_function_that_keeps_the_rule(module, capsys, tmp_path):
    assert main(["invariance", f"{module}:square", "--shape", "2x3", "--json", "found.json"]) == HOLDS
    out = shown(capsys)
    assert f"{module}:square, rows 16x2x3 float32; 1,600 batches; arrays numpy" in out
    assert "batch size │ one class: rows: 1 .. 256" in out and "Everything holds." in out
    assert "wrote found.json" in out
    told = json.loads((tmp_path / "found.json").read_text())
    assert told["holds"] and list(told["axes"]) == [
        "repetition",
        "batch size",
        "place in the batch",
        "neighbours",
    ]


def test_classes_are_shown_and_are_a_failure(module, capsys):
    chosen = ["--batch-sizes", "1,2,3,4,8", "--dtype", "float32", "--seed", "3"]
    assert main(["invariance", f"{module}:by_count", "--shape", "4", *chosen]) == FAILS
    out = shown(capsys)
    assert "rows: 1 .. 3 | 4, 8" in out and "4, 8: first at element [0] of row 0:" in out
    assert "Something does not hold." in out


def test_a_buffer_is_an_argument_of_its_own(module, capsys):
    sizes = ["--shape", "2", "--buffer", "3x2", "--filled", "4", "--extents", "4,5,6"]
    assert main(["invariance", f"{module}:read", *sizes, "--batch-sizes", "1,2"]) == FAILS
    out = shown(capsys)
    assert "buffer 4x3x2 float32" in out and "1 row, a buffer of: 4, 6 | 5" in out
    assert "padding │ one class" in out


@pytest.mark.parametrize(
    ("function", "inputs", "code"), [("Kernels.lookup", "ROWS", HOLDS), ("read", "examples", FAILS)]
)
def test_inputs_of_the_module(function, inputs, code, module, capsys):
    assert main(["invariance", f"{module}:{function}", "--inputs", inputs, "--batch-sizes", "1,2,3"]) == code
    assert ("rows 6 int32" if inputs == "ROWS" else "buffer 4x2x2 float64") in shown(capsys)


def test_a_function_that_is_not_deterministic(module, capsys):
    assert main(["invariance", f"{module}:unsteady", "--shape", "2", "--batch-sizes", "1,2"]) == FAILS
    assert "The function is not deterministic: the same batch gave other bits." in shown(capsys)


def test_whole_numbers_are_drawn_as_indices(module, capsys):
    assert (
        main(["invariance", f"{module}:square", "--shape", "2", "--dtype", "int32", "--batch-sizes", "1,2"])
        == HOLDS
    )
    assert "rows 16x2 int32" in shown(capsys)


BAD = [
    ([":square", "--shape", "2"], "the module '' can be imported"),
    (["nowhere.there:square", "--shape", "2"], "No module named 'nowhere'"),
    (["{}:cube", "--shape", "2"], "no 'cube' in"),
    (["{}:", "--shape", "2"], "no '' in"),
    (["{}:TABLE", "--shape", "2"], "of type ndarray"),
    (["{}:square"], "neither --shape nor --inputs"),
    (["{}:square", "--shape", "2", "--inputs", "ROWS"], "--inputs and --shape"),
    (["{}:square", "--inputs", "rows"], "no 'rows' in"),
    (["{}:square", "--inputs", "np"], "rows are arrays of real numbers"),
    (["{}:square", "--shape", "2.5"], "a shape is of whole numbers of at least 1 got: '2.5'"),
    (["{}:square", "--shape", "2x0"], "a shape is of whole numbers"),
    (["{}:square", "--shape", "2", "--batch-sizes", "1,two"], "a list of counts is of whole numbers"),
    (["{}:square", "--shape", "2", "--batch-sizes", "0"], "of at least 1"),
    (["{}:square", "--shape", "2", "--dtype", "complex64"], "a dtype is one of real numbers"),
    (["{}:square", "--shape", "2", "--dtype", "float33"], "a dtype is one of real numbers"),
    (["{}:square", "--shape", "2", "--buffer", "2"], "expected: --buffer and --filled"),
    (["{}:square", "--shape", "2", "--array", "cupy"], "of a known library got: 'cupy'"),
    (["{}:read", "--shape", "2"], "TypeError: read() missing 2 required positional arguments"),
    (["{}:whole", "--shape", "2"], "a row-wise function gives a value for each row"),
    (["{}:square", "--shape", "2", "--json", "no/such.json"], "whose folder is missing"),
    (["glass", "--shape", "2", "--batch-sizes", "1"], "causalsim calibrate MODEL tells"),
]


@pytest.mark.parametrize(("arguments", "words"), BAD, ids=[" ".join(a)[:40] for a, _ in BAD])
def test_bad_input(arguments, words, module, capsys, tmp_path):
    assert main(["invariance", *(each.format(module) for each in arguments)]) == BAD_INPUT
    out, err = capsys.readouterr()
    assert words in " ".join(err.split()) and out == "" and err.count("causalsim: ") == 1
    assert {path.name for path in tmp_path.iterdir()} <= {f"{module}.py", "__pycache__"}


@pytest.mark.parametrize("line", ["raise OSError('no weights')", "import sys; sys.exit(3)", "what?"])
def test_a_module_that_fails_when_imported(line, module, capsys, tmp_path):
    (tmp_path / f"{module}_broken.py").write_text(line)
    assert main(["invariance", f"{module}_broken:f", "--shape", "2"]) == BAD_INPUT
    assert "can be imported" in capsys.readouterr().err


def test_the_current_folder_is_looked_in_without_jax(module):
    code = (
        f"import sys; sys.path = [p for p in sys.path if p]; from causalsim.cli import main;"
        f"code = main(['invariance', '{module}:square', '--shape', '2', '--batch-sizes', '1,2']);"
        "print(code, 'jax' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 False"
