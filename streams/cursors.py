"""Cursors of a timeline: where the next page begins, as opaque text bound to the customer and the filters of the first page.

A cursor names a position and not a count, so that events that arrive between two pages neither repeat rows nor hide any.
It is no secret and gives no right: every page is read for the customer that the caller names.
"""

import base64
import binascii
import struct
from hashlib import sha256

import msgspec

from streams.timeline_row import Position
from touchline.errors import Refused

__all__ = ["Filters"]

_HEAD = struct.Struct(">8sq")
_encode = msgspec.msgpack.Encoder().encode


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows of whose timeline are wanted. `since_us` is included, `until_us` is not (epoch µs).

    `types` holds types (`message.received`) and families (`message`); empty sets mean: all. `hidden` adds technical rows.
    """

    tenant: str
    customer_id: str
    since_us: int | None = None
    until_us: int | None = None
    channels: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()
    hidden: bool = False

    def cursor(self, position: Position) -> str:
        """Return the cursor of what comes after a position."""
        raw = _HEAD.pack(self._digest(), position.occurred_at_us) + position.event_id.encode()
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    def position(self, cursor: str) -> Position:
        """Return the position that a cursor names. Raises `Refused` if it is none, or was made for other filters."""
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            digest, occurred_at_us = _HEAD.unpack_from(raw)
            event_id = raw[_HEAD.size :].decode()
        except (binascii.Error, struct.error, ValueError):
            raise _refused("is none") from None
        if digest != self._digest():
            raise _refused("belongs to another customer or to other filters")
        return Position(occurred_at_us, event_id)

    def _digest(self) -> bytes:
        parts = (self.tenant, self.customer_id, self.since_us, self.until_us, sorted(self.channels), sorted(self.types), self.hidden)
        return sha256(_encode(parts)).digest()[:8]


def _refused(why: str) -> Refused:
    return Refused(f"The cursor {why}.", reason="cursor_invalid", next_step="ask for the first page, with the same filters for all pages.")
