"""Built-in configurations against the parameters that the Hub counts, and configurations from files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from causalsim.errors import CausalsimError, CheckpointError, InputError
from causalsim.models import count_parameters, known_config, read_checkpoint, read_config
from causalsim.models.known import KNOWN

GOLDEN = Path(__file__).parents[1] / "golden"

# What the safetensors files of each repository hold (metadata of the Hugging Face Hub).
PUBLISHED = {
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.1-70b": 70_553_706_496,
    "llama-3.1-405b": 405_853_388_800,
    "llama-3.2-1b": 1_235_814_400,
    "mistral-7b": 7_241_732_096,
    "qwen2.5-7b": 7_615_616_512,
    "qwen3-8b": 8_190_735_360,
    "gemma-2-2b": 2_614_341_888,
    "gemma-2-9b": 9_241_705_984,
    "gpt2": 124_439_808,
    "pythia-160m": 162_322_944,
    "pythia-6.9b": 6_857_302_016,
    "smollm2-135m": 134_515_008,
    "smollm2-1.7b": 1_711_376_384,
}


def test_every_known_configuration_has_the_published_parameters():
    assert {name: count_parameters(known_config(name)) for name in KNOWN} == PUBLISHED


@pytest.mark.parametrize(
    ("name", "kib"), [("llama-3.1-8b", 4), ("llama-3.1-70b", 4), ("llama-3.1-405b", 4), ("qwen2.5-7b", 2)]
)
def test_bytes_of_kv_a_layer_and_position(name, kib):
    """128, 320, 504 and 56 KiB a token over all layers, as serving engines count them."""
    assert known_config(name).footprint("bfloat16").values["kv"] == kib * 1024


def test_what_the_graphs_of_known_configurations_depend_on():
    assert known_config("mistral-7b").wiring.windows_by_layer == (4096,) * 32
    assert known_config("gemma-2-9b").wiring.windows_by_layer == (4096, None) * 21
    assert known_config("pythia-160m").wiring.parallel_residual
    assert known_config("gpt2").positions == "learned"
    assert known_config("llama-3.1-405b").wiring == type(known_config("gpt2").wiring)(126)


@pytest.mark.slow
def test_smollm2_is_what_is_fetched_under_its_name():
    fetched, known = read_checkpoint("smollm2").config, known_config("smollm2-135m")
    assert known.footprint() == fetched.footprint() and known.wiring == fetched.wiring


def test_a_configuration_from_a_file_or_its_folder():
    folder = GOLDEN / "gemma2_grouped"
    expected = read_checkpoint(folder).config
    assert read_config(folder) == read_config(str(folder / "config.json")) == expected


BAD = [
    ("llama-4", "neither a known name nor an existing path"),
    ("", "expected llama-3.1-8b, "),
    ("no/such/config.json", "Give one of these, or the path"),
    ("\0", "neither a known name"),
    ("x" * 10_000, "neither a known name"),
    (__file__, "readable JSON"),
    (str(Path(__file__).parent), "the file is there"),
]


@pytest.mark.parametrize(("name", "words"), BAD, ids=[repr(name)[-30:] for name, _ in BAD])
def test_what_is_no_configuration(name, words):
    with pytest.raises(CheckpointError) as caught:
        read_config(name)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_hidden_layers": 10**9}, "n_layers=1000000000"),
        ({"vocab_size": 2**30}, "as no model has more"),
        ({"num_experts": 8}, "'num_experts' is not understood"),
        ({"model_type": "mamba"}, "names a supported family"),
        ({"num_attention_heads": 7}, "consistent"),
    ],
    ids=str,
)
def test_files_that_describe_no_model_of_ours(changes, words, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({**KNOWN["llama-3.1-8b"].keys, **changes}))
    with pytest.raises(CausalsimError, match=words):
        read_config(tmp_path)


def test_a_name_is_a_text():
    with pytest.raises(InputError, match="must be of type str or PathLike"):
        read_config(None)
