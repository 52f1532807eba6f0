"""How work is dealt to processes: the largest piece first, each to whoever has the least. Values only."""

from collections.abc import Callable, Iterable
from typing import TypeVar

__all__ = ["deal"]

T = TypeVar("T")


def deal(pieces: Iterable[T], size: Callable[[T], int], hands: int) -> list[list[T]]:
    """Deal pieces to at most `hands` processes, in the order given where they are of one size.

    Every piece is dealt, those of no size too; a hand has one at least, and in it the largest comes first.
    """
    if hands < 1:
        raise ValueError("somebody has to do it")
    found = sorted(pieces, key=lambda piece: -size(piece))
    dealt: list[list[T]] = [[] for _ in range(min(hands, len(found)))]
    sums = [0] * len(dealt)
    for piece in found:
        least = min(range(len(dealt)), key=lambda n: (sums[n], len(dealt[n])))
        dealt[least].append(piece)
        sums[least] += size(piece)
    return dealt
