"""Whose event is it? The pure half of the resolver: bytes of a channel topic in, bytes for the canonical log out.

Each event goes under the provisional customer of its strongest handle. Linking several handles to one person is not done
here: a linked customer's `home_customer_id` stays the provisional one for ever.
"""

from typing import ClassVar

import msgspec

from schemas.codec import Codec, Head, Undecodable
from schemas.events import Header
from schemas.handles import customer_id, strongest

__all__ = ["Resolved", "Resolver", "Unresolvable"]


class Resolved(msgspec.Struct, frozen=True, gc=False):
    """A record for interaction.v1: its key is the subject, its value differs from the channel's only in the header."""

    key: str
    value: bytes
    source: str


class Unresolvable(msgspec.Struct, frozen=True):
    """A record that cannot go onto the canonical log. `reason` is a stable short code; nothing here is personal."""

    reason: str
    detail: str
    record_id: str = ""
    source: str = ""
    tenant: str = ""


class Resolver:
    """Resolves one record after the other; holds no state of its own. `future_max_s` is measured against append time."""

    _AGENT_FAMILY: ClassVar[str] = "agent."

    def __init__(self, codec: Codec, *, future_max_s: int) -> None:
        self._codec = codec
        self._future_max_us = future_max_s * 1_000_000

    def resolve(self, value: bytes, appended_us: int) -> Resolved | Unresolvable:
        """Resolve one channel record that was appended at `appended_us`. Hot path: no body is decoded."""
        head = self._codec.head(value)
        if isinstance(head, Undecodable):
            return Unresolvable(head.reason, head.detail)
        header = head.header
        if header.occurred_at_us > (header.appended_at_us or appended_us) + self._future_max_us:
            return self._unresolvable(header, "future_dated", "its event time lies after its append time by more than the limit")
        return self._placed(head)

    def _placed(self, head: Head) -> Resolved | Unresolvable:
        header = head.header
        if head.type.TYPE.startswith(self._AGENT_FAMILY):
            if not header.actor_id:
                return self._unresolvable(header, "no_subject", "an event of an agent names no actor id")
            return Resolved(f"agent:{header.actor_id}", head.raw, header.source)
        if not header.handles:
            return self._unresolvable(header, "no_subject", "it names neither a customer's handle nor a contact")
        handle = strongest(header.handles)
        customer = customer_id(header.tenant, handle.kind, handle.hash)
        resolved = msgspec.structs.replace(header, customer_id=customer, home_customer_id=customer)
        return Resolved(customer, self._codec.rehead(head, resolved), header.source)

    @staticmethod
    def _unresolvable(header: Header, reason: str, detail: str) -> Unresolvable:
        return Unresolvable(reason, detail, header.id, header.source, header.tenant)
