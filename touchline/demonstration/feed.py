"""The simulated centre as an input of the importer: first what has happened already, then each event when it is handed over."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from typing import Any

import msgspec

from connectors.centre import Scale, delivered, events, scaled
from connectors.contract import Draft, Rejected
from connectors.files import Chunk, Input
from connectors.manifest import CHUNK_RECORDS
from connectors.public import PublicReader

__all__ = ["CentreFeed", "Seen"]

SOURCE = "/demo/centre"
POLL_S = 0.25
HISTORY_DAYS = 1.5
"""How many of the centre's days lie in the past when the demonstration begins."""

DAY_S = 86_400


class Seen:
    """What went by: totals by channel, the newest events, and how many channels each account was seen in. Bounded."""

    ACCOUNTS_MAX = 5000
    NEWEST = 8

    def __init__(self) -> None:
        self.total = 0
        self.live = 0
        self.by_channel: Counter[str] = Counter()
        self.newest: list[tuple[str, str, str]] = []
        self._accounts: dict[str, set[str]] = {}

    def note(self, event: dict[str, Any], *, live: bool) -> None:
        """Count one event."""
        data = event["data"]
        self.total += 1
        self.live += live
        self.by_channel[data["channel"]] += 1
        self.newest = [*self.newest[-self.NEWEST + 1 :], (event["time"][11:19], data["channel"], event["type"])]
        for handle in data.get("customer", ()):
            if handle["kind"] == "account" and (handle["value"] in self._accounts or len(self._accounts) < self.ACCOUNTS_MAX):
                self._accounts.setdefault(handle["value"], set()).add(data["channel"])

    def busiest_account(self) -> str | None:
        """Return the (invented) account that was seen in most channels."""
        return max(self._accounts, key=lambda account: (len(self._accounts[account]), account), default=None)


class CentreFeed:
    """Days of 86,400 / `speed` seconds: one and a half in the past at the start, the rest live, until `stop`. Some events come late.

    `chunks()` blocks between chunks: the importer reads it in a thread.
    """

    def __init__(self, *, seed: int, day_events: int, speed: float, tenant: str, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.seen = Seen()
        self.history_done = threading.Event()
        self._seed = seed
        self._scale = _staffed(scaled(day_events), speed)
        self._day_s = max(60, round(DAY_S / speed))
        self._tenant = tenant
        self._clock = clock
        self._stopping = threading.Event()
        self._encode = msgspec.json.encode

    def stop(self) -> None:
        """End after the chunk under way."""
        self._stopping.set()

    def input(self) -> Input:
        """Return the input for an importer."""
        return Input(SOURCE, self._chunks(), None, "records")

    def _events(self) -> Iterator[dict[str, Any]]:
        """Yield the events of day after day in order of time; what is under way when a day ends goes on in the next one."""
        start = (self._clock() - timedelta(seconds=self._day_s * HISTORY_DAYS)).replace(microsecond=0)
        seed = self._seed
        waiting: list[tuple[datetime, int, dict[str, Any], Iterator[dict[str, Any]]]] = []
        while True:
            if not waiting or waiting[0][0] >= start:
                _push(waiting, seed, events(seed, start, *self._scale, self._tenant, day_s=self._day_s))
                seed, start = seed + 1, start + timedelta(seconds=self._day_s)
                continue
            _, day, event, rest = heappop(waiting)
            yield event
            _push(waiting, day, rest)

    def _chunks(self) -> Iterator[Chunk]:
        reader = PublicReader(tenant=self._tenant)
        waiting = delivered(self._events())
        at, event = next(waiting)
        done = 0
        while not self._stopping.is_set():
            slots: list[Draft | Rejected] = []
            now = self._clock()
            while len(slots) < CHUNK_RECORDS and at <= now:
                done += 1
                slots.append(reader.read(self._encode(event), done))
                self.seen.note(event, live=self.history_done.is_set())
                at, event = next(waiting)
            if slots:
                yield Chunk(slots, [None] * len(slots), done)
            if len(slots) < CHUNK_RECORDS:
                self.history_done.set()
                time.sleep(POLL_S)


def _staffed(size: Scale, speed: float) -> Scale:
    """Add agents for a day that goes by faster: just as many people come, and each takes as long as ever. Still too few, here and there."""
    return Scale(size.customers, max(size.agents, min(round(size.agents * speed / 2), size.customers // 8)))


def _push(waiting: list[tuple[datetime, int, dict[str, Any], Iterator[dict[str, Any]]]], day: int, events_: Iterator[dict[str, Any]]) -> None:
    event = next(events_, None)
    if event is not None:
        heappush(waiting, (datetime.fromisoformat(event["time"]), day, event, events_))
