"""The rules in force: calendars, policies, queues, channels. Values only, as a policy file says them and the log carries them.

`projections/sla/policy.py` reads them from TOML; a `config.published` event carries one `Rulebook` as JSON; the engine hands
those that a partition has read so far to every fold, as `Config`. Spans are whole seconds, times epoch µs UTC.
"""

from bisect import bisect_right
from typing import Final, Literal

import msgspec

from schemas.events import ConfigPublished
from touchline.errors import Poison

__all__ = [
    "ALWAYS",
    "RULES",
    "ChannelRules",
    "Config",
    "ContactRules",
    "CustomerCalendar",
    "Day",
    "Defaults",
    "Interval",
    "LadderStep",
    "Metric",
    "Policy",
    "QueueRules",
    "QuietHours",
    "Rulebook",
    "Severity",
    "TeamRules",
    "UnansweredRule",
    "WeeklyHours",
    "rulebook_of",
]

ALWAYS: Final = "always"
"""The built-in calendar that is open around the clock (UTC)."""

Metric = Literal[
    "first_response",
    "first_response_human",
    "next_response",
    "periodic_update",
    "requester_wait",
    "agent_work",
    "resolution_total",
    "resolution_net",
    "ownership",
    "queue_answer",
    "turn_response",
    "acknowledge_auto",
]
"""What a clock measures (sla.md §2)."""

Severity = Literal["low", "normal", "high", "critical"]

Interval = tuple[int, int]
"""[start, end) in seconds of local time since midnight; an end above 86,400 runs over midnight into the next day."""

Day = tuple[Interval, ...]
"""The intervals of one local day, in order, none overlapping; empty = closed."""


class WeeklyHours(msgspec.Struct, frozen=True, kw_only=True):
    """A calendar. `week` is Monday first. `exceptions` (ISO date -> day) replace that local day; holidays are written out as such.

    `tzdata` is the version of the time zone data that it was published with, "" where it is not known.
    """

    id: str
    timezone: str = "UTC"
    week: tuple[Day, Day, Day, Day, Day, Day, Day]
    exceptions: dict[str, Day] = {}
    tzdata: str = ""


class LadderStep(msgspec.Struct, frozen=True, kw_only=True):
    """One step of an escalation ladder: whom to tell, so long after its cause, in the calendar's time."""

    after_s: int
    to: str


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What is promised to the conversations that `when` (CEL) matches. `calendar` None: by the precedence of sla.md §3.

    `answered_by`: whose replies stop this policy's response clocks: those of the conversation only, of its case too, or any to
    the customer in any channel. `snooze_pauses`: a snooze is a pause. `pause_responses`: the response clocks rest in `pause_states`
    too (the option of sla.md §2); a file says so by naming `pause_states`.
    """

    id: str
    when: str = "true"
    calendar: str | None = None
    targets: dict[Metric, int] = {}
    warn: dict[Metric, int] = {}
    calendars: dict[Metric, str] = {}
    pause_states: tuple[str, ...] = ("pending",)
    on_change: Literal["recompute", "carry_seconds"] = "recompute"
    apply_to_open: bool = False
    answered_by: Literal["conversation", "case", "any_channel"] = "case"
    snooze_pauses: bool = False
    pause_responses: bool = False
    severity: Severity = "normal"
    acknowledge_hold_s: int | None = None
    recipients: tuple[str, ...] = ()
    escalation: tuple[LadderStep, ...] = ()


class UnansweredRule(msgspec.Struct, frozen=True, kw_only=True):
    """A contact that `when` (CEL) matches asked for an answer; without one in time it is unanswered."""

    id: str
    when: str
    answer_within_s: int
    calendar: str | None = None
    recovered_by: Literal["any_channel", "same_channel", "conversation"] = "any_channel"
    severity: Severity = "high"
    acknowledge_hold_s: int | None = None
    recipients: tuple[str, ...] = ()
    escalation: tuple[LadderStep, ...] = ()


class ContactRules(msgspec.Struct, frozen=True, kw_only=True):
    """T and S of a queue's service level: answered within, and how short an abandon must be to be a short one."""

    answer_within_s: int = 20
    short_abandon_s: int = 5


class QueueRules(msgspec.Struct, frozen=True, kw_only=True):
    """What differs for one queue; None = the default."""

    id: str
    calendar: str | None = None
    answer_within_s: int | None = None
    short_abandon_s: int | None = None


class ChannelRules(msgspec.Struct, frozen=True, kw_only=True):
    """What differs for one channel. `grace_s`: alarms wait so long after their due time (a mailbox is polled)."""

    id: str
    calendar: str | None = None
    grace_s: int = 0
    allowed_lateness_s: int = 7 * 86_400


class TeamRules(msgspec.Struct, frozen=True, kw_only=True):
    """A team: its shifts as a calendar, and how long the work of an agent who went offline stays theirs (None: for ever)."""

    id: str
    calendar: str | None = None
    return_after_s: int | None = None


class CustomerCalendar(msgspec.Struct, frozen=True, kw_only=True):
    """The calendar of the customers of a segment."""

    segment: str
    calendar: str


class QuietHours(msgspec.Struct, frozen=True, kw_only=True):
    """Alerts below this severity are delivered only while the calendar is open; the breach time is not moved."""

    calendar: str
    severity_below: Severity


class Defaults(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for the whole tenant. `return_after_s` as in `TeamRules`."""

    calendar: str | None = None
    reopen_window_s: int = 7 * 86_400
    queue: ContactRules = ContactRules()
    quiet_hours: QuietHours | None = None
    return_after_s: int | None = None


class Rulebook(msgspec.Struct, frozen=True, kw_only=True):
    """One version of all rules of a tenant. In force from `effective_at_us` on; `version` 0 is the empty book that was always there."""

    version: int = 0
    effective_at_us: int = -(2**62)
    clear_attributes: tuple[str, ...] = ()
    calendars: tuple[WeeklyHours, ...] = ()
    defaults: Defaults = Defaults()
    queues: tuple[QueueRules, ...] = ()
    channels: tuple[ChannelRules, ...] = ()
    teams: tuple[TeamRules, ...] = ()
    customer_calendars: tuple[CustomerCalendar, ...] = ()
    policies: tuple[Policy, ...] = ()
    unanswered: tuple[UnansweredRule, ...] = ()


RULES: Final = "rules"
"""The `kind` and `id` of the `config.published` event that carries a rulebook."""

_EMPTY: Final = Rulebook()


def rulebook_of(event: ConfigPublished) -> Rulebook:
    """Return the rulebook that an event carries, with the event's version and effective time.

    Raises `Poison` if the body is no rulebook; keys that a newer version wrote are left out.
    """
    try:
        book = msgspec.json.decode(event.body, type=Rulebook)
    except msgspec.DecodeError as error:
        raise Poison(f"Version {event.version} of {event.kind} cannot be read ({error}).", next_step="publish the policy file again.") from None
    return msgspec.structs.replace(book, version=event.version, effective_at_us=event.effective_at_us)


class Config:
    """The rulebooks of one tenant that a partition has read so far; never changed once made. `read` is the order of reading."""

    __slots__ = ("_books", "_from_us", "newest", "read")

    def __init__(self, read: tuple[Rulebook, ...] = ()) -> None:
        """Take the books in the order in which they were read."""
        self.read = read
        self.newest = read[-1] if read else _EMPTY
        self._books = sorted(read, key=lambda book: (book.effective_at_us, book.version))
        self._from_us = [book.effective_at_us for book in self._books]

    def with_book(self, book: Rulebook) -> "Config":
        """Return the configuration after one more was read; one whose version is known changes nothing."""
        return self if any(known.version == book.version for known in self.read) else Config((*self.read, book))

    def at(self, event_us: int) -> Rulebook:
        """Return the book in force at an event time: the one with the greatest `effective_at` up to then (log.md §6)."""
        found = bisect_right(self._from_us, event_us)
        return self._books[found - 1] if found else _EMPTY
