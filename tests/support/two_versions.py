"""Two versions of the clockwork group over one store: what a promotion is tried on. The second one publishes snapshots."""

from typing import Any, ClassVar

import msgspec

from projections.kernel import Effect, Moment, Step, Subject
from schemas.events import CustomerContact, CustomerPreferences, Header, LogImported, ProjectionPromoted
from schemas.record import Event
from streams.records import RawRecord
from streams.store.catalogue import control_tables
from streams.store.memory import MemoryStore
from streams.store.port import GroupVersion
from streams.versions.versions import Promoting, Versions
from tests.support.clockwork import CODEC, GROUP, Bell, ClockworkGroup, Ear, Waiting
from tests.support.small_log import SmallLog

__all__ = ["NEW", "OLD", "V1", "V2", "Herald", "both", "imported", "imported_event", "promote", "promoting", "snapshots"]

SNAPSHOT = "customer.snapshot"


class Herald(Bell):
    """A bell that tells how many conversations of a customer wait: on a compacted topic, whenever that changes, and when it is asked."""

    name: ClassVar[str] = "bell"

    def apply(self, state: Waiting, event: Event, at: Moment) -> Step[Waiting]:
        step = super().apply(state, event, at)
        told = self.publish(state, Subject("acme", event.header.customer_id), at)
        return msgspec.structs.replace(step, effects=(*step.effects, *told))

    def publish(self, state: Waiting, subject: Subject, at: Moment) -> tuple[Effect, ...]:
        return (Effect(SNAPSHOT, subject.id, CustomerPreferences(latest_at_us=len(state.since_us))),)


OLD, NEW = GROUP, ClockworkGroup("clockwork", 2, (Herald(), Ear()))
V1, V2 = GroupVersion("clockwork", 1), GroupVersion("clockwork", 2)


async def both() -> MemoryStore:
    """Return a store in which v1 is active and v2 follows it."""
    into = MemoryStore([*OLD.tables(), *NEW.tables(), *control_tables()])
    versions = Versions(into)
    await versions.begin(V1, 1)
    await versions.add(V2, 2)
    await versions.move(V2, "building", "shadow", 3)
    return into


def promote(log: SmallLog, version: int, partition: int = 0) -> int:
    """Append a promotion; return its offset."""
    return _append(log, partition, ProjectionPromoted(header=_header(log), group="clockwork", version=version), b"projection:clockwork")


def imported_event(log: SmallLog, event: Event, at_us: int, partition: int = 0) -> None:
    """Append an event as an import does: now, with its append time of then."""
    header = msgspec.structs.replace(event.header, appended_at_us=at_us)
    log.put(msgspec.structs.replace(event, header=header), partition)


def imported(log: SmallLog, partition: int = 0) -> None:
    """Append the end of an import."""
    _append(log, partition, LogImported(header=_header(log), export_id="x", records=len(log.partitions[partition])), b"log:import")


async def promoting(into: MemoryStore, version: int) -> None:
    """Claim a promotion, as the command does before it appends."""
    await Versions(into).begin_promotion("clockwork", Promoting(version, f"p{version}", "op", 5))


def snapshots(sent: list[Effect]) -> dict[str, list[int]]:
    """Return what was told of each customer, in order."""
    found: dict[str, list[int]] = {}
    for effect in sent:
        if effect.kind == SNAPSHOT:
            payload: Any = effect.payload
            assert not isinstance(payload, CustomerContact)
            found.setdefault(effect.key, []).append(payload.latest_at_us)
    return found


def _header(log: SmallLog) -> Header:
    return Header(id=f"h{log.now_us}", source="/touchline", tenant="acme", occurred_at_us=log.now_us, received_at_us=log.now_us)


def _append(log: SmallLog, partition: int, event: Event, key: bytes) -> int:
    records = log.partitions[partition]
    records.append(RawRecord(len(records), key, CODEC.encode(event), log.stamp_us()))
    return len(records) - 1
