"""``causalsim verify``: three verdicts, a campaign of one, two orders of a token, or planted faults."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.text import Text

import causalsim.engine as engine
import causalsim.verification as verification
from causalsim.cli.demo import SENTENCE
from causalsim.cli.exit_codes import FAILS, HOLDS
from causalsim.cli.results import check_files, write_result
from causalsim.cli.tables import last_word, unread_note
from causalsim.cli.terminal import console, progress
from causalsim.engine.tokens import encode_texts
from causalsim.errors import InputError
from causalsim.events import EventGraph
from causalsim.rendering import Style, render
from causalsim.rendering.output import format_of
from causalsim.rendering.thinning import check_drawable
from causalsim.testing.findings import table_of
from causalsim.verification.counterexample import picture as picture_of

if TYPE_CHECKING:
    from rich.console import Console

    from causalsim.testing import Divergence
    from causalsim.verification import Counterexample

ORDERS = 20
# A text whose every edge can be dropped in turn.
SHORT = "The old"
SHOWN = 8


class Reading(NamedTuple):
    """The text, the model and the orders of a check; ``None`` where nobody said."""

    text: str | None
    name: str | None
    dtype: str | None
    orders: int | None
    seed: int | None

    def model(self) -> engine.Model:
        return engine.load(self.name or "glass", dtype=self.dtype or "float32")

    def draws(self) -> dict[str, Any]:
        """The number of orders drawn, and the seed."""
        return {"orders": ORDERS if self.orders is None else self.orders, "seed": self.seed or 0}


def check_together(
    reading: Reading, token: str | None, campaign: Path | None, processes: int | None, certificate: bool
) -> None:
    """Refuse options of which one makes another pointless."""
    said = (reading.text, reading.dtype, reading.orders, reading.seed, campaign, processes)
    if token is not None and any(given is not None for given in said):
        raise InputError(
            "a token carries its text, its orders and its type",
            got="--replay with a text, --dtype, --orders, --seed, --campaign or --processes",
            expected="--replay alone, or with --model, --json and --picture",
        )
    if certificate and (token is not None or campaign is not None):
        raise InputError(
            "a certificate goes with the three verdicts", got="--certificate with --replay or --campaign"
        )
    if processes is not None and campaign is None:
        raise InputError("processes share the orders of a campaign", got="--processes without --campaign")


def check_mutate(
    reading: Reading, token: str | None, campaign: Path | None, picture: Path | None, certificate: bool
) -> None:
    """Refuse options that say nothing to planted faults: they are the same every time."""
    said = (reading.orders, reading.seed, token, campaign, picture)
    if certificate or any(given is not None for given in said):
        raise InputError(
            "faults are planted alone, the same ones every time",
            got="--mutate with --orders, --seed, --certificate, --replay, --campaign or --picture",
            expected="--mutate alone, or with a text, --model, --dtype and --json",
        )


def verify(reading: Reading, certificate: bool, json: Path | None, picture: Path | None) -> int:
    """The three verdicts about a model on one text."""
    _check_files(json, picture)
    (model, text), out = _read(reading, picture), console()
    _note(out, model, text)
    with progress(out) as watch:
        report = verification.verify(model, text, **reading.draws(), certificate=certificate, progress=watch)
    out.print(report)
    for proof in report.order_independence.parts:
        out.print(proof)
    _show_counterexample(out, report.order_independence.counterexample, picture)
    out.print(last_word(report.holds))
    write_result(out, json, report.to_json())
    return HOLDS if report.holds else FAILS


def campaign(path: Path, processes: int, reading: Reading, json: Path | None, picture: Path | None) -> int:
    """Very many orders, kept in a file as they are done; what is in it already is not run again."""
    _check_files(path, json, picture)
    (model, text), out = _read(reading, picture), console()
    _note(out, model, text)
    try:
        with progress(out) as watch:
            found = verification.run_campaign(
                model, text, path, **reading.draws(), processes=processes, progress=watch
            )
    except KeyboardInterrupt:
        print(f"causalsim: what is done is kept in {path}; the same command goes on.", file=sys.stderr)
        raise
    out.print(table_of([found.verdict]))
    if found.damaged:
        out.print(_damage_note(path, found.damaged))
    _show_counterexample(out, found.verdict.counterexample, picture)
    out.print(last_word(found.holds))
    write_result(out, json, found.to_json())
    return HOLDS if found.holds else FAILS


def mutate(reading: Reading, json: Path | None) -> int:
    """Every edge dropped and every kind of fault planted, over a short text; fails if one is missed."""
    _check_files(json, None)
    short = reading if reading.text is not None else reading._replace(text=SHORT)
    (model, text), out = _read(short, None), console()
    _note(out, model, text)
    with progress(out) as watch:
        score = verification.mutate(model, text, progress=watch)
    out.print(score)
    out.print(Text(f"{score}."))
    write_result(out, json, score.to_json())
    return FAILS if score.missed else HOLDS


def replay(token: str, reading: Reading, json: Path | None, picture: Path | None) -> int:
    """Two orders run again; fails if their bits differ here."""
    _check_files(json, picture)
    found, out = verification.Reproducer.from_token(_token(token)), console()
    graph, dtype = found.order.graph, found.provenance.environment["dtype"]
    if picture is not None:
        check_drawable(graph, Style())
    model = None if reading.name is None else engine.load(reading.name, dtype=dtype)
    result = verification.replay(found, model=model)
    out.print(Text(f"Two orders of {len(graph):,} events, run again: {result}."))
    if result.differences:
        out.print("\nNot the same here, so that bits may legitimately differ:")
        for difference in result.differences:
            out.print(Text(f"  {difference}"))
    if result.divergence is not None:
        _draw(out, graph, result.divergence, picture)
    write_result(out, json, result.to_json())
    return HOLDS if result.holds else FAILS


def _token(given: str) -> str:
    """A token, or what is in the file that is named; os.path has an answer for any length of name."""
    return Path(given).read_text(errors="replace") if os.path.isfile(given) else given  # noqa: PTH113


def _read(reading: Reading, picture: Path | None) -> tuple[engine.Model, str]:
    """The model and the text that it reads; a picture of it has to be one that can be drawn."""
    model, text = reading.model(), SENTENCE if reading.text is None else reading.text
    if picture is not None:
        check_drawable(EventGraph(model.config, len(encode_texts(model, text)[0])), Style())
    return model, text


def _note(out: Console, model: engine.Model, text: str) -> None:
    if unread := model.unread(text):
        out.print(unread_note(unread))


def _damage_note(path: Path, lines: Sequence[int]) -> Text:
    """The records of a campaign that counted as none."""
    shown = ", ".join([*map(str, lines[:SHOWN]), *["..."] * (len(lines) > SHOWN)])
    count = "1 record" if len(lines) == 1 else f"{len(lines):,} records"
    where = f"line {shown}" if len(lines) == 1 else f"lines {shown}"
    told = f"Note: {count} of {path} had been altered, or of another campaign ({where})"
    return Text(f"{told}. What the file lacked without them was run again.", style="yellow")


def _check_files(*paths: Path | None) -> None:
    """Refuse files that could not be written, or stand for two results; the last is a picture."""
    check_files(*paths)
    if paths[-1] is not None:
        format_of(paths[-1])


def _show_counterexample(out: Console, found: Counterexample | None, picture: Path | None) -> None:
    if found is None:
        return
    out.print(Text(f"Two orders one step apart: {found}.\n"))
    # Each of these is one line, for whoever copies it.
    out.print("In a test that is given a foliation, with cs for causalsim:")
    out.print(found.example, markup=False, soft_wrap=True)
    out.print("\nAnywhere:")
    out.print(f"causalsim verify --replay {found.token}", markup=False, soft_wrap=True)
    _draw(out, found.diverging.graph, found.divergence, picture)


def _draw(out: Console, graph: EventGraph, found: Divergence, path: Path | None) -> None:
    if path is not None:
        render(picture_of(graph, found), path)
        out.print(f"wrote {path}: {found.event}, its past and its future", markup=False)
