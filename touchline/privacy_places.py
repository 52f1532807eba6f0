"""In which topics and tables something of a person lies, how much, and for how long it stays there.

A table is counted by reading the person's partitions where it has such, else by going through it. Of the topics the log is counted by
the timeline, which has a row for each of its records; the others are only named, unless they are to be read whole.
"""

import asyncio
from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from projections.registry import VERSIONS
from projections.tables import Table
from schemas.sealing import WrappedKey
from schemas.topics import CHANNELS, DAY_MS, UNLIMITED, TopicSpec, topics
from streams.cluster import Cluster
from streams.control_topic import KnownBy
from streams.log.reader import LogReader
from streams.store.columns import integer, text
from streams.store.port import Store
from streams.timeline_row import TimelineRow
from streams.versions.versions import Versions
from touchline.erasing_person import Person
from touchline.erasing_said import Office
from touchline.settings import Settings

__all__ = ["Place", "places_of"]

_FOR_EVER: Final = "for ever"
_DAY_S: Final = 86_400
_ALL: Final = ("interaction", "sla", "alert", "escalation", "customer")
"""Topics whose records lie under customers; those of the channels lie under handles."""


class Place(msgspec.Struct, frozen=True):
    """One topic or table. `records` None: not counted. `sealed`: whether it holds sealed parts; `kept` says for how long in words."""

    name: str
    kind: str
    what: str
    records: int | None
    sealed: bool
    kept: str


async def places_of(
    settings: Settings, desk: Office, person: Person, rows: Sequence[TimelineRow], keys: Sequence[WrappedKey], *, search: bool
) -> list[Place]:
    """Return every place in which something of the person lies, or may lie, topics first."""
    specs = {spec.name: spec for spec in topics(settings.topic_prefix, settings.partitions)}
    names = [*_ALL, *(f"channel.{channel}" for channel in sorted({row.channel for row in rows} & set(CHANNELS)))]
    found = [await _topic(settings, specs[settings.topic(name)], person, rows, search=search) for name in names]
    found += await _tables(desk.store, person)
    found += await _control(desk, person)
    if keys:
        found.append(Place("keyring.data_key", "table", "keys of the handles, wrapped", len(keys), sealed=False, kept=_FOR_EVER))
    return [place for place in found if place.records is None or place.records]


async def _topic(settings: Settings, spec: TopicSpec, person: Person, rows: Sequence[TimelineRow], *, search: bool) -> Place:
    name = spec.name.removeprefix(f"{settings.topic_prefix}.").removesuffix(".v1")
    records: int | None
    if search:
        records = await asyncio.to_thread(_searched, settings.brokers, spec.name, _record_keys(name, person))
    else:
        records = len(rows) if name == "interaction" else None
    kept = (
        "until the next snapshot"
        if spec.cleanup == "compact"
        else _FOR_EVER
        if spec.retention_ms == UNLIMITED
        else f"{spec.retention_ms // DAY_MS} days"
    )
    return Place(spec.name, "topic", _WHAT.get(name, "what the channel said"), records, sealed=name not in _UNSEALED, kept=kept)


_UNSEALED: Final = frozenset({"sla", "alert", "escalation", "customer"})
_WHAT: Final = {
    "interaction": "everything that happened, and what was made of it",
    "sla": "clocks: what was promised, kept and missed",
    "alert": "alerts, contacts that nobody answered",
    "escalation": "steps of escalations",
    "customer": "the public snapshot",
}


def _record_keys(name: str, person: Person) -> frozenset[bytes]:
    """Return under which keys records of a person lie in a topic."""
    if name.startswith("channel."):
        return frozenset(claim.name.hash for claim in person.claims)
    return frozenset(customer.encode() for customer in person.customers)


def _searched(brokers: str, topic: str, wanted: Collection[bytes]) -> int:
    """Count the records of a topic that lie under one of these keys. Blocking: reads all of it."""
    count = 0
    ranges = Cluster(brokers).ranges([topic])
    with LogReader(brokers, topic, queued_kbytes=8192) as reader:
        for place, (first, end) in ranges.items():
            for batch in reader.batches(place.partition, first, end):
                count += sum(record.key in wanted for record in batch.records)
    return count


async def _tables(store: Store, person: Person) -> list[Place]:
    """Return what every version of every group holds of the person."""
    versions, found = Versions(store), []
    for name in dict.fromkeys(name for name, _ in VERSIONS):
        standing = await versions.read(name)
        there = {number for number in standing.versions if standing.state(number) != "retired"} if standing is not None else set[int]()
        for (_, version), group in sorted((key, group) for key, group in VERSIONS.items() if key[0] == name and key[1] in there):
            months = await _months(store, version, person) if name == "view" else []
            for table in group.tables():
                records = await _count(store, table, person, months)
                if records is not None:
                    sealed = any(column.startswith("sealed") for column in table.columns)
                    found.append(Place(table.physical, "table", f"{name} v{version}: {table.name}", records, sealed=sealed, kept=_kept(table)))
    return found


def _kept(table: Table) -> str:
    return f"{table.default_ttl_s // _DAY_S} days" if table.default_ttl_s else _FOR_EVER


async def _months(store: Store, version: int, person: Person) -> list[tuple[str, str]]:
    """Return (customer, month) of the partitions of the person's timeline."""
    rows = await store.read_many(f"timeline_months_v{version}", _partitions(person, "customer_id"))
    return [(text(row, "customer_id"), text(row, "month")) for some in rows for row in some]


def _partitions(person: Person, column: str) -> list[dict[str, str | int]]:
    return [{"tenant": person.tenant, column: customer} for customer in sorted(person.customers)]


async def _count(store: Store, table: Table, person: Person, months: Sequence[tuple[str, str]]) -> int | None:
    """Count a table's rows of a person; None if it holds nothing of customers."""
    whose = next((column for column in ("customer_id", "subject") if column in table.columns), None)
    if whose is None:
        return None
    if table.partition_key == ("tenant", whose):
        return sum(map(len, await store.read_many(table.physical, _partitions(person, whose))))
    if table.partition_key == ("tenant", whose, "month"):
        keys: list[dict[str, str | int]] = [{"tenant": person.tenant, whose: customer, "month": month} for customer, month in months]
        return sum(map(len, await store.read_many(table.physical, keys)))
    count = 0
    async for page in store.pages(table.physical):
        count += sum(row["tenant"] == person.tenant and row[whose] in person.customers for row in page)
    return count


async def _control(desk: Office, person: Person) -> list[Place]:
    """Return what the control tables hold of the person."""
    store, handles = desk.store, [KnownBy(claim.name.kind, claim.name.hash) for claim in person.claims]
    back = await store.read_many("identities_by_customer", _partitions(person, "customer"))
    pairs = await store.read_many("identity_pair", _partitions(person, "customer"))
    waiting = sum(integer(row, "n", 0) for row in await store.scan("parked_customer") if row["customer"] in person.customers)
    erased = [one for one in await desk.erasures.all(person.tenant) if one.customers & person.customers]
    counts = {
        ("identity", "whose each handle is"): sum(claim.exists for claim in person.claims),
        ("identities_by_customer", "the handles of a customer"): sum(map(len, back)),
        ("identity_pair", "what was decided about two customers"): sum(map(len, pairs)),
        ("identity_proposal", "proposals to merge"): len(await desk.places.proposals(person.tenant, person.customers)),
        ("parked_customer", "records that could not be folded yet, and wait on the log"): waiting,
        ("erasure", "erasures"): len(erased),
    }
    found = [Place(name, "table", what, n, sealed=False, kept=_FOR_EVER) for (name, what), n in counts.items()]
    raw = await desk.places.raw_payloads(person.tenant, handles)
    return [*found, Place("raw_payload", "table", "payloads as they came, for mapping them again", len(raw), sealed=True, kept="30 days")]
