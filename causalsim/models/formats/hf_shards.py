"""The tensors of safetensors files, read one at a time when they are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from causalsim.errors import CheckpointError
from causalsim.models.formats.packages import missing_package

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Those that float32 holds exactly.
_DTYPES = ("F32", "F16", "BF16")


class _Shard(NamedTuple):
    path: Path
    file: Any


class Tensors(Mapping[str, "NDArray[Any]"]):
    """The tensors of some files, none of them kept; ``stack`` closes the files.

    ``CheckpointError`` names a file that is missing or damaged, and a tensor that is in two
    files or not of type F32, F16 or BF16. The library checks a header against the size of its
    file before it believes it.
    """

    def __init__(self, paths: Iterable[Path], stack: ExitStack) -> None:
        self._homes: dict[str, _Shard] = {}
        self.n_bytes = 0  # Of all files: no tensor has more numbers.
        for path in paths:
            shard = _Shard(path, stack.enter_context(_opened(path)))
            self.n_bytes += path.stat().st_size
            for name in shard.file.keys():  # noqa: SIM118  an open file is no mapping
                if name in self._homes:
                    _refuse(
                        name, path, "a tensor is in one file", f"it in {self.path(name).name} too", "once"
                    )
                self._homes[name] = shard

    def __getitem__(self, name: str) -> NDArray[Any]:
        path, file = self._homes[name]
        kind = file.get_slice(name).get_dtype()
        if kind not in _DTYPES:
            _refuse(name, path, "weights are of a type that float32 holds", kind, ", ".join(_DTYPES))
        try:
            return file.get_tensor(name)
        except Exception as error:
            raise _unreadable(path, error) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._homes)

    def __len__(self) -> int:
        return len(self._homes)

    def path(self, name: str) -> Path:
        """The file that a tensor is in."""
        return self._homes[name].path


def _opened(path: Path) -> Any:
    try:
        import ml_dtypes  # noqa: F401  NumPy knows bfloat16 from it
        from safetensors import safe_open
    except ImportError as error:
        rule = "safetensors files are read by the package safetensors"
        raise missing_package(rule, f"package {error.name}") from None
    try:
        return safe_open(path, framework="numpy")
    # The library has an error of its own for damage, the system others for folders, devices and rights.
    except Exception as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{path}: the weights are a readable safetensors file",
        got=f"{type(error).__name__} ({error})",
        expected="a header, and the bytes that it describes",
        hint="Fetch the file again.",
    )


def _refuse(name: str, path: Path, rule: str, got: str, expected: str) -> NoReturn:
    hint = "Save the model anew, as save_pretrained of transformers writes it."
    raise CheckpointError(f"{path}: {name}: {rule}", tensor=name, got=got, expected=expected, hint=hint)
