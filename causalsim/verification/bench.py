"""The bench for trials: memory with litter around what an event reads, and what a call makes of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import compress
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
    OWN,
    WRITTEN,
    Contents,
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


@dataclass
class Tally:
    """How many event runs were compared, and the first trial that left other bits or changed a cell."""

    event_runs: int = 0
    trials: int = 0
    wrong: str | None = None
    changed: str | None = None

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
        self.roles = np.zeros(self.plan.starts["all"], np.int8)
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

    def run(self, trials: Iterable[Trial], tally: Tally) -> None:
        """Run some trials and note the first that fails."""
        tried = list(trials)
        # Fetched together: to wait for each would take longer than to run it.
        flags = jax.device_get([self._run(trial) for trial in tried])
        for trial, (wrong, changed) in zip(tried, flags, strict=True):
            tally.trials += 1
            tally.event_runs += len(trial.tested) * len(trial.form.slots)
            if wrong and tally.wrong is None:
                tally.wrong = f"other bits of {trial}"
            if changed and tally.changed is None:
                tally.changed = f"a cell of somebody else changed by {trial}"

    def _run(self, trial: Trial) -> Any:
        events = [self.column(trial.form.slots, lane) for lane in trial.lanes]
        needed, own = self._closure(events, trial)
        fills, roles = self.plan.fills(trial.fill, self.rng), self.roles.copy()
        fills[[*needed]] = OWN
        roles[[cell for column in events for event in column for cell in self.cells(event)]] = FREE
        roles[[*own]] = WRITTEN
        before, expected = self.contents(trial.form)
        call = self._call(trial)
        machine = self.machine(trial.form.lanes)
        memory, start = filled(self.vocabulary, before, self.plan.spread(fills, before))
        machine.state = self._state(memory)
        for _ in machine.run_all([call]):
            pass
        after = self._arrays(machine.state, trial.form)
        return departures(start, after, expected, self.plan.spread(roles, before))

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


def misses(subject: Subject, edge: Edge) -> str | None:
    """What shows that an edge is needed: its target departs where nobody declared it."""
    target, tally = edge.target, Tally()
    lane = target.position, target.request
    lanes = subject.kernels.lanes.up_to(1)[0]
    form = Form(Slot(target.kind, target.layer), lanes)
    Bench(subject, dropped=edge).run([Trial(form, (lane,), (lane,), fill) for fill in FILLS], tally)
    return tally.wrong


def first_fault(subject: Subject, kind: str) -> str | None:
    """What is seen first of a fault in the kernel of a kind."""
    bench, tally = Bench(subject), Tally()
    tally.wrong = bench.memory[2]
    for form, group in forms(subject.graph, subject.kernels.lanes):
        if tally.witness is None and form.kind == kind:
            bench.run(every_place(form, group), tally)
    return tally.witness


def run_trials(
    subject: Subject, thorough: bool, progress: Progress = silent
) -> tuple[Tally, frozenset[Executable]]:
    """Try every event in every form; the tally, and which executables there were.

    ``thorough`` tries each event at the first and the last lane with every fill; otherwise each
    is tried once in a form, and places and fills change from slot to slot.
    """
    bench, tally = Bench(subject), Tally()
    tally.wrong = bench.memory[2]
    tried = list(forms(subject.graph, subject.kernels.lanes))
    for done, (form, group) in enumerate(tried, 1):
        turn = form.slot.layer + 1
        bench.run(every_place(form, group) if thorough else in_rotation(form, group, turn), tally)
        progress("certificate", done, len(tried))
    return tally, frozenset(form.executable for form, _ in tried)
