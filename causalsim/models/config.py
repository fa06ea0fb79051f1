"""What a transformer's sizes and switches are: enough for its graph and its costs, without weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, SupportsFloat, cast

import numpy as np

from causalsim.arguments import as_int
from causalsim.errors import InputError
from causalsim.events import Wiring
from causalsim.foliations.costs import Footprint

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

_SIZES = ("n_layers", "n_heads", "n_kv_heads", "d_model", "d_head", "d_ff", "vocab_size", "max_length")
_FLOATS = ("rope_base", "norm_epsilon")
_SWITCHES = ("tied_embeddings", "parallel_residual")
_TOKEN_BYTES = 4  # A token id is an int32 wherever it is stored.


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Sizes and switches of a decoder; what is left out is as in Llama.

    ``n_kv_heads`` left out (or ``None``) is ``n_heads``, and ``d_head`` is ``d_model / n_heads``.
    ``windows`` counts the positions that an attention sees, its own included: one number or
    one a layer, ``None`` for all; it is stored as ``Wiring`` normalises it. Anything else
    than a consistent set of sizes raises ``InputError``.

    >>> config = ModelConfig(n_layers=2, n_heads=4, d_model=32, d_ff=64, vocab_size=50, max_length=16)
    >>> config.n_kv_heads, config.d_head, config.wiring.n_layers
    (4, 8, 2)
    """

    n_layers: int
    n_heads: int
    # None stands for a size that __post_init__ derives, so that every reader sees an int.
    n_kv_heads: int = cast("int", None)
    d_model: int
    d_head: int = cast("int", None)
    d_ff: int
    vocab_size: int
    max_length: int
    rope_base: float = 10000.0
    norm_epsilon: float = 1e-6
    tied_embeddings: bool = False
    windows: int | Sequence[int | None] | None = None
    parallel_residual: bool = False

    def __post_init__(self) -> None:
        self._derive_sizes()
        for name in _SIZES:
            self._set(name, _positive_int(name, getattr(self, name)))
        for name in _FLOATS:
            self._set(name, _positive_float(name, getattr(self, name)))
        for name in _SWITCHES:
            self._set(name, _switch(name, getattr(self, name)))
        self._check_heads()
        self._set("windows", _plain_windows(self.windows))
        self._set("windows", self.wiring.windows)

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _derive_sizes(self) -> None:
        if self.n_kv_heads is None:
            self._set("n_kv_heads", self.n_heads)
        if self.d_head is None:
            d_model, n_heads = _positive_int("d_model", self.d_model), _positive_int("n_heads", self.n_heads)
            _check_divides(
                "n_heads", n_heads, "d_model", d_model, "Give d_head where it is not d_model / n_heads."
            )
            self._set("d_head", d_model // n_heads)

    def _check_heads(self) -> None:
        _check_divides(
            "n_kv_heads",
            self.n_kv_heads,
            "n_heads",
            self.n_heads,
            "Each K/V head serves equally many query heads.",
        )
        if self.d_head % 2:
            raise InputError(
                "the rotary embedding turns pairs of coordinates",
                got=f"d_head={self.d_head}",
                expected="an even d_head",
                cure="Choose d_model and n_heads with an even quotient, or give d_head.",
            )

    @property
    def wiring(self) -> Wiring:
        """What the event graph needs to know of the model."""
        return Wiring(self.n_layers, windows=self.windows, parallel_residual=self.parallel_residual)

    def footprint(self, dtype: DTypeLike = "float32") -> Footprint:
        """Bytes of one value, and of the weights that one event reads, for every kind of event.

        ``embed`` reads one row of its table and ``block`` each weight of its layer once; ``kv``
        and ``attn`` both read the norm before them. A ``sample`` is an int32. ``dtype`` is a
        floating type, ``"bfloat16"`` included.

        >>> config = ModelConfig(n_layers=1, n_heads=2, d_model=8, d_ff=16, vocab_size=10, max_length=4)
        >>> config.footprint("float16").values["kv"]
        32
        """
        size = _item_bytes(dtype)
        values = {kind: size * numbers for kind, numbers in self._numbers_in_value().items()}
        weights = {kind: size * numbers for kind, numbers in self._weights_read().items()}
        return Footprint(values={**values, "sample": _TOKEN_BYTES}, weights=weights)

    def _numbers_in_value(self) -> dict[str, int]:
        residual = dict.fromkeys(("embed", "attn", "mlp", "block"), self.d_model)
        return {**residual, "kv": 2 * self.n_kv_heads * self.d_head, "unembed": self.vocab_size}

    def _weights_read(self) -> dict[str, int]:
        norm = d = self.d_model
        kv = 2 * d * self.n_kv_heads * self.d_head
        attn = 2 * d * self.n_heads * self.d_head
        mlp = norm + 3 * d * self.d_ff
        layer = {"kv": norm + kv, "attn": norm + attn, "mlp": mlp, "block": norm + kv + attn + mlp}
        return {"embed": d, **layer, "unembed": norm + d * self.vocab_size, "sample": 0}

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON can hold them; ``from_dict`` is the inverse."""
        listed = list(self.windows) if isinstance(self.windows, tuple) else self.windows
        return {**asdict(self), "windows": listed}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelConfig:
        """A configuration from its fields; ``InputError`` names a field that is missing or not known.

        >>> config = ModelConfig(n_layers=1, n_heads=2, d_model=8, d_ff=16, vocab_size=10, max_length=4)
        >>> ModelConfig.from_dict(config.to_dict()) == config
        True
        """
        known = {field.name for field in fields(cls)}
        required = {field.name for field in fields(cls) if field.default is MISSING}
        _refuse_fields("a configuration has no other fields", set(data) - known, known)
        _refuse_fields("a configuration needs all its sizes", required - set(data), required)
        return cls(**data)


def _refuse_fields(rule: str, wrong: set[str], expected: set[str]) -> None:
    if wrong:
        raise InputError(
            rule,
            got=f"the wrong or missing {', '.join(sorted(map(str, wrong)))}",
            expected=", ".join(sorted(expected)),
            cure="Compare with ModelConfig(...).to_dict().",
        )


def _check_divides(part: str, divisor: int, whole: str, number: int, cure: str) -> None:
    if number % divisor:
        raise InputError(
            f"{part} divides {whole}",
            got=f"{part}={divisor} and {whole}={number}",
            expected=f"{whole} a multiple of {part}",
            cure=cure,
        )


def _positive_int(name: str, value: object) -> int:
    number = as_int(value)
    if number is None or number < 1:
        raise InputError(
            f"{name} is a size",
            got=f"{name}={value!r}",
            expected="a whole number of at least 1",
            cure=f"Give {name} as a positive int.",
        )
    return number


def _positive_float(name: str, value: object) -> float:
    number = math.nan
    if isinstance(value, SupportsFloat) and not isinstance(value, bool | np.bool_ | np.ndarray):
        number = float(value)
    if not (math.isfinite(number) and number > 0):
        raise InputError(
            f"{name} is a positive, finite number",
            got=f"{name}={value!r}",
            expected="a float above 0",
            cure=f"Leave {name} out for Llama's default.",
        )
    return number


def _switch(name: str, value: object) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise InputError(
            f"{name} is a switch",
            got=f"{name}={value!r}",
            expected="True or False",
            cure=f"Leave {name} out for False.",
        )
    return bool(value)


def _plain_windows(windows: object) -> int | tuple[int | None, ...] | None:
    """Windows in Python's own types, their number and size left to ``Wiring``."""
    if windows is None or as_int(windows) is not None:
        return as_int(windows)
    if isinstance(windows, Iterable) and not isinstance(windows, str | bytes | Mapping):
        listed = tuple(windows)
        if all(window is None or as_int(window) is not None for window in listed):
            return tuple(map(as_int, listed))
    raise InputError(
        "windows are counts of positions",
        got=f"windows={windows!r}",
        expected="a whole number, or one (or None) for every layer",
        cure="Leave windows out for full attention.",
    )


def _item_bytes(dtype: DTypeLike) -> int:
    # NumPy knows bfloat16 only once ml_dtypes is imported, which comes with JAX.
    if str(dtype) == "bfloat16":
        return 2
    try:
        known = np.dtype(dtype)
    except TypeError:
        known = np.dtype("void")
    if known.name != "bfloat16" and not np.issubdtype(known, np.floating):
        raise InputError(
            "values and weights are floating-point numbers",
            got=f"dtype={dtype!r}",
            expected="float16, bfloat16, float32 or float64",
            cure='Leave dtype out for "float32".',
        )
    return known.itemsize
