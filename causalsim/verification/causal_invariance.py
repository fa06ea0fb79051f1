"""The causal graph as recorded: what each event was seen to read, beside what is declared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from causalsim.arguments import as_int
from causalsim.engine import Model
from causalsim.engine.cells import Cell
from causalsim.engine.tokens import Texts
from causalsim.errors import InputError
from causalsim.events import Event, EventGraph
from causalsim.kernels import Kernels
from causalsim.progress import Progress, silent
from causalsim.verification.reads import WHOLE, Recorder, choose_events
from causalsim.verification.target import Target

if TYPE_CHECKING:
    import networkx as nx

Pair = tuple[Event, Event]
Write = tuple[Event, Cell]


@dataclass(frozen=True)
class RecordedGraph:
    """Which event was seen to read which, and to write what, of the events that were watched.

    ``undeclared`` reads are races: an order that respects the graph may run them the other way.
    ``unread`` edges are declared and hold back orders for nothing. ``elsewhere`` are reads of cells
    of events that are not even in the past. ``strays`` are writes to cells that are not the event's
    own, ``unkept`` its own cells that it left as they were. ``restless`` are events whose bits were
    others when only their past had run.
    """

    graph: EventGraph
    watched: tuple[Event, ...]
    reads: frozenset[Pair]
    undeclared: tuple[Pair, ...]
    unread: tuple[Pair, ...]
    elsewhere: tuple[Pair, ...]
    strays: tuple[Write, ...]
    unkept: tuple[Write, ...]
    restless: tuple[Event, ...]

    @property
    def holds(self) -> bool:
        """Whether what was recorded is what is declared."""
        reads, writes = (self.undeclared, self.unread, self.elsewhere), (self.strays, self.unkept)
        return not any((*reads, *writes, self.restless))

    @property
    def is_whole(self) -> bool:
        """Whether every event was watched."""
        return len(self.watched) == len(self.graph)

    def to_networkx(self) -> nx.DiGraph:
        """The reads as a graph, an edge from what was read to what read it."""
        import networkx as nx

        found = nx.DiGraph()
        found.add_nodes_from(self.watched)
        found.add_edges_from(sorted(self.reads))
        return found

    def __str__(self) -> str:
        covered = f"{len(self.watched):,} of {len(self.graph):,} events read {len(self.reads):,} others"
        findings: dict[str, Sequence[Pair | Write]] = {
            "not declared": self.undeclared,
            "declared and not read": self.unread,
            "not in the past": self.elsewhere,
            "written and not its own": self.strays,
            "its own and not written": self.unkept,
        }
        words = [f"{len(pairs):,} {name}, {_arrow(pairs[0])}" for name, pairs in findings.items() if pairs]
        words += [f"{len(self.restless):,} with other bits, {event}" for event in self.restless[:1]]
        return f"{covered}: {'; '.join(words) or 'what is declared'}."


def _arrow(pair: Pair | Write) -> str:
    return f"{pair[0]} -> {pair[1]}"


def recorded_graph(
    model: Model,
    tokens: Texts,
    *,
    prompt: int | Sequence[int] | None = None,
    events: int | None = None,
    seed: int = 0,
    kernels: Kernels | None = None,
    progress: Progress = silent,
) -> RecordedGraph:
    """Find what events read and write by executing them, without looking at what is declared.

    Watches all events of a graph of up to 500, else as many (``events``) drawn site by site. An
    event runs on memory that holds its past, with cells poisoned; those that change its bits are
    read, and those whose bits it changes are written. Other arguments are as for ``verify``. Raises
    ``InputError`` for tokens that do not fit.
    """
    target = Target.of(model, tokens, prompt, kernels)
    chosen = choose_events(target, _checked(events), seed)
    recorder, found = Recorder(target, seed), {}
    for done, event in enumerate(chosen, 1):
        found[event] = recorder.reads(event)
        progress("reads", done, len(chosen))
    reads = {(source, event) for event, its in found.items() for source in its.events}
    declared = {(source, event) for event in chosen for source in target.graph.predecessors(event)}
    return RecordedGraph(
        target.graph,
        tuple(chosen),
        frozenset(reads),
        tuple(sorted(reads - declared)),
        tuple(sorted(declared - reads)),
        tuple(sorted((cell, event) for event, its in found.items() for cell in its.unwritten)),
        tuple((event, cell) for event, its in found.items() for cell in sorted(its.strays)),
        tuple((event, cell) for event, its in found.items() for cell in sorted(its.unkept)),
        tuple(event for event, its in found.items() if not its.same_value),
    )


def _checked(events: int | None) -> int:
    count = WHOLE if events is None else as_int(events)
    if count is None or count < 1:
        raise InputError("a whole number of at least 1 events is watched", got=repr(events))
    return count
