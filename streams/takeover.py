"""What whoever takes partitions over reads first: how far they are, who waits, which rules and promotions were read. Over the store port."""

from collections.abc import Sequence
from typing import NamedTuple

from streams.books import TABLE as BOOKS
from streams.books import Position, positions
from streams.parking import ParkedCustomer
from streams.store.parked import ParkedCustomers
from streams.store.port import Checkpoint, GroupVersion, Store
from streams.versions.promotions import TABLE as PROMOTIONS
from streams.versions.promotions import Promotion, promotions
from streams.versions.versions import Versions

__all__ = ["Takeover", "take_over"]


class Takeover(NamedTuple):
    """One partition as its last owner left it. `first` is the version that speaks below the first promotion; None: nobody ever ran.

    `published` are the offsets of the promotions after which the snapshots were published again.
    """

    checkpoint: Checkpoint | None
    parked: list[ParkedCustomer]
    books: list[Position]
    first: int | None
    promoted: list[Promotion]
    published: frozenset[int]


async def take_over(store: Store, group: GroupVersion, partitions: Sequence[int]) -> dict[int, Takeover]:
    """Read what a group version has of these partitions. Raises `Retryable` as the store does; reading again does no harm."""
    checkpoints = await store.load_checkpoints(group)
    parked = await ParkedCustomers(store).load(group)
    standing = await Versions(store).read(group.group)
    books = await store.read_many(BOOKS, [{"partition": partition} for partition in partitions])
    said = await store.read_many(PROMOTIONS, [{"name": group.group, "partition": partition} for partition in partitions])
    return {
        partition: Takeover(
            checkpoint=checkpoints.get(partition),
            parked=[one for one in parked if one.first_partition == partition],
            books=positions(read),
            first=standing.first if standing is not None else None,
            promoted=promotions(told),
            published=frozenset(one.offset for one, row in zip(promotions(told), told, strict=True) if row["published_at"]),
        )
        for partition, read, told in zip(partitions, books, said, strict=True)
    }
