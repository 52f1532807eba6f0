"""Where effects go: kind -> output topic. Knows topics' names and nothing of transport.

Effects for which another version speaks are never handed to a port (`streams/versions/promotions.py`); a replay has no
port at all.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from projections.kernel import Effect

__all__ = ["DESTINATIONS", "Destination", "EffectPort"]


class Destination(msgspec.Struct, frozen=True):
    """An output topic by its short name (`customer` is `touchline.customer.v1`).

    `also` are further topics that get the same record: for what every consumer must hear, whichever topic it reads. `compacted`: of
    several effects with one key in a batch only the last is sent. `loop_back`: the record is appended to interaction.v1 itself, with
    internal schema ids and no CloudEvents headers.
    """

    topic: str
    also: tuple[str, ...] = ()
    compacted: bool = False
    loop_back: bool = False


def _kinds(topic: str, family: str, *names: str) -> dict[str, Destination]:
    return {f"{family}.{name}": Destination(topic) for name in names}


DESTINATIONS: dict[str, Destination] = {
    "customer.snapshot": Destination("customer", compacted=True),
    **_kinds("sla", "sla", "policy_applied", "clock_started", "paused", "resumed", "retargeted"),
    **_kinds("sla", "sla", "warned", "breached", "fulfilled", "cancelled", "breach_retracted"),
    **_kinds("alert", "unanswered", "detected", "cleared"),
    **_kinds("alert", "alert", "raised", "acknowledged", "snoozed", "assigned", "resolved"),
    **_kinds("escalation", "escalation", "step_reached", "held", "stood_down"),
    "privacy.erased": Destination("sla", also=("alert", "escalation")),
    "clock.moved": Destination("interaction", loop_back=True),
    "work.assigned": Destination("interaction", loop_back=True),
    "conversation.returned_to_queue": Destination("interaction", loop_back=True),
}
"""Every kind of effect that a projection may emit. An unknown kind is a programming error and parks the customer."""


class EffectPort(Protocol):
    """Takes the effects of one batch to their topics; returns when every one is acknowledged."""

    async def send(self, effects: Sequence[Effect]) -> None:
        """Append all effects. Raises `Retryable` while the broker is unwell; sending again is harmless (same ids)."""
        ...
