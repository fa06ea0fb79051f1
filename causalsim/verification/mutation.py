"""Mutation: every edge dropped in turn, every kind of kernel fault planted, and which check sees it.

A dropped edge that no longer path implies lets two events change places: the order verdict must
see that. One that is implied changes no order: it must be missed where reads are recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from causalsim.events import Edge
from causalsim.progress import Progress, silent
from causalsim.verification.bench import misses, run_trials
from causalsim.verification.comparison import departure
from causalsim.verification.faults import (
    adding_up,
    forgetting,
    one_edge_inverted,
    overlooking,
    remembering,
    sampling_for_neighbour,
    seeing_too_far,
    with_lane_count,
    with_neighbour,
    writing_elsewhere,
)
from causalsim.verification.lanes import lane_rule
from causalsim.verification.reads import Recorder, causal_invariance
from causalsim.verification.report import Control
from causalsim.verification.subject import Subject

# Of lanes three, of reads two, of a certificate all that make an order matter.
KERNEL_FAULTS = 12


@dataclass(frozen=True)
class Score:
    """Every mutation, and whether it was seen."""

    mutations: tuple[Control, ...]

    @property
    def missed(self) -> tuple[Control, ...]:
        return tuple(mutation for mutation in self.mutations if not mutation.caught)

    def __str__(self) -> str:
        total, missed = len(self.mutations), len(self.missed)
        names = "".join(f"\n  missed: {mutation.name}" for mutation in self.missed)
        return f"{total - missed} of {total} mutations caught{names}"


def mutate(subject: Subject, progress: Progress = silent) -> Score:
    """Drop every edge of a small graph and plant every kernel fault, one at a time.

    >>> print(Score((Control("an edge dropped", True, "seen"), Control("another", False, ""))))
    1 of 2 mutations caught
      missed: another
    """
    graph, found = subject.graph, list[Control]()
    total = graph.count_edges() + KERNEL_FAULTS
    for mutation in (*_edges_dropped(subject), *_kernels_spoilt(subject)):
        found.append(mutation)
        progress("mutations", len(found), total)
    return Score(tuple(found))


def _edges_dropped(subject: Subject) -> Iterator[Control]:
    covers = set(subject.graph.covers())
    for edge in subject.graph.edges():
        yield _cover_dropped(subject, edge) if edge in covers else _implied_dropped(subject, edge)


def _cover_dropped(subject: Subject, edge: Edge) -> Control:
    found = departure(subject.reference, subject.values(one_edge_inverted(subject.graph, edge)))
    return _both(subject, edge, f"{edge} dropped", f"order: departs at {found}" if found else "")


def _implied_dropped(subject: Subject, edge: Edge) -> Control:
    seen = edge.source in Recorder(subject, seed=0).reads(edge.target).events
    words = f"causal invariance: {edge.target} was seen to read {edge.source}"
    return _both(subject, edge, f"{edge} dropped, which others imply", words if seen else "")


def _both(subject: Subject, edge: Edge, name: str, seen: str) -> Control:
    """A mutation that a verdict has to see, and the certificate as well."""
    witness = misses(subject, edge)
    words = f"{seen}; certificate: {witness}" if seen and witness else ""
    return Control(name, bool(words), words)


def _kernels_spoilt(subject: Subject) -> Iterator[Control]:
    kernels, dtype = subject.kernels, subject.model.dtype
    of_lanes = (
        with_neighbour(kernels, dtype),
        with_lane_count(kernels, dtype),
        sampling_for_neighbour(kernels),
    )
    of_reads = [seeing_too_far(kernels), overlooking(kernels)]
    of_all = [*of_lanes[:2], seeing_too_far(kernels)]
    of_all += [spoil(kernels) for spoil in (writing_elsewhere, forgetting, adding_up, remembering)]
    for check, faults in ((_lanes_of_all, of_lanes), (_reads_of_all, of_reads), (_certified, of_all)):
        for faulty in faults:
            yield _spoilt(subject.with_kernels(faulty), check)


def _lanes_of_all(subject: Subject) -> str | None:
    return lane_rule(subject, 2, 0, silent).witness


def _reads_of_all(subject: Subject) -> str | None:
    return causal_invariance(subject, len(subject.graph), 0, silent).witness


def _certified(subject: Subject) -> str | None:
    return run_trials(subject, thorough=True)[0].witness


def _spoilt(faulty: Subject, check: Callable[[Subject], str | None]) -> Control:
    witness = check(faulty)
    return Control(faulty.kernels.name, witness is not None, witness or "")
