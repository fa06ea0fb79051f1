"""The wiring of an architecture: a column of sites and the families that join columns.

Every position of a text runs the same column of computations, and every causal edge
belongs to a family that is the same at every position. So a graph of any length is
a finite column and a finite list of families; all else asks these.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple, cast

import numpy as np

from causalsim.arguments import as_int
from causalsim.errors import InputError

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


@dataclass(frozen=True, init=False)
class Wiring:
    """What the causal structure of an architecture depends on, and nothing else.

    ``windows`` is the number of positions that an attention sees, its own counted: one
    number or one a layer, ``None`` for all. With ``parallel_residual`` the attention and
    the MLP of a layer both read the layer's input.

    >>> Wiring(2, windows=4).windows
    (4, 4)
    """

    n_layers: int
    windows: int | Sequence[int | None] | None = None
    parallel_residual: bool = False

    def __init__(
        self,
        n_layers: int,
        *,
        windows: int | Sequence[int | None] | None = None,
        parallel_residual: bool = False,
    ) -> None:
        layers = _positive("n_layers", n_layers)
        object.__setattr__(self, "n_layers", layers)
        object.__setattr__(self, "windows", _per_layer(windows, layers))
        object.__setattr__(self, "parallel_residual", _switch("parallel_residual", parallel_residual))

    @cached_property
    def windows_by_layer(self) -> tuple[int | None, ...]:
        """Positions that each layer's attention sees, the own one counted; ``None`` is all.

        >>> Wiring(2).windows_by_layer, Wiring(2, windows=[3, None]).windows_by_layer
        ((None, None), (3, None))
        """
        return self.windows if isinstance(self.windows, tuple) else (None,) * self.n_layers

    def sites(self, granularity: Granularity = "sublayer") -> tuple[Site, ...]:
        """The column in canonical order, ``sample`` (present only with feedback) last.

        >>> [f"{kind}{layer}" for kind, layer in Wiring(1).sites()]
        ['embed-1', 'kv0', 'attn0', 'mlp0', 'unembed1', 'sample1']
        """
        return _sites(self.n_layers, checked_granularity(granularity))

    def edge_families(self, granularity: Granularity = "sublayer") -> tuple[EdgeFamily, ...]:
        """Every family of edges, ordered by target site.

        >>> families = Wiring(2, windows=3).edge_families("block")
        >>> [(family.stream, family.first, family.last) for family in families]
        [('residual', 0, 0), ('kv', 0, 2)]
        """
        return _families(self, checked_granularity(granularity))


def checked_granularity(granularity: object) -> Granularity:
    """A known granularity, or ``InputError`` for anything else.

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


def _sites_of_layer(layer: int) -> list[Site]:
    return [Site(kind, layer) for kind in ("kv", "attn", "mlp")]


@lru_cache(maxsize=256)
def _sites(n_layers: int, granularity: Granularity) -> tuple[Site, ...]:
    if granularity == "block":
        return tuple(Site("block", layer) for layer in range(n_layers))
    inner = [site for layer in range(n_layers) for site in _sites_of_layer(layer)]
    return (Site("embed", -1), *inner, Site("unembed", n_layers), Site("sample", n_layers))


@lru_cache(maxsize=256)
def _families(wiring: Wiring, granularity: Granularity) -> tuple[EdgeFamily, ...]:
    return tuple(_block_families(wiring) if granularity == "block" else _sublayer_families(wiring))


def _block_families(wiring: Wiring) -> list[EdgeFamily]:
    families = []
    for layer in range(1, wiring.n_layers):
        below, here, window = Site("block", layer - 1), Site("block", layer), wiring.windows_by_layer[layer]
        families.append(EdgeFamily("residual", below, here, 0, 0))
        # K/V is a function of the residual below, so the own position is read over this stream too.
        families.append(EdgeFamily("kv", below, here, 0, _last(window)))
    return families


def _sublayer_families(wiring: Wiring) -> list[EdgeFamily]:
    feed = Site("embed", -1), Site("unembed", wiring.n_layers), Site("sample", wiring.n_layers)
    embed, unembed, sample = feed
    families = [EdgeFamily("token", sample, embed, 1, 1)]
    stream_in = [embed]
    for layer, window in enumerate(wiring.windows_by_layer):
        kv, attn, mlp = _sites_of_layer(layer)
        readers = (kv, attn, mlp) if wiring.parallel_residual else (kv, attn)
        families += [
            EdgeFamily("residual", source, reader, 0, 0) for reader in readers for source in stream_in
        ]
        families.append(EdgeFamily("kv", kv, attn, 0, _last(window)))
        if not wiring.parallel_residual:
            families.append(EdgeFamily("residual", attn, mlp, 0, 0))
        stream_in = [attn, mlp] if wiring.parallel_residual else [mlp]
    families += [EdgeFamily("residual", source, unembed, 0, 0) for source in stream_in]
    families.append(EdgeFamily("token", unembed, sample, 0, 0))
    order = {site: rank for rank, site in enumerate(wiring.sites())}
    return sorted(families, key=lambda family: order[family.target])


def _last(window: int | None) -> int | None:
    return None if window is None else window - 1


def _per_layer(windows: object, n_layers: int) -> tuple[int | None, ...] | None:
    """One window a layer; ``None`` where every layer sees all, so that equal wirings compare equal."""
    if windows is None:
        return None
    listed = _listed(windows, n_layers)
    if len(listed) != n_layers:
        raise InputError(
            "windows is one number or one per layer", got=f"{len(listed)} windows", expected=n_layers
        )
    checked = tuple(None if window is None else _positive("a window", window) for window in listed)
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


def _positive(name: str, value: object) -> int:
    number = as_int(value)
    if number is None or number < 1:
        raise InputError(f"{name} is a whole number of at least 1", got=repr(value))
    return number


def _switch(name: str, value: object) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise InputError(f"{name} is a switch", got=repr(value), expected="True or False")
    return bool(value)
