"""The world in which projections are tested: timers, signals, and sentences that fail."""

from typing import ClassVar

import msgspec
import pytest

from projections.customer import Customer
from projections.kernel import Arm, Disarm, Effect, Moment, Signal, Step, Subject, Tally, Timer, Upsert
from projections.rules import Policy, Rulebook
from projections.testing import SETTLE_US, World, given, make, message_received, message_sent, time_us
from schemas import events
from schemas.events import CustomerContact
from schemas.record import Event


class Count(msgspec.Struct):
    """What has been heard."""

    fired: list[str] = msgspec.field(default_factory=list)


class Rang(Signal, frozen=True):
    """The bell rang."""

    at_us: int


class Bell:
    """Rings ten minutes after a message, unless it is answered."""

    name: ClassVar[str] = "bell"
    version: ClassVar[int] = 1
    handles: ClassVar[frozenset[type[Event]]] = frozenset({events.MessageReceived, events.MessageSent})
    depends_on: ClassVar[tuple[str, ...]] = ()
    grace_us = 0

    def initial(self, subject: Subject) -> Count:
        return Count()

    def apply(self, state: Count, event: Event, at: Moment) -> Step[Count]:
        if isinstance(event, events.MessageSent):
            return Step(state, timers=(Disarm("ring"),))
        return Step(state, timers=(Arm("ring", event.header.occurred_at_us + 600_000_000, self.grace_us),))

    def expire(self, state: Count, timer: Timer, at: Moment) -> Step[Count]:
        state.fired.append(timer.name)
        return Step(state, effects=(Effect("bell.rang", "cu-1", CustomerContact()),), signals=(Rang(at.occurred_at_us),))


class Ear(Bell):
    """Hears the bell."""

    name = "ear"
    handles = frozenset()
    depends_on = ("bell",)

    def receive(self, state: Count, signal: Rang, at: Moment) -> Step[Count]:
        state.fired.append(str(signal.at_us))
        return Step(state)


class Ledger(Bell):
    """Counts messages by the version of the rules in force, and is told of new ones."""

    name = "ledger"

    def apply(self, state: Count, event: Event, at: Moment) -> Step[Count]:
        book = at.config.at(at.occurred_at_us)
        return Step(state, tallies=(Tally("sheet", ("acme", str(book.version)), {"n": 1}),))

    def configure(self, state: Count, at: Moment) -> Step[Count]:
        newest = at.config.newest
        state.fired.append(f"{newest.version} at {at.occurred_at_us - time_us('00:00')}")
        return Step(state, tallies=(Tally("sheet", ("acme", "0"), {"n": -1, "told": 1}),))


class Patient(Bell):
    """A bell that is noticed a minute later."""

    grace_us = 60_000_000


def fired(world: World) -> dict[str, list[str]]:
    return {name: state.fired for (_, name), state in world.states.items() if isinstance(state, Count)}


def test_a_timer_expires_when_time_passes_its_due_and_dependents_hear_of_it() -> None:
    told = given(message_received(at="09:00"), of=[Bell(), Ear()]).at("09:09").then(effects=[]).advance("1m").then(effects=["bell.rang"])
    assert fired(told.world) == {"bell": ["ring"], "ear": [str(time_us("09:10"))]}


def test_a_reply_at_exactly_the_due_time_is_in_time() -> None:
    given(message_received(at="09:00"), of=[Bell()]).when(message_sent(at="09:10")).advance("1h").then(effects=[])


def test_grace_moves_when_a_timer_is_noticed_and_not_what_it_says() -> None:
    given(message_received(at="09:00"), of=[Patient()]).at("09:10:59").then(effects=[]).at("09:11").then(effects=["bell.rang"])


def test_a_timer_armed_past_its_due_waits_for_the_answer_that_comes_along() -> None:
    late = given(of=[Bell()]).at("10:00").when(message_received(at="09:00"))
    late.then(effects=[])
    assert late.world.now_us == time_us("10:00")
    late.when(message_sent(at="09:05")).advance("1h").then(effects=[])
    given(of=[Bell()]).at("10:00").when(message_received(at="09:00")).at(time_us("10:00") + SETTLE_US).then(effects=["bell.rang"])


def test_a_rulebook_is_heard_of_at_its_append_time_by_those_who_have_a_state() -> None:
    """Afterwards it is in force from there on; what is tallied back to zero is gone."""
    told = given(message_received(at="09:00"), of=[Ledger()]).configure(Rulebook(policies=(Policy(id="p"),)), at="00:00:09")
    assert fired(told.world) == {"ledger": [f"1 at {9 * 3600 * 1_000_000}"]}, "append time never goes backwards"
    told.then(tallies={"sheet": {("acme", "0"): {"told": 1}}})
    told.when(message_received(id="m-2", at="08:59"), message_received(id="m-3", at="09:01"))
    told.then(tallies={"sheet": {("acme", "0"): {"told": 1, "n": 1}, ("acme", "1"): {"n": 1}}, "other": {}})
    assert {row["day"]: row["sums"] for row in told.world.rows()["sheet"]} == {"0": {"told": 1, "n": 1}, "1": {"n": 1}}
    with pytest.raises(AssertionError, match="wanted"):
        told.then(tallies={"sheet": {}})


def test_a_timer_that_expires_before_a_rulebook_does_not_know_it() -> None:
    """One that expires at its append time or later does."""
    seen: list[int] = []

    class Rung(Bell):
        def expire(self, state: Count, timer: Timer, at: Moment) -> Step[Count]:
            seen.append(at.config.newest.version)
            return Step(state)

    given(message_received(at="09:00"), of=[Rung()]).configure(Rulebook(), at="09:10:01")
    given(message_received(at="09:00"), of=[Rung()]).configure(Rulebook(), at="09:10").advance("1s")
    assert seen == [0, 1]


def test_a_timer_that_arms_itself_for_ever_fails() -> None:
    class Restless(Bell):
        def expire(self, state: Count, timer: Timer, at: Moment) -> Step[Count]:
            return Step(state, timers=(Arm("ring", timer.due_at_us + 1),))

    with pytest.raises(AssertionError, match="arms for ever"):
        given(message_received(at="09:00"), of=[Restless()]).at("10:00")


def test_a_row_that_expires_is_gone_after_its_span() -> None:
    world = World([Customer()])
    world._write("conversation", ("a", "c", "h"), {"status": "open"}, 60)
    world.advance_to(59_999_999)
    assert len(world.rows()["conversation"]) == 1
    world.advance_to(60_000_000)
    assert world.rows()["conversation"] == []


def test_a_row_that_no_cql_describes_fails() -> None:
    world = World([Customer()])
    for change in (
        ("nowhere", ("a",), {}),
        ("customer", ("a",), {}),
        ("customer", ("a", "b"), {"body": b""}),
        ("customer", ("a", "b", "c"), {"as_of": {}}),
    ):
        with pytest.raises(AssertionError):
            world._write(*change)


def test_a_sentence_that_is_not_true_says_what_there_is() -> None:
    told = given(of=[Customer()]).when(message_received(conversation_id="c-9"))
    with pytest.raises(AssertionError, match="c-9"):
        told.then(rows={"conversation": [{"status": "closed"}]})
    with pytest.raises(AssertionError, match="not empty"):
        told.then(rows={"conversation": []})
    with pytest.raises(AssertionError, match="snapshot"):
        told.then(effects=[])


def test_events_of_any_type_are_made_in_one_line() -> None:
    event = make(events.ConversationStatusChanged, at="09:00:30.5", from_="open", to="closed", tenant="other")
    assert (event.header.id, event.header.tenant, event.from_) == ("conversation.status_changed@09:00:30.5", "other", "open")
    with pytest.raises(TypeError):
        make(events.MessageReceived, nonsense=1)


def test_a_column_that_is_written_as_null_reads_as_absent() -> None:
    world = World([Customer()])
    world._write("conversation", ("a", "c", "h"), dict(Upsert("conversation", ("a", "c", "h"), {"status": "open", "team": "t"}).columns))
    world._write("conversation", ("a", "c", "h"), {"team": None})
    assert world.rows()["conversation"] == [{"tenant": "a", "conversation_id": "c", "home_customer_id": "h", "status": "open"}]
