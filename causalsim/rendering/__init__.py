"""Graph or foliation as a graphviz.Digraph, and as SVG and PNG files."""

from causalsim.rendering.digraph import to_graphviz
from causalsim.rendering.highlight import Highlight, route_edges
from causalsim.rendering.names import edge_id, event_id, slice_id
from causalsim.rendering.output import formats, render
from causalsim.rendering.style import Style

__all__ = [
    "Highlight", "Style", "edge_id", "event_id", "formats", "render", "route_edges", "slice_id",
    "to_graphviz",
]  # fmt: skip
