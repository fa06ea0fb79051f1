"""Running a scenario: every foliation, every question, every expectation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Any

from causalsim.events import EventGraph
from causalsim.foliations import Foliation, peak_during
from causalsim.scenario.experiment import Experiment, FoliationEntry, prepare
from causalsim.scenario.outcome import FoliationRow, Outcome, RouteRow, checked
from causalsim.scenario.schema import Scenario
from causalsim.testing.findings import Finding

if TYPE_CHECKING:
    from causalsim.engine import Model, RequestRun, Run
    from causalsim.kernels import Kernels
    from causalsim.progress import Progress
    from causalsim.verification import Report


def run(scenario: Scenario | Experiment, watch: Progress | None = None) -> Outcome:
    """Answer what a scenario asks.

    Args:
        scenario: A scenario, made ready or not.
        watch: Is told ``(stage, done, total)`` on the way.

    Returns:
        What was seen, and which of its expectations hold.

    Raises:
        ScenarioError: The graph or the model excludes something; nothing ran.
    """
    ready = scenario if isinstance(scenario, Experiment) else prepare(scenario)
    runs = _Runs(ready, watch)
    rows = tuple(runs.rows())
    report = runs.report()
    checks = [*_refusals(ready), *_counts(ready), *runs.checks(), *(report.verdicts if report else ())]
    return Outcome(
        title=ready.scenario.title,
        about=ready.scenario.about.strip(),
        graph=in_words(ready.graph),
        foliations=rows,
        routes=tuple(RouteRow(str(p.source), str(p.target), p.count) for p in ready.routes),
        continuations=runs.continuations(),
        unread=ready.unread,
        checks=tuple(checks),
        report=report,
    )


def in_words(graph: EventGraph) -> str:
    """A graph in a sentence: layers, positions, events, edges.

    Args:
        graph: The graph.

    Returns:
        The sentence, without its stop.
    """
    texts = f"{len(graph.lengths)} texts of {', '.join(map(str, graph.lengths))}"
    length = f"{graph.lengths[0]}" if len(graph.lengths) == 1 else texts
    waiting = sum(graph.lengths) - sum(graph.prompts)
    return (
        f"{graph.wiring.n_layers} layers, {length} positions"
        + (f" ({waiting} of them generated)" if waiting else "")
        + f": {len(graph):,} events, {graph.count_edges():,} edges, longest chain {graph.depth:,}"
    )


class _Runs:
    """The runs of an experiment, with what is asked about their bits."""

    def __init__(self, ready: Experiment, watch: Progress | None) -> None:
        self.ready, self.expect, self.watch = ready, ready.scenario.expect, watch
        self.done: dict[str, Run] = {}

    def _tell(self, stage: str, done: int, total: int) -> None:
        if self.watch is not None:
            self.watch(stage, done, total)

    def rows(self) -> Iterator[FoliationRow]:
        entries = self.ready.runnable
        for number, entry in enumerate(entries):
            self._tell("foliations", number, len(entries))
            yield self._row(entry)

    def _row(self, entry: FoliationEntry) -> FoliationRow:
        foliation = entry.foliation
        assert foliation is not None
        if self.ready.model is None:
            return FoliationRow(entry.name, foliation.depth, foliation.width)
        seconds, result = timed(lambda: self._run(self.ready.ids, foliation))
        self.done[entry.name] = result
        model = self.ready.model
        peak = peak_during(foliation, model.config.footprint(model.dtype))
        return FoliationRow(entry.name, foliation.depth, foliation.width, peak, seconds, result.digest)

    def _kernels(self) -> Kernels | None:
        from causalsim.kernels import STOCK

        return STOCK if self.ready.scenario.model.kernels == "stock" else None

    def _run(self, texts: tuple[Any, ...], foliation: Foliation | None = None) -> Run:
        from causalsim.engine import generate, run

        table, model, chosen = self.ready.scenario.generate, self._model(), self._kernels()
        if table is None:
            return run(model, texts, foliation, kernels=chosen)
        temperature, seed = table.temperature, table.seed
        return generate(
            model, texts, table.tokens, foliation, temperature=temperature, seed=seed, kernels=chosen
        )

    def _model(self) -> Model:
        assert self.ready.model is not None
        return self.ready.model

    def checks(self) -> Iterator[Finding]:
        if self.done:
            astray = [name for name, run in self.done.items() if not run.program.refines(run.foliation)]
            found = f"not: {', '.join(astray)}" if astray else f"{len(self.done)} of {len(self.done)}"
            yield checked("the order that ran is the order asked for", not astray, found)
        if self.expect.same_bits is not None:
            yield self._same_bits(self.expect.same_bits)
        if self.expect.alone is not None:
            yield self._alone(self.expect.alone)

    def _same_bits(self, expected: bool) -> Finding:
        digests = {run.digest for run in self.done.values()}
        found = f"{len(digests)} digest{'s' * (len(digests) > 1)} from {len(self.done)} orders"
        name = "every order gives the same bits" if expected else "the order changes the bits"
        return checked(name, (len(digests) == 1) is expected, found)

    def _alone(self, expected: bool) -> Finding:
        alone = []
        for number, text in enumerate(self.ready.ids):
            self._tell("each text alone", number, len(self.ready.ids))
            alone.append(self._run((text,)).digest)
        together = [run.digests for run in self.done.values()]
        same = sum(digests == tuple(alone) for digests in together)
        name = "each text alone has the bits that it has among the others"
        found = f"in {same} of {len(together)} orders, for {len(alone)} texts"
        return checked(name if expected else f"not: {name}", (same == len(together)) is expected, found)

    def report(self) -> Report | None:
        wanted = self.expect.verify
        if wanted is None:
            return None
        from causalsim.verification import verify

        model, kernels = self._model(), self._kernels()
        counts: dict[str, Any] = {"orders": wanted.orders, "seed": wanted.seed}
        return verify(model, self.ready.ids, **counts, kernels=kernels, progress=self._tell)

    def continuations(self) -> tuple[str, ...]:
        """The text generated behind each prompt, by the first order."""
        if self.ready.scenario.generate is None or not self.done or self._model().tokenizer is None:
            return ()
        first = next(iter(self.done.values()))
        return tuple(map(self._behind, first.requests, self.ready.graph.prompts))

    def _behind(self, found: RequestRun, prompt: int) -> str:
        """Decode what is written behind a prompt; by itself it could lose the space in front."""
        decode, ids = self._model().decode, found.tokens.tolist()
        given = decode(ids[:prompt])
        return found.text.removeprefix(given) if found.text.startswith(given) else decode(ids[prompt:])


def timed(work: Callable[[], Run]) -> tuple[float, Run]:
    """Seconds and result of a run, after a first one in which it may have been compiled."""
    work()
    start = perf_counter()
    result = work()
    return perf_counter() - start, result


def _refusals(ready: Experiment) -> Iterator[Finding]:
    for entry in ready.foliations:
        if entry.table.expect == "refused":
            edge = None if entry.refusal is None else entry.refusal.edge
            as_named = edge is not None and (entry.named is None or edge in entry.named)
            words = f"{entry.name}: refused" + (f", naming {entry.table.edge}" if entry.table.edge else "")
            yield checked(words, as_named, f"{edge} runs backwards" if edge else "nothing refused it")


def _counts(ready: Experiment) -> Iterator[Finding]:
    for entry in ready.routes:
        if entry.table.count is not None:
            routes = f"{entry.table.count:,} route{'s' * (entry.table.count != 1)}"
            words = f"{entry.source} to {entry.target} by {routes}"
            yield checked(words, entry.count == entry.table.count, f"counted {entry.count:,}")
