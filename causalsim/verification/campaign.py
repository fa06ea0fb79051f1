"""A campaign: very many random orders, over several processes, kept in a file from which it goes on."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from causalsim.arguments import as_int, check_type
from causalsim.engine import Model
from causalsim.engine.tokens import Texts
from causalsim.errors import InputError
from causalsim.kernels import Kernels
from causalsim.progress import Progress, silent
from causalsim.verification.counterexample import counterexample
from causalsim.verification.journal import FORMAT, Chunk, Spans, opened
from causalsim.verification.orders import controls
from causalsim.verification.provenance import Provenance
from causalsim.verification.report import Verdict
from causalsim.verification.reproducer import Reproducer
from causalsim.verification.suite import random_order
from causalsim.verification.target import Target
from causalsim.verification.workers import Job, Runner, in_processes

# Orders that are run again at most, a process, when a campaign was killed.
CHUNK = 8


@dataclass(frozen=True)
class Campaign:
    """What all orders of a campaign came to, and the verdict on order independence.

    ``digests`` counts the orders by what all their values came to, ``failed`` lists the numbers of
    those that failed. ``resumed`` of them were in the file already.
    """

    orders: int
    resumed: int
    digests: dict[str, int]
    failed: tuple[int, ...]
    verdict: Verdict
    environment: dict[str, str]

    @property
    def holds(self) -> bool:
        return self.verdict.holds

    def to_json(self) -> str:
        """All of it as a JSON object."""
        totals = {
            "orders": self.orders,
            "resumed": self.resumed,
            "digests": self.digests,
            "failed": self.failed,
        }
        verdict = {"order_independence": self.verdict.to_dict()}
        return json.dumps(
            {"holds": self.holds, **totals, **verdict, "environment": self.environment}, indent=2
        )


def run_campaign(
    model: Model,
    tokens: Texts,
    path: str | os.PathLike[str],
    *,
    orders: int,
    prompt: int | Sequence[int] | None = None,
    seed: int = 0,
    processes: int = 1,
    chunk: int = CHUNK,
    kernels: Kernels | None = None,
    progress: Progress = silent,
) -> Campaign:
    """Run random orders of a model over given tokens and compare all events' bits with the reference's.

    Order number n is drawn from (``seed``, n), so the totals depend on nothing else. Each ``chunk``
    of orders that is done is a line of the file ``path``; what is in it already is not run again,
    whether the campaign was interrupted or killed. Several ``processes`` each make the model again,
    which takes one that was loaded or drawn, and no ``kernels`` of one's own.

    Raises ``InputError`` for a file of another campaign, whose differing facts it names, and as
    ``verify`` does.
    """
    check_type("the file of a campaign", path, (str, os.PathLike))
    for name, count, least in (
        ("orders", orders, 1), ("seed", seed, 0), ("processes", processes, 1), ("chunk", chunk, 1),
    ):  # fmt: skip
        if (whole := as_int(count)) is None or whole < least:
            raise InputError(f"{name} is a whole number of at least {least}", got=repr(count))
    _check_processes(model, processes, kernels)
    target = Target.of(model, tokens, prompt, kernels)
    job = Job(Provenance.of(target), seed, target.reference.digest())
    header = {"format": FORMAT, **job.to_dict(), "orders": orders, "chunk": chunk}
    with opened(Path(path), header) as journal:
        chunks = list(journal.chunks)
        resumed = done = sum(one.count for one in chunks)
        finished = {one.start for one in chunks}
        spans = [span for span in Spans(orders, chunk) if span.start not in finished]
        with closing(_done(job, target, spans, processes)) as running:
            for one in running:
                journal.add(one)
                chunks.append(one)
                done += one.count
                progress("orders", done, orders)
    return _campaign(target, job, orders, resumed, sorted(chunks, key=lambda one: one.start), progress)


def _done(job: Job, target: Target, spans: Sequence[range], processes: int) -> Generator[Chunk, None, None]:
    if processes > 1 and spans:
        yield from in_processes(job, spans, min(processes, len(spans)))
    else:
        yield from map(Runner(job, target).run, spans)


def _campaign(
    target: Target, job: Job, orders: int, resumed: int, chunks: Iterable[Chunk], progress: Progress
) -> Campaign:
    digests, failed, token = Counter[str](), list[int](), None
    for chunk in chunks:
        digests.update(chunk.digests)
        failed += chunk.failed
        token = token or chunk.token
    found = None if token is None else Reproducer.from_token(token)
    verdict = _verdict(target, job, orders, failed, found, progress)
    return Campaign(orders, resumed, dict(digests), tuple(failed), verdict, dict(job.provenance.environment))


def _verdict(
    target: Target,
    job: Job,
    orders: int,
    failed: Sequence[int],
    found: Reproducer | None,
    progress: Progress,
) -> Verdict:
    return Verdict(
        name="order independence",
        method="sampled",
        claim="all gave the same bits in every event, and each ran in the order asked for",
        coverage=f"{orders:,} random orders with seed {job.seed} of {len(target.graph):,} events",
        excludes=("orders not drawn", "other texts, machines and library versions"),
        controls=tuple(controls(target, job.seed)),
        witness=_witness(target, job, failed, found),
        counterexample=counterexample(target, found.order, progress) if found and found.divergence else None,
    )


def _witness(target: Target, job: Job, failed: Sequence[int], found: Reproducer | None) -> str | None:
    if found is None:
        return None
    name, _ = random_order(target.graph, failed[0], job.seed)
    where = (
        "ran in another order than asked for"
        if found.divergence is None
        else f"diverges at {found.divergence}"
    )
    return f"{len(failed):,} orders failed; {name} {where}"


def _check_processes(model: Model, processes: int, kernels: Kernels | None) -> None:
    if processes > 1 and (kernels is not None or not model.origin):
        got = "kernels of one's own" if kernels is not None else "one that was built from parameters"
        raise InputError(
            "each of several processes makes the model again, as it was loaded or drawn",
            got=got,
            hint="Take processes=1.",
        )
