"""Order independence: named and random orders, compared in the bits of every event."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from causalsim.engine import Program, compile
from causalsim.errors import LimitError
from causalsim.events import EventGraph
from causalsim.foliations import Foliation, earliest, from_slices
from causalsim.progress import Progress, silent
from causalsim.testing.findings import Finding, PlantedFault, Statement, diverging
from causalsim.testing.suite import named_foliations, random_orders
from causalsim.verification.counterexample import counterexample
from causalsim.verification.covering import covering
from causalsim.verification.exploration import Exploration, StateDivergence, explore, lattice_of
from causalsim.verification.faults import covers_to_invert, one_edge_inverted, seeing_too_far, with_neighbour
from causalsim.verification.target import Target

_NOT_TRIED = "contents of memory other than those tried around what an event reads"
_NOT_EXPLORED = "slices not drawn, whose batches are batch invariance's matter"
_BY_PROOF = "every order, by a certificate of {event_runs:,} event runs; "
_BY_EXPLORATION = "all {all_orders:,} orders by {explored:,} event runs, and "
_BY_RUNS = (
    "{orders} orders ({named}, {covering} more by which every form of dispatch occurs, {random} random with "
    "seed {seed}) of {events:,} events"
)


def order_independence(
    target: Target,
    orders: int,
    seed: int,
    progress: Progress,
    exhaustive: int = 0,
    proof: Finding | None = None,
) -> Finding:
    """Return the verdict on named and random orders, compared in every event's bits with the reference.

    A graph all of whose orders are covered by at most ``exhaustive`` runs of an event is explored, too.
    All orders of any graph follow from its certificate, where there is one.
    """
    explored = _explored(target, exhaustive, progress)
    named = named_foliations(target.graph)
    found = explored.divergence if explored else None
    witness = found.told() if found else None
    failing, tried = found and _completed(target.graph, found), 0
    forms = tuple(covering(target.graph, target.kernels.buckets))
    for name, foliation in (*named.items(), *forms, *random_orders(target.graph, orders, seed)):
        if witness is None and (witness := target.refuted(name, foliation)) is not None:
            failing = foliation
        tried += 1
        progress("orders", tried, len(named) + len(forms) + orders)
    facts = {
        "orders": tried,
        "named": ", ".join(named),
        "covering": len(forms),
        "random": orders,
        "seed": seed,
    }
    whole = {"all_orders": explored.orders, "explored": explored.event_runs} if explored else {}
    sure = {"event_runs": proof.coverage.event_runs} if proof else {}
    return Finding(
        name="order independence",
        method="certificate" if proof else "exhaustive" if explored else "sampled",
        claim="all gave the same bits in every event, and each ran in the order asked for",
        coverage=Statement(
            _BY_PROOF * bool(proof) + _BY_EXPLORATION * bool(explored) + _BY_RUNS,
            {**sure, **whole, **facts, "events": len(target.graph)},
        ),
        excludes=(
            _NOT_TRIED if proof else _NOT_EXPLORED if explored else "orders not drawn",
            "other texts, machines and library versions",
        ),
        witness=witness,
        controls=(*controls(target, seed), *(_controls_explored(target, exhaustive) if explored else ())),
        parts=(proof,) if proof else (),
        counterexample=counterexample(target, failing, progress) if failing else None,
    )


def _completed(graph: EventGraph, found: StateDivergence) -> Foliation:
    """An order that begins as the exploration did when it found other bits."""
    rest = dict.fromkeys((*found.other, *graph))
    return from_slices(graph, [[event] for event in rest])


def _explored(target: Target, exhaustive: int, progress: Progress = silent) -> Exploration | None:
    try:
        lattice = lattice_of(target.graph, exhaustive) if exhaustive else None
    except LimitError:
        return None
    return explore(target, lattice, progress) if lattice else None


def _controls_explored(target: Target, exhaustive: int) -> Iterator[PlantedFault]:
    faulty = target.with_kernels(seeing_too_far(target.kernels))
    explored = _explored(faulty, exhaustive)
    found = explored.divergence if explored else None
    seen = found.told() if found else None
    yield PlantedFault(f"all orders of {faulty.kernels.name}", {"exhaustive exploration": seen})


def controls(target: Target, seed: int) -> Iterator[PlantedFault]:
    """An edge of every stream run backwards, and a kernel that reads the row beside it."""
    for edge in covers_to_invert(target.graph, np.random.default_rng(seed)):
        yield _control(target, f"{edge} run backwards", one_edge_inverted(target.graph, edge))
    # Alone and beside other requests: whatever the text's length, its rows then have other neighbours.
    faulty = with_neighbour(target.kernels, target.model.dtype)
    many = target.beginning(2).co_batched().with_kernels(faulty)
    yield _control(many, many.kernels.name, compile(earliest(many.graph).refine()))


def _control(target: Target, name: str, program: Program) -> PlantedFault:
    seen = diverging(target.reference, target.values(program), "first seen at {event}")
    return PlantedFault(name, {"order independence": seen})
