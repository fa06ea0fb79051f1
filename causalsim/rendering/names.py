"""Names of elements: the ``id`` and ``class`` that SVG keeps, for scripts and style sheets."""

from __future__ import annotations

from causalsim.events import Edge, Event


def event_id(event: Event) -> str:
    """The id of an event's element: kind, layer, position, request.

    Args:
        event: An event.

    Returns:
        The id.

    >>> event_id(Event("attn", 3, 7))
    'attn-3-7-0'
    """
    return f"{event.kind}-{event.layer}-{event.position}-{event.request}"


def edge_id(edge: Edge) -> str:
    """The id of an edge's element: stream, source and target.

    Args:
        edge: An edge.

    Returns:
        The id.

    >>> edge_id(Edge(Event("attn", 0, 1), Event("mlp", 0, 1), "residual"))
    'residual_attn-0-1-0_mlp-0-1-0'
    """
    return f"{edge.stream}_{event_id(edge.source)}_{event_id(edge.target)}"


def slice_id(time: int, request: int) -> str:
    """The id of the line that a slice draws across one request.

    Args:
        time: The slice.
        request: The request that its line crosses.

    Returns:
        The id.
    """
    return f"slice-{time}-{request}"


def event_class(event: Event, time: int | None, role: str | None) -> str:
    """The classes of an event's element."""
    place = f"layer-{event.layer} position-{event.position} request-{event.request}"
    slice_class = None if time is None else f"slice-{time}"
    return " ".join(filter(None, ["event", event.kind, place, slice_class, role]))
