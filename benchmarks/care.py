"""What the care group costs per event without log and store: days of clocks, alerts and figures through the engine, states in memory.

Time goes by as it does live: whoever's timer comes is woken by a record, and what loops back is appended. The driver's own part,
its wheel and its sending, is not in the figures. Must not know servers.
"""

import gc
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from benchmarks.figures import Figure, Grid, Section
from benchmarks.folding import histories
from benchmarks.material import TENANT, Keyed, centre_day, sealed_log
from connectors import centre
from projections.kernel import Subject
from projections.registry import GROUPS, Group
from projections.rules import Rulebook
from schemas.codec import Codec, Head
from streams.armed import Expiry
from streams.collector import calm_collector
from streams.effects import DESTINATIONS
from streams.engine import Engine
from streams.published import publication
from streams.records import Batch, RawRecord
from streams.timers import TimerWheel
from streams.wakeups import Wake
from streams.work import Work
from touchline.publishing import read_file

__all__ = ["Load", "Spent", "care", "day_load", "folded", "mix_load", "upto"]

CARE: Final = GROUPS["care"]
POLICIES: Final = Path(centre.__file__).with_name("policies.toml")
_POLL_RECORDS: Final = 1000
_EVERYBODY: Final = 10**9
_WAKES_MAX: Final = 10**6


class Load(msgspec.Struct, frozen=True):
    """A log to fold, in the order of append time, and the rules that are published before it."""

    name: str
    records: list[tuple[bytes, bytes, int]]
    """Key, value, append time in epoch µs."""
    rules: Rulebook


class Spent(msgspec.Struct):
    """What a fold of `events` took and made. `cpu_s` is of this thread; wake-ups and what looped back are in it, but are no `events`."""

    events: int
    cpu_s: float = 0.0
    rows: int = 0
    tallies: int = 0
    effects: int = 0
    timers: int = 0
    wakes: int = 0
    looped: int = 0
    parked: int = 0

    @property
    def us(self) -> float:
        """CPU µs per event."""
        return self.cpu_s / self.events * 1e6

    def add(self, work: Work) -> None:
        """Count what one batch led to."""
        self.rows += len(work.fan_out) + len(work.own)
        self.tallies += len(work.tallies)
        self.effects += len(work.effects)
        self.timers += len(work.timers)
        self.parked += work.results["parked"]


def care(events: int, repeat: int, folder: Path) -> Section:
    """Measure a day of the centre under its rules, and a mix of mails and calls under the same; `repeat` times, after one to warm up."""
    codec, day, mix = Codec(), day_load(events, folder), mix_load(events)
    groups = [Group("care", CARE.version, ()), *(upto(n) for n in range(1, len(CARE.projections) + 1))]
    rounds = [([folded(day, group, codec) for group in groups], folded(mix, CARE, codec)) for _ in range(repeat + 1)][1:]
    days = [found for found, _ in rounds]
    whole, mixed = [found[-1] for found in days], [found for _, found in rounds]
    figures = (
        Figure("a day of the centre: CPU per event", "µs", tuple(one.us for one in whole), at_most=25),
        Figure("of which reading headers and putting records in order", "µs", tuple(found[0].us for found in days)),
        Figure("mails and calls, each of which moves a clock: CPU per event", "µs", tuple(one.us for one in mixed)),
    )
    made = Grid(
        ("load", "events", "wake-ups", "looped back", "rows", "tallies", "effects", "timer changes"),
        tuple(_made(load.name, runs[0]) for load, runs in ((day, whole), (mix, mixed))),
    )
    notes = (
        f"Wake-ups and what loops back are in the CPU, but are no events; a timer that comes within a poll of {_POLL_RECORDS:,} needs no wake-up.",
        "A projection adds what it costs behind those before it: bodies that it is the first to read, its rows, its state. Rows count states.",
        *(f"{spent.parked} records of parked customers: the figures are of no use." for spent in (*whole, *mixed) if spent.parked),
    )
    return Section("fold", "Fold of the care group, without log and store", figures, (made, _parts(days)), notes)


def day_load(events: int, folder: Path) -> Load:
    """Return a day of the centre as ingest and resolver leave it, under the rules that come with it."""
    path = folder / "care-day.jsonl"
    centre_day(path, events, seed=1)
    return Load("a day of the centre", _timed(sealed_log(iter([path]), folder)), _rules())


def mix_load(events: int) -> Load:
    """Return customers who write mails, are answered and resolved, or call and are put through: each event moves a clock."""
    codec = Codec()
    everybody = sorted((event for history in histories(events) for event in history), key=lambda event: event.header.occurred_at_us)
    log = (((event.header.customer_id or "").encode(), codec.encode(event)) for event in everybody)
    return Load("mails and calls", _timed(log), _rules())


def upto(number: int) -> Group:
    """Return the care group with the first `number` of its projections."""
    return Group("care", CARE.version, CARE.projections[:number])


def folded(load: Load, group: Group, codec: Codec, poll_records: int = _POLL_RECORDS) -> Spent:
    """Fold a load by a group that knows nothing yet. Before each poll those are woken whose timers have come by then."""
    engine = Engine(group, codec, tenant=TENANT, cached_subjects_max=_EVERYBODY)
    engine.open(0, None)
    clock = _Clock(codec)
    spent, first_us = Spent(len(load.records)), load.records[0][2]
    rules = msgspec.structs.replace(publication(load.rules, tenant=TENANT, record_id="rules", now_us=first_us, effective_at_us=0), version=1)
    offset, waiting = 0, [(b"config:rules", codec.encode(rules), first_us)]
    gc.collect()
    thresholds = gc.get_threshold()
    calm_collector()
    try:
        for part in _polls(load.records, poll_records):
            until_us = part[0][2]
            woken = clock.come(until_us)
            spent.wakes += len(woken)
            poll = [*waiting, *woken, *part]
            batch = Batch(0, [RawRecord(n, *one) for n, one in enumerate(poll, offset)])
            offset += len(poll)
            began = time.thread_time()
            work = engine.feed(engine.take(batch), {})
            engine.acknowledge(engine.work_number)
            spent.cpu_s += time.thread_time() - began
            spent.add(work)
            clock.note(work)
            looped = (effect for effect in work.effects if DESTINATIONS[effect.kind].loop_back)
            waiting = [(effect.key.encode(), codec.encode(effect.payload), part[-1][2]) for effect in looped]
            spent.looped += len(waiting)
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)
    return spent


class _Clock:
    """Who waits for which timer; in place of the owner of the partition."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._wheel = TimerWheel()
        self._next: dict[Subject, Expiry] = {}

    def note(self, work: Work) -> None:
        """Remember what a batch armed."""
        for due in work.timers:
            subject = Subject(due.tenant, due.subject)
            if due.was_us >= 0:
                self._wheel.cancel(0, *subject, due.was_us)
            if due.next is None:
                self._next.pop(subject, None)
            else:
                self._next[subject] = due.next
                self._wheel.arm(0, *subject, due.next.expires_us)

    def come(self, until_us: int) -> list[tuple[bytes, bytes, int]]:
        """Return the wake-ups of everybody whose timer came before this moment, as records."""
        found = []
        for one in self._wheel.due(until_us, _WAKES_MAX):
            expiry = self._next.pop(one.subject)
            wake = Wake(0, one.subject, expiry.name, expiry.due_us, expiry.expires_us)
            found.append((one.subject.id.encode(), self._codec.encode(wake.event("care")), until_us))
        return found


def _parts(days: Sequence[Sequence[Spent]]) -> Grid:
    """Return what each projection adds to those before it, by the medians of all runs and the counts of the first."""
    names = ("the loop alone", *(projection.name for projection in CARE.projections))
    rows, before = [], Spent(1)
    for number, name in enumerate(names):
        costs = [run[number].us - (run[number - 1].us if number else 0.0) for run in days]
        one = days[0][number]
        made = (one.rows - before.rows, one.tallies - before.tallies, one.effects - before.effects, one.wakes - before.wakes)
        rows.append((name, f"{median(costs):.1f}", *(f"{n / one.events:.3f}" for n in made)))
        before = one
    return Grid(("projection, a day of the centre", "adds µs", "rows", "tallies", "effects", "wake-ups"), tuple(rows))


def _made(name: str, spent: Spent) -> tuple[str, ...]:
    per = (spent.wakes, spent.looped, spent.rows, spent.tallies, spent.effects, spent.timers)
    return (name, f"{spent.events:,}", *(f"{n / spent.events:.3f}" for n in per))


def _rules() -> Rulebook:
    return read_file(POLICIES, effective_at_us=0)


def _timed(log: Iterable[Keyed]) -> list[tuple[bytes, bytes, int]]:
    codec, found = Codec(), []
    for key, value in log:
        head = codec.head(value)
        if isinstance(head, Head):
            found.append((key, value, head.header.occurred_at_us))
    return found


def _polls(records: Sequence[tuple[bytes, bytes, int]], poll_records: int) -> Iterator[list[tuple[bytes, bytes, int]]]:
    several = iter(records)
    while part := list(islice(several, poll_records)):
        yield part
