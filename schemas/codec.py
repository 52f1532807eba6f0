"""Bytes on a topic to values and back. Header first: the rest of a record is decoded only when somebody asks for it.

Framing is Confluent's wire format: magic byte 0, schema id as 4 bytes big-endian, Avro binary. Ids on internal topics are those of
`schemas/ids.json`; every id ever committed is readable with today's classes (Avro schema resolution, writer to reader).
Bad bytes never raise: they become an `Undecodable` with a reason.

Hot path. Measured on a resolved message of 589 bytes (one handle, 300 sealed bytes), CPython 3.11: head 4.8 µs, body 1.5, decode 6.9,
encode 4.2, rehead 3.3; by fastavro alone 11.5, 3.1, 15.5, 15.9, 13.3. `tests/property/test_codec.py` prints today's figures (pytest -s).
"""

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, cast

import msgspec

from schemas import events
from schemas.ids import Committed, Ids
from schemas.names import classes_in
from schemas.plan import HeaderPlan, Plan
from schemas.reader import RecordWriter, writer_of
from schemas.record import Event, Record
from touchline.errors import Misconfigured, Refused

__all__ = ["RECORD_BYTES_MAX", "Codec", "Head", "Reason", "Undecodable"]

RECORD_BYTES_MAX: Final = 256 * 1024
"""The greatest record that is written or looked at, framing included."""

Reason = Literal["too_large", "not_framed", "unknown_schema", "unknown_type", "not_an_event", "corrupt"]
_FRAME: Final = 5


class Head(NamedTuple):
    """A record of which only the header was read. `raw` is the whole framed record, `body_at` where the rest starts."""

    header: events.Header
    type: type[Event]
    schema_id: int
    raw: bytes
    body_at: int


class Undecodable(msgspec.Struct, frozen=True):
    """Why a record cannot be read. `detail` names ids, types and positions, never content."""

    reason: Reason
    detail: str


class Codec:
    """Encodes with the current ids, decodes every committed one. Stateless but for its caches; one per process will do.

    `ids` and the generated classes in `namespace` default to the committed ones; tests bring their own.
    """

    def __init__(self, ids: Ids | None = None, namespace: Mapping[str, Any] | None = None) -> None:
        entries = (Ids.load() if ids is None else ids).entries
        self._classes = classes_in(vars(events) if namespace is None else namespace)
        self._entries = {entry.id: entry for entry in entries}
        self._current = {entry.name: entry for entry in entries}
        self._headers: dict[tuple[int, int], HeaderPlan] = {}
        self._plans: dict[int, Plan] = {}
        self._writers: dict[type[Event | Record], tuple[Plan, RecordWriter]] = {}

    def encode(self, record: Event | Record) -> bytes:
        """Return the framed record under its current internal id. Raises `Refused` if it does not fit its schema or the size limit."""
        plan, write = self._writers.get(type(record)) or self._writer(type(record))
        return _written(plan, write, record, plan.frame)

    def encode_as(self, record: Event | Record, schema_id: int) -> bytes:
        """Return the same bytes under another id, a registry's, for output topics. Raises `Refused` as `encode` does."""
        plan, write = self._writers.get(type(record)) or self._writer(type(record))
        return _written(plan, write, record, b"\x00" + schema_id.to_bytes(4, "big"))

    def head(self, raw: bytes) -> Head | Undecodable:
        """Read the header of a framed event and nothing behind it; never raises for bad input."""
        plan = self._plan_of(raw)
        if isinstance(plan, Undecodable):
            return plan
        if plan.header is None:
            return Undecodable("not_an_event", f"schema id {plan.id} ({plan.name}) has no header")
        try:
            header, body_at = plan.header.read(raw, _FRAME)
        except Exception as error:  # noqa: BLE001 - bad bytes raise anything; it is all the same to us
            return _corrupt(plan, "header", error)
        return Head(header, plan.cls, plan.id, raw, body_at)  # type: ignore[arg-type] # a plan with a header is an event's

    def body(self, head: Head) -> Event | Undecodable:
        """Decode what lies behind the header, reusing it; never raises for bad input."""
        return cast("Event | Undecodable", _read(self._plan_at(head), head.raw, head.body_at, head.header))

    def decode(self, raw: bytes) -> Event | Record | Undecodable:
        """Decode a whole framed record, with or without a header; never raises for bad input."""
        plan = self._plan_of(raw)
        if isinstance(plan, Undecodable):
            return plan
        if plan.header is None:
            return _read(plan, raw, _FRAME)
        head = self.head(raw)
        return head if isinstance(head, Undecodable) else self.body(head)

    def rehead(self, head: Head, header: events.Header) -> bytes:
        """Return the record under the same schema id with another header; the body's bytes are copied, not decoded.

        A header field that the record's own schema version does not have is not written. Raises `Refused` as `encode` does.
        """
        plan = self._plan_at(head)
        return _written(plan, plan.header.write, header, plan.frame, head.raw[head.body_at :])  # type: ignore[union-attr] # as in `head`

    def _plan_of(self, raw: bytes) -> Plan | Undecodable:
        if len(raw) > RECORD_BYTES_MAX:
            return Undecodable("too_large", f"{len(raw)} bytes, limit {RECORD_BYTES_MAX}")
        if len(raw) < _FRAME or raw[0]:
            return Undecodable("not_framed", f"{len(raw)} bytes that do not start with magic 0 and a 4-byte schema id")
        schema_id = int.from_bytes(raw[1:5], "big")
        return self._plans.get(schema_id) or self._plan(schema_id)

    def _plan(self, schema_id: int) -> Plan | Undecodable:
        entry = self._entries.get(schema_id)
        if entry is None:
            return Undecodable("unknown_schema", f"schema id {schema_id} is not in schemas/ids.json")
        if entry.name not in self._classes:
            return Undecodable("unknown_type", f"schema id {schema_id}: there is no class for {entry.name}")
        return self._planned(entry)

    def _plan_at(self, head: Head) -> Plan:
        return self._plans.get(head.schema_id) or self._planned(self._entries[head.schema_id])  # the head may be another codec's

    def _planned(self, entry: Committed) -> Plan:
        if entry.id not in self._plans:
            current, header = self._current[entry.name], None
            if entry.header is not None:
                key = (id(entry.header), id(current.header))
                header = self._headers[key] = self._headers.get(key) or HeaderPlan(entry, current, self._classes)
            self._plans[entry.id] = Plan(entry, current, self._classes, header)
        return self._plans[entry.id]

    def _writer(self, cls: type[Event | Record]) -> tuple[Plan, RecordWriter]:
        entry = self._current.get(cls.FULL_NAME)
        if entry is None or self._classes.get(cls.FULL_NAME) is not cls:
            raise Misconfigured(f"{cls.__name__} has no id in schemas/ids.json.", next_step="run `touchline schemas generate`.")
        self._writers[cls] = self._planned(entry), writer_of(entry.full(), current=True)
        return self._writers[cls]


def _read(plan: Plan, raw: bytes, at: int, header: events.Header | None = None) -> Event | Record | Undecodable:
    try:
        record, end = plan.body(raw, at, header)
    except Exception as error:  # noqa: BLE001 - as in `head`
        return _corrupt(plan, "body", error)
    if end != len(raw):
        return Undecodable("corrupt", f"schema id {plan.id} ({plan.name}): {len(raw) - end} bytes behind the record")
    return cast("Event | Record", record)


def _written(plan: Plan, write: RecordWriter, record: Event | Record, frame: bytes, rest: bytes = b"") -> bytes:
    try:
        raw = write(record, frame) + rest
    except Exception as error:  # noqa: BLE001 - as in `head`
        # the text of the error may hold the value, which may be personal
        raise Refused(
            f"A {plan.name} does not fit its schema ({type(error).__name__}).", reason="unencodable", next_step="check the types of its fields."
        ) from None
    if len(raw) > RECORD_BYTES_MAX:
        raise Refused(f"A {plan.name} has {len(raw)} bytes, more than {RECORD_BYTES_MAX}.", reason="too_large", next_step="shorten it at its source.")
    return raw


def _corrupt(plan: Plan, part: str, error: Exception) -> Undecodable:
    return Undecodable("corrupt", f"schema id {plan.id} ({plan.name}): the {part} cannot be read ({type(error).__name__})")
