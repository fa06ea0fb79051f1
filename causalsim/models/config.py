"""Sizes and switches of a transformer: enough for its graph and its costs, without weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from causalsim.arguments import as_int
from causalsim.errors import InputError
from causalsim.events import KINDS, Wiring
from causalsim.events.kinds import SUBLAYERS, kinds_at
from causalsim.foliations.costs import Footprint
from causalsim.models.checks import check_divides, one_of, plain_factors, positive_float, positive_int, switch
from causalsim.models.shapes import SIZES, count_read, shape_of, shapes_of_parts

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

_FLOATS = ("rope_base", "norm_epsilon", "embedding_scale", "attention_scale")
_CAPS = ("attention_cap", "logit_cap")
_SWITCHES = (
    "tied_embeddings", "parallel_residual", "gated", "post_norms", "qk_norms", "qkv_biases", "out_biases",
    "mlp_biases",
)  # fmt: skip
_NAMED = {
    "norm": ("rms", "layer"),
    "activation": ("silu", "gelu", "gelu_tanh"),
    "positions": ("rotary", "learned"),
}
_TOKEN_BYTES = 4  # A token id is an int32 wherever it is stored.


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Sizes and switches of a decoder; what is left out is as in Llama.

    ``n_kv_heads`` left out (or ``None``) is ``n_heads``, ``d_head`` is ``d_model / n_heads``,
    ``attention_scale``, by which scores are multiplied, is ``1 / sqrt(d_head)``.
    ``windows`` counts the positions that an attention sees, its own included: one number or
    one a layer, ``None`` for all; it is stored as ``Wiring`` normalises it.

    - ``norm``: ``"rms"`` (Zhang and Sennrich 2019), or ``"layer"`` with biases (Ba et al. 2016).
      ``post_norms`` also normalise what attention and MLP add; ``qk_norms`` each head of Q and K.
    - ``positions``: ``"rotary"`` turns the first ``d_rotary`` coordinates of each head (Su et
      al. 2021), all by default, at ``rope_base ** (-2 i / d_rotary)``, each frequency divided
      by its entry in ``rope_factors``; ``"learned"`` adds a row of a table to the embedding.
    - ``gated``: ``down(activation(gate x) * up x)`` (Shazeer 2020), or without a gate
      ``down(activation(up x))``. ``activation``: ``"gelu"`` is exact, ``"gelu_tanh"`` is not.
    - ``attention_cap``, ``logit_cap``: scores and logits s become ``cap * tanh(s / cap)``.
    - ``parallel_residual``: attention and MLP of a layer both read what came in.
    - ``sublayers``: the kinds of a layer's events, in the order of the column; those beyond the
      standard ones bring the parameters that the table of kinds gives them.

    Raises:
        InputError: Anything else than a consistent set.

    >>> config = ModelConfig(n_layers=2, n_heads=4, d_model=32, d_ff=64, vocab_size=50, max_length=16)
    >>> config.n_kv_heads, config.d_head, config.wiring.n_layers
    (4, 8, 2)
    """

    n_layers: int
    n_heads: int
    # None stands for a size that __post_init__ derives, so that every reader sees a number.
    n_kv_heads: int = cast("int", None)
    d_model: int
    d_head: int = cast("int", None)
    d_ff: int
    vocab_size: int
    max_length: int
    norm: Literal["rms", "layer"] = "rms"
    norm_epsilon: float = 1e-6
    post_norms: bool = False
    qk_norms: bool = False
    positions: Literal["rotary", "learned"] = "rotary"
    d_rotary: int = cast("int", None)
    rope_base: float = 10000.0
    rope_factors: Sequence[float] | None = None
    activation: Literal["silu", "gelu", "gelu_tanh"] = "silu"
    gated: bool = True
    qkv_biases: bool = False
    out_biases: bool = False
    mlp_biases: bool = False
    attention_scale: float = cast("float", None)
    attention_cap: float | None = None
    logit_cap: float | None = None
    embedding_scale: float = 1.0
    tied_embeddings: bool = False
    windows: int | Sequence[int | None] | None = None
    parallel_residual: bool = False
    sublayers: Sequence[str] = SUBLAYERS

    def __post_init__(self) -> None:
        for name, known in _NAMED.items():
            self._set(name, one_of(name, getattr(self, name), known))
        self._derive_sizes()
        for name in SIZES:
            self._set(name, positive_int(name, getattr(self, name)))
        self._derive_rotary()
        if self.attention_scale is None:
            self._set("attention_scale", self.d_head**-0.5)
        for name in _FLOATS:
            self._set(name, positive_float(name, getattr(self, name)))
        for name in _CAPS:
            if getattr(self, name) is not None:
                self._set(name, positive_float(name, getattr(self, name)))
        for name in _SWITCHES:
            self._set(name, switch(name, getattr(self, name)))
        hint = "Each K/V head serves equally many query heads."
        check_divides("n_kv_heads", self.n_kv_heads, "n_heads", self.n_heads, hint)
        wiring = self.wiring
        self._set("windows", wiring.windows)
        self._set("sublayers", wiring.sublayers)
        shapes_of_parts(self)  # Refuses what the table of kinds says of no size.

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _derive_sizes(self) -> None:
        if self.n_kv_heads is None:
            self._set("n_kv_heads", self.n_heads)
        if self.d_head is None:
            d_model, n_heads = positive_int("d_model", self.d_model), positive_int("n_heads", self.n_heads)
            hint = "Give d_head where it is not d_model / n_heads."
            check_divides("n_heads", n_heads, "d_model", d_model, hint)
            self._set("d_head", d_model // n_heads)

    def _derive_rotary(self) -> None:
        turned = self.positions == "rotary"
        if self.d_rotary is None:
            self._set("d_rotary", self.d_head if turned else 0)
        whole = positive_int("d_rotary", self.d_rotary) if turned else as_int(self.d_rotary)
        if whole is None or whole % 2 or not 0 <= whole <= (self.d_head if turned else 0):
            raise InputError(
                "the rotary embedding turns pairs of a head's coordinates",
                got=f"d_rotary={self.d_rotary}, d_head={self.d_head}, positions={self.positions!r}",
                expected="an even d_rotary of at most d_head" if turned else "no d_rotary",
                hint="Choose d_model and n_heads with an even quotient, or give d_head or d_rotary.",
            )
        self._set("d_rotary", whole)
        self._set("rope_factors", plain_factors("rope_factors", self.rope_factors, self.d_rotary // 2))

    @property
    def wiring(self) -> Wiring:
        """The part of the configuration that an event graph depends on."""
        return Wiring(
            self.n_layers,
            windows=self.windows,
            parallel_residual=self.parallel_residual,
            sublayers=self.sublayers,
        )

    def footprint(self, dtype: DTypeLike = "float32") -> Footprint:
        """Bytes of one value, and of the weights that one event reads, for every kind of event.

        ``embed`` reads one row of its table and ``block`` each weight of its layer once; ``kv``
        and ``attn`` both read the norm before them. A ``sample`` is an int32. FLOPs are two for each
        weight, but none for a lookup, and ``4 n_heads d_head`` for each position that an attention reads.

        Args:
            dtype: The floating type of values and weights, ``"bfloat16"`` included.

        Returns:
            Bytes and FLOPs by kind, those of extra sublayers as the table of kinds has them.

        Raises:
            InputError: The type is not a floating one.

        >>> config = ModelConfig(n_layers=1, n_heads=2, d_model=8, d_ff=16, vocab_size=10, max_length=4)
        >>> config.footprint("float16").values["kv"]
        32
        """
        size, read = _item_bytes(dtype), count_read(self)
        lookups = dict.fromkeys(kinds_at("below"), 0)
        return Footprint(
            values={kind: self._value_bytes(kind, size) for kind in read},
            weights={kind: size * numbers for kind, numbers in read.items()},
            flops={kind: 2 * numbers for kind, numbers in read.items()} | lookups,
            flops_per_read=4 * self.n_heads * self.d_head,
        )

    def _value_bytes(self, kind: str, size: int) -> int:
        row = KINDS[kind]
        each = _TOKEN_BYTES if row.place == "feedback" else size
        return each * sum(math.prod(shape_of(self, axes)) for axes in row.value)

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON can hold them; ``from_dict`` is the inverse.

        Returns:
            Every field by its name.
        """
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelConfig:
        """A configuration from its fields.

        Args:
            data: The fields by name, as ``to_dict`` gives them; those with a default may be left out.

        Returns:
            The configuration.

        Raises:
            InputError: A field is missing or not known, which it names, or the fields are not consistent.

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
            hint="Compare with ModelConfig(...).to_dict().",
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
            hint='Leave dtype out for "float32".',
        )
    return known.itemsize
