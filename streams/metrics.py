"""What is watched (engine.md §8): Prometheus metrics with labels from bounded sets only, never customers."""

from prometheus_client import Counter, Gauge, Histogram

__all__ = ["GroupMetrics"]

_RECORDS = Counter("touchline_records_total", "Records read, by what became of them.", ["group", "version", "result"])
_LAG = Gauge("touchline_lag_records", "Records of the open partitions that are not folded yet.", ["group", "version"])
_LAG_SECONDS = Gauge("touchline_lag_seconds", "Age of the newest folded record when it was folded.", ["group", "version"])
_APPLY = Histogram("touchline_apply_seconds", "Time to fold one poll.", ["group", "version"])
_STORE = Histogram("touchline_store_seconds", "Time until the writes of one poll are acknowledged.", ["group", "version"])
_RETRIES = Counter("touchline_retries_total", "Tries that were repeated because something was unwell.", ["group", "version"])
_PARKED = Gauge("touchline_parked_customers", "Customers that wait in the open partitions.", ["group", "version"])
_CACHED = Gauge("touchline_cached_subjects", "Subjects in memory.", ["group", "version"])
_LATENESS = Histogram(
    "touchline_timer_lateness_seconds",
    "From a timer's expiry moment until its wake-up was appended.",
    ["group", "version"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 600),
)
_WAKES = Counter("touchline_wakes_total", "Wake-ups, by what became of them.", ["group", "version", "result"])
_PAUSED = Gauge("touchline_paused", "1 while a version stands still: paused, or retired.", ["group", "version"])
_EFFECTS = Counter("touchline_effects_total", "Effects, by what became of them.", ["group", "version", "result"])
_LINKS = Counter("touchline_links_total", "Links that records asked for, by what became of them.", ["group", "version", "result"])


class GroupMetrics:
    """The metrics of one group version."""

    def __init__(self, group: str, version: int) -> None:
        labels = (group, str(version))
        self._labels = labels
        self.lag_records = _LAG.labels(*labels)
        self.lag_seconds = _LAG_SECONDS.labels(*labels)
        self.apply_seconds = _APPLY.labels(*labels)
        self.store_seconds = _STORE.labels(*labels)
        self.retries = _RETRIES.labels(*labels)
        self.parked_customers = _PARKED.labels(*labels)
        self.cached_subjects = _CACHED.labels(*labels)
        self.paused = _PAUSED.labels(*labels)
        self.timer_lateness_seconds = _LATENESS.labels(*labels)

    def records(self, result: str, n: int) -> None:
        """Count `n` records with this result: applied, repeat, parked, woke, config, config_refused; of the resolver: resolved, quarantined."""
        if n:
            _RECORDS.labels(*self._labels, result).inc(n)

    def effects(self, result: str, n: int) -> None:
        """Count `n` effects with this result: sent, withheld (another version sends them), published (snapshots again, after a promotion)."""
        if n:
            _EFFECTS.labels(*self._labels, result).inc(n)

    def wakes(self, result: str, n: int) -> None:
        """Count `n` wake-ups with this result: appended."""
        if n:
            _WAKES.labels(*self._labels, result).inc(n)

    def links(self, result: str) -> None:
        """Count a link that a record asked for, with this result: linked, proposed, rejected, too_many_handles, shared."""
        _LINKS.labels(*self._labels, result).inc()
