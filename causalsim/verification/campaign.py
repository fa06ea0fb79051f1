"""A campaign: very many random orders, over several processes, kept in a file from which it goes on."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from causalsim.arguments import check_type, check_whole
from causalsim.engine import Model
from causalsim.engine.flags import debugging_off
from causalsim.engine.tokens import Texts
from causalsim.errors import InputError
from causalsim.foliations import Foliation
from causalsim.kernels import Kernels
from causalsim.progress import Progress, silent
from causalsim.testing.findings import Finding, Statement
from causalsim.testing.suite import random_order
from causalsim.verification.chunks import Chunk, Spans
from causalsim.verification.counterexample import counterexample
from causalsim.verification.journal import FORMAT, Journal, opened
from causalsim.verification.order_independence import controls
from causalsim.verification.provenance import Provenance
from causalsim.verification.reproducer import Reproducer
from causalsim.verification.target import Target
from causalsim.verification.workers import Job, Runner, in_processes

# Orders that are run again at most, a process, when a campaign was killed.
CHUNK = 8


@dataclass(frozen=True)
class Campaign:
    """The results of all orders of a campaign, and the verdict on order independence.

    ``digests`` counts the orders by what all their values came to, ``failed`` lists the numbers of
    those that failed. ``resumed`` of them were in the file already. ``damaged`` are the numbers of
    lines of the file that had been altered, or were of another campaign: they counted as none, and
    their orders were run again.
    """

    orders: int
    resumed: int
    digests: dict[str, int]
    failed: tuple[int, ...]
    verdict: Finding
    environment: dict[str, str]
    damaged: tuple[int, ...] = ()

    @property
    def holds(self) -> bool:
        """The verdict's word, which no result may contradict."""
        return self.verdict.holds and not self.failed and len(self.digests) == 1

    def to_json(self) -> str:
        """All of it as a JSON object."""
        names = ("orders", "resumed", "digests", "failed", "damaged")
        totals = {name: getattr(self, name) for name in names}
        whole = {"holds": self.holds, **totals, "order_independence": self.verdict.to_dict()}
        return json.dumps({**whole, "environment": self.environment}, indent=2)


@debugging_off()
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

    Order number n is drawn from (``seed``, n), so the totals depend on nothing else. What is in the file
    already is not run again, whether the campaign was interrupted or killed, except for lines that were
    altered since.

    Args:
        model: The model.
        tokens: Text or ids, as for ``verify``.
        path: The file, to which each chunk of orders that is done adds a line.
        orders: The number of orders.
        prompt: The positions from there on wait for their tokens, as for ``verify``.
        seed: What the orders are drawn from.
        processes: The number of processes. Several each make the model again, which takes one that was
            loaded or drawn, and no kernels of one's own.
        chunk: The number of orders in a line.
        kernels: Other kernels than the engine's own.
        progress: ``progress(stage, done, total)`` is called as work goes on.

    Returns:
        The digests of all orders by their number, and the verdict on order independence.

    Raises:
        InputError: For a file of another campaign, whose differing facts it names, and as ``verify`` does.
    """
    check_type("the file of a campaign", path, (str, os.PathLike))
    for name, count in {"orders": orders, "processes": processes, "chunk": chunk}.items():
        check_whole(name, count, 1)
    check_whole("seed", seed, 0)
    _check_processes(model, processes, kernels)
    target = Target.of(model, tokens, prompt, kernels)
    job = Job(Provenance.of(target), seed, target.reference.digest())
    header = {"format": FORMAT, **job.to_dict(), "orders": orders, "chunk": chunk}
    with opened(Path(path), header) as journal:
        resumed, records = _completed(journal, job, target, Spans(orders, chunk), processes, progress)
        verdict = _verdict(target, job, orders, records, progress)
        journal.strike_out()
    digests = dict(sum((one.counts for one in records), Counter[str]()))
    facts = dict(job.provenance.environment)
    return Campaign(orders, resumed, digests, _failed(records, job), verdict, facts, journal.damaged)


def _completed(
    journal: Journal, job: Job, target: Target, spans: Spans, processes: int, progress: Progress
) -> tuple[int, list[Chunk]]:
    """Run what a file has no record of: how many orders it had, and then all records, rising."""
    records = list(journal.chunks)
    finished = {one.start for one in records}
    rest = [span for span in spans if span.start not in finished]
    resumed = done = spans.orders - sum(map(len, rest))
    with closing(_done(job, target, rest, processes)) as running:
        for one in running:
            journal.add(one)
            records.append(one)
            done += len(one.span)
            progress("orders", done, spans.orders)
    return resumed, sorted(records, key=lambda one: one.start)


def _done(job: Job, target: Target, spans: Sequence[range], processes: int) -> Generator[Chunk, None, None]:
    if processes > 1 and spans:
        yield from in_processes(job, spans, min(processes, len(spans)))
    else:
        yield from map(Runner(job, target).run, spans)


def _verdict(target: Target, job: Job, orders: int, records: Sequence[Chunk], progress: Progress) -> Finding:
    failed = _failed(records, job)
    failing = next((one for one in records if one.failed(job.reference)), None)
    witness, order = _first(target, job, failing, len(failed)) if failing else (None, None)
    return Finding(
        name="order independence",
        method="sampled",
        claim="all gave the same bits in every event, and each ran in the order asked for",
        coverage=Statement.of(
            "{orders:,} random orders with seed {seed} of {events:,} events",
            orders=orders,
            seed=job.seed,
            events=len(target.graph),
        ),
        excludes=("orders not drawn", "other texts, machines and library versions"),
        controls=tuple(controls(target, job.seed)),
        witness=witness,
        counterexample=counterexample(target, order, progress) if order else None,
    )


def _failed(records: Iterable[Chunk], job: Job) -> tuple[int, ...]:
    """The orders of which any record says that they failed, rising."""
    return tuple(sorted({number for one in records for number in one.failed(job.reference)}))


def _first(target: Target, job: Job, record: Chunk, failed: int) -> tuple[Statement, Foliation | None]:
    """The first order that failed of a record, as a witness; the order, if it is the one that ran."""
    number = record.failed(job.reference)[0]
    name, order = random_order(target.graph, number, job.seed)
    told = None
    with suppress(InputError):
        # The token says where it diverges, and no more than that.
        found = Reproducer.from_token(record.token or "")
        told = found.divergence if found.order == order else None
    astray = number in record.astray
    what = "diverges at {divergence}" if told else "gave other bits than the reference order"
    what = "ran in another order than asked for" if astray else what
    facts = {"order": name, "event": told and told.event, "divergence": told, "failed": failed}
    witness = Statement(f"{{failed:,}} order{'s' * (failed > 1)} failed; {{order}} {what}", facts)
    return witness, None if astray else order


def _check_processes(model: Model, processes: int, kernels: Kernels | None) -> None:
    if processes > 1 and (kernels is not None or not model.origin):
        got = "kernels of one's own" if kernels is not None else "one that was built from parameters"
        raise InputError(
            "each of several processes makes the model again, as it was loaded or drawn",
            got=got,
            hint="Take processes=1.",
        )
