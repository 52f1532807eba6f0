"""The engine's rules one by one; the laws over any schedule are in tests/property/test_engine_laws.py."""

import asyncio

import pytest

from projections.kernel import Delete, Subject, Upsert
from streams.engine import Engine
from streams.records import RawRecord
from streams.store.memory import MemoryStore
from streams.store.port import GroupVersion, RowWrite, StateRow
from streams.work import RowMerger, Work
from tests.support.folds import folded
from tests.support.ledger import CODEC, GROUP, batch, record, store
from touchline.errors import Misconfigured

VERSION = GroupVersion("ledger", 1)
SUBJECT = Subject("acme", "c1")


def engine(cached: int = 1000) -> Engine:
    """Return an engine whose partition 0 is open at offset 0."""
    built = Engine(GROUP, CODEC, tenant="acme", cached_subjects_max=cached)
    built.open(0, None)
    return built


def fold(one: Engine, records: list[RawRecord], into: MemoryStore | None = None) -> Work:
    """Fold some records of partition 0."""
    return folded(one, batch(records), into)


def rows(of: MemoryStore, table: str) -> list[dict[str, object]]:
    """Return a table's rows."""
    return list(asyncio.run(of.scan(table)))


def merged(*changes: tuple[Upsert | Delete, int]) -> list[RowWrite]:
    """Merge (change, ts) pairs."""
    merger = RowMerger()
    for change, ts_us in changes:
        merger.add(change, ts_us)
    fan_out, own = merger.writes("_v1", SUBJECT, frozenset({"total"}), CODEC)
    return [*fan_out, *own]


def test_of_several_upserts_of_a_row_one_is_written_with_the_last_values() -> None:
    """Columns that only the first one set are kept."""
    key = ("acme", "c1", "all")
    assert merged((Upsert("total", key, {"n": 1, "a": "x"}), 10), (Upsert("total", key, {"n": 2}), 20)) == [
        RowWrite("total_v1", key, {"n": 2, "a": "x"}, 21)
    ]


def test_a_delete_before_an_upsert_is_kept_at_its_own_time() -> None:
    """Dropping it would leave cells of before it behind."""
    key = ("acme", "c1", "all")
    assert merged((Delete("total", key), 10), (Upsert("total", key, {"n": 2}), 20)) == [
        RowWrite("total_v1", key, None, 10),
        RowWrite("total_v1", key, {"n": 2}, 21),
    ]


def test_an_upsert_before_a_delete_leaves_the_delete() -> None:
    key = ("acme", "c1", "all")
    assert merged((Upsert("total", key, {"n": 2}), 10), (Delete("total", key), 20)) == [RowWrite("total_v1", key, None, 20)]


def test_rows_of_the_subjects_partition_are_written_after_all_others() -> None:
    """State and rows that share its key are one mutation; fan-out rows come before it."""
    work = fold(engine(), [record(0, 1, "a")])
    assert {row.table for row in work.fan_out} == {"entry_v1"}
    assert {row.table for row in work.own} == {"total_v1", "mark_v1", "ledger_v1_state"}


def test_timestamps_follow_the_log_and_never_go_back() -> None:
    """Ten µs a record at least, whatever the broker's clock says; every offset advances it."""
    one = engine()
    first = fold(one, [record(0, 1, "a", appended_us=5000), record(1, 2, "b", appended_us=4000)])
    second = fold(one, [record(2, 3, "c", appended_us=4500)])
    assert first.checkpoint.write_ts_us == 5010
    assert second.checkpoint.write_ts_us == 5020
    assert second.checkpoint.next_offset == 3


def test_a_record_whose_id_the_subject_has_had_does_nothing() -> None:
    """A webhook that was sent again, a resolver that was killed."""
    one, into = engine(), store()
    fold(one, [record(0, 1, "a")], into)
    again = fold(one, [record(1, 1, "a")], into)
    assert again.results == {"applied": 0, "repeat": 1, "parked": 0}
    assert rows(into, "total_v1")[0]["n"] == 1


def test_the_memory_of_ids_ends_after_128_records() -> None:
    """It is bounded: what comes again later is for the sources' manifests to recognise."""
    one, into = engine(), store()
    fold(one, [record(n, 1, f"e{n}") for n in range(129)], into)
    assert fold(one, [record(129, 1, "e1")], into).results["repeat"] == 1
    assert fold(one, [record(130, 1, "e0")], into).results["applied"] == 1


def test_a_customer_whose_record_cannot_be_folded_waits_and_nobody_else() -> None:
    """What came before it in the same batch is kept; what comes after it waits too."""
    one, into = engine(), store()
    work = fold(one, [record(0, 1, "a"), record(1, 1, "bad", "poison"), record(2, 2, "b"), record(3, 1, "c")], into)
    assert work.results == {"applied": 2, "repeat": 0, "parked": 2}
    totals = {row["customer_id"]: row["n"] for row in rows(into, "total_v1")}
    assert totals == {"c1": 1, "c2": 1}
    (parked,) = rows(into, "parked_customer")
    assert (parked["customer"], parked["first_offset"], parked["n"], parked["reason"]) == ("c1", 1, 2, "poisoned")
    assert [row["src_offset"] for row in rows(into, "parked_record")] == [1, 3]


def test_the_reason_of_a_parked_customer_holds_no_value() -> None:
    """Only the exception's type and the places in the code: its text may be personal."""
    from streams.parking import Failure  # noqa: PLC0415

    try:
        int("my secret")
    except ValueError as error:
        failure = Failure.raised(error)
    assert failure.reason == "raised:ValueError"
    assert "secret" not in repr(failure)
    assert "test_engine.py" in failure.where


def test_an_undecodable_record_of_the_log_parks_its_customer() -> None:
    """The key says whose it is."""
    one, into = engine(), store()
    broken = record(0, 1, "a")._replace(value=b"\x00\x00\x00\x00\x01garbage")
    work = fold(one, [broken, record(1, 2, "b")], into)
    assert work.results["parked"] == 1
    assert rows(into, "parked_customer")[0]["reason"].startswith("undecodable:")  # type: ignore[attr-defined]


def test_a_type_that_nobody_handles_is_skipped_after_its_header_but_counts_as_had() -> None:
    one, into = engine(), store()
    work = fold(one, [record(0, 1, "a", "opened")], into)
    assert work.results["applied"] == 1
    assert not rows(into, "total_v1")
    assert rows(into, "ledger_v1_state")[0]["applied_offset"] == 0


def test_a_subject_with_unwritten_rows_never_leaves_the_cache() -> None:
    """Otherwise its state would be read back before it is written."""
    one = engine(cached=1)
    fold(one, [record(0, 1, "a"), record(1, 2, "b"), record(2, 3, "c")])
    assert one.cached_subjects == 3
    one.acknowledge(one.work_number)
    assert one.cached_subjects == 1


def test_a_version_that_is_not_active_sends_nothing() -> None:
    """Its rows are written; effects are dropped before any port sees them."""
    from projections.registry import GROUPS  # noqa: PLC0415

    for first, sent, withheld in ((1, 1, 0), (None, 1, 0), (0, 0, 2)):
        one = Engine(GROUPS["view"], CODEC, tenant="acme", cached_subjects_max=10)
        one.open(0, None, first=first)
        work = one.feed(one.take(batch([record(0, 1, "a"), record(1, 1, "b")])), {})
        assert (len(work.effects), work.withheld, work.checkpoint.active) == (sent, withheld, bool(sent))
        assert work.own


def test_a_state_that_grows_without_limit_parks_its_customer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a store refuses it and stops everybody."""
    monkeypatch.setattr("streams.folding.STATE_BYTES_MAX", 2)
    work = fold(engine(), [record(0, 1, "a")])
    assert work.results == {"applied": 0, "repeat": 0, "parked": 1}
    assert work.fan_out[0].columns is not None
    assert work.fan_out[0].columns["reason"] == "state_too_large:ledger"


def test_a_stored_state_that_does_not_fit_the_code_is_said_in_one_line() -> None:
    """It happens when a state's class is changed and the group's version is not."""
    one = engine()
    taken = one.take(batch([record(0, 1, "a")]))
    with pytest.raises(Misconfigured, match=r"group ledger version 1 does not fit this code.*raise the group's version"):
        one.feed(taken, {SUBJECT: StateRow({"ledger": b"\xa1x"}, b"", 0, -1, 0)})


def test_a_partition_given_away_is_forgotten() -> None:
    one = engine()
    fold(one, [record(0, 1, "a")])
    one.close(0)
    assert one.cached_subjects == 0
    assert one.next_offset(0) is None
