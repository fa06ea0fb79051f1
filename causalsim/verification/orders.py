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
from causalsim.verification.comparison import departure
from causalsim.verification.counterexample import counterexample
from causalsim.verification.faults import covers_to_invert, one_edge_inverted, seeing_too_far, with_neighbour
from causalsim.verification.report import Control, Verdict
from causalsim.verification.subject import Subject
from causalsim.verification.tried import named_foliations, random_orders
from causalsim.verification.walk import Clash, Walk, lattice_of, walk

_NOT_TRIED = "contents of memory other than those tried around what an event reads"
_NOT_WALKED = "slices not drawn, whose launches are the lane rule's matter"


def order_independence(
    subject: Subject,
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
    walked = _walked(subject, exhaustive, progress)
    named = named_foliations(subject.graph)
    clash = walked.clash if walked else None
    witness, failing, tried = str(clash) if clash else None, clash and _completed(subject.graph, clash), 0
    for name, foliation in (*named.items(), *random_orders(subject.graph, orders, seed)):
        if witness is None and (witness := _fault_of(subject, name, foliation)) is not None:
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
        f"{len(subject.graph):,} events",
        excludes=(
            _NOT_TRIED if proof else _NOT_WALKED if walked else "orders not drawn",
            "other texts, machines and library versions",
        ),
        controls=(
            *controls(subject, seed),
            *(_controls_of_walk(subject, exhaustive) if walked else ()),
            *(proof.controls if proof else ()),
        ),
        witness=witness,
        counterexample=counterexample(subject, failing, progress) if failing else None,
        certificate=proof,
    )


def _completed(graph: EventGraph, clash: Clash) -> Foliation:
    """An order that begins as the walk did when it found other bits."""
    rest = dict.fromkeys((*clash.other, *graph))
    return from_slices(graph, [[event] for event in rest])


def _walked(subject: Subject, exhaustive: int, progress: Progress = silent) -> Walk | None:
    try:
        lattice = lattice_of(subject.graph, exhaustive) if exhaustive else None
    except LimitError:
        return None
    return walk(subject, lattice, progress) if lattice else None


def _controls_of_walk(subject: Subject, exhaustive: int) -> Iterator[Control]:
    faulty = subject.with_kernels(seeing_too_far(subject.kernels))
    found = _walked(faulty, exhaustive)
    clash = found.clash if found else None
    yield Control(f"all orders of {faulty.kernels.name}", clash is not None, str(clash or ""))


def _fault_of(subject: Subject, name: str, foliation: Foliation) -> str | None:
    values, executed = subject.run(compile(foliation))
    if not executed.refines(foliation):
        return f"{name} ran in another order than asked for"
    found = departure(subject.reference, values)
    return None if found is None else f"{name} departs at {found}"


def controls(subject: Subject, seed: int) -> Iterator[Control]:
    """An edge of every stream run backwards, and a kernel that reads the lane beside it."""
    for edge in covers_to_invert(subject.graph, np.random.default_rng(seed)):
        yield _control(subject, f"{edge} run backwards", one_edge_inverted(subject.graph, edge))
    # Alone and in a crowd: whatever the text's length, its lanes then have other neighbours.
    faulty = with_neighbour(subject.kernels, subject.model.dtype)
    crowd = subject.beginning(2).in_company().with_kernels(faulty)
    yield _control(crowd, crowd.kernels.name, compile(earliest(crowd.graph).refine()))


def _control(subject: Subject, name: str, program: Program) -> Control:
    found = departure(subject.reference, subject.values(program))
    return Control(name, found is not None, "" if found is None else f"first seen at {found.event}")
