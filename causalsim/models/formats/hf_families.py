"""The families of models that Hugging Face folders hold, as data: their keys, constants and tensors.

Source: configuration_*.py and modeling_*.py of each family in transformers 5, whose defaults
these are. Every key of a config.json is listed here or refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from causalsim.models.formats.conversions import (
    AS_IS,
    LESS_ONE,
    TRANSPOSED,
    Conversion,
    third,
    third_of_each_head,
)
from causalsim.models.formats.hf_keys import (
    Group,
    Key,
    activation,
    alternating_windows,
    flag,
    inverse_root,
    number,
    one_window,
    optional,
    part_rotary,
    rotary,
    scaled_embedding,
    size,
    upper_windows,
)

# Understood, and without meaning for what a trained model computes from given tokens.
SILENT = frozenset([
    "_attn_implementation_autoset", "_name_or_path", "architectures", "attention_dropout", "attn_pdrop",
    "bos_token_id", "cache_implementation", "classifier_dropout", "do_sample", "dtype", "embd_pdrop",
    "eos_token_id", "finetuning_task", "hidden_dropout", "id2label", "initializer_range", "is_decoder",
    "is_llama_config", "keys_to_ignore_at_inference", "label2id", "max_length", "model_type", "n_ctx",
    "num_labels", "output_attentions", "output_hidden_states", "pad_token_id", "prefix", "problem_type",
    "reorder_and_upcast_attn", "repetition_penalty", "resid_pdrop", "return_dict", "sep_token_id",
    "summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type",
    "summary_use_proj", "task_specific_params", "temperature", "tokenizer_class", "top_k", "top_p",
    "torch_dtype", "torchscript", "transformers.js_config", "transformers_version", "unk_token_id",
    "use_bfloat16", "use_cache",
])  # fmt: skip
# Switches of what is not here: each has only the values that leave it off.
_FIXED: Mapping[str, tuple[object, ...]] = {
    "add_cross_attention": (False,),
    "chunk_size_feed_forward": (0,),
    "is_encoder_decoder": (False,),
    "pruned_heads": ({}, None),
}


class Tensor(NamedTuple):
    """Place of a tensor of ours in a file: its name, with ``{}`` for the layer, and its conversion."""

    name: str
    conversion: Conversion = AS_IS


class Family(NamedTuple):
    """One ``model_type``: what its keys mean, what all its models share, and where its tensors are.

    ``fixed`` lists keys with the values that are supported, ``constants`` the fields of
    ``ModelConfig`` that no key sets, ``prefix`` what names begin with unless the file was saved
    without its output matrix, ``buffers`` a pattern of what old files hold beside parameters.
    """

    keys: Mapping[str, Key]
    groups: tuple[Group, ...]
    constants: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    prefix: str
    buffers: str
    fixed: Mapping[str, tuple[object, ...]] = MappingProxyType({})

    def is_understood(self, key: str) -> bool:
        """True if this table says something about a key of config.json."""
        grouped = (key in group.keys for group in self.groups)
        return key in self.keys or key in self.all_fixed or key in SILENT or any(grouped)

    @property
    def all_fixed(self) -> dict[str, tuple[object, ...]]:
        """Keys that have to have one of certain values, where they are given."""
        return {**_FIXED, **self.fixed}


def _key(field: str, read: Any = size, *default: object) -> Key:
    return Key((field,), read, default)


_SIZES = {
    "vocab_size": _key("vocab_size"),
    "hidden_size": _key("d_model"),
    "intermediate_size": _key("d_ff"),
    "num_hidden_layers": _key("n_layers"),
    "num_attention_heads": _key("n_heads"),
    "max_position_embeddings": _key("max_length"),
}
_ACTIVATION = {"hidden_act": _key("activation", activation, "silu")}
_RMS = {"rms_norm_eps": _key("norm_epsilon", number, 1e-6)}
_UNTIED = {"tie_word_embeddings": _key("tied_embeddings", flag, False)}
_TIED = {"tie_word_embeddings": _key("tied_embeddings", flag, True)}
# Their defaults differ from family to family, so that a file has to say them.
_GROUPED = {"num_key_value_heads": _key("n_kv_heads", optional(size))}
_HEAD = {"head_dim": _key("d_head", optional(size), None)}
_ATTENTION_BIAS = {"attention_bias": Key(("qkv_biases", "out_biases"), flag, (False,))}

_ROPE_KEYS = ("rope_theta", "rope_scaling", "rope_parameters", "partial_rotary_factor")
_ROTARY = Group(_ROPE_KEYS, rotary)
_ALTERNATING_WINDOWS = Group(("sliding_window", "layer_types"), alternating_windows)
_UPPER_WINDOWS = Group(
    ("use_sliding_window", "sliding_window", "max_window_layers", "layer_types"), upper_windows
)


def _weights(conversion: Conversion, **names: str) -> dict[str, Tensor]:
    """Matrices ``layers.PART.NAME`` of ours, given as PART_NAME, with their biases."""
    tensors = {}
    for part, name in names.items():
        tensors[part.replace("_", ".", 1)] = Tensor(f"{name}.weight", conversion)
        tensors[f"{part.replace('_', '.', 1)}_bias"] = Tensor(f"{name}.bias")
    return tensors


def _fused(conversion: Any, name: str) -> dict[str, Tensor]:
    """Q, K and V in one matrix, and one bias."""
    return {
        f"attn.{part}{ending}": Tensor(f"{name}.{kind}", conversion(index))
        for index, part in enumerate("qkv")
        for ending, kind in (("", "weight"), ("_bias", "bias"))
    }


_LLAMA_TENSORS = {
    "embed": Tensor("embed_tokens.weight"),
    "final_norm": Tensor("norm.weight"),
    "unembed": Tensor("lm_head.weight", TRANSPOSED),
    "attn.norm": Tensor("layers.{}.input_layernorm.weight"),
    "mlp.norm": Tensor("layers.{}.post_attention_layernorm.weight"),
    **_weights(
        TRANSPOSED,
        attn_q="layers.{}.self_attn.q_proj",
        attn_k="layers.{}.self_attn.k_proj",
        attn_v="layers.{}.self_attn.v_proj",
        attn_o="layers.{}.self_attn.o_proj",
        mlp_gate="layers.{}.mlp.gate_proj",
        mlp_up="layers.{}.mlp.up_proj",
        mlp_down="layers.{}.mlp.down_proj",
    ),
}
_QWEN3_TENSORS = {
    **_LLAMA_TENSORS,
    "attn.q_norm": Tensor("layers.{}.self_attn.q_norm.weight"),
    "attn.k_norm": Tensor("layers.{}.self_attn.k_norm.weight"),
}
_GEMMA_TENSORS = {
    **_LLAMA_TENSORS,
    "final_norm": Tensor("norm.weight", LESS_ONE),
    "attn.norm": Tensor("layers.{}.input_layernorm.weight", LESS_ONE),
    "attn.post_norm": Tensor("layers.{}.post_attention_layernorm.weight", LESS_ONE),
    "mlp.norm": Tensor("layers.{}.pre_feedforward_layernorm.weight", LESS_ONE),
    "mlp.post_norm": Tensor("layers.{}.post_feedforward_layernorm.weight", LESS_ONE),
}
_GPT2_TENSORS = {
    "embed": Tensor("wte.weight"),
    "positions": Tensor("wpe.weight"),
    "unembed": Tensor("lm_head.weight", TRANSPOSED),
    "final_norm": Tensor("ln_f.weight"),
    "final_norm_bias": Tensor("ln_f.bias"),
    **_weights(AS_IS, attn_norm="h.{}.ln_1", attn_o="h.{}.attn.c_proj", mlp_norm="h.{}.ln_2"),
    **_weights(AS_IS, mlp_up="h.{}.mlp.c_fc", mlp_down="h.{}.mlp.c_proj"),
    **_fused(third, "h.{}.attn.c_attn"),
}
_NEOX_TENSORS = {
    "embed": Tensor("embed_in.weight"),
    "unembed": Tensor("embed_out.weight", TRANSPOSED),
    "final_norm": Tensor("final_layer_norm.weight"),
    "final_norm_bias": Tensor("final_layer_norm.bias"),
    **_weights(AS_IS, attn_norm="layers.{}.input_layernorm", mlp_norm="layers.{}.post_attention_layernorm"),
    **_weights(
        TRANSPOSED,
        attn_o="layers.{}.attention.dense",
        mlp_up="layers.{}.mlp.dense_h_to_4h",
        mlp_down="layers.{}.mlp.dense_4h_to_h",
    ),
    **_fused(third_of_each_head, "layers.{}.attention.query_key_value"),
}
_LLAMA_BUFFERS = r"layers\.\d+\.self_attn\.rotary_emb\.inv_freq"
_LAYER_NORM = {"norm": "layer", "gated": False, "mlp_biases": True}

_LLAMA = Family(
    keys={
        **_SIZES, **_ACTIVATION, **_RMS, **_UNTIED, **_HEAD, **_ATTENTION_BIAS,
        "num_key_value_heads": _key("n_kv_heads", optional(size), None),
        "mlp_bias": _key("mlp_biases", flag, False),
    },
    groups=(_ROTARY,),
    constants={},
    tensors=_LLAMA_TENSORS,
    prefix="model.",
    buffers=_LLAMA_BUFFERS,
    fixed={"pretraining_tp": (1, None), "rope_interleaved": (False,)},
)  # fmt: skip

FAMILIES: Mapping[str, Family] = {
    "gpt2": Family(
        keys={
            "vocab_size": _key("vocab_size"),
            "n_embd": _key("d_model"),
            "n_inner": _key("d_ff", optional(size), None),
            "n_layer": _key("n_layers"),
            "n_head": _key("n_heads"),
            "n_positions": _key("max_length"),
            "activation_function": _key("activation", activation, "gelu_new"),
            "layer_norm_epsilon": _key("norm_epsilon", number, 1e-5),
            **_TIED,
        },
        groups=(),
        constants={**_LAYER_NORM, "positions": "learned", "qkv_biases": True, "out_biases": True},
        tensors=_GPT2_TENSORS,
        prefix="transformer.",
        buffers=r"h\.\d+\.attn\.(masked_)?bias",
        fixed={"scale_attn_weights": (True,), "scale_attn_by_inverse_layer_idx": (False,)},
    ),
    "llama": _LLAMA,
    "mistral": _LLAMA._replace(
        keys={**_SIZES, **_GROUPED, **_ACTIVATION, **_RMS, **_UNTIED, **_HEAD},
        groups=(_ROTARY, Group(("sliding_window",), one_window)),
        fixed={},
    ),
    "qwen2": _LLAMA._replace(
        keys={**_SIZES, **_GROUPED, **_ACTIVATION, **_RMS, **_UNTIED, **_HEAD},
        groups=(_ROTARY, _UPPER_WINDOWS),
        constants={"qkv_biases": True},
        fixed={},
    ),
    "qwen3": _LLAMA._replace(
        keys={
            **_SIZES, **_GROUPED, **_ACTIVATION, **_RMS, **_UNTIED, **_ATTENTION_BIAS,
            "head_dim": _key("d_head", size),
        },
        groups=(_ROTARY, _UPPER_WINDOWS),
        constants={"qk_norms": True},
        tensors=_QWEN3_TENSORS,
        fixed={},
    ),
    "gemma2": _LLAMA._replace(
        keys={
            **_SIZES, **_GROUPED, **_RMS, **_TIED, **_ATTENTION_BIAS,
            "head_dim": _key("d_head", size),
            "hidden_activation": _key("activation", activation, "gelu_pytorch_tanh"),
            "query_pre_attn_scalar": _key("attention_scale", inverse_root),
            "attn_logit_softcapping": _key("attention_cap", optional(number)),
            "final_logit_softcapping": _key("logit_cap", optional(number)),
        },
        groups=(_ROTARY, _ALTERNATING_WINDOWS, Group((), scaled_embedding)),
        constants={"post_norms": True},
        tensors=_GEMMA_TENSORS,
        # transformers reads hidden_activation alone; old files have both.
        fixed={"hidden_act": ("gelu_pytorch_tanh",), "use_bidirectional_attention": (False, None)},
    ),
    "gpt_neox": Family(
        keys={
            **_SIZES, **_UNTIED,
            "hidden_act": _key("activation", activation, "gelu"),
            "layer_norm_eps": _key("norm_epsilon", number, 1e-5),
            "use_parallel_residual": _key("parallel_residual", flag, True),
            "attention_bias": Key(("qkv_biases", "out_biases"), flag, (True,)),
        },
        groups=(Group((*_ROPE_KEYS, "rotary_pct", "rotary_emb_base"), part_rotary),),
        constants=_LAYER_NORM,
        tensors=_NEOX_TENSORS,
        prefix="gpt_neox.",
        buffers=r"layers\.\d+\.attention\.((masked_)?bias|rotary_emb\.inv_freq)",
    ),
}  # fmt: skip
