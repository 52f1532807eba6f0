"""Laws of every simulated day, whatever its seed and size."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.centre import Planting, events
from connectors.centre.numbers import is_reserved
from connectors.contract import Draft
from connectors.public import PublicReader

START = datetime(2026, 3, 29, tzinfo=UTC)
READER = PublicReader(tenant="acme")

seeds = st.integers(min_value=-(2**63), max_value=2**63)
days = st.tuples(seeds, st.integers(1, 120), st.integers(1, 30), st.sampled_from((600, 3_600, 86_400)))


def simulated(day: tuple[int, int, int, int]) -> list[dict[str, Any]]:
    seed, customers, agents, day_s = day
    return list(events(seed, START, customers, agents, "acme", day_s=day_s))


@settings(max_examples=60)
@given(days)
def test_any_day_is_read_whole_in_order_and_without_a_repeat(day: tuple[int, int, int, int]) -> None:
    made = simulated(day)
    times = [event["time"] for event in made]
    assert times == sorted(set(times))
    assert len({event["id"] for event in made}) == len(made)
    assert times[0] >= "2026-03-29T00:00:00"
    for number, event in enumerate(made, 1):
        assert isinstance(READER.read(msgspec.json.encode(event), number), Draft)


@settings(max_examples=60)
@given(days)
def test_in_any_day_contacts_connect_after_queueing_and_say_nothing_after_their_end(day: tuple[int, int, int, int]) -> None:
    queued, ended = set(), set()
    for event in simulated(day):
        kind, contact = event["type"], event["data"].get("contact_id")
        if kind.startswith("contact."):
            assert contact not in ended
        if kind in {"contact.queued", "contact.callback_attempted"}:
            queued.add(contact)
        elif kind == "contact.connected":
            assert contact in queued
        elif kind in {"contact.abandoned", "contact.completed"}:
            ended.add(contact)


@settings(max_examples=60)
@given(days)
def test_in_any_day_every_phone_number_is_reserved_and_every_handle_is_one_persons(day: tuple[int, int, int, int]) -> None:
    accounts: dict[tuple[str, str], str] = {}
    for event in simulated(day):
        handles = event["data"]["customer"]
        account = next((handle["value"] for handle in handles if handle["kind"] == "account"), None)
        for handle in handles:
            if handle["kind"] == "phone":
                assert is_reserved(handle["value"])
            if account is not None:
                assert accounts.setdefault((handle["kind"], handle["value"]), account) == account


@settings(max_examples=30)
@given(seeds, st.integers(40, 150))
def test_in_any_day_all_markers_are_planted_while_they_are_one_for_two_customers(seed: int, customers: int) -> None:
    markers = [f"mark-{number}" for number in range(customers // 2)]
    planted: dict[str, Planting] = {}
    for _ in events(seed, START, customers, 4, "acme", canaries=markers, planted=planted):
        pass
    assert set(planted) == set(markers)
