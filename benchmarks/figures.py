"""The arithmetic of the benchmarks: what a run used, per event, over several runs, and beside a target. Values only, no clocks."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median

import msgspec

__all__ = ["Figure", "Grid", "Section", "Usage", "comparison", "percentile", "ratio", "shares", "sparkline"]

_BARS = "▁▂▃▄▅▆▇█"
_US = 1e6


class Usage(msgspec.Struct, frozen=True):
    """What one run over `events` events used. Servers' CPU is None where the servers are not on this machine or not ours."""

    events: int
    wall_s: float
    client_cpu_s: float
    store_cpu_s: float | None = None
    broker_cpu_s: float | None = None
    rows: int = 0
    requests: int = 0

    @property
    def events_per_s(self) -> float:
        """How many events there were in a second of wall time."""
        return self.events / self.wall_s

    @property
    def client_us(self) -> float:
        """CPU µs of the client process per event, all threads."""
        return self.client_cpu_s / self.events * _US

    @property
    def store_us(self) -> float | None:
        """CPU µs of Cassandra per event."""
        return None if self.store_cpu_s is None else self.store_cpu_s / self.events * _US

    @property
    def broker_us(self) -> float | None:
        """CPU µs of Kafka per event."""
        return None if self.broker_cpu_s is None else self.broker_cpu_s / self.events * _US

    @property
    def rows_per_event(self) -> float:
        """Rows written per event."""
        return self.rows / self.events

    @property
    def requests_per_event(self) -> float:
        """Requests to the store per event, reads and writes."""
        return self.requests / self.events


class Figure(msgspec.Struct, frozen=True):
    """One figure over one or more runs, with its target if it has one."""

    name: str
    unit: str
    values: tuple[float, ...]
    at_most: float | None = None
    at_least: float | None = None

    @property
    def median(self) -> float:
        """The median of all runs: what is reported."""
        return median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the median keeps to the target; None without one."""
        if self.at_most is not None:
            return self.median <= self.at_most
        return None if self.at_least is None else self.median >= self.at_least

    def json(self) -> dict[str, object]:
        """Return it for `--json`."""
        found: dict[str, object] = {"name": self.name, "unit": self.unit, "median": round(self.median, 4), "runs": [round(v, 4) for v in self.values]}
        if self.at_most is not None:
            found["at_most"] = self.at_most
        if self.at_least is not None:
            found["at_least"] = self.at_least
        return found if self.met is None else {**found, "met": self.met}


class Grid(msgspec.Struct, frozen=True):
    """A table of texts: what does not fit into one figure per line."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Section(msgspec.Struct, frozen=True):
    """What one benchmark found. `name` is its key in JSON, `notes` are sentences below the tables."""

    name: str
    title: str
    figures: tuple[Figure, ...] = ()
    grids: tuple[Grid, ...] = ()
    notes: tuple[str, ...] = ()

    def json(self) -> dict[str, object]:
        """Return it for `--json`."""
        grids = [[dict(zip(grid.columns, row, strict=True)) for row in grid.rows] for grid in self.grids]
        return {"name": self.name, "title": self.title, "figures": [f.json() for f in self.figures], "grids": grids, "notes": list(self.notes)}


def comparison(runs: Mapping[str, Sequence[Usage]], ours: str) -> Grid:
    """Return the contestants side by side, medians of their runs; ratios say how many times `ours` the others use."""
    usages = {name: [u.client_us for u in found] for name, found in runs.items()}
    stores = {name: [u.store_us for u in found if u.store_us is not None] for name, found in runs.items()}
    brokers = {name: [u.broker_us for u in found if u.broker_us is not None] for name, found in runs.items()}
    rows = []
    for name, found in runs.items():
        rows.append(
            (
                name,
                f"{found[0].events:,}",
                f"{median(u.events_per_s for u in found):,.0f}",
                f"{median(usages[name]):,.1f}",
                _or_dash(stores[name]),
                _or_dash(brokers[name]),
                f"{median(u.rows_per_event for u in found):.2f}",
                f"{median(u.requests_per_event for u in found):.2f}",
                "" if name == ours else f"{ratio(usages[name], usages[ours]):.1f}",
                "" if name == ours or not (stores[name] and stores[ours]) else f"{ratio(stores[name], stores[ours]):.1f}",
            )
        )
    columns = ("program", "events", "events/s", "client µs", "store µs", "broker µs", "rows", "requests", "× client", "× store")
    return Grid(columns, tuple(rows))


def ratio(theirs: Iterable[float], ours: Iterable[float]) -> float:
    """Return how many times ours theirs is, medians of both; 0 where ours is 0."""
    below = median(ours)
    return median(theirs) / below if below else 0.0


def shares(parts: dict[str, float]) -> dict[str, float]:
    """Return each part's share of the whole, in percent; all 0 for an empty whole."""
    whole = sum(parts.values())
    return {name: 100 * value / whole if whole else 0.0 for name, value in parts.items()}


def percentile(values: Iterable[float], percent: float) -> float:
    """Return the smallest value that `percent` of all values do not exceed (nearest rank). Raises `ValueError` for none."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("a percentile of nothing")
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def sparkline(values: Sequence[float], *, floor: float = 0.0) -> str:
    """Return a bar per value, from `floor` up to the greatest: what is flat looks flat."""
    top = max(values, default=floor)
    span = top - floor
    return "".join(_BARS[min(len(_BARS) - 1, int((value - floor) / span * len(_BARS)))] if span > 0 else _BARS[0] for value in values)


def _or_dash(values: Sequence[float]) -> str:
    return f"{median(values):,.1f}" if values else "-"
