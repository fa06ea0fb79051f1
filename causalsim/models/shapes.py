"""The table of parameters: the name and shape of each, the models that have it, the events that read it.

Shapes are in names of sizes of a configuration, as in the table of kinds, which has the parameters of
kinds that no standard model has. All else that depends on parameters asks this table.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from causalsim.errors import InputError
from causalsim.events.kinds import KINDS, SUBLAYERS, Place, kinds_at

SIZES = ("n_layers", "n_heads", "n_kv_heads", "d_model", "d_head", "d_ff", "vocab_size", "max_length")

Shape = tuple[int, ...]


class Parameter(NamedTuple):
    """A row of the table of parameters.

    Attributes:
        name: Its name, in a layer without the layer's.
        shape: Its axes, each a size of the configuration or a product of some, ``"n_heads*d_head"``.
        readers: The kinds of events that read it, ``block`` left out, which reads all of its layer.
        fields: What the configuration of a model that has it says.
    """

    name: str
    shape: tuple[str, ...]
    readers: tuple[str, ...]
    fields: Mapping[str, object] = MappingProxyType({})


_LAYER_NORM = {"norm": "layer"}
_QUERIES, _KEYS = "n_heads*d_head", "n_kv_heads*d_head"
_BELOW = (
    Parameter("embed", ("vocab_size", "d_model"), ("embed",)),
    Parameter("positions", ("max_length", "d_model"), ("embed",), {"positions": "learned"}),
)
_LAYER = (
    Parameter("attn.norm", ("d_model",), ("kv", "attn")),
    Parameter("attn.norm_bias", ("d_model",), ("kv", "attn"), _LAYER_NORM),
    Parameter("attn.q", ("d_model", _QUERIES), ("attn",)),
    Parameter("attn.k", ("d_model", _KEYS), ("kv",)),
    Parameter("attn.v", ("d_model", _KEYS), ("kv",)),
    Parameter("attn.q_bias", (_QUERIES,), ("attn",), {"qkv_biases": True}),
    Parameter("attn.k_bias", (_KEYS,), ("kv",), {"qkv_biases": True}),
    Parameter("attn.v_bias", (_KEYS,), ("kv",), {"qkv_biases": True}),
    Parameter("attn.q_norm", ("d_head",), ("attn",), {"qk_norms": True}),
    Parameter("attn.q_norm_bias", ("d_head",), ("attn",), {"qk_norms": True, **_LAYER_NORM}),
    Parameter("attn.k_norm", ("d_head",), ("kv",), {"qk_norms": True}),
    Parameter("attn.k_norm_bias", ("d_head",), ("kv",), {"qk_norms": True, **_LAYER_NORM}),
    Parameter("attn.o", (_QUERIES, "d_model"), ("attn",)),
    Parameter("attn.o_bias", ("d_model",), ("attn",), {"out_biases": True}),
    Parameter("attn.post_norm", ("d_model",), ("attn",), {"post_norms": True}),
    Parameter("attn.post_norm_bias", ("d_model",), ("attn",), {"post_norms": True, **_LAYER_NORM}),
    Parameter("mlp.norm", ("d_model",), ("mlp",)),
    Parameter("mlp.norm_bias", ("d_model",), ("mlp",), _LAYER_NORM),
    Parameter("mlp.gate", ("d_model", "d_ff"), ("mlp",), {"gated": True}),
    Parameter("mlp.up", ("d_model", "d_ff"), ("mlp",)),
    Parameter("mlp.gate_bias", ("d_ff",), ("mlp",), {"gated": True, "mlp_biases": True}),
    Parameter("mlp.up_bias", ("d_ff",), ("mlp",), {"mlp_biases": True}),
    Parameter("mlp.down", ("d_ff", "d_model"), ("mlp",)),
    Parameter("mlp.down_bias", ("d_model",), ("mlp",), {"mlp_biases": True}),
    Parameter("mlp.post_norm", ("d_model",), ("mlp",), {"post_norms": True}),
    Parameter("mlp.post_norm_bias", ("d_model",), ("mlp",), {"post_norms": True, **_LAYER_NORM}),
)
_ABOVE = (
    Parameter("final_norm", ("d_model",), ("unembed",)),
    Parameter("final_norm_bias", ("d_model",), ("unembed",), _LAYER_NORM),
    Parameter("unembed", ("d_model", "vocab_size"), ("unembed",), {"tied_embeddings": False}),
)


def shape_of(config: Any, axes: tuple[str, ...]) -> Shape:
    """Numbers for a shape in names of sizes; ``InputError`` for a name that is none."""
    for name in (name for axis in axes for name in axis.split("*")):
        if name not in SIZES:
            raise InputError(
                "the axes of a shape are sizes of a configuration",
                got=repr(name),
                expected=", ".join(SIZES),
                hint="Correct the row in the table of kinds.",
            )
    return tuple(math.prod(getattr(config, name) for name in axis.split("*")) for axis in axes)


def _of_layer(config: Any) -> Iterator[Parameter]:
    """The parameters of a layer: those that some of its sublayers read, and then those of extra kinds."""
    yield from (each for each in _LAYER if {*each.readers} & {*config.sublayers})
    for kind in config.sublayers:
        for name, axes in KINDS[kind].parameters.items():
            yield Parameter(f"{kind}.{name}", axes, (kind,))


def _shapes(config: Any, rows: Iterator[Parameter] | tuple[Parameter, ...]) -> dict[str, Shape]:
    return {row.name: shape_of(config, row.shape) for row in rows if _has(config, row)}


def _has(config: Any, row: Parameter) -> bool:
    return all(getattr(config, field) == value for field, value in row.fields.items())


def shapes_of_parts(config: Any) -> tuple[dict[str, Shape], dict[str, Shape], dict[str, Shape]]:
    """Shapes of the parameters below all layers, of each layer, and above them, by name."""
    return _shapes(config, _BELOW), _shapes(config, _of_layer(config)), _shapes(config, _ABOVE)


def count_read(config: Any) -> dict[str, int]:
    """The number of weights that one event of each kind reads; a norm that two begin with counts for both."""
    below, layer, above = shapes_of_parts(config)
    read = dict.fromkeys((*SUBLAYERS, *config.sublayers), 0)
    for row in _of_layer(config):
        for kind in row.readers if row.name in layer else ():
            read[kind] += math.prod(layer[row.name])
    tied = math.prod(below["embed"]) if config.tied_embeddings else 0
    at: dict[Place, int] = {
        "below": sum(shape[-1] for shape in below.values()),  # A row of each table.
        "block": sum(map(math.prod, layer.values())),
        "above": sum(map(math.prod, above.values())) + tied,
        "feedback": 0,
    }
    return read | {kind: number for place, number in at.items() for kind in kinds_at(place)}
