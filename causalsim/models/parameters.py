"""Parameters of a model under their canonical names: their shapes, their check, and random ones.

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

from causalsim.arguments import as_int, check_limit
from causalsim.errors import CheckpointError, InputError
from causalsim.models.checks import known_dtype
from causalsim.models.config import ModelConfig
from causalsim.models.shapes import Shape, shapes_of_parts

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray

_FLOATING = ("float16", "bfloat16", "float32", "float64")
_NORM_SPREAD = 0.1


def parameter_shapes(config: ModelConfig) -> dict[str, Shape]:
    """Name and shape of every parameter of a model, from the embedding upwards.

    ``unembed`` is absent where the embeddings are tied: its part is then the transposed ``embed``.

    Args:
        config: The sizes and switches.

    Returns:
        Shapes by name; a parameter of a layer is called ``layers.LAYER.PART``.

    >>> from causalsim.models import ModelConfig
    >>> config = ModelConfig(n_layers=1, n_heads=2, d_model=8, d_ff=16, vocab_size=10, max_length=4)
    >>> shapes = parameter_shapes(config)
    >>> shapes["layers.0.attn.q"], shapes["layers.0.mlp.down"], shapes["unembed"]
    ((8, 8), (16, 8), (8, 10))
    """
    below, layer, above = shapes_of_parts(config)
    layers = {
        f"layers.{index}.{name}": shape for index in range(config.n_layers) for name, shape in layer.items()
    }
    return below | layers | above


def count_parameters(config: ModelConfig) -> int:
    """The number of all weights of a model.

    Args:
        config: The sizes and switches.

    Returns:
        How many numbers its parameters hold together.

    >>> from causalsim.models import ModelConfig
    >>> count_parameters(ModelConfig(n_layers=1, n_heads=1, d_model=2, d_ff=3, vocab_size=5, max_length=1))
    60
    """
    below, layer, above = (sum(map(math.prod, part.values())) for part in shapes_of_parts(config))
    return below + config.n_layers * layer + above


def check_parameters(
    config: ModelConfig, params: Mapping[str, ArrayLike], dtype: DTypeLike = "float32"
) -> dict[str, NDArray[Any]]:
    """The parameters of a model as read-only arrays of its dtype; bfloat16 to nearest even.

    Args:
        config: The sizes and switches.
        params: The parameters by canonical name, of any floating type.
        dtype: float32 or bfloat16.

    Returns:
        Arrays in canonical order, and nobody else's: writeable input of the same type is copied.

    Raises:
        CheckpointError: A parameter, which it names, is missing, surplus, of the wrong shape, not of a
            floating type or not finite.
        InputError: ``dtype`` is another one.
    """
    return check_tensors(parameter_shapes(config), params, dtype)


def check_tensors(
    shapes: Mapping[str, tuple[int, ...]], tensors: Mapping[str, ArrayLike], dtype: DTypeLike = "float32"
) -> dict[str, NDArray[Any]]:
    """Tensors of given names and shapes, checked as ``check_parameters`` does, whatever their names.

    Args:
        shapes: The shapes that they have to have, by the names that a checkpoint has for them.
        tensors: The tensors by the same names.
        dtype: float32 or bfloat16.

    Returns:
        Read-only arrays in the order of ``shapes``.

    Raises:
        CheckpointError: As for ``check_parameters``, with the name in the checkpoint.
        InputError: ``dtype`` is another one.
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

    Args:
        config: The sizes and switches.
        seed: Any whole number.

    Returns:
        float32 arrays in canonical order.

    Raises:
        InputError: The seed is not a whole number.
        LimitError: They would not fit into this machine's memory.
    """
    checked = _checked_seed(seed)
    _check_memory(config)
    return {
        name: _random_tensor(config, checked, name, shape) for name, shape in parameter_shapes(config).items()
    }


def _check_memory(config: ModelConfig) -> None:
    """Refuse before hours of drawing numbers what this machine cannot hold."""
    needed, there = 4 * count_parameters(config), _memory()
    if there is not None:
        rule = "random parameters fit into memory"
        hint = "Take fewer layers or a smaller width."
        got = f"{needed:,} bytes"
        check_limit(
            rule, needed, there, got=got, expected=f"at most {there:,}, all that this machine has", hint=hint
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
    if name == "positions" or len(shape) < 2:
        return _NORM_SPREAD
    fan_in = 1 / math.sqrt(shape[0])
    return fan_in / math.sqrt(2 * config.n_layers) if name.endswith((".o", ".down")) else fan_in
