"""The notice of an erasure for whoever consumes the output topics: each of them gets it, behind all that was said before.

Knows `privacy.erased` only. It stands last in the care group: what the projections before it say of the same record comes first, so
that a consumer that drops what it holds of a customer hears nothing more of that customer afterwards.
"""

from typing import ClassVar, Final

import msgspec

from projections.kernel import Effect, Moment, Step, Subject, Timer
from schemas import events
from schemas.record import Event

__all__ = ["ErasureNotice", "Noticed"]

NOTICE: Final = events.PrivacyErased.TYPE
"""The kind of the effect; `streams/effects.py` says which topics it goes to."""


class Noticed(msgspec.Struct):
    """Whether it was said."""

    said: bool = False


class ErasureNotice:
    """Says once per customer that the person was forgotten."""

    name: ClassVar[str] = "erasure_notice"
    version: ClassVar[int] = 1
    handles: ClassVar[frozenset[type[Event]]] = frozenset({events.PrivacyErased})
    depends_on: ClassVar[tuple[str, ...]] = ()
    arms_timers: ClassVar[bool] = False

    def initial(self, subject: Subject) -> Noticed:  # noqa: ARG002 - every subject starts alike
        """Return the state of a customer who was not erased."""
        return Noticed()

    def apply(self, state: Noticed, event: Event, at: Moment) -> Step[Noticed]:  # noqa: ARG002 - when it is read does not matter
        """Hand the event on, once."""
        if state.said:
            return Step(state)
        state.said = True
        return Step(state, effects=(Effect(NOTICE, event.header.customer_id, event),))

    def expire(self, state: Noticed, timer: Timer, at: Moment) -> Step[Noticed]:  # noqa: ARG002 - it arms none
        """Do nothing: it arms no timers."""
        return Step(state)
