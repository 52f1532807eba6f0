"""What one batch leads to: rows merged per key, effects, and the checkpoint that makes it final. Values only."""

from typing import cast

import msgspec

from projections.kernel import Delete, Effect, RowChange, Signal, Subject, Tally, Value
from schemas.codec import Codec
from schemas.record import Record
from streams.armed import Due
from streams.books import Books, Position
from streams.copy_run import CopyRun
from streams.parking import Failure
from streams.store.port import CellValue, Checkpoint, RowWrite
from streams.subjects import SubjectEntry
from streams.versions.promotions import Promotion, Promotions

__all__ = ["Fold", "RowMerger", "Tallied", "Work"]


class Tallied(msgspec.Struct, frozen=True, gc=False):
    """A tally, and the record of its Kafka partition that it came with."""

    tally: Tally
    offset: int
    ts_us: int


class Work(msgspec.Struct):
    """The outcome of a batch, in the order in which it must be made true.

    First `fan_out` and `effects`, wait; then `own` (the subjects' own partitions: state and rows that share their key),
    wait; then `checkpoint`. A crash in between repeats with the same ids and timestamps. `latest` are the effects on compacted
    topics while the batch is folded; in the end they stand behind the others in `effects`.

    `timers` says which subjects have another earliest timer than the driver knew; `tallies` become rows of the fan-out
    (`streams/tallies.py`). `books` are the rulebooks that were read for the first time; `refused` the offsets of published configuration
    that could not be read, and why. `promoted` is the promotion that was read, `withheld` counts the effects that another version sends.
    `copies` are to be appended when the rows are written, and before the checkpoint is: by the version of the view group that speaks.
    """

    partition: int
    fan_out: list[RowWrite]
    own: list[RowWrite]
    effects: list[Effect]
    timers: list[Due]
    tallies: list[Tallied]
    checkpoint: Checkpoint
    results: dict[str, int]
    latest: dict[tuple[str, str], Effect] = {}
    books: list[Position] = []
    refused: list[tuple[int, str]] = []
    promoted: Promotion | None = None
    withheld: int = 0
    copies: list[CopyRun] = []

    def count(self, result: str, n: int) -> None:
        """Count `n` records with this result."""
        if n:
            self.results[result] = self.results.get(result, 0) + n


class _Pending(msgspec.Struct):
    """The merged changes of one row: a delete to keep, and the columns set since."""

    delete_ts_us: int | None
    columns: dict[str, Value] | None
    upsert_ts_us: int
    ttl_s: int | None = None


class RowMerger:
    """Merges the row changes of one subject in one batch: at most one upsert per row, the last value wins.

    A delete that precedes an upsert is kept at its own record's timestamp (dropping it leaves old cells behind); an upsert
    that precedes a delete is dropped. Deletes are written at ts, upserts at ts + 1: at one timestamp a delete would win. The span
    of the last upsert holds for all of its columns.
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
            self._rows[at] = _Pending(None, change.columns, ts_us + 1, change.ttl_s)
        else:
            found.columns = change.columns if found.columns is None else {**found.columns, **change.columns}
            found.upsert_ts_us = ts_us + 1
            found.ttl_s = change.ttl_s

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
                into.append(RowWrite(name, key, _cells(pending.columns, codec), pending.upsert_ts_us, pending.ttl_s))
        return fan_out, own


def _cells(columns: dict[str, Value], codec: Codec) -> dict[str, CellValue]:
    """Encode a `Record` in the column `body`, with its schema id beside it (Avro without the five bytes of framing)."""
    body = columns.get("body")
    if not isinstance(body, Record):
        return cast("dict[str, CellValue]", columns)
    framed = codec.encode(body)
    return {**cast("dict[str, CellValue]", columns), "body": framed[5:], "schema_id": int.from_bytes(framed[1:5], "big")}


class Fold:
    """What one subject's records lead to: `done` of them, until `failure`, if there was one.

    Of those `repeats` were known and `woke` were wake-ups; the others were applied. `ran` counts the records that led to anything.
    `fan_out` and `own` are the merged rows, `blobs` the states and `timers_blob` the timers that changed, made when all records are
    folded; `ts_us` is the write timestamp of the last one that did anything. `touched` has a bit per projection that took a step.
    While a record is folded, `record_ts_us` is its write timestamp, and `told` holds the signals of the pass that is under way, each
    with the number of the projection that gave it. `promotions` tell who speaks, None where this version always does; `speaks` is
    the answer for the step under way, and `withheld` counts the effects for which it was no. `runs` are the copies that it asks for;
    `handed_on` counts records that belong to somebody who was unlinked. `tied`: the ties changed; `ties_blob` has them as `timers_blob` has
    the timers. `in_vain`: a wake-up came while the timers were held.
    """

    __slots__ = (
        "blobs",
        "books",
        "done",
        "effects",
        "entry",
        "failure",
        "fan_out",
        "handed_on",
        "in_vain",
        "merger",
        "own",
        "partition",
        "promotions",
        "ran",
        "record_ts_us",
        "repeats",
        "runs",
        "speaks",
        "subject",
        "tallies",
        "tied",
        "ties_blob",
        "timers_blob",
        "told",
        "touched",
        "ts_us",
        "withheld",
        "woke",
    )

    def __init__(self, subject: Subject, entry: SubjectEntry, partition: int, books: Books | None, promotions: Promotions | None = None) -> None:
        self.subject = subject
        self.entry = entry
        self.partition = partition
        self.books = books
        self.promotions = promotions
        self.speaks = True
        self.withheld = 0
        self.merger = RowMerger()
        self.fan_out: list[RowWrite] = []
        self.own: list[RowWrite] = []
        self.blobs: dict[str, bytes] = {}
        self.timers_blob: bytes | None = None
        self.ties_blob: bytes | None = None
        self.runs: list[CopyRun] = []
        self.effects: list[Effect] = []
        self.tallies: list[Tallied] = []
        self.told: list[tuple[int, Signal]] = []
        self.done = 0
        self.repeats = 0
        self.woke = 0
        self.ran = 0
        self.handed_on = 0
        self.tied = False
        self.in_vain = False
        self.touched = 0
        self.ts_us = 0
        self.record_ts_us = 0
        self.failure: Failure | None = None
