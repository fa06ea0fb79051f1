"""Event, streams, wiring, event graph, and networkx interchange."""

from causalsim.events.chains import chain_cover, largest_antichain
from causalsim.events.cones import diamond, growth
from causalsim.events.event import Edge, Event, parse_edge, parse_event
from causalsim.events.graph import EventGraph
from causalsim.events.kinds import KINDS, STREAMS, Kind
from causalsim.events.lattice import count_lattice_edges
from causalsim.events.multiway import branchial_graph, maximal_antichains, state_graph
from causalsim.events.paths import paths
from causalsim.events.wiring import EdgeFamily, Granularity, Site, Wiring

__all__ = [
    "KINDS",
    "STREAMS",
    "Edge",
    "EdgeFamily",
    "Event",
    "EventGraph",
    "Granularity",
    "Kind",
    "Site",
    "Wiring",
    "branchial_graph",
    "chain_cover",
    "count_lattice_edges",
    "diamond",
    "growth",
    "largest_antichain",
    "maximal_antichains",
    "parse_edge",
    "parse_event",
    "paths",
    "state_graph",
]
