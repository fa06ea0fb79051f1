"""Order independence: named and random orders, compared in the bits of every event."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from causalsim.engine import Program, compile
from causalsim.errors import LimitError
from causalsim.events import EventGraph
from causalsim.foliations import Foliation, earliest, from_slices
from causalsim.progress import Progress, silent
from causalsim.verification.certificate import Certificate
from causalsim.testing.bits import divergence
from causalsim.verification.counterexample import counterexample
from causalsim.verification.faults import covers_to_invert, one_edge_inverted, seeing_too_far, with_neighbour
from causalsim.verification.report import Control, Verdict
from causalsim.testing.suite import named_foliations, random_orders
from causalsim.verification.target import Target
from causalsim.verification.exploration import Clash, Walk, lattice_of, walk

_NOT_TRIED = "contents of memory other than those tried around what an event reads"
_NOT_WALKED = "slices not drawn, whose batches are batch invariance's matter"


def order_independence(
    target: Target,
    orders: int,
    seed: int,
    progress: Progress,
    exhaustive: int = 0,
    proof: Certificate | None = None,
) -> Verdict:
    """Run named and random orders and compare every event's bits with the reference order's.

    A graph all of whose orders are covered by at most ``exhaustive`` runs of an event is walked, too.
    All orders of any graph follow from its certificate, where there is one.
    """
    walked = _walked(target, exhaustive, progress)
    named = named_foliations(target.graph)
    clash = walked.clash if walked else None
    witness, failing, tried = str(clash) if clash else None, clash and _completed(target.graph, clash), 0
    for name, foliation in (*named.items(), *random_orders(target.graph, orders, seed)):
        if witness is None and (witness := _fault_of(target, name, foliation)) is not None:
            failing = foliation
        tried += 1
        progress("orders", tried, len(named) + orders)
    if proof and not proof.holds:
        witness = witness or proof.witness
    whole = f"all {walked.orders:,} orders by {walked.event_runs:,} event runs, and " if walked else ""
    whole = f"{proof}; {whole}" if proof else whole
    return Verdict(
        name="order independence",
        method="certificate" if proof else "exhaustive" if walked else "sampled",
        claim="all gave the same bits in every event, and each ran in the order asked for",
        coverage=f"{whole}{tried} orders ({', '.join(named)}, {orders} random with seed {seed}) of "
        f"{len(target.graph):,} events",
        excludes=(
            _NOT_TRIED if proof else _NOT_WALKED if walked else "orders not drawn",
            "other texts, machines and library versions",
        ),
        controls=(
            *controls(target, seed),
            *(_controls_of_walk(target, exhaustive) if walked else ()),
            *(proof.controls if proof else ()),
        ),
        witness=witness,
        counterexample=counterexample(target, failing, progress) if failing else None,
        certificate=proof,
    )


def _completed(graph: EventGraph, clash: Clash) -> Foliation:
    """An order that begins as the walk did when it found other bits."""
    rest = dict.fromkeys((*clash.other, *graph))
    return from_slices(graph, [[event] for event in rest])


def _walked(target: Target, exhaustive: int, progress: Progress = silent) -> Walk | None:
    try:
        lattice = lattice_of(target.graph, exhaustive) if exhaustive else None
    except LimitError:
        return None
    return walk(target, lattice, progress) if lattice else None


def _controls_of_walk(target: Target, exhaustive: int) -> Iterator[Control]:
    faulty = target.with_kernels(seeing_too_far(target.kernels))
    found = _walked(faulty, exhaustive)
    clash = found.clash if found else None
    yield Control(f"all orders of {faulty.kernels.name}", clash is not None, str(clash or ""))


def _fault_of(target: Target, name: str, foliation: Foliation) -> str | None:
    values, executed = target.run(compile(foliation))
    if not executed.refines(foliation):
        return f"{name} ran in another order than asked for"
    found = divergence(target.reference, values)
    return None if found is None else f"{name} diverges at {found}"


def controls(target: Target, seed: int) -> Iterator[Control]:
    """An edge of every stream run backwards, and a kernel that reads the row beside it."""
    for edge in covers_to_invert(target.graph, np.random.default_rng(seed)):
        yield _control(target, f"{edge} run backwards", one_edge_inverted(target.graph, edge))
    # Alone and in a crowd: whatever the text's length, its rows then have other neighbours.
    faulty = with_neighbour(target.kernels, target.model.dtype)
    crowd = target.beginning(2).in_company().with_kernels(faulty)
    yield _control(crowd, crowd.kernels.name, compile(earliest(crowd.graph).refine()))


def _control(target: Target, name: str, program: Program) -> Control:
    found = divergence(target.reference, target.values(program))
    return Control(name, found is not None, "" if found is None else f"first seen at {found.event}")
