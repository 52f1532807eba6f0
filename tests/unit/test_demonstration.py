import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import msgspec
import pytest

from connectors.centre import POLICIES
from connectors.contract import Draft
from connectors.sealer import Sealer
from projections.kernel import Effect
from projections.registry import GROUPS
from projections.rules import Rulebook
from projections.sla.policy import read_policies
from schemas.codec import Codec
from schemas.record import Event
from streams.published import Published
from streams.simulation import Simulation
from streams.store.catalogue import known_tables
from streams.store.memory import MemoryStore
from touchline.demonstration import feed, rules
from touchline.demonstration.feed import CentreFeed, Seen
from touchline.errors import Retryable
from touchline.settings import Settings, load_settings

NOW = datetime(2026, 1, 12, 12, 0, tzinfo=UTC)


class Clock:
    """A clock that the test moves on."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def test_history_comes_at_once_and_the_rest_when_its_time_has_come() -> None:
    """Nothing is ever sent before its event time: it would be quarantined as coming from the future."""
    clock = Clock()
    source = CentreFeed(seed=7, day_events=2000, speed=24, tenant="acme", clock=clock)
    chunks = source.input().chunks
    sent: list[Draft] = []
    while not source.history_done.is_set():
        chunk = next(chunks)
        sent += [slot for slot in chunk.slots if isinstance(slot, Draft)]
        if len(chunk.slots) < 1000:
            clock.now += timedelta(seconds=30)
            chunk = next(chunks)
            live = [slot for slot in chunk.slots if isinstance(slot, Draft)]
    before = round(NOW.timestamp() * 1_000_000)
    assert len(sent) > 500
    assert all(draft.occurred_at_us <= before for draft in sent)
    assert live
    assert all(draft.occurred_at_us <= before + 30_000_000 for draft in live)
    assert sum(draft.occurred_at_us > before for draft in live) > 0.9 * len(live)
    assert source.seen.total == len(sent) + len(live)


def happened(minutes: int, monkeypatch: pytest.MonkeyPatch) -> list[Effect]:
    """Let the demonstration run so long, on a clock of the test, folded in memory as the care group does; return the live effects."""
    clock, codec = Clock(), Codec()

    def sleep(_: float) -> None:
        clock.now += timedelta(seconds=1)

    monkeypatch.setattr(feed, "time", SimpleNamespace(sleep=sleep))
    source = CentreFeed(seed=7, day_events=10_000, speed=24, tenant="acme", clock=clock)
    book = msgspec.structs.replace(read_policies(POLICIES.read_text(), POLICIES.name, years=range(2025, 2028)), version=1)
    sealer = Sealer(None, codec, lambda _: b"k" * 32, "DE", clear_attributes=book.clear_attributes)
    care = GROUPS["care"]
    simulation = Simulation([care], MemoryStore(known_tables()), codec, tenant="acme", future_max_s=300, cached_subjects_max=10_000, books=[book])

    async def run() -> list[Effect]:
        effects = []
        for chunk in source.input().chunks:
            now_us = round(clock.now.timestamp() * 1_000_000)
            drafts = [slot for slot in chunk.slots if isinstance(slot, Draft)]
            effects += await simulation.feed([(sealer.event(draft, now_us), now_us) for draft in drafts])
            if clock.now > NOW + timedelta(minutes=minutes):
                break
        return effects + await simulation.finish(round(clock.now.timestamp() * 1_000_000))

    found = asyncio.run(run())
    assert simulation.parked_customers == 0
    return [
        effect for effect in found if isinstance(effect.payload, Event) and effect.payload.header.occurred_at_us > round(NOW.timestamp() * 1_000_000)
    ]


def test_within_minutes_there_are_breaches_a_retraction_a_recovered_missed_call_and_a_ladder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what was due after the demonstration began counts: the history has enough of it anyway."""
    live = happened(6, monkeypatch)
    kinds = Counter(effect.kind for effect in live)
    assert min(kinds[kind] for kind in ("sla.breached", "sla.breach_retracted", "unanswered.detected", "unanswered.cleared", "alert.raised")) >= 1
    breached = Counter(getattr(effect.payload, "metric", "") for effect in live if effect.kind == "sla.breached")
    assert min(breached["turn_response"], breached["queue_answer"]) >= 1
    assert {getattr(effect.payload, "step", 0) for effect in live if effect.kind == "escalation.step_reached"} >= {1, 2}
    noticed = sum(kinds[kind] for kind in ("sla.breached", "unanswered.detected"))
    assert noticed < 200, "a flood, not a demonstration"


def test_the_feed_ends_after_the_chunk_under_way() -> None:
    clock = Clock()
    source = CentreFeed(seed=7, day_events=2000, speed=24, tenant="acme", clock=clock)
    chunks = source.input().chunks
    next(chunks)
    source.stop()
    assert next(chunks, None) is None


def test_what_is_shown_is_bounded() -> None:
    seen = Seen()
    event = {"time": "2026-01-12T12:00:00Z", "type": "message.received", "data": {"channel": "email", "customer": []}}
    for number in range(Seen.ACCOUNTS_MAX + 10):
        event["data"] = {"channel": "email", "customer": [{"kind": "account", "value": f"A-{number}"}]}
        seen.note(event, live=False)
    assert seen.total == Seen.ACCOUNTS_MAX + 10
    assert len(seen._accounts) == Seen.ACCOUNTS_MAX
    assert len(seen.newest) == Seen.NEWEST


def test_the_centres_rules_are_published_for_events_of_all_times_and_only_when_they_have_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[Published] = []

    def publish(_: Settings, tenant: str, book: Rulebook, effective_at_us: int | None) -> list[Published]:
        read = msgspec.structs.replace(book, version=len(log) + 1, effective_at_us=effective_at_us or 0)
        log.append(Published(tenant, 1, "id", read))
        return log

    monkeypatch.setattr(rules, "publish", publish)
    monkeypatch.setattr(rules, "published_rules", lambda _settings, _tenant: log)
    first = rules.publish_rules(load_settings())
    assert (first.version, first.effective_at_us, len(first.policies) > 3) == (1, 0, True)
    assert rules.publish_rules(load_settings()) == first
    log.append(Published("default", 2, "id", Rulebook(version=2)))
    assert rules.publish_rules(load_settings()).version == 3


def test_the_history_waits_until_every_partition_has_been_told_the_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    told = [0, 0, 1]

    class Broker:
        def __init__(self, _: str) -> None: ...

        def committed(self, group: str, topics: list[str]) -> dict[str, int]:
            assert (group, topics) == ("touchline.config", ["touchline.config.v1"])
            return {"0": told.pop(0)}

        def end_offsets(self, _: list[str]) -> dict[str, int]:
            return {"0": 1}

    seconds = iter(range(1_000))
    monkeypatch.setattr(rules, "Cluster", Broker)
    monkeypatch.setattr(rules, "time", SimpleNamespace(sleep=lambda _: None, monotonic=lambda: next(seconds)))
    rules.await_told(load_settings())
    assert told == []
    told += [0] * 100
    with pytest.raises(Retryable, match="within 60 s"):
        rules.await_told(load_settings())
