"""Provenance: all that bits are a property of, as data; from it the same run is made elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from causalsim.engine import Model, load, random_model
from causalsim.engine.environment import environment
from causalsim.engine.tokens import encode_texts
from causalsim.errors import InputError
from causalsim.events import EventGraph
from causalsim.kernels import CERTIFIED, CERTIFIED_BUCKETS, FIXED, STOCK, Buckets, Kernels
from causalsim.models import ModelConfig
from causalsim.verification.target import Target

NAMED = {kernels.name: kernels for kernels in (CERTIFIED, FIXED, STOCK)}


class Difference(NamedTuple):
    """A fact that was another one elsewhere, or at another time."""

    name: str
    there: str
    here: str

    def __str__(self) -> str:
        return f"{self.name}: {self.there or 'nothing'} there, {self.here or 'nothing'} here"


@dataclass(frozen=True)
class Provenance:
    """A model, the texts that it read, the rows of its batches, and where all that was.

    ``origin`` says how the model is made again, as ``Model.origin`` does; with a ``seed`` goes its
    ``config``. ``digest`` is the model's, ``environment`` as ``verification.environment`` gives it.
    """

    origin: Mapping[str, Any]
    digest: str
    graph: EventGraph
    ids: tuple[tuple[int, ...], ...]
    buckets: Buckets
    environment: Mapping[str, str]

    @classmethod
    def of(cls, target: Target) -> Provenance:
        """That of a target, here and now."""
        model, kernels = target.model, target.kernels
        config = {"config": model.config.to_dict()} if "seed" in model.origin else {}
        ids = tuple(tuple(text.tolist()) for text in target.ids)
        facts = environment(kernels, model.dtype)
        return cls({**model.origin, **config}, model.digest, target.graph, ids, kernels.buckets, facts)

    def target(self, model: Model | None = None, kernels: Kernels | None = None) -> Target:
        """Return the same texts before the same model, or another one given, in batches of the same rows.

        Raises:
            InputError: The model can only be given, or has another wiring or vocabulary.
        """
        found = self._made() if model is None else model
        if found.config.wiring != self.graph.wiring:
            raise InputError(
                "an order is run again on a model of the same wiring",
                got=found.config.wiring,
                expected=self.graph.wiring,
            )
        ids = encode_texts(found, [list(text) for text in self.ids])
        return Target(found, self.graph, ids, self._kernels() if kernels is None else kernels)

    def differences(self, target: Target) -> tuple[Difference, ...]:
        """The facts that are not the same of a target, here and now."""
        there, here = self.facts, Provenance.of(target).facts
        names = (name for name in {**there, **here} if there.get(name) != here.get(name))
        return tuple(Difference(name, there.get(name, ""), here.get(name, "")) for name in names)

    @property
    def facts(self) -> dict[str, str]:
        """The model's digest and the environment, by name."""
        return {"model": self.digest, **self.environment}

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it; ``from_dict`` is the inverse."""
        return {
            "model": {**self.origin, "digest": self.digest},
            "graph": self.graph.to_dict(),
            "ids": [list(text) for text in self.ids],
            "buckets": {"sizes": list(self.buckets.sizes), "costs": list(self.buckets.costs)},
            "environment": dict(self.environment),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Provenance:
        """Read what ``to_dict`` gave; ``ValueError``, ``LookupError`` or ``TypeError`` for anything else."""
        origin = dict(data["model"])
        if "seed" in origin:
            ModelConfig.from_dict(origin["config"])
        ids = tuple(tuple(_whole(token) for token in text) for text in data["ids"])
        facts = {_word(name): _word(fact) for name, fact in data["environment"].items()}
        if not {"dtype", "kernels", "calibration"} <= facts.keys():
            raise ValueError("an environment names dtype, kernels and calibration")
        graph, buckets = _graph(data["graph"], [len(text) for text in ids]), _buckets(data["buckets"])
        return cls(origin, _word(origin.pop("digest")), graph, ids, buckets, facts)

    def _made(self) -> Model:
        dtype = self.environment["dtype"]
        if "name" in self.origin:
            return load(self.origin["name"], dtype=dtype)
        if "seed" in self.origin:
            return random_model(
                ModelConfig.from_dict(self.origin["config"]), self.origin["seed"], dtype=dtype
            )
        raise InputError(
            "a model is loaded again by its name",
            got="one that was built from parameters",
            hint="Give it: model=...",
        )

    def _kernels(self) -> Kernels:
        """Those of the name, in the rows that were chosen there; for planted faults the certified ones."""
        base = NAMED.get(self.environment["kernels"], CERTIFIED)
        return replace(base, buckets=self.buckets, calibration=self.environment["calibration"])


def _graph(described: Mapping[str, Any], lengths: list[int]) -> EventGraph:
    """The graph of ``to_dict``, over texts of these lengths."""
    if described["lengths"] != lengths:
        raise ValueError("a graph has the lengths of its texts")
    return EventGraph.from_dict(described)


def _buckets(data: Mapping[str, Sequence[float]]) -> Buckets:
    counts = tuple(map(_whole, data["sizes"]))
    if max(counts, default=0) > CERTIFIED_BUCKETS.sizes[-1]:
        raise ValueError("no batch has so many rows")
    return Buckets(counts, tuple(map(float, data["costs"])))


def _whole(value: object) -> int:
    if type(value) is not int:
        raise TypeError("a whole number")
    return value


def _word(value: object) -> str:
    if type(value) is not str:
        raise TypeError("a string")
    return value
