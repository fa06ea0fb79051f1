"""Chunks of a campaign, run here or in processes of their own, each with its own model.

A process is started anew, since JAX survives no fork, and gets a job and then one chunk after
another as lines of its standard input; it answers with a line a chunk. It ends with its input, so
that nothing runs on when whoever started it was killed, and stands in a session of its own, so that
an interruption is heard by that one alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from queue import SimpleQueue
from threading import Lock, Thread
from typing import IO, Any

from causalsim.arguments import shown
from causalsim.engine import compile
from causalsim.errors import CausalsimError
from causalsim.foliations import Foliation, earliest
from causalsim.testing.bits import divergence
from causalsim.testing.suite import random_order
from causalsim.verification.chunks import Chunk
from causalsim.verification.provenance import Provenance
from causalsim.verification.reproducer import Reproducer
from causalsim.verification.target import Target

# What a process needs before it can import anything from where we have it.
START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from causalsim.verification import workers; "
)


@dataclass(frozen=True)
class Job:
    """The facts that all chunks of a campaign share; orders are compared with the ``reference`` digest."""

    provenance: Provenance
    seed: int
    reference: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it; ``from_dict`` is the inverse."""
        return {**self.provenance.to_dict(), "seed": self.seed, "reference": self.reference}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Job:
        return cls(Provenance.from_dict(data), data["seed"], data["reference"])


@dataclass(frozen=True)
class Runner:
    """A job and the target that it is done on."""

    job: Job
    target: Target

    def run(self, span: range) -> Chunk:
        """Run the orders of these numbers and record what each gave."""
        digests, astray, token = list[str](), list[int](), None
        for number in span:
            _, order = random_order(self.target.graph, number, self.job.seed)
            values, ran = self.target.run(compile(order))
            digests.append(values.digest())
            if not ran.refines(order):
                astray.append(number)
            if token is None and (astray or digests[-1] != self.job.reference):
                found = None if astray else divergence(self.target.reference, values)
                token = Reproducer(self.job.provenance, order, self._reference, found).to_token()
        return Chunk.of(span.start, digests, astray, token)

    @cached_property
    def _reference(self) -> Foliation:
        return earliest(self.target.graph)


class Worker:
    """A process that does chunks of a job."""

    def __init__(self, job: Job) -> None:
        command = [sys.executable, "-c", f"{START}workers.serve()", json.dumps(sys.path)]
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen(command, text=True, start_new_session=True, **pipes)
        self._job = json.dumps(job.to_dict())

    def run(self, span: range) -> Chunk:
        """As a ``Runner`` does; ``CausalsimError`` if the process has ended, or found itself elsewhere."""
        answer = ""
        with suppress(OSError):
            self._send(*([self._job] if self._job else []), f"{span.start} {span.stop}")
            self._job = ""
            answer = self._pipe("stdout").readline()
        if not answer.endswith("\n"):
            raise CausalsimError(
                "a process of a campaign does its work",
                got=f"one that ended with status {self._process.wait()}",
                hint="The finished orders are kept; fewer processes need less memory.",
            )
        return _answered(answer, span)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for name in ("stdin", "stdout"):
            with suppress(OSError):
                self._pipe(name).close()

    def _send(self, *lines: str) -> None:
        self._pipe("stdin").write("".join(f"{line}\n" for line in lines))
        self._pipe("stdin").flush()

    def _pipe(self, name: str) -> IO[str]:
        return getattr(self._process, name)


def _answered(line: str, span: range) -> Chunk:
    with suppress(ValueError):
        found = Chunk.from_line(line.removesuffix("\n"))
        if found.span == span:
            return found
    raise CausalsimError(
        "a process of a campaign answers with the results of the orders it was given",
        got=shown(line),
        expected=f"those of orders {span.start} to {span.stop - 1}",
    )


def in_processes(job: Job, spans: Iterable[range], processes: int) -> Iterator[Chunk]:
    """The chunks of a job as so many processes finish them; whatever ends this ends them."""
    waiting, lock, done = iter(spans), Lock(), SimpleQueue[Chunk | BaseException | None]()
    workers, threads = list[Worker](), list[Thread]()

    def keep_busy(worker: Worker) -> None:
        try:
            while (span := _next(waiting, lock)) is not None:
                done.put(worker.run(span))
        except BaseException as error:
            done.put(error)
        done.put(None)

    try:
        for _ in range(processes):
            workers.append(Worker(job))
            threads.append(Thread(target=keep_busy, args=(workers[-1],), daemon=True))
            threads[-1].start()
        busy = processes
        while busy:
            answer = done.get()
            if isinstance(answer, BaseException):
                raise answer
            if answer is None:
                busy -= 1
            else:
                yield answer
    finally:
        for worker in workers:
            worker.end()
        for thread in threads:
            thread.join()


def _next(spans: Iterator[range], lock: Lock) -> range | None:
    with lock:
        return next(spans, None)


# -- in the process of a worker ------------------------------------------------------------------------


def serve() -> None:
    """Do the job that comes over standard input, chunk by chunk, until it ends."""
    # What anybody prints must not stand among the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with suppress(BrokenPipeError):
        runner = runner_of(Job.from_dict(json.loads(sys.stdin.readline())))
        for line in sys.stdin:
            answers.write(f"{runner.run(range(*map(int, line.split()))).to_line()}\n")
            answers.flush()


def runner_of(job: Job) -> Runner:
    """The job's target made again; it must be the same in all that decides bits."""
    target = job.provenance.target()
    differences = "; ".join(map(str, job.provenance.differences(target)))
    if not differences and target.reference.digest() != job.reference:
        differences = "the bits of the reference order"
    if differences:
        raise CausalsimError("every process of a campaign is in one environment", got=differences)
    return Runner(job, target)
