"""Runs tests on copies of the project, in each of which one place is changed.

JAX is imported once, and a process forked for each mutation; none of our own modules is imported
before. What XLA compiles is kept beside the copies, since few mutations change what is compiled.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from tests.mutants.mutation import ROOT, Mutation
from tests.mutants.results import Result

COPIED = ("causalsim", "tests", "scenarios", "pyproject.toml", "README.md", "LICENSE")
# What tests import besides, and none of which knows our modules.
SHARED = ("jax.numpy", "hypothesis", "jaxtyping", "beartype", "networkx", "pydantic", "pytest", "rich.table")
# Seconds for the tests of one mutation; an endless loop is seen by them.
LIMIT = 60
PASSED, FAILED, NO_TESTS = 0, 1, 5


class Copy:
    """A copy of the project in a folder, and the process that runs in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.verdict, self.log = folder / "project", folder / "verdict", folder / "log"
        ignored = shutil.ignore_patterns("__pycache__")
        for name in COPIED:
            here = ROOT / name
            if here.is_dir():
                shutil.copytree(here, self.folder / name, ignore=ignored)
            else:
                shutil.copy(here, self.folder / name)

    def start(self, mutation: Mutation) -> int:
        """Begin to run the tests of a mutation; the number of the process."""
        self._write(mutation.path, mutation.applied())
        return self.run(mutation.tests, first=True)

    def finish(self, mutation: Mutation) -> None:
        """Take the change back."""
        self._write(mutation.path, mutation.source)

    def run(self, tests: Sequence[str], *, first: bool) -> int:
        """Run tests in a process of their own, until the first that fails or all of them."""
        self.verdict.unlink(missing_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            number = os.fork()
        if number:
            return number
        os.setsid()
        code = 70
        try:
            code = _tested(self, tests, first)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _write(self, path: str, text: str) -> None:
        file = self.folder / "causalsim" / path
        file.write_text(text, encoding="utf-8")
        # Compiled files are known by the second in which a source was written, and its length.
        shutil.rmtree(file.parent / "__pycache__", ignore_errors=True)


class _Watcher:
    """A plugin of pytest that leaves the name of the first test that fails in a file."""

    def __init__(self, verdict: Path) -> None:
        self.verdict = verdict

    def pytest_runtest_logreport(self, report) -> None:
        self._note(report)

    def pytest_collectreport(self, report) -> None:
        self._note(report)

    def _note(self, report) -> None:
        if report.failed and not self.verdict.exists():
            self.verdict.write_text(report.nodeid or "collection", encoding="utf-8")


def _tested(copy: Copy, tests: Sequence[str], first: bool) -> int:
    import pytest

    with copy.log.open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.chdir(copy.folder)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("tests", "causalsim")]:
        del sys.modules[name]
    sys.path[:] = [str(copy.folder), *(path for path in sys.path if path not in ("", str(ROOT)))]
    os.environ |= {"PYTHONPATH": str(copy.folder), "HYPOTHESIS_PROFILE": "ci"}
    words = [*(["-x"] if first else []), "-q", "-p", "no:cacheprovider", "--no-header"]
    # Plugins among what was imported before cannot have their assertions rewritten, and need not.
    words += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    return pytest.main([*words, *(f"tests/{test}" for test in tests)], plugins=[_Watcher(copy.verdict)])


def prepare(cache: Path) -> None:
    """Import what all tests need, once, and keep what is compiled in a folder."""
    os.environ |= {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
    }
    for name in SHARED:
        import_module(name)


def unchanged(copy: Copy, tests: Sequence[str]) -> None:
    """Run tests on the project as it is.

    Raises:
        SystemExit: One of them fails.
    """
    code = os.waitstatus_to_exitcode(os.waitpid(copy.run(tests, first=True), 0)[1])
    if code != PASSED:
        raise SystemExit(f"tests fail without any change:\n{copy.log.read_text()}")


@dataclass
class _Running:
    mutation: Mutation
    copy: Copy
    start: float


def outcomes(mutations: Sequence[Mutation], copies: Sequence[Copy]) -> Iterator[tuple[Mutation, Result]]:
    """Run mutations, one in each copy at a time, and yield what came of each as it ends."""
    waiting, free, running = list(reversed(mutations)), list(copies), dict[int, _Running]()
    while waiting or running:
        while waiting and free:
            mutation, copy = waiting.pop(), free.pop()
            running[copy.start(mutation)] = _Running(mutation, copy, time.monotonic())
        time.sleep(0.05)
        for number, each in list(running.items()):
            seconds = time.monotonic() - each.start
            ended, status = os.waitpid(number, os.WNOHANG)
            if not ended and seconds < LIMIT:
                continue
            _end_all(number, reap=not ended)
            killed_by = _killed_by(each.copy, status) if ended else "time limit"
            each.copy.finish(each.mutation)
            free.append(running.pop(number).copy)
            yield each.mutation, Result(each.mutation.version, killed_by, round(seconds, 1))


def _end_all(number: int, *, reap: bool) -> None:
    """End a process and what it started."""
    with suppress(ProcessLookupError):
        os.killpg(number, signal.SIGKILL)
    if reap:
        os.waitpid(number, 0)


def _killed_by(copy: Copy, status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    if code == PASSED:
        return ""
    if code < 0:
        return "crash"
    if not copy.verdict.exists():
        raise SystemExit(f"no test could be run (exit status {code}):\n{copy.log.read_text()}")
    return copy.verdict.read_text(encoding="utf-8").removeprefix("tests/")
