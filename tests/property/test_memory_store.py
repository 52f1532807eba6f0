"""The store in memory comes to the same content in whatever order and grouping its writes arrive: replays are harmless."""

import asyncio
import random
from itertools import pairwise
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.store.memory import MemoryStore
from streams.store.port import CellValue, RowWrite
from tests.unit.test_store_laws import TABLES

_VALUES: dict[str, st.SearchStrategy[CellValue]] = {
    "label": st.sampled_from([None, "", "a", "b", "ä"]),
    "n": st.sampled_from([None, -1, 0, 1]),
    "share": st.sampled_from([None, -0.5, 1.5]),
    "open": st.sampled_from([None, True, False]),
    "names": st.sampled_from([None, {}, {"a": "1"}, {"b": "1", "a": "2"}]),
    "tags": st.sampled_from([None, frozenset({"a"}), frozenset({"b", "a"})]),
    "owner": st.sampled_from([None, "ann", "bob"]),
}
_STATIC = {"owner": _VALUES["owner"]}


class History(NamedTuple):
    """Writes of one partition of `thing_v1`, in the order of their arrival, and after how many of them a call ends."""

    rows: list[RowWrite]
    calls: list[int]


@st.composite
def _row(draw: st.DrawFn, number: int) -> RowWrite:
    kind = draw(st.sampled_from(["set", "set", "set", "set", "delete", "static", "drop"]))
    ts_us = draw(st.integers(1, 6))  # few timestamps: ties are the point
    key: tuple[str | int, ...] = ("acme", "?")
    if kind in {"set", "delete"}:
        key = (*key, draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.sampled_from("ab")))
    if kind in {"delete", "drop"}:
        return RowWrite("thing_v1", key, None, ts_us)
    columns = draw(st.fixed_dictionaries({}, optional=_STATIC if kind == "static" else _VALUES))
    # of two cells at one timestamp the one that expires later wins: far apart, so that a second between the writes decides nothing
    ttl_s = draw(st.sampled_from([None, None, None, 100_000 * (number + 1)]))
    return RowWrite("thing_v1", key, columns, ts_us, ttl_s)


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Draw up to 25 writes and how they are cut into calls."""
    rows = [draw(_row(number)) for number in range(draw(st.integers(1, 25)))]
    return History(rows, draw(st.lists(st.integers(1, 25), max_size=4)))


def in_calls(history: History, subject: str) -> list[list[RowWrite]]:
    """Return the writes of each call, for one subject."""
    rows = [RowWrite(r.table, ("acme", subject, *r.key[2:]), r.columns, r.ts_us, r.ttl_s) for r in history.rows]
    cuts = sorted({0, len(rows), *(cut for cut in history.calls if cut < len(rows))})
    return [rows[start:end] for start, end in pairwise(cuts)]


def content(calls: list[list[RowWrite]]) -> list[dict[str, CellValue]]:
    """Return what a store holds after these calls."""
    store = MemoryStore(TABLES)

    async def fill() -> list[dict[str, CellValue]]:
        for rows in calls:
            await store.write(rows)
        return await store.read("thing_v1", {"tenant": "acme", "subject": "s"})

    return asyncio.run(fill())


@settings(max_examples=300, deadline=None)
@given(history=histories(), seed=st.integers(0, 2**32))
def test_order_and_repetition_change_nothing(history: History, seed: int) -> None:
    """Shuffled, repeated and cut differently, the same writes give the same rows."""
    calls = in_calls(history, "s")
    rows = [row for call in calls for row in call]
    chance = random.Random(seed)  # noqa: S311 - no secret
    shuffled = chance.sample(rows, len(rows))
    assert content(calls) == content([shuffled, rows[: len(rows) // 2]])
