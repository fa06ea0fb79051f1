"""The pytest plugin, as somebody else's project has it: run by pytest's own pytester."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

# Kept in memory when a project that pytester ran is over.
import causalsim.testing.order_check  # noqa: F401

ROOT = Path(__file__).parents[2]
NAME = "causalsim.testing.pytest_plugin"

ENGINE = """
import numpy as np
import pytest
import causalsim as cs

GRAPH = cs.EventGraph(cs.Wiring(2), 3, granularity="block")
LARGE = cs.EventGraph(cs.Wiring(1), 4)

def engine(foliation):
    return np.zeros(3)

def hasty(foliation):
    return {foliation.graph[4]: np.float32(1 + (foliation.times[1] < foliation.times[3]) * 2**-20)}
"""


@pytest.fixture
def project(pytester, monkeypatch):
    """Run pytest on a project with the plugin; whether this installation knows its entry point or not."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    # Where the plugin is installed, the process that pytester runs in has imported it before.
    quiet = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"
    pytester.makeini(f"[pytest]\naddopts = --strict-markers\nfilterwarnings =\n  error\n  {quiet}\n")

    def run(tests: str, *arguments: str, apart: bool = False):
        pytester.makepyfile(ENGINE + tests)
        start = pytester.runpytest_subprocess if apart else pytester.runpytest_inprocess
        return start("-p", NAME, "-p", "no:cacheprovider", *arguments)

    return run


TWO = """
def test_small(every_order):
    check = every_order(GRAPH, engine)
    assert check.holds and check.extensions == 57

@pytest.mark.causalsim(orders=7, seed=3, exhaustive=10)
@pytest.mark.parametrize("length", [3, 4])
def test_large(every_order, length):
    assert every_order(cs.EventGraph(cs.Wiring(1), length), engine).extensions is None

def test_otherwise():
    pass
"""


def test_orders_and_graphs_are_counted(project):
    result = project(TWO)
    result.assert_outcomes(passed=4)
    # Of the small graph 57 and two wide ones; of the others seven random ones and three named families.
    result.stdout.fnmatch_lines(["causalsim: 79 orders over 3 graphs; all orders of 1 of them"])


def test_workers_of_xdist_count_together(project):
    pytest.importorskip("xdist")
    result = project(TWO, "-p", "xdist", "-n", "2", apart=True)
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["causalsim: 79 orders over 3 graphs; all orders of 1 of them"])
    assert str(result.stdout).count("causalsim: ") == 1


def test_a_failure_shows_two_orders_and_the_first_element(project):
    result = project("\ndef test_hasty(every_order):\n    every_order(GRAPH, hasty)\n")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            ">*every_order(GRAPH, hasty)",
            "*first at element [[][]] of block(*): 1.00000* for 1.0, 8 ULP; 1 of 1 elements differ*",
            "*cs.Foliation(graph, [[]*",
            "*cs.Foliation(graph, [[]*",
            "causalsim: * over 1 graph; all orders of none of them",
        ]
    )
    assert "orders_check.py" not in str(result.stdout)


@pytest.mark.parametrize("wholly_first", [False, True])
def test_a_graph_counts_once_however_often_it_is_tried(wholly_first, project):
    tests = [
        "\n@pytest.mark.causalsim(exhaustive=0, orders=0)\ndef test_few(every_order):\n    "
        "every_order(GRAPH, engine)\n    every_order(GRAPH, engine)\n",
        "\ndef test_all(every_order):\n    every_order(GRAPH, engine)\n",
    ]
    result = project("".join(reversed(tests) if wholly_first else tests))
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["causalsim: * orders over 1 graph; all orders of 1 of them"])


def test_the_command_line_asks_for_more(project):
    tests = "\n@pytest.mark.causalsim(orders=2)\ndef test(every_order):\n    every_order(LARGE, engine)\n"
    counts = []
    for more in ((), ("--causalsim-orders", "40")):
        told = re.search(r"causalsim: (\d+) orders over 1 graph", str(project(tests, *more).stdout))
        counts.append(int(told[1]))
    # Three named families; of so few events some random orders may be the same.
    assert counts[0] <= 5 < 30 < counts[1] <= 43


def test_nothing_is_said_where_nothing_was_tried(project):
    result = project("\ndef test_otherwise():\n    pass\n")
    result.assert_outcomes(passed=1)
    assert "causalsim: " not in str(result.stdout)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("(50)", "*the marker causalsim says how many orders to try: got 50, expected of orders, seed, ex*"),
        ("(ordres=50)", "*the marker causalsim says how many orders to try: got ordres, expected*"),
        ("(orders=-1)", "*orders is a whole number of at least 0: got -1*"),
    ],
)
def test_a_marker_that_says_something_else(said, words, project):
    test = "def test(every_order):\n    every_order(GRAPH, engine)\n"
    result = project(f"\n@pytest.mark.causalsim{said}\n{test}")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([words])


def test_marker_and_fixture_explain_themselves(project):
    for option, words in (
        ("--markers", "@pytest.mark.causalsim(orders=100,*"),
        ("--fixtures", "every_order*"),
    ):
        project("", option).stdout.fnmatch_lines([words])


# -- the price of being loaded ----------------------------------------------------------------------


def test_loading_it_imports_nothing():
    code = (
        f"import sys, pytest; before = set(sys.modules); import {NAME};"
        "print(sorted({name.split('.')[0] for name in set(sys.modules) - before}),"
        "sorted(name for name in sys.modules if name.startswith('causalsim')))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    ours = ["causalsim", "causalsim.lazy", "causalsim.testing", NAME]
    assert done.stdout.strip() == f"['causalsim'] {ours}"


def test_it_runs_without_hypothesis_and_without_jax(project, pytester):
    pytester.makeconftest("import sys\nsys.modules['hypothesis'] = sys.modules['jax'] = None\n")
    project(TWO, apart=True).assert_outcomes(passed=4)


def test_the_entry_point_is_declared():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    assert declared == {"pytest11": {"causalsim": NAME}}
