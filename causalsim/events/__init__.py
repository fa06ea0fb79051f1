"""Event, streams, wiring, event graph, and networkx interchange."""

from causalsim.events.event import KINDS, STREAMS, Edge, Event, parse_edge, parse_event
from causalsim.events.graph import EventGraph
from causalsim.events.wiring import Granularity, Rule, Slot, Wiring

__all__ = [
    "KINDS",
    "STREAMS",
    "Edge",
    "Event",
    "EventGraph",
    "Granularity",
    "Rule",
    "Slot",
    "Wiring",
    "parse_edge",
    "parse_event",
]
