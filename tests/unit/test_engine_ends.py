"""The engine at the end of a replay's input: whose timers expire then, and whose do not."""

import asyncio

from projections.kernel import Config, Subject
from streams.armed import next_of
from streams.engine import Engine
from streams.parking import ParkedCustomer
from streams.store.port import Checkpoint, GroupVersion
from tests.support.clockwork import CODEC, GROUP, SECOND, batch, event, record, rules, store
from tests.support.folds import folded

VERSION = GroupVersion("clockwork", 1)


def engine() -> Engine:
    """Return an engine that has just started; the bell rings after 60 s."""
    return Engine(GROUP, CODEC, tenant="acme", cached_subjects_max=1000, config=Config((rules(60),)))


def test_nobody_is_told_again_of_who_waits() -> None:
    """Else whoever drives would have it expire again and again, where it is not kept in memory."""
    into, waits, flows = store(), Subject("acme", "c1"), Subject("acme", "c2")
    first = engine()
    first.open(0, None)
    asked = [record(n, event("received", 1 + n, 100), 100) for n in range(2)]
    folded(first, batch([*asked, record(2, event("poison", 1, 101), 101)]), into)
    [parked] = [ParkedCustomer.from_row(row) for row in asyncio.run(into.scan("parked_customer"))]
    later = engine()
    later.open(0, Checkpoint(3, 101 * SECOND, active=True, event_time_us=0), [parked])
    states = asyncio.run(into.load_states(VERSION, [waits, flows]))
    assert all(next_of(states[subject]) is not None for subject in (waits, flows))
    work = later.expire(0, [waits, flows], states, 200 * SECOND)
    assert [due.subject for due in work.timers] == ["c2"]
    assert work.results["woke"] == 1
