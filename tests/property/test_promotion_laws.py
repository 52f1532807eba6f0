"""The law of engine.md §5: of two versions that read one log exactly one speaks for each record and each expiry moment.

Every step of the projection below says where it comes from, so that what was said can be counted: by the old version, by the new one,
and by a version that is alone.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from projections.kernel import Effect, Moment, Step, Subject, Timer
from projections.rules import Config
from projections.tables import Table
from schemas.events import CustomerContact, Header, LogImported, ProjectionPromoted
from schemas.record import Event
from streams.books import positions
from streams.engine import Engine
from streams.records import RawRecord
from streams.store.catalogue import control_tables
from streams.store.memory import MemoryStore
from streams.store.port import GroupVersion
from streams.versions.promotions import Promotion, Promotions, promotions
from tests.property.test_engine_timer_laws import CUSTOMERS, END_S, Entry, entries, log_of
from tests.support.clockwork import CODEC, SECOND, Bell, ClockworkGroup, Ear, Waiting, batch, event, record, rules, wake


class Teller(Bell):
    """A bell each of whose steps has an effect: whose key says what it came from."""

    name: ClassVar[str] = "bell"

    def apply(self, state: Waiting, event: Event, at: Moment) -> Step[Waiting]:
        return _telling(super().apply(state, event, at), f"record {event.header.id}")

    def expire(self, state: Waiting, timer: Timer, at: Moment) -> Step[Waiting]:
        return _telling(super().expire(state, timer, at), f"timer {timer.name} {timer.due_at_us} at {at.appended_at_us}")

    def configure(self, state: Waiting, at: Moment) -> Step[Waiting]:
        return _telling(super().configure(state, at), f"rules {at.config.newest.version} {sorted(state.since_us)}")


class TellerGroup(ClockworkGroup):
    """The group of the test in any version."""

    def tables(self) -> tuple[Table, ...]:
        return tuple(msgspec.structs.replace(t, physical=t.physical.replace("_v1", f"_v{self.version}")) for t in super().tables())


def _telling(step: Step[Any], what: str) -> Step[Any]:
    return msgspec.structs.replace(step, effects=(Effect("alert.raised", what, CustomerContact()),))


OLD, NEW = TellerGroup("clockwork", 1, (Teller(), Ear())), TellerGroup("clockwork", 2, (Teller(), Ear()))


def promoted(offset: int, version: int, appended_us: int) -> RawRecord:
    header = Header(id=f"promoted-{offset}", source="/touchline", tenant="acme", occurred_at_us=appended_us, received_at_us=appended_us)
    event = ProjectionPromoted(header=header, group="clockwork", version=version)
    return RawRecord(offset, b"projection:clockwork", CODEC.encode(event), appended_us)


def with_promotions(records: Sequence[RawRecord], places: Sequence[int]) -> list[RawRecord]:
    """Put a promotion at each of these places, of the two versions in turn; each is there twice, as after a promote that was cut off."""
    found = list(records)
    for number, place in enumerate(sorted((place % (len(records) + 1) for place in places), reverse=True)):
        at_us = found[place - 1].appended_us if place else 1
        version = 2 - (len(places) - number - 1) % 2
        found[place:place] = [promoted(0, version, at_us), promoted(0, version, at_us)]
    return [record._replace(offset=offset) for offset, record in enumerate(found)]


async def said(group: TellerGroup, first: int, records: Sequence[RawRecord], cuts: Sequence[int]) -> Counter[str]:
    """Return what a version says of a log, read in parts, with a new owner of the partition before each; and check its checkpoints."""
    into = MemoryStore([*group.tables(), *control_tables()])
    version, told = GroupVersion("clockwork", group.version), Counter[str]()
    rest, index = list(records), 0
    while rest:
        engine = Engine(group, CODEC, tenant="acme", cached_subjects_max=100, config=Config((rules(60),)))
        read = promotions(await into.read("projection_promotion", {"name": "clockwork", "partition": 0}))
        books = positions(await into.read("config_position", {"partition": 0}))
        engine.open(0, (await into.load_checkpoints(version)).get(0), first=first, promoted=read, books=books)
        size = cuts[index % len(cuts)]
        taken = engine.take(batch(rest[:size]))
        work = engine.feed(taken, await into.load_states(version, engine.missing(taken)))
        told.update(effect.key for effect in work.effects)
        await into.write([*work.fan_out, *work.own])
        await into.save_checkpoints(version, {0: work.checkpoint})
        speaker = engine.promotions(0)
        assert speaker is not None
        assert work.checkpoint.active == (speaker.speaker == group.version)
        rest, index = rest[size:], index + 1
    return told


parts = st.lists(st.integers(1, 9), min_size=1, max_size=6)


@settings(max_examples=200)
@given(found=entries, places=st.lists(st.integers(0, 40), max_size=4), cuts=parts, other_cuts=parts)
def test_for_everything_exactly_one_version_speaks(found: list[Entry], places: list[int], cuts: list[int], other_cuts: list[int]) -> None:
    """Whatever is read together, and however often a version is promoted and rolled back."""

    async def check() -> None:
        plain = log_of([entry for entry in found if entry.kind != "poison"])
        records = with_promotions(plain, places)
        alone = await said(OLD, 1, plain, [len(plain)])
        old, new = await said(OLD, 1, records, cuts), await said(NEW, 1, records, other_cuts)
        assert old + new == alone
        assert all(n == 1 for what, n in alone.items() if not what.startswith("rules"))  # those are of several customers

    asyncio.run(check())


@given(found=entries, place=st.integers(0, 40))
def test_the_boundary_is_the_record_and_for_timers_its_append_time(found: list[Entry], place: int) -> None:
    """Timers that nobody noticed until long after the promotion are still the old version's if their moment lay before it."""

    async def check() -> None:
        plain = log_of([entry for entry in found if entry.kind != "poison"])
        records = with_promotions(plain, [place])
        boundary = next(record for record in records if record.key == b"projection:clockwork")
        ids = {CODEC.decode(r.value).header.id: r.offset for r in records}  # type: ignore[union-attr]
        for group, is_new in ((OLD, False), (NEW, True)):
            for what in await said(group, 1, records, [5]):
                kind, *words = what.split()
                if kind == "record":
                    assert (ids[words[0]] > boundary.offset) == is_new, what
                elif kind == "timer":
                    assert (int(words[-1]) >= boundary.appended_us) == is_new, what

    asyncio.run(check())


def test_where_the_brokers_clock_went_back_it_makes_no_difference_what_was_read_together() -> None:
    """A promotion is stamped before the record in front of it, and a timer expires in between: it was noticed below the promotion."""
    rings, woken = record(0, event("received", 1, 1000), 1000), record(1, wake(1, 1100), 1100)
    records = [rings, woken, promoted(2, 2, 1050 * SECOND)]
    told = [[asyncio.run(said(group, 1, records, cuts)) for cuts in ([1], [3])] for group in (OLD, NEW)]
    assert told[0] == [asyncio.run(said(OLD, 1, records[:2], [2]))] * 2
    assert sum(told[0][0].values()) == 4
    assert told[1] == [Counter(), Counter()]


def test_a_version_that_nobody_promoted_says_nothing() -> None:
    records = log_of([Entry("received", 1, 3, 0, "a", "phone")])
    assert not asyncio.run(said(NEW, 1, records, [3]))
    assert not asyncio.run(said(OLD, 0, records, [3]))
    assert asyncio.run(said(NEW, 2, records, [3]))


def test_who_has_read_less_does_not_hear_of_a_promotion_early() -> None:
    """The rows of promotions are written by whoever reads them first."""
    engine = Engine(OLD, CODEC, tenant="acme", cached_subjects_max=10)
    engine.open(0, None, first=1, promoted=[Promotion(5, 100, 2)])
    found = engine.promotions(0)
    assert found is not None
    assert (found.speaker, found.ended(1), found.last) == (1, None, None)


def test_promotions_that_say_nothing_new_are_none() -> None:
    one = Promotions(1)
    assert not one.add(Promotion(3, 10, 1))
    assert one.add(Promotion(5, 20, 2))
    assert not one.add(Promotion(6, 30, 2))
    assert one.add(Promotion(9, 40, 1))
    assert not one.add(Promotion(9, 40, 2))
    assert [one.of_record(offset) for offset in (0, 5, 6, 9, 10)] == [1, 1, 2, 2, 1]
    assert [one.of_timer(at, 10) for at in (0, 19, 20, 39, 40)] == [1, 1, 2, 2, 1]
    assert [one.of_timer(40, noticed_at) for noticed_at in (4, 6, 10)] == [1, 2, 1]
    assert (one.speaker, one.last) == (1, Promotion(9, 40, 1))
    assert (one.ended(1), one.ended(2), one.ended(3)) == (None, Promotion(9, 40, 1), None)


def imported(record: RawRecord, appended_us: int) -> RawRecord:
    """Return a record as an import appends it: later, with its append time of then."""
    head = CODEC.head(record.value)
    header = msgspec.structs.replace(head.header, appended_at_us=record.appended_us)  # type: ignore[union-attr]
    return record._replace(value=CODEC.rehead(head, header), appended_us=appended_us)  # type: ignore[arg-type]


@given(found=entries, size=st.integers(1, 9), later=entries)
def test_what_was_said_before_an_import_is_not_said_again(found: list[Entry], size: int, later: list[Entry]) -> None:
    """Rows are those of the log that was exported; what comes after the import is said as always."""

    async def check() -> None:
        before = [entry for entry in found if entry.kind != "poison"]
        exported = log_of(before)[:-3]  # without those who are woken at the end
        whole = log_of([*before, *(entry for entry in later if entry.kind not in {"poison", "rules"})])
        at_us = (END_S - 1) * SECOND
        header = Header(id="imported", source="/touchline", tenant="acme", occurred_at_us=at_us, received_at_us=at_us)
        end = RawRecord(len(exported), b"log:import", CODEC.encode(LogImported(header=header, export_id="x", records=len(exported))), at_us)
        records = [*(imported(record, at_us) for record in exported), end, *whole[len(exported) :]]
        records = [record._replace(offset=offset) for offset, record in enumerate(records)]

        engine = Engine(OLD, CODEC, tenant="acme", cached_subjects_max=100, config=Config((rules(60),)))
        engine.open(0, None)
        for start in range(0, len(exported), size):
            work = engine.feed(engine.take(batch(records[start : min(start + size, len(exported))])), {})
            assert not work.effects
            assert engine.is_importing(0)
            assert work.checkpoint.importing
        rest = engine.feed(engine.take(batch(records[len(exported) :])), {})
        assert not engine.is_importing(0)
        said_before = await said(OLD, 1, exported, [5]) if exported else Counter[str]()
        assert Counter(effect.key for effect in rest.effects) == await said(OLD, 1, whole, [5]) - said_before

    asyncio.run(check())


@given(found=entries, cuts=parts)
def test_the_end_of_the_input_expires_what_wake_ups_would(found: list[Entry], cuts: list[int]) -> None:
    """A replay has no wake-ups behind its last record: it is told to expire, twice is once, and rows are those of a log with wake-ups."""

    async def tables(records: Sequence[RawRecord], *, expire: bool) -> dict[str, list[dict[str, Any]]]:
        into = MemoryStore([*OLD.tables(), *control_tables()])
        version = GroupVersion("clockwork", 1)
        engine = Engine(OLD, CODEC, tenant="acme", cached_subjects_max=100, config=Config((rules(60),)))
        engine.open(0, None)
        for start in range(0, len(records), cuts[0]):
            taken = engine.take(batch(list(records[start : start + cuts[0]])))
            work = engine.feed(taken, await into.load_states(version, engine.missing(taken)))
            await into.write([*work.fan_out, *work.own])
        subjects = [Subject("acme", f"c{n}") for n in range(1, CUSTOMERS + 1)]
        for _ in range(2 if expire else 0):
            _, others = engine.armed(subjects)
            work = engine.expire(0, subjects, await into.load_states(version, others), END_S * SECOND)
            await into.write([*work.fan_out, *work.own])
        return {name: sorted(await into.scan(f"{name}_v1"), key=repr) for name in ("ring", "heard")}

    whole = log_of([entry for entry in found if entry.kind not in {"poison", "rules"}])
    cut = whole[:-3]
    if cut:
        assert asyncio.run(tables(cut, expire=True)) == asyncio.run(tables(whole, expire=False))
