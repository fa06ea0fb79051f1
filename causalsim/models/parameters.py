"""The canonical names and shapes of a model's tensors, their check, and random ones.

Matrices are stored (in, out), so that a row vector times a matrix is one projection. The
rotary embedding pairs coordinate i of a head with i + d_head / 2, as Hugging Face does.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from causalsim.arguments import as_int
from causalsim.errors import CheckpointError, InputError, LimitError
from causalsim.models.checks import known_dtype

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from causalsim.models.config import ModelConfig

_FLOATING = ("float16", "bfloat16", "float32", "float64")
_NORM_SPREAD = 0.1


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a model, from the embedding upwards.

    ``unembed`` is absent where the embeddings are tied: its part is then the transposed ``embed``.

    >>> from causalsim.models import ModelConfig
    >>> config = ModelConfig(n_layers=1, n_heads=2, d_model=8, d_ff=16, vocab_size=10, max_length=4)
    >>> shapes = parameter_shapes(config)
    >>> shapes["layers.0.attn.q"], shapes["layers.0.mlp.down"], shapes["unembed"]
    ((8, 8), (16, 8), (8, 10))
    """
    shapes: dict[str, tuple[int, ...]] = {"embed": (config.vocab_size, config.d_model)}
    if config.positions == "learned":
        shapes["positions"] = (config.max_length, config.d_model)
    for layer in range(config.n_layers):
        shapes |= {f"layers.{layer}.{name}": shape for name, shape in layer_shapes(config).items()}
    return shapes | _end_shapes(config)


def layer_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of one layer; all layers are alike."""
    d, d_ff, d_head = config.d_model, config.d_ff, config.d_head
    queries, keys = config.n_heads * d_head, config.n_kv_heads * d_head
    biased, post, head = config.norm == "layer", config.post_norms, config.qk_norms
    return _present(
        ("attn.norm", (d,), True),
        ("attn.norm_bias", (d,), biased),
        ("attn.q", (d, queries), True),
        ("attn.k", (d, keys), True),
        ("attn.v", (d, keys), True),
        ("attn.q_bias", (queries,), config.qkv_biases),
        ("attn.k_bias", (keys,), config.qkv_biases),
        ("attn.v_bias", (keys,), config.qkv_biases),
        ("attn.q_norm", (d_head,), head),
        ("attn.q_norm_bias", (d_head,), head and biased),
        ("attn.k_norm", (d_head,), head),
        ("attn.k_norm_bias", (d_head,), head and biased),
        ("attn.o", (queries, d), True),
        ("attn.o_bias", (d,), config.out_biases),
        ("attn.post_norm", (d,), post),
        ("attn.post_norm_bias", (d,), post and biased),
        ("mlp.norm", (d,), True),
        ("mlp.norm_bias", (d,), biased),
        ("mlp.gate", (d, d_ff), config.gated),
        ("mlp.up", (d, d_ff), True),
        ("mlp.gate_bias", (d_ff,), config.gated and config.mlp_biases),
        ("mlp.up_bias", (d_ff,), config.mlp_biases),
        ("mlp.down", (d_ff, d), True),
        ("mlp.down_bias", (d,), config.mlp_biases),
        ("mlp.post_norm", (d,), post),
        ("mlp.post_norm_bias", (d,), post and biased),
    )


def _end_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    return _present(
        ("final_norm", (config.d_model,), True),
        ("final_norm_bias", (config.d_model,), config.norm == "layer"),
        ("unembed", (config.d_model, config.vocab_size), not config.tied_embeddings),
    )


def _present(*tensors: tuple[str, tuple[int, ...], bool]) -> dict[str, tuple[int, ...]]:
    return {name: shape for name, shape, there in tensors if there}


def count_read(config: ModelConfig) -> dict[str, int]:
    """How many weights one event of each kind reads; a norm that two kinds begin with counts for both."""
    layer = {name: math.prod(shape) for name, shape in layer_shapes(config).items()}

    def read(*starts: str) -> int:
        return sum(count for name, count in layer.items() if name.startswith(starts))

    positions = config.d_model * (config.positions == "learned")
    ends = sum(map(math.prod, _end_shapes(config).values()))
    return {
        "embed": config.d_model + positions,
        "kv": read("attn.norm", "attn.k", "attn.v"),
        "attn": read("attn.norm", "attn.q", "attn.o", "attn.post"),
        "mlp": read("mlp."),
        "block": read(""),
        "unembed": ends + config.d_model * config.vocab_size * config.tied_embeddings,
        "sample": 0,
    }


def count_parameters(config: ModelConfig) -> int:
    """How many numbers a model's tensors hold together.

    >>> from causalsim.models import ModelConfig
    >>> count_parameters(ModelConfig(n_layers=1, n_heads=1, d_model=2, d_ff=3, vocab_size=5, max_length=1))
    60
    """
    rows = config.vocab_size + (config.max_length if config.positions == "learned" else 0)
    ends = rows * config.d_model + sum(map(math.prod, _end_shapes(config).values()))
    return config.n_layers * sum(map(math.prod, layer_shapes(config).values())) + ends


def check_parameters(
    config: ModelConfig, params: Mapping[str, ArrayLike], dtype: DTypeLike = "float32"
) -> dict[str, NDArray[Any]]:
    """The parameters of a model as arrays of its dtype, in canonical order; bfloat16 to nearest even.

    ``CheckpointError``, with the tensor's name, where one is missing, surplus, of the wrong
    shape, not of a floating type or not finite. The arrays are read-only, and
    nobody else's: writeable input of the same type is copied. ``InputError`` for another dtype
    than float32 or bfloat16.
    """
    return check_tensors(parameter_shapes(config), params, dtype)


def check_tensors(
    shapes: Mapping[str, tuple[int, ...]], tensors: Mapping[str, ArrayLike], dtype: DTypeLike = "float32"
) -> dict[str, NDArray[Any]]:
    """Tensors of given names and shapes, under whatever names a checkpoint has for them.

    The check behind ``check_parameters``, for readers whose files use names of their own.
    """
    kept = known_dtype(dtype)
    for name in shapes:
        if name not in tensors:
            hint = "Write the checkpoint anew, or correct the configuration."
            _refuse(name, "every parameter is there", "none", f"shape {shapes[name]}", hint)
    for name in tensors:
        if name not in shapes:
            hint = "Remove it, or use the configuration that it belongs to."
            _refuse(name, "there are no other parameters", "one", "none", hint)
    return {name: _checked(name, np.asarray(tensors[name]), shape, kept) for name, shape in shapes.items()}


def _checked(name: str, array: NDArray[Any], shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    if array.dtype.name not in _FLOATING:
        hint = "Dequantise it first."
        _refuse(name, "parameters are floating-point numbers", array.dtype, ", ".join(_FLOATING), hint)
    if array.shape != shape:
        hint = "Matrices are stored (in, out)."
        _refuse(name, "shapes follow from the configuration", array.shape, shape, hint)
    with np.errstate(over="ignore"):  # What overflows is infinite then, and refused below.
        plain = np.ascontiguousarray(array, dtype=_numpy_type(dtype))
    # Whoever holds a writeable array of ours could change the model behind our back.
    plain = plain.copy() if array.flags.writeable and np.may_share_memory(plain, array) else plain.view()
    bad = plain.size - int(np.count_nonzero(np.isfinite(plain)))
    if bad:
        hint = "Was the file damaged, or made for a wider type?"
        _refuse(name, f"parameters are finite in {dtype}", f"{bad} infinite or NaN", "none", hint)
    plain.flags.writeable = False
    return plain


def _numpy_type(dtype: str) -> np.dtype[Any]:
    if dtype == "bfloat16":
        import ml_dtypes  # noqa: F401  NumPy knows bfloat16 from it; it comes with JAX
    return np.dtype(dtype)


def _refuse(name: str, rule: str, got: object, expected: object, hint: str) -> None:
    raise CheckpointError(f"{name}: {rule}", tensor=name, got=got, expected=expected, hint=hint)


def random_parameters(config: ModelConfig, seed: int) -> dict[str, NDArray[np.float32]]:
    """Parameters under which activations stay of order one through the layers.

    Matrices are normal with variance 1 / fan-in, those that write to the residual smaller by
    sqrt(2 n_layers); norms are 1 + 0.1 * normal and biases 0.1 * normal, so that no weight could
    be left out unseen.
    Every tensor has a stream of its own, keyed by seed and name (Philox; Salmon et al.,
    "Parallel random numbers: as easy as 1, 2, 3", SC 2011): a tensor depends on no other.
    """
    checked = _checked_seed(seed)
    _check_memory(config)
    return {
        name: _random_tensor(config, checked, name, shape) for name, shape in parameter_shapes(config).items()
    }


def _check_memory(config: ModelConfig) -> None:
    """Refuse before hours of drawing numbers what this machine cannot hold."""
    needed, there = 4 * count_parameters(config), _memory()
    if there is not None and needed > there:
        raise LimitError(
            "random parameters fit into memory",
            reached=needed,
            bound=there,
            got=f"{needed:,} bytes",
            expected=f"at most {there:,}, all that this machine has",
            hint="Take fewer layers or a smaller width.",
        )


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Not every system tells.
        return None


def _checked_seed(seed: int) -> int:
    whole = as_int(seed)
    if whole is None:
        raise InputError(
            "a seed is a whole number", got=f"seed={seed!r}", expected="an int", hint="Give seed=0."
        )
    return whole


def _random_tensor(config: ModelConfig, seed: int, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
    normal = generator.standard_normal(shape, dtype=np.float32)
    if name.endswith("norm"):
        return np.float32(1) + np.float32(_NORM_SPREAD) * normal
    return normal * np.float32(_scale(config, name, shape))


def _scale(config: ModelConfig, name: str, shape: tuple[int, ...]) -> float:
    if name == "embed":
        # A tied table is the output matrix too, whose fan-in is the residual's width.
        return 1 / math.sqrt(config.d_model) if config.tied_embeddings else 1.0
    if name == "positions" or name.endswith("_bias"):
        return _NORM_SPREAD
    fan_in = 1 / math.sqrt(shape[0])
    return fan_in / math.sqrt(2 * config.n_layers) if name.endswith((".o", ".down")) else fan_in
