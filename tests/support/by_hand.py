"""What clocks must come to on the real data, counted from the files themselves. Knows no code of the product.

Seconds of naive local time: in February 1999 no zone of the bank changes its clocks. A day of the week is 0 on Monday.
"""

import csv
from bisect import bisect_left
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

__all__ = ["Call", "Talk", "answers", "calls", "levels", "missed", "open_s", "talks", "tweet_clocks", "tweet_contacts", "waits"]

BANK_HOURS = {6: (7, 24), 0: (7, 24), 1: (7, 24), 2: (7, 24), 3: (7, 24), 4: (7, 14), 5: (20, 24)}
_MONDAY = datetime(1999, 2, 1)  # noqa: DTZ001 - naive on purpose


class Call(NamedTuple):
    """A call that asked for an agent; seconds since Monday, 1 February 1999. `customer` is "" where nobody knows who it was."""

    customer: str
    queue: str
    high: bool
    queued: int
    ended: int
    answered: bool


def calls(file: Path) -> list[Call]:
    """Read every call that came to a queue."""
    found = []
    with file.open(newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            day = 86_400 * (datetime.strptime("19" + row["date"], "%Y%m%d") - _MONDAY).days  # noqa: DTZ007 - as above
            entry, left, start = (_second(row[name]) for name in ("vru_entry", "vru_exit", "q_start"))
            left, start = (at + 86_400 * (entry - at > 43_200) for at in (left, start))
            waited = any(row[name].strip("0:") for name in ("q_time", "q_start", "q_exit"))
            if row["outcome"] == "PHANTOM" or (row["outcome"] == "HANG" and not waited):
                continue
            queued = day + (start if waited else max(entry, left))
            customer = row["customer_id"] if row["customer_id"].isdigit() and row["customer_id"] != "0" else ""
            ended = queued + (int(row["q_time"]) if waited else 0)
            found.append(Call(customer, row["type"], row["priority"] == "2", queued, ended, row["outcome"] == "AGENT"))
    return found


def open_s(start: int, end: int) -> int:
    """Return the bank's open seconds in [start, end)."""
    return sum(
        max(0, min(end, day * 86_400 + BANK_HOURS[day % 7][1] * 3600) - max(start, day * 86_400 + BANK_HOURS[day % 7][0] * 3600))
        for day in range(start // 86_400, end // 86_400 + 1)
    )


def waits(found: list[Call], high_s: int, regular_s: int) -> Counter[str]:
    """Count the clocks of the queue: met, breached, cancelled (hung up in time)."""
    late = [open_s(call.queued, call.ended) > (high_s if call.high else regular_s) for call in found]
    return Counter("breached" if over else "met" if call.answered else "cancelled" for call, over in zip(found, late, strict=True))


def missed(found: list[Call], within_s: int, end: int) -> Counter[str]:
    """Count calls that hung up in the queue: answered in time by a later call, recovered late, unanswered, still waiting at the end."""
    answered = defaultdict(list)
    for call in found:
        if call.answered and call.customer:
            answered[call.customer].append(call.ended)
    states = Counter[str]()
    for call in (call for call in found if not call.answered):
        ends = sorted(answered[call.customer]) if call.customer else []
        at = bisect_left(ends, call.ended)
        over = open_s(call.ended, ends[at] if at < len(ends) else end) > within_s
        states[("recovered" if over else "answered") if at < len(ends) else "unanswered" if over else "waiting"] += 1
    return states


def levels(found: list[Call], target_s: int, short_s: int) -> dict[str, dict[str, int]]:
    """Count A, As, B, Bs and Bx per local day on which the call entered the queue."""
    days: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(("A", "As", "B", "Bs", "Bx"), 0))
    for call in found:
        day, wait = days[(_MONDAY + timedelta(seconds=call.queued)).date().isoformat()], call.ended - call.queued
        day["A" if call.answered else "B"] += 1
        day["As" if call.answered else "Bs"] += wait <= target_s
        day["Bx"] += not call.answered and wait < short_s
    return dict(days)


def answers(found: list[Call], day: str) -> tuple[float, int]:
    """Return the average speed of answer of a local day and how many were answered."""
    of_day = [c.ended - c.queued for c in found if c.answered and (_MONDAY + timedelta(seconds=c.queued)).date().isoformat() == day]
    return sum(of_day) / len(of_day), len(of_day)


class Talk(NamedTuple):
    """One message of a conversation: its second, and whether the customer wrote it."""

    at: int
    inbound: bool


def talks(file: Path) -> dict[tuple[str, str], list[Talk]]:
    """Return the conversations (root message, customer) of the file, each in order."""
    with file.open(newline="") as lines:
        rows = {row["tweet_id"]: row for row in csv.DictReader(lines)}
    parent = {number: row["in_response_to_tweet_id"].removesuffix(".0") for number, row in rows.items()}

    def line_of(number: str) -> list[str]:
        line = [number]
        while (up := parent.get(line[-1], "")) and up not in line:
            line.append(up)
        return line

    at = {number: int(datetime.strptime(row["created_at"], "%a %b %d %H:%M:%S %z %Y").timestamp()) for number, row in rows.items()}
    lines_up = {number: line_of(number) for number in rows}
    writers: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
    for number, row in rows.items():
        if row["inbound"] == "True":
            writers[lines_up[number][-1]].append((at[number], int(number), row["author_id"]))
    found: dict[tuple[str, str], list[tuple[int, bool, int]]] = defaultdict(list)
    for number in sorted(rows, key=lambda n: (at[n], rows[n]["inbound"] != "True", int(n))):
        row, root = rows[number], lines_up[number][-1]
        if row["inbound"] == "True":
            found[root, row["author_id"]].append((at[number], False, int(number)))
            continue
        asked = next((up for up in lines_up[number][1:] if up in rows and rows[up]["inbound"] == "True"), None)
        customer = rows[asked]["author_id"] if asked else min(writers[root])[2] if writers[root] else None
        if customer is None:
            continue
        found[root, customer].append((at[number], True, int(number)))
    return {key: [Talk(second, not outbound) for second, outbound, _ in sorted(said)] for key, said in found.items()}


def tweet_clocks(said: dict[tuple[str, str], list[Talk]], first_s: int, next_s: int, until: int) -> Counter[tuple[str, str]]:
    """Count the clocks (metric, state) of all conversations as of a second: first_response once, next_response per turn."""
    states = Counter[tuple[str, str]]()
    for line in said.values():
        asked, metric, target = None, "first_response", first_s
        for talk in [talk for talk in line if talk.at <= until]:
            if talk.inbound:
                asked = talk.at if asked is None else asked
            elif asked is not None:
                states[metric, "met" if talk.at <= asked + target else "breached"] += 1
                asked, metric, target = None, "next_response", next_s
        if asked is not None:
            states[metric, "breached" if until > asked + target else "running"] += 1
    return states


def tweet_contacts(said: dict[tuple[str, str], list[Talk]], within_s: int, until: int) -> Counter[str]:
    """Count the customers' messages as of a second by what became of them: each asks for a reply in its own conversation."""
    states = Counter[str]()
    for line in said.values():
        known = [talk for talk in line if talk.at <= until]
        for number, talk in enumerate(known):
            if talk.inbound:
                reply = next((later.at for later in known[number:] if not later.inbound), None)
                over = (until if reply is None else reply) > talk.at + within_s
                states[("unanswered" if over else "waiting") if reply is None else "recovered" if over else "answered"] += 1
    return states


def _second(clock: str) -> int:
    hours, minutes, rest = map(int, clock.split(":"))
    return hours * 3600 + minutes * 60 + rest
