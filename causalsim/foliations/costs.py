"""What a foliation costs without running it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from itertools import zip_longest

import numpy as np

from causalsim.arguments import check_type, check_whole, shown
from causalsim.errors import InputError
from causalsim.events import EventGraph
from causalsim.events.vectorised import Lines, earliest_reader, latest_reader
from causalsim.foliations.foliation import Foliation, Times
from causalsim.foliations.ranks import places


class _Sizes(dict[str, int]):
    """Bytes by kind; one that is asked for and not there is told as every other error is."""

    def __missing__(self, kind: str) -> int:
        raise InputError(
            "a footprint has the bytes of each kind of value that lives",
            got=f"those of {', '.join(self) or 'none'}",
            expected=f"those of {kind} among them",
            hint="ModelConfig(...).footprint() has all.",
        )


@dataclass(frozen=True)
class Footprint:
    """What costs need to know of a model: bytes of one value, and of the weights that an event
    reads, each by kind of event; ``flops`` of one event, and ``flops_per_read`` of an attention
    for each position whose K/V it reads. What is left empty is not counted.

    >>> Footprint({"kv": 8}, {"block": 100}).values["kv"]
    8
    """

    values: Mapping[str, int]
    weights: Mapping[str, int]
    flops: Mapping[str, int] = field(default_factory=dict)
    flops_per_read: int = 0

    def __post_init__(self) -> None:
        for name in ("values", "weights", "flops"):
            check_type(f"{name} of a footprint", getattr(self, name), Mapping, "Name kinds of events.")
            for kind, number in getattr(self, name).items():
                check_whole(f"{name} of {shown(kind)} in a footprint", number, 0)
        check_whole("flops_per_read of a footprint", self.flops_per_read, 0)
        object.__setattr__(self, "values", _Sizes(self.values))


Lifetimes = tuple[Times, Times, int]
"""Values of one size by the time at which each is born and the last at which it is read."""


def peak_during(foliation: Foliation, footprint: Footprint) -> int:
    """Bytes live at most while the events run one by one, slice by slice in canonical order.

    An event's inputs and its output are both live during it. Embeddings appear at their
    first read and, at block granularity, K/V at their first reader; a value that nobody
    reads drops at once. Weights are not counted.

    >>> from causalsim.events import EventGraph, Wiring
    >>> from causalsim.foliations import layer_major
    >>> graph = EventGraph(Wiring(2), 2, granularity="block")
    >>> sizes = Footprint({"embed": 10, "block": 10, "kv": 1}, {})
    >>> peak_during(layer_major(graph), sizes)  # T (d + k) + d
    32
    """
    check_priced(foliation, footprint)
    graph = foliation.graph
    steps = places(foliation.times, foliation.slice_sizes)
    return _peak(_lifetimes(graph, steps, footprint), len(graph), outlived=1)


def peak_at_cuts(foliation: Foliation, footprint: Footprint) -> int:
    """Bytes that at most cross a cut between two slices, when a slice runs all its events at once.

    >>> from causalsim.events import EventGraph, Wiring
    >>> from causalsim.foliations import layer_major
    >>> graph = EventGraph(Wiring(2), 2, granularity="block")
    >>> sizes = Footprint({"embed": 10, "block": 10, "kv": 1}, {})
    >>> peak_at_cuts(layer_major(graph), sizes)
    20
    """
    check_priced(foliation, footprint)
    return _peak(_lifetimes(foliation.graph, foliation.times, footprint), foliation.depth, outlived=0)


def check_priced(foliation: Foliation, footprint: Footprint) -> None:
    """Refuse what is no foliation, or no footprint.

    >>> from causalsim.events import EventGraph, Wiring
    >>> check_priced(Foliation(EventGraph(Wiring(1), 1), range(5)), Footprint({}, {}))
    """
    check_type("an order", foliation, Foliation)
    check_type("a footprint", footprint, Footprint, "ModelConfig(...).footprint() makes one.")


def _peak(lifetimes: Iterable[Lifetimes], steps: int, outlived: int) -> int:
    """The most bytes live at a step; a value dies so many steps after it is last read."""
    live = np.zeros(steps + 1, np.int64)
    for birth, read, size in lifetimes:
        death = read + outlived
        held = birth < death
        np.add.at(live, birth[held], size)
        np.add.at(live, death[held], -size)
    np.cumsum(live, out=live)
    return int(live[:-1].max())


def _lifetimes(graph: EventGraph, times: Times, footprint: Footprint) -> Iterator[Lifetimes]:
    of_request = _of_blocks if graph.granularity == "block" else _of_sublayers
    for columns in graph.requests:
        yield from of_request(graph, Lines(columns, times), footprint.values)


def _of_sublayers(graph: EventGraph, lines: Lines, sizes: Mapping[str, int]) -> Iterator[Lifetimes]:
    """Every event's value lives from the event (an embedding: from its first reader) to its last reader."""
    for site, families in graph.families_from.items():
        birth = read = lines[site]
        for family in families:
            read = np.maximum(read, latest_reader(lines[family.target], family.first, family.last))
        if site.kind == "embed":
            birth = reduce(np.minimum, (lines[family.target] for family in families))
        held = slice(lines.columns.positions(site).start, lines.columns.positions(site).stop)
        yield birth[held], read[held], sizes[site.kind]


def _of_blocks(graph: EventGraph, lines: Lines, sizes: Mapping[str, int]) -> Iterator[Lifetimes]:
    """Residuals are read above at their own position only; K/V lives from its first to its last reader."""
    first, _ = _readers(lines[graph.sites[0]], graph.wiring.windows_by_layer[0])
    yield first, lines[graph.sites[0]], sizes["embed"]
    for site, above in zip_longest(graph.sites, graph.sites[1:]):
        yield lines[site], lines[above or site], sizes["block"]
        yield *_readers(lines[site], graph.wiring.windows_by_layer[site.layer]), sizes["kv"]


def _readers(line: Times, window: int | None) -> tuple[Times, Times]:
    """The first and the last time at which the K/V of each position is read."""
    last = None if window is None else window - 1
    return earliest_reader(line, last), latest_reader(line, 0, last)
