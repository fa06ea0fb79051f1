"""Configurations of every family: any sizes that fit each other, every switch on and off."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sized
from dataclasses import fields as fields_of
from typing import Any

from hypothesis import strategies as st

from causalsim.arguments import check_whole
from causalsim.errors import InputError
from causalsim.models import ModelConfig
from causalsim.testing.strategies.bounds import check_bounds, sizes
from causalsim.testing.strategies.graphs import windows

Chosen = Mapping[str, Any]

_DERIVED = ("n_kv_heads", "d_head", "d_rotary", "attention_scale")
# Other sizes are drawn to fit these, which are at least so much.
_DRAWN_FROM = {"n_layers": 1, "n_heads": 1, "n_kv_heads": 1, "d_head": 1, "d_rotary": 0}
_SWITCHES = ("qkv_biases", "out_biases", "mlp_biases", "post_norms", "qk_norms", "tied_embeddings")


def configs(
    *, max_layers: int = 3, max_width: int = 32, max_length: int = 64, **fields: Any
) -> st.SearchStrategy[ModelConfig]:
    """Configurations of small models; any field can be fixed, or be given a strategy of its own.

    Args:
        max_layers: The most layers.
        max_width: The most of the model's width, the MLP's and the vocabulary.
        max_length: The most positions.
        **fields: Values of fields, or strategies for them.

    Returns:
        A strategy that shrinks to one layer, one head and Llama's switches.

    Raises:
        InputError: For a field that a configuration lacks.

    >>> from hypothesis import find
    >>> config = find(configs(positions="learned"), lambda config: config.n_layers > 1)
    >>> config.n_layers, config.n_heads, config.norm, config.positions
    (2, 1, 'rms', 'learned')
    """
    check_bounds(max_layers=max_layers, max_width=max_width, max_length=max_length)
    known = [field.name for field in fields_of(ModelConfig)]
    if unknown := sorted(set(fields) - set(known)):
        raise InputError(
            "a configuration has no other fields", got=", ".join(unknown), expected=", ".join(known)
        )
    for name in _DRAWN_FROM.keys() & fields.keys():
        if not (fields[name] is None or isinstance(fields[name], st.SearchStrategy)):
            check_whole(name, fields[name], _DRAWN_FROM[name])
    # None stands for a size that the configuration derives; here it is drawn.
    given = {name: value for name, value in fields.items() if value is not None or name not in _DERIVED}
    return _configs(_sizes(max_layers, max_width, max_length) | _switches(), given)


@st.composite
def _configs(
    draw: st.DrawFn, rules: Mapping[str, Callable[[Chosen], st.SearchStrategy[Any]]], fields: Chosen
) -> ModelConfig:
    # A rule may ask for any field that is fixed, and for those that come before its own.
    chosen = {name: given for name, given in fields.items() if not isinstance(given, st.SearchStrategy)}
    for name, rule in rules.items():
        if name not in chosen:
            chosen[name] = draw(fields[name] if name in fields else rule(chosen))
    return ModelConfig(**chosen)


def _sizes(layers: int, width: int, length: int) -> dict[str, Callable[[Chosen], st.SearchStrategy[Any]]]:
    return {
        "n_layers": lambda chosen: _counted(chosen.get("windows"), sizes(layers)),
        "n_heads": lambda chosen: st.integers(1, 6).map(lambda n: n * (chosen.get("n_kv_heads") or 1)),
        "n_kv_heads": lambda chosen: st.sampled_from(_divisors(chosen["n_heads"])),
        "d_model": lambda _: st.integers(1, width),
        "d_head": _head_width,
        "d_ff": lambda _: st.integers(1, width),
        "vocab_size": lambda _: st.integers(1, width),
        "max_length": lambda _: st.integers(1, length),
        "windows": lambda chosen: windows(chosen["n_layers"]),
    }


def _switches() -> dict[str, Callable[[Chosen], st.SearchStrategy[Any]]]:
    cap = st.none() | st.floats(1, 50)
    return {
        "parallel_residual": lambda _: st.booleans(),
        "norm": lambda _: st.sampled_from(["rms", "layer"]),
        "norm_epsilon": lambda _: st.sampled_from([1e-6, 1e-5, 1e-3]),
        "positions": lambda chosen: st.sampled_from(_positions(chosen)),
        "d_rotary": lambda chosen: _counted(chosen.get("rope_factors"), st.sampled_from(_turned(chosen))).map(
            lambda pairs: 2 * pairs
        ),
        "rope_base": lambda _: st.sampled_from([10000.0, 100.0, 1e6]),
        "rope_factors": lambda chosen: st.none() | _factors(chosen["d_rotary"] // 2),
        "activation": lambda _: st.sampled_from(["silu", "gelu", "gelu_tanh"]),
        "gated": lambda _: st.sampled_from([True, False]),
        "attention_scale": lambda _: st.none() | st.floats(0.1, 1),
        "attention_cap": lambda _: cap,
        "logit_cap": lambda _: cap,
        "embedding_scale": lambda _: st.just(1.0) | st.floats(0.5, 8),
        **{name: lambda _: st.booleans() for name in _SWITCHES},
    }


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(number, 0, -1) if number % divisor == 0]


def _counted(given: object, otherwise: st.SearchStrategy[int]) -> st.SearchStrategy[int]:
    """As many as are given one by one, if they are."""
    return st.just(len(given)) if isinstance(given, Sized) else otherwise


def _head_width(chosen: Chosen) -> st.SearchStrategy[int]:
    """The width of a head, odd or even: room for all that is to be turned."""
    least = max(2 if chosen.get("positions") == "rotary" else 1, 2 * _asked(chosen))
    return st.integers(least, max(16, least))


def _asked(chosen: Chosen) -> int:
    """The number of pairs of coordinates that somebody wants to be turned."""
    return max((chosen.get("d_rotary") or 0) // 2, len(chosen.get("rope_factors") or ()))


def _positions(chosen: Chosen) -> list[str]:
    if _asked(chosen):
        return ["rotary"]
    turns = chosen["d_head"] > 1 and chosen.get("d_rotary") != 0
    return ["rotary", "learned"] if turns else ["learned"]


def _turned(chosen: Chosen) -> list[int]:
    """The pairs of a head's coordinates that may be turned: all of them first."""
    return [0] if chosen["positions"] == "learned" else list(range(chosen["d_head"] // 2, 0, -1))


def _factors(count: int) -> st.SearchStrategy[list[float]]:
    return st.lists(st.floats(1, 8), min_size=count, max_size=count)
