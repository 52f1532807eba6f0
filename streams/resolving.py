"""Whose event is it? The pure half of the resolver: bytes of a channel topic in, bytes for the canonical log out.

An event's home is the provisional customer of its own strongest handle, and stays so for ever; it goes under the root to whom that
handle is linked. What each handle is linked to is asked of `Roots`. Where that is not known, or the handles are of several customers,
the record comes back as `Linkable`: whoever reads the claims, or links (`streams/identity/linker.py`), asks again then.
"""

from typing import ClassVar

import msgspec

from schemas.codec import Codec, Head, Undecodable
from schemas.events import Handle, Header
from schemas.handles import customer_id, strongest
from streams.identity.claim import Name, order
from streams.identity.linking_rules import HANDLES_PER_KIND_MAX, Linkable, named, too_many_of
from streams.identity.roots import Rooted, Roots

__all__ = ["Linkable", "Resolved", "Resolver", "Unresolvable"]


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
    """Resolves one record after the other; `roots` is all that it knows. Without it every handle is its own customer's.

    `future_max_s` is measured against append time.
    """

    _AGENT_FAMILY: ClassVar[str] = "agent."

    def __init__(self, codec: Codec, *, future_max_s: int, roots: Roots | None = None, handles_per_kind_max: int = HANDLES_PER_KIND_MAX) -> None:
        self._codec = codec
        self._future_max_us = future_max_s * 1_000_000
        self._handles_max = handles_per_kind_max
        self.roots = roots

    def resolve(self, value: bytes, appended_us: int) -> Resolved | Linkable | Unresolvable:
        """Resolve one channel record that was appended at `appended_us`. Hot path: no body is decoded."""
        head = self.read(value, appended_us)
        return head if isinstance(head, Unresolvable) else self.place(head)

    def read(self, value: bytes, appended_us: int) -> Head | Unresolvable:
        """Read the header of a channel record, and refuse what cannot go onto the log."""
        head = self._codec.head(value)
        if isinstance(head, Undecodable):
            return Unresolvable(head.reason, head.detail)
        header = head.header
        if header.occurred_at_us > (header.appended_at_us or appended_us) + self._future_max_us:
            return _unresolvable(header, "future_dated", "its event time lies after its append time by more than the limit")
        if head.type.TYPE.startswith(self._AGENT_FAMILY):
            return head if header.actor_id else _unresolvable(header, "no_subject", "an event of an agent names no actor id")
        return head if header.handles else _unresolvable(header, "no_subject", "it names neither a customer's handle nor a contact")

    def names(self, head: Head) -> tuple[Name, ...]:
        """Return the handles by which a record is resolved; none of an agent's."""
        return () if head.type.TYPE.startswith(self._AGENT_FAMILY) else named(head.header.handles, head.header.tenant)

    def place(self, head: Head) -> Resolved | Linkable:
        """Put a record under its customer, if `roots` knows whose its handles are. Hot path: 0.5 µs for a handle that is known, then `rehead`."""
        header = head.header
        if head.type.TYPE.startswith(self._AGENT_FAMILY):
            return Resolved(f"agent:{header.actor_id}", head.raw, header.source)
        handles, roots = header.handles, self.roots
        if roots is None:
            strong = strongest(handles)
            home = customer = customer_id(header.tenant, strong.kind, strong.hash)
        else:
            strong = handles[0] if len(handles) == 1 else strongest(handles)
            found = roots.get((header.tenant, strong.kind, strong.hash))  # type: ignore[call-overload] # a plain tuple equals its Name
            if found is None or not found.is_whole or (len(handles) > 1 and not self._agree(header.tenant, handles, roots)):
                return Linkable(named(handles, header.tenant), header.id, too_many_of(handles, self._handles_max))
            home, customer = found.home, found.customer
        resolved = msgspec.structs.replace(header, customer_id=customer, home_customer_id=home)
        return Resolved(customer, self._codec.rehead(head, resolved), header.source)

    def _agree(self, tenant: str, handles: tuple[Handle, ...], roots: Roots) -> bool:
        """Tell whether nothing is to be done about these handles: all are one customer's, or those who are not are to stay apart."""
        found: dict[str, Rooted] = {}
        for handle in handles:
            known = roots.get((tenant, handle.kind, handle.hash))  # type: ignore[call-overload] # as above
            if known is None or not known.is_whole:
                return False
            found[known.customer] = known
        if len(found) == 1 or too_many_of(handles, self._handles_max):
            return True
        target, *others = sorted(found.values(), key=lambda known: order(known.root))
        return all(roots.is_apart(known.customer, target.customer) for known in others)


def _unresolvable(header: Header, reason: str, detail: str) -> Unresolvable:
    return Unresolvable(reason, detail, header.id, header.source, header.tenant)
