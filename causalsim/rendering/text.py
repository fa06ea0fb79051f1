"""The room that words take, estimated: no program that draws is asked."""

from __future__ import annotations

# Helvetica's advance widths in ems, by classes of letters and a little on the generous side.
NARROW, WIDE = "ijlftrI.,:;'|! ()[]/-", "mwMW%@"
SMALLEST_FONT = 5.0


def text_width(text: str, size: float) -> float:
    """Estimated width in points of the widest line of a text."""
    return size * max(sum(map(_advance, line)) for line in text.split("\n"))


def _advance(letter: str) -> float:
    if letter in NARROW:
        return 0.3
    return 0.84 if letter in WIDE else 0.7 if letter.isupper() else 0.56


def fitted(text: str, width: float, size: float) -> tuple[str, float]:
    """A label and its font size such that it fits a width, cut short where it would be too small."""
    fitting = size * min(1.0, width / max(text_width(text, size), 1.0))
    if fitting >= SMALLEST_FONT:
        return text, fitting
    return "\n".join(_cut(line, width) for line in text.split("\n")), SMALLEST_FONT


def _cut(line: str, width: float) -> str:
    if text_width(line, SMALLEST_FONT) <= width:
        return line
    while line and text_width(line + "..", SMALLEST_FONT) > width:
        line = line[:-1]
    return line + ".."
