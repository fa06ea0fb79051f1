"""The command ``calibrate``: what it shows, keeps, writes, and when it fails."""

from __future__ import annotations

import json

import pytest

from causalsim.cli import BAD_INPUT, FAILS, HOLDS, main
from causalsim.engine import Calibration
from tests.calibration.support import MODULE, file_of, made
from tests.models_for_tests import tiny

COUNTS = "1, 8, 16, 32, 64, 128, 256"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("CAUSALSIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CAUSALSIM_BUCKETS")
    monkeypatch.setattr("causalsim.cli.calibrate.load", lambda name: tiny())


@pytest.fixture
def measuring(monkeypatch):
    """Findings in place of measurements: of the model, and of the planted fault."""

    def finds(dropped=(), seen=(1, 8)):
        whole = made(tiny(), dropped=dropped)
        monkeypatch.setattr(MODULE, "measured", lambda model, length, progress: whole)
        fault = made(tiny(), dropped=seen, dispatches=("mlp",))
        monkeypatch.setattr("causalsim.cli.calibrate.measured", lambda model, **_: fault)
        return whole

    return finds


def _kept() -> Calibration:
    return Calibration.from_json(file_of(tiny()).read_text().removesuffix("\n"))


def test_it_shows_what_was_measured_and_keeps_the_choice(measuring, capsys, tmp_path):
    found = measuring()
    assert main(["calibrate", "--json", "calibrate.json"]) == HOLDS
    out, err = capsys.readouterr()
    assert err == ""
    for words in (
        "attn, several texts",
        "a whole column",
        f"the same bits in every batch: 10 kinds of dispatch at {COUNTS} rows",
        f"Batches of {COUNTS} rows are chosen",
        found.identity,
    ):
        assert words in " ".join(out.split())
    assert "other bits" not in out and "do not use it" not in out
    assert str(file_of(tiny())) in out.splitlines()
    assert _kept() == found
    written = json.loads((tmp_path / "calibrate.json").read_text())
    assert written["holds"] is True and written["identity"] == found.identity
    assert written["chosen"]["counts"] == list(found.buckets.sizes)
    assert len(written["measurements"]) == 64


def test_a_file_that_was_altered_is_told_and_replaced(measuring, capsys):
    found = measuring()
    for kept in (found.to_json().replace('"size":8,', '"size":9,', 1), "{}"):
        file_of(tiny()).parent.mkdir(parents=True, exist_ok=True)
        file_of(tiny()).write_text(kept)
        assert main(["calibrate"]) == HOLDS
        assert "was damaged, or of an older version" in " ".join(capsys.readouterr().out.split())
        assert _kept() == found
    assert main(["calibrate"]) == HOLDS
    assert "damaged" not in capsys.readouterr().out


def test_a_batch_size_that_had_to_be_dropped_is_a_failure(measuring, capsys):
    found = measuring(dropped=(8, 64))
    assert main(["calibrate"]) == FAILS
    out = " ".join(capsys.readouterr().out.split())
    assert f"FAILS a row has the same bits in every batch: not at 8, 64 of {COUNTS} rows" in out
    assert "other bits" in out and "Batches of 1, 16, 32, 128, 256 rows are chosen" in out
    assert _kept() == found


def test_where_nothing_fast_holds_it_says_so(measuring, capsys):
    measuring(dropped=(1, 8, 16, 32, 64, 128, 256))
    assert main(["calibrate"]) == FAILS
    out = " ".join(capsys.readouterr().out.split())
    assert "Batches of 16 rows are chosen: 20 events, for example, go as 16 + 16." in out
    assert "Not even these keep their bits" in out
    measuring(dropped=(1, 8, 32, 64, 128, 256))
    assert main(["calibrate"]) == FAILS
    assert "Not even these" not in capsys.readouterr().out


def test_a_planted_fault_that_goes_unseen_is_a_failure(measuring, capsys):
    measuring(seen=())
    assert main(["calibrate"]) == FAILS
    assert "FAILS a planted fault is seen" in " ".join(capsys.readouterr().out.split())


def test_a_flag_that_overrides_the_choice_is_named(measuring, monkeypatch, capsys):
    measuring()
    monkeypatch.setenv("CAUSALSIM_BUCKETS", "fixed")
    assert main(["calibrate"]) == HOLDS
    assert "do not use it while CAUSALSIM_BUCKETS=fixed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["calibrate", "--json", "no/such.json"], "whose folder is missing"),
        (["calibrate", "glass", "smollm2"], "takes no more words"),
        (["calibrate", "--length", "3"], "causalsim calibrate --help"),
    ],
)
def test_bad_input(arguments, words, capsys, tmp_path):
    assert main(arguments) == BAD_INPUT
    out, err = capsys.readouterr()
    assert words in " ".join(err.split()) and out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_not_there(monkeypatch, capsys):
    monkeypatch.undo()
    assert main(["calibrate", "glas"]) == BAD_INPUT
    assert "neither a known name" in capsys.readouterr().err


@pytest.mark.slow
def test_it_measures_here(capsys):
    assert main(["calibrate"]) == HOLDS
    assert "with a planted fault" not in capsys.readouterr().out
    assert _kept().holds
