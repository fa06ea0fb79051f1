"""Exact counts of down-sets, of the edges between them, and of linear extensions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from math import comb

from causalsim.posets.decomposition import Part, decompose
from causalsim.posets.downsets import Rank, ranks
from causalsim.posets.growth import DEFAULT_LIMIT, Budget
from causalsim.posets.relations import Predecessors


@dataclass(frozen=True)
class LatticeCounts:
    """The size of a poset and of its lattice of down-sets; linear extensions are its maximal chains."""

    elements: int
    down_sets: int
    lattice_edges: int
    linear_extensions: int

    def then(self, above: LatticeCounts) -> LatticeCounts:
        """Return the counts of the series composition, with ``above`` wholly above this poset.

        >>> LatticeCounts(1, 2, 1, 1).then(LatticeCounts(1, 2, 1, 1))
        LatticeCounts(elements=2, down_sets=3, lattice_edges=2, linear_extensions=1)
        """
        return LatticeCounts(
            self.elements + above.elements,
            self.down_sets + above.down_sets - 1,
            self.lattice_edges + above.lattice_edges,
            self.linear_extensions * above.linear_extensions,
        )

    def beside(self, other: LatticeCounts) -> LatticeCounts:
        """Return the counts of the disjoint union, whose lattice is the product.

        >>> LatticeCounts(1, 2, 1, 1).beside(LatticeCounts(1, 2, 1, 1))
        LatticeCounts(elements=2, down_sets=4, lattice_edges=4, linear_extensions=2)
        """
        total = self.elements + other.elements
        return LatticeCounts(
            total,
            self.down_sets * other.down_sets,
            self.lattice_edges * other.down_sets + self.down_sets * other.lattice_edges,
            self.linear_extensions * other.linear_extensions * comb(total, self.elements),
        )


def count_down_sets(predecessors: Predecessors, *, limit: int = DEFAULT_LIMIT) -> int:
    """Return the exact number of down-sets, the empty one and the whole poset included.

    ``limit`` bounds the down-sets that are tabulated: a poset that falls into series or parallel
    parts may have more. Raises LimitError as soon as one more is found.

    >>> count_down_sets([(), (), (0, 1)])
    5
    """
    return lattice_counts(predecessors, limit=limit).down_sets


def count_lattice_edges(predecessors: Predecessors, *, limit: int = DEFAULT_LIMIT) -> int:
    """Return the exact number of pairs of down-sets that differ by one element.

    The covers of the lattice of down-sets. ``limit`` as for `count_down_sets`.

    >>> count_lattice_edges([(), (), (0, 1)])
    5
    """
    return lattice_counts(predecessors, limit=limit).lattice_edges


def count_linear_extensions(predecessors: Predecessors, *, limit: int = DEFAULT_LIMIT) -> int:
    """Return the exact number of linear extensions.

    #P-complete in general (Brightwell and Winkler 1991), hence ``limit``, as for `count_down_sets`.

    >>> count_linear_extensions([(), (), (0,), (1,)])
    6
    """
    return lattice_counts(predecessors, limit=limit).linear_extensions


def lattice_counts(predecessors: Predecessors, *, limit: int = DEFAULT_LIMIT) -> LatticeCounts:
    """Return all counts at once, from one table of down-sets for each prime part.

    Stanley, Enumerative Combinatorics 1, section 3.5. ``limit`` as for `count_down_sets`.

    >>> lattice_counts([(), (), (0,), (1,)])
    LatticeCounts(elements=4, down_sets=9, lattice_edges=12, linear_extensions=6)
    """
    budget = Budget(limit)
    return evaluate(decompose(predecessors), lambda part: tally(ranks(part.predecessors, budget)))[0]


def evaluate(parts: Sequence[Part], prime: Callable[[Part], LatticeCounts]) -> list[LatticeCounts]:
    """Return the counts of every part, given how to count a prime one.

    >>> evaluate(decompose([(), ()]), lambda part: LatticeCounts(1, 2, 1, 1))[0].down_sets
    4
    """
    values: dict[int, LatticeCounts] = {}
    for k in reversed(range(len(parts))):
        part = parts[k]
        compose = LatticeCounts.then if part.kind == "series" else LatticeCounts.beside
        children = [values[child] for child in part.children]
        values[k] = reduce(compose, children) if children else prime(part)
    return [values[k] for k in range(len(parts))]


def tally(steps: Iterable[Rank]) -> LatticeCounts:
    """Return the counts of a poset from all ranks of its lattice, ascending.

    >>> tally(ranks([(), (0,)]))
    LatticeCounts(elements=2, down_sets=3, lattice_edges=2, linear_extensions=1)
    """
    sizes, edges = [], 0
    for rank in steps:
        sizes.append(len(rank.ways))
        edges += rank.count_edges()
    return LatticeCounts(len(sizes) - 1, sum(sizes), edges, sum(rank.ways.values()))
