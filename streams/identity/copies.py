"""A copy of a record under another customer's key: log.md §5. Values only; who appends it, and when, is not known here.

A copy is the record itself, its sealed part included, under another header: whose it is now, where it was copied from, and when it
was appended there.
"""

from typing import Final

import msgspec

from schemas.codec import Codec, Head
from schemas.events import Header
from schemas.record import Event
from streams.records import RawRecord

__all__ = ["MACHINERY", "copied", "home_of", "is_machinery"]

MACHINERY: Final = frozenset({"clock", "config", "identity", "log", "privacy", "projection", "timer"})
"""Families of events that are of one key alone and never copied."""


def is_machinery(kind: type[Event]) -> bool:
    """Tell whether events of this type are never copied."""
    return kind.TYPE.partition(".")[0] in MACHINERY


def home_of(header: Header, key: str) -> str:
    """Return the home of a record that lies under a key."""
    return header.home_customer_id or key


def copied(codec: Codec, head: Head, record: RawRecord, *, origin: str, to: str) -> bytes:
    """Return the copy, for the key `to`, of a record that lies under `origin`; `head` is its header, read.

    Its append time is that of the record, of one that was copied or imported that of then. Raises `Refused` if the copy would be too large.
    """
    header = head.header
    changed = msgspec.structs.replace(
        header,
        customer_id=to,
        home_customer_id=home_of(header, origin),
        origin_customer_id=origin,
        origin_offset=record.offset,
        appended_at_us=record.appended_us if header.appended_at_us is None else header.appended_at_us,
    )
    return codec.rehead(head, changed)
