"""The output of `simulate`: JSON lines sorted by (at, kind, id), in memory while they are few, on disk where they are many.

    {"kind": "clock", "customer_id": …, "metric": …, "state": …}       every clock, at the time it started
    {"kind": "effect", "type": …, "id": …, "at": …, …payload}          once per effect; of a compacted topic the last per key
    {"kind": "row", "table": …, "key": {…}, "columns": {…}}            the final rows of the tables that readers use

A row's `at` is the time in its key, else when it was last changed; a row without either stands first. Its id is table and key.
"""

import heapq
import io
import struct
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, BinaryIO, Final, Self

import msgspec

from projections.kernel import Effect, Tombstone
from projections.registry import Group
from projections.rules import Rulebook
from projections.tables import Table
from schemas.codec import Codec
from schemas.events import CustomerSnapshot
from schemas.record import Event
from streams.care_view import ClockRow
from streams.effects import DESTINATIONS
from streams.plain import RowForm, is_time, record_json, utc
from streams.store.port import Store
from touchline.errors import Refused

__all__ = ["RUN_BYTES_MAX", "Effects", "Output", "SortedLines", "emit_clocks", "emit_rows"]

RUN_BYTES_MAX: Final = 64 * 1024 * 1024
"""Lines beyond this are sorted, written to a temporary file and merged at the end; one file each, so 1,000 of them are 64 GB."""

_LINE_OVERHEAD_BYTES: Final = 200
_BUFFER_BYTES: Final = 256 * 1024
_LENGTHS: Final = struct.Struct("<qII")
_BEFORE_ALL_US: Final = -(2**63)

_OF_HEADER: Final = ("tenant", "customer_id", "home_customer_id", "conversation_id", "case_id", "contact_id", "channel")
"""What an effect's line says of its header."""

_encode = msgspec.json.Encoder().encode

_Keyed = tuple[int, bytes, bytes]
"""(at in epoch µs, kind and id, the line): sorts as it shall stand."""


class SortedLines:
    """Takes lines in any order and gives them back sorted. A context manager: temporary files go with it."""

    def __init__(self, run_bytes_max: int = RUN_BYTES_MAX) -> None:
        self._run_bytes_max = run_bytes_max
        self._lines: list[_Keyed] = []
        self._bytes = 0
        self._runs: list[IO[bytes]] = []
        self._files = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._files.close()

    def add(self, at_us: int | None, kind: str, id_: str, line: dict[str, Any]) -> None:
        """Take one line."""
        encoded = _encode(line)
        self._lines.append((_BEFORE_ALL_US if at_us is None else at_us, f"{kind}\0{id_}".encode(), encoded))
        self._bytes += len(encoded) + _LINE_OVERHEAD_BYTES
        if self._bytes > self._run_bytes_max:
            self._spill()

    def write(self, out: BinaryIO) -> int:
        """Write all lines, sorted; return how many."""
        self._lines.sort()
        count = 0
        for _, _, line in heapq.merge(*map(_read, self._runs), self._lines) if self._runs else self._lines:
            out.write(line + b"\n")
            count += 1
        return count

    @property
    def runs(self) -> int:
        """How many temporary files there are."""
        return len(self._runs)

    def _spill(self) -> None:
        self._lines.sort()
        run = self._files.enter_context(tempfile.TemporaryFile(prefix="touchline-", buffering=_BUFFER_BYTES))  # noqa: SIM115 - closed by the stack
        for at_us, name, line in self._lines:
            run.write(_LENGTHS.pack(at_us, len(name), len(line)) + name + line)
        self._runs.append(run)
        self._lines, self._bytes = [], 0


class Output:
    """Standard output (`-`), or a file that appears under its name only once it is complete. A context manager.

    What is there and no ordinary file (a pipe, `/dev/null`) is written to as it is: put in its place, a file would be its end.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_file = path.is_file() or not path.exists()
        self._draft = path.with_name(f".{path.name}.part") if self._is_file else path
        self._file: BinaryIO | None = None

    def __enter__(self) -> BinaryIO:
        if str(self._path) == "-":
            return sys.stdout.buffer
        try:
            self._file = self._draft.open("wb")
        except OSError as error:
            raise Refused(f"{self._path} cannot be written ({error.strerror}).", reason="unwritable", next_step="choose another place.") from None
        return self._file

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._file is None:
            sys.stdout.buffer.flush()
            return
        self._file.close()
        if not self._is_file:
            return
        if kind is None:
            self._draft.replace(self._path)
        else:
            self._draft.unlink(missing_ok=True)


class Effects:
    """Takes effects while a simulation runs and hands them to `lines` at once (None: nobody wants them).

    Of compacted topics only the last one per key, at the end.
    """

    def __init__(self, lines: SortedLines | None) -> None:
        self._lines = lines
        self._last: dict[tuple[str, str], Effect] = {}

    def add(self, effects: Iterable[Effect]) -> None:
        """Take the effects of a batch, in order."""
        if self._lines is None:
            return
        for effect in effects:
            if DESTINATIONS[effect.kind].compacted:
                self._last[effect.kind, effect.key] = effect
            else:
                self._add(effect, self._lines)

    def emit(self) -> None:
        """Hand over what was held back."""
        if self._lines is not None:
            for effect in self._last.values():
                self._add(effect, self._lines)
        self._last.clear()

    @staticmethod
    def _add(effect: Effect, lines: SortedLines) -> None:
        at_us, id_ = _identity(effect)
        said = {"kind": "effect", "type": effect.kind, "id": id_, "at": utc(at_us)}
        told = record_json(effect.payload)
        if isinstance(effect.payload, Event):
            header = told.pop("header")
            told = {**{name: header[name] for name in _OF_HEADER}, **told}
        elif isinstance(effect.payload, Tombstone):
            told = {"tombstone": True, **told}
        lines.add(at_us, "effect", id_, {**said, **{name: value for name, value in told.items() if name not in said}})


async def emit_clocks(store: Store, table: Table, lines: SortedLines, *, as_of_us: int, books: Sequence[Rulebook]) -> None:
    """Hand over every clock, as cli.md §3 has it; it stands where it started. What a running one has consumed is as of `as_of_us`."""
    for row in await store.scan(table.physical):
        clock = ClockRow.of(row)
        clock = msgspec.structs.replace(clock, consumed_us=clock.consumed_at_us(as_of_us, books))
        id_ = "\0".join([clock.conversation_id, clock.metric, f"{clock.instance:06d}", clock.customer_id])
        lines.add(clock.started_us, "clock", id_, clock.json())


async def emit_rows(store: Store, group: Group, codec: Codec, lines: SortedLines) -> None:
    """Hand over every row of the tables of a group that readers use."""
    for table in group.reader_tables:
        form, time_column = RowForm(table, codec), _time_column(table)
        for row in await store.scan(table.physical):
            key, columns = form.of(row)
            at_us = row[time_column] if time_column else None
            id_ = "\0".join([table.name, *map(str, key.values())])
            line = {"kind": "row", "table": table.name, "key": key, "columns": columns}
            lines.add(at_us if isinstance(at_us, int) else None, "row", id_, line)


def _time_column(table: Table) -> str | None:
    """Return the column that says when a row belongs: a time in its key, else when it was last changed."""
    times = [name for name, kind in table.columns.items() if is_time(name, kind)]
    in_key = [name for name in times if name in table.primary_key]
    return next(iter([*in_key, *(name for name in ("last_at", "updated_at") if name in times), *times]), None)


def _identity(effect: Effect) -> tuple[int, str]:
    """Return (event time, id); a snapshot has no id but the customer's."""
    payload = effect.payload
    if isinstance(payload, Event):
        return payload.header.occurred_at_us, payload.header.id
    if isinstance(payload, CustomerSnapshot | Tombstone):
        return payload.event_time_us, effect.key
    raise TypeError(f"effects of kind {effect.kind} have no identity of their own")


def _read(run: IO[bytes]) -> Iterator[_Keyed]:
    run.seek(0, io.SEEK_SET)
    while head := run.read(_LENGTHS.size):
        at_us, name, line = _LENGTHS.unpack(head)
        yield at_us, run.read(name), run.read(line)
