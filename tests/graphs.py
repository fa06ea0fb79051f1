"""Small graphs of every shape, and the plainest possible second opinion about them."""

from __future__ import annotations

from hypothesis import strategies as st

from causalsim.events import EventGraph, Wiring


@st.composite
def wirings(draw: st.DrawFn, max_layers: int = 3) -> Wiring:
    n_layers = draw(st.integers(1, max_layers))
    window = st.none() | st.integers(1, 4)
    windows = draw(window | st.lists(window, min_size=n_layers, max_size=n_layers))
    return Wiring(n_layers, windows=windows, parallel_residual=draw(st.booleans()))


@st.composite
def graphs(draw: st.DrawFn, max_layers: int = 3, max_length: int = 5, max_requests: int = 2) -> EventGraph:
    wiring = draw(wirings(max_layers))
    lengths = draw(st.lists(st.integers(1, max_length), min_size=1, max_size=max_requests))
    granularity = draw(st.sampled_from(["sublayer", "block"]))
    prompt = None
    if granularity == "sublayer" and draw(st.booleans()):
        prompt = [draw(st.integers(1, length)) for length in lengths]
    return EventGraph(wiring, lengths, prompt=prompt, granularity=granularity)


def events_with(graph: EventGraph, data: st.DataObject, count: int) -> list:
    """Some events of a graph, drawn."""
    return [graph[data.draw(st.integers(0, len(graph) - 1))] for _ in range(count)]
