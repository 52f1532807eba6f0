"""Which entries of the audit topic answer a question: newest first. Blocking; does not ask whether the chain holds."""

import msgspec

from schemas.codec import Codec
from schemas.events import AuditEntry
from streams.log.newest import Backwards, Found, Newest
from streams.records import RawRecord

__all__ = ["Wanted", "newest_entries"]


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A question: only entries of these, where they are not empty or None."""

    actor: str | None = None
    customer: str | None = None
    tenant: str | None = None
    actions: frozenset[str] = frozenset()

    def __contains__(self, entry: AuditEntry) -> bool:
        """Tell whether an entry is asked for."""
        return (
            self.actor in {None, entry.actor}
            and self.tenant in {None, entry.tenant}
            and (self.customer is None or self.customer in {entry.customer, entry.details.get("other")})
            and (not self.actions or entry.action in self.actions)
        )


def newest_entries(
    reader: Backwards, codec: Codec, partitions: int, wanted: Wanted, limit: int, *, since_us: int | None = None
) -> list[Found[AuditEntry]]:
    """Return the newest entries that are asked for, each once, at most `limit`. Raises `Retryable` if no broker answers."""

    def read(record: RawRecord) -> AuditEntry | None:
        entry = codec.decode(record.value)
        return entry if isinstance(entry, AuditEntry) and entry in wanted else None

    return Newest(reader, read, at_us=lambda entry: entry.at_us, id_of=lambda entry: entry.id).of(partitions, limit, since_us)
