"""The look of pictures: colours, sizes and the numbers above which a picture says less."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from causalsim.errors import InputError
from causalsim.events import KINDS, STREAMS, Kind, Stream

# Nine samples of matplotlib's viridis (CC0), whose lightness rises evenly from early to late.
VIRIDIS = ("#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725")


LENGTHS = (
    "fontsize", "column", "box_width", "box_height", "circle", "rise", "step", "gap", "dpi", "max_pixels",
)  # fmt: skip
COLOURS = ("slice_line", "route", "past", "future", "focus", "faded", "text", "quiet")


@dataclass(frozen=True)
class Style:
    """Colours as ``#rrggbb``, lengths in points (1/72 inch), thresholds as counts.

    ``kinds`` and ``streams`` give colours to kinds of events and to streams, and those that
    they do not name keep theirs; the boxes are filled with a tint. The thresholds decide what
    a picture leaves out, which its legend then says.

    >>> Style(column=60).column
    60
    >>> Style().kinds["kv"]
    '#7c3aed'
    """

    kinds: Mapping[str, str] = field(default_factory=dict, hash=False)
    streams: Mapping[str, str] = field(default_factory=dict, hash=False)
    slice_line: str = "#e02020"
    route: str = "#f97316"
    past: str = "#0e9aa7"
    future: str = "#f0a202"
    focus: str = "#e02020"
    faded: str = "#d4d4d8"
    text: str = "#1f2937"
    quiet: str = "#6b7280"
    ramp: tuple[str, ...] = VIRIDIS

    fontname: str = "Helvetica"
    fontsize: float = 10
    column: float = 88
    box_width: float = 50
    box_height: float = 22
    circle: float = 20
    rise: float = 52
    step: float = 40
    gap: float = 46
    request_gap: float = 60

    dotted_up_to: int = 60
    """Most slices that are all drawn as lines; above, time is the colour of the events."""
    contours: int = 6
    """About how many slices are drawn as lines where time is a colour."""
    solid_up_to: int = 250
    """Most K/V edges drawn alike; above, those over more than one position are faint."""
    faint_up_to: int = 3_000
    """Most K/V edges drawn at all; above, those over more than one position are left out."""
    max_events: int = 3_000
    max_edges: int = 300_000

    dpi: float = 120
    max_pixels: int = 8_000

    def __post_init__(self) -> None:
        object.__setattr__(self, "kinds", _completed("a kind of event", KINDS, self.kinds))
        object.__setattr__(self, "streams", _completed("a stream", STREAMS, self.streams))
        for name in LENGTHS:
            if not getattr(self, name) > 0:
                raise InputError("lengths of a style are positive", got=f"{name}={getattr(self, name)!r}")
        own = (getattr(self, name) for name in COLOURS)
        for colour in (*self.kinds.values(), *self.streams.values(), *self.ramp, *own):
            _channels(colour)


def tint(colour: str, strength: float = 0.16) -> str:
    """Return a colour mixed into white.

    >>> tint("#000000", 0.5)
    '#808080'
    """
    return mix("#ffffff", colour, strength)


def mix(a: str, b: str, share: float) -> str:
    """The colour ``share`` of the way from ``a`` to ``b``."""
    mixed = [round(x + (y - x) * share) for x, y in zip(_channels(a), _channels(b), strict=True)]
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def along(ramp: tuple[str, ...], share: float) -> str:
    """Return the colour at ``share`` of a ramp, 0 its first and 1 its last.

    >>> along(("#000000", "#ffffff", "#ff0000"), 0.5)
    '#ffffff'
    """
    scaled = share * (len(ramp) - 1)
    low = min(int(scaled), max(len(ramp) - 2, 0))
    return mix(ramp[low], ramp[min(low + 1, len(ramp) - 1)], scaled - low)


def readable_on(colour: str) -> str:
    """Black or white, whichever reads better on a background (ITU-R BT.601 luma)."""
    red, green, blue = _channels(colour)
    return "#000000" if 0.299 * red + 0.587 * green + 0.114 * blue > 110 else "#ffffff"


def _completed(
    what: str, table: Mapping[str, Kind] | Mapping[str, Stream], given: Mapping[str, str]
) -> Mapping[str, str]:
    if unknown := sorted(set(given) - set(table)):
        raise InputError(f"a colour is given to {what}", got=", ".join(unknown), expected=", ".join(table))
    return {name: row.colour for name, row in table.items()} | dict(given)


def _channels(colour: str) -> bytes:
    """Red, green and blue."""
    if not (isinstance(colour, str) and re.fullmatch(r"#[0-9a-fA-F]{6}", colour)):
        example = "for example '#7c3aed'"
        raise InputError("a colour is written #rrggbb", got=repr(colour), expected=example)
    return bytes.fromhex(colour[1:])
