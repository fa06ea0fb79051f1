"""Exhaustive exploration and the certificate say the same of small wirings, sound and spoilt."""

from __future__ import annotations

from itertools import product

import pytest

import causalsim as cs
from causalsim.kernels import CERTIFIED
from causalsim.verification.bench import first_fault, misses
from causalsim.verification.certificate import certificate_of
from causalsim.verification.exploration import Exploration, explore, lattice_of
from causalsim.verification.mutation import KERNEL_FAULTS
from causalsim.verification.target import Target
from tests.verification.test_exploration import target
from tests.verification.test_mutation import FEW

WINDOWS = [windows for layers in (1, 2, 3) for windows in product((None, 1, 2), repeat=layers)]
EVERY = [(windows, parallel) for parallel in (False, True) for windows in WINDOWS]
# Nothing of up to three layers over three positions takes more; spoilt, three positions get less.
MOST, MOST_SPOILT = 25_000, 300


def _target(wiring, length, kernels=CERTIFIED) -> Target:
    windows, parallel = wiring
    switches = {"n_layers": len(windows), "windows": windows, "parallel_residual": parallel}
    return target(length, kernels=kernels, **switches)


def _explored(whole: Target) -> Exploration:
    return explore(whole, lattice_of(whole.graph, MOST))


def both_hold(whole: Target) -> int:
    """That both arguments hold; the number of event runs that the exploration took."""
    assert certificate_of(whole).holds
    found = _explored(whole)
    assert found.divergence is None
    assert found.orders == whole.graph.count_linear_extensions()
    return found.event_runs


def both_miss_every_edge(whole: Target, most: int) -> int:
    """That the certificate misses every edge, and exploration every cover; how many it explored."""
    assert all(misses(whole, edge) for edge in whole.graph.edges())
    explored = 0
    for edge in whole.graph.covers():
        try:
            lattice = lattice_of(whole.graph, most, dropped=edge)
        except cs.LimitError:
            continue
        assert explore(whole, lattice).divergence is not None, edge
        explored += 1
    return explored


def rejected_by_both(whole: Target) -> set[str]:
    """The kernel faults that exploration rejects; the certificate has to reject them all."""
    rejected = set()
    for fault in KERNEL_FAULTS:
        faulty = whole.with_kernels(fault.spoil(whole.kernels, whole.model.dtype))
        if _explored(faulty).divergence is not None:
            assert first_fault(faulty, fault.place) is not None, f"{faulty.kernels.name} of {whole.graph}"
            rejected.add(fault.kind)
    return rejected


# What an order of two positions brings to light, whatever the wiring.
SHOWN = {
    "reads what no edge leads to",
    "depends on the batch size",
    "depends on the extent of K/V",
    "reads a neighbour",
    "writes another cell",
    "counts what has been written",
}


def test_both_hold_of_a_wiring_with_windows():
    assert all(both_hold(_target(((2, 1), False), length, FEW)) for length in (1, 2, 3))


@pytest.mark.parametrize("wiring", [((2, 1), False), ((None,), True)])
def test_both_miss_edges_that_are_dropped_from_a_few_wirings(wiring):
    whole = _target(wiring, 2, FEW)
    assert both_miss_every_edge(whole, MOST) == len(list(whole.graph.covers()))


def test_the_certificate_rejects_the_kernels_that_exploration_rejects():
    assert rejected_by_both(_target(((None,), False), 2, FEW)) >= {*SHOWN, "reads the future"}


@pytest.mark.parametrize("parallel", [False, True])
def test_only_a_cover_that_is_dropped_gives_new_orders(parallel):
    graph = cs.EventGraph(cs.Wiring(2, parallel_residual=parallel), 2)
    covers = set(graph.covers())
    for edge in graph.edges():
        own = {*graph.past(edge.target), edge.target}
        known = _runs(own, lambda event: set(graph.predecessors(event)))
        free = _runs(own, lambda event: _needs(graph, event, edge))
        assert lattice_of(graph, MOST, dropped=edge).event_runs == free
        assert (free > known) == (edge in covers)


def _needs(graph, event, dropped) -> set:
    return {source for source in graph.predecessors(event) if (source, event) != dropped[:2]}


def _runs(own: set, needs) -> int:
    """The event runs of an exploration of some events, by brute force over down-sets."""
    runs, found = 0, {frozenset()}
    while found:
        grown = [done | {event} for done in found for event in own - done if done >= needs(event)]
        runs, found = runs + len(grown), set(grown)
    return runs


# -- all of them -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("wiring", EVERY, ids=str)
def test_both_hold_of_every_small_wiring(wiring):
    """Up to three layers over three positions, each explored whole: 482,319 event runs in all."""
    assert all(both_hold(_target(wiring, length)) for length in (1, 2, 3))


@pytest.mark.slow
@pytest.mark.parametrize("wiring", EVERY, ids=str)
def test_both_reject_the_same_mutations_of_every_small_wiring(wiring):
    """The certificate misses every edge;  exploration every cover, where that takes few event runs."""
    two, three = (_target(wiring, length) for length in (2, 3))
    assert both_miss_every_edge(two, MOST) == len(list(two.graph.covers()))
    assert both_miss_every_edge(three, MOST_SPOILT)
    assert rejected_by_both(two) >= SHOWN
