"""What was said of a log, and what one version alone would have said: read by a bare consumer, and from the tables."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from schemas.codec import Codec
from schemas.record import Event
from streams.engine import Engine
from streams.records import Batch, RawRecord
from streams.store.port import Store
from streams.versions.group_log import promotion_key
from tests.support.harness import Installation
from tests.support.topics import stored
from tests.support.turns import CARE

__all__ = ["breached", "effects", "idle_partitions", "of_one_version", "turn_of"]

CODEC: Final = Codec()

FOLDED_TOGETHER: Final = 500


def effects(here: Installation) -> Iterator[tuple[Any, int]]:
    """Yield every effect of care that lies on the output topics, and when it was appended (ms)."""
    for one in stored(here.settings.brokers, [here.settings.topic(name) for name in ("sla", "alert", "escalation")]):
        found = CODEC.decode(one.value)
        assert isinstance(found, Event), found
        yield found, one.timestamp_ms


def of_one_version(here: Installation) -> set[str]:
    """Return the ids of the effects that one version alone would have sent, had there been no promotion: the log through one engine."""
    engine = Engine(CARE, CODEC, tenant=here.settings.tenant, cached_subjects_max=10_000_000, settle_s=here.settings.settle_s)
    found: set[str] = set()
    waiting: dict[int, list[RawRecord]] = {}

    def fold(partition: int) -> None:
        work = engine.feed(engine.take(Batch(partition, waiting.pop(partition))), {})
        found.update(effect.payload.header.id for effect in work.effects if isinstance(effect.payload, Event))

    for one in stored(here.settings.brokers, [here.settings.topic("interaction")]):
        if one.key == promotion_key("care"):
            continue
        if engine.next_offset(one.partition) is None:
            engine.open(one.partition, None)
        records = waiting.setdefault(one.partition, [])
        records.append(RawRecord(one.offset, one.key, one.value, one.timestamp_ms * 1000))
        if len(records) == FOLDED_TOGETHER:
            fold(one.partition)
    for partition in list(waiting):
        fold(partition)
    return found


def breached(here: Installation, version: int) -> set[str]:
    """Return the conversations whose clocks have breached, as a version has them."""

    async def found(store: Store) -> set[str]:
        pages = store.pages(f"clock_v{version}")
        return {str(row["conversation_id"]) async for page in pages for row in page if row["state"] == "breached"}

    return here.read(found)


def idle_partitions(here: Installation, since_ms: int) -> set[int]:
    """Return the partitions into which nothing came since then but wake-ups and promotions, and in which timers expired."""
    busy, woken = set(), set()
    for one in stored(here.settings.brokers, [here.settings.topic("interaction")]):
        if one.timestamp_ms >= since_ms:
            head = CODEC.head(one.value)
            name = type(head).__name__ if not hasattr(head, "type") else head.type.TYPE
            if name == "timer.woke":
                woken.add(one.partition)
            elif not name.startswith("projection."):
                busy.add(one.partition)
    return woken - busy


def turn_of(at_s: float, turns: Sequence[tuple[float, float]]) -> int | None:
    """Return in whose turn something was said, counted from 0; None if the turn changed just then. `turns` are (begin, end) of each change."""
    if any(begin_s <= at_s <= end_s for begin_s, end_s in turns):
        return None
    return sum(1 for _, end_s in turns if end_s < at_s)
