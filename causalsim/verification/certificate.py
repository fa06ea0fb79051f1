"""The certificate: that no order changes a bit, by a number of event runs linear in the events.

A *dispatch* takes cells of memory, index arrays (of each row its position and the addresses of what it reads
and writes; for all rows a layer, a window, page tables, the pages to go over), weights, and the draws of
samples. Its executable has a number of rows, some of which may be padding.

**Theorem.** Let G be an event graph, and let every event e have its own cells W(e) of memory, and
R(e), the cells of its direct predecessors. Assume, of every executable and form of dispatch:

1. *Rows*: what a row's event leaves is made of the row's own indices, of cells, and of what all rows share:
   never of another row's indices, nor of its place among the rows.
2. *Addresses*: no value in memory decides where a dispatch reads or writes, what it branches to, how long
   it loops, or what the host does; and what says where a cell lies does nothing else.
3. *Garbage*: in every form of dispatch that carries it, e leaves the same bits in W(e) whatever all cells
   outside R(e) hold.
4. *Frame*: a dispatch changes no cell but those of its events, and scratch, which nobody reads.

and of programs:

5. *Lifetime*: between an event that writes a cell and the last of those that read it from there, no
   other event writes this cell, in any order that respects G; a place of K/V that is given away is poison
   before it serves again, after the last dispatch that needs it; and no other cell is poisoned with it.
6. *Program*: every event runs once, the batches refine the foliation, in forms of 3.
7. *Determinism*: a dispatch on the same memory leaves the same memory.

Then the values of all events are the same bits in every linear extension and every foliation of G.

*Proof.* By induction along a linear extension. When e runs, its direct predecessors have run (6),
each has left in its cells the bits that it leaves in any order (induction), and nothing has
written these cells since (4, 5). So R(e) holds the same in every order, wherever it lies (2). What else
memory holds differs from order to order, but does not enter (2, 3), whichever form carries e. Nor does
what stands beside e enter: other rows' indices by 1, what they write by 3 and 4. With 7, e leaves the
same bits. A foliation runs the events of a slice in some order of dispatches that 6 admits: the same
holds for it. ∎

*What is proved, and what is tried.* 1 and 2 are read off the jaxpr of every executable, with cells, indices
and draws unknown: they hold for all programs. That a backend then treats equal rows of equal programs alike,
and that executables of different sizes agree, is the assumption (*backend*) that the trials of 3 attack,
with events at different places, beside different rows, from every first layer. The pages that an attention
goes over follow from the positions of all its rows; that pages which a row does not see change none of its
bits is tried there, too. 3 and 4 are tested on garbage and not proved for all contents of memory. 5 is shown
of cells for all orders by the graph, and of pages, as 6, for the programs that are named: in those of a
thorough certificate every form of dispatch occurs that the graph's events can have. 7 is an assumption that
was tried. Many orders in one call (``run_orders``) have an executable of their own, which the theorem does
not speak of: a thorough certificate compares its results.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from causalsim.engine import Model, Plan, compile, plan
from causalsim.engine.flags import debugging_off
from causalsim.engine.program import Program
from causalsim.engine.tokens import Texts
from causalsim.errors import InputError
from causalsim.events import EventGraph
from causalsim.foliations import Foliation
from causalsim.kernels import Kernels
from causalsim.progress import Progress, silent
from causalsim.testing.findings import Finding, PlantedFault, Statement, diverging
from causalsim.testing.suite import named_foliations, random_orders
from causalsim.verification.bench import Tally, first_fault, run_trials
from causalsim.verification.covering import Occurrence, covering, occurrences, possible
from causalsim.verification.dataflow import steering
from causalsim.verification.executable_flow import traced, unsound
from causalsim.verification.faults import seeing_too_far, with_neighbour, writing_elsewhere
from causalsim.verification.lifetimes import misplaced_pages, overwritten_early, poisoned_wrong
from causalsim.verification.many_orders import compare_in_one_call
from causalsim.verification.target import Target
from causalsim.verification.trials import Executable, Form, Row

# Graphs of so many events are tried with every place and every kind of garbage.
SMALL = 400
# Of the programs whose dispatches and pages are checked, so many are random.
RANDOM = 4
REPEATS = 3
_ROTATING = "once, places and kinds in rotation, some dispatches with rows to spare"
_ROWS = (
    "jaxprs of {executables} executables, for any indices: a row's results are made of its own, of cells and "
    "of what all rows share"
)
_ADDRESSES = (
    "the same jaxprs: no value decides an address, no address enters a value; the host, running {program}"
)
_LIFETIME = "every cell in all orders, every page of {programs} programs, {poisoned} poisonings as they ran"
_PROGRAM = "{programs} programs as they ran, pages recycled: {names}; {seen} of {possible} forms of dispatch"
_TOGETHER = "; {together:,} orders of the first {positions} positions in one call"
_APART = "; orders in one call not compared, for want of memory"
_IDS = "; samples with ids given, the likeliest and drawn"
_NO_IDS = "; no token is sampled in this graph"
_GARBAGE = "{event_runs:,} event runs in {forms} forms of dispatch"
_KINDS = "NaN, huge, scrambled or mixed around what it reads"
_DETERMINISM = "{repeats} runs beside busy threads; an assumption"
_FRAME = "every cell compared after each of {trials:,} dispatches"
# Positions over which faults are planted.
PLANTED = 2


@debugging_off()
def certify(
    model: Model,
    tokens: Texts,
    *,
    prompt: int | Sequence[int] | None = None,
    thorough: bool | None = None,
    seed: int = 0,
    kernels: Kernels | None = None,
    progress: Progress = silent,
) -> Finding:
    """Check the conditions of the theorem for a model over given texts, without sampling orders.

    Args:
        model: The model.
        tokens: Text or ids, as for ``verify``.
        prompt: The positions from there on wait for their tokens, as for ``verify``.
        thorough: Whether to try every event at the first and the last row of every form of dispatch and
            alone in it, with every kind of garbage, and to compare many orders in one call; else each
            once in a form, in rotation. By default graphs of at most 400 events are tried thoroughly.
        seed: What the random programs are drawn from.
        kernels: Other kernels than the engine's own.
        progress: ``progress(stage, done, total)`` is called as work goes on.

    Returns:
        A finding, whose parts are the conditions of the theorem.

    Raises:
        InputError: For tokens that do not fit the model.
    """
    return certificate_of(Target.of(model, tokens, prompt, kernels), thorough, seed, progress)


def certificate_of(
    target: Target, thorough: bool | None = None, seed: int = 0, progress: Progress = silent
) -> Finding:
    """As ``certify``, of what is verified."""
    if target.graph.granularity != "sublayer":
        raise InputError("a certificate is of a sublayer graph", got=target.graph)
    chosen = len(target.graph) <= SMALL if thorough is None else thorough
    tally, forms = run_trials(target, chosen, progress)
    tried = _Tried.of(target, chosen, seed)
    runs = {"event_runs": tally.event_runs, "forms": len(forms)}
    return Finding(
        name="certificate",
        method="certificate",
        claim="no order changes a bit",
        coverage=Statement.of(
            "every order of {events:,} events, by {event_runs:,} event runs", events=len(target.graph), **runs
        ),
        controls=tuple(_controls(target)),
        parts=(
            *_read_off(target, tried),
            *_seen_in_trials(tally, chosen, tried, **runs),
            *_seen_in_programs(target, tried, forms, seed),
        ),
    )


@dataclass(frozen=True)
class _Tried:
    """The programs that are looked at, by name, and the forms of dispatch that there can be."""

    orders: dict[str, Foliation]
    plans: dict[str, Plan]
    thorough: bool
    covering: int
    possible: Mapping[Occurrence, tuple[Form, tuple[Row, ...]]]

    @classmethod
    def of(cls, target: Target, thorough: bool, seed: int) -> _Tried:
        """Named and random orders, and of a small graph those by which every form of dispatch occurs."""
        graph, buckets = target.graph, target.kernels.buckets
        covers = dict(covering(graph, buckets)) if thorough else {}
        orders = dict(_foliations(target, thorough, seed)) | covers
        plans = {name: plan(compile(foliation), buckets) for name, foliation in orders.items()}
        return cls(orders, plans, thorough, len(covers), possible(graph, buckets))

    @property
    def facts(self) -> dict[str, Any]:
        """Names and counts for what is told."""
        named = [*self.orders][: len(self.orders) - self.covering]
        seen = frozenset().union(*map(occurrences, self.plans.values())) & self.possible.keys()
        return {
            "programs": len(self.orders),
            "names": ", ".join(named) + f" and {self.covering} chosen for their forms" * (self.covering > 0),
            "seen": len(seen),
            "possible": len(self.possible),
        }


def _read_off(target: Target, tried: _Tried) -> Iterator[Finding]:
    """Conditions on the programs of executables; of each that breaks one, the first way in which it does."""
    different = {(form.executable, _several(rows)): form for form, rows in tried.possible.values()}
    found: dict[str, Statement] = {}
    for (_, several), form in different.items():
        for condition, reason in unsound(traced(target, form, several)):
            opaque = "the certificate does not apply: " * ("cannot be looked into" in reason)
            words = f"{opaque}{{form}}: {{reason}}"
            found.setdefault(condition, Statement.of(words, form=form, reason=reason))
    name, foliation = next(iter(tried.orders.items()))
    steered = found.get("addresses") or _steered(target, name, compile(foliation))
    yield _condition("rows", _ROWS, found.get("rows"), executables=len(different))
    yield _condition("addresses", _ADDRESSES, steered, program=name)


def _seen_in_trials(tally: Tally, thorough: bool, tried: _Tried, **facts: int) -> Iterator[Finding]:
    """Conditions on what a dispatch leaves in memory."""
    how = "first, last, in between and alone in a dispatch, with every kind" if thorough else _ROTATING
    ids = _IDS if any(each.kind == "sample" for each in tried.possible) else _NO_IDS
    yield _condition("garbage", f"{_GARBAGE}, each event {how}: {_KINDS}{ids}", tally.wrong, **facts)
    yield _condition("frame", _FRAME, tally.changed, trials=tally.trials)


def _seen_in_programs(
    target: Target, tried: _Tried, forms: frozenset[Executable], seed: int
) -> Iterator[Finding]:
    """Conditions on programs: where cells serve again, and how they ran."""
    poisonings, spoilt = poisoned_wrong(target, seed)
    shared = _shared(target, tried.plans) or spoilt
    yield _condition("lifetime", _LIFETIME, shared, poisoned=poisonings, programs=len(tried.orders))
    yield _program(target, tried, forms, seed)
    yield _condition("determinism", _DETERMINISM, _unsteady(target), repeats=REPEATS)


def _program(target: Target, tried: _Tried, forms: frozenset[Executable], seed: int) -> Finding:
    """Programs one by one, and many orders in one call."""
    unfaithful = _unfaithful(target, tried, forms)
    if not tried.thorough:
        return _condition("program", _PROGRAM, unfaithful, **tried.facts)
    together, positions, other = compare_in_one_call(target, seed)
    facts = tried.facts | {"together": together, "positions": positions}
    told = _TOGETHER if positions else _APART
    return _condition("program", _PROGRAM + told, unfaithful or other, **facts)


def _condition(name: str, template: str, witness: Statement | None, **facts: Any) -> Finding:
    """One assumption of the theorem: what was tried for it, and what refuted it if anything did."""
    return Finding(name=name, coverage=Statement(template, facts), witness=witness)


def _controls(target: Target) -> Iterator[PlantedFault]:
    """Kernels that a certificate must refuse, over the beginning of the text."""
    # A text of one position is read twice: nothing stands beside a single row.
    ids, kernels = np.resize(target.ids[0], PLANTED), target.kernels
    alone = replace(target, graph=EventGraph(target.graph.wiring, PLANTED), ids=(ids,))
    planted = {
        "mlp": with_neighbour(kernels, target.model.dtype),
        "attn": seeing_too_far(kernels),
        "unembed": writing_elsewhere(kernels),
    }
    for kind, faulty in planted.items():
        seen = first_fault(alone.with_kernels(faulty), kind)
        yield PlantedFault(f"certificate of {faulty.name}", {"certificate": seen})


def _foliations(target: Target, thorough: bool, seed: int) -> Iterator[tuple[str, Foliation]]:
    """Orders whose programs are looked at; of a large graph two, since each takes as long as a run."""
    named = named_foliations(target.graph).items()
    yield from named if thorough else islice(named, 1)
    yield from random_orders(target.graph, RANDOM if thorough else 1, seed)


def _several(rows: Sequence[Row]) -> bool:
    return len({request for _, request in rows}) > 1


def _steered(target: Target, name: str, program: Program) -> Statement | None:
    """The way in which a value in memory decides what the host does, if one does."""
    plain = target.with_kernels(replace(target.kernels, compiler_options=()))
    state = target.fresh()

    def run(cells: dict[str, Any]) -> Any:
        return plain.execute(program, replace(state, **cells), keep=False)[0].cells()

    fault = next(steering(run, state.cells()), None)
    return Statement.of("{program}: {fault}", program=name, fault=fault) if fault else None


def _shared(target: Target, plans: dict[str, Plan]) -> Statement | None:
    found = overwritten_early(target.graph, target.fresh())
    pages = (
        Statement.of("{program}: {fault}", program=name, fault=fault)
        for name, made in plans.items()
        for fault in misplaced_pages(made)
    )
    return next(found, None) or next(pages, None)


def _unfaithful(target: Target, tried: _Tried, forms: frozenset[Executable]) -> Statement | None:
    for name, foliation in tried.orders.items():
        if new := tried.plans[name].executables - forms:
            words = "{order} takes a dispatch that was not tried: {executable}"
            return Statement.of(words, order=name, executable=min(new))
        if found := target.refuted(name, foliation):
            return found
    return target.left_unrecorded(compile(next(iter(tried.orders.values()))))


def _unsteady(target: Target) -> Statement | None:
    with _busy_threads():
        runs = (target.values(target.program) for _ in range(REPEATS))
        words = "the same program diverges at {divergence}"
        return next((found for values in runs if (found := diverging(target.reference, values, words))), None)


@contextmanager
def _busy_threads(count: int = 2) -> Iterator[None]:
    """Threads that keep processors busy while something runs beside them."""
    done, load = threading.Event(), np.ones((64, 64))

    def work() -> None:
        while not done.is_set():
            load @ load

    threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()
