"""How long a history is, as a link would copy it: what lies there because of others does not count."""

import asyncio
from collections.abc import Iterable, Iterator

import pytest

from projections.registry import GROUPS
from streams.engine import Engine
from streams.identity import lengths
from streams.identity.claim import Claim, Name
from streams.identity.lengths import Lengths
from streams.rebuild.history import History
from streams.records import Batch, RawRecord
from streams.store.catalogue import known_tables
from streams.store.memory import MemoryStore
from streams.store.port import GroupVersion
from tests.support.clockwork import CODEC, event, record
from tests.support.tied import copy_of, direct, linked

ONE, TARGET = (Claim(name=Name("acme", "phone", own.encode() * 16), own=own) for own in ("c1", "c2"))


class World:
    """Records of some customers, and the rows that say where they lie."""

    def __init__(self, records: list[RawRecord]) -> None:
        self.all = records
        self.reads = 0
        store = MemoryStore(known_tables())
        engine = Engine(GROUPS["view"], CODEC, tenant="acme", cached_subjects_max=10)
        engine.open(0, None)
        work = engine.feed(engine.take(Batch(0, records)), {})
        store.apply([*work.fan_out, *work.own])
        self.lengths = Lengths(History(store, self), CODEC, GroupVersion("view", GROUPS["view"].version))

    def records(self, partition: int, offsets: Iterable[int]) -> Iterator[RawRecord]:
        assert partition == 0
        self.reads += 1
        return (self.all[offset] for offset in sorted(offsets))

    def length(self) -> int:
        return asyncio.run(self.lengths.of(ONE, TARGET))


def history() -> list[RawRecord]:
    """Return three of its own records, one that came directly to it for another one, and three that are not copied on."""
    elsewhere = [direct(n, "received", 3, 3, 990 + n, conversation=f"e{n}") for n in range(2)]
    copies = [copy_of(2 + n, one, 1, 1000) for n, one in enumerate(elsewhere)]
    own = [record(4 + n, event("received", 1, 1001 + n, conversation=f"k{n}"), 1001 + n) for n in range(3)]
    return [*elsewhere, *copies, *own, direct(7, "received", 4, 1, 1010), linked(8, 3, 1, 1011, under=1)]


def test_a_short_history_is_not_looked_up_in_the_log() -> None:
    world = World(history())
    assert world.length() == 7  # rows: no more than these are copied
    assert world.reads == 0


def test_a_long_one_is_measured_as_it_would_be_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lengths, "COPIES_MAX", 6)
    world = World(history())
    assert (world.length(), world.reads) == (4, 1)


def test_of_a_very_long_one_it_is_known_that_it_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lengths, "COPIES_MAX", 2)
    monkeypatch.setattr(lengths, "PLACES_MAX", 5)
    world = World(history())
    assert (world.length(), world.reads) == (5, 0)
