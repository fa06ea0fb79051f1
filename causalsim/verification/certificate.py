"""The certificate: that no order changes a bit, by a number of event runs linear in the events.

**Theorem.** Let G be an event graph, and let every event e have its own cells W(e) of memory, and
R(e), the cells of its direct predecessors. Assume:

1. *Reads*: no value in memory decides where a dispatch reads or writes, what it branches to, how long
   it loops, or what the host does.
2. *Garbage*: in every form of dispatch that carries it, e leaves the same bits in W(e) whatever all cells
   outside R(e) hold.
3. *Frame*: a dispatch changes no cell but those of its events, and scratch, which nobody reads.
4. *Lifetime*: between an event that writes a cell and the last of those that read it from there, no
   other event writes this cell, in any order that respects G; and a place of K/V that is given
   away is poison before it serves again, after the last dispatch that needs it.
5. *Program*: every event runs once, the batches refine the foliation, in forms of 2.
6. *Determinism*: a dispatch on the same memory leaves the same memory.

Then the values of all events are the same bits in every linear extension and every foliation of G.

*Proof.* By induction along a linear extension. When e runs, its direct predecessors have run (5),
each has left in its cells the bits that it leaves in any order (induction), and nothing has
written these cells since (3, 4). So R(e) holds the same in every order. What else memory holds
differs from order to order, but does not enter (1, 2), whichever form carries e. With 6, e leaves
the same bits. A foliation runs the events of a slice in some order of dispatches that 5 admits: the
same holds for it. ∎

What is checked, and how, is what each condition says of itself. 2 and 3 are tested on garbage and
not proved for all contents of memory; 1 closes that gap only as far as addresses and branches go.
6 is an assumption that was tried.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np

from causalsim.engine import Model, compile, plan
from causalsim.engine.program import Program
from causalsim.engine.tokens import Texts
from causalsim.errors import InputError
from causalsim.events import EventGraph
from causalsim.foliations import Foliation
from causalsim.kernels import Kernels
from causalsim.progress import Progress, silent
from causalsim.testing.findings import Finding, PlantedFault, Statement, diverging
from causalsim.testing.suite import named_foliations, random_orders
from causalsim.verification.bench import first_fault, run_trials
from causalsim.verification.dataflow import steering
from causalsim.verification.faults import seeing_too_far, with_neighbour, writing_elsewhere
from causalsim.verification.lifetimes import misplaced_pages, overwritten_early
from causalsim.verification.target import Target
from causalsim.verification.trials import Executable

# Graphs of so many events are tried with every place and every kind of garbage.
SMALL = 400
# Of the programs whose dispatches and pages are checked, so many are random.
RANDOM = 4
REPEATS = 3
_ROTATING = "once, places and kinds in rotation, some dispatches with rows to spare"
_READS = "the values of cells followed through {programs} programs ({names})"
_GARBAGE = "{event_runs:,} event runs in {forms} forms of dispatch"
_KINDS = "NaN, huge, scrambled or mixed around what it reads"
_DETERMINISM = "{repeats} runs beside busy threads; an assumption"
_FRAME = "every cell compared after each of {trials:,} dispatches"
# Positions over which faults are planted.
PLANTED = 2


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
            alone in it, with every kind of garbage; else each once in a form, in rotation. By default
            graphs of at most 400 events are tried thoroughly.
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
    orders = dict(_foliations(target, chosen, seed))
    programs = {name: compile(foliation) for name, foliation in orders.items()}
    how = "first, last and alone in a dispatch, with every kind" if chosen else _ROTATING
    runs = {"event_runs": tally.event_runs, "forms": len(forms)}
    many = {"programs": len(programs), "names": ", ".join(programs)}
    conditions = (
        _condition("reads", _READS, _steered(target, programs), **many),
        _condition("garbage", f"{_GARBAGE}, each event {how}: {_KINDS}", tally.wrong, **runs),
        _condition("frame", _FRAME, tally.changed, trials=tally.trials),
        _condition("lifetime", "every cell, and every page of these programs", _shared(target, programs)),
        _condition("program", "these programs, as they ran", _unfaithful(target, orders, forms)),
        _condition("determinism", _DETERMINISM, _unsteady(target), repeats=REPEATS),
    )
    return Finding(
        name="certificate",
        method="certificate",
        claim="no order changes a bit",
        coverage=Statement.of(
            "every order of {events:,} events, by {event_runs:,} event runs", events=len(target.graph), **runs
        ),
        controls=tuple(_controls(target)),
        parts=conditions,
    )


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


def _steered(target: Target, programs: dict[str, Program]) -> Statement | None:
    """The way in which a value in memory decides what a program does, if one does."""
    plain = target.with_kernels(replace(target.kernels, compiler_options=()))
    state = target.fresh()
    for name, program in programs.items():

        def run(cells: dict[str, Any], program: Program = program) -> Any:
            return plain.execute(program, replace(state, **cells), keep=False)[0].cells()

        if fault := next(steering(run, state.cells()), None):
            return Statement.of("{program}: {fault}", program=name, fault=fault)
    return None


def _shared(target: Target, programs: dict[str, Program]) -> Statement | None:
    state = target.fresh()
    found = overwritten_early(target.graph, state)
    pages = (
        Statement.of("{program}: {fault}", program=name, fault=fault)
        for name, program in programs.items()
        for fault in misplaced_pages(plan(program, target.kernels.buckets))
    )
    return next(found, None) or next(pages, None)


def _unfaithful(
    target: Target, orders: dict[str, Foliation], forms: frozenset[Executable]
) -> Statement | None:
    for name, foliation in orders.items():
        if new := plan(compile(foliation), target.kernels.buckets, recycle=False).executables - forms:
            words = "{order} takes a dispatch that was not tried: {executable}"
            return Statement.of(words, order=name, executable=min(new))
        if found := target.refuted(name, foliation):
            return found
    return None


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
