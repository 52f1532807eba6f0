"""Which records of the log answer a question: from where, up to where, and which rules lie before. Over the log's port; folds nothing.

Folding starts at the question's beginning less the re-open window and the longest target of both sets of rules: what is older does not
reach a clock that counts, but for one thing: a conversation that was silent for so long counts as new. It ends at the end of the log,
however early the question's end lies: a clock that started before it may stop long after.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from projections.rules import Rulebook, WeeklyHours
from schemas.codec import Codec
from schemas.record import instant
from streams.books import Position
from streams.plain import utc
from streams.published import Published
from streams.records import RawRecord, first_appended_us
from streams.what_if.what_if import LogSource, Part, Plan, Question
from touchline.errors import Refused

__all__ = ["planned", "reach_us"]

_SECOND_US: Final = 1_000_000
_WEEK_US: Final = 7 * 86_400 * _SECOND_US
_NEVER_OPEN_WEEKS: Final = 53
_BELOW: Final = -1
"""The offset of rules that lie below all that is read."""


def planned(source: LogSource, partitions: int, question: Question, rules: Sequence[Published], codec: Codec) -> Plan:
    """Return what is to be read. `rules` are those that were published for the tenant: what the log's own rules are before its first record.

    Raises `Refused` for a log that is empty, that ends before the question begins, or whose beginning is gone and not behind the
    question; and what the source raises.
    """
    ranges = {partition: source.range_of(partition) for partition in range(partitions)}
    last = [record for partition, (low, end) in ranges.items() if end > low for record in _one(source, partition, end - 1)]
    if not last:
        raise Refused("the log is empty.", reason="empty_log", next_step="ingest something first (`touchline ingest`).")
    as_of_us = max(first_appended_us(record, codec) for record in last) + round(question.settle_s * _SECOND_US)
    books = (*(one.book for one in rules), *(book for book in (question.policies, question.against) if book is not None))
    reach = reach_us(books)
    start_us = None if question.from_us is None else question.from_us - reach
    _check_beginning(source, ranges, start_us, reach)
    below = () if start_us is None else tuple(_position(one) for one in rules if one.published_us < start_us)
    parts = []
    for partition, (low, end) in ranges.items():
        first = low if start_us is None else min(end, max(low, source.offset_at(partition, start_us)))
        parts.append(Part(partition, first, end, below if first else ()))
    if not any(part.records for part in parts):
        raise Refused(
            f"nothing was appended to the log since {utc(start_us or 0)}.", reason="nothing_to_read", next_step="begin earlier, with --from."
        )
    return Plan(tuple(parts), as_of_us, start_us)


def reach_us(books: Iterable[Rulebook]) -> int:
    """Return how far back what matters to a clock can lie, in µs: the longest re-open window and the longest target of these rules.

    A target counts open time. It takes at most a week more than the whole weeks whose opening hours it fills.
    """
    reopen_s, target_us = 0, 0
    for book in books:
        reopen_s = max(reopen_s, book.defaults.reopen_window_s)
        targets = [target_s for policy in book.policies for target_s in policy.targets.values()]
        longest_s = max([*targets, *(rule.answer_within_s for rule in book.unanswered)], default=0)
        target_us = max([target_us, longest_s * _SECOND_US, *(_span_us(hours, longest_s) for hours in book.calendars)])
    return reopen_s * _SECOND_US + target_us


def _span_us(hours: WeeklyHours, target_s: int) -> int:
    open_s = sum(end_s - start_s for day in hours.week for start_s, end_s in day)
    weeks = -(-target_s // open_s) if open_s else _NEVER_OPEN_WEEKS
    return (weeks + 1) * _WEEK_US if target_s else 0


def _check_beginning(source: LogSource, ranges: dict[int, tuple[int, int]], start_us: int | None, reach: int) -> None:
    """Refuse a log whose beginning is gone, unless all that is needed was appended after it."""
    begins_us: list[int] = []
    for partition, (low, end) in ranges.items():
        if low:
            begins_us += [record.appended_us for record in _one(source, partition, low)] if end > low else []
            if start_us is None and not begins_us:
                begins_us.append(0)
    if begins_us and (start_us is None or start_us < max(begins_us)):
        earliest = instant(max(begins_us) + reach).replace(microsecond=0)
        raise Refused(
            f"the log begins at {utc(max(begins_us))}: what came before is gone, and the answer needs it.",
            reason="beginning_gone",
            next_step=f"ask for what started later (--from {earliest.isoformat().replace('+00:00', 'Z')} or later), or restore the log.",
        )


def _one(source: LogSource, partition: int, offset: int) -> list[RawRecord]:
    return [record for batch in source.batches(partition, offset, offset + 1) for record in batch.records]


def _position(one: Published) -> Position:
    return Position(one.tenant, _BELOW, one.published_us, one.record_id, one.book)
