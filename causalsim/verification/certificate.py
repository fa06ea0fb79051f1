"""The certificate: that no order changes a bit, by a number of event runs linear in the events.

**Theorem.** Let G be an event graph, and let every event e have its own cells W(e) of memory, and
R(e), the cells of its direct predecessors. Assume:

1. *Reads*: no value in memory decides where a dispatch reads or writes, what it branches to, how long
   it loops, or what the host does.
2. *Fills*: in every form of dispatch that carries it, e leaves the same bits in W(e) whatever all cells
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

What is checked, and how, is what each condition says of itself. 2 and 3 are tested on litter and
not proved for all contents of memory; 1 closes that gap only as far as addresses and branches go.
6 is an assumption that was tried.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from causalsim.engine import Model, compile, execute
from causalsim.engine.program import Program
from causalsim.engine.tokens import Texts
from causalsim.errors import InputError
from causalsim.events import EventGraph
from causalsim.foliations import Foliation
from causalsim.kernels import Kernels
from causalsim.progress import Progress, silent
from causalsim.verification.bench import first_fault, run_trials
from causalsim.testing.bits import divergence
from causalsim.verification.dataflow import steering
from causalsim.verification.faults import seeing_too_far, with_neighbour, writing_elsewhere
from causalsim.verification.lifetimes import misplaced_pages, overwritten_early
from causalsim.verification.report import Control
from causalsim.testing.suite import named_foliations, random_orders
from causalsim.verification.target import Target
from causalsim.verification.trials import Executable, executables

if TYPE_CHECKING:
    from rich.console import RenderableType

# Graphs of so many events are tried with every place and every fill.
SMALL = 400
# Of the programs whose dispatches and pages are checked, so many are random.
RANDOM = 4
REPEATS = 3
_ROTATING = "once, places and fills in rotation, some dispatches with rows to spare"
# Positions over which faults are planted.
PLANTED = 2


@dataclass(frozen=True)
class Condition:
    """One assumption of the theorem: what was tried for it, and what refuted it if anything did."""

    name: str
    coverage: str
    witness: str | None = None

    @property
    def holds(self) -> bool:
        return self.witness is None


@dataclass(frozen=True)
class Certificate:
    """The conditions from which it follows that no order of a graph's events changes a bit."""

    events: int
    event_runs: int
    conditions: tuple[Condition, ...]
    controls: tuple[Control, ...]

    @property
    def holds(self) -> bool:
        """Whether all conditions do, and the faults that were planted on purpose were seen."""
        return self.witness is None and all(control.caught for control in self.controls)

    @property
    def witness(self) -> str | None:
        """What refuted the first condition that fails."""
        return next((f"{each.name}: {each.witness}" for each in self.conditions if not each.holds), None)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        conditions = [{"holds": each.holds, **asdict(each)} for each in self.conditions]
        return {"holds": self.holds, **asdict(self), "conditions": conditions}

    def to_json(self) -> str:
        """The whole certificate as a JSON object."""
        return json.dumps(self.to_dict(), indent=2)

    def __str__(self) -> str:
        return f"every order, by a certificate of {self.event_runs:,} event runs"

    def __rich__(self) -> RenderableType:
        from rich.table import Table
        from rich.text import Text

        table = Table(show_lines=True)
        for heading in ("condition", "what was tried"):
            table.add_column(heading, vertical="top")
        for each in self.conditions:
            style, word = ("bold green", "holds") if each.holds else ("bold red", "FAILS")
            words = each.coverage if each.holds else f"{each.coverage}\n{each.witness}"
            table.add_row(Text.assemble(each.name, "\n", (word, style)), Text(words))
        return table


def certify(
    model: Model,
    tokens: Texts,
    *,
    prompt: int | Sequence[int] | None = None,
    thorough: bool | None = None,
    seed: int = 0,
    kernels: Kernels | None = None,
    progress: Progress = silent,
) -> Certificate:
    """Check the conditions of the theorem for a model over given texts, without sampling orders.

    Arguments are as for ``verify``. ``thorough`` tries every event at the first and the last row
    of every form of dispatch and alone in it, with every fill; else each once in a form, in rotation,
    on the memory of a text of this length. By default graphs of at most 400 events are tried
    thoroughly. Raises ``InputError`` for tokens that do not fit the model.
    """
    return certificate_of(Target.of(model, tokens, prompt, kernels), thorough, seed, progress)


def certificate_of(
    target: Target, thorough: bool | None = None, seed: int = 0, progress: Progress = silent
) -> Certificate:
    """As ``certify``, of what is verified."""
    if target.graph.granularity != "sublayer":
        raise InputError("a certificate is of a sublayer graph", got=target.graph)
    chosen = len(target.graph) <= SMALL if thorough is None else thorough
    tally, forms = run_trials(target, chosen, progress)
    orders = dict(_foliations(target, chosen, seed))
    programs = {name: compile(foliation) for name, foliation in orders.items()}
    many = f"{len(programs)} programs ({', '.join(programs)})"
    how = "first, last and alone in a dispatch, with every fill" if chosen else _ROTATING
    litter = "NaN, huge, scrambled or mixed around what it reads"
    runs = f"{tally.event_runs:,} event runs in {len(forms)} forms of dispatch"
    conditions = (
        Condition("reads", f"the values of cells followed through {many}", _steered(target, programs)),
        Condition("fills", f"{runs}, each event {how}: {litter}", tally.wrong),
        Condition("frame", f"every cell compared after each of {tally.trials:,} dispatches", tally.changed),
        Condition("lifetime", "every cell, and every page of these programs", _shared(target, programs)),
        Condition("program", "these programs, as they ran", _unfaithful(target, orders, forms)),
        Condition("determinism", f"{REPEATS} runs beside busy threads; an assumption", _unsteady(target)),
    )
    return Certificate(len(target.graph), tally.event_runs, conditions, tuple(_controls(target)))


def _controls(target: Target) -> Iterator[Control]:
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
        witness = first_fault(alone.with_kernels(faulty), kind)
        yield Control(f"certificate of {faulty.name}", witness is not None, witness or "")


def _foliations(target: Target, thorough: bool, seed: int) -> Iterator[tuple[str, Foliation]]:
    """Orders whose programs are looked at; of a large graph two, since each takes as long as a run."""
    named = named_foliations(target.graph).items()
    yield from named if thorough else islice(named, 1)
    yield from random_orders(target.graph, RANDOM if thorough else 1, seed)


def _steered(target: Target, programs: dict[str, Program]) -> str | None:
    """Whether a value in memory decides what a program does; options of a compiler play no part in it."""
    kernels = replace(target.kernels, compiler_options=())
    state = target.fresh()
    for name, program in programs.items():

        def run(cells: dict[str, Any], program: Program = program) -> Any:
            return execute(program, replace(state, **cells), kernels, keep=False)[0].cells()

        if fault := next(steering(run, state.cells()), None):
            return f"{name}: {fault}"
    return None


def _shared(target: Target, programs: dict[str, Program]) -> str | None:
    state = target.fresh()
    found = overwritten_early(target.graph, state)
    pages = (
        f"{name}: {fault}"
        for name, program in programs.items()
        for fault in misplaced_pages(program, state, target.kernels.buckets)
    )
    return next(found, None) or next(pages, None)


def _unfaithful(target: Target, orders: dict[str, Foliation], forms: frozenset[Executable]) -> str | None:
    for name, foliation in orders.items():
        values, executed = target.run(compile(foliation))
        if not executed.refines(foliation):
            return f"{name} ran in another order than asked for"
        if new := set(executables(compile(foliation), target.kernels.buckets)) - forms:
            return f"{name} takes a dispatch that was not tried: {min(new)}"
        if found := divergence(target.reference, values):
            return f"{name} diverges at {found}"
    return None


def _unsteady(target: Target) -> str | None:
    with _busy_threads():
        for _ in range(REPEATS):
            if found := divergence(target.reference, target.values(target.program)):
                return f"the same program diverges at {found}"
    return None


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
