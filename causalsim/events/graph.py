"""The event graph: what each computation of a transformer over given texts must wait for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import causalsim.events.lattice as _lattice
import causalsim.events.paths as _paths
import causalsim.events.routes as _routes
from causalsim.arguments import check_limit, check_type, shown
from causalsim.errors import InputError
from causalsim.events.kinds import SUBLAYERS
from causalsim.events.structure import CausalStructure
from causalsim.events.wiring import Wiring

if TYPE_CHECKING:
    import networkx as nx

NETWORKX_LIMIT = 2_000_000


class EventGraph(CausalStructure):
    """The events of a model over one or several texts, with the edges its wiring implies.

    Predecessors are computed, nothing is stored.

    A method says what the graph is: its events and edges, their order, and how many chains, orders and
    down-sets it has, each with the method that lists what it counts. What looks at one of these from
    another side (cones, antichains, the lattice as a graph of states) is a function of the package that
    takes the graph first.

    Args:
        config_or_wiring: A wiring, or a configuration that has one.
        length: Positions of the text; a sequence has one entry a request, for the disjoint union.
        prompt: Positions that are given; the rest wait for tokens sampled from the position before.
            ``None``: all are given. One number for all requests, or one each.
        granularity: ``"sublayer"``, or ``"block"`` for graphs with one event a layer and position.

    Raises:
        InputError: No wiring, a length or prompt below 1, a prompt longer than its text, feedback in a
            block graph.
        LimitError: More events than Python counts.

    >>> graph = EventGraph(Wiring(1), 1)
    >>> [str(event) for event in graph]
    ['embed(0)', 'kv(0,0)', 'attn(0,0)', 'mlp(0,0)', 'unembed(0)']
    >>> graph.depth, graph.width, graph.count_edges()
    (5, 1, 5)
    """

    count_linear_extensions = _lattice.count_linear_extensions
    linear_extensions = _lattice.linear_extensions
    count_down_sets = _lattice.count_down_sets
    down_sets = _lattice.down_sets
    count_routes = _routes.count_routes
    routes = _routes.routes
    count_paths = _paths.count_paths
    paths = _paths.paths

    def to_dict(self) -> dict[str, Any]:
        """Give what the graph is built from, as data for JSON.

        Returns:
            ``n_layers``, ``windows``, ``parallel_residual``, ``granularity``, ``lengths``, ``prompts``, and
            ``sublayers`` where they are not those of every transformer.

        >>> EventGraph(Wiring(1), 2, granularity="block").to_dict()["lengths"]
        [2]
        """
        wiring = self.wiring
        found: dict[str, Any] = {
            "n_layers": wiring.n_layers,
            "windows": None if wiring.windows is None else list(wiring.windows_by_layer),
            "parallel_residual": wiring.parallel_residual,
            "granularity": self.granularity,
            "lengths": list(self.lengths),
            "prompts": list(self.prompts),
        }
        return found if wiring.sublayers == SUBLAYERS else found | {"sublayers": list(wiring.sublayers)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> EventGraph:
        """Build a graph from what ``to_dict`` gave.

        Args:
            data: The entries of ``to_dict``.

        Returns:
            The graph.

        Raises:
            InputError: An entry is missing or unknown, or no graph is built from it.

        >>> graph = EventGraph(Wiring(2, windows=3), [4, 2], prompt=[2, 2])
        >>> EventGraph.from_dict(graph.to_dict()) == graph
        True
        """
        known = {"n_layers", "windows", "parallel_residual", "granularity", "lengths", "prompts"}
        if not isinstance(data, Mapping) or not known <= data.keys() <= known | {"sublayers"}:
            raise InputError(
                "a graph is built from what to_dict gave",
                got=shown(data),
                expected=f"an object with {', '.join(sorted(known))}",
            )
        wiring = Wiring(
            data["n_layers"],
            windows=data["windows"],
            parallel_residual=data["parallel_residual"],
            sublayers=data.get("sublayers", SUBLAYERS),
        )
        return cls(wiring, data["lengths"], prompt=data["prompts"], granularity=data["granularity"])

    def to_networkx(self) -> nx.MultiDiGraph:
        """The graph for networkx, nodes added in canonical order.

        Returns:
            A MultiDiGraph whose nodes are events (with ``kind``, ``layer``, ``position``, ``request``) and
            whose edges have their ``stream``, as key too.

        Raises:
            LimitError: More than two million edges.

        >>> view = EventGraph(Wiring(1), 1).to_networkx()
        >>> view.number_of_edges(), len(view)
        (5, 5)
        """
        import networkx as nx

        edges = self.count_edges()
        check_limit("a networkx view is for small graphs", edges, NETWORKX_LIMIT, hint="Take a shorter text.")
        view = nx.MultiDiGraph(granularity=self.granularity, lengths=self.lengths, prompts=self.prompts)
        view.add_nodes_from((event, asdict(event)) for event in self)
        view.add_edges_from(
            (source, target, stream, {"stream": stream}) for source, target, stream in self.edges()
        )
        return view


def checked_graph(graph: object) -> EventGraph:
    """Return an event graph, or raise ``InputError`` for anything else.

    >>> checked_graph(3)
    Traceback (most recent call last):
    causalsim.errors.InputError: a graph must be of type EventGraph: got 3, which is of type int. \
EventGraph(wiring, length) makes one.
    """
    check_type("a graph", graph, EventGraph, "EventGraph(wiring, length) makes one.")
    assert isinstance(graph, EventGraph)
    return graph
