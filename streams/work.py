"""What one batch leads to: rows merged per key, effects, and the checkpoint that makes it final. Values only."""

from typing import cast

import msgspec

from projections.kernel import Delete, Effect, RowChange, Subject, TimerChange, Value
from schemas.codec import Codec
from schemas.record import Record
from streams.parking import Failure
from streams.store.port import CellValue, Checkpoint, RowWrite
from streams.subjects import SubjectEntry

__all__ = ["Fold", "RowMerger", "Work"]


class Work(msgspec.Struct):
    """The outcome of a batch, in the order in which it must be made true.

    First `fan_out` and `effects`, wait; then `own` (the subjects' own partitions: state and rows that share their key),
    wait; then `checkpoint`. A crash in between repeats with the same ids and timestamps. `latest` are the effects on compacted
    topics while the batch is folded; in the end they stand behind the others in `effects`.
    """

    partition: int
    fan_out: list[RowWrite]
    own: list[RowWrite]
    effects: list[Effect]
    timers: list[tuple[Subject, str, TimerChange]]
    checkpoint: Checkpoint
    results: dict[str, int]
    latest: dict[tuple[str, str], Effect] = {}


class _Pending(msgspec.Struct):
    """The merged changes of one row: a delete to keep, and the columns set since."""

    delete_ts_us: int | None
    columns: dict[str, Value] | None
    upsert_ts_us: int


class RowMerger:
    """Merges the row changes of one subject in one batch: at most one upsert per row, the last value wins.

    A delete that precedes an upsert is kept at its own record's timestamp (dropping it leaves old cells behind); an upsert
    that precedes a delete is dropped. Deletes are written at ts, upserts at ts + 1: at one timestamp a delete would win.
    """

    __slots__ = ("_rows",)

    def __init__(self) -> None:
        self._rows: dict[tuple[str, tuple[str | int, ...]], _Pending] = {}

    def add(self, change: RowChange, ts_us: int) -> None:
        """Take in one change of the record that has write timestamp `ts_us`. Hot path: called per row of every event."""
        at = (change.table, change.key)
        found = self._rows.get(at)
        if isinstance(change, Delete):
            self._rows[at] = _Pending(ts_us, None, 0)
        elif found is None:
            self._rows[at] = _Pending(None, change.columns, ts_us + 1)
        else:
            found.columns = change.columns if found.columns is None else {**found.columns, **change.columns}
            found.upsert_ts_us = ts_us + 1

    def writes(self, suffix: str, subject: Subject, own_tables: frozenset[str], codec: Codec) -> tuple[list[RowWrite], list[RowWrite]]:
        """Return (fan-out rows, rows in the subject's own partition).

        `suffix` (`_v1`) makes logical names physical; `own_tables` are those whose partition key is (tenant, subject).
        """
        fan_out: list[RowWrite] = []
        own: list[RowWrite] = []
        for (table, key), pending in self._rows.items():
            into = own if table in own_tables and key[0] == subject.tenant and key[1] == subject.id else fan_out
            name = table + suffix
            if pending.delete_ts_us is not None:
                into.append(RowWrite(name, key, None, pending.delete_ts_us))
            if pending.columns is not None:
                into.append(RowWrite(name, key, _cells(pending.columns, codec), pending.upsert_ts_us))
        return fan_out, own


def _cells(columns: dict[str, Value], codec: Codec) -> dict[str, CellValue]:
    """Encode a `Record` in the column `body`, with its schema id beside it (Avro without the five bytes of framing)."""
    body = columns.get("body")
    if not isinstance(body, Record):
        return cast("dict[str, CellValue]", columns)
    framed = codec.encode(body)
    return {**cast("dict[str, CellValue]", columns), "body": framed[5:], "schema_id": int.from_bytes(framed[1:5], "big")}


class Fold:
    """What one subject's records lead to: `done` of them, until `failure`, if there was one; `repeats` of those were known.

    `fan_out` and `own` are the merged rows and `blobs` the states that changed, made when all records are folded; `ts_us` is the
    write timestamp of the last one.
    """

    __slots__ = ("blobs", "done", "effects", "entry", "failure", "fan_out", "merger", "own", "partition", "repeats", "subject", "timers", "ts_us")

    def __init__(self, subject: Subject, entry: SubjectEntry, partition: int) -> None:
        self.subject = subject
        self.entry = entry
        self.partition = partition
        self.merger = RowMerger()
        self.fan_out: list[RowWrite] = []
        self.own: list[RowWrite] = []
        self.blobs: dict[str, bytes] = {}
        self.effects: list[Effect] = []
        self.timers: list[tuple[Subject, str, TimerChange]] = []
        self.done = 0
        self.repeats = 0
        self.ts_us = 0
        self.failure: Failure | None = None
