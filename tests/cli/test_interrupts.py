"""Ctrl-C at random moments of real processes: exit code 130, one sentence, nothing half-written."""

from __future__ import annotations

import itertools
import json
import math
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from causalsim.cli import HOLDS, INTERRUPTED
from causalsim.files import write_whole

# Until causalsim's first line an interruption is Python's own; an empty line says that it is reached.
START = "from causalsim.cli import command, interrupts; print(flush=True); command()"
FIRST = 0.01
CAMPAIGN = [
    "verify",
    "Hi",
    "--orders",
    "100",
    "--processes",
    "2",
    "--campaign",
    "c.jsonl",
    "--json",
    "c.json",
]
COMMANDS = {
    "verify": ["verify", "Hi", "--orders", "3", "--json", "report.json", "--picture", "verify.svg"],
    "campaign": CAMPAIGN,
    "demo": ["demo", "Hi", "--tokens", "2", "--out", "."],
    "draw": ["draw", "wavefront", "--out", "draw.png"],
}
ENDS = {".svg": b"</svg>\n", ".png": b"IEND\xaeB`\x82", ".json": b"}\n"}


def moments(count: int, last: float, seed: int) -> list[float]:
    """Seconds after the start: half of them of any magnitude, since much happens early."""
    draws = random.Random(seed)
    early = [math.exp(draws.uniform(math.log(FIRST), math.log(last))) for _ in range(count // 2)]
    return early + [draws.uniform(FIRST, last) for _ in range(count - len(early))]


def interrupt(folder: Path, command: list[str], after: float, again: float | None = None) -> tuple[int, str]:
    """Exit code and stderr of a command that is interrupted so many seconds after its first line."""
    options = {"cwd": folder, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(
        [sys.executable, "-c", START, *command], start_new_session=True, **options
    ) as process:
        try:
            process.stdout.readline()
            time.sleep(after)
            process.send_signal(signal.SIGINT)
            if again is not None:
                time.sleep(again)
                process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    return process.returncode, err


def check_end(folder: Path, code: int, err: str) -> None:
    """A command that was interrupted, or had finished; whole files alone, and no process left behind."""
    assert code in (HOLDS, INTERRUPTED), err
    lines = err.splitlines()
    assert all(line.startswith("causalsim: ") for line in lines)
    assert lines[-1:] == ([] if code == HOLDS else ["causalsim: interrupted."])
    for path in folder.iterdir():
        assert not path.name.startswith(".")
        assert path.read_bytes().endswith(ENDS.get(path.suffix, b""))
    assert not left_running(folder)


def left_running(folder: Path) -> list[str]:
    """Processes that work in a folder, where the system lists them; one that was killed is soon gone."""
    for _ in range(100):
        found = [path.parent.name for path in Path("/proc").glob("[0-9]*/cwd") if _leads(path, folder)]
        if not found:
            break
        time.sleep(0.05)
    return found


def _leads(link: Path, folder: Path) -> bool:
    try:
        return link.readlink() == folder
    except OSError:
        return False


@pytest.mark.parametrize(
    ("name", "count", "last"), [("verify", 4, 5), ("campaign", 2, 4), ("demo", 2, 3), ("draw", 4, 0.5)]
)
def test_an_interruption_at_any_moment(name, count, last, tmp_path):
    for after in moments(count, last, seed=1):
        check_end(tmp_path, *interrupt(tmp_path, COMMANDS[name], after))


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_an_interruption_at_thirty_moments(name, tmp_path):
    for after in moments(30, 1 if name == "draw" else 8, seed=30):
        check_end(tmp_path, *interrupt(tmp_path, COMMANDS[name], after))


@pytest.mark.slow
def test_a_campaign_goes_on_from_every_interruption(tmp_path):
    """Its last command says what one that nobody interrupted says."""
    file, done, code = tmp_path / "c.jsonl", [0], INTERRUPTED
    for after in moments(8, 8, seed=1):
        code, err = interrupt(tmp_path, CAMPAIGN, 5 + after)
        check_end(tmp_path, code, err)
        done.append(file.read_bytes().count(b"\n") if file.exists() else 0)
    assert done == sorted(done)
    options = {"cwd": tmp_path, "capture_output": True, "text": True, "check": False}
    assert subprocess.run([sys.executable, "-c", START, *CAMPAIGN], **options).returncode == HOLDS
    found = json.loads((tmp_path / "c.json").read_text())
    assert found["orders"] == 100 and [*found["digests"].values()] == [100]


@pytest.mark.parametrize("again", [0, 0.05])
def test_a_second_interruption_changes_nothing(again, tmp_path):
    check_end(tmp_path, *interrupt(tmp_path, COMMANDS["verify"], 1.5, again))


# What an interruption falls into, in a process of its own; ``work`` stands for a command's work.
FALLS = """
import os, signal, sys, time
from causalsim.cli import app, command

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.1)
{work}
app.app = work
sys.argv[1:] = ["models"]  # Without arguments the page of help is told, which needs no work.
command()
"""

DROPPED = """
class Deaf:
    def __del__(self):  # Python drops what is raised here, as in callbacks of its garbage collector.
        interrupt()

def work(*_, **__):
    Deaf()
    print("dropped")
    time.sleep(60)
"""
DISGUISED = """
def work(*_, **__):
    try:
        interrupt()
    except KeyboardInterrupt:
        raise ImportError("a module failed to import") from None
"""
SWALLOWED = """
def work(*_, **__):
    try:
        interrupt()
    except BaseException:
        return 0
"""
EXITED = """
def work(*_, **__):
    try:
        interrupt()
    finally:
        sys.exit(0)
"""
CLEANING = """
def work(*_, **__):
    try:
        interrupt()
    finally:
        for _ in range(3):
            interrupt()
        try:
            raise OSError
        except OSError:
            time.sleep(0.8)
            interrupt()
        print("cleaned")
"""
TORN_DOWN = """
import atexit
atexit.register(print, "torn down")

def work(*_, **__):
    interrupt()
"""


@pytest.mark.parametrize(
    ("work", "out"),
    [
        (DROPPED, "dropped\n"),
        (DISGUISED, ""),
        (SWALLOWED, ""),
        (EXITED, ""),
        (CLEANING, "cleaned\n"),
        (TORN_DOWN, ""),
    ],
    ids=["dropped", "disguised", "swallowed", "exited", "cleaning", "torn-down"],
)
def test_an_interruption_is_heard_and_told_once(work, out):
    command = [sys.executable, "-c", FALLS.format(work=work)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    assert (done.returncode, done.stdout, done.stderr) == (INTERRUPTED, out, "causalsim: interrupted.\n")


# Before the last line of a `with`, which closes the file, it is closed by nobody.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_file_is_whole_or_not_there(tmp_path):
    """Interrupted before each line of what writes it, in turn; what cleans up then is left alone."""
    target, lines = tmp_path / "whole.txt", 0
    for left in itertools.count(1):
        target.write_text("old")

        def trace(frame, event, _, left=left):
            nonlocal lines
            if frame.f_code is not write_whole.__code__:
                return None
            lines += event == "line"
            if lines == left and event == "line":
                raise KeyboardInterrupt
            return trace

        lines, before = 0, sys.gettrace()
        sys.settrace(trace)
        try:
            write_whole(target, b"new")
        except KeyboardInterrupt:
            assert target.read_text() in ("old", "new")
            assert [path.name for path in tmp_path.iterdir()] == ["whole.txt"]
        else:
            assert target.read_text() == "new" and left > 4
            return
        finally:
            sys.settrace(before)
