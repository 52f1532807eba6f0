"""The code of tomorrow: `touchline` with `view` v2 (one more facet) and `care` v2 (the same again) beside what there is today.

`python -m tests.support.next_version <arguments of touchline>` runs it, with `PYTHONPATH` from `environment`; processes that it starts have
the same versions, since they import this module as `__mp_main__`. A test's own process imports it without being changed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import msgspec

from projections.digest import Rows
from projections.kernel import Moment, Step, Subject, Timer, Upsert
from projections.registry import GROUPS, VERSIONS, Group
from schemas.events import CustomerPreferences, MessageSent
from schemas.record import Event

__all__ = ["CARE_2", "COMMAND", "FACET", "VIEW_2", "Reach", "environment", "register", "without_the_facet"]

COMMAND: Final = ("python", "-m", "tests.support.next_version")
"""What stands in place of `touchline`."""

FACET: Final = "reach"
"""The facet that v1 does not have."""


class Reached(msgspec.Struct, array_like=True):
    """How often we wrote to a customer, by channel, and when last (event time, epoch µs)."""

    channels: dict[str, int] = msgspec.field(default_factory=dict)
    latest_us: int = 0


class Reach:
    """By which channels we write to a customer: a facet of the 360° view. The same for every order of arrival."""

    name: ClassVar[str] = "reach"
    version: ClassVar[int] = 2
    handles: ClassVar[frozenset[type[Event]]] = frozenset({MessageSent})
    depends_on: ClassVar[tuple[str, ...]] = ()
    arms_timers: ClassVar[bool] = False

    def initial(self, subject: Subject) -> Reached:
        return Reached()

    def apply(self, state: Reached, event: Event, at: Moment) -> Step[Reached]:
        header = event.header
        state.channels[header.channel] = state.channels.get(header.channel, 0) + 1
        state.latest_us = max(state.latest_us, header.occurred_at_us)
        body = CustomerPreferences(channels=dict(sorted(state.channels.items())), latest_at_us=state.latest_us)
        return Step(state, (Upsert("customer", (header.tenant, header.customer_id, FACET), {"body": body, "updated_at": at.appended_at_us}),))

    def expire(self, state: Reached, timer: Timer, at: Moment) -> Step[Reached]:
        return Step(state)


VIEW_2: Final = Group("view", 2, (*VERSIONS["view", 1].projections, Reach()))
CARE_2: Final = Group("care", 2, VERSIONS["care", 1].projections)


def register() -> None:
    """Let this process have both versions of both groups, the second as the newest."""
    for group in (VIEW_2, CARE_2):
        VERSIONS[group.name, group.version] = group
        GROUPS[group.name] = group


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which `COMMAND` runs, from that of `touchline`."""
    return {**given, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}


def without_the_facet(rows: Rows) -> dict[str, list[Mapping[str, Any]]]:
    """Return the rows of the view as v1 has them, for comparing."""
    return {table: [row for row in found if table != "customer" or row["facet"] != FACET] for table, found in rows.items()}


if __name__ in {"__main__", "__mp_main__"}:
    register()

if __name__ == "__main__":
    from touchline.cli import main

    main()
