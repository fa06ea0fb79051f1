"""Campaigns on the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import replace

import pytest

import causalsim as cs
from causalsim.cli import BAD_INPUT, FAILS, HOLDS, INTERRUPTED, main
from causalsim.testing import Statement
from causalsim.verification import campaign as campaign_module
from tests.verification.campaign.support import (
    CHUNK,
    IDS,
    MODEL,
    ORDERS,
    other_digest,
    reference,
    rewritten,
    run,
)


@pytest.fixture
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_here")
def test_the_command_runs_goes_on_and_reports(monkeypatch, capsys, tmp_path):
    asked, answer = [], run(tmp_path / "made.jsonl")

    def campaign(model, text, path, **options):
        asked.append((model.config.n_layers, text, str(path), options["orders"], options["seed"]))
        return replace(
            answer, verdict=replace(answer.verdict, witness=None if len(asked) < 2 else Statement("broken"))
        )

    monkeypatch.setattr("causalsim.verification.run_campaign", campaign)
    command = ["verify", "Oh no", "--orders", "100000", "--campaign", "c.jsonl", "--json", "c.json"]
    assert main(command) == HOLDS
    assert "30 random orders" in " ".join(capsys.readouterr().out.split())
    assert json.loads((tmp_path / "c.json").read_text())["order_independence"]["holds"]
    assert main(command) == FAILS
    assert asked == [(4, "Oh no", "c.jsonl", 100000, 0)] * 2


@pytest.mark.usefixtures("_here")
def test_the_command_fails_of_what_is_recorded_and_tells_what_was_altered(monkeypatch, capsys, tmp_path):
    """The line in which somebody changed one digit of a digest, and one that really was another one."""
    path = tmp_path / "t.jsonl"
    run(path)
    monkeypatch.setattr(cs.engine, "load", lambda *_, **__: MODEL)
    monkeypatch.setattr("causalsim.cli.verify.encode_texts", lambda *_: [IDS])
    before = campaign_module.run_campaign

    def campaign(model, _text, path, **options):
        return before(model, IDS, path, chunk=CHUNK, **options)

    monkeypatch.setattr("causalsim.verification.run_campaign", campaign)
    command = ["verify", "Oh no", "--orders", str(ORDERS), "--campaign", "t.jsonl", "--json", "t.json"]
    every = path.read_text().splitlines()
    first = reference()[0]
    every[4] = every[4].replace(f'[["{first}', f'[["{"0" if first != "0" else "1"}', 1)
    path.write_text("".join(f"{line}\n" for line in every))
    assert main(command) == HOLDS
    out = " ".join(capsys.readouterr().out.split())
    assert "Note: 1 record of t.jsonl had been altered, or of another campaign (line 5)" in out
    told = json.loads((tmp_path / "t.json").read_text())
    assert told["damaged"] == [5] and len(told["digests"]) == 1
    assert main(command) == HOLDS and "Note" not in capsys.readouterr().out
    rewritten(path, 2, other_digest, seal=True)
    assert main(command) == FAILS
    out = " ".join(capsys.readouterr().out.split())
    assert "FAILS" in out and "Something does not hold" in out
    told = json.loads((tmp_path / "t.json").read_text())
    assert not told["holds"] and len(told["failed"]) == 1
    assert told["order_independence"]["witness"]["text"].startswith("1 order failed")


@pytest.mark.usefixtures("_here")
def test_the_command_says_how_to_go_on(monkeypatch, capsys):
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("causalsim.verification.run_campaign", stop)
    assert main(["verify", "Oh no", "--campaign", "c.jsonl"]) == INTERRUPTED
    assert "kept in c.jsonl; the same command goes on" in capsys.readouterr().err


@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--processes", "2"], "--processes without --campaign"),
        (["--processes", "0", "--campaign", "c.jsonl"], "expected: >= 1"),
        (["--campaign", "no/c.jsonl"], "whose folder is missing"),
        (["--campaign", "c.json", "--json", "c.json"], "a file of its own"),
        (["--campaign", "c.svg", "--picture", "c.svg"], "a file of its own"),
        (["--campaign", "c.jsonl", "--replay", "token"], "a token carries its text"),
    ],
)
def test_what_the_command_refuses(options, words, capsys, tmp_path):
    assert main(["verify", *options]) == BAD_INPUT
    assert words in " ".join(capsys.readouterr().err.split()) and list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_interrupted_command_goes_on(tmp_path):
    """Ctrl-C, as a terminal sends it to the whole group."""
    command = [sys.executable, "-m", "causalsim", "verify", "Oh no", "--orders", "400", "--processes", "2"]
    command += ["--campaign", str(tmp_path / "c.jsonl")]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with ExitStack() as stack:
        first = stack.enter_context(subprocess.Popen(command, start_new_session=True, **options))
        while not list(tmp_path.glob("c.jsonl")) and first.poll() is None:
            time.sleep(0.01)
        os.killpg(first.pid, signal.SIGINT)
        _, err = first.communicate()
    assert first.returncode == INTERRUPTED and "Traceback" not in err and "goes on" in err
    done = subprocess.run(command, check=False, **options)
    assert done.returncode == HOLDS and "400 random orders" in " ".join(done.stdout.split())
