"""The reader of the glass model: its numbers against the package's own, and every kind of damage."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import glassllm
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from causalsim.errors import CheckpointError, InputError
from causalsim.models import Checkpoint, ModelConfig, known_names, parameter_shapes, read_checkpoint
from causalsim.models.formats.conversions import halves_from_pairs
from causalsim.models.formats.glass import TOKENIZER, WEIGHTS, read_glass

FOLDER = Path(glassllm.__file__).parent / "weights"
ORACLE = glassllm.load_pretrained("en")[0]
GLASS = read_checkpoint("glass")
Arrays = dict[str, np.ndarray[Any, Any]]


# -- the right numbers ------------------------------------------------------------------------


def test_configuration() -> None:
    assert GLASS.config == ModelConfig(
        n_layers=4,
        n_heads=4,
        n_kv_heads=2,
        d_model=128,
        d_head=32,
        d_ff=341,
        vocab_size=1024,
        max_length=128,
        tied_embeddings=True,
    )
    assert isinstance(GLASS, Checkpoint)
    assert list(GLASS.params) == list(parameter_shapes(GLASS.config))


def test_every_number_is_the_oracles() -> None:
    """Through the attributes of the oracle's modules, not the names in its file."""
    params = GLASS.params
    np.testing.assert_array_equal(params["embed"], ORACLE.E.data)
    np.testing.assert_array_equal(params["final_norm"], ORACLE.norm_f.gamma.data)
    for layer, block in enumerate(ORACLE.blocks):
        attn, ffn = block.attn, block.ffn
        theirs = {
            "attn.norm": block.norm1.gamma, "attn.v": attn.W_V, "attn.o": attn.W_O,
            "mlp.norm": block.norm2.gamma, "mlp.gate": ffn.W1, "mlp.up": ffn.W3, "mlp.down": ffn.W2,
        }  # fmt: skip
        for name, tensor in theirs.items():
            np.testing.assert_array_equal(params[f"layers.{layer}.{name}"], tensor.data)
        np.testing.assert_array_equal(_pairs_from_halves(params[f"layers.{layer}.attn.q"]), attn.W_Q.data)
        np.testing.assert_array_equal(_pairs_from_halves(params[f"layers.{layer}.attn.k"]), attn.W_K.data)


def _pairs_from_halves(matrix: np.ndarray[Any, Any], d_head: int = 32) -> np.ndarray[Any, Any]:
    """The permutation undone, column by column as its definition says."""
    columns = []
    for head in range(matrix.shape[1] // d_head):
        for i in range(d_head // 2):
            columns += [head * d_head + i, head * d_head + d_head // 2 + i]
    return matrix[:, columns]


@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 10**6))
def test_permuted_heads_rotate_alike(n_heads: int, half: int, seed: int) -> None:
    """Rotating halves after the permutation is the permutation of rotating adjacent pairs."""
    rng = np.random.default_rng(seed)
    heads, angles = rng.normal(size=(n_heads, 2 * half)), rng.normal(size=half)
    ours = halves_from_pairs(heads.ravel(), 2 * half, 2 * half).reshape(n_heads, 2 * half)
    turned = (heads[:, 0::2] + 1j * heads[:, 1::2]) * np.exp(1j * angles)
    np.testing.assert_allclose(
        _rotate_halves(ours, angles), np.concatenate([turned.real, turned.imag], axis=1)
    )


def _rotate_halves(x: np.ndarray[Any, Any], angles: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    first, second = np.split(x, 2, axis=-1)
    cos, sin = np.cos(angles), np.sin(angles)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 1023), min_size=1, max_size=40))
def test_the_textbook_forward_pass_gives_the_oracles_logits(tokens: list[int]) -> None:
    expected = ORACLE(np.array(tokens)).data[0]
    np.testing.assert_allclose(_forward(GLASS.config, GLASS.params, tokens), expected, atol=2e-4)


def _forward(config: ModelConfig, params: Any, tokens: list[int]) -> np.ndarray[Any, Any]:
    """Llama in NumPy and float64, with the rotary convention of Hugging Face."""
    x = params["embed"][tokens].astype(np.float64)
    for layer in range(config.n_layers):
        weights = {
            name: params[f"layers.{layer}.{name}"]
            for name in (
                *("attn.norm", "attn.q", "attn.k", "attn.v", "attn.o"),
                *("mlp.norm", "mlp.gate", "mlp.up", "mlp.down"),
            )
        }
        x = x + _attention(config, weights, _normed(config, x, weights["attn.norm"]))
        h = _normed(config, x, weights["mlp.norm"])
        gate = h @ weights["mlp.gate"]
        x = x + (gate / (1 + np.exp(-gate)) * (h @ weights["mlp.up"])) @ weights["mlp.down"]
    logits: np.ndarray[Any, Any] = _normed(config, x, params["final_norm"]) @ params["embed"].T
    return logits


def _normed(config: ModelConfig, x: Any, gain: Any) -> Any:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + config.norm_epsilon) * gain


def _attention(config: ModelConfig, weights: Any, h: Any) -> Any:
    length, d_head = len(h), config.d_head
    angles = np.arange(length)[:, None] * config.rope_base ** (-np.arange(0, d_head, 2) / d_head)
    q, k, v = ((h @ weights[f"attn.{name}"]).reshape(length, -1, d_head).swapaxes(0, 1) for name in "qkv")
    k, v = (np.repeat(heads, config.n_heads // config.n_kv_heads, axis=0) for heads in (k, v))
    scores = _rotate_halves(q, angles) @ _rotate_halves(k, angles).swapaxes(1, 2) / np.sqrt(d_head)
    scores = np.where(np.tri(length, dtype=bool), scores, -np.inf)
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    mixed = shares / shares.sum(-1, keepdims=True) @ v
    return mixed.swapaxes(0, 1).reshape(length, -1) @ weights["attn.o"]


def test_reading_runs_none_of_the_packages_code() -> None:
    code = (
        "import sys; from causalsim.models import read_checkpoint; read_checkpoint('glass');"
        "print([name for name in ('glassllm', 'jax', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_parameters_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="read-only"):
        GLASS.params["embed"][0, 0] = 1


# -- names and paths --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["Glass", "", "no-such-model", "./glass", "a\0b", "x" * 5000, Path("no/such")]
)
def test_an_unknown_name_lists_what_is_known(name: Any) -> None:
    with pytest.raises(CheckpointError, match="'glass'"):
        read_checkpoint(name)


def test_a_path_of_another_format_is_told_apart(tmp_path: Path) -> None:
    for path in (tmp_path, str(tmp_path)):
        with pytest.raises(CheckpointError, match="another format"):
            read_checkpoint(path)


@pytest.mark.parametrize("name", [None, 3, b"glass", ["glass"]], ids=repr)
def test_what_is_neither_name_nor_path_is_refused(name: Any) -> None:
    with pytest.raises(CheckpointError, match="name or a path"):
        read_checkpoint(name)


def test_known_names() -> None:
    assert known_names() == ("glass", "smollm2")


def test_a_missing_package_names_the_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "glassllm", None)
    with pytest.raises(CheckpointError, match=r"pip install 'causalsim\[demo\]'"):
        read_checkpoint("glass")


def test_a_missing_tokenizer_library_names_the_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(CheckpointError, match=r"tokenizers.*pip install 'causalsim\[demo\]'"):
        read_checkpoint("glass")


# -- damage -----------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (WEIGHTS, TOKENIZER):
        shutil.copy(FOLDER / name, tmp_path)
    return tmp_path


def _rewrite(folder: Path, change: Callable[[Arrays], object]) -> None:
    with np.load(folder / WEIGHTS) as archive:
        arrays = dict(archive)
    change(arrays)
    np.savez(folder / WEIGHTS, **arrays)


def _set(name: str, value: Any) -> Callable[[Arrays], object]:
    return lambda arrays: arrays.update({name: value})


def _refused(folder: Path, words: str, tensor: str | None = None) -> None:
    with pytest.raises(CheckpointError, match=words) as caught:
        read_glass(folder)
    assert caught.value.tensor == tensor
    assert caught.value.hint


def test_a_copy_reads_the_same(folder: Path) -> None:
    config, params, tokenizer = read_glass(folder)
    assert config == GLASS.config
    assert tokenizer.encode("The light") == GLASS.tokenizer.encode("The light")
    assert all(np.array_equal(params[name], GLASS.params[name]) for name in GLASS.params)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package installed elsewhere, as pip leaves it: its files beside their record."""
    package, record = tmp_path / "site" / "glassllm", tmp_path / "site" / "glassllm-0.1.0.dist-info"
    shutil.copytree(FOLDER, package / "weights")
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: glassllm\nVersion: 0.1.0\n")
    there = distribution("glassllm").read_text("RECORD")
    assert there is not None
    (record / "RECORD").write_text(there)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr("causalsim.models.formats.glass.weights_folder", lambda: package / "weights")
    return package / "weights"


def test_an_installed_package_is_what_its_record_says(installed: Path) -> None:
    """Another letter in a merge would read texts as other tokens, in silence."""
    assert read_glass()[0] == GLASS.config
    path = installed / TOKENIZER
    path.write_bytes(path.read_bytes().replace(b'"e"', b'"E"', 1))
    with pytest.raises(CheckpointError, match=r"bytes that were published.*--force-reinstall"):
        read_glass()


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_flipped_byte_of_an_installed_package_is_seen(installed: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([WEIGHTS, TOKENIZER]))
    content = bytearray((FOLDER / name).read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    (installed / name).write_bytes(content)
    with pytest.raises(CheckpointError, match="bytes that were published"):
        read_glass()
    shutil.copy(FOLDER / name, installed)


@pytest.mark.parametrize("record", ["", "glassllm/weights/en.npz,sha256,9\n", "glassllm/weights/en.npz,,\n"])
def test_a_package_without_a_record_is_read(installed: Path, record: str) -> None:
    (installed.parents[1] / "glassllm-0.1.0.dist-info" / "RECORD").write_text(record)
    assert read_glass()[0] == GLASS.config


@pytest.mark.parametrize("name", [WEIGHTS, TOKENIZER])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    _refused(folder, rf"{name}.*no such file")


@pytest.mark.parametrize("name", [WEIGHTS, TOKENIZER])
def test_a_folder_in_place_of_a_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).mkdir()
    _refused(folder, name)


@pytest.mark.parametrize("name", [WEIGHTS, TOKENIZER])
@pytest.mark.parametrize("kept", [0, 1, 4, 100, -1, -30, 0.5, 0.99])
def test_a_truncated_file_is_named(folder: Path, name: str, kept: float) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    _refused(folder, name)


@pytest.mark.parametrize(
    "content", [b"\x93NUMPY nothing", b"PK\x03\x04 nothing", b"plain text", b"\x80\x04N."]
)
def test_another_kind_of_file_is_named(folder: Path, content: bytes) -> None:
    (folder / WEIGHTS).write_bytes(content)
    _refused(folder, WEIGHTS)


def test_a_single_array_is_not_an_archive(folder: Path) -> None:
    with (folder / WEIGHTS).open("wb") as file:
        np.save(file, np.zeros(3))
    _refused(folder, WEIGHTS)


def test_pickled_objects_are_not_run(folder: Path) -> None:
    _rewrite(folder, _set("E", np.array([{"an": "object"}], dtype=object)))
    _refused(folder, f"{WEIGHTS}.*allow_pickle")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipped_bytes_are_refused_or_harmless(folder: Path, data: st.DataObject) -> None:
    """No damage escapes as another error; what reads at all reads right."""
    name = data.draw(st.sampled_from([WEIGHTS, TOKENIZER]))
    content = bytearray((FOLDER / name).read_bytes())
    # The directory at an archive's end is where flips do the strangest things.
    place = st.integers(0, len(content) - 1) | st.integers(len(content) - 3000, len(content) - 1)
    for at in data.draw(st.lists(place, min_size=1, max_size=4)):
        content[at] ^= data.draw(st.integers(1, 255))
    for whole in (WEIGHTS, TOKENIZER):
        shutil.copy(FOLDER / whole, folder)
    (folder / name).write_bytes(content)
    try:
        config, params, _ = read_glass(folder)
    except CheckpointError as error:
        named = str(folder) in str(error) or error.tensor
    else:
        named = config == GLASS.config and params.keys() == GLASS.params.keys()
        named = named and all(np.array_equal(params[name], GLASS.params[name]) for name in GLASS.params)
    assert named


@pytest.mark.parametrize("name", ["E", "norm_f.gamma", "blocks.0.attn.W_Q", "blocks.3.ffn.W2"])
def test_a_missing_tensor_is_named(folder: Path, name: str) -> None:
    _rewrite(folder, lambda arrays: arrays.pop(name))
    _refused(folder, "every parameter is there", tensor=name)


def test_a_surplus_tensor_is_named(folder: Path) -> None:
    _rewrite(folder, _set("blocks.4.attn.W_Q", np.zeros((128, 128), np.float16)))
    _refused(folder, "no other parameters", tensor="blocks.4.attn.W_Q")


@pytest.mark.parametrize("shape", [(), (64,), (128, 63), (64, 128), (1, 128, 64), (0, 64)])
def test_a_wrong_shape_is_named(folder: Path, shape: tuple[int, ...]) -> None:
    _rewrite(folder, _set("blocks.1.attn.W_K", np.zeros(shape, np.float16)))
    _refused(folder, "shapes follow", tensor="blocks.1.attn.W_K")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_named(folder: Path, value: float) -> None:
    _rewrite(folder, _set("norm_f.gamma", np.full(128, value, np.float16)))
    _refused(folder, "128 infinite or NaN", tensor="norm_f.gamma")


def test_whole_numbers_are_not_weights(folder: Path) -> None:
    _rewrite(folder, _set("norm_f.gamma", np.ones(128, np.int32)))
    _refused(folder, "floating-point", tensor="norm_f.gamma")


CONFIG = json.loads(str(np.load(FOLDER / WEIGHTS)["__config__"]))


@pytest.mark.parametrize(
    "change",
    [
        {"n_layers": 0},
        {"n_layers": True},
        {"d_model": "128"},
        {"d_model": 130},
        {"d_model": -128},
        {"d_model": None},
        {"n_heads": 3},
        {"n_kv_heads": 3},
        {"eps": float("nan")},
        {"rope_base": -1},
        {"bias": True},
    ],
    ids=repr,
)
def test_an_inconsistent_configuration_is_refused(folder: Path, change: dict[str, Any]) -> None:
    _rewrite(folder, _set("__config__", np.array(json.dumps({**CONFIG, **change}))))
    _refused(folder, f"{WEIGHTS}.*configuration")


@pytest.mark.parametrize("stored", ["", "{", "[]", "null", "{}", "[" * 10000, 3.5], ids=lambda s: repr(s)[:8])
def test_an_unreadable_configuration_is_refused(folder: Path, stored: Any) -> None:
    _rewrite(folder, _set("__config__", np.array(stored)))
    _refused(folder, f"{WEIGHTS}.*configuration")


def test_an_archive_without_configuration_is_refused(folder: Path) -> None:
    _rewrite(folder, lambda arrays: arrays.pop("__config__"))
    _refused(folder, f"{WEIGHTS}.*an entry __config__")


DATA = json.loads((FOLDER / TOKENIZER).read_text(encoding="utf-8"))
MERGES = DATA["merges"]


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"more": 1},
        {"alphabet": "abc"},
        {"alphabet": [*DATA["alphabet"], "ab"]},
        {"alphabet": [*DATA["alphabet"], 3]},
        {"alphabet": [*DATA["alphabet"], "a"]},
        {"alphabet": [*DATA["alphabet"], "\ud800"]},
        {"merges": {}},
        {"merges": [*MERGES, ["a"]]},
        {"merges": [*MERGES, "ab"]},
        {"merges": [*MERGES, ["a", 3]]},
        {"merges": [*MERGES, ["a", "€"]]},
        {"merges": [*MERGES, ["a", ["b"]]]},
        {"merges": [*MERGES, MERGES[0]]},
        {"merges": MERGES[::-1]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_damaged_tokenizer_is_refused(folder: Path, change: dict[str, Any]) -> None:
    (folder / TOKENIZER).write_text(json.dumps({**DATA, **change}), encoding="utf-8")
    _refused(folder, f"{TOKENIZER}.*alphabet and its merges")


@pytest.mark.parametrize("text", ["null", "[]", "{", "[" * 10000, '{"version": 1}'], ids=lambda t: t[:4])
def test_another_json_is_not_a_tokenizer(folder: Path, text: str) -> None:
    (folder / TOKENIZER).write_text(text, encoding="utf-8")
    _refused(folder, TOKENIZER)


def test_a_smaller_vocabulary_is_refused(folder: Path) -> None:
    (folder / TOKENIZER).write_text(json.dumps({**DATA, "merges": MERGES[:-1]}), encoding="utf-8")
    _refused(folder, f"{TOKENIZER}.*1023 tokens")


def test_the_configurations_own_error_is_the_cause(folder: Path) -> None:
    _rewrite(folder, _set("__config__", np.array(json.dumps({**CONFIG, "n_heads": 3}))))
    with pytest.raises(CheckpointError) as caught:
        read_glass(folder)
    assert isinstance(caught.value.__cause__, InputError)
