"""One ladder: its phases as a table, and its state. Values only; knows no effect.

climbing ── acknowledged ──▶ held ── hold is over ──▶ climbing ── last step ──▶ top
any of them ── answered, resolved, retracted, stood down ──▶ ended
"""

from enum import StrEnum
from typing import Final

import msgspec

__all__ = ["NEXT", "Ladder", "Phase", "Rung"]


class Phase(StrEnum):
    """Where a ladder stands. `top`: everybody on it has been told."""

    CLIMBING = "climbing"
    HELD = "held"
    TOP = "top"
    ENDED = "ended"


class Rung(StrEnum):
    """What happens to a ladder."""

    STEP_DUE = "step_due"
    LAST_STEP = "last_step"
    ACKNOWLEDGED = "acknowledged"
    HOLD_OVER = "hold_over"
    ALERT_CLOSED = "alert_closed"
    STOOD_DOWN = "stood_down"


_END: Final = {Rung.ALERT_CLOSED: Phase.ENDED, Rung.STOOD_DOWN: Phase.ENDED}

NEXT: Final[dict[Phase, dict[Rung, Phase]]] = {
    Phase.CLIMBING: {Rung.STEP_DUE: Phase.CLIMBING, Rung.LAST_STEP: Phase.TOP, Rung.ACKNOWLEDGED: Phase.HELD, **_END},
    Phase.HELD: {Rung.HOLD_OVER: Phase.CLIMBING, Rung.ACKNOWLEDGED: Phase.HELD, **_END},
    Phase.TOP: _END,
    Phase.ENDED: {},
}
"""Phase -> what happens -> the next phase; what is not in it changes nothing."""


class Ladder(msgspec.Struct, array_like=True):
    """The ladder of one alert. `steps` are (offset in seconds of the calendar's time, whom to tell); `next` counts from 0.

    `held_until_us`: when its latest hold ends, or ended; None before any.
    """

    alert_id: str
    conversation_id: str
    home: str
    case_id: str | None
    channel: str
    team: str
    reason: str
    calendar: str
    cause_us: int
    steps: list[tuple[int, str]]
    phase: str = Phase.CLIMBING
    next: int = 0
    held_until_us: int | None = None
