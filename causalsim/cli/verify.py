"""``causalsim verify``: the three verdicts, or two orders of a token run again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rich.text import Text

from causalsim import engine, verification
from causalsim.cli import FAILS, HOLDS
from causalsim.cli.demo import SENTENCE
from causalsim.cli.files import check_file, write_text
from causalsim.cli.tables import last_word, unread_note
from causalsim.cli.terminal import console, progress
from causalsim.engine.tokens import encode_texts
from causalsim.errors import InputError
from causalsim.events import EventGraph
from causalsim.rendering import Style, render
from causalsim.rendering.output import format_of
from causalsim.rendering.thinning import check_drawable
from causalsim.verification.counterexample import picture as picture_of

if TYPE_CHECKING:
    from rich.console import Console

    from causalsim.verification import Counterexample, Departure

ORDERS = 20


class Reading(NamedTuple):
    """What is read, by which model, in how many orders; ``None`` where nobody said."""

    text: str | None
    name: str | None
    dtype: str | None
    orders: int | None
    seed: int | None

    def model(self) -> engine.Model:
        return engine.load(self.name or "glass", dtype=self.dtype or "float32")


def verify(reading: Reading, json: Path | None, picture: Path | None) -> int:
    """The three verdicts about a model on one text."""
    _check_files(json, picture)
    model, out = reading.model(), console()
    text = SENTENCE if reading.text is None else reading.text
    if picture is not None:
        check_drawable(EventGraph(model.config, len(encode_texts(model, text)[0])), Style())
    if unread := model.unread(text):
        out.print(unread_note(unread))
    orders = reading.orders or ORDERS
    with progress(out) as watch:
        report = verification.verify(model, text, orders=orders, seed=reading.seed or 0, progress=watch)
    out.print(report)
    _show_counterexample(out, report.order_independence.counterexample, picture)
    out.print(last_word(report.holds))
    _write(out, json, report.to_json())
    return HOLDS if report.holds else FAILS


def replay(token: str, reading: Reading, json: Path | None, picture: Path | None) -> int:
    """Two orders run again; fails if their bits differ here."""
    _check_files(json, picture)
    if any(given is not None for given in (reading.text, reading.dtype, reading.orders, reading.seed)):
        raise InputError(
            "a token carries its text, its orders and its type",
            got="--replay with a text, --dtype, --orders or --seed",
            expected="--replay alone, or with --model, --json and --picture",
        )
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
    if result.departure is not None:
        _draw(out, graph, result.departure, picture)
    _write(out, json, result.to_json())
    return HOLDS if result.holds else FAILS


def _token(given: str) -> str:
    """A token, or what is in the file that is named; os.path has an answer for any length of name."""
    return Path(given).read_text(errors="replace") if os.path.isfile(given) else given  # noqa: PTH113


def _check_files(json: Path | None, picture: Path | None) -> None:
    check_file(json)
    check_file(picture)
    if picture is not None:
        format_of(picture)
        if json is not None and json.absolute() == picture.absolute():
            raise InputError("every result has a file of its own", got=f"{json} twice")


def _show_counterexample(out: Console, found: Counterexample | None, picture: Path | None) -> None:
    if found is None:
        return
    out.print(Text(f"Two orders one step apart: {found}.\n"))
    # Each of these is one line, for whoever copies it.
    out.print("In a test that is given a foliation, with cs for causalsim:")
    out.print(found.example, markup=False, soft_wrap=True)
    out.print("\nAnywhere:")
    out.print(f"causalsim verify --replay {found.token}", markup=False, soft_wrap=True)
    _draw(out, found.departing.graph, found.departure, picture)


def _draw(out: Console, graph: EventGraph, found: Departure, path: Path | None) -> None:
    if path is not None:
        render(picture_of(graph, found), path)
        out.print(f"wrote {path}: {found.event}, its past and its future", markup=False)


def _write(out: Console, path: Path | None, content: str) -> None:
    if path is not None:
        write_text(path, f"{content}\n")
        out.print(f"wrote {path}", markup=False)
