"""The causal structure of a graph: the edges between its events, and the order that these generate."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Literal

from causalsim.arguments import check_limit, check_whole
from causalsim.events.canonical import CanonicalOrder
from causalsim.events.cones import Cone, cone
from causalsim.events.event import Edge, Event
from causalsim.events.kinds import SAMPLED
from causalsim.events.vectorised import count_pairs
from causalsim.events.wiring import EdgeFamily, Site

Separation = Literal["timelike", "spacelike", "identical"]

# Above this an explicit list of predecessors is a mistake rather than a wish.
EXPLICIT_LIMIT = 200_000


class CausalStructure(CanonicalOrder):
    """An `EventGraph` before its orders, paths and routes are counted.

    Predecessors are computed, nothing is stored.
    """

    # -- edges ----------------------------------------------------------------------------

    @cached_property
    def edge_families(self) -> tuple[EdgeFamily, ...]:
        """Every family of edges, ordered by target site.

        >>> from causalsim.events import Wiring
        >>> [family.stream for family in CausalStructure(Wiring(2), 2, granularity="block").edge_families]
        ['residual', 'kv']
        """
        return self.wiring.edge_families(self.granularity)

    @cached_property
    def families_into(self) -> dict[Site, list[EdgeFamily]]:
        """The families of edges that end at each site.

        >>> from causalsim.events import Wiring
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

        >>> from causalsim.events import Wiring
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

        >>> from causalsim.events import Wiring
        >>> [str(edge) for edge in CausalStructure(Wiring(1), 1).edges_into(Event("attn", 0, 0))]
        ['embed(0) -> attn(0,0) [residual]', 'kv(0,0) -> attn(0,0) [kv]']
        """
        for family, position in self._sources(event):
            yield Edge(Event(*family.source, position, event.request), event, family.stream)

    def _sources(self, event: Event) -> Iterator[tuple[EdgeFamily, int]]:
        """Families and positions from which edges lead to an event."""
        self.check(event)
        columns = self.requests[event.request]
        for family in self.families_into[Site(event.kind, event.layer)]:
            for position in family.sources(event.position, columns.positions(family.source)):
                yield family, position

    def edges_from(self, event: Event) -> Iterator[Edge]:
        """Edges that start at an event, by target site and rising position.

        Args:
            event: An event of the graph.

        Yields:
            An edge.

        Raises:
            InputError: No event of the graph.

        >>> from causalsim.events import Wiring
        >>> [str(edge) for edge in CausalStructure(Wiring(1), 1).edges_from(Event("embed", -1, 0))]
        ['embed(0) -> kv(0,0) [residual]', 'embed(0) -> attn(0,0) [residual]']
        """
        self.check(event)
        columns = self.requests[event.request]
        for family in self.families_from[Site(event.kind, event.layer)]:
            for position in family.targets(event.position, columns.positions(family.target)):
                yield Edge(event, Event(*family.target, position, event.request), family.stream)

    def predecessors(self, event: Event) -> tuple[Event, ...]:
        """The events whose values an event reads, each once.

        Args:
            event: An event of the graph.

        Returns:
            Events, by source site and rising position.

        Raises:
            InputError: No event of the graph.

        >>> from causalsim.events import Wiring
        >>> [str(e) for e in CausalStructure(Wiring(1), 2).predecessors(Event("attn", 0, 1))]
        ['embed(1)', 'kv(0,0)', 'kv(0,1)']
        """
        return tuple(dict.fromkeys(edge.source for edge in self.edges_into(event)))

    def predecessor_indices(self, event: Event) -> tuple[int, ...]:
        """The canonical indices of ``predecessors``, without making events of them.

        Args:
            event: An event of the graph.

        Returns:
            Indices, by source site and rising position.

        Raises:
            InputError: No event of the graph.

        >>> from causalsim.events import Wiring
        >>> CausalStructure(Wiring(1), 2).predecessor_indices(Event("attn", 0, 1))
        (5, 1, 6)
        """
        return tuple(
            dict.fromkeys(
                self.requests[event.request].index(family.source, position)
                for family, position in self._sources(event)
            )
        )

    def successors(self, event: Event) -> tuple[Event, ...]:
        """The events that read an event's value, each once.

        Args:
            event: An event of the graph.

        Returns:
            Events, by target site and rising position.

        Raises:
            InputError: No event of the graph.

        >>> from causalsim.events import Wiring
        >>> [str(event) for event in CausalStructure(Wiring(1), 1).successors(Event("embed", -1, 0))]
        ['kv(0,0)', 'attn(0,0)']
        """
        return tuple(dict.fromkeys(edge.target for edge in self.edges_from(event)))

    def edges(self) -> Iterator[Edge]:
        """Return all edges, by canonical order of their targets; parallel edges differ in stream.

        >>> from causalsim.events import Wiring
        >>> [edge.stream for edge in CausalStructure(Wiring(1), 1).edges()]
        ['residual', 'residual', 'kv', 'residual', 'residual']
        """
        return (edge for event in self for edge in self.edges_into(event))

    def count_edges(self) -> int:
        """Return the number of edges, parallel ones counted apart, without listing them.

        >>> from causalsim.events import Wiring
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

        >>> from causalsim.events import Wiring
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

        >>> from causalsim.events import Wiring
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

        >>> from causalsim.events import Wiring
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

        >>> from causalsim.events import Wiring
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

        >>> from causalsim.events import Wiring
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

        >>> from causalsim.events import Wiring
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

        >>> from causalsim.events import Wiring
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

        >>> from causalsim.events import Wiring
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

        >>> from causalsim.events import Wiring
        >>> graph = CausalStructure(Wiring(2), 2, granularity="block")
        >>> CausalStructure(Wiring(1), 1).width, graph.width
        (1, 2)
        """
        return max(len(self.strands), 1) * sum(self.prompts)

    def explicit(self, limit: int = EXPLICIT_LIMIT) -> list[tuple[int, ...]]:
        """Predecessors as canonical indices, one tuple an event: what ``posets`` works on.

        Args:
            limit: The most edges.

        Returns:
            For each event the indices of its predecessors.

        Raises:
            LimitError: More edges, or events.

        >>> from causalsim.events import Wiring
        >>> CausalStructure(Wiring(1), 1).explicit()
        [(), (0,), (0, 1), (2,), (3,)]
        """
        limit = check_whole("a limit", limit, 0)
        items = max(self.count_edges(), len(self))
        rule = "an explicit list of edges is for small graphs"
        hint = "Ask the graph itself (predecessors, past, count_edges), or take a shorter text."
        check_limit(rule, items, limit, hint=hint)
        return [self.predecessor_indices(event) for event in self]
