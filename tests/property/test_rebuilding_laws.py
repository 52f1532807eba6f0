"""Laws of repair (engine.md §9): parked and rebuilt = never failed; twice = once; any crash is the straight run; what is left out never was."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import example, given, settings
from hypothesis import strategies as st

from streams.records import RawRecord
from streams.store.memory import MemoryStore
from tests.support.clockwork import SECOND, event, published, record, rules, store, wake
from tests.support.repairing import ALL_STEPS, BROKEN, MENDED, VERSION, Owner, rebuild, written

CUSTOMERS = 3
END_S = 100_000
SPANS_S = (30, 90, 45, 20)
TABLES = ("ring_v1", "heard_v1", "clockwork_v1_state", "parked_customer", "parked_record", "config_position")


class Entry(NamedTuple):
    """One record to be: appended `gap_s` after the one before it, about something `late_s` earlier."""

    kind: str
    customer: int
    gap_s: int
    late_s: int
    conversation: str


entries = st.lists(
    st.builds(
        Entry,
        st.sampled_from(["received", "received", "received", "sent", "wake", "wake", "rules", "poison", "rebuild", "retry"]),
        st.integers(1, CUSTOMERS),
        st.sampled_from([0, 1, 3, 8, 30, 61, 70, 200]),
        st.sampled_from([0, 0, 0, 2, 59, 60, 61, 150]),
        st.sampled_from("ab"),
    ),
    min_size=1,
    max_size=30,
)


def log_of(found: Sequence[Entry], *, without: str = "") -> list[RawRecord]:
    """Return the log; at its end everybody is retried, and then woken, long after everything was due. The event of id `without` is none."""
    records: list[RawRecord] = []
    now_s, version = 1000.0, 0
    for number, entry in enumerate(found):
        now_s += entry.gap_s
        offset = len(records)
        if entry.kind == "rules":
            version += 1
            records.append(record(offset, published(rules(SPANS_S[version % 4], version), now_s), now_s))
        elif entry.kind == "wake":
            records.append(record(offset, wake(entry.customer, now_s), now_s))
        elif entry.kind in {"rebuild", "retry"}:
            records.append(rebuild(offset, entry.customer, now_s, mode=entry.kind))
        elif f"e{number}" == without:
            records.append(record(offset, wake(0, now_s), now_s))  # the place stays, and says nothing
        else:
            of = event(entry.kind, entry.customer, now_s - entry.late_s, id=f"e{number}", conversation=entry.conversation)
            records.append(record(offset, of, now_s))
    records += [rebuild(len(records) + n, n + 1, now_s + 1, mode="retry") for n in range(CUSTOMERS)]
    return records + [record(len(records) + n, wake(n + 1, END_S), END_S + 0.000001) for n in range(CUSTOMERS)]


async def content(of: MemoryStore) -> dict[str, list[dict[str, object]]]:
    """Return everything that is in the tables; of figures what they come to, not with which record."""
    found = {table: await of.scan(table) for table in TABLES}
    found["clockwork_v1_state"] = [row | {"timers": row["timers"] or b""} for row in found["clockwork_v1_state"]]
    found["tone_v1"] = [{"tone": row["tone"], "sums": row["sums"]} for row in await of.scan("tone_v1") if row["sums"]]
    return {table: sorted(rows, key=repr) for table, rows in found.items()}  # type: ignore[misc]


async def straight(log: Sequence[RawRecord], *, mended_at: int = 0, sizes: Sequence[int] = (1,)) -> MemoryStore:
    """Fold a log in batches; records below `mended_at` by the code that fails."""
    into, at, number = store(), 0, 0
    owner = await Owner(into, log, BROKEN if mended_at else MENDED).opened()
    while at < len(log):
        if at == mended_at:
            owner = await Owner(into, log, MENDED).opened()
        end = min(at + sizes[number % len(sizes)], mended_at if at < mended_at else len(log))
        await owner.run(log[at:end])
        at, number = end, number + 1
    return into


def last_retries(log: Sequence[RawRecord]) -> int:
    """Return from which offset on everybody is retried."""
    return len(log) - 2 * CUSTOMERS


WOKEN_AFTER_EVERYTHING = [
    Entry("received", 3, 0, 0, "a"),
    Entry("received", 3, 200, 0, "a"),
    Entry("rules", 1, 0, 0, "a"),
    Entry("wake", 3, 0, 0, "a"),
]
"""Somebody hears of new rules by a wake-up, when no timer is armed any more: the rebuild must know that, or the rules are told twice."""


@settings(max_examples=60)
@example(found=WOKEN_AFTER_EVERYTHING, part=1.0, sizes=[1000])
@example(found=[WOKEN_AFTER_EVERYTHING[0], Entry("poison", 3, 0, 0, "a"), *WOKEN_AFTER_EVERYTHING[1:]], part=1.0, sizes=[1])
@given(found=entries, part=st.floats(0, 1), sizes=st.lists(st.integers(1, 9), min_size=1, max_size=9))
def test_parked_and_rebuilt_is_never_failed(found: list[Entry], part: float, sizes: list[int]) -> None:
    """Whenever the code is mended, however often who is rebuilt before: rows, states, timers and figures are those of the mended code."""
    log = log_of(found)

    async def both() -> tuple[object, object]:
        mended_at = round(part * last_retries(log))
        return await content(await straight(log, mended_at=mended_at, sizes=sizes)), await content(await straight(log, sizes=[1000]))

    repaired, never_failed = asyncio.run(both())
    assert repaired == never_failed


@settings(max_examples=60)
@given(found=entries, part=st.floats(0, 1), schedule=st.lists(st.tuples(st.integers(1, 9), st.integers(0, ALL_STEPS)), max_size=40))
def test_any_crash_is_the_straight_run(found: list[Entry], part: float, schedule: list[tuple[int, int]]) -> None:
    """Each entry of the schedule: how many records, and how far the writes come before the crash; whoever comes then begins anew."""
    log = log_of(found)
    mended_at = round(part * last_retries(log))

    async def crashing() -> dict[str, list[dict[str, object]]]:
        into, number = store(), 0
        while True:
            checkpoint = (await into.load_checkpoints(VERSION)).get(0)
            at = checkpoint.next_offset if checkpoint else 0
            if at == len(log):
                return await content(into)
            owner = await Owner(into, log, BROKEN if at < mended_at else MENDED).opened()
            size, steps = schedule[number] if number < len(schedule) else (5, ALL_STEPS)
            number += 1
            end = min(at + size, mended_at if at < mended_at else len(log))
            parts = owner.cut(log[at:end])
            for one in parts:
                await written(into, await owner.fold(one), steps if one is parts[-1] else ALL_STEPS)

    assert asyncio.run(crashing()) == asyncio.run(content(asyncio.run(straight(log, mended_at=mended_at))))


@settings(max_examples=40)
@given(found=entries, which=st.integers(0, 29), again=st.integers(0, 1), sizes=st.lists(st.integers(1, 9), min_size=1, max_size=9))
def test_what_is_left_out_never_was(found: list[Entry], which: int, again: int, sizes: list[int]) -> None:
    """Rows, figures and timers are those of a log without the record; also after a later rebuild that does not name it."""
    found = [entry for entry in found if entry.kind != "poison"]
    candidates = [n for n, entry in enumerate(found) if entry.kind in {"received", "sent"}]
    if not candidates:
        return
    number = candidates[which % len(candidates)]
    customer = found[number].customer

    async def both() -> tuple[object, object]:
        out = []
        for without, exclude in (("", (f"e{number}",)), (f"e{number}", ())):
            log = log_of(found, without=without)
            last = log[last_retries(log) - 1].appended_us / SECOND if len(log) > 2 * CUSTOMERS else 1000.0
            marks = [rebuild(last_retries(log), customer, last, *exclude)]
            if again:
                marks.append(rebuild(last_retries(log) + 1, customer, last))
            tail = [one._replace(offset=one.offset + len(marks)) for one in log[last_retries(log) :]]
            into = await straight([*log[: last_retries(log)], *marks, *tail], sizes=sizes)
            shown = await content(into)
            shown["clockwork_v1_state"] = [  # what was left out is remembered, so that it is not taken in when it comes again
                {name: value for name, value in row.items() if name != "recent_ids"} for row in shown["clockwork_v1_state"]
            ]
            out.append(shown)
        return out[0], out[1]

    left_out, never_was = asyncio.run(both())
    assert left_out == never_was
