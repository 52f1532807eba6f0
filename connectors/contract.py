"""What a connector makes of a payload, before anything is sealed: a `Draft`. Pure values; personal data only in `personal`.

The journey of a draft: `map` (a source module) -> `check` (`connectors/checks.py`) -> sealed event (`connectors/sealer.py`)
-> channel topic (`connectors/producer.py`).
"""

from typing import NamedTuple

import msgspec

from schemas.events import ActorKind, Channel, Direction, HandleKind

__all__ = ["Actor", "Draft", "RawHandle", "Rejected"]


class RawHandle(NamedTuple):
    """How a channel names a customer, as it came in: personal, never logged. `value` is not yet normalised."""

    kind: HandleKind
    value: str
    verified: bool = False

    def __repr__(self) -> str:
        """Leave the value out: it is personal."""
        return f"RawHandle({self.kind!r}, ..., verified={self.verified})"


class Actor(msgspec.Struct, frozen=True):
    """Who did it, as of then."""

    kind: ActorKind = "system"
    id: str | None = None
    team: str | None = None
    role: str | None = None


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """One event, mapped but neither sealed nor resolved. `type` is the public type (`message.received`).

    `fields` are the type's own clear fields by their names in the schema; `text`, `subject`, `attributes`, `unknown` and
    the raw `customer` handles are personal and will lie in the sealed part only. Times are epoch µs.
    `appended_at_us` is set by file forms that carry one (`simulate`), else None.
    """

    type: str
    id: str
    source: str
    tenant: str
    channel: Channel
    direction: Direction
    occurred_at_us: int
    customer: tuple[RawHandle, ...] = ()
    actor: Actor = Actor()
    contact_id: str | None = None
    conversation_id: str | None = None
    case_id: str | None = None
    source_seq: int | None = None
    causation_id: str | None = None
    correlation_id: str | None = None
    corrects: str | None = None
    appended_at_us: int | None = None
    fields: dict[str, str | int | float | bool | None] = {}
    text: str | None = None
    subject: str | None = None
    attributes: dict[str, str] = {}
    unknown: dict[str, str] = {}
    original_ids: dict[str, str] = {}

    def __repr__(self) -> str:
        """Say which event it is and nothing personal."""
        return f"Draft({self.type!r}, source={self.source!r}, tenant={self.tenant!r})"


class Rejected(msgspec.Struct, frozen=True):
    """An input that could not become a draft. `outcome` is `refused` (the sender must mend it) or `quarantined`.

    `reason` is a stable short code, `detail` a sentence that names line and field, never a value that may be personal.
    """

    outcome: str
    reason: str
    detail: str
    line: int | None = None
    source: str = ""
