"""A record of a topic in a form that a person can read: its header and its own clear fields. What is sealed stays sealed. Values only."""

from typing import Any, Final

from schemas.codec import Codec, Undecodable
from schemas.record import Event
from streams.plain import record_json, utc
from streams.records import RawRecord

__all__ = ["SEALED", "readable"]

SEALED: Final = "(sealed)"
"""What stands where something is sealed."""


def readable(codec: Codec, record: RawRecord, *, partition: int, topic: str = "") -> dict[str, Any]:
    """Return what can be said of a record, with `unreadable` (why) where it cannot be decoded, or only its header can.

    Empty fields are left out. Handles show their kind and keyed hash; no bytes of the record are shown.
    """
    said: dict[str, Any] = {"topic": topic} if topic else {}
    said |= {"partition": partition, "offset": record.offset, "appended_at": utc(record.appended_us), "bytes": len(record.value)}
    head = codec.head(record.value)
    if isinstance(head, Undecodable):
        return {**said, "unreadable": f"{head.reason}: {head.detail}"}
    said |= {"type": head.type.TYPE, "schema_id": head.schema_id}
    body = codec.body(head)
    if isinstance(body, Undecodable):
        return {**said, "unreadable": f"{body.reason}: {body.detail}", "header": _said(record_json(head.header))}
    return {**said, **_of_event(body)}


def _of_event(event: Event) -> dict[str, Any]:
    form = record_json(event)
    header = _said(form.pop("header"))
    sealed = {"sealed": SEALED} if event.sealed is not None else {}
    return {"header": header, **_said(form), **sealed}


def _said(form: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in form.items() if value not in (None, "", [], {})}
