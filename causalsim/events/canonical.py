"""The events of a graph in canonical order: by request, by position, up the column."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from causalsim.arguments import as_int, check_limit, shown
from causalsim.errors import InputError
from causalsim.events.columns import Columns
from causalsim.events.event import Event
from causalsim.events.inputs import (
    HasWiring,
    check_countable,
    checked_lengths,
    checked_prompts,
    checked_wiring,
)
from causalsim.events.wiring import Granularity, Site, Wiring, checked_granularity

# Above this the arrays over all events, of 12 bytes an event, fit into no memory at hand.
ARRAY_LIMIT = 2**31


@dataclass(frozen=True, init=False, repr=False)
class CanonicalOrder:
    """The events of a graph as a sequence, and nothing about their edges.

    Every array over events is laid out in this order. Nothing is stored.
    """

    wiring: Wiring
    granularity: Granularity
    lengths: tuple[int, ...]
    prompts: tuple[int, ...]

    def __init__(
        self,
        config_or_wiring: HasWiring | Wiring,
        length: int | Sequence[int],
        *,
        prompt: int | Sequence[int] | None = None,
        granularity: Granularity = "sublayer",
    ) -> None:
        wiring, lengths = checked_wiring(config_or_wiring), checked_lengths(length)
        check_countable(wiring, lengths)
        object.__setattr__(self, "wiring", wiring)
        object.__setattr__(self, "granularity", checked_granularity(granularity))
        object.__setattr__(self, "lengths", lengths)
        object.__setattr__(self, "prompts", checked_prompts(prompt, lengths))
        if granularity == "block" and self.has_feedback:
            raise InputError(
                "block graphs have no feedback",
                got=f"prompts {self.prompts} shorter than lengths {self.lengths}",
                hint='Use granularity="sublayer", which has sample events, or leave prompt out.',
            )

    def __repr__(self) -> str:
        prompt = f", prompt={self.prompts}" if self.has_feedback else ""
        return (
            f"{type(self).__name__}({self.wiring}, {self.lengths}{prompt}, granularity={self.granularity!r})"
        )

    @property
    def has_feedback(self) -> bool:
        """True if some position waits for a sampled token.

        >>> CanonicalOrder(Wiring(1), 2).has_feedback, CanonicalOrder(Wiring(1), 2, prompt=1).has_feedback
        (False, True)
        """
        return self.prompts != self.lengths

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        """The column that every position runs, in canonical order.

        >>> CanonicalOrder(Wiring(2), 2, granularity="block").sites
        (Site(kind='block', layer=0), Site(kind='block', layer=1))
        """
        return self.wiring.sites(self.granularity)

    @cached_property
    def requests(self) -> tuple[Columns, ...]:
        """The columns of every request, which place its events in canonical order.

        >>> [columns.start for columns in CanonicalOrder(Wiring(1), [1, 1], granularity="block").requests]
        [0, 1]
        """
        columns, start = [], 0
        for length, prompt in zip(self.lengths, self.prompts, strict=True):
            columns.append(Columns(self.sites, length, prompt, start))
            start += len(columns[-1])
        return tuple(columns)

    def __len__(self) -> int:
        return self.requests[-1].start + len(self.requests[-1])

    def __iter__(self) -> Iterator[Event]:
        return (self[index] for index in range(len(self)))

    def events(self) -> Iterator[Event]:
        """Return all events in canonical order: by request, by position, up the column.

        >>> [str(event) for event in CanonicalOrder(Wiring(2), 2, granularity="block").events()]
        ['block(0,0)', 'block(1,0)', 'block(0,1)', 'block(1,1)']
        """
        return iter(self)

    def __getitem__(self, index: int) -> Event:
        """The event at a canonical index."""
        place = as_int(index)
        if place is None:
            raise InputError("a canonical index is a whole number", got=shown(index))
        index = place
        if not 0 <= index < len(self):
            raise IndexError(f"canonical index {index} outside 0 .. {len(self) - 1}")
        request = bisect_right(self.requests, index, key=lambda columns: columns.start) - 1
        site, position = self.requests[request].place(index)
        return Event(site.kind, site.layer, position, request)

    def __contains__(self, event: object) -> bool:
        if not isinstance(event, Event) or not 0 <= event.request < len(self.lengths):
            return False
        columns, site = self.requests[event.request], Site(event.kind, event.layer)
        return site in columns.rank and event.position in columns.positions(site)

    def index(self, event: Event) -> int:
        """Place of an event in canonical order; ``InputError`` if it is not of this graph.

        Args:
            event: An event of the graph.

        Returns:
            Its number, from 0.

        Raises:
            InputError: No event of the graph.

        >>> CanonicalOrder(Wiring(1), 1).index(Event("mlp", 0, 0))
        3
        """
        self.check(event)
        return self.requests[event.request].index(Site(event.kind, event.layer), event.position)

    def check(self, event: Event) -> None:
        """Refuse what is not an event of this graph, naming the coordinate that is off.

        Args:
            event: An event of the graph.

        Raises:
            InputError: No event of the graph.

        >>> CanonicalOrder(Wiring(1), 1).check(Event("mlp", 0, 0))
        """
        if event not in self:
            raise InputError(
                f"events belong to the graph: {self._reason(event)}", got=str(event), expected=self._ranges()
            )

    def _reason(self, event: Event) -> str:
        if not isinstance(event, Event):
            return "an Event was asked for"
        if not 0 <= event.request < len(self.lengths):
            return f"there is no request {event.request}"
        if event.kind not in {site.kind for site in self.sites}:
            return f"a {self.granularity} graph has no kind {event.kind!r}"
        if not 0 <= event.position < self.lengths[event.request]:
            return f"position {event.position} lies outside the text"
        if Site(event.kind, event.layer) in self.sites:
            return f"{event.kind} stands only where the next token is waited for"
        return f"{event.kind} has no layer {event.layer}"

    def _ranges(self) -> str:
        texts = ", ".join(f"0..{length - 1}" for length in self.lengths)
        return f"layers 0..{self.wiring.n_layers - 1}, positions {texts} (one range a request)"

    def check_arrays(self) -> None:
        """Raise ``LimitError`` if arrays over all events would fit into no memory at hand.

        Raises:
            LimitError: They would not.

        >>> CanonicalOrder(Wiring(1), 1).check_arrays()
        """
        rule = "arrays over all events are for graphs that fit into memory"
        hint = "Take shorter texts or fewer layers."
        check_limit(rule, len(self), ARRAY_LIMIT, got=f"{len(self):,} events", hint=hint)

    def codes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Site rank, position and request of every event, as arrays in canonical order.

        Returns:
            Three arrays over the events, ``int32``.

        Raises:
            LimitError: The arrays fit into no memory at hand.

        >>> [array.tolist() for array in CanonicalOrder(Wiring(2), 2, granularity="block").codes()]
        [[0, 1, 0, 1], [0, 0, 1, 1], [0, 0, 0, 0]]
        """
        self.check_arrays()
        rank, position, request = (np.empty(len(self), np.int32) for _ in range(3))
        for number, columns in enumerate(self.requests):
            request[columns.start : columns.start + len(columns)] = number
            for (held, ranks), (_, positions) in zip(
                columns.sheets(rank), columns.sheets(position), strict=True
            ):
                ranks[:] = np.arange(ranks.shape[1])
                positions[:] = np.arange(held.start, held.stop)[:, None]
        return rank, position, request
