"""Campaigns in processes of their own: one that ends, answers nonsense, or is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from causalsim.errors import CausalsimError
from causalsim.verification import workers
from causalsim.verification.chunks import Chunk, Spans
from causalsim.verification.workers import Job, in_processes
from tests.models.folders import PLAIN
from tests.verification.campaign.support import (
    job,
    lines,
    run,
    totals,
)

SLOWED = """
import sys, time
import causalsim as cs
from causalsim.verification import run_campaign

model, ids = cs.load(sys.argv[1]), [5, 2, 7]
run_campaign(model, ids, sys.argv[2], orders=120, chunk=4, processes=2, progress=lambda *_: time.sleep(0.3))
"""


def test_a_process_refuses_another_environment():
    there = job()
    assert workers.runner_of(Job.from_dict(json.loads(json.dumps(there.to_dict())))).job == there
    other = replace(there.provenance, environment={**there.provenance.environment, "jaxlib": "0.1"})
    with pytest.raises(CausalsimError, match="one environment: got jaxlib"):
        workers.runner_of(replace(there, provenance=other))
    with pytest.raises(CausalsimError, match="bits of the reference order"):
        workers.runner_of(replace(there, reference="other"))


def test_a_process_that_ends_is_an_error_and_ends_the_others(monkeypatch):
    monkeypatch.setattr(workers, "START", "import json, sys; sys.exit(3); ")
    with pytest.raises(CausalsimError, match="ended with status 3"):
        list(in_processes(job(), Spans(8, 4), 2))


@pytest.mark.parametrize(
    "answer", ["no record", Chunk(4, (("a", 4),)).to_line(), Chunk(0, (("a", 3),)).to_line()]
)
def test_a_process_that_answers_with_something_else_is_an_error(monkeypatch, answer):
    says = f"sys.stdin.readline(); print({answer!r}, flush=True); sys.stdin.read(); sys.exit(); "
    monkeypatch.setattr(workers, "START", f"import sys; {says}")
    with pytest.raises(CausalsimError, match="results of the orders it was given"):
        list(in_processes(job(), Spans(4, 4), 1))


def test_killed_in_the_middle_it_comes_to_the_same(tmp_path, spans):
    """By another process, at any moment; both of its own processes end with it."""
    path, other = tmp_path / "killed.jsonl", tmp_path / "whole.jsonl"
    command = [sys.executable, "-c", SLOWED, str(PLAIN), str(path)]
    root = Path(__file__).parents[3]
    options = {"cwd": root, "env": {**os.environ, "PYTHONPATH": str(root)}, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **options) as process:
        while not (path.exists() and path.read_bytes().count(b"\n") > 5) and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)  # Its own processes have the pipe, too: they have ended.
    assert process.returncode == -signal.SIGKILL
    there = [json.loads(line)["start"] for line in path.read_bytes().split(b"\n")[1:-1]]
    assert 4 < len(there) < 30
    found = run(path, orders=120)
    assert sorted([*there, *(span.start for span in spans)]) == list(range(0, 120, 4))
    assert totals(found) == totals(run(other, orders=120)) and lines(path) == lines(other)
    assert found.resumed == 4 * len(there)


def test_two_processes_write_the_lines_of_one(tmp_path, whole):
    both = tmp_path / "both.jsonl"
    assert totals(run(both, processes=2)) == totals(run(whole)) and lines(both) == lines(whole)
