"""What a new projection begins with: the texts of its files. Knows their form; must not know where they go.

The text of a module is working code that passes every check as it stands, whatever the projection is called: nothing in it but
the names depends on the name.
"""

import json
import re
from string import Template
from typing import Any, Final

import msgspec

from projections.testing import message_received, message_sent, time_us

__all__ = ["FIRST_VERSION", "class_name", "cql", "history", "in_order", "module", "tests"]

FIRST_VERSION: Final = 1
"""The version that a new group begins with."""

_DIGITS: Final = re.compile(r"(\d+)")

_MODULE: Final = Template('''"""How often a customer and we have written to each other, and when last. Say here what your projection means.

Knows messages; must not know Kafka, Cassandra or the time of day. Events come in the order of their arrival, which is not the order in
which they happened: fold by event time, so that every order gives the same rows. Keep a limit on all that a state holds.
"""

from typing import ClassVar

import msgspec

from projections.kernel import Moment, Step, Subject, Timer, Upsert, Value
from schemas import events
from schemas.record import Event

__all__ = ["$kind"]


class Seen(msgspec.Struct, array_like=True, gc=False):
    """What is known of one customer: how many messages either side wrote, and the event time of the last one (epoch µs)."""

    received: int = 0
    sent: int = 0
    latest_us: int = 0


class $kind:
    """Counts messages: one row per customer."""

    name: ClassVar[str] = "$name"
    version: ClassVar[int] = 1
    handles: ClassVar[frozenset[type[Event]]] = frozenset({events.MessageReceived, events.MessageSent})
    depends_on: ClassVar[tuple[str, ...]] = ()
    arms_timers: ClassVar[bool] = False

    def initial(self, subject: Subject) -> Seen:  # noqa: ARG002 - every customer starts alike
        """Return the state of a customer of whom nothing is known."""
        return Seen()

    def apply(self, state: Seen, event: Event, at: Moment) -> Step[Seen]:  # noqa: ARG002 - what it counts needs no more than the event
        """Count one message."""
        header = event.header
        if header.customer_id is None or (isinstance(event, events.MessageSent) and event.visibility != "public"):
            return Step(state)
        if isinstance(event, events.MessageReceived):
            state.received += 1
        else:
            state.sent += 1
        state.latest_us = max(state.latest_us, header.occurred_at_us)
        columns: dict[str, Value] = {"received": state.received, "sent": state.sent, "latest_at": state.latest_us}
        return Step(state, rows=(Upsert("$name", (header.tenant, header.customer_id), columns),))

    def expire(self, state: Seen, timer: Timer, at: Moment) -> Step[Seen]:  # noqa: ARG002 - it arms none
        """Do nothing: this projection arms no timers."""
        return Step(state)
''')

_CQL: Final = Template("""-- What a customer and we have written to each other. Written by projections/$name.py.
CREATE TABLE ${name}_vN (
    tenant text,
    customer_id text,
    received bigint,                           -- messages of the customer
    sent bigint,                               -- public messages to the customer
    latest_at bigint,                          -- event time of the last of either, epoch microseconds
    PRIMARY KEY ((tenant, customer_id))
);
""")

_TESTS: Final = Template('''"""What a customer and we have written to each other: counted alike in every order of arrival."""

$imports

ANN = {"tenant": "acme", "customer_id": "cu-1", "received": 2, "sent": 1, "latest_at": time_us("09:30")}
WANTED = {"$name": [ANN]}


def test_messages_of_both_sides_are_counted() -> None:
    told = given(message_received(id="m-1", at="09:00"), of=[$kind()])
    told.when(message_sent(id="m-2", at="09:30"), message_received(id="m-3", at="09:10")).then(rows=WANTED, effects=[])


def test_a_late_message_changes_nothing_but_the_count() -> None:
    told = given(message_sent(id="m-2", at="09:30"), of=[$kind()])
    told.when(message_received(id="m-3", at="09:10"), message_received(id="m-1", at="09:00")).then(rows=WANTED)


def test_an_internal_note_is_no_message() -> None:
    given(of=[$kind()]).when(message_sent(id="m-1", visibility="internal")).then(rows={"$name": []})
''')


def class_name(name: str) -> str:
    """Return the name of the projection's class: `repeat_contacts` is `RepeatContacts`."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def in_order(text: str) -> tuple[tuple[int, int, str], ...]:
    """Return the key by which imports stand in order: by letters, numbers by their value, as the linter sorts them."""
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in _DIGITS.split(text) if part)


def module(name: str) -> str:
    """Return the text of `projections/<name>.py`."""
    return _MODULE.substitute(name=name, kind=class_name(name))


def cql(name: str) -> str:
    """Return the text of `projections/<name>.cql`."""
    return _CQL.substitute(name=name)


def tests(name: str) -> str:
    """Return the text of `tests/unit/test_<name>.py`."""
    imported = {f"projections.{name}": class_name(name), "projections.testing": "given, message_received, message_sent, time_us"}
    lines = [f"from {source} import {what}" for source, what in sorted(imported.items(), key=lambda one: in_order(one[0]))]
    return _TESTS.substitute(name=name, kind=class_name(name), imports="\n".join(lines))


def history() -> str:
    """Return the text of `tests/golden/<group>.history.jsonl`: five messages of two customers who do not exist, one of them late."""
    happened = [
        message_received(id="m-1", at="09:00", customer="cu-1", conversation_id="c-1"),
        message_sent(id="m-2", at="09:30", customer="cu-1", conversation_id="c-1"),
        message_received(id="m-3", at="09:10", customer="cu-1", conversation_id="c-1"),
        message_received(id="m-4", at="10:00", customer="cu-2", conversation_id="c-2", channel="webchat"),
        message_sent(id="m-5", at="10:05", customer="cu-2", conversation_id="c-2", visibility="internal"),
    ]
    appended_us = time_us("09:00")
    lines = []
    for event in happened:
        appended_us = max(appended_us, event.header.occurred_at_us)
        plain: dict[str, Any] = json.loads(msgspec.json.encode(event))
        lines.append(json.dumps({"type": event.TYPE, "appended_us": appended_us, "event": plain}, separators=(",", ":")))
    return "\n".join(lines) + "\n"
