"""What readers ask of the figures: the service levels of a day, by queue and channel, by day or quarter hour.

Over the store port only. A day is one partition of `figure_vN`; what the Kafka partitions counted is added up here. Must not
know how contacts are judged (`projections/contact_outcome.py`).
"""

from collections.abc import Callable, Collection
from typing import Any

import msgspec

from projections.rules import Config
from projections.service_levels import METRIC
from projections.sla.matching import matcher_of
from streams.plain import utc
from streams.service_level import DEFINITION, Ratio, ServiceLevel, Targets, counts_of
from streams.store.columns import count_map, integer, text
from streams.store.port import GroupVersion, Store

__all__ = ["DayFigures", "FigureReader", "QueueFigures", "TargetsOf", "level_json", "targets_of"]

TargetsOf = Callable[[str, int], Targets]
"""(queue, epoch µs) -> T and S of that queue in the rules that were in force then."""

_Place = tuple[int | None, str, str]


class QueueFigures(msgspec.Struct, frozen=True):
    """One line: the contacts that entered one queue by one channel, on the day or (`slot_us`, epoch µs) in one quarter hour."""

    slot_us: int | None
    queue: str
    channel: str
    level: ServiceLevel

    def json(self) -> dict[str, Any]:
        """Return the public JSON form."""
        slot = {} if self.slot_us is None else {"slot": utc(self.slot_us)}
        return {**slot, "queue": self.queue, "channel": self.channel, **level_json(self.level)}


class DayFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The service levels of one day. `total` is over all lines; T and S stay those of each queue."""

    tenant: str
    day: str
    version: int
    lines: tuple[QueueFigures, ...]

    @property
    def total(self) -> ServiceLevel:
        """All lines together."""
        return ServiceLevel.together(line.level for line in self.lines)

    def json(self) -> dict[str, Any]:
        """Return the public JSON form."""
        return {
            "metric": METRIC,
            "definition": DEFINITION,
            "tenant": self.tenant,
            "day": self.day,
            "version": self.version,
            "figures": [line.json() for line in self.lines],
            "total": level_json(self.total),
        }


class FigureReader:
    """Reads the figures of one version of the care group. `targets` says T and S. Raises `Retryable` as the store does."""

    def __init__(self, store: Store, group: GroupVersion, targets: TargetsOf) -> None:
        self._store = store
        self._version = group.version
        self._targets = targets

    async def day(
        self, tenant: str, day: str, *, queues: Collection[str] = (), channels: Collection[str] = (), by_quarter: bool = False
    ) -> DayFigures:
        """Return the service levels of a local day (ISO), by one read of one partition; of these queues and channels, if any are named.

        A quarter hour counts with the T and S that were in force when it began, also where a line is of a whole day.
        """
        rows = await self._store.read(f"figure_v{self._version}", {"tenant": tenant, "metric": METRIC, "day": day})
        slots: dict[tuple[int, str, str], list[dict[str, int]]] = {}
        for row in rows:
            queue, channel = text(row, "queue"), text(row, "channel")
            if (not queues or queue in queues) and (not channels or channel in channels):
                slots.setdefault((integer(row, "slot"), queue, channel), []).append(count_map(row, "sums"))
        lines: dict[_Place, list[ServiceLevel]] = {}
        for (slot_us, queue, channel), parts in sorted(slots.items()):
            level = ServiceLevel.of(counts_of(parts), self._targets(queue, slot_us))
            lines.setdefault((slot_us if by_quarter else None, queue, channel), []).append(level)
        found = [QueueFigures(slot_us, queue, channel, ServiceLevel.together(parts)) for (slot_us, queue, channel), parts in lines.items()]
        found = [line for line in found if line.level.counts.offered]
        found.sort(key=lambda line: (line.slot_us or 0, line.queue, line.channel))
        return DayFigures(tenant=tenant, day=day, version=self._version, lines=tuple(found))


def targets_of(config: Config) -> TargetsOf:
    """Return what says T and S by the rules in `config`: a queue's own, else the tenant's defaults."""
    return lambda queue, at_us: Targets(*matcher_of(config.at(at_us)).queue_rules(queue))


def level_json(level: ServiceLevel) -> dict[str, Any]:
    """Return the public JSON form of service levels: every share with its n, waits in seconds, T and S as they were used."""
    counts = level.counts
    return {
        "offered": counts.offered,
        "answered": counts.answered,
        "answered_within": level.answered_within,
        "abandoned": counts.abandoned,
        "abandoned_within": level.abandoned_within,
        "short_abandons": level.short_abandons,
        "flow_out": counts.flow_out,
        "waiting": counts.waiting,
        "targets": [{"answer_within_s": one.answer_within_s, "short_abandon_s": one.short_abandon_s} for one in level.targets],
        "levels": {name: _ratio(one) for name, one in level.levels.items()},
        "asa_s": level.asa_s,
        "median_s": level.wait_s(0.5),
        "p90_s": level.wait_s(0.9),
        "abandon_rate": _ratio(level.abandon_rate),
        "abandon_rate_without_short": _ratio(level.abandon_rate_without_short),
    }


def _ratio(one: Ratio) -> dict[str, Any]:
    return {"value": None if one.value is None else round(one.value, 6), "n": one.n}
