"""Schema of a scenario file: tables and keys, checked before anything runs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from causalsim.arguments import nearest
from causalsim.errors import ScenarioError
from causalsim.foliations.registry import FAMILIES, family_named
from causalsim.scenario.problems import REFUSED

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Window = Count | Literal["full"]


def refused(rule: str, **clauses: str | None) -> PydanticCustomError:
    """A refusal with the clauses of every other error of causalsim."""
    return PydanticCustomError(REFUSED, "{rule}", {"rule": rule, **clauses})


class Table(BaseModel):
    """A table of a scenario file, which has no keys but its own."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", validate_by_name=False)

    @classmethod
    def _keys(cls) -> list[str]:
        return [field.alias or name for name, field in cls.model_fields.items()]

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        known = cls._keys()
        unknown = [key for key in data if key not in known] if isinstance(data, dict) else []
        if unknown:
            hint = nearest(unknown[0], known)
            expected = None if hint else ", ".join(known)
            raise refused("a scenario has no such key", key=unknown[0], expected=expected, hint=hint)
        return data


class ModelTable(Table):
    """``[model]``: a model by name, a random one, or only the wiring of one.

    ``random`` holds the sizes of ``causalsim.ModelConfig``; ``seed`` goes with it. ``layers``,
    ``windows`` and ``parallel_residual`` describe a wiring: no weights, so nothing runs.
    ``kernels = "stock"`` runs on XLA's defaults, which promise nothing about bits; ``dtype`` is
    what weights and values are kept in.
    """

    name: str | None = None
    random: dict[str, Any] | None = None
    seed: int = 0
    layers: Count | None = None
    windows: Window | list[Window] | None = None
    parallel_residual: bool = False
    kernels: Literal["certified", "stock"] = "certified"
    dtype: Literal["float32", "bfloat16"] = "float32"

    @model_validator(mode="after")
    def _one_source(self) -> ModelTable:
        given = [key for key in ("name", "random", "layers") if getattr(self, key) is not None]
        if len(given) != 1:
            raise refused(
                "a model is one of name, random or layers",
                got=" and ".join(given) or "none of them",
                hint='Give name = "glass", or random = {...} with sizes, or layers = 3 for its wiring alone.',
            )
        homes = {
            "seed": ("random",), "dtype": ("name", "random"),
            "windows": ("layers",), "parallel_residual": ("layers",),
        }  # fmt: skip
        for key, home in homes.items():
            if key in self.model_fields_set and given[0] not in home:
                raise refused(f"this key goes with {' or '.join(home)}", key=key, got=f"it beside {given[0]}")
        return self

    @property
    def has_weights(self) -> bool:
        """True if there is something to run."""
        return self.layers is None


class GenerateTable(Table):
    """``[generate]``: so many tokens behind every text, each sampled from the position before."""

    tokens: Count
    temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    seed: Seed = 0


class FoliationTable(Table):
    """``[[foliation]]``: a family with its arguments, under a name; the registry says which there are.

    ``expect = "refused"`` where the family must break causality; ``edge`` is then the edge that
    the refusal has to name.
    """

    model_config = ConfigDict(extra="allow")

    family: str
    name: str | None = None
    expect: Literal["runs", "refused"] = "runs"
    edge: str | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """Values that the file gives for the family's own arguments."""
        return dict(sorted((self.model_extra or {}).items()))

    @classmethod
    def _keys(cls) -> list[str]:
        taken = (argument.name for family in FAMILIES.values() for argument in family.arguments)
        return [*super()._keys(), *dict.fromkeys(taken)]

    @property
    def title(self) -> str:
        """The name, or else the family with its arguments."""
        shown = ", ".join(f"{key}={value}" for key, value in self.arguments.items() if key != "slices")
        return self.name or (f"{self.family}({shown})" if shown else self.family)

    @model_validator(mode="after")
    def _family_takes_arguments(self) -> FoliationTable:
        try:
            family_named(self.family).check(self.arguments)
        except ScenarioError as error:
            raise refused(error.rule, key=error.key, **error.clauses) from None
        if self.edge is not None and self.expect != "refused":
            raise refused("an edge is named by a refusal", key="edge", hint='Add expect = "refused".')
        return self


class RouteTable(Table):
    """``[[route]]``: the routes from a kv to an attn event, how many there must be, and pictures of them."""

    source: str = Field(alias="from")
    target: str = Field(alias="to")
    count: int | None = None
    draw: Literal["together", "each"] | None = None


class VerifyTable(Table):
    """``[expect.verify]``: the three verdicts of ``causalsim.verify``."""

    orders: Count = 20
    seed: Seed = 0


class ExpectTable(Table):
    """``[expect]``: what has to come out.

    ``same_bits``: all foliations give one digest, or with ``false`` not. ``alone``: each text by itself
    gives the bits that it has among the others.
    """

    same_bits: bool | None = None
    alone: bool | None = None
    verify: VerifyTable | None = None

    @property
    def needs_weights(self) -> bool:
        return bool(self.model_fields_set)


class PicturesTable(Table):
    """``[pictures]``: what is drawn besides routes, and the formats of all pictures."""

    graph: bool = False
    foliations: bool = False
    format: Annotated[list[Literal["svg", "png"]], Field(min_length=1)] = ["svg"]


class Scenario(Table):
    """A scenario file: an experiment that a person can run and read."""

    title: str
    about: str
    model: ModelTable
    texts: list[str | list[int]] | None = None
    lengths: list[Count] | None = None
    granularity: Literal["sublayer", "block"] = "sublayer"
    generate: GenerateTable | None = None
    foliation: list[FoliationTable] = []
    route: list[RouteTable] = []
    expect: ExpectTable = ExpectTable()
    pictures: PicturesTable = PicturesTable()

    @property
    def draws(self) -> bool:
        """True if it asks for a picture."""
        return self.pictures.graph or self.pictures.foliations or any(table.draw for table in self.route)

    @model_validator(mode="after")
    def _texts_for_weights(self) -> Scenario:
        wanted, other = ("texts", "lengths") if self.model.has_weights else ("lengths", "texts")
        reason = "a model reads texts" if self.model.has_weights else "a wiring has lengths, no texts"
        if getattr(self, other) is not None:
            raise refused(reason, key=other, got=other, expected=wanted)
        if not getattr(self, wanted):
            raise refused(reason, key=wanted, got="none", hint=f"Give {wanted} = [...], one entry a request.")
        if self.expect.needs_weights and not self.model.has_weights:
            hint = 'Give [model] a name, for example "glass".'
            raise refused("only what runs has bits", key="expect", got="a wiring without weights", hint=hint)
        return self

    @model_validator(mode="after")
    def _asks_something(self) -> Scenario:
        names = [table.title for table in self.foliation]
        compared = sum(table.expect == "runs" for table in self.foliation)
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise refused("foliations have different names", key="foliation", got=f"{twice[0]!r} twice")
        if not (self.foliation or self.route):
            raise refused("a scenario asks something", got="neither [[foliation]] nor [[route]]")
        if self.expect.same_bits is not None and compared < 2:
            rule = "bits are compared between foliations"
            raise refused(rule, key="expect.same_bits", got=f"{compared} that run")
        return self
