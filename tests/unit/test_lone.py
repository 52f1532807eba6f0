"""One subject folded on its own comes to what an engine comes to that folds the whole log."""

import asyncio
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from projections.kernel import Config, Subject
from streams.armed import ArmedTimers
from streams.books import Books
from streams.engine import Engine
from streams.rebuild.history import Place, PlacedRecord
from streams.rebuild.lone import Alone, fold_alone
from streams.rebuild.row_image import RowImage
from streams.records import RawRecord
from streams.store.memory import MemoryStore
from streams.store.port import GroupVersion, StateRow
from tests.support.clockwork import CODEC, GROUP, SECOND, batch, event, published, record, rules, store

CONFIG = Config((rules(60),))
VERSION = GroupVersion("clockwork", 1)
TABLES = ("ring", "heard")

steps = st.lists(
    st.tuples(st.sampled_from(["received", "received", "sent", "rules", "poison"]), st.integers(0, 2), st.integers(0, 40)), min_size=1, max_size=25
)
"""(kind, customer, seconds since the step before)."""


def log_of(found: Sequence[tuple[str, int, int]]) -> list[RawRecord]:
    """Return a log; rules shorten the span to some seconds."""
    records: list[RawRecord] = []
    at_s = 1000.0
    for offset, (kind, customer, wait_s) in enumerate(found):
        at_s += wait_s
        of = published(rules(5 + offset, offset + 1), at_s) if kind == "rules" else event(kind, customer, at_s)
        records.append(record(offset, of, at_s))
    return records


def whole(log: list[RawRecord], into: MemoryStore) -> Engine:
    """Fold a whole log, record by record."""
    engine = Engine(GROUP, CODEC, tenant="acme", cached_subjects_max=1000, config=CONFIG)
    engine.open(0, None)

    async def run() -> None:
        for one in log:
            taken = engine.take(batch([one]))
            work = engine.feed(taken, await into.load_states(VERSION, engine.missing(taken)))
            await into.write(work.fan_out)
            await into.write(work.own)

    asyncio.run(run())
    return engine


def books_of(log: list[RawRecord]) -> Books:
    """Return the rulebooks of a log."""
    from projections.rules import rulebook_of  # noqa: PLC0415

    books = Books(CONFIG)
    for one in log:
        found = CODEC.decode(one.value)
        if found.__class__.__name__ == "ConfigPublished":
            books.add(one.offset, one.appended_us, rulebook_of(found))  # type: ignore[arg-type]
    return books


def alone(log: list[RawRecord], customer: int, **more: object) -> Alone:
    """Fold one customer on its own."""
    mine = [PlacedRecord(0, one) for one in log if one.key == f"c{customer}".encode()]
    return fold_alone(GROUP, CODEC, Subject("acme", f"c{customer}"), mine, books={0: books_of(log)}, config=CONFIG, **more)  # type: ignore[arg-type]


def own_rows(rows: dict[str, list[dict[str, object]]], customer: int) -> list[tuple[str, object]]:
    """Return the rows of a customer, sorted, without what is empty."""
    mine = [(table, row) for table in TABLES for row in rows.get(table, []) if row["customer_id"] == f"c{customer}"]
    return sorted([(table, sorted((k, v) for k, v in row.items() if v is not None)) for table, row in mine], key=repr)


@given(found=steps)
def test_a_customer_alone_comes_to_the_same_rows_states_and_timers(found: list[tuple[str, int, int]]) -> None:
    """Up to its poison, if there is some."""
    log, into = log_of(found), store()
    whole(log, into)
    stored = {table: asyncio.run(into.scan(f"{table}_v1")) for table in TABLES}
    for customer in range(3):
        subject = Subject("acme", f"c{customer}")
        mine = alone(log, customer)
        state = asyncio.run(into.load_states(VERSION, [subject])).get(subject)
        assert mine.states == (state.blobs if isinstance(state, StateRow) else {})
        assert mine.timers == (state.timers if isinstance(state, StateRow) else b"")
        assert own_rows(RowImage(GROUP.tables(), mine.rows).rows(), customer) == own_rows(stored, customer)  # type: ignore[arg-type]
        poisoned = [offset for offset, (kind, of, _) in enumerate(found) if kind == "poison" and of == customer]
        assert mine.failed_at == (Place(0, poisoned[0]) if poisoned else None)


def test_time_passes_to_the_end_when_it_is_said_so() -> None:
    """Inclusive: what expires at that moment expires."""
    log = log_of([("received", 0, 0)])
    due_us = ArmedTimers(alone(log, 0).timers).next_us
    assert alone(log, 0, until_us=due_us - 1).rows == alone(log, 0).rows
    rung = alone(log, 0, until_us=due_us)
    image = RowImage(GROUP.tables(), rung.rows).rows()
    assert image["ring"][0]["rang_at"] == due_us
    assert rung.tallies[0].tally.table == "tone"
    assert ArmedTimers(rung.timers).next_us > due_us


def test_records_from_a_place_on_can_be_left_out() -> None:
    """So a rebuild folds what lies before it."""
    log = log_of([("received", 0, 0), ("sent", 0, 1)])
    assert alone(log, 0, stop_at=Place(0, 1)).done == 1
    assert ArmedTimers(alone(log, 0, stop_at=Place(0, 1)).timers).next_us == (1000 + 60) * SECOND
    assert alone(log, 0).timers == b""
