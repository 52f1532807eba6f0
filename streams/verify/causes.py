"""Which event parts two versions: a customer's records folded by both in memory, step by step, until the cell in question differs.

Between two records time passes: timers expire one by one, and rulebooks are heard of; each is a step of its own. Where both folds
come to the same in the end although the tables differ, the tables hold something that the log does not say, and that is told.
"""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from projections.digest import Decode, Difference, encoded, reduced_row
from projections.kernel import Config, Subject
from schemas.codec import Codec, Undecodable
from streams.engine import SETTLE_S
from streams.rebuild.history import History, Place, PlacedRecord
from streams.rebuild.lone import Lone
from streams.rebuild.row_image import RowImage, RowKey
from streams.records import Arrived
from streams.store.excluded import Exclusion
from streams.verify.sides import Sides
from streams.verify.sums import Customer
from streams.work import Fold

__all__ = ["CAUSE_RECORDS_MAX", "Cause", "Causes"]

CAUSE_RECORDS_MAX: Final = 20_000
"""Records of a customer that are followed, twice; with more the cause is not looked for."""

_STEPS_BETWEEN_MAX: Final = 1000
"""Timers that expire one by one between two records; further ones count as one step."""

Kind = Literal["record", "timer", "rules", "parked", "excluded", "not_in_log", "history_too_long", "unreadable"]


class Cause(msgspec.Struct, frozen=True):
    """What parted the two versions. Of a `record` its type and id; of a `timer` its name, of `rules` the version that was published.

    `at_us` is the event time, of a timer its due time, of rules when they were read (epoch µs); `partition` and `offset` say where the
    record lies, of a timer the one before which it expired. `parked`: this record cannot be folded by the version in `name`;
    `excluded`: that version leaves it out since a rebuild.
    `not_in_log`: folded again, both versions agree; `name` tells which one's table holds something else. `history_too_long`: nobody
    looked. `unreadable`: the log did not give the records, for the reason in `name`.
    """

    kind: Kind
    name: str = ""
    id: str = ""
    at_us: int | None = None
    partition: int = -1
    offset: int = -1


class _Watch:
    """A cell, and what it holds in both folds; `cause` is the step since which they differ."""

    __slots__ = ("cause", "difference", "differs", "rows", "values")

    def __init__(self, difference: Difference) -> None:
        self.difference = difference
        self.rows: list[RowKey | None] = [None, None]
        self.values: list[bytes] = [b"", b""]
        self.differs = False
        self.cause: Cause | None = None


class Causes:
    """Finds the causes of one customer's differences at a time. `config` and `settle_s` as the engine's."""

    def __init__(
        self, sides: Sides, history: History, codec: Codec, decode: Decode, *, config: Config | None = None, settle_s: float = SETTLE_S
    ) -> None:
        self._sides = sides
        self._history = history
        self._codec = codec
        self._decode = decode
        self._config = config
        self._settle_s = settle_s

    async def find(self, customer: Customer, differences: Sequence[Difference], *, end: Place, until_us: int) -> list[Cause]:
        """Return the cause of each difference. Records below `end` in its partition are folded, then time passes up to `until_us`.

        Raises `Misconfigured` if the log no longer has a record, `Retryable` if the broker or the store does not answer.
        """
        places = await self._history.places(*customer, group=self._sides.versions[1])
        places = [place for place in places if place.partition != end.partition or place.offset < end.offset]
        if len(places) > CAUSE_RECORDS_MAX:
            return [Cause("history_too_long")] * len(differences)
        books = {}
        for partition in {end.partition, *(place.partition for place in places)}:
            found = await self._history.books(customer[0], partition, self._config)
            if found is not None:
                books[partition] = found
        records = await self._history.records(places)
        lones = [
            Lone(group, self._codec, Subject(*customer), books=books, config=self._config, settle_s=self._settle_s)
            for group in (self._sides.active, self._sides.candidate)
        ]
        excluded = [await self._history.excluded(customer[1], version) for version in self._sides.versions]
        return _Following(self._sides, lones, [_Watch(one) for one in differences], excluded, self._decode).run(records, end, until_us)


class _Following:
    """Two folds of one customer, side by side, and the cells that are watched."""

    def __init__(
        self, sides: Sides, lones: Sequence[Lone], watches: Sequence[_Watch], excluded: Sequence[Sequence[Exclusion]], decode: Decode
    ) -> None:
        self._names = [f"v{group.version}" for group in (sides.active, sides.candidate)]
        self._lones = lones
        self._watches = watches
        self._excluded = excluded
        self._decode = decode
        wanted = {watch.difference.table for watch in watches}
        self._tables = [{table.physical: table for table in (pair[side] for pair in sides.pairs) if table.name in wanted} for side in (0, 1)]
        self._images = [RowImage(tables.values()) for tables in self._tables]
        self._failed = [False, False]
        self._parked: Cause | None = None

    def run(self, records: Sequence[PlacedRecord], end: Place, until_us: int) -> list[Cause]:
        for partition, arrived in self._lones[0].arrivals(records):
            self._pass_time(Place(partition, arrived.record.offset), arrived.appended_us - 1)
            self._record(partition, arrived)
        self._pass_time(end, until_us)
        return [watch.cause if watch.differs and watch.cause else self._not_in_log(watch) for watch in self._watches]

    def _record(self, partition: int, arrived: Arrived) -> None:
        """Fold one record in both, unless a version leaves it out."""
        cause, head = _of_record(partition, arrived), arrived.head
        at = partition, arrived.record.offset, None if isinstance(head, Undecodable) else head.header.id
        left_out = [any(one.names(*at) for one in excluded) for excluded in self._excluded]
        if any(left_out):
            cause = msgspec.structs.replace(cause, kind="excluded", name=self._names[left_out.index(True)])
        folds = [None if failed or out else lone.fold(partition, [arrived]) for (lone, failed), out in zip(self._folds(), left_out, strict=True)]
        self._step(folds, cause)

    def _folds(self) -> list[tuple[Lone, bool]]:
        return list(zip(self._lones, self._failed, strict=True))

    def _pass_time(self, at: Place, until_us: int) -> None:
        """Let time pass in both folds: timers expire, and rulebooks that lie before `at` are heard of, one by one in the order of time."""
        books = self._lones[0].books.get(at.partition)
        heard = max(lone.entry.books for lone in self._lones)
        coming = [] if books is None or heard < 0 else list(zip(books.offsets, books.appended_us, strict=True))[heard : books.before(at.offset)]
        for _ in range(_STEPS_BETWEEN_MAX):
            timers = [found for lone, failed in self._folds() if not failed and (found := lone.entry.timers.earliest()) is not None]
            first = min(timers, default=None)
            is_next = first is not None and first.expires_us <= until_us
            if first is not None and is_next and (not coming or first.expires_us < coming[0][1]):
                before = coming[0][0] if coming else at.offset
                self._wake(Place(at.partition, before), first.expires_us, Cause("timer", f"{first.projection}:{first.name}", "", first.due_us, *at))
            elif coming and books is not None:
                offset, appended_us = coming.pop(0)
                version = books.config(books.before(offset + 1)).newest.version
                self._wake(Place(at.partition, offset + 1), appended_us, Cause("rules", str(version), "", appended_us, at.partition, offset))
            else:
                break
        self._wake(at, until_us, Cause("timer", "", "", None, *at))

    def _wake(self, at: Place, until_us: int, cause: Cause) -> None:
        self._step([None if failed else lone.wake(at, until_us) for lone, failed in self._folds()], cause)

    def _step(self, folds: Sequence[Fold | None], cause: Cause) -> None:
        """Take in what a step wrote in both versions, and note for each cell whether it has begun to differ."""
        touched: set[str] = set()
        for side, fold in enumerate(folds):
            if fold is None:
                continue
            if fold.failure is not None:
                self._failed[side] = True
                self._parked = self._parked or msgspec.structs.replace(cause, kind="parked", name=self._names[side])
            for write in (*fold.fan_out, *fold.own):
                table = self._tables[side].get(write.table)
                if table is not None:
                    self._images[side].apply([write])
                    touched.add(table.name)
                    self._place(side, RowKey(write.table, write.key))
        for watch in self._watches:
            if watch.difference.table in touched:
                self._look(watch, cause)

    def _place(self, side: int, at: RowKey) -> None:
        """Note where a watched row lies, if it is this one: a timeline's key says the month, its row lies in a bucket."""
        row = self._images[side].row(at)
        found = None if row is None else reduced_row(self._tables[side][at.table], row, decode=self._decode)
        if found is not None:
            for watch in self._watches:
                if watch.rows[side] is None and watch.difference.table == self._tables[side][at.table].name and watch.difference.key == found[0]:
                    watch.rows[side] = at

    def _look(self, watch: _Watch, cause: Cause) -> None:
        watch.values = [self._value(watch, side) for side in (0, 1)]
        differs = watch.values[0] != watch.values[1]
        if differs and not watch.differs:
            watch.cause = self._parked or cause
        watch.differs = differs

    def _value(self, watch: _Watch, side: int) -> bytes:
        at = watch.rows[side]
        row = None if at is None else self._images[side].row(at)
        found = None if at is None or row is None else reduced_row(self._tables[side][at.table], row, decode=self._decode)
        if found is None:
            return b""
        return b"+" + encoded(found[1].get(watch.difference.column)) if watch.difference.column else b"+"

    def _not_in_log(self, watch: _Watch) -> Cause:
        """Tell which version's table holds what its own fold of the log does not come to."""
        column, stored = watch.difference.column, (watch.difference.before, watch.difference.after)
        cells = [b"+" + encoded(value) if column else b"" if value is None else b"+" for value in stored]
        wrong = [name for name, cell, folded in zip(self._names, cells, watch.values, strict=True) if cell != folded]
        return Cause("not_in_log", ", ".join(wrong))


def _of_record(partition: int, arrived: Arrived) -> Cause:
    head = arrived.head
    if isinstance(head, Undecodable):
        return Cause("record", head.reason, "", None, partition, arrived.record.offset)
    return Cause("record", head.type.TYPE, head.header.id, head.header.occurred_at_us, partition, arrived.record.offset)
