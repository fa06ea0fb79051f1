"""Places of events in canonical order, as arithmetic: no event is stored.

Canonical order goes request by request, position by position, up the column of sites. It
is a linear extension of every graph: edges never go down the column nor to an earlier
position, and a token edge always goes to the next one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from jaxtyping import Shaped

from causalsim.events.kinds import SAMPLED
from causalsim.events.wiring import Site


@dataclass(frozen=True)
class Columns:
    """The columns of one request: ``length`` positions of ``sites``, sampling from ``prompt - 1`` on.

    ``start`` is the canonical index of the request's first event. ``sample``, the last site of a
    column, is there at positions ``prompt - 1`` to ``length - 2`` only.

    >>> from causalsim.events import Event, EventGraph, Wiring
    >>> (columns,) = EventGraph(Wiring(1), 1).requests
    >>> len(columns), columns.height, columns.n_samples
    (5, 5, 0)
    """

    sites: tuple[Site, ...]
    length: int
    prompt: int
    start: int

    @cached_property
    def rank(self) -> dict[Site, int]:
        return {site: rank for rank, site in enumerate(self.sites)}

    @cached_property
    def height(self) -> int:
        """The events of a column that samples nothing."""
        return sum(site.kind not in SAMPLED for site in self.sites)

    @property
    def n_samples(self) -> int:
        return self.length - self.prompt

    def __len__(self) -> int:
        return self.length * self.height + self.n_samples

    def positions(self, site: Site) -> range:
        """Return the positions at which a site is present.

        >>> Columns((Site("block", 0),), length=3, prompt=3, start=0).positions(Site("block", 0))
        range(0, 3)
        """
        return range(self.prompt - 1, self.length - 1) if site.kind in SAMPLED else range(self.length)

    def held(self, site: Site) -> slice:
        """Return the part of a line at which a site is present.

        >>> Columns((Site("block", 0),), length=3, prompt=3, start=0).held(Site("block", 0))
        slice(0, 3, None)
        """
        return slice(self.positions(site).start, self.positions(site).stop)

    def index(self, site: Site, position: int) -> int:
        """Return the canonical index of a site at a position.

        >>> columns = Columns((Site("block", 0), Site("block", 1)), length=2, prompt=2, start=0)
        >>> columns.index(Site("block", 1), 0)
        1
        """
        sampled = min(max(position - (self.prompt - 1), 0), self.n_samples)
        return self.start + position * self.height + sampled + self.rank[site]

    def place(self, index: int) -> tuple[Site, int]:
        """Return the site and position at a canonical index, the inverse of ``index``.

        >>> Columns((Site("block", 0), Site("block", 1)), length=2, prompt=2, start=0).place(3)
        (Site(kind='block', layer=1), 1)
        """
        offset = index - self.start
        plain = (self.prompt - 1) * self.height
        if offset < plain:
            position, rank = divmod(offset, self.height)
        else:
            position, rank = divmod(offset - plain, self.height + 1)
            position += self.prompt - 1
        return self.sites[rank], position

    def sheets(
        self, values: Shaped[np.ndarray, " events"]
    ) -> Iterator[tuple[range, Shaped[np.ndarray, "positions sites"]]]:
        """Yield views of an array over events, one row a position: positions that sample have a site more.

        >>> columns = Columns((Site("block", 0), Site("block", 1)), length=2, prompt=2, start=0)
        >>> [sheet.tolist() for _, sheet in columns.sheets(np.arange(4))]
        [[[0, 1], [2, 3]]]
        """
        start = self.start
        cuts = (0, self.prompt - 1, self.length - 1, self.length) if self.n_samples else (0, self.length)
        for first, end in pairwise(cuts):
            sites = self.height + (self.prompt - 1 <= first < self.length - 1)
            stop = start + (end - first) * sites
            yield range(first, end), values[start:stop].reshape(end - first, sites)
            start = stop
