"""Service-level figures: what counts as offered, answered, abandoned and left, where, and what late evidence changes."""

import itertools
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from projections.digest import digest
from projections.kernel import Config
from projections.registry import Group
from projections.rules import Defaults, Rulebook, WeeklyHours
from projections.service_levels import KEPT_US, METRIC, ServiceLevels, ServiceLevelsState, bucket
from projections.testing import (
    World,
    contact_abandoned,
    contact_completed,
    contact_connected,
    contact_initiated,
    contact_queued,
    given,
    make,
    time_us,
)
from schemas import events
from schemas.record import Event

OF = (ServiceLevels(),)
NINE = time_us("09:00")


def fold(*history: Event, config: Config | None = None) -> World:
    world = World(OF, config=config)
    for event in history:
        world.append(event)
    return world


def sums(world: World) -> dict[tuple[str, int, str, str], dict[str, int]]:
    """Return what was counted, by (day, minutes after nine o'clock of the slot, queue, channel)."""
    found = {}
    for (table, key), adds in world.sums.items():
        _, metric, day, slot, queue, channel = key
        assert (table, metric) == ("figure", METRIC)
        if kept := {name: n for name, n in adds.items() if n}:
            found[str(day), (int(slot) - NINE) // 60_000_000, str(queue), str(channel)] = kept
    return found


def total(world: World) -> dict[str, int]:
    """Return the sums over all slots and queues."""
    adds: Counter[str] = Counter()
    for found in sums(world).values():
        adds.update(found)
    return {name: n for name, n in adds.items() if n}


def queued(at: str = "09:00", **fields: Any) -> Event:
    return contact_queued(**{"at": at, "contact_id": "k-1", **fields})


def connected(at: str = "09:00:20", **fields: Any) -> Event:
    return contact_connected(**{"at": at, "contact_id": "k-1", **fields})


def abandoned(at: str = "09:00:20", **fields: Any) -> Event:
    return contact_abandoned(**{"at": at, "contact_id": "k-1", **fields})


def some(kind: type[Event], at: str, **fields: Any) -> Event:
    return make(kind, **{"at": at, "contact_id": "k-1", "channel": "phone", **fields})


def transferred(at: str, how: events.ContactTransferKind, to: str) -> Event:
    return events.ContactTransferred(header=some(events.ContactDequeued, at, queue="", id=f"transfer@{at}").header, kind=how, to=to)


PLACE = ("2026-01-12", 0, "billing", "phone")


# -- what counts as what


def test_a_contact_that_an_agent_takes_was_offered_and_answered_and_its_wait_is_kept_to_the_second() -> None:
    world = fold(contact_initiated(contact_id="k-1"), queued(), connected(), contact_completed(at="09:05", contact_id="k-1"))
    assert sums(world) == {PLACE: {"offered": 1, "answered": 1, "w:20": 1, "wait_us": 20_000_000}}


def test_a_contact_that_hangs_up_in_the_queue_was_abandoned_and_its_wait_is_no_wait_of_the_answered() -> None:
    assert sums(fold(queued(), abandoned("09:00:07"))) == {PLACE: {"offered": 1, "abandoned": 1, "a:7": 1}}


def test_a_contact_that_still_waits_is_offered_and_nothing_else() -> None:
    assert sums(fold(queued())) == {PLACE: {"offered": 1}}


def test_a_contact_counts_in_the_quarter_hour_in_which_it_entered_however_long_it_waits() -> None:
    world = fold(queued("09:14:59.9"), connected("09:31"))
    assert list(sums(world)) == [("2026-01-12", 0, "billing", "phone")]
    assert total(world)["answered"] == 1


def test_a_contact_that_enters_at_the_full_quarter_counts_in_the_quarter_that_begins() -> None:
    assert list(sums(fold(queued("09:15")))) == [("2026-01-12", 15, "billing", "phone")]


@pytest.mark.parametrize("history", [[contact_initiated(contact_id="k-1"), abandoned(stage="menu")], [connected()], [abandoned()]])
def test_nothing_is_invented_for_a_contact_of_which_no_queue_is_known(history: list[Event]) -> None:
    """A hang-up in the menu, a direct call to an agent, a piece of a call of which the rest is missing."""
    assert sums(fold(*history)) == {}


def test_a_queue_that_becomes_known_later_makes_the_piece_whole() -> None:
    assert total(fold(connected(), queued()))["answered"] == 1


def test_a_second_agent_after_a_transfer_is_not_a_second_answer_and_the_second_queue_was_not_offered_a_new_contact() -> None:
    world = fold(
        queued(),
        connected(),
        transferred("09:03", "cold", "second-line"),
        queued("09:03:01", queue="second-line"),
        connected("09:05", agent="ag-2", queue="second-line"),
    )
    assert sums(world) == {PLACE: {"offered": 1, "answered": 1, "w:20": 1, "wait_us": 20_000_000}}


def test_a_contact_that_is_sent_from_queue_to_queue_flows_out_of_the_first_and_is_answered_in_the_second() -> None:
    world = fold(queued(), queued("09:00:30", queue="tech"), connected("09:00:40", queue="tech"))
    assert sums(world) == {
        PLACE: {"offered": 1, "flow_out": 1},
        ("2026-01-12", 0, "tech", "phone"): {"offered": 1, "answered": 1, "w:10": 1, "wait_us": 10_000_000},
    }


def test_a_contact_that_is_queued_again_in_the_same_queue_goes_on_waiting_there() -> None:
    world = fold(queued(), some(events.ContactDequeued, "09:00:10", queue="billing"), queued("09:00:15"), connected("09:00:40"))
    assert sums(world) == {PLACE: {"offered": 1, "answered": 1, "w:40": 1, "wait_us": 40_000_000}}


def test_leaving_the_queue_while_an_agent_is_rung_is_no_flow_out_once_the_agent_has_answered() -> None:
    dequeued = some(events.ContactDequeued, "09:00:10", queue="billing", reason="agent_selected")
    assert total(fold(queued(), dequeued)) == {"offered": 1, "flow_out": 1}
    assert total(fold(queued(), dequeued, connected())) == {"offered": 1, "answered": 1, "w:20": 1, "wait_us": 20_000_000}
    assert total(fold(queued(), dequeued, abandoned(stage="ringing"))) == {"offered": 1, "abandoned": 1, "a:20": 1}


def test_leaving_for_another_queue_that_never_reported_an_entry_is_a_flow_out_even_if_an_agent_answers_there() -> None:
    world = fold(queued(), some(events.ContactDequeued, "09:00:10", queue="billing", reason="overflow"), connected(queue="outside"))
    assert sums(world) == {PLACE: {"offered": 1, "flow_out": 1}}


@pytest.mark.parametrize(
    "left",
    [
        [some(events.ContactVoicemailLeft, "09:01")],
        [some(events.ContactCallbackRequested, "09:01"), some(events.ContactDequeued, "09:01", queue="billing", reason="callback")],
        [transferred("09:01", "external", "partner")],
        [some(events.ContactDequeued, "09:01", queue="billing", reason="closed")],
    ],
    ids=["voicemail", "callback", "outside", "dequeued"],
)
def test_who_leaves_for_something_else_flows_out_and_hanging_up_afterwards_is_no_abandon(left: list[Event]) -> None:
    gone = some(events.ContactDisconnected, "09:02", by="customer", reason="done")
    assert total(fold(queued(), *left, gone)) == {"offered": 1, "flow_out": 1}


@pytest.mark.parametrize(
    "end",
    [
        some(events.ContactDisconnected, "09:00:20", by="customer", reason=""),
        contact_completed(at="09:00:20", contact_id="k-1"),
        some(events.ContactDequeued, "09:00:20", queue="billing", reason="abandoned"),
    ],
    ids=["disconnected", "completed", "dequeued as abandoned"],
)
def test_a_contact_that_is_over_before_anybody_answered_was_abandoned_whatever_its_source_calls_it(end: Event) -> None:
    assert total(fold(queued(), end)) == {"offered": 1, "abandoned": 1, "a:20": 1}


def test_whom_we_call_waits_in_no_queue_and_a_bot_is_no_agent() -> None:
    assert sums(fold(queued(direction="outbound"), connected(direction="outbound"))) == {}
    assert total(fold(queued(), connected(actor_kind="bot"))) == {"offered": 1}


def test_entering_and_being_answered_at_one_instant_is_a_wait_of_zero_in_whatever_order_they_come() -> None:
    for history in itertools.permutations([queued(id="z"), connected("09:00", id="a")]):
        assert total(fold(*history)) == {"offered": 1, "answered": 1, "w:0": 1}


def test_contacts_of_one_customer_are_counted_apart() -> None:
    world = fold(queued(), queued("09:01", contact_id="k-2", channel="webchat", queue="chat"), connected(), abandoned("09:02", contact_id="k-2"))
    assert sums(world) == {
        PLACE: {"offered": 1, "answered": 1, "w:20": 1, "wait_us": 20_000_000},
        ("2026-01-12", 0, "chat", "webchat"): {"offered": 1, "abandoned": 1, "a:60": 1},
    }


def test_a_contact_without_an_id_is_its_conversation_and_one_without_either_is_nobodys() -> None:
    assert total(fold(queued(contact_id=None, conversation_id="c-1"), connected(contact_id=None, conversation_id="c-1")))["answered"] == 1
    assert sums(fold(queued(contact_id=None), connected(contact_id=None))) == {}


# -- arrival


JOURNEY = [
    queued(),
    some(events.ContactDequeued, "09:00:30", queue="billing", reason="overflow"),
    queued("09:00:31", queue="tech"),
    transferred("09:01", "queue", "billing"),
    queued("09:16", id="back"),
    connected("09:17"),
    queued("09:18", queue="second-line"),
    contact_completed(at="09:20", contact_id="k-1"),
]


def test_every_order_of_arrival_ends_in_the_same_figures() -> None:
    straight = sums(fold(*JOURNEY))
    assert straight == {
        PLACE: {"offered": 1, "flow_out": 1},
        ("2026-01-12", 0, "tech", "phone"): {"offered": 1, "flow_out": 1},
        ("2026-01-12", 15, "billing", "phone"): {"offered": 1, "answered": 1, "w:60": 1, "wait_us": 60_000_000},
    }
    orders = list(itertools.permutations(JOURNEY))
    for history in orders[:: len(orders) // 997]:
        assert sums(fold(*history)) == straight, [event.header.id for event in history]


def random_contacts(seed: int) -> list[Event]:
    """Make up a few contacts of one customer from facts that need not make sense."""
    dice = random.Random(seed)  # noqa: S311 - not a secret
    return [anything(dice, number) for number in range(dice.randint(4, 30))]


def anything(dice: random.Random, number: int) -> Event:
    """Let anything happen to one of three contacts, in one of two queues."""
    common: dict[str, Any] = {"at": NINE + dice.randrange(1_200) * 1_000_000, "id": f"e-{number}", "contact_id": f"k-{dice.randrange(3)}"}
    queue = dice.choice(["billing", "tech"])
    happenings: list[Callable[[], Event]] = [
        lambda: contact_queued(**common, queue=queue),
        lambda: contact_connected(**common, queue=queue),
        lambda: contact_abandoned(**common),
        lambda: make(events.ContactDequeued, **common, queue=queue, reason=dice.choice(["", "abandoned"]), channel="phone"),
        lambda: make(events.ContactVoicemailLeft, **common, channel="phone"),
        lambda: contact_completed(**common),
    ]
    return dice.choice(happenings)()


@pytest.mark.parametrize("seed", range(40))
def test_random_contacts_end_in_the_same_figures_in_any_order_and_add_up(seed: int) -> None:
    happened = random_contacts(seed)
    straight = sums(fold(*sorted(happened, key=lambda event: event.header.occurred_at_us)))
    dice = random.Random(seed + 1_000)  # noqa: S311 - not a secret
    for _ in range(8):
        dice.shuffle(happened)
        assert sums(fold(*happened)) == straight
    for found in straight.values():
        assert min(found.values()) > 0
        assert found["offered"] >= sum(found.get(name, 0) for name in ("answered", "abandoned", "flow_out"))
        for letter, name in (("w", "answered"), ("a", "abandoned")):
            assert sum(n for bin_, n in found.items() if bin_.startswith(f"{letter}:")) == found.get(name, 0)


def test_an_answer_that_arrives_late_takes_the_abandon_back() -> None:
    world = fold(queued(), abandoned("09:05"))
    assert total(world) == {"offered": 1, "abandoned": 1, "a:300": 1}
    world.append(connected("09:04:59"), appended_us=time_us("10:00"))
    assert sums(world) == {PLACE: {"offered": 1, "answered": 1, "w:299": 1, "wait_us": 299_000_000}}


def test_an_earlier_entry_that_arrives_late_moves_the_contact_into_the_earlier_quarter() -> None:
    given(queued("09:16"), connected("09:17"), of=OF).when(queued("09:14:30", id="first")).then(
        tallies={
            "figure": {("acme", METRIC, "2026-01-12", NINE, "billing", "phone"): {"offered": 1, "answered": 1, "w:150": 1, "wait_us": 150_000_000}}
        }
    )


def test_what_follows_the_first_connect_changes_nothing_not_even_the_state() -> None:
    world = fold(queued(), connected())
    before = dict(world.states)
    world.append(connected("09:30", id="again"))
    assert world.states == before


# -- the tenant's day


def berlin(calendar: str = "office") -> Config:
    day = ((9 * 3600, 17 * 3600),)
    hours = WeeklyHours(id="office", timezone="Europe/Berlin", week=(day, day, day, day, day, (), ()))
    return Config((Rulebook(version=1, effective_at_us=0, calendars=(hours,), defaults=Defaults(calendar=calendar)),))


def test_the_day_is_that_of_the_default_calendars_zone_while_the_slot_is_an_instant() -> None:
    late = queued("23:10")
    assert [key[0] for key in sums(fold(late))] == ["2026-01-12"]
    assert list(sums(fold(late, config=berlin()))) == [("2026-01-13", 14 * 60, "billing", "phone")]


def test_a_default_calendar_that_is_not_there_leaves_the_day_to_utc() -> None:
    assert [key[0] for key in sums(fold(queued("23:10"), config=berlin("gone")))] == ["2026-01-12"]


def test_a_contact_that_was_counted_stays_on_its_day_when_the_zone_changes_meanwhile() -> None:
    given(queued("23:10"), of=OF).configure(berlin().newest, at="23:11").when(connected("23:12")).then(
        tallies={
            "figure": {
                ("acme", METRIC, "2026-01-12", NINE + 14 * 3_600_000_000, "billing", "phone"): {
                    "offered": 1,
                    "answered": 1,
                    "w:120": 1,
                    "wait_us": 120_000_000,
                }
            }
        }
    )


@pytest.mark.parametrize(("at_us", "day"), [(-(2**60), "0001-01-03"), (2**60, "9999-12-29")])
def test_a_time_beyond_all_calendars_counts_at_their_end(at_us: int, day: str) -> None:
    assert [key[0] for key in sums(fold(contact_queued(at=at_us, contact_id="k-1", id="odd"), config=berlin()))] == [day]


# -- waits


@pytest.mark.parametrize(
    ("wait_us", "said"),
    [
        (0, "0"),
        (1, "0.5"),
        (20_000_000, "20"),
        (20_000_001, "20.5"),
        (3_599_999_999, "3599.5"),
        (3_600_000_000, "3600"),
        (3_601_000_000, "3630"),
        (3_660_000_000, "3660"),
        (86_400_000_001, "86430"),
    ],
)
def test_a_wait_is_kept_so_that_within_and_below_are_exact(wait_us: int, said: str) -> None:
    assert bucket(wait_us) == said


# -- limits


def state_of(world: World) -> ServiceLevelsState:
    (state,) = world.states.values()
    assert isinstance(state, ServiceLevelsState)
    return state


def test_contacts_are_forgotten_once_nothing_can_reach_them_any_more() -> None:
    day_us = 86_400_000_000
    world = fold(*[queued(at=NINE + n * day_us, contact_id=f"k-{n}", id=f"q-{n}") for n in range(40)])  # type: ignore[arg-type]
    assert set(state_of(world).contacts) == {f"k-{n}" for n in range(39 - KEPT_US // day_us, 40)}
    assert total(world) == {"offered": 40}


def test_the_state_is_bounded_however_many_contacts_and_facts_there_are() -> None:
    world = fold(*[queued(contact_id=f"k-{n}", id=f"q-{n}") for n in range(400)])
    assert len(state_of(world).contacts) == 256
    world = fold(*[queued(f"09:{n // 60:02d}:{n % 60:02d}", queue=f"q-{n}", id=f"q-{n}") for n in range(100)])
    assert len(state_of(world).contacts["k-1"].facts) == 32
    assert total(world) == {"offered": 32, "flow_out": 31}


# -- customers that turn out to be one


def linked(under: str, *, at: str = "09:01") -> Event:
    return make(
        events.IdentityLinked, id="link", at=at, customer=under, from_="cu-1", to="cu-2", handle={"kind": "phone", "hash": b"h"}, evidence="call"
    )


def copied(at: str = "09:02") -> Event:
    return make(events.IdentityCopied, id="copied", at=at, customer="cu-2", from_="cu-1", home="cu-1", to="cu-2", last_offset=1, write_ts_us=1)


def copy(make_it: Any, at: str, **fields: Any) -> Event:
    event: Event = make_it(at, customer="cu-2", origin_customer_id="cu-1", origin_offset=0, appended_at_us=time_us(at), **fields)
    return event


def test_a_contact_that_is_decided_when_its_customer_is_linked_stays_counted_where_it_is_and_only_there() -> None:
    world = fold(queued(), connected("09:00:30"), linked("cu-1"), linked("cu-2"), copy(queued, "09:00"), copy(connected, "09:00:30"), copied())
    assert total(world) == {"offered": 1, "answered": 1, "w:30": 1, "wait_us": 30_000_000}


def test_a_contact_that_waits_when_its_customer_is_linked_is_counted_at_the_other_customer() -> None:
    world = fold(queued(), linked("cu-1"))
    assert total(world) == {}
    for event in (linked("cu-2"), copy(queued, "09:00"), connected("09:01:30", customer="cu-2"), copied()):
        world.append(event)
    assert total(world) == {"offered": 1, "answered": 1, "w:90": 1, "wait_us": 90_000_000}


def test_a_straggler_of_a_linked_customer_corrects_the_figures_where_the_contact_is_counted() -> None:
    world = fold(queued(), abandoned("09:00:50"), linked("cu-1"), linked("cu-2"), copy(queued, "09:00"), copy(abandoned, "09:00:50"), copied())
    late = {"appended_us": time_us("09:03")}
    world.append(connected("09:00:40"), **late)
    straggler = connected("09:00:40", customer="cu-2", origin_customer_id="cu-1", origin_offset=9, appended_at_us=time_us("09:03"))
    world.append(straggler, **late)
    world.append(
        make(events.IdentityCopied, id="again", at="09:04", customer="cu-2", from_="cu-1", home="cu-1", to="cu-2", last_offset=9, write_ts_us=1)
    )
    assert total(world) == {"offered": 1, "answered": 1, "w:40": 1, "wait_us": 40_000_000}


def test_a_contact_that_begins_under_the_old_customer_after_the_link_is_counted_once_at_the_new_one() -> None:
    world = fold(linked("cu-1"), linked("cu-2"), queued("09:01:30"))
    assert total(world) == {}
    for event in (copy(queued, "09:01:30"), copied(), connected("09:01:50", customer="cu-2")):
        world.append(event)
    assert total(world) == {"offered": 1, "answered": 1, "w:20": 1, "wait_us": 20_000_000}


def test_a_link_that_is_taken_back_brings_the_contacts_back() -> None:
    unlinked = make(events.IdentityUnlinked, at="09:02", customer="cu-1", from_="cu-1", to="cu-2")
    assert total(fold(queued(), linked("cu-1"), unlinked)) == {"offered": 1}


# -- the digest


def test_the_digest_of_figures_is_that_of_their_sums_however_the_log_is_partitioned() -> None:
    tables = Group("care", 1, OF).tables()

    def row(partition: int, queue: str = "billing", **sums: int) -> dict[str, Any]:
        place = {"tenant": "acme", "metric": METRIC, "day": "2026-01-12", "slot": NINE, "queue": queue, "channel": "phone"}
        return {**place, "src_partition": partition, "sums": sums, "applied_offset": partition * 7}

    one = digest(tables, {"figure": [row(0, offered=3, answered=2)]})
    assert digest(tables, {"figure": [row(4, offered=1), row(2, offered=2, answered=2), row(1, "tech", offered=0)]}) == one
    assert digest(tables, {"figure": [row(4, offered=1), row(2, offered=1, answered=2)]}) != one
