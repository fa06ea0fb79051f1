"""An event: one computation of a transformer, named by what, how deep, where and for whom."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from causalsim.arguments import as_int, check_type, check_whole
from causalsim.errors import InputError
from causalsim.events.kinds import KINDS, STREAMS, kinds_at

_TEXT = re.compile(r"(?P<kind>\w+)\((?:(?P<layer>\d+) *, *)?(?P<position>\d+)\)(?:@(?P<request>\d+))?")
_EDGE = re.compile(r"(?P<source>.+?)\s*->\s*(?P<target>[^\[]+?)\s*(?:\[(?P<stream>[a-z]+)\])?")
_WITHOUT_LAYER = kinds_at("below", "above", "feedback")


@dataclass(frozen=True, slots=True, order=True)
class Event:
    """One computation: ``kind`` at ``layer`` and ``position`` of ``request``.

    ``layer`` is -1 for ``embed`` and the number of layers for ``unembed`` and ``sample``.
    ``request`` tells several texts in one graph apart.

    >>> print(Event("attn", 3, 7))
    attn(3,7)
    >>> print(Event("kv", 0, 2, request=1), Event("embed", -1, 4))
    kv(0,2)@1 embed(4)
    """

    kind: str
    layer: int
    position: int
    request: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(
                "an event has one of the known kinds",
                got=repr(self.kind),
                expected=", ".join(KINDS),
                hint="Block graphs have only 'block', sublayer graphs all the others.",
            )
        # Events are made by the million, nearly always from plain ints.
        if not (type(self.layer) is type(self.position) is type(self.request) is int):
            for name in ("layer", "position", "request"):
                object.__setattr__(self, name, _whole(name, getattr(self, name)))

    def __str__(self) -> str:
        inside = f"{self.position}" if self.kind in _WITHOUT_LAYER else f"{self.layer},{self.position}"
        return f"{self.kind}({inside})" + (f"@{self.request}" if self.request else "")


def _whole(name: str, value: object) -> int:
    number = as_int(value)
    if number is None:
        raise InputError(f"an event's {name} is a whole number", got=repr(value))
    return number


class Edge(NamedTuple):
    """A causal edge: ``target`` reads over ``stream`` what ``source`` made.

    >>> print(Edge(Event("kv", 0, 0), Event("attn", 0, 0), "kv"))
    kv(0,0) -> attn(0,0) [kv]
    """

    source: Event
    target: Event
    stream: str

    def __str__(self) -> str:
        return f"{self.source} -> {self.target} [{self.stream}]"


def parse_event(text: str, n_layers: int) -> Event:
    """Read an event as it is printed, for scenario files and the command line.

    Args:
        text: An event, such as ``attn(0,3)``, ``embed(3)`` or, of request 1, ``attn(0,3)@1``.
        n_layers: Layers of the model, which is the layer of what stands above them.

    Returns:
        The event, of whatever graph.

    Raises:
        InputError: No event is written so, or its kind is not known.

    >>> parse_event("attn(1,5)", n_layers=2)
    Event(kind='attn', layer=1, position=5, request=0)
    >>> parse_event("unembed(3)@1", n_layers=2)
    Event(kind='unembed', layer=2, position=3, request=1)
    """
    check_type("an event's text", text, str)
    layers = check_whole("n_layers", n_layers, 1)
    match = _TEXT.fullmatch(text.strip())
    if not match or (match["layer"] is None) != (match["kind"] in _WITHOUT_LAYER):
        raise InputError(
            "an event is written kind(layer,position), or kind(position) for embed, unembed and sample",
            got=repr(text),
            expected="for example 'attn(0,3)', 'embed(3)' or, for request 1, 'attn(0,3)@1'",
        )
    implied = -1 if match["kind"] in kinds_at("below") else layers
    layer = implied if match["layer"] is None else int(match["layer"])
    return Event(match["kind"], layer, int(match["position"]), int(match["request"] or 0))


def parse_edge(text: str, n_layers: int) -> tuple[Event, Event, str | None]:
    """Read source, target and, where it is given, stream of an edge as it is printed.

    Args:
        text: An edge, such as ``kv(0,0) -> attn(0,7) [kv]``.
        n_layers: Layers of the model.

    Returns:
        Source, target and stream.

    Raises:
        InputError: No edge is written so.

    >>> source, target, stream = parse_edge("kv(0,0) -> attn(0,7) [kv]", n_layers=1)
    >>> print(source, target, stream)
    kv(0,0) attn(0,7) kv
    """
    check_type("an edge's text", text, str)
    match = _EDGE.fullmatch(text.strip())
    if not match or match["stream"] not in (None, *STREAMS):
        raise InputError(
            "an edge is written source -> target, or source -> target [stream]",
            got=repr(text),
            expected="for example 'kv(0,0) -> attn(0,7)' or 'kv(0,0) -> attn(0,7) [kv]'",
        )
    return parse_event(match["source"], n_layers), parse_event(match["target"], n_layers), match["stream"]
