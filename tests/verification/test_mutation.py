"""Every mutation of a small graph is caught; a check that sees nothing scores nothing."""

from __future__ import annotations

import numpy as np
import pytest

import causalsim as cs
from causalsim.kernels import CERTIFIED
from causalsim.verification import mutation
from causalsim.verification.mutation import mutate
from causalsim.verification.subject import Subject
from tests.models_for_tests import tiny


def _subject(length, prompt=None, **switches) -> Subject:
    model = tiny(**switches)
    graph = cs.EventGraph(model.config, length, prompt=prompt)
    return Subject(model, graph, (np.arange(3, 3 + length, dtype=np.int32),), CERTIFIED)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("length", "prompt", "switches"),
    [
        (2, None, {"n_layers": 1}),
        (3, None, {"n_layers": 2, "windows": (2, None)}),
        (2, None, {"n_layers": 2, "parallel_residual": True}),
        (3, 1, {"n_layers": 1}),
    ],
    ids=["plain", "window", "parallel", "feedback"],
)
def test_every_mutation_is_caught(length, prompt, switches):
    subject = _subject(length, prompt, **switches)
    score = mutate(subject)
    assert not score.missed, str(score)
    assert len(score.mutations) == subject.graph.count_edges() + 5
    assert str(score).startswith(f"{len(score.mutations)} of {len(score.mutations)} ")


def test_every_edge_dropped_is_caught():
    subject = _subject(3, n_layers=1)
    dropped = list(mutation._edges_dropped(subject))
    assert len(dropped) == subject.graph.count_edges()
    assert all(control.caught for control in dropped)


def test_implied_edges_are_there_and_are_seen_by_their_reads():
    subject = _subject(3, n_layers=1)
    covers = set(subject.graph.covers())
    implied = [edge for edge in subject.graph.edges() if edge not in covers]
    assert implied
    assert all(mutation._implied_dropped(subject, edge).caught for edge in implied[:2])


def test_a_check_that_sees_nothing_is_told(monkeypatch):
    monkeypatch.setattr(mutation, "departure", lambda *_: None)
    subject = _subject(2, n_layers=1)
    dropped = list(mutation._edges_dropped(subject))
    covers = len(list(subject.graph.covers()))
    assert sum(not control.caught for control in dropped) == covers
    assert str(mutation.Score(tuple(dropped))).count("missed") == covers
