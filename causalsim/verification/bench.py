"""The bench for trials: memory with litter around what an event reads, and what a call makes of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import chain, compress, groupby, islice, starmap
from operator import attrgetter
from typing import Any

import jax
import numpy as np

from causalsim.engine import Program, State, Values, compile, execute
from causalsim.engine.calls import Call, deepest
from causalsim.engine.cells import Cell, cells_written
from causalsim.engine.machine import Machine, Output
from causalsim.engine.program import Launch
from causalsim.engine.slots import Slots
from causalsim.events import Edge, Event, EventGraph, Slot
from causalsim.foliations import layer_major
from causalsim.kernels import Lanes
from causalsim.progress import Progress, silent
from causalsim.verification.comparison import departure
from causalsim.verification.memory import (
    FILLS,
    FREE,
    KEPT,
    OWN,
    WRITTEN,
    Contents,
    Marks,
    Plan,
    departures,
    filled,
)
from causalsim.verification.subject import Subject
from causalsim.verification.trials import Executable, Form, Lane, Trial, every_place, forms, in_rotation

# The arrays of memory that a call of each kind gets.
_TOUCHED = {
    "embed": ("tokens", "residual"),
    "kv": ("residual", "kv"),
    "attn": ("residual", "kv"),
    "mlp": ("residual",),
    "layers": ("residual", "kv"),
    "unembed": ("residual", "logits"),
    "sample": ("tokens", "logits"),
}
# The events of a lane, by canonical index.
Column = tuple[int, ...]
NOBODY = -1
# Memories that are filled and compared together, and batches that run before the first is told.
BATCH = 8
AHEAD = 2


@dataclass
class Tally:
    """How many event runs were compared, and the first trial that left other bits or changed a cell."""

    event_runs: int = 0
    trials: int = 0
    wrong: str | None = None
    changed: str | None = None

    def note(self, trial: Trial, departed: int) -> None:
        """Count a trial, and say of the first that departs how."""
        self.trials += 1
        self.event_runs += len(trial.tested) * len(trial.form.slots)
        if departed & WRITTEN and self.wrong is None:
            self.wrong = f"other bits of {trial}"
        if departed & KEPT and self.changed is None:
            self.changed = f"a cell of somebody else changed by {trial}"

    @property
    def witness(self) -> str | None:
        return self.wrong or self.changed


class Bench:
    """Memory as a run leaves it before and after each slot, and machines to run calls on.

    An edge that is ``dropped`` is one that nobody declared: its cell then holds litter, too.
    """

    def __init__(self, subject: Subject, dropped: Edge | None = None) -> None:
        self.subject, self.graph, self.dropped = subject, subject.graph, dropped
        self.vocabulary = subject.model.config.vocab_size
        n_layers = subject.model.config.n_layers
        self.depth = deepest(n_layers)
        self.state = subject.fresh()
        self.plan = Plan.of(self.state, self.depth)
        # A bank serves every so manieth layer: only those of one call are ever in use.
        apart = Slots.apart(n_layers, self.state.layout)
        self.slots = replace(apart, bank=np.arange(n_layers) % self.depth, banks=self.depth)
        self.machine, self.contents = cache(self._machine), cache(self._contents)
        self.cells, self.reads, self.column = cache(self._cells), cache(self._reads), cache(self._column)
        self.roles = np.full(self.plan.starts["all"], KEPT, np.int8)
        self.roles[self.plan.scratch] = FREE
        self.rng = np.random.default_rng(0)

    @cached_property
    def memory(self) -> tuple[dict[Slot, Any], State, str | None]:
        """The residuals before each slot of the column, the end, and a departure if there is one."""
        plain = replace(self.subject, graph=EventGraph(self.graph.wiring, self.graph.lengths))
        state, outputs = plain.fresh(), list[Output]()
        before: dict[Slot, Any] = {}
        for launch in compile(layer_major(plain.graph)).launches:
            before.setdefault(launch.slot, state.residual.copy())
            state, made = execute(Program(plain.graph, (launch,)), state, self.subject.kernels)
            outputs += made
        values = Values.from_outputs(self.subject.model.config, plain.graph, outputs)
        found = departure({event: self.subject.reference[event] for event in plain.graph}, values)
        return before, state, None if found is None else str(found)

    def run(self, trials: Iterable[Trial], tally: Tally) -> Tally:
        """Run some trials and note the first that fails."""
        for trial, departed in self.outcomes(trials):
            tally.note(trial, departed)
        return tally

    def outcomes(self, trials: Iterable[Trial]) -> Iterator[tuple[Trial, int]]:
        """What became of each trial, as marks: ``WRITTEN`` for other bits, ``KEPT`` for a changed cell.

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
        # As many memories each time, so that executables serve again.
        marks = [self._marks(trial) for trial in trials]
        marks += marks[-1:] * (BATCH - len(marks))
        fills, roles = (self.plan.spread(np.stack(each), before) for each in zip(*marks, strict=True))
        memories, machine = filled(self.vocabulary, before, fills), self.machine(form.lanes)
        after = []
        for memory, (call, cells) in zip(memories, machine.placed([*map(self._call, trials)]), strict=False):
            machine.state = self._state(memory)
            deque(machine.run(call, cells), maxlen=0)
            after.append(self._arrays(machine.state, form))
        after += after[-1:] * (BATCH - len(after))
        return departures(self.vocabulary, before, expected, fills, roles, after)

    def _marks(self, trial: Trial) -> tuple[Marks, Marks]:
        """What each cell holds before a trial, and what must become of it."""
        events = [self.column(trial.form.slots, lane) for lane in trial.lanes]
        needed, own = self._closure(events, trial)
        fills, roles = self.plan.fills(trial.fill, self.rng), self.roles.copy()
        fills[[*needed]] = OWN
        roles[[cell for column in events for event in column for cell in self.cells(event)]] = FREE
        roles[[*own]] = WRITTEN
        return fills, roles

    def _cells(self, index: int) -> list[int]:
        """What an event writes; K/V in the bank that its layer has here."""
        written = cells_written(self.state, self.graph[index])
        return [self.plan.number(self._in_bank(cell)) for cell in written]

    def _in_bank(self, cell: Cell) -> Cell:
        if cell.array != "kv":
            return cell
        layer, *place = cell.place
        return Cell("kv", (layer % self.depth, *place))

    def _call(self, trial: Trial) -> Call:
        positions, requests = np.array(trial.lanes, np.int32).T
        # Which events they are plays no part in how a call runs.
        return tuple(Launch(slot, requests, positions) for slot in trial.form.slots)

    def _column(self, slots: tuple[Slot, ...], lane: Lane) -> Column:
        return tuple(self.graph.index(Event(*slot, *lane)) for slot in slots)

    def _closure(self, events: Sequence[Column], trial: Trial) -> tuple[set[int], set[int]]:
        """The cells that the tested events need, and those in which a call then leaves what is expected.

        What another lane of the call makes for them needs its own predecessors.
        """
        made = {event for column in events for event in column}
        tested = [lane in trial.tested for lane in trial.lanes]
        waiting = [event for column in compress(events, tested) for event in column]
        sure, needed = set(waiting), set[int]()
        while waiting:
            for source, cells in self.reads(waiting.pop()):
                if source not in made:
                    needed.update(cells)
                elif source not in sure:
                    sure.add(source)
                    waiting.append(source)
        return needed, {cell for event in sure for cell in self.cells(event)}

    def _reads(self, index: int) -> list[tuple[int, list[int]]]:
        """The direct predecessors of an event and their cells; a token that is given has no event."""
        event = self.graph[index]
        sources = [*self.graph.predecessors(event)]
        if self.dropped and self.dropped.target == event:
            sources = [source for source in sources if source != self.dropped.source]
        elif event.kind == "embed":
            row = int(self.state.layout.first_rows()[event.request]) + event.position
            return [(NOBODY, [self.plan.number(Cell("tokens", (row,)))])]
        indices = map(self.graph.index, sources)
        return [(source, self.cells(source)) for source in indices]

    def _machine(self, lanes: int) -> Machine:
        kernels = replace(self.subject.kernels, lanes=Lanes((lanes,)))
        return Machine(self.state, self.slots, kernels, keep=False)

    # -- what lies in memory -----------------------------------------------------------------------

    def _contents(self, form: Form) -> tuple[Contents, Contents]:
        """What a run has in the arrays that a form gets, before and after it."""
        residuals, end, _ = self.memory
        slots = list(residuals)
        following = slots.index(form.slots[-1]) + 1 if form.kind != "sample" else len(slots)
        before = residuals.get(form.slot, end.residual)
        after = residuals[slots[following]] if following < len(slots) else end.residual
        rest = self._arrays(end, form, first=max(form.slot.layer, 0))
        return (
            {name: before if name == "residual" else part for name, part in rest.items()},
            {name: after if name == "residual" else part for name, part in rest.items()},
        )

    def _arrays(self, state: State, form: Form, first: int | None = None) -> Contents:
        """The arrays of a state that a form gets, K/V by bank; of a whole state, those of its layers."""
        touched = _TOUCHED[form.kind]
        found: Contents = {name: getattr(state, name) for name in touched if name != "kv"}
        for more in range(max(form.layers, 1)) if "kv" in touched else ():
            layer = form.slot.layer + more
            bank = layer % self.depth
            place = bank if first is None else layer
            found |= {f"keys {bank}": state.keys[place], f"values {bank}": state.values[place]}
        return found

    def _state(self, contents: Contents) -> State:
        """A state with these arrays; of the rest a call sees nothing."""
        state = replace(self.state, keys=list(self.state.keys), values=list(self.state.values))
        for name, part in contents.items():
            array, _, bank = name.partition(" ")
            if bank:
                getattr(state, array)[int(bank)] = part
            else:
                setattr(state, array, part)
        return state


def _told(trials: Sequence[Trial], departed: Any) -> Iterator[tuple[Trial, int]]:
    # What was run only to fill a batch has no trial.
    return zip(trials, np.bitwise_or.reduce(jax.device_get(departed)).tolist(), strict=False)


def misses(subject: Subject, edge: Edge) -> str | None:
    """What shows that an edge is needed: its target departs where nobody declared it."""
    target, tally = edge.target, Tally()
    lane = target.position, target.request
    lanes = subject.kernels.lanes.up_to(1)[0]
    form = Form(Slot(target.kind, target.layer), lanes)
    trials = [Trial(form, (lane,), (lane,), fill) for fill in FILLS]
    return Bench(subject, dropped=edge).run(trials, tally).wrong


def first_fault(subject: Subject, kind: str) -> str | None:
    """What is seen first of a fault in the kernel of a kind."""
    bench = Bench(subject)
    tally = Tally(wrong=bench.memory[2])
    tried = (form for form in forms(subject.graph, subject.kernels.lanes) if form[0].kind == kind)
    outcomes = bench.outcomes(chain.from_iterable(starmap(every_place, tried)))
    while tally.witness is None and (outcome := next(outcomes, None)):
        tally.note(*outcome)
    return tally.witness


def run_trials(
    subject: Subject, thorough: bool, progress: Progress = silent
) -> tuple[Tally, frozenset[Executable]]:
    """Try every event in every form; the tally, and which executables there were.

    ``thorough`` tries each event first, last and alone in a call with every fill; otherwise each
    is tried once in a form, and places and fills change from slot to slot.
    """
    bench, tried = Bench(subject), list(forms(subject.graph, subject.kernels.lanes))
    each = [every_place(*form) if thorough else in_rotation(*form, form[0].slot.layer + 1) for form in tried]
    trials, tally = list(chain.from_iterable(each)), Tally(wrong=bench.memory[2])
    for done, outcome in enumerate(bench.outcomes(trials), 1):
        tally.note(*outcome)
        if done % BATCH == 0 or done == len(trials):
            progress("certificate", done, len(trials))
    return tally, frozenset(form.executable for form, _ in tried)
