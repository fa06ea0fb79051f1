"""Events, the table of their kinds, the wiring of an architecture, and the graph that it implies."""

from causalsim.events.antichains import chain_cover, largest_antichain, maximal_antichains
from causalsim.events.diamonds import diamond, growth
from causalsim.events.event import Edge, Event, parse_edge, parse_event
from causalsim.events.graph import EventGraph
from causalsim.events.kinds import KINDS, STREAMS, Kind, Stream
from causalsim.events.multiway import branchial_graph, count_lattice_edges, state_graph
from causalsim.events.wiring import EdgeFamily, Granularity, Site, Wiring

__all__ = [
    "KINDS", "STREAMS", "Edge", "EdgeFamily", "Event", "EventGraph", "Granularity", "Kind", "Site", "Stream",
    "Wiring", "branchial_graph", "chain_cover", "count_lattice_edges", "diamond", "growth",
    "largest_antichain", "maximal_antichains", "parse_edge", "parse_event", "state_graph",
]  # fmt: skip
