"""The two folds of a rebuild: up to where, and what becomes of them. Values only."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from projections.kernel import Subject
from schemas.codec import Codec, Head, Undecodable
from schemas.events import ClockMoved
from streams.rebuild.history import Place, PlacedRecord
from streams.rebuild.left_out import Identified
from streams.rebuild.lone import Alone
from streams.store.excluded import Exclusion, Stood
from streams.subjects import RECENT_BYTES_MAX
from streams.taking import TYING
from touchline.errors import Refused

__all__ = ["UNFOLDABLE_MAX", "Folds", "Noticed", "as_it_was", "handed_over", "noticed", "refuse_another", "settle"]

UNFOLDABLE_MAX: Final = 100
"""Records that fail while a customer is folded as it was; with more its rows are taken for what the first ones came to."""


class Folds(NamedTuple):
    """What a customer's records come to as it was, and as it is to be; which records the latter leaves out, and which an undone link takes out.

    `handed` is what a customer who waited hands over to whom it was linked meanwhile.
    """

    before: Alone
    after: Alone
    excluded: tuple[Exclusion, ...]
    apart: tuple[Place, ...] = ()
    handed: tuple[ClockMoved, ...] = ()


class Noticed(NamedTuple):
    """Up to which moment time has passed for a customer (inclusive; None: up to its last record), and where in the log that was noticed.

    Its records from `stop_at` on are not folded yet; `at` may be the record before that, of which then nothing was heard but the time.
    """

    stop_at: Place
    until_us: int | None
    at: Place


def noticed(stood: Stood, place: Place) -> Noticed:
    """Return how far time has come for the customer: a wake-up, which has no place in its history, may have been the last to say so."""
    if stood.applied_offset < 0:
        return Noticed(place, None, place)
    return Noticed(Place(place.partition, stood.applied_offset + 1), stood.appended_us - 1, Place(place.partition, stood.applied_offset))


def as_it_was(records: list[PlacedRecord], fold: Callable[[list[PlacedRecord]], Alone]) -> Alone:
    """Fold what was folded once; what today's code fails on is passed over, since its rows can only be guessed."""
    alone = fold(records)
    for _ in range(UNFOLDABLE_MAX):
        left = [one for one in records if one.place != alone.failed_at]
        if alone.failure is None or len(left) == len(records):
            break
        records = left
        alone = fold(records)
    return alone


def handed_over(
    codec: Codec, before: Alone, was: list[PlacedRecord], waiting: Sequence[PlacedRecord], at_us: int, *, fold: Callable[[list[PlacedRecord]], Alone]
) -> tuple[ClockMoved, ...]:
    """Return what a customer hands over by the links among its waiting records, as it stood at `at_us`, when it was parked.

    `before` is what it had come to until then, by the records `was`. What came due while it waited was told to
    nobody, so it is not handed over as if it had been.
    """
    heads = ((one, codec.head(one.record.value)) for one in waiting)
    links = [one for one, head in heads if not isinstance(head, Undecodable) and head.type in TYING]
    if not links:
        return ()
    at_once = [one._replace(record=one.record._replace(appended_us=at_us)) for one in links]
    known = {moved.header.id for moved in before.handed}
    return tuple(moved for moved in as_it_was([*was, *at_once], fold).handed if moved.header.id not in known)


def refuse_another(codec: Codec, subject: Subject, waiting: Sequence[PlacedRecord]) -> None:
    """Raise `Refused` if what a customer waits for is of another tenant: who waits is known by the id alone."""
    heads = [codec.head(one.record.value) for one in waiting]
    if any(isinstance(head, Head) and head.header.tenant != subject.tenant for head in heads):
        raise Refused(
            f"What {subject.id} waits for is not of tenant {subject.tenant}.",
            reason="another_tenant",
            next_step="name its tenant: --tenant.",
        )


def settle(after: Alone, left_out: Sequence[Identified], place: Place) -> None:
    """Let the customer stand right before the rebuild, and remember what was left out, so that it is not taken in when it is sent again."""
    entry = after.entry
    entry.applied_offset = min(entry.applied_offset, place.offset - 1)
    entry.recent = (entry.recent + b"".join(one.hashed for one in left_out))[-RECENT_BYTES_MAX:]
