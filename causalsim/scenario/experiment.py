"""A scenario made ready: its model, graph, foliations and routes, all checked before anything runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from causalsim.arguments import nearest
from causalsim.errors import CausalityError, InputError, ScenarioError
from causalsim.events import Edge, Event, EventGraph, Wiring, parse_edge, parse_event
from causalsim.foliations import Foliation
from causalsim.foliations.registry import family_named
from causalsim.models import ModelConfig
from causalsim.scenario.problems import at, located
from causalsim.scenario.schema import FoliationTable, ModelTable, RouteTable, Scenario

if TYPE_CHECKING:
    from causalsim.engine import Model

Ids = tuple[Any, ...]

# More routes than this make no picture that an eye could follow.
DRAWN_ROUTES = 100


@dataclass(frozen=True)
class FoliationEntry:
    """A ``[[foliation]]`` made ready: the foliation, or the refusal of its family.

    ``named`` holds the edges that the refusal may name; any, where it is ``None``.
    """

    table: FoliationTable
    named: frozenset[Edge] | None = None
    foliation: Foliation | None = None
    refusal: CausalityError | None = None

    @property
    def name(self) -> str:
        """The name in tables and files."""
        return self.table.title


@dataclass(frozen=True)
class RouteEntry:
    """A ``[[route]]`` made ready: its ends and the number of routes between them."""

    table: RouteTable
    source: Event
    target: Event
    count: int


@dataclass(frozen=True)
class Experiment:
    """A scenario with all that it names; ``model`` is ``None`` and ``ids`` empty for a wiring alone."""

    scenario: Scenario
    graph: EventGraph
    foliations: tuple[FoliationEntry, ...]
    routes: tuple[RouteEntry, ...]
    model: Model | None
    ids: Ids

    @property
    def unread(self) -> tuple[str, ...]:
        """The pieces of its texts that the model has no token for."""
        texts = [text for text in self.scenario.texts or () if isinstance(text, str)]
        model = self.model
        return () if model is None else tuple(dict.fromkeys(p for text in texts for p in model.unread(text)))

    @property
    def runnable(self) -> tuple[FoliationEntry, ...]:
        """The foliations that are to run."""
        return tuple(entry for entry in self.foliations if entry.table.expect == "runs")


def prepare(scenario: Scenario) -> Experiment:
    """Load, build and check all that a scenario names.

    Args:
        scenario: A checked scenario.

    Returns:
        All that it takes to run it.

    Raises:
        ScenarioError: The model or the graph excludes what it says; ``key`` is the place.
    """
    with at("model"):
        source = _source(scenario.model)
    model = None if isinstance(source, Wiring) else source
    ids = () if model is None else _ids(model, scenario)
    with at("generate" if scenario.generate else "granularity"):
        graph = _graph(scenario, source if isinstance(source, Wiring) else source.config, ids)
    _check_drawable(scenario, graph)
    foliations = tuple(
        _entry(graph, f"foliation[{n}]", table) for n, table in enumerate(scenario.foliation, 1)
    )
    routes = tuple(_route(graph, f"route[{n}]", table) for n, table in enumerate(scenario.route, 1))
    return Experiment(scenario, graph, foliations, routes, model, ids)


def _source(table: ModelTable) -> Model | Wiring:
    if table.layers is not None:
        return Wiring(table.layers, windows=_windows(table), parallel_residual=table.parallel_residual)
    # JAX is imported only for scenarios that run something.
    from causalsim.engine import load, random_model

    if table.name is not None:
        return load(table.name, dtype=table.dtype)
    return random_model(_sizes(table.random or {}), table.seed, dtype=table.dtype)


def _windows(table: ModelTable) -> int | list[int | None] | None:
    def plain(window: int | str | None) -> int | None:
        return window if isinstance(window, int) else None

    return [plain(w) for w in table.windows] if isinstance(table.windows, list) else plain(table.windows)


def _sizes(given: dict[str, Any]) -> ModelConfig:
    known = list(ModelConfig.__dataclass_fields__)
    for key in given:
        if key not in known:
            hint = nearest(key, known)
            raise ScenarioError("a configuration has no such field", key=f"random.{key}", hint=hint)
    with at("random"):
        return ModelConfig.from_dict(given)


def _ids(model: Model, scenario: Scenario) -> Ids:
    from causalsim.engine.tokens import check_length, encode_texts

    ids: list[Any] = []
    for number, text in enumerate(scenario.texts or (), 1):
        with at(f"texts[{number}]"):
            ids += encode_texts(model, text)
    if scenario.generate:
        with at("generate.tokens"):
            for number, prompt in enumerate(ids):
                check_length(model, number, len(prompt) + scenario.generate.tokens)
    return tuple(ids)


def _graph(scenario: Scenario, source: Wiring | ModelConfig, ids: Ids) -> EventGraph:
    prompts = [len(text) for text in ids] or list(scenario.lengths or ())
    behind = scenario.generate.tokens if scenario.generate else 0
    lengths = [prompt + behind for prompt in prompts]
    return EventGraph(source, lengths, prompt=prompts, granularity=scenario.granularity)


def _check_drawable(scenario: Scenario, graph: EventGraph) -> None:
    """Refuse pictures that are too large to look at before hours go into what they would show."""
    if not scenario.draws:
        return
    from causalsim.rendering.style import Style
    from causalsim.rendering.thinning import check_drawable

    with at("pictures"):
        check_drawable(graph, Style())


def _entry(graph: EventGraph, key: str, table: FoliationTable) -> FoliationEntry:
    named = None if table.edge is None else _edge(graph, f"{key}.edge", table.edge)
    try:
        with at(key):
            return FoliationEntry(table, named, family_named(table.family)(graph, **table.arguments))
    except ScenarioError as error:
        cause = error.__cause__
        if not isinstance(cause, CausalityError):
            raise
        if table.expect == "refused":
            return FoliationEntry(table, named, refusal=cause)
        hint = f'{cause.hint} Or say expect = "refused", if the refusal is the point.'
        raise located(cause, key, hint) from cause


def _route(graph: EventGraph, key: str, table: RouteTable) -> RouteEntry:
    source = _event(graph, f"{key}.from", table.source)
    target = _event(graph, f"{key}.to", table.target)
    with at(key):
        count = graph.count_routes(source, target)
        if table.draw and count > DRAWN_ROUTES:
            raise InputError(
                "pictures of routes are for the eye",
                got=f"{count:,} routes to draw",
                expected=f"at most {DRAWN_ROUTES}",
                hint="Leave draw out, or take events that lie nearer.",
            )
    return RouteEntry(table, source, target, count)


def _event(graph: EventGraph, key: str, text: str) -> Event:
    with at(key):
        event = parse_event(text, graph.wiring.n_layers)
        graph.check(event)
    return event


def _edge(graph: EventGraph, key: str, text: str) -> frozenset[Edge]:
    """The edges that a text means: all streams, where it names none."""
    with at(key):
        source, target, stream = parse_edge(text, graph.wiring.n_layers)
        graph.check(source)
        into = list(graph.edges_into(target))
        meant = frozenset(e for e in into if e.source == source and stream in (None, e.stream))
        if not meant:
            read = [str(edge.source) for edge in into[:3]] + ["..."] * (len(into) > 3)
            hint = f"{target} reads {', '.join(read) or 'nothing'}."
            raise InputError("a refusal names an edge of the graph", got=repr(text), hint=hint)
    return meant
