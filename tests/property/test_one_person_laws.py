"""Laws of linked customers: in whatever order link, copies and what is handed over come, the tables are those of one customer, and
what people were told in the end is what the tables say."""  # noqa: D205, D209 - one sentence

import random
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from projections.rules import LadderStep, UnansweredRule
from projections.testing import contact_abandoned
from schemas import events
from schemas.record import Event
from tests.support.clock_histories import BOOK as CLOCKS
from tests.support.clock_histories import US, history
from tests.support.one_person import C, OnePerson, P, mingled, net, under

QUIET = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
STEPS = (LadderStep(after_s=0, to="role:lead"), LadderStep(after_s=5400, to="role:head"))
BOOK = msgspec.structs.replace(
    CLOCKS,
    effective_at_us=0,
    policies=tuple(msgspec.structs.replace(policy, escalation=STEPS) for policy in CLOCKS.policies),
    unanswered=(
        UnansweredRule(id="missed", when='type == "contact.abandoned"', answer_within_s=3600, escalation=STEPS),
        UnansweredRule(id="mail", when='type == "message.received"', answer_within_s=7200, recovered_by="conversation"),
    ),
)


def told_by(event: Event, rng: random.Random, homes: dict[str, str], mixed: int) -> str:
    """Return whose handle an event carries: one conversation's always the same, but for `mixed` in a hundred."""
    if rng.randrange(100) < mixed:
        return rng.choice([P, C])
    return homes.setdefault(event.header.conversation_id or "", rng.choice([P, C]))


def joined(rng: random.Random, length: int, mixed: int) -> tuple[OnePerson, OnePerson]:
    """Return how a history ends for two who turn out to be one, and for one who was one from the beginning, under the same homes."""
    happening = history(rng, length)
    calls = [contact_abandoned(id=f"k{n}", at=event.header.occurred_at_us, contact_id=f"k{n % 3}", conversation_id=f"k{n % 3}") for n, event in
             enumerate(happening) if rng.randrange(6) == 0]  # fmt: skip
    happening = sorted([*happening, *calls], key=lambda event: event.header.occurred_at_us)
    homes: dict[str, str] = {}
    of = [(event, told_by(event, rng, homes, mixed)) for event in happening]
    two, one = OnePerson(BOOK), OnePerson(BOOK)
    for event, home in of:
        one.world.append(under(event, C, home))
    at = rng.randrange(len(of) + 1)
    for event, home in of[:at]:
        two.happen(under(event, home, home))
    _link(two, rng, of[at:])
    for each in (one, two):
        each.world.advance_to(each.world.now_us + 40 * 86_400 * US)
    return two, one


def _link(two: OnePerson, rng: random.Random, later: list[tuple[Event, str]]) -> None:
    """Link P, while life goes on: what comes later lies under C, or, of some records, under P first."""
    now_us = two.world.now_us
    link = two.link(C, now_us)
    two.happen(two.link(P, now_us))
    first = [[link], two.copies(), two.moved()]
    stragglers = [(event, home) for event, home in later if home == P and rng.randrange(5) == 0]
    direct = [under(event, C, home) for event, home in later if (event, home) not in stragglers]
    for event, _ in stragglers:
        two.happen(under(event, P, P))
    for event in mingled(rng, [*first, direct]):
        two.happen(event)
    two.happen(*two.copies())
    assert two.moved() == []


def shown(person: OnePerson) -> dict[str, list[str]]:
    """Return what readers see of clocks and contacts; what is on its way out is not there."""
    rows: dict[str, list[dict[str, Any]]] = person.world.rows()
    leave_out = {"unanswered": {"turn"}}
    return {
        table: sorted(repr(sorted((name, cell) for name, cell in row.items() if name not in leave_out.get(table, ()))) for row in found)
        for table, found in rows.items()
        if table in {"clock", "open_clock", "unanswered"}
    }


@QUIET
@given(seed=st.integers(0, 10**9), length=st.integers(2, 25), mixed=st.sampled_from([0, 0, 20]))
def test_two_who_turn_out_to_be_one_end_with_the_tables_of_one(seed: int, length: int, mixed: int) -> None:
    two, one = joined(random.Random(seed), length, mixed)  # noqa: S311 - hypothesis chooses the seed
    assert shown(two) == shown(one)


@QUIET
@given(seed=st.integers(0, 10**9), length=st.integers(2, 25), mixed=st.sampled_from([0, 0, 20]))
def test_every_contact_is_counted_once(seed: int, length: int, mixed: int) -> None:
    two, one = joined(random.Random(seed), length, mixed)  # noqa: S311 - hypothesis chooses the seed
    sums = [{key: found for key, found in person.world.sums.items() if found} for person in (two, one)]
    assert sums[0] == sums[1]


@QUIET
@given(seed=st.integers(0, 10**9), length=st.integers(2, 25), mixed=st.sampled_from([0, 0, 20]))
def test_what_was_told_less_what_was_taken_back_is_what_the_tables_say(seed: int, length: int, mixed: int) -> None:
    two, _ = joined(random.Random(seed), length, mixed)  # noqa: S311 - hypothesis chooses the seed
    rows: dict[str, list[dict[str, Any]]] = two.world.rows()
    breached = {("clock", r["home_customer_id"], r["conversation_id"], r["metric"], r["instance"]) for r in rows["clock"] if r["state"] == "breached"}
    missed = {
        ("contact", r["home_customer_id"], r["contact"], r["rule"])
        for r in rows["unanswered"]
        if r["state"] in {"unanswered", "recovered"} or (r["state"] == "settled" and r["cleared_at"] > r["due_at"])
    }
    alerts = {("alert", r["alert_id"]) for r in rows["alert"] if r["state"] != "resolved"}
    assert net(two.world.effects) == dict.fromkeys(breached | missed | alerts, 1)


@QUIET
@given(seed=st.integers(0, 10**9), length=st.integers(2, 25), mixed=st.sampled_from([0, 0, 20]))
def test_nothing_is_told_twice_but_once_more_by_who_took_it_over(seed: int, length: int, mixed: int) -> None:
    two, _ = joined(random.Random(seed), length, mixed)  # noqa: S311 - hypothesis chooses the seed
    verdicts = ("sla.breach", "unanswered.", "alert.", "escalation.step", "escalation.stood")
    told = [(e.key, e.payload.header.id) for e in two.world.effects if e.kind.startswith(verdicts) and isinstance(e.payload, Event)]
    assert len(told) == len(set(told))


@QUIET
@given(seed=st.integers(0, 10**9), length=st.integers(2, 25))
def test_after_the_link_nothing_is_told_under_who_is_linked_and_nothing_of_it_is_left(seed: int, length: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - hypothesis chooses the seed
    happening = [under(event, P) for event in history(rng, length)]
    two = OnePerson(BOOK).happen(*happening[: length // 2])
    two.happen(two.link(P, two.world.now_us))
    handed = [e.payload for e in two.world.effects if e.kind == "clock.moved"]
    told = len(two.world.effects)
    two.happen(*happening[length // 2 :])
    two.world.advance_to(two.world.now_us + 40 * 86_400 * US)
    assert len(two.world.effects) == told
    rows = two.world.rows()
    assert not [
        row
        for table in ("clock", "open_clock", "unanswered", "escalation")
        for row in rows[table]
        if row.get("phase") != "ended" and row.get("step", 0) == 0
    ]
    assert {row["state"] for row in rows["alert"]} <= {"resolved"}
    assert all(isinstance(one, events.ClockMoved) and one.header.customer_id == C for one in handed)
