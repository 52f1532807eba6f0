"""The laws that every store keeps. Here in memory; `tests/integration/test_store_conformance.py` runs them on Cassandra too."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar
from uuid import uuid4

import pytest

from projections.kernel import Subject
from projections.tables import Table, parse_tables, state_table
from streams.store.catalogue import control_tables
from streams.store.memory import MemoryStore
from streams.store.port import CellValue, Checkpoint, GroupVersion, RowWrite, StateRow, Store
from touchline.errors import Misconfigured, Poison

T = TypeVar("T")

GROUP = GroupVersion("law", 1)

TABLES: list[Table] = [
    *parse_tables(
        """
        CREATE TABLE thing_vN (
            tenant text, subject text, day int, at bigint, id text,
            label text, n int, big bigint, share double, open boolean, body blob,
            words frozen<list<text>>, tags frozen<set<text>>, names frozen<map<text, text>>, parts frozen<map<text, blob>>,
            sums frozen<map<text, bigint>>,
            owner text static, seen bigint static,
            PRIMARY KEY ((tenant, subject), day, at, id)
        ) WITH CLUSTERING ORDER BY (day DESC, at DESC, id ASC);
        CREATE TABLE mirror_vN (tenant text, subject text, label text, PRIMARY KEY ((tenant, subject)));
        CREATE TABLE brief_vN (subject text, id text, label text, PRIMARY KEY ((subject), id)) WITH default_time_to_live = 2;
        CREATE TABLE mark_vN (subject text, month text, PRIMARY KEY ((subject), month)) WITH CLUSTERING ORDER BY (month DESC);
        """,
        1,
    ),
    state_table(*GROUP),
    *control_tables(),
]

EMPTY: dict[str, CellValue] = {
    column: None for column in TABLES[0].columns if column not in TABLES[0].primary_key and column not in TABLES[0].static
} | dict.fromkeys(sorted(TABLES[0].static))


def run(awaited: Coroutine[Any, Any, T]) -> T:
    """Run one call in a loop of its own."""
    return asyncio.run(awaited)


class Bench:
    """A store under test, a subject of its own, and a way to let time pass."""

    def __init__(self, store: Store, wait: Callable[[int], object]) -> None:
        self.store = store
        self.subject = uuid4().hex
        self.wait = wait

    def key(self, *clustering: str | int) -> tuple[str | int, ...]:
        """Return a key of `thing_v1`."""
        return ("acme", self.subject, *clustering)

    def put(self, *rows: RowWrite) -> None:
        """Write rows in one call."""
        run(self.store.write(rows))

    def set(self, ts_us: int, ttl_s: int | None = None, at: int = 1, **columns: CellValue) -> RowWrite:
        """Return a write of columns of the row (1, at, "a")."""
        return RowWrite("thing_v1", self.key(1, at, "a"), columns, ts_us, ttl_s)

    def delete(self, ts_us: int, at: int = 1) -> RowWrite:
        """Return a delete of the row (1, at, "a")."""
        return RowWrite("thing_v1", self.key(1, at, "a"), None, ts_us)

    def read(self, **bounds: Any) -> list[dict[str, CellValue]]:
        """Read the partition of `thing_v1`."""
        return run(self.store.read("thing_v1", {"tenant": "acme", "subject": self.subject}, **bounds))

    def cells(self) -> list[dict[str, CellValue]]:
        """Read the partition, without the keys and without what is empty."""
        return [{c: v for c, v in row.items() if c in EMPTY and v is not None} for row in self.read()]


@pytest.fixture
def bench() -> Bench:
    """Return a store in memory whose clock moves only when the test says so."""
    clock = [1_000_000]

    def wait(seconds: int) -> None:
        clock[0] += seconds

    return Bench(MemoryStore(TABLES, lambda: clock[0]), wait)


FULL: dict[str, CellValue] = {
    "label": "Grüße, 你好",
    "n": -7,
    "big": 2**62,
    "share": 0.25,
    "open": False,
    "body": b"\x00\xff",
    "words": ("b", "a", "b"),
    "tags": frozenset({"vip", "ä"}),
    "names": {"b": "2", "a": "1"},
    "parts": {"x": b"\x01", "a": b""},
    "sums": {"w:20": 2**40, "answered": -3},
    "owner": "ann",
    "seen": 0,
}


def test_every_type_comes_back_as_it_was_written(bench: Bench) -> None:
    bench.put(RowWrite("thing_v1", bench.key(1, 2, "a"), FULL, 10))
    assert bench.read() == [{"tenant": "acme", "subject": bench.subject, "day": 1, "at": 2, "id": "a", **FULL}]
    assert {c: type(v) for c, v in bench.read()[0].items() if c in FULL} == {c: type(v) for c, v in FULL.items()}


def test_empty_values_are_values(bench: Bench) -> None:
    empty: dict[str, CellValue] = {"label": "", "body": b"", "words": (), "tags": frozenset(), "names": {}, "parts": {}, "sums": {}}
    bench.put(bench.set(10, **empty))
    assert bench.cells() == [empty]


def test_the_greater_timestamp_wins_whatever_comes_first(bench: Bench) -> None:
    bench.put(bench.set(20, label="new", n=1))
    bench.put(bench.set(10, label="old", n=None, big=5))
    assert bench.cells() == [{"label": "new", "n": 1, "big": 5}]


def test_at_one_timestamp_the_larger_bytes_win(bench: Bench) -> None:
    bench.put(bench.set(10, label="b", n=-1, names={"a": "2"}))
    bench.put(bench.set(10, label="a", n=1, names={"a": "1", "b": ""}))
    assert bench.cells() == [{"label": "b", "n": -1, "names": {"a": "1", "b": ""}}]


def test_at_one_timestamp_a_cleared_column_wins(bench: Bench) -> None:
    bench.put(bench.set(10, label=None))
    bench.put(bench.set(10, label="a"))
    assert bench.cells() == [{}]


def test_a_delete_hides_what_is_as_old_as_itself_and_nothing_newer(bench: Bench) -> None:
    bench.put(bench.set(10, label="same"))
    bench.put(bench.delete(10))
    bench.put(bench.set(9, label="older"))
    assert bench.read() == []
    bench.put(bench.set(11, n=1))
    assert bench.cells() == [{"n": 1}]


def test_a_delete_that_comes_late_leaves_newer_cells(bench: Bench) -> None:
    bench.put(bench.set(5, label="old", n=1), bench.set(20, label="new"))
    bench.put(bench.delete(10))
    assert bench.cells() == [{"label": "new"}]


def test_delete_and_upsert_of_one_request_keep_their_own_timestamps(bench: Bench) -> None:
    bench.put(bench.set(5, label="old", n=1))
    bench.put(bench.delete(10), bench.set(11, label="new"))
    assert bench.cells() == [{"label": "new"}]


def test_a_column_that_is_not_named_keeps_its_value_and_none_clears_it(bench: Bench) -> None:
    bench.put(bench.set(10, label="a", n=1, tags=frozenset({"x"})))
    bench.put(bench.set(20, n=None))
    assert bench.cells() == [{"label": "a", "tags": frozenset({"x"})}]


def test_a_row_of_nothing_but_its_key_exists(bench: Bench) -> None:
    bench.put(RowWrite("mark_v1", (bench.subject, "2026-01"), {}, 10))
    assert run(bench.store.read("mark_v1", {"subject": bench.subject})) == [{"subject": bench.subject, "month": "2026-01"}]
    bench.put(RowWrite("mark_v1", (bench.subject, "2026-01"), None, 10))
    assert run(bench.store.read("mark_v1", {"subject": bench.subject})) == []


def test_a_row_whose_columns_are_all_cleared_exists(bench: Bench) -> None:
    bench.put(bench.set(10, label="a"))
    bench.put(bench.set(20, label=None))
    assert bench.cells() == [{}]


def test_static_columns_stand_in_every_row_and_outlive_them(bench: Bench) -> None:
    bench.put(RowWrite("thing_v1", bench.key(), {"owner": "ann"}, 10), bench.set(10, at=1, n=1), bench.set(10, at=2, n=2))
    assert [(row["at"], row["owner"]) for row in bench.read()] == [(2, "ann"), (1, "ann")]
    bench.put(bench.delete(20, at=1), bench.delete(20, at=2))
    assert bench.read() == [{"tenant": "acme", "subject": bench.subject, "day": None, "at": None, "id": None, **EMPTY, "owner": "ann"}]
    assert bench.read(after=(5,)) == []


def test_a_whole_key_may_carry_static_columns(bench: Bench) -> None:
    bench.put(bench.set(10, n=1, owner="ann"))
    bench.put(bench.set(20, at=2, seen=5))
    assert [(row["at"], row["n"], row["owner"], row["seen"]) for row in bench.read()] == [(2, None, "ann", 5), (1, 1, "ann", 5)]


def test_a_partition_is_deleted_whole_with_its_static_columns(bench: Bench) -> None:
    bench.put(bench.set(10, n=1, owner="ann"), bench.set(30, at=2, n=2))
    bench.put(RowWrite("thing_v1", bench.key(), None, 20))
    bench.put(bench.set(15, at=3, n=3), bench.set(25, at=4, n=4))
    assert [(row["at"], row["owner"]) for row in bench.read()] == [(4, None), (2, None)]


def test_a_table_without_clustering_columns(bench: Bench) -> None:
    partition = {"tenant": "acme", "subject": bench.subject}
    bench.put(RowWrite("mirror_v1", bench.key(), {"label": "a"}, 10))
    assert run(bench.store.read("mirror_v1", partition)) == [{**partition, "label": "a"}]
    bench.put(RowWrite("mirror_v1", bench.key(), None, 10))
    assert run(bench.store.read("mirror_v1", partition)) == []


def test_a_row_expires_after_its_ttl_and_hides_nothing_newer(bench: Bench) -> None:
    bench.put(bench.set(10, 2, label="brief", n=1), bench.set(10, at=2, label="stays"))
    bench.put(bench.set(20, at=1, big=9))
    assert bench.cells() == [{"label": "stays"}, {"label": "brief", "n": 1, "big": 9}]
    bench.wait(3)
    assert bench.cells() == [{"label": "stays"}, {"big": 9}]


def test_an_expired_cell_goes_on_hiding_older_ones(bench: Bench) -> None:
    bench.put(bench.set(10, label="old"))
    bench.put(bench.set(20, 2, label="brief"))
    bench.wait(3)
    assert bench.read() == []
    bench.put(bench.set(15, label="between"))
    assert bench.read() == []


def test_a_table_may_expire_by_default_and_a_row_may_not(bench: Bench) -> None:
    rows = [RowWrite("brief_v1", (bench.subject, "a"), {"label": "x"}, 10), RowWrite("brief_v1", (bench.subject, "b"), {"label": "y"}, 10, 0)]
    bench.put(*rows)
    assert len(run(bench.store.read("brief_v1", {"subject": bench.subject}))) == 2
    bench.wait(3)
    assert [row["id"] for row in run(bench.store.read("brief_v1", {"subject": bench.subject}))] == ["b"]


def test_rows_come_in_clustering_order_and_pages_fit_together(bench: Bench) -> None:
    keys = [(day, at, name) for day in (1, 2, 3) for at in (-5, 0, 7) for name in ("a", "b", "ä")]
    bench.put(*[RowWrite("thing_v1", bench.key(*key), {"n": 1}, 10) for key in keys])
    ordered = sorted(keys, key=lambda key: (-key[0], -key[1], key[2].encode()))
    assert [(row["day"], row["at"], row["id"]) for row in bench.read()] == ordered
    seen: list[tuple[CellValue, ...]] = []
    after: tuple[Any, ...] | None = None
    while page := bench.read(limit=4, after=after):
        seen += [(row["day"], row["at"], row["id"]) for row in page]
        after = (page[-1]["day"], page[-1]["at"], page[-1]["id"])
    assert seen == ordered


@pytest.mark.parametrize(
    ("after", "upto", "expected"),
    [
        ((2,), None, [(1, 7), (1, 0)]),
        (None, (2,), [(3, 7), (3, 0), (2, 7), (2, 0)]),
        ((3, 7), (2, 7), [(3, 0), (2, 7)]),
        ((3, 7), (3, 0), [(3, 0)]),
        ((3, 7, "a"), (1,), [(3, 0), (2, 7), (2, 0), (1, 7), (1, 0)]),
        ((3,), (3, 0), []),
        ((3, 0), (3,), []),
        ((1,), (3,), []),
        ((9,), (3, 5), [(3, 7)]),
        ((2, 3), None, [(2, 0), (1, 7), (1, 0)]),
    ],
)
def test_bounds_are_beginnings_of_the_clustering_key(bench: Bench, after: Any, upto: Any, expected: list[tuple[int, int]]) -> None:
    bench.put(*[RowWrite("thing_v1", bench.key(day, at, "a"), {}, 10) for day in (1, 2, 3) for at in (0, 7)])
    assert [(row["day"], row["at"]) for row in bench.read(after=after, upto=upto)] == expected
    assert [(row["day"], row["at"]) for row in bench.read(after=after, upto=upto, limit=2)] == expected[:2]


def test_several_partitions_are_read_at_once_in_the_order_asked_for(bench: Bench) -> None:
    bench.put(*[RowWrite("mark_v1", (f"{bench.subject}-{n}", "m"), {}, 10) for n in (1, 3)])
    found = run(bench.store.read_many("mark_v1", [{"subject": f"{bench.subject}-{n}"} for n in (3, 2, 1)]))
    assert [[row["subject"] for row in rows] for rows in found] == [[f"{bench.subject}-3"], [], [f"{bench.subject}-1"]]


def test_a_scan_finds_every_partition(bench: Bench) -> None:
    bench.put(*[RowWrite("mark_v1", (f"{bench.subject}-{n}", month), {}, 10) for n in range(50) for month in ("a", "b")])
    found = [row for row in run(bench.store.scan("mark_v1")) if str(row["subject"]).startswith(bench.subject)]
    assert len({(row["subject"], row["month"]) for row in found}) == len(found) == 100


def test_pages_together_are_the_whole_table(bench: Bench) -> None:
    bench.put(*[RowWrite("mark_v1", (f"{bench.subject}-{n}", month), {}, 10) for n in range(3000) for month in ("a", "b", "c")])

    async def paged() -> list[list[dict[str, CellValue]]]:
        return [page async for page in bench.store.pages("mark_v1")]

    pages = run(paged())
    found = [(row["subject"], row["month"]) for page in pages for row in page if str(row["subject"]).startswith(bench.subject)]
    assert len(pages) > 1
    assert len(set(found)) == len(found) == 9000


def test_a_row_is_made_once_by_whoever_comes_first(bench: Bench) -> None:
    key, first, second = (f"g{bench.subject}",), {"first_version": 1, "active_version": 1}, {"first_version": 2, "active_version": 2}
    assert run(bench.store.swap("projection_group", key, first, expected=None))
    assert not run(bench.store.swap("projection_group", key, second, expected=None))
    [row] = run(bench.store.read("projection_group", {"name": key[0]}))
    assert (row["first_version"], row["active_version"], row["promoting"]) == (1, 1, None)


def test_a_row_is_changed_only_if_it_is_as_expected(bench: Bench) -> None:
    name = f"g{bench.subject}"
    swap = bench.store.swap
    assert not run(swap("projection_version", (name, 2), {"state": "shadow"}, expected={"state": "building"}))
    assert not run(swap("projection_version", (name, 2), {"state": "shadow"}, expected={}))
    assert run(swap("projection_version", (name, 2), {"state": "building"}, expected=None))
    assert run(swap("projection_version", (name, 2), {"paused": "parked"}, expected={"paused": None}))
    assert not run(swap("projection_version", (name, 2), {"paused": "parked"}, expected={"paused": None}))
    assert not run(swap("projection_version", (name, 2), {"state": "shadow"}, expected={"state": "building", "paused": "other"}))
    assert run(swap("projection_version", (name, 2), {"state": "shadow", "paused": None}, expected={"state": "building", "paused": "parked"}))
    assert run(swap("projection_version", (name, 2), {"verified": "{}"}, expected={}))
    [row] = run(bench.store.read("projection_version", {"name": name}))
    assert (row["version"], row["state"], row["paused"], row["verified"]) == (2, "shadow", None, "{}")


def test_many_rows_of_several_tables_and_sizes_in_one_call(bench: Bench) -> None:
    big = [bench.set(10, at=n, body=bytes(1000)) for n in range(300)]
    small = [RowWrite("mark_v1", (f"{bench.subject}-{n}", "m"), {}, 10) for n in range(400)]
    huge = [RowWrite("mirror_v1", ("acme", f"{bench.subject}-{n}"), {"label": "x" * 40_000}, 10) for n in range(5)]
    bench.put(*big, *small, *huge)
    assert len(bench.read()) == 300
    assert len(run(bench.store.read_many("mark_v1", [{"subject": f"{bench.subject}-{n}"} for n in range(400)]))) == 400
    assert all(run(bench.store.read_many("mirror_v1", [{"tenant": "acme", "subject": f"{bench.subject}-{n}"} for n in range(5)])))


def test_writing_again_changes_nothing(bench: Bench) -> None:
    rows = [bench.set(10, n=1, label="a"), bench.delete(11), bench.set(12, big=4), RowWrite("thing_v1", bench.key(), {"owner": "x"}, 12)]
    bench.put(*rows)
    once = bench.read()
    bench.put(*rows)
    bench.put(*reversed(rows))
    assert bench.read() == once


def test_nothing_is_no_work(bench: Bench) -> None:
    bench.put()
    assert run(bench.store.read_many("mark_v1", [])) == []
    assert run(bench.store.load_states(GROUP, [])) == {}


def test_states_of_five_thousand_subjects(bench: Bench) -> None:
    subjects = [Subject("acme", f"{bench.subject}-{n}") for n in range(5_000)]
    common: dict[str, CellValue] = {"recent_ids": b"12345678", "applied_partition": 3, "applied_offset": 2**40, "appended_us": 99, "ties": b"t"}
    rows = [RowWrite("law_v1_state", (*subject, "timeline"), {"state": subject.id.encode(), **common}, 10) for subject in subjects]
    rows += [RowWrite("law_v1_state", (*subject, "customer"), {"state": b"c"}, 10) for subject in subjects[:10]]
    rows += [RowWrite("law_v1_state", ("acme", f"{bench.subject}-static"), common, 10)]
    bench.put(*rows)
    unknown, static = Subject("acme", f"{bench.subject}-none"), Subject("acme", f"{bench.subject}-static")
    found = run(bench.store.load_states(GROUP, [*subjects, unknown, static]))
    assert len(found) == 5_001
    assert unknown not in found
    assert found[static] == StateRow({}, b"12345678", 3, 2**40, 99, ties=b"t")
    assert found[subjects[0]] == StateRow({"timeline": subjects[0].id.encode(), "customer": b"c"}, b"12345678", 3, 2**40, 99, ties=b"t")
    assert found[subjects[-1]].blobs == {"timeline": subjects[-1].id.encode()}


def test_a_checkpoint_never_goes_back(bench: Bench) -> None:
    group = GroupVersion(f"g{bench.subject}", 7)
    newer = Checkpoint(500, 2_000, active=True, event_time_us=5, oldest_timer_bucket=9)
    older = Checkpoint(400, 1_000, active=False, event_time_us=4, importing=True)
    run(bench.store.save_checkpoints(group, {0: newer, 3: older}))
    run(bench.store.save_checkpoints(group, {0: older}))
    assert run(bench.store.load_checkpoints(group)) == {0: newer, 3: older}
    assert run(bench.store.load_checkpoints(GroupVersion(group.group, 8))) == {}


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"n": "seven"}, "column n is not a int"),
        ({"n": 2**31}, "column n"),
        ({"big": 2**63}, "column big"),
        ({"label": 7}, "column label"),
        ({"label": "\ud800"}, "column label"),
        ({"open": 1}, "column open"),
        ({"body": "text"}, "column body"),
        ({"names": {"a": 1}}, "column names"),
        ({"tags": ("a",)}, "column tags"),
        ({"words": "ab"}, "column words"),
    ],
)
def test_a_value_that_does_not_fit_is_poison_and_is_not_told(bench: Bench, columns: Any, expected: str) -> None:
    with pytest.raises(Poison) as raised:
        bench.put(bench.set(10, label="before"), RowWrite("thing_v1", bench.key(1, 2, "b"), columns, 10))
    assert expected in str(raised.value)
    assert "seven" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert bench.read() == []


@pytest.mark.parametrize("key", [("acme", None, 1, 1, "a"), ("acme", 5, 1, 1, "a"), ("acme", "s", "x", 1, "a"), ("acme", "s", 1, 1, "k" * 70_000)])
def test_a_key_that_does_not_fit_is_poison(bench: Bench, key: Any) -> None:
    with pytest.raises(Poison):
        bench.put(RowWrite("thing_v1", key, {"n": 1}, 10))


@pytest.mark.parametrize(
    "row",
    [
        RowWrite("nothing_v1", ("a",), {}, 1),
        RowWrite("thing_v1", ("acme", "s", 1), {}, 1),
        RowWrite("thing_v1", ("acme", "s", 1, 1), None, 1),
        RowWrite("thing_v1", ("acme", "s", 1, 1, "a", "b"), {}, 1),
        RowWrite("thing_v1", ("acme", "s"), {"label": "x"}, 1),
        RowWrite("thing_v1", ("acme", "s", 1, 1, "a"), {"colour": "red"}, 1),
    ],
)
def test_a_row_that_no_table_has_is_refused(bench: Bench, row: RowWrite) -> None:
    with pytest.raises(Misconfigured):
        bench.put(row)


def test_a_read_names_the_whole_partition_key(bench: Bench) -> None:
    calls: list[Awaitable[object]] = [
        bench.store.read("thing_v1", {"tenant": "acme"}),
        bench.store.read("thing_v1", {"tenant": "a", "subject": "b"}, after=()),
        bench.store.read("thing_v1", {"tenant": "a", "subject": "b"}, upto=(1, 1, "a", "b")),
    ]
    for call in calls:
        with pytest.raises(Misconfigured):
            run(call)  # type: ignore[arg-type]


def test_an_empty_partition_key_of_one_column_is_poison(bench: Bench) -> None:
    with pytest.raises(Poison):
        bench.put(RowWrite("mark_v1", ("", "m"), {}, 10))
