"""The simulated service centre: one day looked at closely, through the same reader as anybody's events."""

import io
import re
import subprocess
import sys
import tracemalloc
from collections import Counter
from datetime import UTC, datetime
from functools import cache
from itertools import pairwise
from random import Random
from typing import Any

import msgspec
import phonenumbers
import pytest

from connectors.centre import POLICIES, Planting, delivered, events, lines, scaled
from connectors.centre.delivery import LATE, delay_s, late_lines
from connectors.centre.numbers import Numbers, canary, is_reserved
from connectors.centre.phrases import ENGLISH, TOPICS
from connectors.centre.phrases_zh import CHINESE
from connectors.checks import check
from connectors.contract import Draft
from connectors.public import PublicReader
from projections.sla.policy import read_policies
from schemas.events import EVENT_TYPES
from schemas.handles import normalise
from touchline.errors import Refused

START = datetime(2026, 1, 12, tzinfo=UTC)
PHONE = re.compile(r"\+\d[\d -]{6,}\d")
MAIL = re.compile(r"[^\s@\"]+@([A-Za-z0-9.-]+)")
SLOT = re.compile(r"\{(\w*)\}")

Event = dict[str, Any]


@cache
def day(customers: int = 1_400, agents: int = 12, seed: int = 7) -> tuple[Event, ...]:
    return tuple(events(seed, START, customers, agents, "acme"))


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_day() -> None:
    def written(seed: int) -> bytes:
        out = io.BytesIO()
        lines(events(seed, START, 60, 4, "acme"), out)
        return out.getvalue()

    assert written(3) == written(3)
    assert written(3) != written(4)


def test_the_same_seed_gives_the_same_day_in_another_process() -> None:
    command = [sys.executable, "-m", "connectors.centre", "--events", "300", "--seed", "3"]
    one, other = (subprocess.run(command, capture_output=True, check=True).stdout for _ in range(2))
    assert one == other


def test_two_days_never_share_an_id() -> None:
    def ids(seed: int, start: datetime) -> set[str]:
        return {event["id"] for event in events(seed, start, 100, 4, "acme")}

    days = [ids(1, START), ids(2, START), ids(1, START.replace(day=13))]
    assert len(set.union(*days)) == sum(map(len, days))


def test_every_event_is_accepted_by_the_reader_of_the_public_form_and_by_its_checks() -> None:
    reader, later_us = PublicReader(tenant="acme"), 4_000_000_000_000_000
    for number, event in enumerate(day(), 1):
        draft = reader.read(msgspec.json.encode(event), number)
        assert isinstance(draft, Draft), draft
        assert check(draft, now_us=later_us, future_max_s=0) is None
        assert set(draft.unknown) <= {"display_name"}


def test_every_event_has_the_fields_and_values_that_its_schema_asks_for() -> None:
    reader = PublicReader(tenant="acme")
    for number, event in enumerate(day(), 1):
        draft = reader.read(msgspec.json.encode(event), number)
        assert isinstance(draft, Draft)
        kind = EVENT_TYPES[event["type"]]
        asked = {field.encode_name: (field.required, field.type) for field in msgspec.structs.fields(kind) if field.encode_name != "header"}
        assert set(draft.fields) <= set(asked)
        assert {name for name, (required, _) in asked.items() if required} <= set(draft.fields)
        for name, value in draft.fields.items():
            msgspec.convert(value, asked[name][1])


def test_times_rise_strictly_and_ids_are_unique() -> None:
    times = [event["time"] for event in day()]
    assert all(earlier < later for earlier, later in pairwise(times))
    assert len({event["id"] for event in day()}) == len(times)


def test_ids_and_agents_tell_nothing_of_a_person() -> None:
    opaque = re.compile(r"(c|k|i)-[0-9a-f]{8}-[0-9a-f]+|[0-9a-f]{8}-[0-9a-f]+")
    for event in day():
        named = [event["id"], *(event["data"].get(name) for name in ("conversation_id", "contact_id", "case_id"))]
        assert all(opaque.fullmatch(value) for value in named if value is not None)


def test_no_phone_number_lies_outside_the_ranges_for_fiction_and_no_mail_outside_example() -> None:
    numbers = 0
    for event in day():
        text = msgspec.json.encode(event).decode()
        for number in PHONE.findall(text):
            numbers += 1
            assert is_reserved(number), number
        for domain in MAIL.findall(text):
            assert domain in {"example.org", "example.com", "example.net"}
        for handle in event["data"]["customer"]:
            if handle["kind"] == "phone":
                assert is_reserved(handle["value"])
    assert numbers > 500


def test_a_real_number_is_not_taken_for_a_reserved_one() -> None:
    assert is_reserved("+49 30 23125-123")
    assert is_reserved("+442079460000")
    assert not is_reserved("+49 30 23126 123")
    assert not is_reserved("+49 30 23125 1234")
    assert not is_reserved("+861012345678")
    assert not is_reserved("+12125552368")


def test_a_number_written_with_spaces_is_the_same_handle_once_normalised() -> None:
    spaced = 0
    for event in day():
        for handle in event["data"]["customer"]:
            known = normalise(handle["kind"], handle["value"], "DE")
            assert known == (handle["value"].replace(" ", ""))
            spaced += known != handle["value"]
    assert spaced > 0


def test_every_number_that_can_be_handed_out_is_reserved_valid_to_the_library_and_handed_out_once() -> None:
    numbers = Numbers(Random(1))  # noqa: S311 - a simulation
    western = list(iter(numbers.western, None))
    assert len(western) == len(set(western)) > 30_000
    assert all(is_reserved(number) for number in western)
    assert all(phonenumbers.is_valid_number(phonenumbers.parse(number, None)) for number in western[::37])
    chinese = {numbers.chinese() for _ in range(1_000_000)}
    assert len(chinese) == 1_000_000
    assert numbers.chinese() is None
    assert canary(0) not in chinese
    assert is_reserved(canary(999_999))


def test_scaled_hits_the_number_of_events_within_a_tenth() -> None:
    for wanted in (2_000, 20_000, 60_000):
        made = sum(1 for _ in events(1, START, *scaled(wanted), "acme"))
        assert abs(made - wanted) <= wanted / 10, (wanted, made)


def test_memory_holds_what_is_under_way_and_not_the_day() -> None:
    size = scaled(60_000)
    tracemalloc.start()
    try:
        for _ in events(1, START, *size, "acme"):
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6_000_000


def test_a_thousand_markers_are_planted_where_they_are_said_to_be() -> None:
    markers = [f"canary-{number:04d}-x" for number in range(1_000)]
    planted: dict[str, Planting] = {}
    by_id = {event["id"]: event for event in events(7, START, 2_000, 17, "acme", canaries=markers, planted=planted)}
    assert set(planted) == set(markers)
    assert len({planting.event_id for planting in planted.values()}) == 1_000
    places = Counter(planting.place for planting in planted.values())
    assert set(places) == {"text", "subject", "phone", "email", "social", "cookie", "attribute", "name", "unknown_field", "unknown_nested"}
    assert min(places.values()) >= 50
    reader = PublicReader(tenant="acme")
    for planting in planted.values():
        event = by_id[planting.event_id]
        draft = reader.read(msgspec.json.encode(event), 1)
        assert isinstance(draft, Draft)
        sealed = msgspec.json.encode((draft.text, draft.subject, draft.customer, draft.attributes, draft.unknown)).decode()
        clear = msgspec.json.encode((draft.id, draft.source, draft.fields, draft.actor, draft.contact_id, draft.conversation_id)).decode()
        assert planting.written in sealed
        assert planting.written not in clear


def test_markers_change_nothing_but_the_events_they_are_planted_in() -> None:
    planted: dict[str, Planting] = {}
    plain = events(7, START, 100, 4, "acme")
    marked = events(7, START, 100, 4, "acme", canaries=["marker-1", "marker-2"], planted=planted)
    changed = {event["id"] for event, other in zip(plain, marked, strict=True) if event != other}
    assert changed == {planting.event_id for planting in planted.values()}


@pytest.mark.parametrize("markers", [["same", "same"], ["with blank"], [f"marker-{number}" for number in range(51)]])
def test_markers_that_cannot_be_planted_are_refused(markers: list[str]) -> None:
    with pytest.raises(Refused):
        events(1, START, 100, 4, "acme", canaries=markers)


def test_a_naive_start_is_refused() -> None:
    with pytest.raises(Refused):
        events(1, START.replace(tzinfo=None), 10, 4, "acme")


def test_both_phrasebooks_fill_every_topic_and_use_known_slots() -> None:
    templates = []
    for book in (ENGLISH, CHINESE):
        assert set(book.ask) == set(book.answer) == set(book.subject) == set(book.search) == set(TOPICS)
        for part in book:
            values = part.values() if isinstance(part, dict) else [part]
            templates += [text for value in values for text in ([value] if isinstance(value, str) else value)]
    assert len(set(templates)) >= 60
    assert {slot for text in templates for slot in SLOT.findall(text)} <= {"name", "order", "product", "days", "city", "agent"}


def test_no_text_is_left_with_an_open_slot() -> None:
    assert all("{" not in event["data"].get("text", "") and "  " not in event["data"].get("text", "") for event in day())


def test_the_command_writes_lines_and_says_how_many() -> None:
    command = [sys.executable, "-m", "connectors.centre", "--events", "300", "--seed", "7"]
    done = subprocess.run(command, capture_output=True, check=True)
    written = done.stdout.splitlines()
    assert all(msgspec.json.decode(line)["specversion"] == "1.0" for line in written)
    assert done.stderr.decode().startswith(f"{len(written)} events of ")
    shown = subprocess.run([*command[:3], "--help"], capture_output=True, check=True)
    assert b"example: python -m connectors.centre --events 1000 --seed 7 > day.jsonl" in shown.stdout


def test_some_events_are_handed_over_late_the_same_ones_each_time_and_none_is_lost() -> None:
    there = list(delivered(day()))
    assert there == list(delivered(day()))
    assert [at for at, _ in there] == sorted(at for at, _ in there)
    assert {event["id"] for _, event in there} == {event["id"] for event in day()}
    late = [(event["type"], event["data"]["channel"]) for at, event in there if at > datetime.fromisoformat(event["time"])]
    assert set(late) == set(LATE)
    for kind, (share, low_s, high_s) in LATE.items():
        delays = [delay_s(event) for event in day() if (event["type"], event["data"]["channel"]) == kind]
        assert 0.3 * share < sum(map(bool, delays)) / len(delays) < 2 * share
        assert all(low_s <= delay <= high_s for delay in delays if delay)


def test_a_late_line_says_when_it_was_handed_over_and_lines_stand_in_that_order() -> None:
    written = list(late_lines(day()))
    handed = [event.get("appendedat", event["time"]) for event in written]
    assert list(map(datetime.fromisoformat, handed)) == sorted(map(datetime.fromisoformat, handed))
    late = [event for event in written if "appendedat" in event]
    assert late
    assert all(event["appendedat"] > event["time"] for event in late)
    reader = PublicReader(tenant="acme")
    assert all(isinstance(reader.read(msgspec.json.encode(event), 1), Draft) for event in late)


def test_the_centres_rules_are_sound_and_speak_of_its_teams_and_queues() -> None:
    book = read_policies(POLICIES.read_text(), POLICIES.name, years=range(2026, 2028))
    assert {calendar.id: calendar.timezone for calendar in book.calendars}["china"] == "Asia/Shanghai"
    (china,) = (calendar for calendar in book.calendars if calendar.id == "china")
    assert china.exceptions["2026-02-14"] == china.week[0]
    targets = {policy.id: policy.targets for policy in book.policies}
    assert targets["chat"] == {"turn_response": 15, "queue_answer": 90}
    assert targets["mail"]["first_response"] == 3600
    said = msgspec.json.encode(day()).decode()
    for name in [*(queue.id for queue in book.queues), *(team.id for team in book.teams), "service-zh", "chat-zh"]:
        assert f'"{name}"' in said
