"""Mutation: every edge dropped in turn, every kind of kernel fault planted, and which checks see it.

A dropped edge that no longer path implies lets two events change places: the order verdict must
see that. One that is implied changes no order: it must be missed where reads are recorded. The
certificate must refuse both, and every kernel by which an order could matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from math import sqrt
from typing import NamedTuple

import numpy as np

from causalsim.arguments import check_limit
from causalsim.engine import Model, Values, compile, execute, plan
from causalsim.engine.flags import debugging_off
from causalsim.engine.tokens import Texts
from causalsim.errors import InputError
from causalsim.events import Edge, Site
from causalsim.foliations import token_major
from causalsim.kernels import Kernels
from causalsim.progress import Progress, silent
from causalsim.testing.bits import same_bits
from causalsim.testing.findings import PlantedFault, Statement, diverging
from causalsim.verification import faults
from causalsim.verification.batch_invariance import batch_fault, bench_of
from causalsim.verification.bench import first_fault, misses
from causalsim.verification.causal_invariance import misread
from causalsim.verification.lifetimes import misplaced_pages
from causalsim.verification.reads import Recorder
from causalsim.verification.score import Score
from causalsim.verification.target import Target

MOST_EDGES = 1000
# A dispatch that goes wrong now and then does so with this chance, and is repeated so often to be found.
CHANCE, REPEATS, TRIES = 0.2, 5, 60
# How far a count may be from what is expected of it, in standard deviations.
DEVIATIONS = 3

# What says that it saw a fault, if it did.
Look = Callable[[], Statement | None]


@debugging_off()
def mutate(
    model: Model,
    tokens: Texts,
    *,
    prompt: int | Sequence[int] | None = None,
    kernels: Kernels | None = None,
    progress: Progress = silent,
) -> Score:
    """Drop every edge of a small graph and plant every kind of fault, one at a time.

    Args:
        model: The model.
        tokens: Text or ids, as for ``verify``, of two positions at least.
        prompt: The positions from there on wait for their tokens, as for ``verify``.
        kernels: Other kernels than the engine's own.
        progress: ``progress(stage, done, total)`` is called as work goes on.

    Returns:
        Every planted fault, with what each check saw of it.

    Raises:
        InputError: For tokens that do not fit the model.
        LimitError: For a graph of more than a thousand edges.
    """
    return score_of(Target.of(model, tokens, prompt, kernels), progress)


def score_of(target: Target, progress: Progress = silent) -> Score:
    """As ``mutate``, of what is verified."""
    if min(target.graph.lengths) < 2:
        raise InputError("some faults show only beside a neighbour", got="a text of one position")
    check_limit("every edge is dropped in turn", target.graph.count_edges(), MOST_EDGES)
    found, planted = list[PlantedFault](), list(_planted(target))
    for mutation in planted:
        found.append(mutation.looked_for())
        progress("mutations", len(found), len(planted))
    return Score(tuple(found))


class Mutation(NamedTuple):
    """A fault of some kind, and how each check looks for it that has to see it."""

    kind: str
    name: str
    looks: Mapping[str, Look]

    def looked_for(self) -> PlantedFault:
        """The fault with what every check saw of it."""
        return PlantedFault(self.name, {check: look() for check, look in self.looks.items()}, self.kind)


def _planted(target: Target) -> Iterator[Mutation]:
    yield from edges_dropped(target)
    yield from kernels_spoilt(target)
    yield from pages_freed(target)
    yield goes_wrong_by_chance(target)


# -- edges -----------------------------------------------------------------------------------------


def edges_dropped(target: Target) -> Iterator[Mutation]:
    """Every edge of a graph as if nobody had declared it."""
    covers, reads = set(target.graph.covers()), cache(Recorder(target, seed=0).reads)

    def order(edge: Edge) -> Statement | None:
        return _diverges(target, target.values(faults.one_edge_inverted(target.graph, edge)))

    def recorded(edge: Edge) -> Statement | None:
        seen = edge.source in reads(edge.target).events
        words = "{event} was seen to read {edge.source}"
        return Statement.of(words, event=edge.target, edge=edge) if seen else None

    for edge in target.graph.edges():
        looks: dict[str, Look] = {ORDERS: partial(misses, target, edge)}
        if edge in covers:
            yield Mutation("a cover dropped", f"{edge} dropped", {"order": partial(order, edge), **looks})
        else:
            own = {READS: partial(recorded, edge)}
            yield Mutation("an edge dropped that others imply", f"{edge} dropped", {**own, **looks})


def _diverges(target: Target, values: Values) -> Statement | None:
    return diverging(target.reference, values, "diverges at {divergence}")


# -- kernels ---------------------------------------------------------------------------------------


class KernelFault(NamedTuple):
    """A thing that a kernel must not do, the kind of event whose kernel it is, and who must see it.

    With fewer batch sizes than it ``needs`` it does nothing wrong.
    """

    kind: str
    place: str
    spoil: Callable[[Kernels, str], Kernels]
    checks: tuple[str, ...]
    needs: int = 1


def _any_type(spoil: Callable[[Kernels], Kernels]) -> Callable[[Kernels, str], Kernels]:
    return lambda kernels, dtype: spoil(kernels)


def _misread(target: Target, kind: str) -> Statement | None:
    events = [event for event in target.graph if event.kind == kind]
    return misread(Recorder(target, seed=0), events)


CHECKS: Mapping[str, Callable[[Target, str], Statement | None]] = {
    "causal invariance": _misread,
    "batch invariance": batch_fault,
    "certificate": first_fault,
}
# Reads are recorded one cell at a time; rows are a matter of batches; the certificate is about orders.
READS, ROWS, ORDERS = CHECKS

KERNEL_FAULTS = (
    KernelFault("reads the future", "attn", _any_type(faults.seeing_too_far), (READS, ORDERS)),
    KernelFault("reads what no edge leads to", "unembed", _any_type(faults.remembering), (READS, ORDERS)),
    KernelFault("reads less than is declared", "attn", _any_type(faults.overlooking), (READS,)),
    KernelFault("reads a neighbour", "mlp", faults.with_neighbour, (ROWS, ORDERS)),
    KernelFault("reads a neighbour", "sample", _any_type(faults.sampling_for_neighbour), (ROWS,)),
    KernelFault("depends on the batch size", "mlp", faults.with_batch_size, (ROWS, ORDERS), needs=2),
    KernelFault("depends on the extent of K/V", "attn", faults.with_window, (ROWS, ORDERS)),
    KernelFault("depends on the extent of K/V", "attn", faults.with_buffer, (ROWS,)),
    KernelFault("writes another cell", "unembed", _any_type(faults.writing_elsewhere), (ORDERS,)),
    KernelFault("counts what has been written", "unembed", _any_type(faults.counting), (ORDERS,)),
    KernelFault("forgets to write", "unembed", _any_type(faults.forgetting), (ORDERS,)),
    KernelFault("writes twice", "unembed", _any_type(faults.adding_up), (ORDERS,)),
)


def kernels_spoilt(target: Target) -> Iterator[Mutation]:
    """Every kernel fault that can do harm in batches of these sizes."""
    batch_sizes = len(target.kernels.buckets.up_to(min(target.graph.lengths)))
    for fault in KERNEL_FAULTS:
        if batch_sizes < fault.needs:
            continue
        faulty = target.with_kernels(fault.spoil(target.kernels, target.model.dtype))
        looks = {check: partial(CHECKS[check], faulty, fault.place) for check in fault.checks}
        yield Mutation(f"a kernel that {fault.kind}", faulty.kernels.name, looks)


# -- pages -----------------------------------------------------------------------------------------


def pages_freed(target: Target) -> Iterator[Mutation]:
    """A page that is poison again before its last reader: refused by the plan, and seen in the values."""
    made = plan(compile(token_major(target.graph)), target.kernels.buckets, recycle=False)
    spoilt = faults.freed_early(made)
    if spoilt is None:
        return

    def order() -> Statement | None:
        _, outputs = execute(spoilt, target.fresh(), target.computation)
        return _diverges(target, Values.from_outputs(target.model.config, target.graph, outputs))

    def refused() -> Statement | None:
        return next(misplaced_pages(spoilt), None)

    name = "a page of K/V given away before its last reader"
    yield Mutation("frees too early", name, {ORDERS: refused, "order": order})


# -- chance ----------------------------------------------------------------------------------------


def goes_wrong_by_chance(target: Target) -> Mutation:
    """A dispatch repeated r times is found with 1 - (1 - q)^r: over many tries, no less and no more."""

    def faulty() -> Target:
        return target.with_kernels(faults.now_and_then(target.kernels, CHANCE))

    def repeated() -> Statement | None:
        found, share = found_by_repeating(target, faulty()), 1 - (1 - CHANCE) ** REPEATS
        apart = abs(found - TRIES * share) / sqrt(TRIES * share * (1 - share))
        words = "found in {found} of {tries} tries of r = {repeats} dispatches; 1 - (1 - q)^r is {share:.0%}"
        told = Statement.of(words, found=found, tries=TRIES, repeats=REPEATS, share=share)
        return told if apart <= DEVIATIONS else None

    name = f"an MLP that goes wrong with a chance of q = {CHANCE:g}"
    looks = {"repetition": repeated, ORDERS: lambda: first_fault(faulty(), "mlp")}
    return Mutation("goes wrong by chance", name, looks)


def found_by_repeating(sound: Target, faulty: Target) -> int:
    """In how many tries some dispatch gave other bits than a sound one."""
    bench = bench_of(sound.beginning(2), Site("mlp", 0))
    one, clean, again = np.zeros(1, int), np.zeros(1, bool), replace(bench, target=faulty)
    expected = bench.run(one, clean)
    tries = ([same_bits(expected, again.run(one, clean)) for _ in range(REPEATS)] for _ in range(TRIES))
    return sum(not all(dispatches) for dispatches in tries)
