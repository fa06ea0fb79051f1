"""``causalsim plan``: what schedules of a model cost, without its weights and before anything runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from causalsim.cli.exit_codes import FAILS, HOLDS
from causalsim.cli.results import check_file, write_result
from causalsim.cli.tables import Indented, plain_table, size, work
from causalsim.cli.terminal import console, progress
from causalsim.errors import CausalityError, InputError
from causalsim.events import EventGraph
from causalsim.foliations import Costs, Foliation, Footprint, admissible, costs
from causalsim.foliations.registry import compared, made
from causalsim.models import ModelConfig, count_parameters, known_dtype, read_config
from causalsim.models.known import KNOWN, known_config
from causalsim.scenario import in_words

if TYPE_CHECKING:
    from rich.console import RenderableType

    from causalsim.progress import Progress

LENGTH = 8192

# The limits, each with its word in a narrow column.
LIMITS = {"token_budget": "tokens", "memory_cap": "memory"}

LEGEND = (
    "widest: events of a slice. tokens: events of a batch, at most. peak live: bytes of values while the "
    "events run one by one, and at cuts: between slices. A value is dropped after its last reader; weights "
    "are not counted."
)

Caps = Mapping[str, int | None]


@dataclass(frozen=True)
class Plan:
    """Schedules of one graph compared: their costs, and for those that break it the refusal."""

    name: str
    config: ModelConfig
    dtype: str
    graph: EventGraph
    caps: Caps
    costs: dict[str, Costs]
    refusals: dict[str, CausalityError]

    @property
    def footprint(self) -> Footprint:
        return self.config.footprint(self.dtype)

    @property
    def admissible(self) -> list[str]:
        """The names of the schedules that fit, by bytes read."""
        return admissible(self.costs, **self.caps)

    def verdict(self, name: str) -> str:
        """``"fits"``, ``"refused"`` or the name of the limit that a schedule passes."""
        if name in self.refusals:
            return "refused"
        found = {name: self.costs[name]}
        return next((cap for cap in LIMITS if not admissible(found, **{cap: self.caps[cap]})), "fits")


def plan(
    name: str,
    sizes: tuple[int | None, int | None, int],
    families: Sequence[str],
    dtype: str,
    caps: Caps,
    path: Path | None,
) -> int:
    """Compare schedules and print a table of them; fails if none fits."""
    check_file(path)
    config, out = read_config(name), console()
    graph = _graph(config, *sizes)
    with progress(out) as watch:
        costed = _compared(graph, families or compared(graph), config.footprint(known_dtype(dtype)), watch)
    found = Plan(name, config, dtype, graph, caps, *costed)
    for part in _shown(found):
        out.print(part)
    write_result(out, path, _to_json(found))
    return HOLDS if found.admissible else FAILS


def _graph(config: ModelConfig, length: int | None, prompt: int | None, requests: int) -> EventGraph:
    length = min(LENGTH, config.max_length) if length is None else length
    if length > config.max_length:
        raise InputError(
            "a text fits into the model's context",
            got=f"--length {length:,}",
            expected=f"at most {config.max_length:,}",
        )
    return EventGraph(config, [length] * requests, prompt=prompt)


def _compared(
    graph: EventGraph, families: Sequence[str], footprint: Footprint, watch: Progress
) -> tuple[dict[str, Costs], dict[str, CausalityError]]:
    found: dict[str, Costs] = {}
    refused: dict[str, CausalityError] = {}
    for number, family in enumerate(families):
        watch(family, number, len(families))
        try:
            found[family] = costs(_foliation(graph, family), footprint)
        except CausalityError as error:
            refused[family] = error
    return found, refused


def _foliation(graph: EventGraph, family: str) -> Foliation:
    if family.endswith(".json"):
        return Foliation.from_json(graph, Path(family).read_bytes().decode(errors="replace"))
    return made(graph, family)


# -- what is shown ---------------------------------------------------------------------------


def _shown(found: Plan) -> Iterator[RenderableType]:
    yield Text(_model(found), style="bold")
    yield Text(_texts(found), style="dim")
    yield Text()
    yield Indented(_table(found))
    yield Text()
    yield Indented(Text(LEGEND, style="dim"))
    for name in [*found.costs, *found.refusals]:
        if words := _objection(found, name):
            yield Indented(Text(f"{name}: {words}", style="red"))
    yield _last_word(found)


def _model(found: Plan) -> str:
    parameters, sizes = count_parameters(found.config), found.footprint.values
    weights = size(parameters * sizes["attn"] // found.config.d_model)
    kept = size(sizes["kv"] * found.config.n_layers)
    return f"{found.name}: {parameters:,} parameters, {weights} in {found.dtype}; K/V of a position: {kept}"


def _texts(found: Plan) -> str:
    same = next(iter(found.costs.values()), None)
    whatever = (
        ""
        if same is None
        else f"\nIn every foliation {work(same.flops)}, and {size(same.kv_bytes)} of K/V read."
    )
    return in_words(found.graph) + "." + whatever


def _table(found: Plan) -> RenderableType:
    judged = bool(found.refusals) or any(cap is not None for cap in found.caps.values())
    table = plain_table("foliation", narrow=True)
    for heading in ("slices", "widest", "batches", "tokens", "weights\nread", "peak\nlive", "peak\nat cuts"):
        table.add_column(heading, justify="right")
    if judged:
        table.add_column("verdict")
    for name in [*found.costs, *found.refusals]:
        last = [_verdict(found.verdict(name))] if judged else []
        table.add_row(Text(name), *_figures(found.costs.get(name)), *last)
    return table


def _figures(each: Costs | None) -> list[str]:
    if each is None:
        return [""] * 7
    counts = (each.depth, each.width, each.batches, each.tokens)
    bytes_ = (each.weight_bytes, each.peak_during, each.peak_at_cuts)
    return [*(f"{count:,}" for count in counts), *map(size, bytes_)]


def _verdict(words: str) -> Text:
    return Text(LIMITS.get(words, words), style="green" if words == "fits" else "red")


def _objection(found: Plan, name: str) -> str | None:
    """The reason against a schedule, in a sentence."""
    verdict, each = found.verdict(name), found.costs.get(name)
    if each is None:
        return f"refused, {found.refusals[name].edge} runs backwards."
    if verdict == "token_budget":
        return f"batches of {each.tokens:,} tokens, over the budget of {found.caps[verdict]:,}."
    if verdict == "memory_cap":
        return f"{each.peak_during:,} bytes live at once, over the cap of {found.caps[verdict]:,}."
    return None


def _last_word(found: Plan) -> Text:
    if not (fitting := found.admissible):
        return Text("None of these fits.", style="bold red")
    capped = any(cap is not None for cap in found.caps.values())
    among = "Of those that fit" if capped else "Of these"
    return Text(f"{among}, {fitting[0]} reads the fewest bytes.", style="bold green")


def _to_json(found: Plan) -> str:
    rows = [
        {"foliation": name, "verdict": found.verdict(name), **asdict(each)}
        for name, each in found.costs.items()
    ]
    refused = [
        {"foliation": name, "verdict": "refused", "edge": str(error.edge), "message": str(error)}
        for name, error in found.refusals.items()
    ]
    whole = {
        "model": found.name,
        "dtype": found.dtype,
        "parameters": count_parameters(found.config),
        "graph": found.graph.to_dict(),
        **found.caps,
        "foliations": [*rows, *refused],
        "admissible": found.admissible,
    }
    return json.dumps(whole, indent=2)


# -- the names -------------------------------------------------------------------------------


def listed() -> int:
    """A line a known configuration: what it costs to keep, and where its figures come from."""
    table = plain_table("model", narrow=True)
    for heading in ("layers", "width", "heads/K/V", "context", "parameters"):
        table.add_column(heading, justify="right")
    table.add_column("config.json of")
    for name, known in KNOWN.items():
        config = known_config(name)
        heads = f"{config.n_heads}/{config.n_kv_heads}"
        sizes = (f"{config.n_layers}", f"{config.d_model:,}", heads, f"{config.max_length:,}")
        table.add_row(Text(name), *sizes, f"{count_parameters(config):,}", Text(known.source))
    console().print(Indented(table))
    return HOLDS
