"""The causal structure of a graph: its events, their edges, and the order that these generate."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from causalsim.arguments import as_int, check_whole, shown
from causalsim.errors import InputError, LimitError
from causalsim.events.columns import Columns
from causalsim.events.cones import Cone, cone
from causalsim.events.event import Edge, Event
from causalsim.events.inputs import (
    HasWiring,
    check_countable,
    checked_lengths,
    checked_prompts,
    checked_wiring,
)
from causalsim.events.kinds import SAMPLED
from causalsim.events.vectorised import count_pairs
from causalsim.events.wiring import EdgeFamily, Granularity, Site, Wiring, checked_granularity

Separation = Literal["timelike", "spacelike", "identical"]

# Above this an explicit list of predecessors is a mistake rather than a wish.
EXPLICIT_LIMIT = 200_000

# Above this the arrays over all events, of 12 bytes an event, fit into no memory at hand.
CODED_LIMIT = 2**31


@dataclass(frozen=True, init=False, repr=False)
class CausalStructure:
    """An `EventGraph` before its orders, paths and routes are counted.

    Predecessors are computed, nothing is stored.
    """

    wiring: Wiring
    granularity: Granularity
    lengths: tuple[int, ...]
    prompts: tuple[int, ...]

    def __init__(
        self,
        config_or_wiring: HasWiring | Wiring,
        length: int | Sequence[int],
        *,
        prompt: int | Sequence[int] | None = None,
        granularity: Granularity = "sublayer",
    ) -> None:
        wiring, lengths = checked_wiring(config_or_wiring), checked_lengths(length)
        check_countable(wiring, lengths)
        object.__setattr__(self, "wiring", wiring)
        object.__setattr__(self, "granularity", checked_granularity(granularity))
        object.__setattr__(self, "lengths", lengths)
        object.__setattr__(self, "prompts", checked_prompts(prompt, lengths))
        if granularity == "block" and self.has_feedback:
            raise InputError(
                "block graphs have no feedback",
                got=f"prompts {self.prompts} shorter than lengths {self.lengths}",
                hint='Use granularity="sublayer", which has sample events, or leave prompt out.',
            )

    def __repr__(self) -> str:
        prompt = f", prompt={self.prompts}" if self.has_feedback else ""
        return (
            f"{type(self).__name__}({self.wiring}, {self.lengths}{prompt}, granularity={self.granularity!r})"
        )

    @property
    def has_feedback(self) -> bool:
        """True if some position waits for a sampled token.

        >>> CausalStructure(Wiring(1), 2).has_feedback, CausalStructure(Wiring(1), 2, prompt=1).has_feedback
        (False, True)
        """
        return self.prompts != self.lengths

    # -- canonical order ------------------------------------------------------------------

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        """The column that every position runs, in canonical order.

        >>> CausalStructure(Wiring(2), 2, granularity="block").sites
        (Site(kind='block', layer=0), Site(kind='block', layer=1))
        """
        return self.wiring.sites(self.granularity)

    @cached_property
    def edge_families(self) -> tuple[EdgeFamily, ...]:
        """Every family of edges, ordered by target site.

        >>> [family.stream for family in CausalStructure(Wiring(2), 2, granularity="block").edge_families]
        ['residual', 'kv']
        """
        return self.wiring.edge_families(self.granularity)

    @cached_property
    def requests(self) -> tuple[Columns, ...]:
        """The columns of every request, which place its events in canonical order.

        >>> [columns.start for columns in CausalStructure(Wiring(1), [1, 1], granularity="block").requests]
        [0, 1]
        """
        columns, start = [], 0
        for length, prompt in zip(self.lengths, self.prompts, strict=True):
            columns.append(Columns(self.sites, length, prompt, start))
            start += len(columns[-1])
        return tuple(columns)

    def __len__(self) -> int:
        return self.requests[-1].start + len(self.requests[-1])

    def __iter__(self) -> Iterator[Event]:
        return (self[index] for index in range(len(self)))

    def events(self) -> Iterator[Event]:
        """Return all events in canonical order: by request, by position, up the column.

        >>> [str(event) for event in CausalStructure(Wiring(2), 2, granularity="block").events()]
        ['block(0,0)', 'block(1,0)', 'block(0,1)', 'block(1,1)']
        """
        return iter(self)

    def __getitem__(self, index: int) -> Event:
        """The event at a canonical index."""
        place = as_int(index)
        if place is None:
            raise InputError("a canonical index is a whole number", got=shown(index))
        index = place
        if not 0 <= index < len(self):
            raise IndexError(f"canonical index {index} outside 0 .. {len(self) - 1}")
        request = bisect_right(self.requests, index, key=lambda columns: columns.start) - 1
        site, position = self.requests[request].place(index)
        return Event(site.kind, site.layer, position, request)

    def __contains__(self, event: object) -> bool:
        if not isinstance(event, Event) or not 0 <= event.request < len(self.lengths):
            return False
        columns, site = self.requests[event.request], Site(event.kind, event.layer)
        return site in columns.rank and event.position in columns.positions(site)

    def index(self, event: Event) -> int:
        """Place of an event in canonical order; ``InputError`` if it is not of this graph.

        Args:
            event: An event of the graph.

        Returns:
            Its number, from 0.

        Raises:
            InputError: No event of the graph.

        >>> CausalStructure(Wiring(1), 1).index(Event("mlp", 0, 0))
        3
        """
        self.check(event)
        return self.requests[event.request].index(Site(event.kind, event.layer), event.position)

    def check(self, event: Event) -> None:
        """Refuse what is not an event of this graph, naming the coordinate that is off.

        Args:
            event: An event of the graph.

        Raises:
            InputError: No event of the graph.

        >>> CausalStructure(Wiring(1), 1).check(Event("mlp", 0, 0))
        """
        if event not in self:
            raise InputError(
                f"events belong to the graph: {self._reason(event)}", got=str(event), expected=self._ranges()
            )

    def _reason(self, event: Event) -> str:
        if not isinstance(event, Event):
            return "an Event was asked for"
        if not 0 <= event.request < len(self.lengths):
            return f"there is no request {event.request}"
        if event.kind not in {site.kind for site in self.sites}:
            return f"a {self.granularity} graph has no kind {event.kind!r}"
        if not 0 <= event.position < self.lengths[event.request]:
            return f"position {event.position} lies outside the text"
        if Site(event.kind, event.layer) in self.sites:
            return f"{event.kind} stands only where the next token is waited for"
        return f"{event.kind} has no layer {event.layer}"

    def _ranges(self) -> str:
        texts = ", ".join(f"0..{length - 1}" for length in self.lengths)
        return f"layers 0..{self.wiring.n_layers - 1}, positions {texts} (one range a request)"

    # -- edges ----------------------------------------------------------------------------

    @cached_property
    def families_into(self) -> dict[Site, list[EdgeFamily]]:
        """The families of edges that end at each site.

        >>> graph = CausalStructure(Wiring(2), 2, granularity="block")
        >>> [len(families) for families in graph.families_into.values()]
        [0, 2]
        """
        return {
            site: [family for family in self.edge_families if family.target == site] for site in self.sites
        }

    @cached_property
    def families_from(self) -> dict[Site, list[EdgeFamily]]:
        """The families of edges that start at each site.

        >>> graph = CausalStructure(Wiring(2), 2, granularity="block")
        >>> [len(families) for families in graph.families_from.values()]
        [2, 0]
        """
        return {
            site: [family for family in self.edge_families if family.source == site] for site in self.sites
        }

    def edges_into(self, event: Event) -> Iterator[Edge]:
        """Edges that end at an event, by source site and rising position.

        Args:
            event: An event of the graph.

        Yields:
            An edge.

        Raises:
            InputError: No event of the graph.

        >>> [str(edge) for edge in CausalStructure(Wiring(1), 1).edges_into(Event("attn", 0, 0))]
        ['embed(0) -> attn(0,0) [residual]', 'kv(0,0) -> attn(0,0) [kv]']
        """
        self.check(event)
        columns = self.requests[event.request]
        for family in self.families_into[Site(event.kind, event.layer)]:
            held = columns.positions(family.source)
            low = held.start if family.last is None else max(held.start, event.position - family.last)
            for position in range(low, min(held.stop - 1, event.position - family.first) + 1):
                source = Event(family.source.kind, family.source.layer, position, event.request)
                yield Edge(source, event, family.stream)

    def edges_from(self, event: Event) -> Iterator[Edge]:
        """Edges that start at an event, by target site and rising position.

        Args:
            event: An event of the graph.

        Yields:
            An edge.

        Raises:
            InputError: No event of the graph.

        >>> [str(edge) for edge in CausalStructure(Wiring(1), 1).edges_from(Event("embed", -1, 0))]
        ['embed(0) -> kv(0,0) [residual]', 'embed(0) -> attn(0,0) [residual]']
        """
        self.check(event)
        columns = self.requests[event.request]
        for family in self.families_from[Site(event.kind, event.layer)]:
            held = columns.positions(family.target)
            high = held.stop - 1 if family.last is None else min(held.stop - 1, event.position + family.last)
            for position in range(max(held.start, event.position + family.first), high + 1):
                target = Event(family.target.kind, family.target.layer, position, event.request)
                yield Edge(event, target, family.stream)

    def predecessors(self, event: Event) -> tuple[Event, ...]:
        """The events whose values an event reads, each once.

        Args:
            event: An event of the graph.

        Returns:
            Events, by source site and rising position.

        Raises:
            InputError: No event of the graph.

        >>> [str(e) for e in CausalStructure(Wiring(1), 2).predecessors(Event("attn", 0, 1))]
        ['embed(1)', 'kv(0,0)', 'kv(0,1)']
        """
        return tuple(dict.fromkeys(edge.source for edge in self.edges_into(event)))

    def successors(self, event: Event) -> tuple[Event, ...]:
        """The events that read an event's value, each once.

        Args:
            event: An event of the graph.

        Returns:
            Events, by target site and rising position.

        Raises:
            InputError: No event of the graph.

        >>> [str(event) for event in CausalStructure(Wiring(1), 1).successors(Event("embed", -1, 0))]
        ['kv(0,0)', 'attn(0,0)']
        """
        return tuple(dict.fromkeys(edge.target for edge in self.edges_from(event)))

    def edges(self) -> Iterator[Edge]:
        """Return all edges, by canonical order of their targets; parallel edges differ in stream.

        >>> [edge.stream for edge in CausalStructure(Wiring(1), 1).edges()]
        ['residual', 'residual', 'kv', 'residual', 'residual']
        """
        return (edge for event in self for edge in self.edges_into(event))

    def count_edges(self) -> int:
        """Return the number of edges, parallel ones counted apart, without listing them.

        >>> CausalStructure(Wiring(1), 1).count_edges(), CausalStructure(Wiring(126), 131_072).count_edges()
        (5, 1082389692416)
        """
        return sum(
            count_pairs(columns.positions(family.source), columns.positions(family.target), family)
            for columns in self.requests
            for family in self.edge_families
        )

    def covers(self) -> Iterator[Edge]:
        """Return the Hasse diagram: edges that no longer path implies, one a pair of events.

        >>> [str(edge) for edge in CausalStructure(Wiring(1), 1).covers()][:2]
        ['embed(0) -> kv(0,0) [residual]', 'kv(0,0) -> attn(0,0) [kv]']
        """
        return (edge for event in self for edge in self.covers_into(event))

    def covers_into(self, event: Event) -> Iterator[Edge]:
        """Edges of the Hasse diagram that end at an event, by source site and rising position.

        Args:
            event: An event of the graph.

        Yields:
            An edge.

        Raises:
            InputError: No event of the graph.

        >>> [str(edge) for edge in CausalStructure(Wiring(1), 1).covers_into(Event("attn", 0, 0))]
        ['kv(0,0) -> attn(0,0) [kv]']
        """
        edges = {edge.source: edge for edge in reversed(list(self.edges_into(event)))}
        pasts = [(source, self.past(source)) for source in edges]
        for source, edge in reversed(edges.items()):
            if not any(source in past for other, past in pasts if other != source):
                yield edge

    # -- order ----------------------------------------------------------------------------

    def past(self, event: Event) -> Cone:
        """All events that must happen before an event, without itself.

        The events x < e: a backward light cone (Bombelli, Lee, Meyer and Sorkin 1987).

        Args:
            event: An event of the graph.

        Returns:
            A set of events, held as intervals of positions.

        Raises:
            InputError: No event of the graph.

        >>> graph = CausalStructure(Wiring(2), 2, granularity="block")
        >>> sorted(map(str, graph.past(Event("block", 1, 1))))
        ['block(0,0)', 'block(0,1)']
        """
        self.check(event)
        return cone(self.requests[event.request], self.families_into, event, direction=-1)

    def future(self, event: Event) -> Cone:
        """All events that must wait for an event, without itself.

        The events x > e: a forward light cone.

        Args:
            event: An event of the graph.

        Returns:
            A set of events, held as intervals of positions.

        Raises:
            InputError: No event of the graph.

        >>> graph = CausalStructure(Wiring(2), 2, granularity="block")
        >>> sorted(map(str, graph.future(Event("block", 0, 1))))
        ['block(1,1)']
        """
        self.check(event)
        return cone(self.requests[event.request], self.families_from, event, direction=+1)

    def precedes(self, a: Event, b: Event) -> bool:
        """True if a chain of edges leads from ``a`` to ``b``.

        Args:
            a: An event of the graph.
            b: Another one.

        Returns:
            True if one does.

        Raises:
            InputError: No event of the graph.

        >>> graph = CausalStructure(Wiring(1), 1)
        >>> graph.precedes(Event("kv", 0, 0), Event("mlp", 0, 0))
        True
        """
        self.check(a)
        return a in self.past(b)

    def separation(self, a: Event, b: Event) -> Separation:
        """``"timelike"`` if one precedes the other, ``"spacelike"`` if neither does.

        Args:
            a: An event of the graph.
            b: Another one.

        Returns:
            ``"timelike"``, ``"spacelike"`` or ``"identical"``.

        Raises:
            InputError: No event of the graph.

        >>> graph = CausalStructure(Wiring(1), 2)
        >>> graph.separation(Event("mlp", 0, 0), Event("mlp", 0, 1))
        'spacelike'
        """
        if a == b:
            self.check(a)
            return "identical"
        return "timelike" if self.precedes(a, b) or self.precedes(b, a) else "spacelike"

    @property
    def depth(self) -> int:
        """Number of events of a longest chain.

        It climbs one column, and after it every column that waits for a token, by way of the sample
        before.

        >>> CausalStructure(Wiring(1), 1).depth, CausalStructure(Wiring(1), 2, prompt=1).depth
        (5, 11)
        """
        heights = self.wiring.heights(self.granularity)
        column = 1 + max(height for site, height in heights.items() if site.kind not in SAMPLED)
        waiting = max(columns.n_samples for columns in self.requests)
        return column + waiting * (column + 1)

    @property
    def strands(self) -> tuple[str, ...]:
        """The kinds of a layer whose events stand side by side in a column; none where a column is a chain.

        >>> [CausalStructure(Wiring(1, parallel_residual=parallel), 1).strands for parallel in (True, False)]
        [('attn', 'mlp'), ()]
        """
        return self.wiring.adding if self.wiring.parallel_residual and self.granularity == "sublayer" else ()

    @property
    def width(self) -> int:
        """Number of events of a largest antichain.

        A column is one chain (with a parallel residual one for each kind that adds to it), and
        feedback joins the columns from the last of the prompt on into one: so many chains
        cover the graph, and the first sites of the prompt's columns are spacelike.

        The least number of chains that hold all events (Dilworth 1950).

        >>> graph = CausalStructure(Wiring(2), 2, granularity="block")
        >>> CausalStructure(Wiring(1), 1).width, graph.width
        (1, 2)
        """
        return max(len(self.strands), 1) * sum(self.prompts)

    # -- explicit views, for graphs that are small enough -----------------------------------

    def explicit(self, limit: int = EXPLICIT_LIMIT) -> list[tuple[int, ...]]:
        """Predecessors as canonical indices, one tuple an event: what ``posets`` works on.

        Args:
            limit: The most edges.

        Returns:
            For each event the indices of its predecessors.

        Raises:
            LimitError: More edges, or events.

        >>> CausalStructure(Wiring(1), 1).explicit()
        [(), (0,), (0, 1), (2,), (3,)]
        """
        limit = check_whole("a limit", limit, 0)
        items = max(self.count_edges(), len(self))
        if items > limit:
            raise LimitError(
                "an explicit list of edges is for small graphs",
                reached=items,
                bound=limit,
                hint="Ask the graph itself (predecessors, past, count_edges), or take a shorter text.",
            )
        return [tuple(map(self.index, self.predecessors(event))) for event in self]

    def check_arrays(self) -> None:
        """Raise ``LimitError`` if arrays over all events would fit into no memory at hand.

        Raises:
            LimitError: They would not.

        >>> CausalStructure(Wiring(1), 1).check_arrays()
        """
        if len(self) > CODED_LIMIT:
            raise LimitError(
                "arrays over all events are for graphs that fit into memory",
                reached=len(self),
                bound=CODED_LIMIT,
                got=f"{len(self):,} events",
                hint="Take shorter texts or fewer layers.",
            )

    def codes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Site rank, position and request of every event, as arrays in canonical order.

        Returns:
            Three arrays over the events, ``int32``.

        Raises:
            LimitError: The arrays fit into no memory at hand.

        >>> [array.tolist() for array in CausalStructure(Wiring(2), 2, granularity="block").codes()]
        [[0, 1, 0, 1], [0, 0, 1, 1], [0, 0, 0, 0]]
        """
        self.check_arrays()
        rank, position, request = (np.empty(len(self), np.int32) for _ in range(3))
        for number, columns in enumerate(self.requests):
            request[columns.start : columns.start + len(columns)] = number
            for (held, ranks), (_, positions) in zip(
                columns.sheets(rank), columns.sheets(position), strict=True
            ):
                ranks[:] = np.arange(ranks.shape[1])
                positions[:] = np.arange(held.start, held.stop)[:, None]
        return rank, position, request
