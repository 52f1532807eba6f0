"""What a what-if must say of the bank's calls, counted from the file itself, by queue and week. Knows no code of the product."""

from bisect import bisect_left
from collections import Counter, defaultdict
from datetime import datetime, timedelta

from tests.support.by_hand import Call, open_s

__all__ = ["WeekOfQueue", "clocks", "contacts", "levels", "share"]

WeekOfQueue = dict[tuple[str, str], Counter[str]]
"""Counts by (queue, ISO week of the bank's local time)."""

_MONDAY = datetime(1999, 2, 1)  # noqa: DTZ001 - naive, as the seconds of `Call` are


def clocks(found: list[Call], target_s: int, since: int = 0) -> WeekOfQueue:
    """Count the clocks of waits that began at second `since` or later: met, breached, cancelled (hung up in time)."""
    counts: WeekOfQueue = defaultdict(Counter)
    for call in found:
        if call.queued >= since:
            late = open_s(call.queued, call.ended) > target_s
            counts[call.queue, _week(call.queued)]["breached" if late else "met" if call.answered else "cancelled"] += 1
    return dict(counts)


def contacts(found: list[Call], within_s: int, end: int, since: int = 0) -> WeekOfQueue:
    """Count the calls that hung up in a queue at second `since` or later: answered in time by a later call, recovered late, unanswered."""
    answers = defaultdict(list)
    for call in found:
        if call.answered and call.customer:
            answers[call.customer].append(call.ended)
    counts: WeekOfQueue = defaultdict(Counter)
    for call in found:
        if call.answered or call.ended < since:
            continue
        later = sorted(answers[call.customer]) if call.customer else []
        at = bisect_left(later, call.ended)
        is_over = open_s(call.ended, later[at] if at < len(later) else end) > within_s
        state = ("recovered" if is_over else "answered") if at < len(later) else "unanswered" if is_over else "waiting"
        counts[call.queue, _week(call.ended)][state] += 1
    return dict(counts)


def levels(found: list[Call], target_s: int, since: int = 0) -> dict[tuple[str, str], tuple[int, int]]:
    """Return (answered within the target, answered or abandoned) of the waits that began at second `since` or later."""
    counts: dict[tuple[str, str], tuple[int, int]] = defaultdict(lambda: (0, 0))
    for call in found:
        if call.queued >= since:
            within, n = counts[call.queue, _week(call.queued)]
            counts[call.queue, _week(call.queued)] = (within + (call.answered and call.ended - call.queued <= target_s), n + 1)
    return dict(counts)


def share(part: int, whole: int) -> float | None:
    """Return a share, rounded as figures are handed out."""
    return round(part / whole, 6) if whole else None


def _week(second: int) -> str:
    year, week, _ = (_MONDAY + timedelta(seconds=second)).isocalendar()
    return f"{year}-W{week:02d}"
