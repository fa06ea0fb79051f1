"""The wiring of an architecture: a column of sites and the families that join columns.

Every position of a text runs the same column of computations, and every causal edge
belongs to a family that is the same at every position. So a graph of any length is
a finite column and a finite list of families; all else asks these.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Literal, NamedTuple, cast

import numpy as np

from causalsim.arguments import as_int, check_whole
from causalsim.errors import InputError
from causalsim.events.kinds import KINDS, SAMPLED, SUBLAYERS, Kind, kinds_at

Granularity = Literal["block", "sublayer"]
GRANULARITIES = ("block", "sublayer")


class Site(NamedTuple):
    """A place in the column that every position runs.

    >>> Site("attn", 3)
    Site(kind='attn', layer=3)
    """

    kind: str
    layer: int


class EdgeFamily(NamedTuple):
    """A family of edges: ``source`` at p to ``target`` at q for every first <= q - p <= last.

    >>> EdgeFamily("kv", Site("kv", 0), Site("attn", 0), first=0, last=None).target
    Site(kind='attn', layer=0)
    """

    stream: str
    source: Site
    target: Site
    first: int
    last: int | None

    def sources(self, position: int, held: range) -> range:
        """Return the positions, of those held, from which edges lead to a position.

        >>> EdgeFamily("kv", Site("kv", 0), Site("attn", 0), first=0, last=1).sources(3, range(4))
        range(2, 4)
        """
        low = held.start if self.last is None else max(held.start, position - self.last)
        return range(low, min(held.stop, position - self.first + 1))

    def targets(self, position: int, held: range) -> range:
        """Return the positions, of those held, to which edges lead from a position.

        >>> EdgeFamily("kv", Site("kv", 0), Site("attn", 0), first=0, last=None).targets(1, range(4))
        range(1, 4)
        """
        high = held.stop if self.last is None else min(held.stop, position + self.last + 1)
        return range(max(held.start, position + self.first), high)


@dataclass(frozen=True, init=False)
class Wiring:
    """All that the causal structure of an architecture depends on.

    ``windows`` is the number of positions that an attention sees, its own counted: one
    number or one a layer, ``None`` for all. With ``parallel_residual`` the attention and
    the MLP of a layer both read the layer's input. ``sublayers`` are the kinds of a layer's events,
    in the order of the column, as the table of kinds has them.

    >>> Wiring(2, windows=4).windows
    (4, 4)
    """

    n_layers: int
    windows: int | Sequence[int | None] | None = None
    parallel_residual: bool = False
    sublayers: tuple[str, ...] = field(default=SUBLAYERS, repr=False)
    # A wiring is equal to another of the same rows, not only of the same names.
    _rows: tuple[Kind, ...] = field(default=(), init=False, repr=False)

    def __init__(
        self,
        n_layers: int,
        *,
        windows: int | Sequence[int | None] | None = None,
        parallel_residual: bool = False,
        sublayers: Sequence[str] = SUBLAYERS,
    ) -> None:
        layers = check_whole("n_layers", n_layers, 1)
        object.__setattr__(self, "n_layers", layers)
        object.__setattr__(self, "windows", _per_layer(windows, layers))
        object.__setattr__(self, "parallel_residual", _switch("parallel_residual", parallel_residual))
        object.__setattr__(self, "sublayers", _checked_sublayers(sublayers, self.parallel_residual))
        object.__setattr__(self, "_rows", tuple(KINDS[kind] for kind in self.sublayers))

    @cached_property
    def windows_by_layer(self) -> tuple[int | None, ...]:
        """Positions that each layer's attention sees, the own one counted; ``None`` is all.

        >>> Wiring(2).windows_by_layer, Wiring(2, windows=[3, None]).windows_by_layer
        ((None, None), (3, None))
        """
        return self.windows if isinstance(self.windows, tuple) else (None,) * self.n_layers

    def sites(self, granularity: Granularity = "sublayer") -> tuple[Site, ...]:
        """The column in canonical order, ``sample`` (present only with feedback) last.

        Args:
            granularity: ``"sublayer"`` or ``"block"``.

        Returns:
            Kind and layer of every site.

        Raises:
            InputError: Another granularity.

        >>> [f"{kind}{layer}" for kind, layer in Wiring(1).sites()]
        ['embed-1', 'kv0', 'attn0', 'mlp0', 'unembed1', 'sample1']
        """
        return _sites(self.n_layers, self.sublayers, checked_granularity(granularity))

    def heights(self, granularity: Granularity = "sublayer") -> dict[Site, int]:
        """The height of every site above the lowest: as high as the longest chain above it lets it.

        Edges to later positions lead no higher than those inside a column, so no chain of a graph
        without feedback is longer than the column is high.

        Args:
            granularity: ``"sublayer"`` or ``"block"``.

        Returns:
            The height of every site, from 0, in canonical order.

        Raises:
            InputError: Another granularity.

        >>> Wiring(1, parallel_residual=True).heights().values()
        dict_values([0, 1, 2, 2, 3, 4])
        """
        above = dict.fromkeys(reversed(self.sites(granularity)), 0)
        inside = (family for family in reversed(self.edge_families(granularity)) if family.first == 0)
        for family in inside:
            above[family.source] = max(above[family.source], above[family.target] + 1)
        top = max(above.values())
        return {site: top - above[site] for site in reversed(above)}

    @cached_property
    def adding(self) -> tuple[str, ...]:
        """The kinds of a layer that add to the residual stream, in the order of the column.

        The value of each is the residual after it has added; with a parallel residual that of the first
        alone is, and those of the others are what they add.

        >>> Wiring(1).adding
        ('attn', 'mlp')
        """
        return tuple(row.name for row in self._rows if row.adds)

    def edge_families(self, granularity: Granularity = "sublayer") -> tuple[EdgeFamily, ...]:
        """Every family of edges, ordered by target site.

        Args:
            granularity: ``"sublayer"`` or ``"block"``.

        Returns:
            The families; those into one site side by side.

        Raises:
            InputError: Another granularity.

        >>> families = Wiring(2, windows=3).edge_families("block")
        >>> [(family.stream, family.first, family.last) for family in families]
        [('residual', 0, 0), ('kv', 0, 2)]
        """
        return _families(self, checked_granularity(granularity))


def checked_granularity(granularity: object) -> Granularity:
    """Return a known granularity.

    Raises:
        InputError: It is unknown.

    >>> checked_granularity("block")
    'block'
    """
    if not isinstance(granularity, str) or granularity not in GRANULARITIES:
        raise InputError(
            "a graph has one of the known granularities",
            got=repr(granularity),
            expected=" or ".join(GRANULARITIES),
        )
    return cast("Granularity", granularity)


@lru_cache(maxsize=256)
def _sites(n_layers: int, sublayers: tuple[str, ...], granularity: Granularity) -> tuple[Site, ...]:
    if granularity == "block":
        return tuple(Site(kind, layer) for layer in range(n_layers) for kind in kinds_at("block"))
    below = [Site(kind, -1) for kind in kinds_at("below")]
    inner = [Site(kind, layer) for layer in range(n_layers) for kind in sublayers]
    return (*below, *inner, *(Site(kind, n_layers) for kind in kinds_at("above", "feedback")))


@lru_cache(maxsize=256)
def _families(wiring: Wiring, granularity: Granularity) -> tuple[EdgeFamily, ...]:
    return tuple(_block_families(wiring) if granularity == "block" else _sublayer_families(wiring))


def _block_families(wiring: Wiring) -> list[EdgeFamily]:
    """The block below writes every stream: K/V, too, is a function of the residual that it leaves."""
    return [
        _family(wiring, stream, below, here)
        for below, here in pairwise(wiring.sites("block"))
        for stream in KINDS[here.kind].reads
    ]


def _sublayer_families(wiring: Wiring) -> list[EdgeFamily]:
    """Return edges as the table of kinds implies them, site after site up the column.

    ``sources`` holds who wrote each stream last; of a parallel residual all of a layer wrote it, and
    what they wrote is read above.
    """
    sites = wiring.sites()
    sources: dict[str, list[Site]] = {"token": [sites[-1]]}
    layer, written, families = -1, list[Site](), list[EdgeFamily]()
    for site in sites:
        if site.layer != layer and written:
            sources["residual"], written = written, []
        layer, kind = site.layer, KINDS[site.kind]
        families += [
            _family(wiring, stream, source, site) for stream in kind.reads for source in sources[stream]
        ]
        if kind.writes == "residual" and wiring.parallel_residual:
            written.append(site)
        else:
            sources[kind.writes] = [site]
    return families


def _family(wiring: Wiring, stream: str, source: Site, target: Site) -> EdgeFamily:
    """Edges of one stream: a token goes to the next position, K/V as far as a window, all else up."""
    if stream == "kv":
        window = wiring.windows_by_layer[target.layer]
        return EdgeFamily(stream, source, target, 0, None if window is None else window - 1)
    fed_back = int(source.kind in SAMPLED)
    return EdgeFamily(stream, source, target, fed_back, fed_back)


def _checked_sublayers(sublayers: object, parallel: bool) -> tuple[str, ...]:
    """Return known kinds of a layer in the order of a column, K/V right below what attends first.

    So a column is one chain, but for what adds side by side; of that, what attends comes first.

    Raises:
        InputError: They are no column.
    """
    names = tuple(sublayers) if isinstance(sublayers, list | tuple) else (sublayers,)
    known = kinds_at("layer")
    kinds = [KINDS[name] for name in names if name in known]
    attends = [place for place, kind in enumerate(kinds) if kind.attends]
    makes = [place for place, kind in enumerate(kinds) if kind.writes == "kv"]
    joined = len(makes) == 1 and attends[:1] == [makes[0] + 1] and not (parallel and makes[0])
    if not (joined and len(kinds) == len(names) == len({*names})):
        raise InputError(
            "a layer has each kind of event once, K/V right below what attends first",
            got=repr(sublayers),
            expected=f"some of {', '.join(known)}" + ", K/V first" * parallel,
        )
    return names


def _per_layer(windows: object, n_layers: int) -> tuple[int | None, ...] | None:
    """One window a layer; ``None`` where every layer sees all, so that equal wirings compare equal."""
    if windows is None:
        return None
    listed = _listed(windows, n_layers)
    if len(listed) != n_layers:
        raise InputError(
            "windows is one number or one per layer", got=f"{len(listed)} windows", expected=n_layers
        )
    checked = tuple(None if window is None else check_whole("a window", window, 1) for window in listed)
    return None if all(window is None for window in checked) else checked


def _listed(windows: object, n_layers: int) -> Sequence[object]:
    if as_int(windows) is not None:
        return [windows] * n_layers
    listable = np.ndim(windows) if isinstance(windows, np.ndarray) else isinstance(windows, Iterable)
    if listable and not isinstance(windows, str | bytes | Mapping | set | frozenset):
        return list(cast("Iterable[object]", windows))
    raise InputError(
        "windows are counts of positions",
        got=f"windows={windows!r}",
        expected="a whole number, or one (or None) for every layer",
        hint="Leave windows out for full attention.",
    )


def _switch(name: str, value: object) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise InputError(f"{name} is a switch", got=repr(value), expected="True or False")
    return bool(value)
