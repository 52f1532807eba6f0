"""What `touchline status` says of the product below its servers: lag, parked customers, what was quarantined, versions.

Every question waits `WAIT_S` at most. A broker or node that does not answer is said in words, and the rest is shown.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

from projections.registry import GROUPS
from schemas.codec import Codec
from schemas.events import Quarantined
from schemas.topics import CHANNELS
from streams.cluster import Cluster, Place
from streams.log.reader import LogReader
from streams.plain import utc
from streams.store.cassandra import CassandraStore
from streams.store.columns import text
from streams.store.parked import ParkedCustomers
from streams.store.port import GroupVersion, Store
from streams.versions.versions import Versions
from streams.wall_clock import now_us
from touchline.erasures import Erasure, Erasures
from touchline.errors import Misconfigured, Retryable, TouchlineError
from touchline.settings import Settings

__all__ = ["WAIT_S", "Section", "erasures", "lag", "parked", "quarantined", "versions"]

T = TypeVar("T")

WAIT_S: Final = 5.0
"""How long one question may take."""

_SILENT: Final[set[tuple[str, str]]] = set()
"""Servers that did not answer in time; in this process they are not waited for again."""

_TAIL_RECORDS_MAX: Final = 1000
_PARKED_SHOWN_MAX: Final = 10
_ERASING_US: Final = 180_000_000
"""For so long an erasure may be under way before it counts as cut off."""


@dataclass(frozen=True, slots=True)
class Section:
    """One more table of `status`. `data` is its form under `--json`, by `name`. Any `troubles` make the command exit 1."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    data: Any
    troubles: tuple[str, ...] = ()


class _Known(NamedTuple):
    """One version of a group. `state` is building, shadow, active, paused or retired; `why`: why it is paused.

    One that is not `noted` is the newest of this code, of a group that never began.
    """

    group: GroupVersion
    state: str
    why: str = ""
    runs: bool = True
    noted: bool = True


def lag(settings: Settings) -> Section | None:
    """Show, per consumer group, how many records it has before it; nothing where there are no topics yet."""
    interaction = settings.topic("interaction")
    channels = [settings.topic(f"channel.{channel}") for channel in CHANNELS]
    config = settings.topic("config")
    known: list[_Known] = []
    groups = {f"{settings.topic_prefix}.resolver": channels, f"{settings.topic_prefix}.config": [config]}
    with suppress(Retryable):  # it is said where the store itself is asked; of Kafka's lag that of the newest versions is shown
        known = _from_store(settings, _known)
    running = [one.group for one in known if one.runs] or [GroupVersion(group.name, group.version) for group in GROUPS.values()]
    groups |= {f"{settings.topic_prefix}.{name}.v{version}": [interaction] for name, version in running}

    def ask() -> dict[str, dict[str, int]]:
        cluster = Cluster(settings.brokers)
        ends = cluster.end_offsets([*channels, config, interaction])
        found = {}
        for name, topics in groups.items():
            committed = cluster.committed(name, topics) if ends else {}
            behind = {place: end - min(committed.get(place, 0), end) for place, end in ends.items() if place.topic in topics}
            if behind:
                found[name] = {"records": sum(behind.values()), "partitions": len(behind), "behind": sum(map(bool, behind.values()))}
        return found

    found = _within("Kafka", settings.brokers, ask)
    rows = tuple((name, f"{it['records']:,}", f"{it['behind']} of {it['partitions']}") for name, it in found.items())
    return Section("lag", "Lag", ("group", "records to read", "partitions behind"), rows, found) if found else None


def parked(settings: Settings) -> Section | None:
    """Show the customers who wait because a projection failed on one of their records; nothing if there is none."""

    async def ask(store: Store) -> list[dict[str, str | int]]:
        customers = ParkedCustomers(store)
        return [
            {
                "group": known.group.group,
                "version": known.group.version,
                "customer": one.customer,
                "records": one.n,
                "reason": one.reason,
                "failed_at": one.failed_at,
            }
            for known in await _known(store)
            for one in await customers.load(known.group)
        ]

    found = _from_store(settings, ask)
    if not found:
        return None
    rows = [tuple(str(it[name]) for name in ("group", "customer", "records", "reason", "failed_at")) for it in found[:_PARKED_SHOWN_MAX]]
    if len(found) > _PARKED_SHOWN_MAX:
        rows.append(("", f"... and {len(found) - _PARKED_SHOWN_MAX:,} more", "", "", ""))
    trouble = f"Customers parked: {len(found):,}; records of theirs that wait: {sum(int(it['records']) for it in found):,}."
    return Section("parked", "Parked customers", ("group", "customer", "waiting", "reason", "at"), tuple(rows), found, (trouble,))


def quarantined(settings: Settings) -> Section | None:
    """Show how many inputs were quarantined in the last 90 days (what the topic keeps), and the newest ones' reasons."""
    topic = settings.topic("quarantine")

    def ask() -> tuple[int, Counter[str]]:
        ranges = Cluster(settings.brokers).ranges([topic])
        total = sum(high - low for low, high in ranges.values())
        return total, _reasons(settings.brokers, topic, ranges) if total else Counter()

    total, reasons = _within("Kafka", settings.brokers, ask)
    if not total:
        return None
    looked_at = sum(reasons.values())
    rows = tuple((reason, f"{n:,}") for reason, n in reasons.most_common())
    title = f"Quarantined: {total:,} in 90 days; reasons of the newest {looked_at:,}"
    return Section("quarantined", title, ("reason", "records"), rows, {"total": total, "looked_at": looked_at, "reasons": dict(reasons)})


def versions(settings: Settings) -> Section | None:
    """Show every version of every group: what it is, and how far it has come; nothing before a worker has run."""

    async def ask(store: Store) -> list[dict[str, str | int]]:
        found: list[dict[str, str | int]] = []
        for known in await _known(store):
            checkpoints = (await store.load_checkpoints(known.group)).values()
            told: dict[str, str | int] = {"group": known.group.group, "version": known.group.version, "state": known.state, "why": known.why}
            if known.noted or checkpoints:
                found.append({**told, "partitions": len(checkpoints), "records": sum(c.next_offset for c in checkpoints)})
        return found

    found = _from_store(settings, ask)
    rows = tuple((str(it["group"]), f"v{it['version']}", str(it["state"]), str(it["partitions"]), f"{it['records']:,}") for it in found)
    troubles = tuple(f"{it['group']} v{it['version']} stands still: {it['why']}." for it in found if it["why"])
    heads = ("group", "version", "state", "partitions", "records applied")
    return Section("versions", "Versions", heads, rows, found, troubles) if found else None


def erasures(settings: Settings) -> Section | None:
    """Show the erasures that were cut off; nothing if all are done."""

    async def ask(store: Store) -> list[Erasure]:
        return await Erasures(store, now_us).unfinished()

    found = [one for one in _from_store(settings, ask) if one.begun_at_us < now_us() - _ERASING_US]
    if not found:
        return None
    rows = tuple((one.id, one.customer, one.step, utc(one.begun_at_us)) for one in found[:_PARKED_SHOWN_MAX])
    data = [{"id": one.id, "tenant": one.tenant, "customer": one.customer, "step": one.step, "begun_at": utc(one.begun_at_us)} for one in found]
    trouble = f"Erasures that are not done: {len(found):,}. Next: `touchline privacy erase --resume`."
    return Section("erasures", "Erasures not done", ("erasure", "customer", "last step", "begun"), rows, data, (trouble,))


async def _known(store: Store) -> list[_Known]:
    """Return every version of every group: those that are noted, and of groups that never began the newest of this code."""
    versions = Versions(store)
    names = dict.fromkeys([*GROUPS, *(text(row, "name") for row in await store.scan("projection_group"))])
    found = []
    for name in names:
        standing = await versions.read(name)
        if standing is None:
            if name in GROUPS:
                found.append(_Known(GroupVersion(name, GROUPS[name].version), "active", noted=False))
            continue
        for number, row in sorted(standing.versions.items()):
            state = standing.state(number) or ""
            runs = number in standing.running
            found.append(_Known(GroupVersion(name, number), "paused" if row.paused and state != "retired" else state, row.paused, runs))
    return found


def _reasons(brokers: str, topic: str, ranges: dict[Place, tuple[int, int]]) -> Counter[str]:
    """Count the reasons of the last records of a topic, `_TAIL_RECORDS_MAX` of them at most."""
    each = max(1, _TAIL_RECORDS_MAX // max(1, sum(high > low for low, high in ranges.values())))
    codec, reasons = Codec(), Counter[str]()
    with LogReader(brokers, topic, queued_kbytes=1024) as reader:
        for place, (low, high) in ranges.items():
            for batch in reader.batches(place.partition, max(low, high - each), high):
                for record in batch.records:
                    note = codec.decode(record.value)
                    reasons[note.reason if isinstance(note, Quarantined) else "unreadable"] += 1
    return reasons


def _from_store(settings: Settings, ask: Callable[[Store], Awaitable[list[T]]]) -> list[T]:
    """Ask Cassandra; an empty list where there are no tables yet."""

    async def asked() -> list[T]:
        store = await CassandraStore.connect(settings)
        try:
            return await ask(store)
        except Misconfigured:
            return []  # no tables yet: nothing has run
        finally:
            await store.close()

    return _within("Cassandra", f"{settings.cassandra_hosts} port {settings.cassandra_port}", lambda: asyncio.run(asked()))


def _within(server: str, address: str, ask: Callable[[], T]) -> T:
    """Ask in a thread and wait `WAIT_S` for the answer. The libraries' own time-outs are longer, and some cannot be set.

    A thread that is given up is a daemon: the process does not wait for it.
    """
    answers: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            answers.append(ask())
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            errors.append(error)

    if (server, address) not in _SILENT:
        thread = threading.Thread(target=run, name=f"status-{server}", daemon=True)
        thread.start()
        thread.join(WAIT_S)
    next_step = f"`touchline up`, or check the address ({address})."
    if answers:
        return answers[0]
    if not errors:
        _SILENT.add((server, address))
        raise Retryable(f"{server} did not answer within {WAIT_S:.0f} s.", next_step=next_step)
    if isinstance(errors[0], TouchlineError):
        raise errors[0]
    raise Retryable(f"{server} could not be asked ({type(errors[0]).__name__}).", next_step=next_step) from errors[0]
