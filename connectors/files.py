"""Files to import, in their three forms: opened here, read in chunks of 1,000 records in sending order.

events       the public JSON form, one event per line; read as it goes, so a file may have any length, or be a pipe
bank-calls   rows stand by line, not by time: read as a whole and sorted
tweets       an answer may stand before its question: read as a whole and sorted
"""

import codecs
import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, BinaryIO, Final, Literal

import msgspec

from connectors.contract import Draft, Rejected
from connectors.manifest import CHUNK_RECORDS
from connectors.public import PublicReader
from connectors.sources import bank_calls, tweets
from touchline.errors import Misconfigured

__all__ = ["EVENTS_SOURCE", "LINE_BYTES_MAX", "Chunk", "FileForm", "Input", "form_of", "last_event_us", "open_input"]

FileForm = Literal["events", "bank-calls", "tweets"]

EVENTS_SOURCE: Final = "/imports/events"
"""The source under which the manifest keeps what came in the public form; events keep the sources that they name."""

LINE_BYTES_MAX: Final = 2 * 1024 * 1024
"""A longer line is quarantined unread: even with every character escaped it would be too large a record."""

_NAMES: Final[dict[bytes, FileForm]] = {b"vru+line\t": "bank-calls", b"tweet_id,": "tweets"}


class _Timed(msgspec.Struct, gc=False):
    time: Annotated[datetime, msgspec.Meta(tz=True)]


class Chunk(msgspec.Struct):
    """Up to 1,000 records in sending order.

    `lines` are their line numbers (None where rows were sorted); `done` tells how much of `Input.total` has been read with them.
    """

    slots: list[Draft | Rejected]
    lines: list[int | None]
    done: int


class Input(msgspec.Struct):
    """A file to import. `rejected` are rows that have no place in the order; `total` is in `unit`, None where unknown."""

    source: str
    chunks: Iterator[Chunk]
    total: int | None
    unit: Literal["bytes", "records"]
    rejected: list[Rejected] = []
    report: bank_calls.BankCallsReport | tweets.TweetsReport | None = None
    last_us: int | None = None


def form_of(path: Path) -> FileForm:
    """Tell a file's form from how it begins. Raises `Misconfigured` if it cannot be opened."""
    with _opened(path) as file:
        start = file.read(64).removeprefix(codecs.BOM_UTF8)
    return next((form for mark, form in _NAMES.items() if start.startswith(mark)), "events")


def open_input(file: BinaryIO, form: FileForm, *, tenant: str, hashed: Callable[[str], str], size: int | None = None) -> Input:
    """Begin to read. `size` in bytes is for the progress of the public form, None for a pipe; `hashed` is the keyed hash of provider ids.

    Raises `Refused` if the file is not of this form at all.
    """
    if form == "events":
        return Input(EVENTS_SOURCE, _chunks_of_lines(file, PublicReader(tenant=tenant)), size, "bytes")
    text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
    report: bank_calls.BankCallsReport | tweets.TweetsReport
    try:
        if form == "bank-calls":
            source = bank_calls.SOURCE
            drafts, rejected, report = bank_calls.map_bank_calls(text, tenant=tenant)
        else:
            source = tweets.SOURCE
            drafts, rejected, report = tweets.map_tweets(text, tenant=tenant, hashed=hashed)
    finally:
        text.detach()  # the file is the caller's to close
    last_us = drafts[-1].occurred_at_us if drafts else None
    return Input(source, _chunks_of_drafts(drafts), len(drafts), "records", rejected, report, last_us)


def last_event_us(path: Path) -> int | None:
    """Return the latest event time of a file in the public form, epoch µs; None if no line has one. Reads it once, 1 µs per line."""
    decode, last = msgspec.json.Decoder(_Timed).decode, None
    with _opened(path) as file:
        for line in file:
            try:
                at = decode(line).time
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                continue  # reading it in earnest will tell
            last = at if last is None else max(last, at)
    return None if last is None else (last - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise Misconfigured(f"{path} cannot be opened ({error.strerror}).", next_step="check the path and its rights.") from None


def _chunks_of_drafts(drafts: list[Draft]) -> Iterator[Chunk]:
    for start in range(0, len(drafts), CHUNK_RECORDS):
        part: list[Draft | Rejected] = [*drafts[start : start + CHUNK_RECORDS]]
        yield Chunk(part, [None] * len(part), start + len(part))


def _chunks_of_lines(file: BinaryIO, reader: PublicReader) -> Iterator[Chunk]:
    slots: list[Draft | Rejected] = []
    lines: list[int | None] = []
    done = number = 0
    while line := file.readline(LINE_BYTES_MAX):
        number += 1
        done += len(line)
        if len(line) == LINE_BYTES_MAX and not line.endswith(b"\n"):
            done += _skipped(file)
            slots.append(Rejected("quarantined", "too_large", f"line {number}: it has more than {LINE_BYTES_MAX} bytes.", number))
        elif line.isspace():
            continue
        else:
            slots.append(reader.read(line if number > 1 else line.removeprefix(codecs.BOM_UTF8), number))
        lines.append(number)
        if len(slots) == CHUNK_RECORDS:
            yield Chunk(slots, lines, done)
            slots, lines = [], []
    if slots:
        yield Chunk(slots, lines, done)


def _skipped(file: BinaryIO) -> int:
    """Read the rest of a line that is too long, in parts, and return its bytes."""
    skipped = 0
    while part := file.readline(LINE_BYTES_MAX):
        skipped += len(part)
        if part.endswith(b"\n"):
            break
    return skipped
