"""The whole check of one model over one text or several."""

from __future__ import annotations

from collections.abc import Sequence

from causalsim.engine import Model
from causalsim.engine.environment import environment
from causalsim.engine.tokens import Texts
from causalsim.errors import InputError
from causalsim.kernels import Kernels
from causalsim.progress import Progress, silent
from causalsim.verification.batch_invariance import batch_invariance
from causalsim.verification.certificate import certificate_of
from causalsim.verification.order_independence import order_independence
from causalsim.verification.reads import causal_invariance
from causalsim.verification.report import Report
from causalsim.verification.target import Target


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
    """Whether the order of events changes a bit of what a model computes over given tokens.

    Runs named and ``orders`` random foliations; records what ``events`` sampled events read and
    write, or all of a graph of up to 500, and 24 of a larger one; runs every kind of event in
    batches of all shapes, ``draws`` times each; and plants faults that each of these checks must
    see. All orders are covered where ``exhaustive`` runs of an event are enough for it (a graph of
    some twenty events), and all orders of any graph follow from its ``certificate``, which
    ``certify`` gives alone. An order that diverges is brought down to a ``counterexample``, which the
    first verdict then carries. With ``prompt`` the positions from there on wait for their tokens
    (teacher-forced); one number, or one a request.
    ``progress(stage, done, total)`` is called as work goes on. Raises ``InputError`` for tokens that
    do not fit the model.
    """
    counts = {"orders": (orders, 1), "draws": (draws, 2), "seed": (seed, 0), "exhaustive": (exhaustive, 0)}
    for name, (count, least) in {**counts, "events": (1 if events is None else events, 1)}.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < least:
            raise InputError(f"{name} is a whole number of at least {least}", got=repr(count))
    target = Target.of(model, tokens, prompt, kernels)
    proof = certificate_of(target, None, seed, progress) if certificate else None
    return Report(
        order_independence(target, orders, seed, progress, exhaustive, proof),
        causal_invariance(target, events, seed, progress),
        batch_invariance(target, draws, seed, progress),
        environment(target.kernels, model.dtype),
    )
