"""The whole check of one model over one text or several: three verdicts, each with its evidence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from causalsim.arguments import check_whole
from causalsim.engine import Model
from causalsim.engine.environment import environment
from causalsim.engine.flags import debugging_off
from causalsim.engine.tokens import Texts
from causalsim.kernels import Kernels
from causalsim.progress import Progress, silent
from causalsim.testing.findings import Finding, table_of
from causalsim.verification.batch_invariance import batch_invariance
from causalsim.verification.causal_invariance import causal_invariance
from causalsim.verification.certificate import certificate_of
from causalsim.verification.order_independence import order_independence
from causalsim.verification.target import Target

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class Report:
    """The evidence on whether the bits of a model's results depend on the order of its events.

    *Order independence*: every order gave the same bits. *Causal invariance*: what events were
    seen to read is what the graph declares. *Batch invariance*: an event's bits do not depend on the
    batch that carries it. The first follows from the other two; each is tested on its own.
    """

    order_independence: Finding
    causal_invariance: Finding
    batch_invariance: Finding
    environment: dict[str, str]

    @property
    def verdicts(self) -> tuple[Finding, Finding, Finding]:
        return self.order_independence, self.causal_invariance, self.batch_invariance

    @property
    def holds(self) -> bool:
        """True if all three verdicts hold."""
        return all(verdict.holds for verdict in self.verdicts)

    def to_json(self) -> str:
        """The whole report as a JSON object."""
        keys = ("order_independence", "causal_invariance", "batch_invariance")
        verdicts = {key: verdict.to_dict() for key, verdict in zip(keys, self.verdicts, strict=True)}
        return json.dumps({"holds": self.holds, **verdicts, "environment": self.environment}, indent=2)

    def __str__(self) -> str:
        return "\n".join(
            f"{verdict.name} {'holds' if verdict.holds else 'FAILS'}: {verdict}" for verdict in self.verdicts
        )

    def __rich__(self) -> RenderableType:
        return table_of(self.verdicts)


@debugging_off()
def verify(
    model: Model,
    tokens: Texts,
    *,
    prompt: int | Sequence[int] | None = None,
    orders: int = 20,
    events: int | None = None,
    draws: int = 2,
    seed: int = 0,
    exhaustive: int = 300,
    certificate: bool = False,
    kernels: Kernels | None = None,
    progress: Progress = silent,
) -> Report:
    """Check by three verdicts whether the order of events changes a bit of what a model computes.

    Runs named and random foliations; records what events read and write; runs every kind of event in
    batches of all sizes; and plants faults that each of these checks must see. An order that diverges
    is brought down to a ``counterexample``, which the first verdict then carries.

    Args:
        model: The model; ``kernels`` may replace those that it runs with.
        tokens: Text or ids, one or one per request.
        prompt: The positions from there on wait for their tokens (teacher-forced); one number, or one
            a request.
        orders: The number of random foliations, at least 1.
        events: The number of events whose reads and writes are recorded; by default all of a graph of up
            to 500, and 24 of a larger one.
        draws: The number of batches of each size, at least 2.
        seed: What all of these are drawn from.
        exhaustive: The most event runs by which all orders are covered, where so many are enough: those
            of a graph of some twenty events.
        certificate: Whether to add the conditions from which it follows for all orders of any graph; see
            ``certify``.
        kernels: Other kernels than the engine's own.
        progress: ``progress(stage, done, total)`` is called as work goes on.

    Returns:
        Three verdicts, each with its coverage, its controls and what it does not cover.

    Raises:
        InputError: For tokens that do not fit the model, and for counts that are none.
    """
    counts = {"orders": (orders, 1), "draws": (draws, 2), "seed": (seed, 0), "exhaustive": (exhaustive, 0)}
    for name, (count, least) in {**counts, "events": (1 if events is None else events, 1)}.items():
        check_whole(name, count, least)
    target = Target.of(model, tokens, prompt, kernels)
    proof = certificate_of(target, None, seed, progress) if certificate else None
    return Report(
        order_independence(target, orders, seed, progress, exhaustive, proof),
        causal_invariance(target, events, seed, progress),
        batch_invariance(target, draws, seed, progress),
        environment(target.kernels, model.dtype),
    )
