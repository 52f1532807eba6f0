"""Who says what: the event types that only this product itself says, and of these the ones that lie on output topics."""

from typing import Final

__all__ = ["is_internal", "is_told"]

_INTERNAL: Final = frozenset({"config", "privacy", "timer", "projection", "log", "clock", "work", "sla", "unanswered", "identity"})
"""Families that only this product itself says (`identity.observed` excepted): an import of them is refused as an unknown type."""

_ASKED_AND_TOLD: Final = frozenset({"alert", "escalation"})
"""Families in which people send their wishes and notes, and the product tells what became of them."""

_TOLD: Final = _ASKED_AND_TOLD | {"sla", "unanswered", "privacy"}


def is_internal(kind: str) -> bool:
    """Tell whether only this product itself says events of a public type (`sla.breached`)."""
    family, _, name = kind.partition(".")
    if family in _ASKED_AND_TOLD:
        return not name.endswith(("_requested", "note_added"))
    return family in _INTERNAL and kind != "identity.observed"


def is_told(kind: str) -> bool:
    """Tell whether events of a public type lie on an output topic, for people and CRMs."""
    return kind.partition(".")[0] in _TOLD and is_internal(kind)
