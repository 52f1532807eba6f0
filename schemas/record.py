"""The bases of the generated classes in `schemas/events.py`: `Event` (has the common header) and `Record` (has none).

Knows nothing of Avro. Values are frozen; maps in them are by convention never changed.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Self

import msgspec

if TYPE_CHECKING:
    from schemas.events import Header

__all__ = ["Event", "Record", "instant"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(at_us: int) -> datetime:
    """Return the aware UTC time of epoch microseconds, exactly (no floating point)."""
    return _EPOCH + timedelta(microseconds=at_us)


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Base of every generated class without a header. `FULL_NAME` is the Avro record's full name."""

    FULL_NAME: ClassVar[str] = ""


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Base of every event type: the header first, the type's own fields, the clear attributes, the sealed part last.

    `TYPE` is the public type (`message.received`), `FULL_NAME` the Avro record's (`touchline.message.Received`).
    A field whose Avro name is a Python keyword has a trailing underscore (`from_`).
    """

    TYPE: ClassVar[str] = ""
    FULL_NAME: ClassVar[str] = ""

    header: "Header"
    attributes: dict[str, str] = msgspec.field(default_factory=dict)
    sealed: bytes | None = None
    sealed_key: str | None = None

    @classmethod
    def of(cls, header: "Header", fields: Mapping[str, Any]) -> Self:
        """Build the event from a header and the type's own fields by their Avro names (`from`, not `from_`), checking types.

        Raises `msgspec.ValidationError` for a missing required field, a wrong type or an unknown enum symbol; its text names
        the field and the type, never the value, but for an enum symbol. Fields that the type does not have are ignored.
        """
        return msgspec.convert({**fields, "header": header}, cls)
