"""Every mutation of a small graph is caught; a check that sees nothing scores nothing."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
from rich.console import Console

import causalsim as cs
from causalsim.engine import compile, plan
from causalsim.errors import InputError, LimitError
from causalsim.kernels import CERTIFIED, FIXED, Buckets
from causalsim.testing import PlantedFault, Statement
from causalsim.verification import faults, mutate, mutation
from causalsim.verification.mutation import KERNEL_FAULTS, score_of
from causalsim.verification.score import Score
from causalsim.verification.target import Target
from tests.models_for_tests import tiny

# Two batch sizes instead of five: fewer executables.
FEW = replace(CERTIFIED, name="certified, two batch sizes", buckets=Buckets((1, 16)))

# What a kernel can do wrong, as far as anybody thought of it.
ASKED = {
    "a cover dropped",
    "an edge dropped that others imply",
    "a kernel that reads the future",
    "a kernel that reads what no edge leads to",
    "a kernel that reads less than is declared",
    "a kernel that reads a neighbour",
    "a kernel that depends on the batch size",
    "a kernel that depends on the extent of K/V",
    "a kernel that writes another cell",
    "a kernel that counts what has been written",
    "a kernel that forgets to write",
    "a kernel that writes twice",
    "frees too early",
    "goes wrong by chance",
}


def _target(length, prompt=None, kernels=FEW, **switches) -> Target:
    model = tiny(**switches)
    graph = cs.EventGraph(model.config, length, prompt=prompt)
    return Target(model, graph, tuple(np.arange(3, 3 + n, dtype=np.int32) for n in graph.lengths), kernels)


def _check(target: Target, score: Score) -> None:
    graph = target.graph
    counts = {kind: len(mutations) for kind, mutations in score.kinds.items()}
    covers = len(list(graph.covers()))
    assert not score.missed, str(score)
    assert set(counts) == ASKED
    assert counts["a cover dropped"] == covers
    assert counts["an edge dropped that others imply"] == graph.count_edges() - covers
    assert all("certificate" in mutation.seen for mutation in score.mutations if "dropped" in mutation.kind)
    assert str(score) == f"{len(score.mutations)} of {len(score.mutations)} mutations caught"


def test_every_mutation_of_the_smallest_graph_is_caught():
    target, told = _target(2, n_layers=1), []
    score = score_of(target, progress=lambda *now: told.append(now))
    _check(target, score)
    assert told[-1] == ("mutations", len(score.mutations), len(score.mutations))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("length", "prompt", "switches"),
    [
        (2, None, {"n_layers": 1}),
        (2, None, {"n_layers": 2, "dtype": "bfloat16"}),
        (3, None, {"n_layers": 2, "windows": (2, None)}),
        (2, None, {"n_layers": 2, "parallel_residual": True}),
        (3, 1, {"n_layers": 1}),
        ((3, 2), (2, 2), {"n_layers": 1}),
    ],
    ids=["plain", "bfloat16", "window", "parallel", "feedback", "two texts"],
)
def test_every_mutation_is_caught(length, prompt, switches):
    target = _target(length, prompt, CERTIFIED, **switches)
    _check(target, score_of(target))


# -- edges -----------------------------------------------------------------------------------------


def _seen(mutations) -> list[PlantedFault]:
    return [each.looked_for() for each in mutations]


def test_every_edge_of_more_positions_is_caught():
    target = _target(3, n_layers=1)
    dropped = _seen(mutation.edges_dropped(target))
    assert len(dropped) == target.graph.count_edges()
    assert all(each.caught for each in dropped)


@pytest.mark.parametrize("blind", ["diverging", "misses", "Recorder"])
def test_a_check_that_sees_nothing_is_told(monkeypatch, blind):
    class SeesNothing:
        def __init__(self, *_, **__):
            self.events = frozenset()

        def reads(self, _):
            return self

    target = _target(2, n_layers=1)
    monkeypatch.setattr(mutation, blind, SeesNothing if blind == "Recorder" else lambda *_: None)
    score = Score(tuple(_seen(mutation.edges_dropped(target))))
    covers = len(list(target.graph.covers()))
    edges = target.graph.count_edges()
    assert len(score.missed) == {"diverging": covers, "misses": edges, "Recorder": edges - covers}[blind]
    assert str(score).count("missed: ") == len(score.missed)
    assert "MISSED: " in _printed(score)


# -- kernels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", mutation.CHECKS)
def test_sound_kernels_pass_every_check(check):
    """The other side: what is said of a fault is not said of any kernels."""
    target = _target(2, n_layers=1)
    places = {fault.place for fault in KERNEL_FAULTS if check in fault.checks}
    assert places
    assert all(mutation.CHECKS[check](target, place) is None for place in places)


def test_a_fault_that_can_do_no_harm_is_not_planted():
    """With one size for all batches, nothing can depend on their size."""
    kinds = [
        {kind for kind, _, _ in mutation.kernels_spoilt(_target(2, kernels=each))} for each in (FEW, FIXED)
    ]
    assert kinds[0] - kinds[1] == {"a kernel that depends on the batch size"}


@pytest.mark.slow
def test_every_mutation_of_batches_of_one_size_is_caught():
    score = score_of(_target(2, kernels=FIXED, n_layers=1))
    assert not score.missed and len(score.kinds) == len(ASKED) - 1


# -- pages -----------------------------------------------------------------------------------------


def test_what_gives_no_page_away_too_early_passes(monkeypatch):
    target = _target(2, n_layers=1)
    (planted,) = mutation.pages_freed(target)
    assert "is poison again while it is needed" in str(planted.looks["certificate"]())
    assert "diverges at attn(0,1)" in str(planted.looks["order"]())
    monkeypatch.setattr(faults, "freed_early", lambda made: made)
    (planted,) = mutation.pages_freed(target)
    assert [look() for look in planted.looks.values()] == [None, None]


@pytest.mark.parametrize(("length", "windows"), [(1, None), (3, 1)])
def test_no_page_is_freed_early_where_nobody_reads_it_later(length, windows):
    graph = cs.EventGraph(cs.Wiring(1, windows=windows), length)
    made = plan(compile(cs.token_major(graph)), FEW.buckets, recycle=False)
    assert faults.freed_early(made) is None


# -- chance ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("chance", [0.2, 1.0])
def test_what_goes_wrong_by_chance_is_found_as_often_as_it_should(chance):
    target = _target(2, n_layers=1)
    faulty = target.with_kernels(faults.now_and_then(FEW, chance, seed=4))
    found = mutation.found_by_repeating(target, faulty)
    share = 1 - (1 - chance) ** mutation.REPEATS
    spread = sqrt(mutation.TRIES * share * (1 - share))
    assert abs(found - mutation.TRIES * share) <= 3 * spread


def test_a_share_that_is_not_the_expected_one_is_missed(monkeypatch):
    monkeypatch.setattr(faults, "now_and_then", lambda kernels, _: kernels)
    assert mutation.goes_wrong_by_chance(_target(2, n_layers=1)).looks["repetition"]() is None


# -- what is printed and what is refused -----------------------------------------------------------


def _printed(score: Score) -> str:
    out = io.StringIO()
    Console(file=out, width=120).print(score)
    return out.getvalue()


SEEN, OTHER = Statement.of("diverges at {event}", event="attn(0,1)"), Statement("other bits")
SCORE = Score(
    (
        PlantedFault("an edge", {"order": SEEN}, "dropped"),
        PlantedFault("another", {"order": SEEN, "certificate": None}, "dropped"),
        PlantedFault("a kernel", {"batch invariance": OTHER}, "spoilt"),
    )
)


def test_the_score_is_printed_by_kind():
    text = _printed(SCORE)
    assert "1 of 2" in text and "2 of 3" in text
    assert "MISSED: another: not seen by certificate" in text
    assert "batch invariance: other bits" in text
    content = json.loads(SCORE.to_json())
    assert (content["caught"], content["of"]) == (2, 3)
    assert content["mutations"][1]["seen"] == {"order": SEEN.to_dict(), "certificate": None}


def test_a_mutation_that_nobody_has_to_see_is_not_caught():
    assert not PlantedFault("an edge", {}).caught


def test_what_cannot_be_mutated_is_refused():
    with pytest.raises(InputError, match="neighbour"):
        mutate(tiny(n_layers=1), [5])
    with pytest.raises(LimitError, match="at most 1,000"):
        mutate(tiny(), list(range(40)))
    with pytest.raises(InputError):
        mutate(tiny(), [])
