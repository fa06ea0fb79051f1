"""The table of kinds: a row for every kind of event, from which all else that depends on kinds derives.

A row says where in the column of a position an event of the kind stands, which streams it reads and
writes, the shape of its value, the parameters that are its alone, and how it is drawn. A new kind is a
row here and a kernel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, NamedTuple

from causalsim.errors import InputError

Place = Literal["below", "layer", "above", "feedback", "block"]
Shape = tuple[str, ...]


class Stream(NamedTuple):
    """Information that edges carry: its title in a legend, and the colour of its edges as ``#rrggbb``."""

    title: str
    colour: str


_PURPLE, _GREEN = "#7c3aed", "#0d9155"

STREAMS: Mapping[str, Stream] = MappingProxyType(
    {
        "residual": Stream("residual stream", "#111111"),
        "kv": Stream("K/V stream", _PURPLE),
        "token": Stream("token fed back", _GREEN),
    }
)


@dataclass(frozen=True)
class Kind:
    """A row of the table of kinds.

    Attributes:
        name: The name of the kind, in events and in scenario files.
        place: Where it stands in a column: once ``below`` all layers, in every ``layer``, once ``above``
            them, or above them only where tokens are fed back (``feedback``). A ``block`` is a whole layer.
        reads: The streams that it reads: of the residual stream and of tokens at its own position, of the
            K/V stream at earlier positions, too.
        writes: The stream that its value goes to.
        value: The shape of each array of its value, in names of sizes of a configuration; ``()`` is a
            number.
        title: The kind in a legend.
        label: The kind inside its node; empty where a picture gives none by itself.
        colour: The colour of its node, as ``#rrggbb``.
        shape: The shape of its node.
        parameters: The parameters of each layer that no standard model has, by name, with their shapes.
    """

    name: str
    place: Place
    reads: tuple[str, ...]
    writes: str
    value: tuple[Shape, ...]
    title: str
    label: str
    colour: str
    shape: Literal["box", "circle"] = "box"
    parameters: Mapping[str, Shape] = field(default_factory=dict, hash=False)

    @property
    def attends(self) -> bool:
        """True if it reads the K/V stream."""
        return "kv" in self.reads

    @property
    def adds(self) -> bool:
        """True if it reads the residual stream and writes it."""
        return "residual" in self.reads and self.writes == "residual"


_RESIDUAL: tuple[Shape, ...] = (("d_model",),)
_KV: Shape = ("n_kv_heads", "d_head")
_GREY, _BLUE, _FUCHSIA = "#64748b", "#2563eb", "#d926c9"

_ROWS: dict[str, Kind] = {
    row.name: row
    for row in (
        Kind("embed", "below", ("token",), "residual", _RESIDUAL, "embed", "", _GREY),
        Kind("kv", "layer", ("residual",), "kv", (_KV, _KV), "K/V", "K/V", _PURPLE, "circle"),
        Kind("attn", "layer", ("residual", "kv"), "residual", _RESIDUAL, "attention", "attn", _BLUE),
        Kind("mlp", "layer", ("residual",), "residual", _RESIDUAL, "MLP", "MLP", _FUCHSIA),
        Kind("unembed", "above", ("residual",), "token", (("vocab_size",),), "unembed", "", _GREY),
        Kind("sample", "feedback", ("token",), "token", ((),), "sample", "", _GREEN),
        Kind("block", "block", ("residual", "kv"), "residual", _RESIDUAL, "block", "", _BLUE),
    )
}
KINDS: Mapping[str, Kind] = MappingProxyType(_ROWS)

# What a layer of a transformer is made of, unless its configuration says otherwise.
SUBLAYERS = ("kv", "attn", "mlp")

# The kinds that are there only where the next token is waited for: no layer has any.
SAMPLED = frozenset(name for name, row in _ROWS.items() if row.place == "feedback")


@contextmanager
def registered(kind: Kind) -> Iterator[Kind]:
    """Add a row to the table for as long as a block of code runs.

    Args:
        kind: A row whose name is new; of a ``layer`` it writes the residual stream.

    Yields:
        The row.

    Raises:
        InputError: A kind of this name is known, or it is no sublayer that adds to the residual stream.

    >>> row = Kind("adapter", "layer", ("residual",), "residual", (("d_model",),), "adapter", "ad", "#000000")
    >>> with registered(row):
    ...     "adapter" in KINDS
    True
    >>> "adapter" in KINDS
    False
    """
    if kind.name in KINDS or not kind.name.isidentifier():
        raise InputError(
            "a new kind has a name of its own, without spaces",
            got=repr(kind.name),
            expected=f"none of {', '.join(KINDS)}",
        )
    if kind.place != "layer" or not kind.adds or not {*kind.reads} <= {"residual", "kv"}:
        raise InputError(
            "a new kind is a sublayer that reads the residual stream and adds to it", got=str(kind)
        )
    _ROWS[kind.name] = kind
    try:
        yield kind
    finally:
        del _ROWS[kind.name]


def kinds_at(*places: Place) -> tuple[str, ...]:
    """The names of the kinds at some places, in the order of the column.

    Args:
        *places: Places in a column.

    Returns:
        The names.

    >>> kinds_at("layer"), kinds_at("below", "above", "feedback")
    (('kv', 'attn', 'mlp'), ('embed', 'unembed', 'sample'))
    """
    return tuple(name for name, kind in KINDS.items() if kind.place in places)


def kinds_that_attend() -> frozenset[str]:
    """The names of the kinds that read the K/V stream.

    Returns:
        The names, ``block`` among them.
    """
    return frozenset(name for name, kind in KINDS.items() if kind.attends)
