"""Bytes on a topic to values and back. Header first: the rest of a record is decoded only when somebody asks for it.

Framing is Confluent's wire format: magic byte 0, schema id as 4 bytes big-endian, Avro binary. Ids on internal topics are those of
`schemas/ids.json`; every id ever committed is readable with today's classes (Avro schema resolution, writer to reader).
Bad bytes never raise: they become an `Undecodable` with a reason.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple

import msgspec

from schemas import events
from schemas.ids import Committed, Ids
from schemas.plan import Plan
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
        self._classes = _classes(vars(events) if namespace is None else namespace)
        self._entries = {entry.id: entry for entry in entries}
        self._current = {entry.name: entry for entry in entries}
        self._plans: dict[int, Plan] = {}
        self._writers: dict[type[Event | Record], Plan] = {}

    def encode(self, record: Event | Record) -> bytes:
        """Return the framed record under its current internal id. Raises `Refused` if it does not fit its schema or the size limit."""
        plan = self._writers.get(type(record)) or self._writer(type(record))
        return self._written(record, plan, plan.frame)

    def encode_as(self, record: Event | Record, schema_id: int) -> bytes:
        """Return the same bytes under another id, a registry's, for output topics. Raises `Refused` as `encode` does."""
        plan = self._writers.get(type(record)) or self._writer(type(record))
        return self._written(record, plan, b"\x00" + schema_id.to_bytes(4, "big"))

    def head(self, raw: bytes) -> Head | Undecodable:
        """Read the header of a framed event and nothing behind it; never raises for bad input."""
        plan = self._plan_of(raw)
        if isinstance(plan, Undecodable):
            return plan
        if not plan.has_header:
            return Undecodable("not_an_event", f"schema id {plan.id} ({plan.name}) has no header")
        try:
            header, body_at = plan.read_header(raw, _FRAME)
        except Exception as error:  # noqa: BLE001 - whatever fastavro raises for bad bytes is the same to us
            return _corrupt(plan, "header", error)
        return Head(header, plan.cls, plan.id, raw, body_at)  # type: ignore[arg-type] # a plan with a header is an event's

    def body(self, head: Head) -> Event | Undecodable:
        """Decode what lies behind the header, reusing it; never raises for bad input."""
        plan = self._plans[head.schema_id]
        try:
            fields, end = plan.read_body(head.raw, head.body_at)
        except Exception as error:  # noqa: BLE001 - as above
            return _corrupt(plan, "body", error)
        if end != len(head.raw):
            return Undecodable("corrupt", f"schema id {plan.id} ({plan.name}): {len(head.raw) - end} bytes behind the record")
        return head.type(header=head.header, **fields)

    def decode(self, raw: bytes) -> Event | Record | Undecodable:
        """Decode a whole framed record, with or without a header; never raises for bad input."""
        plan = self._plan_of(raw)
        if isinstance(plan, Undecodable):
            return plan
        if plan.has_header:
            head = self.head(raw)
            return head if isinstance(head, Undecodable) else self.body(head)
        try:
            fields, end = plan.read_body(raw, _FRAME)
        except Exception as error:  # noqa: BLE001 - as above
            return _corrupt(plan, "record", error)
        if end != len(raw):
            return Undecodable("corrupt", f"schema id {plan.id} ({plan.name}): {len(raw) - end} bytes behind the record")
        return plan.cls(**fields)

    def rehead(self, head: Head, header: events.Header) -> bytes:
        """Return the record under the same schema id with another header; the body's bytes are copied, not decoded.

        A header field that the record's own schema version does not have is not written. Raises `Refused` as `encode` does.
        """
        plan = self._plans[head.schema_id]
        raw = _fitting(plan, lambda: plan.write_header(header)) + head.raw[head.body_at :]
        return _limited(raw, plan)

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

    def _planned(self, entry: Committed) -> Plan:
        if entry.id not in self._plans:
            self._plans[entry.id] = Plan(entry, self._current[entry.name], self._classes)
        return self._plans[entry.id]

    def _writer(self, cls: type[Event | Record]) -> Plan:
        entry = self._current.get(cls.FULL_NAME)
        if entry is None or self._classes.get(cls.FULL_NAME) is not cls:
            raise Misconfigured(f"{cls.__name__} has no id in schemas/ids.json.", next_step="run `touchline schemas generate`.")
        plan = self._planned(entry)
        self._writers[cls] = plan
        return plan

    def _written(self, record: Event | Record, plan: Plan, frame: bytes) -> bytes:
        return _limited(_fitting(plan, lambda: plan.write(record, frame)), plan)


def _fitting(plan: Plan, write: Callable[[], bytes]) -> bytes:
    try:
        return write()
    except Exception as error:
        # fastavro's own text may hold the value, which may be personal
        raise Refused(
            f"A {plan.name} does not fit its schema ({type(error).__name__}).", reason="unencodable", next_step="check the types of its fields."
        ) from None


def _limited(raw: bytes, plan: Plan) -> bytes:
    if len(raw) > RECORD_BYTES_MAX:
        raise Refused(f"A {plan.name} has {len(raw)} bytes, more than {RECORD_BYTES_MAX}.", reason="too_large", next_step="shorten it at its source.")
    return raw


def _corrupt(plan: Plan, part: str, error: Exception) -> Undecodable:
    return Undecodable("corrupt", f"schema id {plan.id} ({plan.name}): the {part} cannot be read ({type(error).__name__})")


def _classes(namespace: Mapping[str, Any]) -> dict[str, type[Event] | type[Record]]:
    found = (value for value in namespace.values() if isinstance(value, type) and issubclass(value, Event | Record))
    return {cls.FULL_NAME: cls for cls in found if cls.FULL_NAME}
