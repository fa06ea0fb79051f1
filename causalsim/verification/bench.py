"""The bench for trials: memory with garbage around what an event reads, and what a dispatch makes of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from itertools import chain, compress, groupby, islice
from operator import attrgetter
from typing import Any, NamedTuple

import jax
import numpy as np

from causalsim.engine import Output, Program, State, Values, compile, run_dispatch
from causalsim.engine.cells import Cell, cells_written
from causalsim.engine.executables import body_of
from causalsim.engine.executor import with_cells
from causalsim.engine.joining import Group, deepest
from causalsim.engine.program import Batch
from causalsim.events import KINDS, Edge, Event, EventGraph, Site
from causalsim.foliations import layer_major
from causalsim.progress import Progress, silent
from causalsim.testing.findings import Statement, diverging
from causalsim.verification.memory import (
    FREE,
    GARBAGE,
    KEPT,
    OWN,
    WRITTEN,
    Contents,
    Marks,
    Plan,
    divergences,
    with_garbage,
)
from causalsim.verification.target import TEMPERATURES, Target
from causalsim.verification.trials import Executable, Form, Row, Trial, everywhere, forms, in_rotation

# The arrays of memory that an executable of each body gets.
_TOUCHED = {
    "embed": ("tokens", "residual"),
    "kv": ("residual", "kv"),
    "attend": ("residual", "kv"),
    "add": ("residual",),
    "layers": ("residual", "kv"),
    "unembed": ("residual", "logits"),
    "sample": ("tokens", "logits"),
}
# The events of a row, by canonical index.
Column = tuple[int, ...]
NOBODY = -1
# Memories that are made and compared together, and batches that run before the first is told.
BATCH = 8
AHEAD = 2


@dataclass
class Tally:
    """The number of event runs compared, and the first trial that left other bits or changed a cell."""

    event_runs: int = 0
    trials: int = 0
    wrong: Statement | None = None
    changed: Statement | None = None

    def note(self, trial: Trial, diverged: int) -> None:
        """Count a trial, and say of the first that diverges how."""
        self.trials += 1
        self.event_runs += len(trial.tested) * len(trial.form.sites)
        if diverged & WRITTEN and self.wrong is None:
            self.wrong = Statement.of("other bits of {trial}", trial=trial, event=trial.event)
        if diverged & KEPT and self.changed is None:
            words = "a cell of somebody else changed by {trial}"
            self.changed = Statement.of(words, trial=trial, event=trial.event)

    @property
    def witness(self) -> Statement | None:
        return self.wrong or self.changed


class _Memory(NamedTuple):
    """The residuals before each site of the column, the end, and what was executed."""

    before: dict[Site, Any]
    end: State
    outputs: list[Output]


class Bench:
    """Memory as a run leaves it before and after each site, and planners of the dispatches to run on it.

    An edge that is ``dropped`` is one that nobody declared: its cell then holds garbage, too.
    """

    def __init__(self, target: Target, dropped: Edge | None = None) -> None:
        self.target, self.graph, self.dropped = target, target.graph, dropped
        self.vocabulary = target.model.config.vocab_size
        # A pool serves every ``depth``-th layer: only those of one dispatch are ever in use.
        self.depth = deepest(target.model.config.n_layers)
        self.state = target.fresh(self.depth)
        self.plan = Plan.of(self.state)
        self.planner, self.contents = cache(partial(target.planner, self.state)), cache(self._contents)
        self.cells, self.reads, self.column = cache(self._cells), cache(self._reads), cache(self._column)
        self.roles = np.full(self.plan.starts["all"], KEPT, np.int8)
        self.roles[self.plan.scratch] = FREE
        self.rng = np.random.default_rng(0)

    @cached_property
    def memory(self) -> _Memory:
        """The memory that a run of the whole column leaves, before each of its sites and in the end."""
        plain, before, outputs = self._without_feedback, dict[Site, Any](), list[Output]()
        state = plain.fresh()
        for batch in compile(layer_major(plain.graph)).batches:
            before.setdefault(batch.site, state.residual.copy())
            state, made = plain.execute(Program(plain.graph, (batch,)), state)
            outputs += made
        return _Memory(before, state, outputs)

    @cached_property
    def _without_feedback(self) -> Target:
        """The target with all tokens given."""
        return replace(self.target, graph=EventGraph(self.graph.wiring, self.graph.lengths))

    @cached_property
    def divergence(self) -> Statement | None:
        """The first event whose value in memory is not the reference's."""
        graph, outputs = self._without_feedback.graph, self.memory.outputs
        values = Values.from_outputs(self.target.model.config, graph, outputs)
        # Nobody else asks for them, and they are all logits.
        outputs.clear()
        reference = {event: self.target.reference[event] for event in graph}
        return diverging(reference, values, "{divergence}")

    def run(self, trials: Iterable[Trial], tally: Tally) -> Tally:
        """Run some trials and note the first that fails."""
        for trial, diverged in self.outcomes(trials):
            tally.note(trial, diverged)
        return tally

    def outcomes(self, trials: Iterable[Trial]) -> Iterator[tuple[Trial, int]]:
        """Yield the outcome of each trial, as marks: ``WRITTEN`` for other bits, ``KEPT`` for a changed cell.

        Some run before the first is told: to wait for each would take longer than to run it.
        """
        waiting = deque[tuple[tuple[Trial, ...], Any]]()
        for _, alike in groupby(trials, key=attrgetter("form")):
            while batch := tuple(islice(alike, BATCH)):
                waiting.append((batch, self._run(batch)))
                if len(waiting) > AHEAD:
                    yield from _told(*waiting.popleft())
        for each in waiting:
            yield from _told(*each)

    def _run(self, trials: Sequence[Trial]) -> Any:
        """Some trials in one form; the marks lie on the device until someone asks."""
        form = trials[0].form
        before, expected = self.contents(form)
        # Of few numbers of memories, so that executables serve again.
        size = 1 << (len(trials) - 1).bit_length()
        marks = [self._marks(trial) for trial in trials]
        marks += marks[-1:] * (size - len(marks))
        garbage, roles = (self.plan.spread(np.stack(each), before) for each in zip(*marks, strict=True))
        memories = with_garbage(self.vocabulary, before, garbage)
        dispatches = self.planner(form.rows).dispatches([*map(self._group, trials)])
        after = []
        for memory, dispatch in zip(memories, dispatches, strict=False):
            state, _ = run_dispatch(dispatch, self._state(memory), self.target.computation, keep=False)
            after.append(self._arrays(state, form))
        after += after[-1:] * (size - len(after))
        return divergences(self.vocabulary, before, expected, garbage, roles, after)

    def _marks(self, trial: Trial) -> tuple[Marks, Marks]:
        """Marks for what each cell holds before a trial, and for what must become of it."""
        sites = trial.form.sites
        events = [self.column(sites, row) for row in trial.rows]
        needed, sure = self._closure(events, trial)
        garbage, roles = self.plan.garbage(trial.garbage, self.rng), self.roles.copy()
        garbage[needed] = OWN
        roles[self._written(chain.from_iterable(events))] = FREE
        roles[self._written(sure)] = WRITTEN
        return garbage, roles

    def _cells(self, index: int) -> list[int]:
        """The cells that an event writes; K/V in the pool that its layer has here."""
        written = cells_written(self.state, self.graph[index])
        return [self.plan.number(self._in_pool(cell)) for cell in written]

    def _in_pool(self, cell: Cell) -> Cell:
        if cell.array != "kv":
            return cell
        layer, *place = cell.place
        return Cell("kv", (layer % self.depth, *place))

    def _group(self, trial: Trial) -> Group:
        positions, requests = np.array(trial.rows, np.int32).T
        # Which events they are plays no part in how a dispatch runs.
        return tuple(Batch(site, requests, positions) for site in trial.form.sites)

    def _column(self, sites: tuple[Site, ...], row: Row) -> Column:
        return tuple(self.graph.index(Event(*site, *row)) for site in sites)

    def _closure(self, events: Sequence[Column], trial: Trial) -> tuple[list[int], set[int]]:
        """Return the cells that the tested events need, and the events whose results are then as expected.

        What another row of the dispatch makes for them needs its own predecessors.
        """
        made = frozenset(chain.from_iterable(events))
        tested = [row in trial.tested for row in trial.rows]
        waiting = [event for column in compress(events, tested) for event in column]
        sure, needed = set(waiting), list[int]()
        while waiting:
            reads = self.reads(waiting.pop())
            inside = made & reads.keys()
            needed += chain.from_iterable(cells for source, cells in reads.items() if source not in inside)
            waiting += inside - sure
            sure |= inside
        return needed, sure

    def _written(self, events: Iterable[int]) -> list[int]:
        return list(chain.from_iterable(map(self.cells, events)))

    def _reads(self, index: int) -> dict[int, list[int]]:
        """The direct predecessors of an event and their cells; a token that is given has no event."""
        event = self.graph[index]
        sources = self.graph.predecessor_indices(event)
        if self.dropped and self.dropped.target == event:
            without = self.graph.index(self.dropped.source)
            sources = tuple(source for source in sources if source != without)
        elif event.kind == "embed":
            token = int(self.state.layout.first_tokens()[event.request]) + event.position
            return {NOBODY: [self.plan.number(Cell("tokens", (token,)))]}
        return {source: self.cells(source) for source in sources}

    # -- what lies in memory -----------------------------------------------------------------------

    def _contents(self, form: Form) -> tuple[Contents, Contents]:
        """The contents that a run leaves in the arrays that a form gets, before and after it."""
        residuals, end, _ = self.memory
        sites = list(residuals)
        following = sites.index(form.sites[-1]) + 1 if form.kind != "sample" else len(sites)
        before = residuals.get(form.site, end.residual)
        after = residuals[sites[following]] if following < len(sites) else end.residual
        rest = self._arrays(end, form, first=max(form.site.layer, 0))
        return (
            {name: before if name == "residual" else part for name, part in rest.items()},
            {name: after if name == "residual" else part for name, part in rest.items()},
        )

    def _arrays(self, state: State, form: Form, first: int | None = None) -> Contents:
        """The arrays of a state that a form gets, K/V by pool; of a whole state, those of its layers."""
        touched = _TOUCHED[body_of(form.kind)]
        found: Contents = {name: getattr(state, name) for name in touched if name != "kv"}
        for more in range(max(form.layers, 1)) if "kv" in touched else ():
            layer = form.site.layer + more
            pool = layer % self.depth
            place = pool if first is None else layer
            found |= {f"keys {pool}": state.keys[place], f"values {pool}": state.values[place]}
        return found

    def _state(self, contents: Contents) -> State:
        """A state with these arrays; of the rest a dispatch sees nothing."""
        held: dict[str, Any] = {"keys": list(self.state.keys), "values": list(self.state.values)}
        for name, part in contents.items():
            array, _, pool = name.partition(" ")
            if pool:
                held[array][int(pool)] = part
            else:
                held[array] = part
        return with_cells(
            self.state, **{**held, "keys": tuple(held["keys"]), "values": tuple(held["values"])}
        )


def _told(trials: Sequence[Trial], diverged: Any) -> Iterator[tuple[Trial, int]]:
    # What was run only to fill a batch has no trial.
    return zip(trials, jax.device_get(diverged).tolist(), strict=False)


def misses(target: Target, edge: Edge) -> Statement | None:
    """The evidence that an edge is needed: its target diverges where nobody declared it."""
    reader, tally = edge.target, Tally()
    row = reader.position, reader.request
    rows = target.kernels.buckets.up_to(1)[0]
    form = Form(Site(reader.kind, reader.layer), rows)
    trials = [Trial(form, (row,), (row,), garbage) for garbage in GARBAGE]
    return Bench(target, dropped=edge).run(trials, tally).wrong


def first_fault(target: Target, kind: str) -> Statement | None:
    """The first that is seen of a fault in the kernel of a kind."""
    bench, tally = Bench(target), Tally()
    tried = (form for form in forms(target.graph, target.kernels.buckets) if form[0].kind == kind)
    outcomes = bench.outcomes(chain.from_iterable(everywhere(*form, 0) for form in tried))
    while tally.witness is None and (outcome := next(outcomes, None)):
        tally.note(*outcome)
    return tally.witness


def run_trials(
    target: Target, thorough: bool, progress: Progress = silent
) -> tuple[Tally, frozenset[Executable]]:
    """Return the tally of every event in every form, and the executables that there were.

    Each event is tried once in a form, and places and garbage change from site to site. ``thorough`` also
    tries it first, last, alone and in between with every kind of garbage. Samples are tried with ids that
    are given, that are the likeliest, and that are drawn.
    """
    tried = list(forms(target.graph, target.kernels.buckets))
    draws = [form for form in tried if KINDS[form[0].site.kind].place == "feedback"]
    each = {target: tried} | {target.drawing(temperature): draws for temperature in TEMPERATURES if draws}
    how = everywhere if thorough else in_rotation
    trials = {own: [trial for form in its for trial in how(*form, form[0].site.layer + 1)]
              for own, its in each.items()}  # fmt: skip
    tally, done, total = Tally(), 0, sum(map(len, trials.values()))
    for own, its in trials.items():
        bench = Bench(own)
        tally.wrong = tally.wrong or bench.divergence
        for outcome in bench.outcomes(its):
            tally.note(*outcome)
            done += 1
            if done % BATCH == 0 or done == total:
                progress("certificate", done, total)
    return tally, frozenset(form.executable for form, _ in tried)
