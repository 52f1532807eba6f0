"""Laws of unanswered contacts and their alerts, over histories that nobody thought of, in arrival orders that nobody wants."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from projections.alerts import Alerts
from projections.escalation import Escalation
from projections.rules import Config, LadderStep, Rulebook, UnansweredRule
from projections.tables import parse_tables
from projections.testing import World, contact_abandoned, contact_connected, contact_queued, make, message_received, message_sent, time_us
from projections.unanswered import Unanswered
from schemas import events
from schemas.record import Event

CARE_SUMMARY = """CREATE TABLE care_summary_vN (
    tenant text, customer_id text, open_alerts int, worst_severity text, PRIMARY KEY ((tenant, customer_id))
);"""
LADDER = (LadderStep(after_s=0, to="a"), LadderStep(after_s=900, to="b"))
RULES = (
    UnansweredRule(id="calls", when='type == "contact.abandoned" && queue != "spam"', answer_within_s=1200, escalation=LADDER),
    UnansweredRule(id="urgent", when='type == "contact.abandoned" && priority == "high"', answer_within_s=300, severity="critical"),
    UnansweredRule(id="mail", when='type == "message.received"', answer_within_s=1800, recovered_by="conversation"),
)
CONFIG = Config((Rulebook(version=1, effective_at_us=0, unanswered=RULES),))
BEGIN = time_us("09:00")
MINUTE = 60_000_000
NAMES = st.sampled_from(("x", "y", "z"))


MADE: dict[str, Any] = {
    "call": lambda name, _, **told: contact_abandoned(contact_id=f"k-{name}", **told),
    "queued": lambda name, word, **told: contact_queued(contact_id=f"k-{name}", **{**told, "queue": word}),
    "connected": lambda name, word, **told: contact_connected(contact_id=f"k-{name}-{word}", **told),
    "priority": lambda name, _, **told: make(events.ConversationPriorityChanged, contact_id=f"k-{name}", priority="high", **told),
    "mail": lambda name, _, **told: message_received(conversation_id=f"c-{name}", **told),
    "sent": lambda name, _, **told: message_sent(conversation_id=f"c-{name}", **told),
    "resolved": lambda name, _, **told: make(events.ConversationResolved, conversation_id=f"c-{name}", actor_kind="agent", **told),
}


def _event(number: int, kind: str, minute: int, name: str, word: str) -> Event:
    event: Event = MADE[kind](name, word, id=f"e-{number}", at=BEGIN + minute * MINUTE)
    return event


KINDS = ("call", "call", "queued", "connected", "priority", "mail", "mail", "sent", "resolved")
HISTORIES = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 90), NAMES, st.sampled_from(("spam", "billing"))), min_size=1, max_size=14).map(
    lambda facts: [_event(number, *fact) for number, fact in enumerate(facts)]
)


def _world() -> World:
    world = World((Unanswered(), Alerts(), Escalation()), config=CONFIG)
    for table in parse_tables(CARE_SUMMARY, 1):
        world.tables[table.name] = table
        world._rows[table.name] = {}
    return world


def _fold(arrivals: list[tuple[Event, int]]) -> World:
    world = _world()
    for event, appended_us in arrivals:
        world.append(event, appended_us=appended_us)
    world.advance_to(BEGIN + 24 * 60 * MINUTE)
    return world


def _verdicts(world: World) -> list[tuple[object, ...]]:
    """Everything that a row says but how often it turned."""
    columns = ("contact", "rule", "asked_at", "state", "due_at", "cleared_at", "cleared_by", "queue")
    return sorted((tuple(row.get(name) for name in columns) for row in world.rows()["unanswered"]), key=repr)


@st.composite
def _delayed(draw: st.DrawFn) -> tuple[list[Event], list[tuple[Event, int]]]:
    """Return a history in order, and the same as it may arrive: each event up to two hours late."""
    history = sorted(draw(HISTORIES), key=lambda event: event.header.occurred_at_us)
    late = [(event, event.header.occurred_at_us + draw(st.integers(0, 120)) * MINUTE) for event in history]
    return history, sorted(late, key=lambda pair: pair[1])


@given(_delayed())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_arrives_when_the_same_contacts_end_alike(drawn: tuple[list[Event], list[tuple[Event, int]]]) -> None:
    history, late = drawn
    assert _verdicts(_fold(late)) == _verdicts(_fold([(event, event.header.occurred_at_us) for event in history]))


@given(_delayed())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_was_told_last_is_what_the_rows_say_and_an_alert_is_open_while_somebody_waits(
    drawn: tuple[list[Event], list[tuple[Event, int]]],
) -> None:
    world = _fold(drawn[1])
    last: dict[tuple[object, object], Event] = {}
    ids: list[str] = []
    for effect in world.effects:
        payload = effect.payload
        assert isinstance(payload, Event)
        ids.append(payload.header.id)
        if isinstance(payload, events.UnansweredDetected | events.UnansweredCleared):
            last[payload.header.contact_id, payload.rule] = payload
    rows = {(row["contact"], row["rule"]): row for row in world.rows()["unanswered"]}
    waiting = {key for key, row in rows.items() if row["state"] == "unanswered"}
    assert {key for key, told in last.items() if isinstance(told, events.UnansweredDetected)} == waiting
    missed = {key for key, row in rows.items() if row["state"] == "recovered"}
    assert missed <= {key for key, told in last.items() if isinstance(told, events.UnansweredCleared)}
    open_rules = {row["name"] for row in world.rows()["alert"] if row["state"] == "open"}
    assert open_rules == {rule for _, rule in waiting}
    assert len([row for row in world.rows()["alert"] if row["state"] == "open"]) == len(open_rules)
    assert len(ids) == len(set(ids))


def test_a_contact_that_was_taken_back_and_asks_again_raises_a_new_alert() -> None:
    asked, turned_spam, asked_before = _event(1, "call", 40, "z", ""), _event(2, "queued", 39, "z", "spam"), _event(0, "call", 17, "z", "")
    world = _fold([(asked, BEGIN + 40 * MINUTE), (turned_spam, BEGIN + 61 * MINUTE), (asked_before, BEGIN + 62 * MINUTE)])
    ids = [effect.payload.header.id for effect in world.effects if isinstance(effect.payload, Event)]
    assert len(ids) == len(set(ids))
    assert [row["state"] for row in world.rows()["unanswered"]] == ["unanswered"]
    assert sorted(str(row["state"]) for row in world.rows()["alert"]) == ["open", "resolved"]


@given(_delayed())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_nobody_is_told_of_an_alert_that_is_over(drawn: tuple[list[Event], list[tuple[Event, int]]]) -> None:
    over: set[str] = set()
    steps: set[tuple[str, int]] = set()
    for effect in _fold(drawn[1]).effects:
        payload = effect.payload
        if isinstance(payload, events.AlertResolved):
            over.add(payload.alert_id)
        if isinstance(payload, events.EscalationStepReached):
            assert payload.alert_id not in over
            assert (payload.alert_id, payload.step) not in steps
            steps.add((payload.alert_id, payload.step))
