"""The causal graph as recorded: what each event was seen to read, beside what is declared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from causalsim.arguments import as_int
from causalsim.engine import Model
from causalsim.engine.tokens import Texts
from causalsim.errors import InputError
from causalsim.events import Event, EventGraph
from causalsim.kernels import Kernels
from causalsim.progress import Progress, silent
from causalsim.verification.reads import Recorder, choose_events
from causalsim.verification.subject import Subject

if TYPE_CHECKING:
    import networkx as nx

# Graphs of so many events are recorded whole.
WHOLE = 500

Pair = tuple[Event, Event]


@dataclass(frozen=True)
class RecordedGraph:
    """Which event was seen to read which, by the events that were watched.

    ``undeclared`` reads are races: an order that respects the graph may run them the other way.
    ``unread`` edges are declared and hold back orders for nothing. ``elsewhere`` are reads of cells
    of events that are not even in the past. ``restless`` are events whose bits were others when
    only their past had run.
    """

    graph: EventGraph
    watched: tuple[Event, ...]
    reads: frozenset[Pair]
    undeclared: tuple[Pair, ...]
    unread: tuple[Pair, ...]
    elsewhere: tuple[Pair, ...]
    restless: tuple[Event, ...]

    @property
    def holds(self) -> bool:
        """Whether what was recorded is what is declared."""
        return not (self.undeclared or self.unread or self.elsewhere or self.restless)

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
        findings = {
            "not declared": self.undeclared,
            "declared and not read": self.unread,
            "not in the past": self.elsewhere,
        }
        words = [f"{len(pairs):,} {name}, {_arrow(pairs[0])}" for name, pairs in findings.items() if pairs]
        words += [f"{len(self.restless):,} with other bits, {event}" for event in self.restless[:1]]
        return f"{covered}: {'; '.join(words) or 'what is declared'}."


def _arrow(pair: Pair) -> str:
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
    """Find what events read by executing them, without looking at what is declared.

    Watches all events of a graph of up to 500, else as many (``events``) drawn slot by slot. An
    event runs on memory that holds its past, with cells poisoned; those that change its bits are
    read. Other arguments are as for ``verify``. Raises ``InputError`` for tokens that do not fit.
    """
    subject = Subject.of(model, tokens, prompt, kernels)
    chosen = choose_events(subject, _checked(events), seed)
    recorder, found = Recorder(subject, seed), {}
    for done, event in enumerate(chosen, 1):
        found[event] = recorder.reads(event)
        progress("reads", done, len(chosen))
    reads = {(source, event) for event, its in found.items() for source in its.events}
    declared = {(source, event) for event in chosen for source in subject.graph.predecessors(event)}
    return RecordedGraph(
        subject.graph,
        tuple(chosen),
        frozenset(reads),
        tuple(sorted(reads - declared)),
        tuple(sorted(declared - reads)),
        tuple(sorted((cell, event) for event, its in found.items() for cell in its.unwritten)),
        tuple(event for event, its in found.items() if not its.same_value),
    )


def _checked(events: int | None) -> int:
    count = WHOLE if events is None else as_int(events)
    if count is None or count < 1:
        raise InputError("a whole number of at least 1 events is watched", got=repr(events))
    return count
