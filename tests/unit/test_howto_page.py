"""The page of a projection somebody brings: what it writes passes every check in a copy of the checkout, and counts what it says."""

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projections.testing import World, make
from schemas import events
from schemas.events import EVENT_TYPES
from schemas.record import Event
from tests.support.checkout import copied, run
from tests.support.howto import PAGE, Made, blocks, counted, journeys, loaded, public_lines, shuffled_within, written

DAY_US = 86_400_000_000
NOW = datetime(2027, 6, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return loaded(tmp_path_factory.mktemp("page"))


def events_of(contacts: list[Made], rng: random.Random, late: timedelta) -> list[tuple[Event, int]]:
    """Return the events of contacts with their append times, each up to `late` after it happened."""
    found = []
    for line in shuffled_within([line for contact in contacts for line in public_lines(contact)], rng, late):
        data = {name: value for name, value in line["data"].items() if name not in {"customer", "actor", "kind"}}
        actor = line["data"]["actor"]
        said = {"actor_kind": actor["kind"], "actor_id": actor.get("id"), "actor_team": actor.get("team"), **data}
        at = (datetime.fromisoformat(line["time"]) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        customer = line["data"]["customer"][0]["value"]
        event = make(EVENT_TYPES[line["type"]], id=line["id"], at=at, customer=customer, **said)
        found.append((event, at))
    return found


def sums(world: World) -> dict[tuple[str, str], dict[str, int]]:
    return {(str(key[1]), str(key[2])): found for (table, key), found in world.sums.items() if found and table == "repeat_week"}


def folded(module: ModuleType, history: list[tuple[Event, int]]) -> World:
    world = World([module.RepeatContacts()])
    for event, appended_us in history:
        world.append(event, appended_us=max(world.now_us, appended_us))
    world.advance_to(world.now_us + 30 * DAY_US)
    return world


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.sampled_from([0, 1, 13, 70]))
def test_the_figures_are_those_of_a_plain_count_in_whatever_order_events_arrive(module: ModuleType, seed: int, late_days: int) -> None:
    """Late by up to the whole ten weeks, as when a history is imported channel by channel."""
    rng = random.Random(seed)  # noqa: S311 - a test
    contacts = journeys(rng, 8, days=70)
    world = folded(module, events_of(contacts, rng, timedelta(days=late_days)))
    assert sums(world) == counted(contacts, NOW)
    assert sum(found["contacts"] for found in sums(world).values()) == len(contacts) == len(world.rows()["repeat_contact"])


def test_contacts_that_are_no_longer_kept_still_tell_repeats(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONTACTS_MAX", 4)
    rng = random.Random(5)  # noqa: S311 - a test
    contacts = [contact for contact in journeys(rng, 200, days=300) if not (contact.handed_on or contact.channel == "webchat")]
    world = folded(module, events_of(contacts, rng, timedelta()))
    assert max(len(state.contacts) for state in world.states.values()) == 4  # type: ignore[attr-defined]
    assert sums(world) == counted(contacts, NOW)


def test_what_is_not_over_yet_is_undecided(module: ModuleType) -> None:
    rng = random.Random(1)  # noqa: S311 - a test
    contacts = journeys(rng, 40, days=20)
    now = datetime(2026, 1, 25, tzinfo=UTC)
    world = World([module.RepeatContacts()])
    for event, at_us in events_of(contacts, rng, timedelta()):
        world.append(event, appended_us=max(world.now_us, at_us))
    world.advance_to((now - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1))
    wanted = counted(contacts, now)
    assert any("undecided" in told for told in wanted.values())
    assert sums(world) == wanted


def test_a_history_that_is_read_in_one_go_comes_to_the_same(module: ModuleType) -> None:
    """As an import or a backlog is: everything appended within a moment, so that no timer expires on the way."""
    rng = random.Random(2)  # noqa: S311 - a test
    contacts = journeys(rng, 20, days=70)
    history = [(event, 2**51) for event, _ in events_of(contacts, rng, timedelta(days=13))]
    assert sums(folded(module, history)) == counted(contacts, NOW)


def test_contacts_that_were_copied_from_a_linked_customer_are_evidence_and_not_counted_again(module: ModuleType) -> None:
    copy = make(events.ContactInitiated, id="k-1", at="2026-01-12T09:00:00Z", contact_id="k-1", queue="billing", origin_customer_id="cu-2")
    own = make(events.ContactInitiated, id="k-2", at="2026-01-13T09:00:00Z", contact_id="k-2", queue="billing")
    world = folded(module, [(event, event.header.occurred_at_us) for event in (copy, own)])
    assert sums(world) == {("2026-W03", "billing"): {"contacts": 1, "repeat": 1}}


def test_no_event_of_any_type_raises_and_what_happened_at_an_odd_time_is_counted_once(module: ModuleType) -> None:
    projection = module.RepeatContacts()
    for at_us in (0, 1, 2**53, 2**62):
        world = World([projection])
        for kind in sorted(projection.handles, key=lambda kind: kind.TYPE):
            fields = {"queue": "q"} if kind is events.ContactQueued else {"by_staff": True} if kind is events.ThreadReplied else {}
            world.append(make(kind, at=at_us, conversation_id="c-1", **fields))
        assert sum(found["contacts"] for found in sums(world).values()) <= 1


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Follow the page in a copy of the checkout, block by block as they stand, but for those that need servers; return it and what was said."""
    folder, said = copied(tmp_path_factory.mktemp("checkout")), ""
    chosen = [block for block in blocks() if any(mark in block for mark in ("projection new", "END_OF_FILE", "write.py", "simulate"))]
    assert len(chosen) == 7
    for block in chosen:
        done = run(["bash", "-eo", "pipefail", "-c", block], folder)
        assert done.returncode == 0, f"{block[:200]}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        said += done.stdout
    return folder, said


def test_what_the_page_writes_passes_the_checks_that_it_runs_itself(followed: tuple[Path, str]) -> None:
    folder, said = followed
    assert " passed" in said or "100%" in said
    again = run(["ruff", "format", "--check", *(path for path in written() if path.endswith(".py"))], folder)
    assert again.returncode == 0, again.stdout


def test_through_the_engine_and_a_store_the_figures_are_those_of_a_plain_count_too(followed: tuple[Path, str]) -> None:
    """By `touchline simulate`, over ten weeks that are read in one go, up to six days late."""
    folder, _ = followed
    rng = random.Random(11)  # noqa: S311 - a test
    contacts = journeys(rng, 60, days=70)
    lines = shuffled_within([line for contact in contacts for line in public_lines(contact)], rng, timedelta(days=6))
    (folder / "history.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    done = run(["touchline", "simulate", "history.jsonl", "--emit", "rows", "--until", NOW.isoformat()], folder)
    assert done.returncode == 0, done.stderr
    rows = [row for row in map(json.loads, done.stdout.splitlines()) if row.get("table") == "repeat_week"]
    found = {(row["key"]["week"], row["key"]["reason"]): row["columns"]["sums"] for row in rows if row["columns"]["sums"]}
    assert found == counted(contacts, NOW)


def test_the_page_names_every_figure_that_the_table_holds() -> None:
    table = written()["projections/repeat_contacts.cql"]
    for name in ("contacts", "repeat", "undecided", "resolved", "repeated", "net_resolved", "net_repeated"):
        assert name in table
    text = PAGE.read_text()
    assert all(f"touchline projection {word}" in text for word in ("new", "plan", "build", "promote", "status", "rows"))
