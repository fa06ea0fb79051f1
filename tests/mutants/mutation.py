"""A mutation: one text of a source file that becomes another, and the tests that should see it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def digest(*texts: str) -> str:
    """A short name for some texts."""
    return sha256("\0".join(texts).encode()).hexdigest()[:10]


@dataclass(frozen=True)
class Mutation:
    """One change to one file.

    Attributes:
        path: The file, below ``causalsim/``.
        before: A text that occurs in it once.
        after: What stands there instead.
        tests: Files or tests below ``tests/`` that are run, in this order, until one fails.
        equivalent: Why no test can see it; empty where one must.
    """

    path: str
    before: str
    after: str
    tests: tuple[str, ...]
    equivalent: str = ""

    @property
    def name(self) -> str:
        """The file and a digest of the change."""
        return f"{self.path}:{digest(self.before, self.after)}"

    @property
    def source(self) -> str:
        """The file as it is today."""
        return (ROOT / "causalsim" / self.path).read_text(encoding="utf-8")

    @property
    def version(self) -> str:
        """A digest of the file and of the names of the tests: a result is of these."""
        return digest(self.source, *self.tests)

    def applied(self) -> str:
        """The file with the change.

        Raises:
            ValueError: The text to be changed is not there, or more than once.
        """
        if (found := self.source.count(self.before)) != 1:
            raise ValueError(
                f"a text is changed that occurs once: got {found} of {self.before!r} in {self.path}"
            )
        return self.source.replace(self.before, self.after)

    def __str__(self) -> str:
        """The changed text in one line, without what both have around it."""
        return f"{_short(self.before)} -> {_short(self.after)}"


def _short(text: str) -> str:
    words = " ".join(text.split()) or "(nothing)"
    return words if len(words) < 60 else f"{words[:57]}..."


def of_file(path: str, tests: Sequence[str], *changes: tuple[str, ...]) -> Iterator[Mutation]:
    """Yield the mutations of a file, from texts before and after; a third text says why it is equivalent.

    A fourth and later ones are tests that are run instead of the file's.
    """
    for before, after, *more in changes:
        yield Mutation(path, before, after, tuple(more[1:]) or tuple(tests), more[0] if more else "")
