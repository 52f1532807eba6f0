"""How the partitions of a replay are dealt to its processes. Values only."""

from collections.abc import Mapping

__all__ = ["deal"]


def deal(sizes: Mapping[int, int], hands: int) -> list[dict[int, int]]:
    """Deal partitions (number to records) to at most `hands` processes, the largest first, each to whom has the least.

    Every partition is dealt, the empty ones too; a hand has one at least. In a hand the largest comes first.
    """
    if hands < 1:
        raise ValueError("somebody has to do it")
    dealt: list[dict[int, int]] = [{} for _ in range(min(hands, len(sizes)))]
    for partition, size in sorted(sizes.items(), key=lambda it: (-it[1], it[0])):
        least = min(dealt, key=lambda hand: (sum(hand.values()), len(hand)))
        least[partition] = size
    return dealt
