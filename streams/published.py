"""Rulebooks on config.v1: how one is written there, and what its record means. Knows events; must not know Kafka or files.

config.v1 has one partition, so a record's place in it is the rulebook's version, and its append time is when it was published.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from projections.rules import RULES, Rulebook, rulebook_of
from schemas.codec import Codec, Undecodable
from schemas.events import ConfigPublished, Header
from streams.records import Batch, RawRecord
from touchline.errors import Misconfigured, Poison

__all__ = ["AT_APPEND", "KEY", "Published", "Unreadable", "announced", "publication", "published"]

AT_APPEND: Final = -(2**63)
"""Effective time of a record of config.v1 that holds from its append time on; 0 is 1970, a time like every other."""

KEY: Final = RULES.encode()
"""The key of rulebooks on config.v1."""

_SOURCE: Final = "/touchline/config"
_BODY_BYTES_MAX: Final = 900_000


class Published(NamedTuple):
    """A rulebook as it was published: whose, when (append time, epoch µs), under which record id, and what it says."""

    tenant: str
    published_us: int
    record_id: str
    book: Rulebook


class Unreadable(NamedTuple):
    """A record of config.v1 that nobody can use, and why."""

    offset: int
    reason: str


def publication(book: Rulebook, *, tenant: str, record_id: str, now_us: int, effective_at_us: int | None) -> ConfigPublished:
    """Return the record that publishes a rulebook; its version comes from its place in the topic.

    Raises `Misconfigured` if the rules are too long for one record.
    """
    body = msgspec.json.encode(book)
    if len(body) > _BODY_BYTES_MAX:
        raise Misconfigured(f"the rules take {len(body):,} bytes of {_BODY_BYTES_MAX:,}.", next_step="write fewer exceptions and policies.")
    return ConfigPublished(
        header=Header(id=record_id, source=_SOURCE, tenant=tenant, occurred_at_us=now_us, received_at_us=now_us),
        kind=RULES,
        id=RULES,
        version=0,
        effective_at_us=AT_APPEND if effective_at_us is None else effective_at_us,
        body=body.decode(),
    )


def announced(record: RawRecord, codec: Codec) -> ConfigPublished | Unreadable:
    """Return what a record of config.v1 tells every partition: with its version, its effective time and an id that repeats with it."""
    event = codec.decode(record.value)
    if isinstance(event, Undecodable):
        return Unreadable(record.offset, event.reason)
    if not isinstance(event, ConfigPublished) or event.kind != RULES:
        return Unreadable(record.offset, "no_rulebook")
    version = record.offset + 1
    appended_us = _appended_us(event, record)
    return msgspec.structs.replace(
        event,
        header=msgspec.structs.replace(
            event.header,
            id=f"{event.id}:{version}",
            source=_SOURCE,
            occurred_at_us=appended_us,
            causation_id=event.header.id,
            appended_at_us=None,
        ),
        version=version,
        effective_at_us=appended_us if event.effective_at_us == AT_APPEND else event.effective_at_us,
    )


def published(batches: Iterable[Batch], codec: Codec, tenant: str) -> list[Published]:
    """Return every rulebook of a tenant in the order of publication; records that cannot be read are left out, as everywhere."""
    found = []
    for record in (record for batch in batches for record in batch.records):
        event = announced(record, codec)
        if isinstance(event, Unreadable) or event.header.tenant != tenant:
            continue
        try:
            found.append(Published(tenant, event.header.occurred_at_us, event.header.causation_id or "", rulebook_of(event)))
        except Poison:
            continue
    return found


def _appended_us(event: ConfigPublished, record: RawRecord) -> int:
    """Return when a record was published: before it was imported, if it was."""
    return record.appended_us if event.header.appended_at_us is None else event.header.appended_at_us
