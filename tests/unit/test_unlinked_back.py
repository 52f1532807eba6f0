"""A customer who is taken from one customer and goes back to another: linked to that one all the time, whichever record comes first."""

import asyncio
from itertools import permutations

import pytest

from projections.customer import Customer
from projections.kernel import Subject
from projections.linked import Links
from projections.registry import GROUPS
from projections.testing import World, handle, make, message_received
from schemas import events
from schemas.codec import Codec
from schemas.record import Event
from streams.cluster import Place
from streams.engine import Engine
from streams.records import Batch, RawRecord
from streams.runner import GroupRunner
from streams.store.catalogue import known_tables
from streams.store.memory import MemoryStore
from streams.store.port import GroupVersion
from streams.subjects import SubjectEntry
from streams.work import Work
from tests.support.small_log import TOPIC, Effects

TAKEN = make(events.IdentityUnlinked, id="u", at="10:00", customer="cu-p", from_="cu-p", to="cu-c", turn=1, back="cu-d")
GIVEN = make(events.IdentityLinked, id="l1", at="10:00", customer="cu-p", handle=handle("email", "ann"), from_="cu-p", to="cu-d", turn=1)
FIRST = make(events.IdentityLinked, id="l0", at="09:00", customer="cu-p", handle=handle("email", "ann"), from_="cu-p", to="cu-c", turn=0)


@pytest.mark.parametrize("last", list(permutations([TAKEN, GIVEN])))
def test_it_is_shown_as_the_customer_to_whom_it_went(last: tuple[Event, ...]) -> None:
    world = World((Customer(),))
    for event in (message_received(id="m", at="08:00", customer="cu-p", conversation_id="c-1"), FIRST, *last):
        world.append(event)
    assert {row["canonical_id"] for row in world.rows()["customer"]} == {"cu-d"}


@pytest.mark.parametrize("last", list(permutations([TAKEN, GIVEN])))
def test_it_stays_quiet(last: tuple[Event, ...]) -> None:
    links = Links()
    for event in (FIRST, *last):
        if isinstance(event, events.IdentityLinked):
            links.leave(event)
        elif isinstance(event, events.IdentityUnlinked):
            links.come_back(event)
    assert links.to == "cu-d"


def test_a_rebuild_of_whom_nobody_has_in_memory_does_not_end_a_worker_that_runs_no_timers() -> None:
    """It says of the customer that no timer is armed, for it cannot know what was."""
    view, codec = GROUPS["view"], Codec()
    engine = Engine(view, codec, tenant="acme", cached_subjects_max=10)

    class Rebuilding:
        async def rebuild(self, batch: Batch) -> Work:
            engine.replace(0, Subject("acme", "cu-p"), SubjectEntry([None for _ in view.projections], None), None)
            return engine.feed(engine.take(batch), {})

    async def story() -> None:
        into = MemoryStore([*known_tables(), *view.tables()])
        runner = GroupRunner(engine, into, Effects(), topic=TOPIC, rebuilding=Rebuilding())
        await runner.assign([Place(TOPIC, 0)])
        await runner.run([Batch(0, [RawRecord(0, b"cu-p", codec.encode(TAKEN), TAKEN.header.received_at_us)], topic=TOPIC)])
        await runner.drain()
        assert (await into.load_checkpoints(GroupVersion("view", view.version)))[0].next_offset == 1

    asyncio.run(story())
