from datetime import UTC, datetime, timedelta

from connectors.contract import Draft
from touchline.demonstration.feed import CentreFeed, Seen

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
    feed = CentreFeed(seed=7, day_events=2000, speed=24, tenant="acme", clock=clock)
    chunks = feed.input().chunks
    sent: list[Draft] = []
    while not feed.history_done.is_set():
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
    assert all(before < draft.occurred_at_us <= before + 30_000_000 for draft in live)
    assert feed.seen.total == len(sent) + len(live)


def test_the_feed_ends_after_the_chunk_under_way() -> None:
    clock = Clock()
    feed = CentreFeed(seed=7, day_events=2000, speed=24, tenant="acme", clock=clock)
    chunks = feed.input().chunks
    next(chunks)
    feed.stop()
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
