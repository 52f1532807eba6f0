"""The rows of a rebuild: those of one fold of a subject put in the place of those of another. Values only.

A row of a partition that is the subject's own goes with its whole partition: deleted, and written anew a microsecond later, in one
mutation. A row of another partition is written with all of its columns, or deleted if it is gone: one write per row, so that
whoever looks, or dies, in between finds either the old one or the new one.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from projections.kernel import Subject, Tally
from projections.tables import Table
from streams.rebuild.row_image import RowImage, RowKey
from streams.store.port import CellValue, RowWrite
from streams.work import Tallied

__all__ = ["BEFORE_US", "replaced", "tally_differences"]

BEFORE_US: Final = 5
"""How long before the rebuild's own write timestamp its rows lie: behind those of all records before it, which are 10 µs apart."""


def replaced(
    tables: Iterable[Table],
    subject: Subject,
    before: Sequence[RowWrite],
    after: Sequence[RowWrite],
    ts_us: int,
    *,
    gone_us: int = 0,
    put_us: int = 0,
    away: bool = False,
) -> tuple[list[RowWrite], list[RowWrite]]:
    """Return (fan-out rows, rows of the subject's own partitions) that leave what `after` comes to where `before` was; nothing of that stays.

    Deletes lie at `ts_us`, upserts a microsecond after it; rows of other partitions that are gone are deleted at `gone_us`, and those that are
    there written right after `put_us`, if these are given: somebody else may have written them since. Of a subject that is `away`, linked to
    another one, who has such rows now, only those are written that differ. A span of time to live counts from now, as in every replay.
    """
    known = {table.physical: table for table in tables}
    image = RowImage(known.values(), after)
    was = RowImage(known.values(), before) if away else None
    spans = {RowKey(row.table, row.key): row.ttl_s for row in after if row.columns is not None}
    fan_out: list[RowWrite] = []
    own: dict[str, list[RowWrite]] = {}
    for at in dict.fromkeys([*(RowKey(row.table, row.key) for row in (*before, *after)), *image]):
        table, cells = known[at.table], image.cells(at)
        if len(table.partition_key) == len(subject) and at.key[: len(subject)] == tuple(subject):
            into = own.setdefault(at.table, [RowWrite(at.table, tuple(subject), None, ts_us)])
            if cells is not None:
                into.append(RowWrite(at.table, at.key, cells, ts_us + 1, spans.get(at)))
        elif was is not None and was.cells(at) == cells:
            continue
        elif cells is not None:
            fan_out.append(RowWrite(at.table, at.key, {**_nothing(table, at), **cells}, (put_us or ts_us) + 1, spans.get(at)))
        elif not _is_whole(table, at):
            fan_out.append(RowWrite(at.table, at.key, _nothing(table, at), (gone_us or ts_us) + 1))
        else:
            fan_out.append(RowWrite(at.table, at.key, None, gone_us or ts_us))
    return fan_out, [row for rows in own.values() for row in rows]


def tally_differences(before: Iterable[Tallied], after: Iterable[Tallied], offset: int, ts_us: int) -> list[Tallied]:
    """Return what must be added to the figures that counted `before` so that they count `after`, as of the record at `offset`."""
    sums: dict[tuple[str, tuple[str | int, ...]], Counter[str]] = {}
    for sign, found in ((-1, before), (1, after)):
        for one in found:
            counted = sums.setdefault((one.tally.table, one.tally.key), Counter())
            for name, n in one.tally.adds.items():
                counted[name] += sign * n
    wanted = ((at, {name: n for name, n in counted.items() if n}) for at, counted in sums.items())
    return [Tallied(Tally(*at, adds), offset, ts_us) for at, adds in wanted if adds]


def _is_whole(table: Table, at: RowKey) -> bool:
    return len(at.key) == len(table.primary_key)


def _nothing(table: Table, at: RowKey) -> dict[str, CellValue]:
    """Return every column that a row of this key has of its own, cleared: static ones belong to the key of the partition alone."""
    static = not _is_whole(table, at)
    return {name: None for name in table.columns if name not in table.primary_key and (name in table.static) is static}
