"""Records that tie the clockwork's customers together: links, copies, what completes them."""

import msgspec

from schemas.codec import Head
from schemas.events import Handle, Header, IdentityCopied, IdentityLinked, IdentityUnlinked
from schemas.record import Event
from streams.identity.copies import copied
from streams.records import RawRecord
from tests.support.clockwork import CODEC, SECOND, event

__all__ = ["complete", "copy_of", "direct", "linked", "unlinked"]

_HANDLE = Handle(kind="phone", hash=b"h" * 32, verified=False)


def _header(name: str, key: str, at_s: float) -> Header:
    at_us = round(at_s * SECOND)
    return Header(id=name, source="/test", tenant="acme", occurred_at_us=at_us, received_at_us=at_us, customer_id=key, home_customer_id=key)


def linked(offset: int, of: int, to: int, at_s: float, *, under: int, turn: int = 0) -> RawRecord:
    """Return what says that a customer is linked to another one, under one of them."""
    header = _header(f"linked-{of}-{turn}", f"c{under}", at_s)
    return _record(offset, under, IdentityLinked(header=header, handle=_HANDLE, from_=f"c{of}", to=f"c{to}", turn=turn), at_s)


def unlinked(offset: int, of: int, to: int, at_s: float, *, under: int, turn: int = 1, back: str = "") -> RawRecord:
    """Return what says that it is not any more."""
    header = _header(f"unlinked-{of}-{turn}", f"c{under}", at_s)
    return _record(offset, under, IdentityUnlinked(header=header, from_=f"c{of}", to=f"c{to}", turn=turn, back=back), at_s)


def complete(offset: int, of: int, to: int, at_s: float, *, last: int = 0, write_ts_us: int = 0) -> RawRecord:
    """Return what says that a run of copies is complete."""
    header = _header(f"copied-{of}-{last}", f"c{to}", at_s)
    event_ = IdentityCopied(header=header, from_=f"c{of}", home=f"c{of}", to=f"c{to}", last_offset=last, write_ts_us=write_ts_us)
    return _record(offset, to, event_, at_s)


def copy_of(offset: int, original: RawRecord, to: int, at_s: float) -> RawRecord:
    """Return the copy, under another customer, of a record."""
    head = CODEC.head(original.value)
    assert isinstance(head, Head)
    value = copied(CODEC, head, original, origin=(original.key or b"").decode(), to=f"c{to}")
    return RawRecord(offset, f"c{to}".encode(), value, round(at_s * SECOND))


def direct(offset: int, kind: str, home: int, under: int, at_s: float, *, appended_s: float | None = None, conversation: str = "a") -> RawRecord:
    """Return a record of one home that came under another customer's key."""
    found = event(kind, home, at_s, conversation=conversation)
    header = msgspec.structs.replace(found.header, customer_id=f"c{under}")
    return _record(offset, under, msgspec.structs.replace(found, header=header), at_s if appended_s is None else appended_s)


def _record(offset: int, under: int, of: Event, at_s: float) -> RawRecord:
    return RawRecord(offset, f"c{under}".encode(), CODEC.encode(of), round(at_s * SECOND))
