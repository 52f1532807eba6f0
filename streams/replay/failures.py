"""What a replay says when it stops at a record that cannot be folded: where, why, and what to do. Never whose record it was."""

from bisect import bisect_left
from operator import attrgetter
from typing import Final

from streams.records import Batch, RawRecord
from streams.store.port import GroupVersion
from streams.work import Work
from touchline.errors import Refused

__all__ = ["first_failure"]

_PARKED: Final = "parked_customer"
_UNKNOWN_SCHEMA: Final = "undecodable:unknown_schema"


def first_failure(version: GroupVersion, work: Work, part: Batch) -> Refused | None:
    """Return why a work parks customers who were not parked before, by the first of their records; None if it parks nobody anew."""
    found: list[tuple[int, str, bytes]] = []
    for row in work.fan_out:
        if row.table == _PARKED and row.columns is not None:
            offset, reason = row.columns["first_offset"], row.columns["reason"]
            if isinstance(offset, int) and offset >= part.records[0].offset and row.columns["first_partition"] == part.partition:
                found.append((offset, str(reason), str(row.key[-1]).encode()))
    if not found:
        return None
    offset, reason, customer = min(found)
    where = f"{version} stops at partition {part.partition}, offset {offset}"
    is_record = _record(part, offset).key == customer
    what = f"{where}: {'the record' if is_record else 'a timer that comes due there'} cannot be folded ({reason})."
    next_step = (
        "correct the projection and run the same command again, it goes on from its last checkpoint; "
        "or let the customer wait with `--on-error park` (then `touchline parked list`)."
    )
    if reason == _UNKNOWN_SCHEMA:
        what = f"{where}: this code has no schema with id {_schema_id(part, offset)}; the code that wrote it is needed."
        next_step = (
            "run the code that has this id in schemas/ids.json (ids are for ever: none may be taken out of it); "
            "or let such customers wait with `--on-error park`."
        )
    return Refused(what, reason="record_failed", next_step=next_step)


def _schema_id(part: Batch, offset: int) -> int:
    return int.from_bytes(_record(part, offset).value[1:5], "big")


def _record(part: Batch, offset: int) -> RawRecord:
    return part.records[bisect_left(part.records, offset, key=attrgetter("offset"))]
