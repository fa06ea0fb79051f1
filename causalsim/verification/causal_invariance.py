"""Causal invariance: the graph that events were seen to read and write, beside the one that is declared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from causalsim.arguments import check_whole
from causalsim.engine import Model
from causalsim.engine.cells import Cell
from causalsim.engine.flags import debugging_off
from causalsim.engine.tokens import Texts
from causalsim.events import KINDS, Event, EventGraph
from causalsim.kernels import Kernels
from causalsim.progress import Progress, silent
from causalsim.testing.findings import Finding, PlantedFault, Statement
from causalsim.verification.faults import overlooking, seeing_too_far, writing_elsewhere
from causalsim.verification.reads import Reads, Recorder, choose_events
from causalsim.verification.target import TEMPERATURES, Target

if TYPE_CHECKING:
    import networkx as nx

Pair = tuple[Event, Event]
Write = tuple[Event, Cell]

# All events of graphs up to this size are recorded, of others so many.
WHOLE, SAMPLE = 500, 24

# By field of a recorded graph: in short, and what is then said of an event.
DIFFERENCES = {
    "elsewhere": ("not in the past", "read the cell of {other}, which is not in its past"),
    "undeclared": ("not declared", "read {other} without a declared edge"),
    "unread": ("declared and not read", "did not read {other} although an edge is declared"),
    "strays": ("written and not its own", "wrote {cell}, which is not its own"),
    "unkept": ("its own and not written", "left {cell} as it was, which is its own"),
}


@dataclass(frozen=True)
class RecordedGraph:
    """The events that each watched event was seen to read, and the cells that it was seen to write.

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
        """True if what was recorded is what is declared."""
        return self.witness is None

    @property
    def is_whole(self) -> bool:
        """True if every event was watched."""
        return len(self.watched) == len(self.graph)

    def to_networkx(self) -> nx.DiGraph:
        """The reads as a graph, an edge from what was read to what read it."""
        import networkx as nx

        found = nx.DiGraph()
        found.add_nodes_from(self.watched)
        found.add_edges_from(sorted(self.reads))
        return found

    @property
    def witness(self) -> Statement | None:
        """The first way in which what was recorded differs from what is declared."""
        for name, (_, sentence) in DIFFERENCES.items():
            for first, second in getattr(self, name)[:1]:
                is_pair = isinstance(second, Event)
                facts = {"event": second, "other": first} if is_pair else {"event": first, "cell": second}
                return Statement(f"{{event}} {sentence}", facts)
        if self.restless:
            return Statement.of("{event} has other bits when only its past has run", event=self.restless[0])
        return None

    def __str__(self) -> str:
        covered = f"{len(self.watched):,} of {len(self.graph):,} events read {len(self.reads):,} others"
        found = {name: getattr(self, name) for name in DIFFERENCES}
        words = [
            f"{len(pairs):,} {DIFFERENCES[name][0]}, {pairs[0][0]} -> {pairs[0][1]}"
            for name, pairs in found.items()
            if pairs
        ]
        words += [f"{len(self.restless):,} with other bits, {event}" for event in self.restless[:1]]
        return f"{covered}: {'; '.join(words) or 'what is declared'}."


@debugging_off()
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

    An event runs on memory that holds its past, with cells poisoned; those that change its bits are
    read, and those whose bits it changes are written.

    Args:
        model: The model.
        tokens: Text or ids, as for ``verify``.
        prompt: The positions from there on wait for their tokens, as for ``verify``.
        events: The number of events that are watched, drawn site by site; by default all of a graph of
            up to 500, and 500 of a larger one.
        seed: What they are drawn from.
        kernels: Other kernels than the engine's own.
        progress: ``progress(stage, done, total)`` is called as work goes on.

    Returns:
        The reads and writes that were seen, and their differences from what is declared.

    Raises:
        InputError: For tokens that do not fit the model, or a number of events below 1.
    """
    target = Target.of(model, tokens, prompt, kernels)
    count = WHOLE if events is None else check_whole("the number of watched events", events, 1)
    return record(Recorder(target, seed), choose_events(target, count, seed), progress)


def record(recorder: Recorder, events: Sequence[Event], progress: Progress = silent) -> RecordedGraph:
    """The recorded graph of some events of a target."""
    graph, found = recorder.target.graph, dict[Event, Reads]()
    for done, event in enumerate(events, 1):
        found[event] = recorder.reads(event)
        progress("reads", done, len(events))
    reads = {(source, event) for event, its in found.items() for source in its.events}
    declared = {(source, event) for event in events for source in graph.predecessors(event)}
    return RecordedGraph(
        graph,
        tuple(events),
        frozenset(reads),
        tuple(sorted(reads - declared)),
        tuple(sorted(declared - reads)),
        tuple(sorted((cell, event) for event, its in found.items() for cell in its.unwritten)),
        tuple((event, cell) for event, its in found.items() for cell in sorted(its.strays)),
        tuple((event, cell) for event, its in found.items() for cell in sorted(its.unkept)),
        tuple(event for event, its in found.items() if not its.same_value),
    )


def misread(recorder: Recorder, events: Sequence[Event], progress: Progress = silent) -> Statement | None:
    """The first event that reads or writes otherwise than declared, as a witness; later ones are not run."""
    for done, event in enumerate(events, 1):
        if (witness := record(recorder, [event]).witness) is not None:
            return witness
        progress("reads", done, len(events))
    return None


def causal_invariance(target: Target, sample: int | None, seed: int, progress: Progress) -> Finding:
    """Return the verdict on what events read and write, recorded and compared with what is declared.

    Of all events of a graph of up to 500, or of a ``sample``.
    """
    recorder, events = Recorder(target, seed), len(target.graph)
    most = events if events <= WHOLE else SAMPLE
    chosen = choose_events(target, most if sample is None else sample, seed)
    whole = len(chosen) == events
    samples = [event for event in chosen if KINDS[event.kind].place == "feedback"]
    return Finding(
        name="causal invariance",
        method="recorded",
        claim="what they were seen to read and to write is what the graph declares",
        coverage=Statement.of(
            ("all {events:,} events" if whole else "{watched:,} of {events:,} events")
            + ", each with all {cells:,} cells poisoned in turn or together, and memory before it compared "
            "with memory after it" + "; samples with ids given, the likeliest and drawn" * bool(samples),
            watched=len(chosen),
            events=events,
            cells=len(recorder.owners),
        ),
        excludes=(*["events not sampled"] * (not whole), "reads and writes that leave the bits as they are"),
        witness=misread(recorder, chosen, progress) or _misread_in_draws(target, samples, seed),
        controls=tuple(_controls(target, seed)),
    )


def _misread_in_draws(target: Target, samples: Sequence[Event], seed: int) -> Statement | None:
    """As ``misread``, of samples to which no id is given."""
    for temperature in TEMPERATURES if samples else ():
        if found := misread(Recorder(target.drawing(temperature), seed), samples):
            words = f"at temperature {temperature:g}, {found.template}"
            return Statement(words, found.facts)
    return None


def _controls(target: Target, seed: int) -> Iterator[PlantedFault]:
    """A read too many, a read too few, and a write too many, each at the first text's middle."""
    middle, top = target.graph.lengths[0] // 2, target.graph.wiring.n_layers
    faults = {
        seeing_too_far: Event("attn", 0, middle),
        overlooking: Event("attn", 0, middle),
        writing_elsewhere: Event("unembed", top, middle),
    }
    for fault, event in faults.items():
        kernels = fault(target.kernels)
        seen = misread(Recorder(target, seed, kernels), [event])
        yield PlantedFault(kernels.name, {"causal invariance": seen})
