"""Work that is refused before it is begun: sums of long integers that would take minutes."""

from __future__ import annotations

from causalsim.arguments import check_limit

# Additions of integers that grow with the text: some seconds.
MOST_SUMS = 20_000_000


def refuse_long(rule: str, sums: int) -> None:
    """Raise ``LimitError`` if a count takes more sums than some seconds allow.

    Raises:
        LimitError: It does.

    >>> refuse_long("a count of routes sums over layers and positions", 21_000_000)
    Traceback (most recent call last):
    causalsim.errors.LimitError: a count of routes sums over layers and positions: \
got 21,000,000 sums, expected at most 20,000,000. Take a shorter text, fewer layers or events that lie nearer.
    """
    hint = "Take a shorter text, fewer layers or events that lie nearer."
    check_limit(rule, sums, MOST_SUMS, got=f"{sums:,} sums", hint=hint)
