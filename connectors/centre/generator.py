"""`events`: the day from midnight to midnight, in order of time. `scaled`: how large it must be for so many events."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from datetime import datetime, timedelta
from hashlib import blake2b
from itertools import accumulate
from random import Random
from typing import Any, BinaryIO, NamedTuple

import msgspec

from connectors.centre.canaries import Planting, check, plant
from connectors.centre.clockwork import Process
from connectors.centre.day import Day
from connectors.centre.journeys import journey
from connectors.centre.shifts import staff
from touchline.errors import Refused

__all__ = ["Scale", "events", "lines", "scaled"]

_LOAD = (3, 2, 1, 1, 1, 3, 8, 22, 52, 84, 100, 92, 70, 60, 58, 60, 66, 78, 94, 98, 74, 42, 20, 8)
"""Customers by hour: a peak before noon and one after work."""
_LOAD_UPTO = [0, *accumulate(_LOAD)]
_AFTERMATH_US = 7_200 * 1_000_000
"""After the last arrival, what is under way may end within two hours; what then still waits stays unanswered."""
_EVENTS_PER_CUSTOMER = 14.3
_EVENTS_PER_AGENT = 12
_CUSTOMERS_PER_AGENT = 117
_AGENTS_MIN = 4


class Scale(NamedTuple):
    """The size of a day."""

    customers: int
    agents: int


def scaled(n_events: int) -> Scale:
    """Choose customers and agents so that about `n_events` come out of a day of 24 hours (within a tenth from 2,000 on)."""
    customers = max(1, round(n_events / (_EVENTS_PER_CUSTOMER + _EVENTS_PER_AGENT / _CUSTOMERS_PER_AGENT)))
    return Scale(customers, max(_AGENTS_MIN, round(customers / _CUSTOMERS_PER_AGENT)))


def events(
    seed: int,
    start: datetime,
    customers: int,
    agents: int,
    tenant: str,
    *,
    day_s: int = 86_400,
    canaries: Sequence[str] = (),
    planted: MutableMapping[str, Planting] | None = None,
) -> Iterator[dict[str, Any]]:
    """Return the events of one day in the public JSON form (cli.md §2), times strictly rising; the same arguments give the same events.

    `customers` is how many people do something, `agents` how many are on the pay-roll that day; waiting and giving up come
    from the two. `day_s` squeezes load and shifts into a shorter day; talks and patience keep their real lengths.
    `canaries` are markers to plant (see `canaries.py`), one for two customers at most; `planted`, filled while the events go by,
    tells where each went.
    Raises `Refused` for a naive start, no customers or agents, or markers that do not fit.
    """
    if start.utcoffset() != timedelta(0):
        raise Refused("The start has no time zone or not UTC.", reason="naive_time", next_step="Pass an aware datetime in UTC.")
    if customers < 1 or agents < 1 or day_s < 1:
        raise Refused("A day needs at least one customer, one agent and one second.", reason="size", next_step="Pass numbers above zero.")
    day = _simulate(seed, start, Scale(customers, agents), tenant, day_s)
    if not canaries:
        return day
    check(canaries, customers // 2)
    return plant(day, canaries, {} if planted is None else planted, max(1, customers * 3 // len(canaries)))


def _simulate(seed: int, start: datetime, scale: Scale, tenant: str, day_s: int) -> Iterator[dict[str, Any]]:
    start_us = round(start.timestamp()) * 1_000_000
    mark = blake2b(repr((seed, start_us, *scale, tenant, day_s)).encode(), digest_size=4).hexdigest()
    rng = Random(f"{seed}/{mark}")  # noqa: S311 - a simulation must be repeatable, and nothing secret hangs on it
    day = Day(rng, mark, tenant, start_us, day_s * 1_000_000 // 24)
    staff(day, scale.agents)
    day.clock.start(_arrivals(day, scale.customers))
    return day.clock.run(start_us + day_s * 1_000_000 + _AFTERMATH_US, day.out)


def _arrivals(day: Day, customers: int) -> Process:
    """Start a journey at each of `customers` sorted random instants, made one after another: none is kept.

    The next of n sorted uniform numbers above u lies at 1 - (1-u) * v^(1/n), v uniform (order statistics).
    """
    reached, begin_us = 0.0, day.clock.now_us
    for left in range(customers, 0, -1):
        reached = 1.0 - (1.0 - reached) * day.rng.random() ** (1.0 / left)
        at_us = begin_us + _by_load(reached, day.hour_us)
        yield max(0, at_us - day.clock.now_us)
        day.clock.start(journey(day, day.people.next()))


def _by_load(share: float, hour_us: int) -> int:
    """Return when `share` of the day's customers have come, in µs after its start."""
    load = share * _LOAD_UPTO[-1]
    hour = min(23, bisect_right(_LOAD_UPTO, load) - 1)
    return int((hour + (load - _LOAD_UPTO[hour]) / _LOAD[hour]) * hour_us)


def lines(source: Iterable[dict[str, Any]], out: BinaryIO) -> int:
    """Write events as JSON lines (UTF-8) to `out`; return how many."""
    encode, count = msgspec.json.Encoder().encode, 0
    for event in source:
        out.write(encode(event) + b"\n")
        count += 1
    return count
