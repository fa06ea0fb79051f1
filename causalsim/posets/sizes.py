"""The size of a lattice of down-sets, and how it comes from the sizes of parts or of ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from math import comb

from causalsim.posets.decomposition import Part
from causalsim.posets.downsets import Rank


@dataclass(frozen=True)
class LatticeCounts:
    """The size of a poset and of its lattice of down-sets; linear extensions are its maximal chains.

    >>> LatticeCounts(elements=2, down_sets=3, lattice_edges=2, linear_extensions=1).down_sets
    3
    """

    elements: int
    down_sets: int
    lattice_edges: int
    linear_extensions: int

    def then(self, above: LatticeCounts) -> LatticeCounts:
        """Return the counts of the series composition, with ``above`` wholly above this poset.

        Args:
            above: The counts of the other poset.

        Returns:
            The counts of both together.

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

        Args:
            other: The counts of the other poset.

        Returns:
            The counts of both together.

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


def evaluate(parts: Sequence[Part], prime: Callable[[Part], LatticeCounts]) -> list[LatticeCounts]:
    """Return the counts of every part, given how to count a prime one.

    >>> from causalsim.posets.decomposition import decompose
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


def tally(steps: Iterable[Rank], keep: Callable[[Rank], object] = lambda rank: None) -> LatticeCounts:
    """Return the counts of a poset from all ranks of its lattice, ascending; ``keep`` is shown each.

    >>> from causalsim.posets.downsets import ranks
    >>> tally(ranks([(), (0,)]))
    LatticeCounts(elements=2, down_sets=3, lattice_edges=2, linear_extensions=1)
    """
    sizes, edges = [], 0
    for rank in steps:
        keep(rank)
        sizes.append(len(rank.ways))
        edges += rank.count_edges()
    return LatticeCounts(len(sizes) - 1, sum(sizes), edges, sum(rank.ways.values()))
