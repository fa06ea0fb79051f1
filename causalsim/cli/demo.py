"""The demo: the problem, the answer, the proof, and the pictures, in about a minute."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.markup import escape
from rich.text import Text

from causalsim.cli.exit_codes import FAILS, HOLDS
from causalsim.cli.results import check_folder, write_text
from causalsim.cli.tables import (
    Indented,
    check_lines,
    file_table,
    foliation_table,
    ink,
    last_word,
    plain_table,
    unread_note,
)
from causalsim.cli.terminal import console, progress
from causalsim.engine import random_model, run
from causalsim.errors import CausalsimError, ScenarioError
from causalsim.events import EventGraph
from causalsim.foliations import Foliation
from causalsim.foliations.registry import made
from causalsim.kernels import STOCK
from causalsim.models import ModelConfig
from causalsim.scenario import Experiment, Outcome, Scenario, check, prepare
from causalsim.scenario import run as run_scenario
from causalsim.scenario.pictures import Figure, figures, write
from causalsim.testing import Divergence, first_divergence

if TYPE_CHECKING:
    from rich.console import Console

    from causalsim.progress import Progress

SENTENCE = "In the middle of the dark wood stood a little house, and in the house there lived"

# Wide enough that stock kernels change their bits with the number of rows; narrow models pass by luck.
WIDE = ModelConfig(n_layers=2, n_heads=12, d_model=768, d_ff=3072, vocab_size=1024, max_length=128)
WIDE_LENGTH = 24
TEMPERATURE = 0.6
VERIFIED_ORDERS = 20
REPORT = "report.json"


def demo(text: str | None, folder: Path, tokens: int, seed: int) -> int:
    """Show everything about one sentence; the exit code says whether every verdict holds."""
    reading, writing = prepared(SENTENCE if text is None else text, tokens, seed)
    drawn = figures(reading)
    check_folder(folder, [REPORT, *(name for figure in drawn for name in figure.names)])
    out = console()
    out.print("A transformer is one causal graph of events, and every schedule is a foliation of it.")
    wide = batching_problem(out, seed)
    read = _answer(out, reading)
    written = _continuation(out, writing)
    holds = distinct_results(wide, "certified") == 1 and read.holds and written.holds
    _verdict(out, read, written)
    parts = {name: json.loads(part.to_json()) for name, part in (("reading", read), ("writing", written))}
    _files(out, folder, drawn, {"wide": [row.to_dict() for row in wide], **parts})
    out.print(f'\n{last_word(holds)} Next: causalsim demo "a sentence of your own", or causalsim --help')
    return HOLDS if holds else FAILS


# -- what is asked ---------------------------------------------------------------------------


def prepared(text: str, tokens: int, seed: int) -> tuple[Experiment, Experiment]:
    """The two scenarios of the demo, with all that could be wrong with the input found before any work."""
    try:
        return prepare(_reading(text, seed)), prepare(_writing(text, tokens, seed))
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
            {"name": "random, one by one", "family": "random_linear_extension", "method": "kahn"},
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
            {"name": "decode all along", "family": "token_major"},
            {"name": "random slices", "family": "random_foliation", "seed": seed},
        ],
        expect={"same_bits": True},
    )


def _glass(text: str, **tables: Any) -> Scenario:
    return check({"about": "", "texts": [text], "model": {"name": "glass"}, **tables})


# -- the problem -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Contrast:
    """One foliation of the wide model: what it gave on XLA's stock kernels and on causalsim's."""

    name: str
    slices: int
    stock: str
    divergence: Divergence | None
    certified: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as JSON can hold it."""
        return {**asdict(self), "divergence": self.divergence and str(self.divergence)}


def batching_problem(out: Console, seed: int) -> list[Contrast]:
    """Show how stock kernels change their bits with the order."""
    _heading(out, 1, "The problem: the order of the work changes the result")
    _say(
        out,
        f"A random model, {WIDE.n_layers} layers and {WIDE.d_model} wide, reads {WIDE_LENGTH} tokens in five "
        "orders. Each computes every event after all that it reads. A digest is the sha256 of all logits.\n",
    )
    with progress(out) as watch:
        rows = _contrasts(seed, watch)
    out.print(_contrast_table(rows))
    stock, ours = (_in_words(distinct_results(rows, kernels)) for kernels in ("stock", "certified"))
    _say(
        out,
        f"\nXLA's own kernels: [bold]{stock}[/]; causalsim's: [bold]{ours}[/]. "
        "diverges at: first event whose bits differ from the first row's; ULP: floats between the two, "
        "at the worst element.",
    )
    return rows


def distinct_results(rows: list[Contrast], kernels: str) -> int:
    return len({getattr(row, kernels) for row in rows})


def _in_words(count: int) -> str:
    return f"{count} different results" if count > 1 else "one result"


def _contrasts(seed: int, watch: Progress) -> list[Contrast]:
    model, graph = random_model(WIDE, seed=0), EventGraph(WIDE, WIDE_LENGTH)
    ids = np.random.default_rng(0).integers(0, WIDE.vocab_size, WIDE_LENGTH)
    foliations = _wide_foliations(graph, seed)
    rows: list[Contrast] = []
    reference = None
    for number, (name, foliation) in enumerate(foliations.items()):
        watch("the wide model, in five orders", number, len(foliations))
        stock = run(model, ids, foliation, record=True, kernels=STOCK)
        reference = reference or stock
        ours = run(model, ids, foliation)
        found = first_divergence(reference, stock)
        rows.append(Contrast(name, foliation.depth, stock.digest, found, ours.digest))
    return rows


def _wide_foliations(graph: EventGraph, seed: int) -> dict[str, Foliation]:
    named = {
        "layer by layer": "layer_major",
        "token by token": "token_major",
        "chunks of 8 tokens": "chunked:8",
        "diagonal": "wavefront",
        "random slices": f"random_foliation:{seed}",
    }
    return {name: made(graph, text) for name, text in named.items()}


def _contrast_table(rows: list[Contrast]) -> Any:
    table = plain_table("foliation")
    table.add_column("slices", justify="right")
    for heading in ("XLA's kernels", "diverges at", "by ULP", "causalsim's"):
        table.add_column(heading, justify="right" if "ULP" in heading else "left")
    stock, ours = ink(row.stock for row in rows), ink(row.certified for row in rows)
    for row in rows:
        table.add_row(
            row.name, str(row.slices), stock[row.stock], *divergence_cells(row), ours[row.certified]
        )
    return Indented(table)


def divergence_cells(row: Contrast) -> tuple[str, str]:
    found = row.divergence
    if found is None:
        return "-", "-"
    return str(found.event), "NaN" if found.ulps is None else f"{found.ulps:,}"


# -- the answer ------------------------------------------------------------------------------


def _answer(out: Console, reading: Experiment) -> Outcome:
    _heading(out, 2, "The answer: a trained model, any order, the same bits")
    graph = reading.graph
    size = f"{graph.wiring.n_layers} layers over {graph.lengths[0]} tokens, {len(graph):,} events"
    _say(out, f"The model glass reads ({size}):")
    _say(out, f"[italic]“{escape(str(_text(reading)))}”[/]\n")
    if reading.unread:
        out.print(Indented(unread_note(reading.unread)), Text())
    with progress(out) as watch:
        outcome = run_scenario(reading, watch)
    out.print(foliation_table(outcome.foliations))
    _say(
        out,
        "\nslices: steps that wait for each other; widest: most events in one step; "
        "peak live: memory of values still to be read; seconds: once compiled.",
    )
    return outcome


def _continuation(out: Console, writing: Experiment) -> Outcome:
    _heading(out, 3, "It writes on, and every order writes the same")
    with progress(out) as watch:
        outcome = run_scenario(writing, watch)
    for text in outcome.continuations:
        _say(out, f"{escape(_on_one_line(_text(writing)))}[bold cyan]{escape(_on_one_line(text))}[/]\n")
    out.print(foliation_table(outcome.foliations))
    return outcome


def _on_one_line(text: object) -> str:
    return re.sub(r"\s", " ", str(text))


def _text(experiment: Experiment) -> object:
    return (experiment.scenario.texts or [""])[0]


# -- the end ---------------------------------------------------------------------------------


def _verdict(out: Console, read: Outcome, written: Outcome) -> None:
    _heading(out, 4, "The verdict")
    for part in check_lines([*read.checks, *(each for each in written.checks if not each.holds)]):
        out.print(part)


def _files(out: Console, folder: Path, drawn: Sequence[Figure], results: Mapping[str, Any]) -> None:
    _heading(out, 5, "The pictures")
    with progress(out) as watch:
        watch("drawing", 0, 1)
        write(drawn, folder)
    write_text(folder / REPORT, json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    out.print(file_table(folder, drawn, {REPORT: "all numbers, verdicts and planted faults"}))


def _heading(out: Console, number: int, words: str) -> None:
    out.print(f"\n[bold]{number}  {words}[/]")


def _say(out: Console, words: str) -> None:
    out.print(Indented(Text.from_markup(words)))
