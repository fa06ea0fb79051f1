"""The demo: the problem, the answer, the proof, and the pictures, in about a minute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.text import Text

from causalsim import engine, scenario
from causalsim.cli import FAILS, HOLDS
from causalsim.cli.files import check_folder, write_text
from causalsim.cli.tables import check_lines, continuation, file_table, indented, ink, order_table, plain_table
from causalsim.cli.terminal import console, progress
from causalsim.errors import CausalsimError, ScenarioError
from causalsim.events import EventGraph
from causalsim.kernels import CERTIFIED, STOCK
from causalsim.models import ModelConfig
from causalsim.scenario import Experiment, Outcome, Scenario, build
from causalsim.scenario.pictures import figures, write
from causalsim.verification import Departure, first_departure

if TYPE_CHECKING:
    from rich.console import Console

    from causalsim.scenario.running import Watch

SENTENCE = "The little fairy flew over the garden wall, and said to the old king,"

# Wide enough that stock kernels change their bits with the number of lanes; narrow models pass by luck.
WIDE = ModelConfig(n_layers=2, n_heads=12, d_model=768, d_ff=3072, vocab_size=1024, max_length=128)
WIDE_LENGTH = 24
TEMPERATURE = 0.65
VERIFIED_ORDERS = 20


def demo(text: str | None, folder: Path, tokens: int, seed: int) -> int:
    """Show everything about one sentence; the exit code says whether every verdict holds."""
    check_folder(folder)
    reading, writing = _prepared(SENTENCE if text is None else text, tokens, seed)
    out = console()
    out.print("[bold]A transformer is one causal graph of events. Every schedule is a foliation of it.[/]")
    kept = _problem(out, seed)
    read = _answer(out, reading)
    written = _continuation(out, writing)
    holds = kept and read.holds and written.holds
    _verdict(out, read)
    _files(out, folder, reading, {"reading": read, "writing": written})
    _last_word(out, holds)
    return HOLDS if holds else FAILS


# -- what is asked ---------------------------------------------------------------------------


def _prepared(text: str, tokens: int, seed: int) -> tuple[Experiment, Experiment]:
    """The two scenarios of the demo, with all that could be wrong with the input found before any work."""
    try:
        return scenario.prepare(_reading(text, seed)), scenario.prepare(_writing(text, tokens, seed))
    except ScenarioError as error:
        # Nobody wrote a file here, so the key that the scenario names would puzzle.
        raise error.__cause__ if isinstance(error.__cause__, CausalsimError) else error from None


def _reading(text: str, seed: int) -> Scenario:
    return _glass(
        text,
        title="Reading",
        foliation=[
            {"name": "layer by layer: prefill", "family": "layer_major"},
            {"name": "token by token: decode", "family": "token_major"},
            {"name": "chunks of 8 tokens", "family": "chunked", "size": 8},
            {"name": "diagonal: wavefront", "family": "wavefront"},
            {"name": "tilted backwards", "family": "tilted", "velocity": "-1/200"},
            {"name": "random slices", "family": "random_foliation", "seed": seed},
            {"name": "random, one by one", "family": "random_linear_extension", "method": "kahn", "seed": seed},
        ],
        expect={"same_bits": True, "verify": {"orders": VERIFIED_ORDERS, "seed": seed}},
        pictures={"foliations": True, "format": ["svg", "png"]},
    )


def _writing(text: str, tokens: int, seed: int) -> Scenario:
    return _glass(
        text,
        title="Writing",
        generate={"tokens": tokens, "temperature": TEMPERATURE, "seed": seed},
        foliation=[
            {"name": "prefill, then decode", "family": "chunked", "size": 128},
            {"name": "decode from the first token on", "family": "token_major"},
            {"name": "random slices", "family": "random_foliation", "seed": seed},
        ],
        expect={"same_bits": True},
    )


def _glass(text: str, **tables: Any) -> Scenario:
    return Scenario.model_validate({"about": "", "texts": [text], "model": {"name": "glass"}, **tables})


# -- the problem -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Contrast:
    """One order of the wide model: what it gave on XLA's stock kernels and on causalsim's."""

    name: str
    slices: int
    stock: str
    departure: Departure | None
    certified: str


def _problem(out: Console, seed: int) -> bool:
    _heading(out, 1, "The problem: the order of the arithmetic changes the result")
    out.print(
        f"  A random model, {WIDE.n_layers} layers, {WIDE.d_model} wide, reads {WIDE_LENGTH} tokens in five orders "
        "that all respect cause and effect. The digest is the sha256 of its logits: other bits, other digest."
    )
    with progress(out) as watch:
        rows = _contrasts(seed, watch)
    out.print(_contrast_table(rows))
    stock, ours = (len({getattr(row, kernels) for row in rows}) for kernels in ("stock", "certified"))
    out.print(f"  XLA's stock kernels: [bold]{_results(stock)}[/]. causalsim's kernels: [bold]{_results(ours)}[/].")
    return ours == 1


def _results(count: int) -> str:
    return f"{count} different results" if count > 1 else "one result"


def _contrasts(seed: int, watch: Watch) -> list[Contrast]:
    model, graph = engine.random_model(WIDE, seed=0), EventGraph(WIDE, WIDE_LENGTH)
    ids = np.random.default_rng(0).integers(0, WIDE.vocab_size, WIDE_LENGTH)
    families: Mapping[str, dict[str, int]] = {
        "layer_major": {}, "token_major": {}, "chunked": {"size": 8}, "wavefront": {}, "random_foliation": {"seed": seed}
    }  # fmt: skip
    rows: list[Contrast] = []
    reference = None
    for number, (name, arguments) in enumerate(families.items()):
        watch("the wide model, in five orders", number, len(families))
        foliation = build(graph, name, arguments)
        stock = engine.run(model, ids, foliation, record=True, kernels=STOCK)
        reference = reference or stock
        ours = engine.run(model, ids, foliation, kernels=CERTIFIED)
        found = first_departure(reference, stock)
        rows.append(Contrast(name, foliation.depth, stock.digest, found, ours.digest))
    return rows


def _contrast_table(rows: list[Contrast]) -> Any:
    table = plain_table("order")
    table.add_column("slices", justify="right")
    for heading in ("stock kernels", "first event with other bits", "causalsim"):
        table.add_column(heading)
    stock, ours = ink(row.stock for row in rows), ink(row.certified for row in rows)
    for row in rows:
        table.add_row(row.name, str(row.slices), stock[row.stock], _departure(row), ours[row.certified])
    return indented(table)


def _departure(row: Contrast) -> str:
    return "-" if row.departure is None else f"{row.departure.event}, {row.departure.ulps} ULP"


# -- the answer ------------------------------------------------------------------------------


def _answer(out: Console, reading: Experiment) -> Outcome:
    _heading(out, 2, "The answer: any order, the same bits")
    model = reading.model
    assert model is not None
    c = model.config
    out.print(
        f"  glass, a trained model ({c.n_layers} layers, {c.d_model} wide), reads {reading.graph.lengths[0]} tokens: "
        f"{len(reading.graph)} events, {reading.graph.count_edges():,} causal edges."
    )
    out.print(indented(Text(f"“{reading.scenario.texts[0]}”", style="italic")))
    with progress(out) as watch:
        outcome = scenario.run(reading, watch)
    out.print(order_table(outcome.orders))
    out.print(
        "  slices: steps that must follow one another; widest slice: events that can run at once; peak live: "
        "memory for values still to be read. The first is fast where there is room, the second is lean."
    )
    return outcome


def _continuation(out: Console, writing: Experiment) -> Outcome:
    with progress(out) as watch:
        outcome = scenario.run(writing, watch)
    _heading(out, 3, "It writes on, the same in every order")
    for text in outcome.continuations:
        out.print(continuation(text))
    for part in check_lines(outcome.checks):
        out.print(part)
    return outcome


# -- the end ---------------------------------------------------------------------------------


def _verdict(out: Console, outcome: Outcome) -> None:
    _heading(out, 4, "The verdict")
    for part in check_lines(outcome.checks):
        out.print(part)


def _files(out: Console, folder: Path, reading: Experiment, outcomes: Mapping[str, Outcome]) -> None:
    _heading(out, 5, "The files")
    drawn = figures(reading)
    with progress(out) as watch:
        watch("drawing", 0, 1)
        write(drawn, folder)
    whole = ", ".join(f'"{name}": {outcome.to_json()}' for name, outcome in outcomes.items())
    write_text(folder / "report.json", f"{{{whole}}}\n")
    out.print(file_table(folder, drawn, {str(folder / "report.json"): "all numbers, verdicts and planted faults"}))


def _last_word(out: Console, holds: bool) -> None:
    word = "[bold green]Everything holds.[/]" if holds else "[bold red]Something does not hold.[/]"
    out.print(f'{word} Next: causalsim demo "a sentence of your own", or causalsim run scenarios/two-highways.toml')


def _heading(out: Console, number: int, words: str) -> None:
    out.print(f"\n[bold]{number}  {words}[/]")
