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
from causalsim.engine import compile
from causalsim.engine.calls import calls_of
from causalsim.engine.slots import Slots
from causalsim.engine.state import Layout
from causalsim.errors import InputError, LimitError
from causalsim.kernels import CERTIFIED, FIXED, Lanes
from causalsim.verification import faults, mutate, mutation
from causalsim.verification.mutation import KERNEL_FAULTS, score_of
from causalsim.verification.score import Mutation, Score
from causalsim.verification.subject import Subject
from tests.models_for_tests import tiny

# Two lane counts instead of five: fewer executables.
FEW = replace(CERTIFIED, name="certified, two lane counts", lanes=Lanes((1, 16)))

# What a kernel can do wrong, as far as anybody thought of it.
ASKED = {
    "a cover dropped",
    "an edge dropped that others imply",
    "a kernel that reads the future",
    "a kernel that reads what no edge leads to",
    "a kernel that reads less than is declared",
    "a kernel that reads a neighbour",
    "a kernel that depends on the lane count",
    "a kernel that depends on the extent of K/V",
    "a kernel that writes another cell",
    "a kernel that counts what has been written",
    "a kernel that forgets to write",
    "a kernel that writes twice",
    "frees too early",
    "goes wrong by chance",
}


def _subject(length, prompt=None, kernels=FEW, **switches) -> Subject:
    model = tiny(**switches)
    graph = cs.EventGraph(model.config, length, prompt=prompt)
    return Subject(model, graph, tuple(np.arange(3, 3 + n, dtype=np.int32) for n in graph.lengths), kernels)


def _check(subject: Subject, score: Score) -> None:
    graph = subject.graph
    counts = {kind: len(mutations) for kind, mutations in score.kinds.items()}
    covers = len(list(graph.covers()))
    assert not score.missed, str(score)
    assert set(counts) == ASKED
    assert counts["a cover dropped"] == covers
    assert counts["an edge dropped that others imply"] == graph.count_edges() - covers
    assert all("certificate" in mutation.seen for mutation in score.mutations if "dropped" in mutation.kind)
    assert str(score) == f"{len(score.mutations)} of {len(score.mutations)} mutations caught"


def test_every_mutation_of_the_smallest_graph_is_caught():
    subject, told = _subject(2, n_layers=1), []
    score = score_of(subject, progress=lambda *now: told.append(now))
    _check(subject, score)
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
    subject = _subject(length, prompt, CERTIFIED, **switches)
    _check(subject, score_of(subject))


# -- edges -----------------------------------------------------------------------------------------


def _seen(planted) -> list[Mutation]:
    return [
        Mutation(kind, name, {check: look() for check, look in looks.items()})
        for kind, name, looks in planted
    ]


def test_every_edge_of_more_positions_is_caught():
    subject = _subject(3, n_layers=1)
    dropped = _seen(mutation._edges_dropped(subject))
    assert len(dropped) == subject.graph.count_edges()
    assert all(each.caught for each in dropped)


@pytest.mark.parametrize("blind", ["departure", "misses", "Recorder"])
def test_a_check_that_sees_nothing_is_told(monkeypatch, blind):
    class SeesNothing:
        def __init__(self, *_, **__):
            self.events = frozenset()

        def reads(self, _):
            return self

    subject = _subject(2, n_layers=1)
    monkeypatch.setattr(mutation, blind, SeesNothing if blind == "Recorder" else lambda *_: None)
    score = Score(tuple(_seen(mutation._edges_dropped(subject))))
    covers = len(list(subject.graph.covers()))
    edges = subject.graph.count_edges()
    assert len(score.missed) == {"departure": covers, "misses": edges, "Recorder": edges - covers}[blind]
    assert str(score).count("missed: ") == len(score.missed)
    assert "MISSED: " in _printed(score)


# -- kernels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", mutation.CHECKS)
def test_sound_kernels_pass_every_check(check):
    """The other side: what is said of a fault is not said of any kernels."""
    subject = _subject(2, n_layers=1)
    places = {fault.place for fault in KERNEL_FAULTS if check in fault.checks}
    assert places
    assert all(mutation.CHECKS[check](subject, place) is None for place in places)


def test_a_fault_that_can_do_no_harm_is_not_planted():
    """Where all launches have one size, nothing can depend on their size."""
    kinds = [
        {kind for kind, _, _ in mutation._kernels_spoilt(_subject(2, kernels=each))} for each in (FEW, FIXED)
    ]
    assert kinds[0] - kinds[1] == {"a kernel that depends on the lane count"}


@pytest.mark.slow
def test_every_mutation_of_launches_of_one_size_is_caught():
    score = score_of(_subject(2, kernels=FIXED, n_layers=1))
    assert not score.missed and len(score.kinds) == len(ASKED) - 1


# -- pages -----------------------------------------------------------------------------------------


def test_what_gives_no_page_away_too_early_passes(monkeypatch):
    subject = _subject(2, n_layers=1)
    (planted,) = mutation._pages_freed(subject)
    assert "is poison again while it is needed" in planted.looks["certificate"]()
    assert "departs at attn(0,1)" in planted.looks["order"]()
    apart = Slots.apart(1, Layout((2,)))
    monkeypatch.setattr(faults, "freed_early", lambda *_: apart)
    (planted,) = mutation._pages_freed(subject)
    assert [look() for look in planted.looks.values()] == [None, None]


@pytest.mark.parametrize(("length", "windows"), [(1, None), (3, 1)])
def test_no_page_is_freed_early_where_nobody_reads_it_later(length, windows):
    graph = cs.EventGraph(cs.Wiring(1, windows=windows), length)
    calls = list(calls_of(compile(cs.token_major(graph)).launches, FEW.lanes, 1))
    assert faults.freed_early(calls, graph, Layout(graph.lengths)) is None


# -- chance ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("chance", [0.2, 1.0])
def test_what_goes_wrong_by_chance_is_found_as_often_as_it_should(chance):
    subject = _subject(2, n_layers=1)
    faulty = subject.with_kernels(faults.now_and_then(FEW, chance, seed=4))
    found = mutation._found_by_repeating(subject, faulty)
    share = 1 - (1 - chance) ** mutation.REPEATS
    spread = sqrt(mutation.TRIES * share * (1 - share))
    assert abs(found - mutation.TRIES * share) <= 3 * spread


def test_a_share_that_is_not_the_expected_one_is_missed(monkeypatch):
    monkeypatch.setattr(faults, "now_and_then", lambda kernels, _: kernels)
    assert mutation._now_and_then(_subject(2, n_layers=1)).looks["repetition"]() is None


# -- what is printed and what is refused -----------------------------------------------------------


def _printed(score: Score) -> str:
    out = io.StringIO()
    Console(file=out, width=120).print(score)
    return out.getvalue()


SCORE = Score(
    (
        Mutation("dropped", "an edge", {"order": "departs at attn(0,1)"}),
        Mutation("dropped", "another", {"order": "departs", "certificate": None}),
        Mutation("spoilt", "a kernel", {"lane rule": "other bits"}),
    )
)


def test_the_score_is_printed_by_kind():
    text = _printed(SCORE)
    assert "1 of 2" in text and "2 of 3" in text
    assert "MISSED: another: not seen by the check of certificate" in text
    assert "lane rule: other bits" in text
    content = json.loads(SCORE.to_json())
    assert (content["caught"], content["of"]) == (2, 3)
    assert content["mutations"][1]["seen"] == {"order": "departs", "certificate": None}


def test_a_mutation_that_nobody_has_to_see_is_not_caught():
    assert not Mutation("dropped", "an edge", {}).caught


def test_what_cannot_be_mutated_is_refused():
    with pytest.raises(InputError, match="neighbour"):
        mutate(tiny(n_layers=1), [5])
    with pytest.raises(LimitError, match="at most 1,000"):
        mutate(tiny(), list(range(40)))
    with pytest.raises(InputError):
        mutate(tiny(), [])
